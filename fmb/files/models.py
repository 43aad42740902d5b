"""Mixtures from files of any kind, and the frame they are worked with in."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.mixtures import mixture_frame
from fmb.files.released import MOST_COMPONENTS, read_released
from fmb.files.safe import check_single, parse_json, read_arrays
from fmb.files.splat_files import OTHERS, read_splats
from fmb.geometry.frames import Frame
from fmb.machine import plain, replacing


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


MODEL_FORMATS: dict[str, Callable] = {
    ".npz": from_npz,
    ".ply": from_splats,
    ".splat": from_splats,
    ".pkl": from_released,
}


def read_mixture(path: str | Path) -> Model:
    """The mixture in a file, by the file's suffix, one of MODEL_FORMATS; in the canonical frame of its own mass.

    Raises ValueError for another suffix, and as the readers do.
    """
    path = Path(path)
    read = MODEL_FORMATS.get(path.suffix.lower())
    if path.suffix.lower() in OTHERS:  # says what it is
        read = from_splats
    if read is None:
        raise ValueError(f"{path}: '{path.suffix}' is no kind of model, allowed are {', '.join(MODEL_FORMATS)}")
    mixture, color, facts = read(path)
    mixture = Mixture(*(np.asarray(field, float) for field in mixture))
    with np.errstate(all="ignore"):  # what is not finite is refused
        frame = mixture_frame(mixture)
        if isinstance(facts.get("scale"), float) and facts["scale"] > 0.0:
            frame = frame._replace(scale=np.asarray(facts["scale"]))  # of the surface it was fitted to
        mixture = frame.mixture_to_canonical(mixture)
    _check_range(path, mixture)
    return Model(mixture, frame, color, facts)


def level_of(facts: Mapping[str, Any]) -> float:
    """The level of the surface, as the fit has written it into the model; 0 where the file tells none."""
    known = facts.get("mesh")
    level = known.get("level") if isinstance(known, dict) else None
    return float(level) if isinstance(level, (int, float)) and level > 0.0 else 0.0


def _check_range(path: Path, mixture: Mixture) -> None:
    """Raises ValueError for numbers, in units of the object, that float32 or its squares and products cannot hold."""
    size = np.maximum(np.abs(mixture.mean).max(axis=1), np.abs(mixture.precision_cholesky).max(axis=(1, 2)))
    thin = np.diagonal(mixture.precision_cholesky, axis1=1, axis2=2).min(axis=1)
    bad = ~((size < LARGEST) & (thin > 1.0 / LARGEST) & (mixture.log_weight < LARGEST_LOG))
    if bad.any():
        raise ValueError(f"{path}: component {np.flatnonzero(bad)[0]} of {len(bad)} is beyond what float32 holds")


LARGEST, LARGEST_LOG = 1e18, 87.0  # of distances, precisions, log weights: float32 holds squares, and exp
NEEDED = ("mean", "precision_cholesky", "log_weight", "metadata")


class SavedModel(NamedTuple):
    """A mixture as it was written, in the frame its metadata tells of."""

    mean: Float[np.ndarray, "mixture 3"]
    precision_cholesky: Float[np.ndarray, "mixture 3 3"]
    log_weight: Float[np.ndarray, " mixture"]
    metadata: dict[str, Any]
    color: Float[np.ndarray, "mixture 3"] | None = None  # 0 to 1


def read_model(path: str | Path) -> SavedModel:
    """The mixture of a model.npz; pickled objects are refused.

    Raises ValueError where the file is not one, or what it holds is no mixture.
    """
    path = Path(path)
    arrays = model_arrays(path)
    mean, precision_cholesky, log_weight = (arrays[name] for name in NEEDED[:3])
    count = len(log_weight) if log_weight.ndim == 1 else 0
    shapes = {"log_weight": (count,), "mean": (count, 3), "precision_cholesky": (count, 3, 3), "color": (count, 3)}
    for name, shape in shapes.items():
        if name not in arrays:
            continue
        if arrays[name].shape != shape or count == 0:
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}; must be {expected_shape(name)}")
        if arrays[name].dtype.kind != "f":
            raise ValueError(f"{path}: {name} has type {arrays[name].dtype}; must be floating point")
        if count > MOST_COMPONENTS:
            raise ValueError(f"{path}: {count} components; at most {MOST_COMPONENTS} are read")
        check_single(arrays[name], f"{path}: {name} has")
    diagonal = np.diagonal(precision_cholesky, axis1=1, axis2=2)
    if np.triu(precision_cholesky, 1).any() or (diagonal <= 0).any():
        raise ValueError(f"{path}: precision_cholesky must be lower triangular with a positive diagonal")
    color = arrays.get("color")
    if color is not None and (color.min() < 0.0 or color.max() > 1.0):
        raise ValueError(f"{path}: color must lie between 0 and 1")
    return SavedModel(mean, precision_cholesky, log_weight, read_metadata(path, arrays["metadata"]), color)


def model_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a model file by name, none of them missing."""
    arrays = read_arrays(path, (*NEEDED, "color"))
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing; a model has {', '.join(NEEDED)}")
    return arrays


def read_metadata(path: Path, text: np.ndarray) -> dict[str, Any]:
    """The metadata, which is one text of JSON."""
    if text.dtype.kind != "U" or text.ndim != 0:
        raise ValueError(f"{path}: metadata must be a text of JSON, an object")
    metadata = parse_json(str(text).encode(errors="replace"), f"{path}: metadata must be a text of JSON, an object")
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: metadata must be a text of JSON, an object")
    return metadata


def expected_shape(name: str) -> str:
    """The shape of an array of a model, in words."""
    shapes = {"mean": "(n, 3)", "precision_cholesky": "(n, 3, 3)", "log_weight": "(n,)", "color": "(n, 3)"}
    return f"{shapes[name]} with the same n > 0"


def write_model(
    path: Path,
    mean: Float[np.ndarray, "mixture 3"],
    precision_cholesky: Float[np.ndarray, "mixture 3 3"],
    log_weight: Float[np.ndarray, " mixture"],
    metadata: Mapping[str, Any],
    more: Mapping[str, np.ndarray | None] | None = None,
) -> Path:
    """Writes a mixture, and `more` arrays such as its color, as npz, its metadata as a text of JSON: no pickle."""
    arrays = {"mean": mean, "precision_cholesky": precision_cholesky, "log_weight": log_weight}
    arrays |= {name: array for name, array in (more or {}).items() if array is not None}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays, metadata=np.array(json.dumps(plain(metadata), allow_nan=False)), allow_pickle=False)
    return path
