"""A field on all nodes of a grid, and the same again where little has changed: along the surface and on a coarse comb.

MeshSDF (Remelli et al. 2020) evaluates the cells of the last surface and their neighbours again. Here cells are
followed until the surface closes, however far it has moved, and a comb of nodes looks for parts that appear elsewhere.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fmb.fields.contour import Grid, corners, known_range
from fmb.fields.field import Field, evaluated

COMB = 3  # nodes between those of the comb, along each axis: after COMB^3 grids every node has been seen again


class Followed(NamedTuple):
    """A grid whose values are exact at the corners of all cells that the surface crosses, and what it took."""

    grid: Grid
    points: int  # evaluated


def whole_grid(field: Field, corner: float, cells: int) -> Followed:
    """The field at every node of a cube around the origin, `corner` half its side; positive on its border.

    So a surface that reaches the border is cut off there, flat.
    """
    spacing = 2.0 * corner / cells
    origin, shape = np.full(3, -corner), (cells + 1,) * 3
    grid = Grid(np.full(shape, np.nan), origin, spacing)
    _fill(field, grid, np.arange(grid.value.size))
    return Followed(grid, grid.value.size)


def followed_grid(field: Field, last: Grid, number: int) -> Followed:
    """The grid again for a field that has changed since `last`; `number` counts the calls.

    Evaluated are the corners of the cells that the last surface crosses, a comb of nodes that moves on with `number`,
    and then, as long as there are any, corners not yet evaluated of cells that the surface now crosses. A part that
    appears elsewhere is found at once if a node of the comb lies in it, and else within COMB^3 calls.
    """
    grid = last._replace(value=last.value.copy())
    shape = grid.value.shape
    cells = _cells(shape)
    fresh = np.zeros(grid.value.size, bool)
    todo = cells[_crossed(grid.value, cells)]
    comb = _comb(shape, number)
    first = np.union1d((todo[:, None] + corners(shape)[None]).ravel(), comb)
    while len(first):
        _fill(field, grid, first)
        fresh[first] = True
        crossed = cells[_crossed(grid.value, cells)]
        nodes = np.unique((crossed[:, None] + corners(shape)[None]).ravel())
        first = nodes[~fresh[nodes]]
    return Followed(grid, int(np.count_nonzero(fresh)))


def _fill(field: Field, grid: Grid, place: Int[np.ndarray, " node"]) -> None:
    """Enters the field's values at these nodes."""
    index = np.stack(np.unravel_index(place, grid.value.shape), axis=1)
    value = evaluated(field, grid.origin + grid.spacing * index)
    border = np.any((index == 0) | (index == np.array(grid.value.shape) - 1), axis=1)
    value[border] = np.maximum(value[border], grid.spacing / 2)
    grid.value.reshape(-1)[place] = value


def _cells(shape: tuple[int, ...]) -> Int[np.ndarray, " cell"]:
    """All cells, each by the place of its lowest node."""
    return np.flatnonzero(np.pad(np.ones([side - 1 for side in shape], bool), ((0, 1),) * 3))


def _crossed(value: Float[np.ndarray, "x y z"], cells: Int[np.ndarray, " cell"]) -> Bool[np.ndarray, " cell"]:
    low, high = known_range(value, cells)
    return (low < 0.0) & (high >= 0.0)


def _comb(shape: tuple[int, ...], number: int) -> Int[np.ndarray, " node"]:
    """The nodes of one of COMB^3 combs, which together are all nodes."""
    # 7 steps through the offsets so that one comb follows another from afar
    start = np.unravel_index(7 * number % COMB**3, (COMB,) * 3)
    axes = (np.arange(first, side, COMB) for first, side in zip(start, shape, strict=True))
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), shape).ravel()
