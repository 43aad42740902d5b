"""A trained space of shapes as one file, space.npz: arrays and a text of JSON, no pickle."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from fmb.fields.latent import OUTPUTS, LatentShape, Space, layer_sizes
from fmb.fields.networks import ACTIVATIONS, Layer, Network
from fmb.files.safe import check_single, read_arrays, read_metadata
from fmb.geometry.frames import Frame
from fmb.machine import replacing

SPACE = "space.npz"
VERSION = 1
MOST_WIDE = 4096  # of every number of a network's shape


def write_space(folder: Path, space: Space) -> Path:
    """Writes space.npz into the folder."""
    facts = {"version": VERSION, "names": list(space.names), "network": space.shape._asdict()}
    arrays = {"codes": space.codes, "centre": np.stack([frame.centre for frame in space.frames])}
    arrays["scale"] = np.array([float(frame.scale) for frame in space.frames])
    for number, layer in enumerate(space.parameters):
        arrays |= {f"{number}.{name}": np.asarray(array) for name, array in layer._asdict().items()}
    path = folder / SPACE
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays, metadata=np.array(json.dumps(facts, allow_nan=False)), allow_pickle=False)
    return path


def read_space(folder: str | Path) -> Space:
    """The space that `write_space` put into the folder; the folder above it, as --output-dir of task
    learn names it, and the path of the file itself will do, too.

    Raises ValueError for a folder without space.npz, another version, and arrays that do not belong together.
    """
    path = Path(folder)
    if path.suffix != ".npz":
        places = [path / SPACE, path / "learn" / SPACE]
        path = next((place for place in places if place.is_file()), path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: no {SPACE} in it; a folder that task learn has written is needed")
    arrays = read_arrays(path)
    facts = _facts(path, arrays)
    names, shape = facts["names"], _shape(path, facts["network"])
    found = {
        "codes": _array(path, arrays, "codes", (len(names), shape.code)),
        "centre": _array(path, arrays, "centre", (len(names), 3)),
        "scale": _array(path, arrays, "scale", (len(names),)),
    }
    if not np.all(found["scale"] > 0.0):
        raise ValueError(f"{path}: scale {found['scale'].min():g}; must be above 0")
    frames = tuple(Frame(*pair) for pair in zip(found["centre"], map(np.asarray, found["scale"]), strict=True))
    return Space(tuple(names), found["codes"], _network(path, arrays, shape), shape, frames)


def _facts(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    facts = read_metadata(path, arrays, VERSION, "this is no space of shapes", " of a space of shapes")
    names = facts.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{path}: names must be a list of texts")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: names of shapes must differ")
    return facts


def _shape(path: Path, network: Any) -> LatentShape:
    kinds = LatentShape.__annotations__
    if not isinstance(network, dict) or set(network) != set(kinds):
        raise ValueError(f"{path}: network must have {', '.join(kinds)}")
    for name, kind in kinds.items():
        value = network[name]
        if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and not 0 <= value <= MOST_WIDE):
            raise ValueError(f"{path}: network {name} is {value!r}; must be {kind.__name__}, at most {MOST_WIDE}")
    for name, table in (("activation", ACTIVATIONS), ("output", OUTPUTS)):
        if network[name] not in table:
            raise ValueError(f"{path}: network {name} is {network[name]!r}; must be one of {', '.join(table)}")
    if network["skip"] and network["skip"] >= network["depth"]:
        raise ValueError(f"{path}: network skip is {network['skip']}; must be below depth, {network['depth']}")
    return LatentShape(**network)


def _network(path: Path, arrays: dict[str, np.ndarray], shape: LatentShape) -> Network:
    layers, dtype = [], jnp.result_type(float)
    for number, (inputs, outputs) in enumerate(layer_sizes(shape)):
        weight = _array(path, arrays, f"{number}.weight", (inputs, outputs))
        bias = _array(path, arrays, f"{number}.bias", (outputs,))
        layers.append(Layer(jnp.asarray(weight, dtype), jnp.asarray(bias, dtype)))
    return tuple(layers)


def _array(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in arrays or arrays[name].shape != shape or arrays[name].dtype.kind not in "fiu":
        what = f"{name} of shape {arrays[name].shape}" if name in arrays else f"no {name}"
        raise ValueError(f"{path}: has {what}; numbers of shape {shape} are needed")
    check_single(arrays[name], f"{path}: {name} has")
    return arrays[name].astype(float)
