"""Surfaces of fields by marching cubes, where the field is evaluated only near its zero.

A field is any function of points [point, 3] that JAX can differentiate, negative inside.
"""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.ndimage import maximum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fmb.fields.field import Field, OnProgress, evaluated, polish, unwatched

COARSEST = 4  # fine cells along a side of a coarse cell, with which the search begins
FEWEST_CELLS = 8  # along the longest side of the box


class NoSurface(ValueError):
    """A field that has one sign all over its grid."""


class Grid(NamedTuple):
    """A field at the nodes origin + spacing (i, j, k); far from the wanted levels only its sign means something."""

    value: Float[np.ndarray, "x y z"]
    origin: Float[np.ndarray, "3"]
    spacing: float


def extract_surface(
    field: Field,
    lower: Float[np.ndarray, "3"],
    upper: Float[np.ndarray, "3"],
    resolution: int = 192,
    smallest: float = 0.0,
    on_progress: OnProgress = unwatched,
) -> trimesh.Trimesh:
    """Closed mesh, outward, of the field's zero in a box with about `resolution` cells along its longest side.

    Pieces below the share `smallest` of the volume are left out, see `tidy`; vertices are polished. Raises ValueError
    as `sample_field` and `contour` do.
    """
    grid = sample_field(field, lower, upper, resolution, on_progress=on_progress)
    mesh = tidy(contour(grid), smallest)
    mesh.vertices = polish(field, np.asarray(mesh.vertices), grid.spacing / 2, on_progress)
    return mesh


def sample_field(
    field: Field,
    lower: Float[np.ndarray, "3"],
    upper: Float[np.ndarray, "3"],
    resolution: int,
    levels: tuple[float, float] = (0.0, 0.0),
    on_progress: OnProgress = unwatched,
) -> Grid:
    """The field on a grid over the box and one coarse cell around it; exact near the places where it meets the levels.

    It is evaluated first at every COARSEST-th node. A cell is then halved where one of the levels may lie in it: judged
    by the values at its corners, and by how much values differ in it and in the cells beside it.
    Raises ValueError for a resolution below 8, a box without extent, a field that is not finite.
    """
    lower, upper = np.asarray(lower, float), np.asarray(upper, float)
    if resolution < FEWEST_CELLS:
        raise ValueError(f"mesh resolution {resolution}: must be at least {FEWEST_CELLS}")
    if not np.all(np.isfinite(upper - lower)) or not np.all(upper > lower):
        raise ValueError(f"box of a surface from {lower} to {upper}: the second must be larger")
    side = np.max(upper - lower) / (resolution / COARSEST)
    cells = np.ceil((upper - lower) / side).astype(int) + 2
    origin, shape = (lower + upper - side * cells) / 2, tuple(cells + 1)
    grid = Grid(evaluated(field, origin + side * np.indices(shape).reshape(3, -1).T).reshape(shape), origin, side)
    for factor in range(int(np.log2(COARSEST))):
        grid = _halved(field, grid, levels, 2 ** (factor + 1) == COARSEST, on_progress)
    return grid


def contour(grid: Grid, level: float = 0.0) -> trimesh.Trimesh:
    """Closed mesh where the grid's values are `level`, outward (towards larger values).

    Raises NoSurface, a ValueError, where there is none, and ValueError where it reaches the border of the grid.
    """
    from skimage.measure import marching_cubes

    value = grid.value - level
    if not value.min() < 0.0 < value.max():
        raise NoSurface(f"no surface: the field goes from {value.min():.3g} to {value.max():.3g}, must change sign")
    if any(face.min() <= 0.0 for axis in range(3) for face in (value.take(0, axis), value.take(-1, axis))):
        raise ValueError("the surface reaches the border of its box: the box must be larger")
    # values of exactly zero would make triangles without area
    value = np.where(value == 0.0, np.finfo(value.dtype).eps, value)
    vertices, faces, _, _ = marching_cubes(value, 0.0, gradient_direction="ascent")
    # skimage takes objects for bright, so its triangles must be turned round
    return trimesh.Trimesh(grid.origin + grid.spacing * vertices, faces[:, ::-1], process=False)


