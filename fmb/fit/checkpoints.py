"""The state of a fit as named arrays, and back: what a checkpoint holds."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

PREFIX = "term."  # of the names of columns in a checkpoint
Columns = dict[str, list[np.ndarray]]


@runtime_checkable
class Kept(Protocol):
    """What can be kept: a number of steps, and arrays that a fit can go on from."""

    step: int
    arrays: Mapping[str, np.ndarray]


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
            raise ValueError(f"has {what}; this network needs one of shape {leaf.shape}")
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
