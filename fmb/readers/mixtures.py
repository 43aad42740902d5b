"""Mixtures from files of any kind, and the frame they are worked with in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.frames import Frame
from fmb.mixture import mixture_frame
from fmb.readers.model import read_model
from fmb.readers.released import read_released
from fmb.readers.splats import read_splats


class Model(NamedTuple):
    """A mixture in its canonical frame, what was known of it, and where that frame lies in the file's."""

    mixture: Mixture
    frame: Frame
    color: Float[np.ndarray, "mixture 3"] | None
    facts: dict[str, Any]


def from_npz(path: Path) -> tuple[Mixture, np.ndarray | None, dict[str, Any]]:
    """Our own file."""
    saved = read_model(path)
    return Mixture(saved.mean, saved.precision_cholesky, saved.log_weight), saved.color, saved.metadata


def from_splats(path: Path) -> tuple[Mixture, np.ndarray | None, dict[str, Any]]:
    """Gaussian splats."""
    found = read_splats(path)
    return found.mixture, found.color, {}


def from_released(path: Path) -> tuple[Mixture, np.ndarray | None, dict[str, Any]]:
    """A file of the released program."""
    return read_released(path), None, {}


MODEL_FORMATS: dict[str, Callable] = {".npz": from_npz, ".ply": from_splats, ".pkl": from_released}


def read_mixture(path: str | Path) -> Model:
    """The mixture in a file, by the file's suffix, one of MODEL_FORMATS; in the canonical frame of its own mass.

    Raises ValueError for another suffix, and as the readers do.
    """
    path = Path(path)
    read = MODEL_FORMATS.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{path}: '{path.suffix}' is no kind of model, allowed are {', '.join(MODEL_FORMATS)}")
    mixture, color, facts = read(path)
    mixture = Mixture(*(np.asarray(field, float) for field in mixture))
    frame = mixture_frame(mixture)
    if isinstance(facts.get("scale"), float) and facts["scale"] > 0.0:
        frame = frame._replace(scale=np.asarray(facts["scale"]))  # of the surface it was fitted to
    return Model(frame.mixture_to_canonical(mixture), frame, color, facts)