def tidy(mesh: trimesh.Trimesh, smallest: float = 0.0) -> trimesh.Trimesh:
    """The mesh without cavities, which no view shows, and without pieces below the share `smallest` of its volume."""
    faces, count = np.asarray(mesh.faces), len(mesh.vertices)
    links = coo_array(
        (np.ones(2 * len(faces)), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), shape=(count,) * 2
    )
    piece = connected_components(links, directed=False)[1][faces[:, 0]]
    corner = np.asarray(mesh.triangles) - mesh.vertices.mean(axis=0)
    volume = np.bincount(piece, np.einsum("fi,fi->f", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) / 6.0)
    kept = volume > smallest * volume.max()
    tidied = trimesh.Trimesh(mesh.vertices, faces[kept[piece]], process=False)
    tidied.remove_unreferenced_vertices()
    return tidied


def _halved(
    field: Field, grid: Grid, levels: tuple[float, float], last: bool, on_progress: OnProgress = unwatched
) -> Grid:
    """The grid with half its spacing; a node far from the levels takes the value of a node beside it.

    The finest nodes are evaluated where the surface leads, from cell to cell. That is half of the nodes that may be
    near; meshes of 14 models were the same.
    """
    low, high = grid.value[:-1, :-1, :-1], grid.value[:-1, :-1, :-1]
    cells = low.shape
    for corner in np.ndindex(2, 2, 2):
        value = grid.value[tuple(slice(c, c + n) for c, n in zip(corner, cells, strict=True))]
        low, high = np.minimum(low, value), np.maximum(high, value)
    # a plate thinner than a cell shows only in the cells beside it; the finest cells need no such margin
    spread = high - low if last else maximum_filter(high - low, size=3)
    near = (low - spread <= levels[1]) & (high + spread >= levels[0])
    first = near & _meets(low, high, levels) if last else near
    value = grid.value.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:-1, :-1, :-1]
    finer = Grid(np.full(value.shape, np.nan), grid.origin, grid.spacing / 2)
    todo, others = _halves(first), _halves(near & ~first)
    while len(todo):
        _evaluate(field, finer, todo, on_progress)
        reached = _meets(*known_range(finer.value, others), levels)
        todo, others = others[reached], others[~reached]
    return finer._replace(value=np.where(np.isnan(finer.value), value, finer.value))


def _meets(low: np.ndarray, high: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    return (low <= levels[1]) & (high >= levels[0])


def _halves(chosen: Bool[np.ndarray, "x y z"]) -> Int[np.ndarray, " cell"]:
    """The cells of half the size in the chosen ones, each by the place of its lowest node in the finer grid."""
    cells = chosen.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    return np.flatnonzero(np.pad(cells, ((0, 1),) * 3))


def corners(shape: tuple[int, ...]) -> Int[np.ndarray, "8"]:
    """How far the nodes of a cell lie behind its lowest one."""
    return np.ravel_multi_index(np.indices((2, 2, 2)).reshape(3, -1), shape)


def _evaluate(field: Field, grid: Grid, cells: Int[np.ndarray, " cell"], on_progress: OnProgress) -> None:
    """Fills in what is not yet known (NaN) of the cells' nodes."""
    wanted, value = np.zeros(grid.value.size, bool), grid.value.reshape(-1)
    for corner in corners(grid.value.shape):
        wanted[cells + corner] = True
    place = np.flatnonzero(wanted & np.isnan(value))
    points = grid.origin + grid.spacing * np.stack(np.unravel_index(place, grid.value.shape), axis=1)
    value[place] = evaluated(field, points, on_progress)


def known_range(
    value: Float[np.ndarray, "x y z"], cells: Int[np.ndarray, " cell"]
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """The least and the largest known value at the nodes of each cell, NaN where none is known."""
    low = high = np.full(len(cells), np.nan)
    for corner in corners(value.shape):
        there = value.reshape(-1)[cells + corner]
        low, high = np.fmin(low, there), np.fmax(high, there)
    return low, high
