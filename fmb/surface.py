"""Surfaces of fields: marching cubes with the field evaluated near its zero alone, and vertices with a gradient.

A field is a function of points [point, 3] that JAX can differentiate, negative inside; nothing here knows of what.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jax.lax import stop_gradient
from jax.tree_util import Partial
from jaxtyping import Float
from scipy.ndimage import maximum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fmb.cameras import ANY_ARRAY

Field = Callable[[Array], Array]  # [point, 3] to [point]; a jax.tree_util.Partial is compiled once for all mixtures
COARSEST = 4  # fine cells along a side of the cells that are looked at first
BATCH = 8192  # points of one call: [component, point] arrays of 40 components stay in cache
NEWTON_STEPS = 2  # towards the zero; from marching cubes' chord the first leaves about 1 % of the way
FEWEST_CELLS = 8  # along the longest side


class Grid(NamedTuple):
    """A field at the nodes origin + spacing (i, j, k); far from the levels asked for only its sign means something."""

    value: Float[np.ndarray, "x y z"]
    origin: Float[np.ndarray, "3"]
    spacing: float


def extract_surface(
    field: Field,
    lower: Float[np.ndarray, "3"],
    upper: Float[np.ndarray, "3"],
    resolution: int = 192,
    smallest: float = 0.0,
) -> trimesh.Trimesh:
    """Closed mesh of the field's zero within the box, outward; about `resolution` cells along the longest side.

    See `tidy` for `smallest`; vertices are polished. Raises ValueError as `sample_field` and `contour`.
    """
    grid = sample_field(field, lower, upper, resolution)
    mesh = tidy(contour(grid), smallest)
    mesh.vertices = polish(field, np.asarray(mesh.vertices), grid.spacing / 2)
    return mesh


def sample_field(
    field: Field,
    lower: Float[np.ndarray, "3"],
    upper: Float[np.ndarray, "3"],
    resolution: int,
    levels: tuple[float, float] = (0.0, 0.0),
) -> Grid:
    """The field on a grid over the box and one coarse cell around it, exact near where it is between the levels.

    First at every COARSEST-th node; a cell is halved where its corners, or how much they differ there and in the cells
    beside it, leave room for one of the levels.
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
    grid = Grid(_evaluated(field, origin + side * np.indices(shape).reshape(3, -1).T).reshape(shape), origin, side)
    for factor in range(int(np.log2(COARSEST))):
        grid = _halved(field, grid, levels, last=2 ** (factor + 1) == COARSEST)
    return grid


def contour(grid: Grid, level: float = 0.0) -> trimesh.Trimesh:
    """Closed mesh where the grid's values are `level`, outward (towards larger values).

    Raises ValueError where there is no such surface, or where it reaches the border of the grid.
    """
    from skimage.measure import marching_cubes

    value = grid.value - level
    if not value.min() < 0.0 < value.max():
        raise ValueError(f"no surface: the field goes from {value.min():.3g} to {value.max():.3g}, must change sign")
    if any(face.min() <= 0.0 for axis in range(3) for face in (value.take(0, axis), value.take(-1, axis))):
        raise ValueError("the surface reaches the border of its box: the box must be larger")
    # a value of exactly zero would make triangles without area
    value = np.where(value == 0.0, np.finfo(value.dtype).eps, value)
    vertices, faces, _, _ = marching_cubes(value, 0.0, gradient_direction="ascent")
    # gradient_direction speaks of objects that are bright, hence the turn
    return trimesh.Trimesh(grid.origin + grid.spacing * vertices, faces[:, ::-1], process=False)


def tidy(mesh: trimesh.Trimesh, smallest: float = 0.0) -> trimesh.Trimesh:
    """The mesh without cavities, which nobody sees, and without pieces below the share `smallest` of its volume."""
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


def polish(field: Field, vertices: Float[np.ndarray, "vertex 3"], longest: float) -> Float[np.ndarray, "vertex 3"]:
    """The vertices after Newton steps of at most `longest` towards the field's zero; none moves away from it."""
    points = np.asarray(vertices, float)
    for _ in range(NEWTON_STEPS):
        value, slope = _sloped(field, points)
        step = -value[:, None] * slope / np.maximum(np.sum(slope**2, axis=1), np.finfo(float).tiny)[:, None]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        moved = points + step * np.minimum(1.0, longest / np.maximum(length, np.finfo(float).tiny))
        nearer = np.abs(_evaluated(field, moved)) < np.abs(value)
        points = np.where(nearer[:, None], moved, points)
    return points


