"""The stages of the search for a pose, as its options ask for them."""

from typing import NamedTuple

from fm_render import choose
from fmb.pose.options import EVIDENCES, METHODS, PoseOptions

FEW, FEWER = 8, 3  # poses that enter the second and the third stage
ENDING = 1e-3  # radians and scales, from one start alone: a tenth of what the noise of an image leaves open
FEW_RAYS, TRACKING_RAYS = 256, 512  # most rays, and most points, in the two stages from one start alone
MOST_RAYS = 2_048  # near the mask, and most points, in the finest image


class Stage(NamedTuple):
    """A round of the search: side of pooled blocks, poses that enter, trials (the first only looks), expected noise.

    `far`: depth is compared by the level of the mixture's field, whose slope is exact anywhere, instead of by distance.
    `most`: most rays, and most points. `ending`: a shorter step, in radians and scales, ends the stage.
    """

    pooling: int
    poses: int
    trials: int
    depth: float
    mislabelled: float
    blur: float
    far: bool = False
    most: int | None = None
    ending: float = 0.0


def check_options(options: PoseOptions) -> None:
    """ValueError for an unknown name or a number out of range."""
    for field, allowed in {"method": METHODS, "evidence": EVIDENCES}.items():
        choose(field, getattr(options, field), allowed)
    least = {"num_starts": 0, "iterations": 1, "spread_degrees": 0.0, "tolerance": 0.0}
    for field, bound in least.items():
        if not getattr(options, field) >= bound:
            raise ValueError(f"{field} {getattr(options, field)}; must be at least {bound}")


def stages_of(options: PoseOptions) -> tuple[Stage, ...]:
    """The stages, coarse to fine; each ends once nothing moves any more."""
    last = Stage(1, 1, options.iterations, 0.02, 0.03, 0.0, False, MOST_RAYS)
    if options.num_starts == 0:
        first = Stage(2, 1, options.iterations, 0.05, 0.05, 0.0, True, FEW_RAYS, 100 * ENDING)
        return (first, last._replace(most=TRACKING_RAYS, ending=ENDING))
    few, fewer = min(FEW, options.num_starts), min(FEWER, options.num_starts)
    return (
        Stage(4, options.num_starts + 1, 13, 0.1, 0.05, 0.5, True),
        Stage(2, few, 15, 0.1, 0.05, 0.3, True),
        Stage(1, fewer, 9, 0.05, 0.03, 0.0, True, MOST_RAYS),
        last,
    )
