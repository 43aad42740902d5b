"""A trained encoder as one file, encoder.npz: half floats and a text of JSON, no pickle; and sights as another."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fmb.files.safe import check_single, read_arrays, read_metadata
from fmb.fit.checkpoints import filled, named
from fmb.machine import replacing
from fmb.options import NONE
from fmb.single_view.layout import Layout, check_layout
from fmb.single_view.network import Encoder, start_encoder
from fmb.single_view.options import MIRRORED
from fmb.single_view.sights import Collection, Sights

ENCODER, SIGHTS = "encoder.npz", "sights.npz"
VERSION = 1
MOST = {"size": 256, "width": 256, "features": 4096, "components": 1024, "means": 64, "hypotheses": 64, "alignments": 8}
LARGEST_SIZE = 4096  # pixels of sights


def write_encoder(path: Path, encoder: Encoder, layout: Layout, facts: dict[str, Any]) -> Path:
    """Writes the encoder in half precision, which moves what it predicts by less than a thousandth of a radius."""
    arrays = {name: np.asarray(leaf, np.float16) for name, leaf in named(encoder).items()}
    told = json.dumps({"version": VERSION, "layout": layout._asdict(), "training": facts}, allow_nan=False)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, metadata=np.array(told), **arrays)
    return path


def read_encoder(name: str | Path) -> tuple[Encoder, Layout, dict[str, Any]]:
    """The encoder of a file, or of the folder that task train-encoder has written, and what is told of its training.

    Raises ValueError for another file, another version, and arrays that do not belong together.
    """
    path = Path(name)
    if path.suffix != ".npz":
        path = next((place for place in (path / ENCODER, path / "train-encoder" / ENCODER) if place.is_file()), path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: no {ENCODER} in it; a file or folder that task train-encoder has written is needed")
    arrays = read_arrays(path)
    facts = metadata(path, arrays)
    layout = layout_in(path, facts.get("layout"))
    shapes = jax.eval_shape(lambda: start_encoder(layout, np.random.default_rng(0)))
    for name in named(shapes):
        if name in arrays:
            check_single(arrays[name], f"{path}: {name} has")
    try:
        found = filled(shapes, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    encoder = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), found)
    training = facts.get("training")
    return encoder, layout, training if isinstance(training, dict) else {}


def metadata(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a file tells of itself. Raises ValueError where it tells nothing, or is of another version."""
    return read_metadata(path, arrays, VERSION, "this was not written by task train-encoder")


def layout_in(path: Path, stored: Any) -> Layout:
    """The layout that a file tells; one that was written before alignments has none.

    Raises ValueError for one that no encoder has.
    """
    kinds = Layout.__annotations__
    stored = Layout._field_defaults | stored if isinstance(stored, dict) else stored
    if not isinstance(stored, dict) or set(stored) != set(kinds):
        raise ValueError(f"{path}: no layout of an encoder; it must have {', '.join(kinds)}")
    for name, kind in kinds.items():
        value, least = stored[name], 0 if name in Layout._field_defaults else 1
        wrong = type(value) is not kind or (kind is int and not least <= value <= MOST[name])
        if wrong or (name == "symmetry" and value not in (MIRRORED, NONE)):
            raise ValueError(f"{path}: layout {name} is {value!r}; this is no encoder's")
    layout = Layout(**stored)
    try:
        check_layout(layout)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return layout


def write_sights(path: Path, collection: Collection) -> Path:
    """Writes sights, masks as bits."""
    sights, size = collection.sights, collection.sights.silhouette.shape[1]
    bits = {name: np.packbits(getattr(sights, name), axis=None) for name in ("silhouette", "valid")}
    told = json.dumps({"version": VERSION, "names": list(collection.names), "size": size})
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, metadata=np.array(told), **(sights._asdict() | bits))
    return path


def read_sights(path: Path) -> Collection:
    """The sights of a file. Raises ValueError, which names it, for arrays that do not belong together."""
    arrays = read_arrays(path)
    facts = metadata(path, arrays)
    names, size = facts.get("names"), facts.get("size")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: names must be a list of texts")
    shape = arrays.get("shape", np.zeros(0))
    count = len(shape) if shape.ndim == 1 else 0
    if type(size) is not int or not 1 <= size <= LARGEST_SIZE or not count:
        raise ValueError(f"{path}: {count} images of size {size!r}; at least one of a whole number is needed")
    wanted = {
        "color": ((count, size, size, 3), "u"), "depth": ((count, size, size), "f"), "shape": ((count,), "i"),
        "world_from_camera": ((count, 4, 4), "f"), "intrinsics": ((count, 3, 3), "f"),
        "silhouette": ((-(-count * size * size // 8),), "u"), "valid": ((-(-count * size * size // 8),), "u"),
    }  # fmt: skip
    for name, (sides, kind) in wanted.items():
        if name not in arrays or arrays[name].shape != sides or arrays[name].dtype.kind != kind:
            found = f"{name} of shape {arrays[name].shape}" if name in arrays else f"no {name}"
            raise ValueError(f"{path}: has {found}; {name} of shape {sides} is needed")
    if np.any(np.diff(shape) < 0) or not np.array_equal(np.unique(shape), np.arange(len(names))):
        raise ValueError(f"{path}: shape must count up from 0 to {len(names) - 1}, the last of the names")
    if np.bincount(shape).min() < 2:
        raise ValueError(f"{path}: {names[int(np.argmin(np.bincount(shape)))]} has one view; two or more are needed")
    if not all(np.isfinite(arrays[name]).all() for name in ("world_from_camera", "intrinsics")):
        raise ValueError(f"{path}: a camera is not finite")
    for name in ("silhouette", "valid"):
        bits = np.unpackbits(arrays[name], count=count * size * size)
        arrays[name] = bits.reshape(count, size, size).astype(bool)
    return Collection(Sights(**{name: arrays[name] for name in Sights._fields}), tuple(names))