def attached(field: Field, vertices: Float[ANY_ARRAY, "vertex 3"]) -> Float[Array, "vertex 3"]:
    """The same points, on the field's zero, with the gradient they have as points that stay on it.

    They move along the normal as whatever the field depends on changes: x - (f - sg f) sg(grad f / |grad f|^2), with sg
    the stop-gradient. For those who fit through vertices; no task of this program does.
    """
    points = stop_gradient(jnp.asarray(vertices))
    value, pull = jax.vjp(field, points)
    slope = stop_gradient(pull(jnp.ones_like(value))[0])
    square = jnp.sum(slope * slope, axis=-1, keepdims=True)
    return points - (value - stop_gradient(value))[:, None] * slope / jnp.where(square > 0.0, square, 1.0)


def field_normals(field: Field, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
    """Unit normals of the field's level sets, outward (towards larger values); 0 where it is flat.

    For vertices that are `attached`; no task of this program needs them.
    """
    slope = _sloped(field, points)[1]
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return slope / np.where(length > 0.0, length, 1.0)


def _halved(field: Field, grid: Grid, levels: tuple[float, float], last: bool) -> Grid:
    """The grid with half its spacing; a node that no cell near the levels has takes the value of one near it."""
    low, high = grid.value[:-1, :-1, :-1], grid.value[:-1, :-1, :-1]
    cells = low.shape
    for corner in np.ndindex(2, 2, 2):
        value = grid.value[tuple(slice(c, c + n) for c, n in zip(corner, cells, strict=True))]
        low, high = np.minimum(low, value), np.maximum(high, value)
    # a plate thinner than a cell shows in the cells beside it; finer cells need no such care
    spread = high - low if last else maximum_filter(high - low, size=3)
    near = (low - spread <= levels[1]) & (high + spread >= levels[0])
    near = near.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    node = np.zeros(tuple(n + 1 for n in near.shape), bool)
    for corner in np.ndindex(2, 2, 2):
        node[tuple(slice(c, c + n) for c, n in zip(corner, near.shape, strict=True))] |= near
    value = grid.value.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:-1, :-1, :-1]
    value[node] = _evaluated(field, grid.origin + grid.spacing / 2 * np.argwhere(node))
    return Grid(value, grid.origin, grid.spacing / 2)


@jax.jit
def _value(field: Partial, points: Array) -> Array:
    return field(points)


@jax.jit
def _value_and_slope(field: Partial, points: Array) -> tuple[Array, Array]:
    value, pull = jax.vjp(field, points)
    return value, pull(jnp.ones_like(value))[0]


def _in_batches(function: Callable, field: Field, points: np.ndarray) -> list[np.ndarray]:
    """The results of `function(field, points)`, a tuple of arrays, for batches of one size."""
    field = field if isinstance(field, Partial) else Partial(field)
    dtype = jnp.result_type(float)
    parts = []
    for start in range(0, max(len(points), 1), BATCH):
        batch = points[start : start + BATCH]
        padded = np.zeros((BATCH, 3), dtype)
        padded[: len(batch)] = batch
        parts.append([np.asarray(x)[: len(batch)] for x in function(field, padded)])
    return [np.concatenate(part).astype(float) for part in zip(*parts, strict=True)]


def _sloped(field: Field, points: np.ndarray) -> list[np.ndarray]:
    return _in_batches(_value_and_slope, field, np.asarray(points))


def _evaluated(field: Field, points: np.ndarray) -> np.ndarray:
    (value,) = _in_batches(partial(_only, _value), field, points)
    broken = np.count_nonzero(~np.isfinite(value))
    if broken:
        raise ValueError(f"the field is not finite at {broken} of {len(value)} points")
    return value


def _only(function: Callable, *arguments) -> tuple[Array]:
    return (function(*arguments),)
