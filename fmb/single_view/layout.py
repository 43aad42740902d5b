"""How large the arrays of an encoder are, and what they mean."""

from typing import NamedTuple

from fmb.single_view.options import MIRRORED, EncoderOptions

WIDENING = (1.0, 2.0, 10 / 3, 4.0)  # channels of the stages over those of the first
SHRINKING = 2 ** len(WIDENING)
MOST_NUMBERS = 2**25  # of the largest array of an encoder


class Layout(NamedTuple):
    """All that says how large the arrays are, and what they mean."""

    size: int
    width: int
    features: int
    components: int
    means: int
    hypotheses: int
    symmetry: str
    split: bool
    alignments: int = 0

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stages."""
        return tuple(round(self.width * factor) for factor in WIDENING)

    @property
    def mirrored(self) -> bool:
        """Whether what is predicted has a mirror image."""
        return self.symmetry == MIRRORED


def layout_of(options: EncoderOptions) -> Layout:
    """The layout that the options ask for.  Raises ValueError as `check_layout` does."""
    layout = Layout(
        options.encoder_size,
        options.encoder_width,
        options.encoder_features,
        options.encoder_components,
        options.mean_shapes,
        options.camera_hypotheses,
        options.encoder_symmetry,
        options.encoder_split,
        options.encoder_alignments,
    )
    check_layout(layout)
    return layout


def check_layout(layout: Layout) -> None:
    """Raises ValueError for a size that four stages cannot halve, and for an array that is too large."""
    if layout.size % SHRINKING:
        raise ValueError(f"encoder_size is {layout.size}; must be a multiple of {SHRINKING}")
    largest = (layout.size // SHRINKING) ** 2 * layout.channels[-1] * layout.features
    if largest > MOST_NUMBERS:
        words = f"encoder_size {layout.size}, width {layout.width} and features {layout.features}"
        raise ValueError(f"{words} make an array of {largest} numbers; at most {MOST_NUMBERS} are allowed")
