"""The state of a fit as named arrays, and back: what a checkpoint holds, and the seal that tells whether it is whole.

The seal is a digest of all names, types, shapes and numbers together with the run that they are of: a file that was cut
short or altered, or is of a run with other options or data, does not agree with it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

SEAL, RUN = "seal", "run"  # names of the arrays that a file has beside the state
PREFIX = "term."  # of the names of columns in a checkpoint
Columns = dict[str, list[np.ndarray]]


@runtime_checkable
class Kept(Protocol):
    """What can be kept: a number of steps, and arrays that a fit can go on from."""

    step: int
    arrays: Mapping[str, np.ndarray]


class Snapshot(NamedTuple):
    """A state of a fit that is nothing else."""

    step: int
    arrays: Mapping[str, np.ndarray]


def data_digest(arrays: Iterable[Any]) -> str:
    """Sixteen hexadecimal digits that stand for the numbers of the arrays, in their order: SHA-256 cut short."""
    return digest_of(arrays).hex()[:16]


def digest_of(arrays: Iterable[Any]) -> bytes:
    """SHA-256 of the numbers of the arrays, in their order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.digest()


def run_digest(record: Mapping[str, Any]) -> np.ndarray:
    """Bytes that stand for all that a run depends on."""
    text = json.dumps(record, sort_keys=True)
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)


def sealed(arrays: Mapping[str, np.ndarray], run: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays with the digest of their run, and the seal over both."""
    whole = {**arrays, RUN: run}
    return {**whole, SEAL: seal_of(whole)}


def opened(arrays: Mapping[str, np.ndarray], run: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a file without its seal.  Raises ValueError where that is wrong, or of another run."""
    whole = {name: array for name, array in arrays.items() if name != SEAL}
    if SEAL not in arrays or not np.array_equal(arrays[SEAL], seal_of(whole)):
        raise ValueError("is not as it was written")
    if not np.array_equal(whole.pop(RUN, None), run):
        raise ValueError("is of a run with other options or data")
    return whole


def seal_of(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """SHA-256 of names, types, shapes and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def named(tree: Any) -> dict[str, Any]:
    """Every array by its name, such as parameters.0.weight."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def filled(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree with the arrays of those names.  Raises ValueError where one is missing or has another shape."""
    found = []
    for name, leaf in named(tree).items():
        if name not in arrays or arrays[name].shape != leaf.shape:
            what = f"{name} of shape {arrays[name].shape}" if name in arrays else f"no {name}"
            raise ValueError(f"has {what}; this fit needs one of shape {leaf.shape}")
        found.append(jnp.asarray(arrays[name], leaf.dtype))
    return jax.tree.unflatten(jax.tree.structure(tree), found)


def to_arrays(tree: Any, history: Columns) -> dict[str, np.ndarray]:
    """The arrays of the tree, and the columns so far."""
    return {name: np.asarray(leaf) for name, leaf in named(tree).items()} | {
        PREFIX + name: np.concatenate(parts) for name, parts in history.items()
    }


def columns_of(arrays: Mapping[str, np.ndarray]) -> Columns:
    """The columns that a checkpoint holds, each in one part."""
    return {name.removeprefix(PREFIX): [arrays[name]] for name in arrays if name.startswith(PREFIX)}
