"""A mixture as a closed mesh: its field, the level of its surface, its colours, fewer triangles."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jax.lax import stop_gradient
from jax.tree_util import Partial
from jaxtyping import Float, Int

from fm_render import Mixture, Vector, choose, dot, lower, transposed
from fmb.fields.contour import Grid, contour, extract_surface, sample_field, tidy
from fmb.fields.field import Field, OnProgress, evaluated, unwatched
from fmb.fields.mixtures import covariance
from fmb.fields.options import MeshOptions
from fmb.fields.tunnels import Closed, closed_tunnels
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.metrics import iou
from fmb.geometry.views import Views, select_views

HALF_DENSITY = math.log(2.0)  # density of a half-opaque ray: alpha = 1 - exp(-density)
HALF_OPAQUE = math.log(HALF_DENSITY)  # its logarithm: the log density on the surface of a mixture
LEAST_SLOPE = 1.0  # of the log density a scale: bounds the offset of a point where the field is flat
FLATTEST = 1e-3  # least slope of a component a scale by which its curvature is divided
LEAST_SHARPNESS = 0.1  # log weight above that of half opacity; lighter components have no edge to soften
LEVELS = (0.2, 1.4)  # least and largest density that the search for the level tries
TRIALS = 9  # levels tried, in equal ratios
TIE = 0.002  # of IoU; smaller differences mean nothing with so many pixels
TRIAL_RESOLUTION, TRIAL_VIEWS = 64, 12  # of the meshes that the search tries; the level hardly depends on them
DIRECTIONS = 64  # evenly spread lines through a point; the three axes are added
AGAINST = 3  # lines that must miss the body before a point is outside; 1 leaves tunnels in solid bodies
COLLAPSED = 1e-3  # of a mesh's volume; a mesh that keeps less has too few triangles to be a body
LEAST_PIECE = 1e-3  # of the largest piece's volume; smaller pieces are dropped as specks


class MixtureMesh(NamedTuple):
    """The mesh, its level, and the IoU of its silhouettes with those of the views (None: no views).

    `narrow` is the number of its tunnels that are narrower than two pixels of the views, see `closed_tunnels`.
    """

    mesh: trimesh.Trimesh
    level: float
    iou: float | None
    narrow: int = 0


class FieldJet(NamedTuple):
    """A field at points: value (negative inside), slope, and curvature (>= 0), a mean of the components'."""

    value: Float[Array, " point"]
    slope: Float[Array, "3 point"]
    curvature: Float[Array, " point"]


def offsets(mixture: Mixture, points: Float[Array, "point 3"]) -> Vector:
    """L^T (x - mean), three arrays [mixture, point]."""
    return transposed(mixture.precision_cholesky, points.T[:, None] - mixture.mean.T[..., None])


def component_log_density(mixture: Mixture, rest: Vector) -> Float[Array, "mixture point"]:
    """log_weight - d^2 / 2 of every component, from the offsets of points."""
    return mixture.log_weight[:, None] - dot(rest, rest) / 2


def value_slope_curvature(mixture: Mixture, points: Float[Array, "point 3"]) -> FieldJet:
    """f = log ln 2 - log sum exp(log_weight - d^2 / 2), its slope and its curvature; zero where the density is ln 2.

    The curvature is the mean of the components' along their own slopes. All is differentiable; in compiled code,
    results that are not used cost nothing.
    """
    rest, factor = offsets(mixture, points), mixture.precision_cholesky
    log_density = component_log_density(mixture, rest)
    top = stop_gradient(log_density.max(0))
    share = jnp.exp(log_density - top[None])
    total = share.sum(0)
    pull = lower(factor, rest)
    across = transposed(factor, pull)
    bend = dot(across, across) / jnp.maximum(dot(pull, pull), FLATTEST**2)
    slope = jnp.stack([(share * x).sum(0) for x in pull]) / total[None]
    return FieldJet(HALF_OPAQUE - top - jnp.log(total), slope, (share * bend).sum(0) / total)


def surface_offset(
    mixture: Mixture, point: Float[Array, "point 3"], least_slope: float = LEAST_SLOPE
) -> Float[Array, " point"]:
    """Signed distance from the surface (density ln 2) to first order, positive outside: f / |grad f|.

    It is smaller where the slope is below `least_slope`. Its gradient takes the slope as constant; otherwise a fit
    could make points look nearer by blurring the field.
    """
    jet = value_slope_curvature(mixture, point)
    return jet.value / stop_gradient(jnp.sqrt((jet.slope * jet.slope).sum(0) + least_slope**2))


def softened(mixture: Mixture, blur: Float[Array, ""]) -> Mixture:
    """The same half-opaque ellipsoids with softer edges: the sharpness k becomes k / (1 + blur k).

    Blur 0 changes nothing; with blur 1 an edge reaches about a component's radius far.
    """
    sharpness = jnp.maximum(mixture.log_weight - HALF_OPAQUE, LEAST_SHARPNESS)
    factor = 1 / (1 + blur * sharpness)
    lower = jnp.sqrt(factor)[:, None, None] * mixture.precision_cholesky
    return Mixture(mixture.mean, lower, mixture.log_weight + (factor - 1) * sharpness)


def log_density(mixture: Mixture, level: Float[Array, ""], points: Float[Array, "point 3"]) -> Float[Array, " point"]:
    """log level - log of the sum of densities: zero where the density is `level`, negative inside."""
    return value_slope_curvature(mixture, points).value + jnp.log(level) - HALF_OPAQUE


def hull_density(
    mixture: Mixture, directions: Float[Array, "line 3"], level: Float[Array, ""], points: Float[Array, "point 3"]
) -> Float[Array, " point"]:
    """log level - log of a line's density through each point: the AGAINST-th smallest of all directions.

    Silhouettes tell about whole rays. The largest body that agrees with all of them has every point all of whose lines
    are at least half opaque. So thick bodies, whose lines pass many components, need less density at each point.
    """
    whitened = jnp.einsum("kji,dj->dki", mixture.precision_cholesky, directions, precision="highest")
    across = _across(whitened)
    deciding = _deciding_line(*stop_gradient((mixture, across, points)))
    chosen = jnp.take(across, deciding, axis=1).transpose(0, 3, 2, 1)
    return jnp.log(level) - jax.nn.logsumexp(_line_log_density(mixture, offsets(mixture, points), chosen), axis=0)


def _across(whitened: Float[Array, "line mixture 3"]) -> Float[Array, "2 line mixture 3"]:
    """Two unit vectors at right angles to each whitened direction, and to one another."""
    axis = whitened / jnp.linalg.norm(whitened, axis=-1, keepdims=True)
    first = jnp.cross(axis, jnp.eye(3, dtype=axis.dtype)[jnp.argmin(jnp.abs(axis), axis=-1)])
    first = first / jnp.linalg.norm(first, axis=-1, keepdims=True)
    return jnp.stack([first, jnp.cross(axis, first)])


def _line_log_density(
    mixture: Mixture, offset: Vector, across: Float[Array, "2 3 mixture #point"]
) -> Float[Array, "mixture point"]:
    """The largest log density of every component on lines through points.

    The parts of the offset across the line are squared, and not the part along it taken from the offset's square: of a
    thin component both are numbers of 1e10, whose difference has no digit left in single precision.
    """
    one, other = (dot(offset, tuple(axis)) for axis in across)
    return mixture.log_weight[:, None] - (one * one + other * other) / 2


def _deciding_line(mixture: Mixture, across: Array, points: Array) -> Int[Array, " point"]:
    """Index of the direction with the AGAINST-th smallest density along the line through each point."""
    offset = offsets(mixture, points)

    def insert(smallest: tuple, line: tuple) -> tuple[tuple, None]:
        """The smallest densities so far, ascending, each with the index of its direction."""
        across, place = line
        density = jnp.exp(_line_log_density(mixture, offset, across)).sum(0)
        place = jnp.full(density.shape, place)
        kept = []
        for known, where in smallest:
            less = density < known
            kept.append((jnp.where(less, density, known), jnp.where(less, place, where)))
            density, place = jnp.where(less, known, density), jnp.where(less, where, place)
        return tuple(kept), None

    first = jnp.full(points.shape[0], jnp.inf, points.dtype), jnp.zeros(points.shape[0], jnp.int32)
    lines = across.transpose(1, 0, 3, 2)[..., None], jnp.arange(across.shape[1], dtype=jnp.int32)
    smallest, _ = jax.lax.scan(insert, (first,) * AGAINST, lines)
    return smallest[-1][1]


def density_field(mixture: Mixture, level: float) -> Field:
    """The field whose zero is where the density at a point is `level`."""
    return Partial(log_density, *_arrays(mixture, level))


def hull_field(mixture: Mixture, level: float) -> Field:
    """The field whose zero is where the AGAINST-th smallest density of the lines through a point is `level`."""
    mixture, level = _arrays(mixture, level)
    directions = jax.device_put(np.asarray(spread_directions(DIRECTIONS), mixture.mean.dtype))
    return Partial(hull_density, mixture, directions, level)


FIELDS = {"density": density_field, "hull": hull_field}
SEARCHED = ("density",)  # whose level depends on how many components a line passes


def spread_directions(count: int) -> Float[np.ndarray, "line 3"]:
    """Unit directions of lines: the three axes and `count` evenly spread over a half sphere (Fibonacci's spiral)."""
    place = np.arange(count) + 0.5
    height = place / count
    turn, radius = np.pi * (1.0 + np.sqrt(5.0)) * place, np.sqrt(1.0 - height**2)
    return np.concatenate([np.eye(3), np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)])


def mixture_box(mixture: Mixture, level: float) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Lower and upper corner of a box; outside it no line parallel to one of its faces has a density of `level`.

    So no point outside has it either.

    Raises ValueError where no component is that dense.
    """
    log_weight = np.asarray(mixture.log_weight, float)
    square = 2.0 * (log_weight + np.log(len(log_weight) / level))  # one of them must reach its share
    if not np.any(square > 0.0):
        raise ValueError(f"no surface: no component is as dense as {level / len(log_weight):.3g}; it needs more weight")
    deviation = np.sqrt(np.diagonal(covariance(mixture), axis1=1, axis2=2))
    reach = np.sqrt(np.maximum(square, 0.0))[:, None] * deviation
    mean, dense = np.asarray(mixture.mean, float), square > 0.0
    return (mean - reach)[dense].min(axis=0), (mean + reach)[dense].max(axis=0)


def mesh_mixture(
    mixture: Mixture,
    options: MeshOptions = MeshOptions(),
    views: Views | None = None,
    level: float = 0.0,
    on_progress: OnProgress = unwatched,
) -> MixtureMesh:
    """Closed mesh of the mixture, in its frame, outward, without cavities or floating specks.

    Level 0 is that of `best_level` where there are views, else ln 2. With views, tunnels thinner than a pixel that they
    do not show are closed. Raises ValueError for an unknown field, a level that
    is not positive, too few faces, nothing dense enough.
    """
    choose("field of a mesh", options.mesh_field, FIELDS)
    if not 0.0 <= level < np.inf:
        raise ValueError(f"level of a mesh {level}: must be positive, or 0 to search for it")
    level = level or (HALF_DENSITY if views is None else best_level(mixture, options.mesh_field, views))
    field = FIELDS[options.mesh_field](mixture, level)
    grid_of = (*mixture_box(mixture, level), options.mesh_resolution)
    made = Closed(extract_surface(field, *grid_of, LEAST_PIECE, on_progress), 0)
    if views is not None:
        made = closed_tunnels(field, made.mesh, grid_of, LEAST_PIECE, views, on_progress)
    mesh = decimate(made.mesh, options.mesh_faces) if options.mesh_faces else made.mesh
    return MixtureMesh(mesh, level, None if views is None else mesh_iou(mesh, views), made.narrow)


def best_level(mixture: Mixture, kind: str, views: Views) -> float:
    """The level at which the mesh's silhouettes agree best (IoU) with those of some of the views.

    A hull has the mixture's own silhouettes at ln 2, and needs no search. What made the search prefer lower levels were
    its coarse meshes, in which thin parts are missing: rods came out 1.5 times as thick.
    Of the levels within TIE of the best, the one nearest to ln 2 is taken: their silhouettes are practically alike, but
    lower levels fill hollows. The field is sampled once; each of TRIALS levels costs a coarse mesh and its silhouettes.
    """
    if kind not in SEARCHED:
        return HALF_DENSITY
    chosen = np.unique(np.linspace(0, len(views.silhouette) - 1, TRIAL_VIEWS).astype(int))
    views = select_views(views, chosen)
    low, high = np.log(LEVELS)
    box = mixture_box(mixture, LEVELS[0])
    grid = sample_field(FIELDS[kind](mixture, 1.0), *box, TRIAL_RESOLUTION, (-high, -low))
    levels = np.exp(np.linspace(low, high, TRIALS))
    agreement = np.array([_level_iou(grid, level, views) for level in levels])
    good = levels[agreement >= agreement.max() - TIE]
    return float(good[np.argmin(np.abs(np.log(good / HALF_DENSITY)))])


def mesh_iou(mesh: trimesh.Trimesh, views: Views) -> float:
    """Agreement (IoU) of the mesh's silhouettes, by ray casting, with those of the views."""
    seen = cast_silhouettes(mesh, views.cameras, views.silhouette.shape[1:])
    return iou(seen, views.silhouette, views.valid)


def decimate(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The mesh with about `faces` triangles, by quadric edge collapse; unchanged if it has no more than that.

    Raises ValueError for fewer than 4 faces, for so few that nothing of the body is left, and where the package
    fast-simplification cannot be imported.
    """
    if faces < 4:
        raise ValueError(f"faces of a mesh {faces}: must be at least 4")
    if faces >= len(mesh.faces):
        return mesh
    try:
        fewer = mesh.simplify_quadric_decimation(face_count=faces)
    except ImportError:
        raise ValueError("fewer faces need the package fast-simplification, which cannot be imported") from None
    middle = mesh.vertices.mean(axis=0)
    before, after = (
        np.einsum("fi,fi->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))
        for corner in (mesh.triangles - middle, fewer.triangles - middle)
    )
    if not after > COLLAPSED * before:  # as a ring does, which no few triangles have
        raise ValueError(f"faces of a mesh {faces}: its {len(fewer.faces)} triangles enclose nothing; it needs more")
    return fewer


def vertex_colors(
    mixture: Mixture, color: Float[ANY_ARRAY, "mixture 3"], points: Float[np.ndarray, "point 3"]
) -> Float[np.ndarray, "point 3"]:
    """Colours at points, 0 to 1: the mean of the components' colours, weighted by their densities there."""
    return evaluated(Partial(blended_color, *_arrays(mixture, color)), points)


def blended_color(
    mixture: Mixture, color: Float[Array, "mixture 3"], points: Float[Array, "point 3"]
) -> Float[Array, "point 3"]:
    """The mean of the components' colours, weighted by their densities at each point."""
    weight = jax.nn.softmax(component_log_density(mixture, offsets(mixture, points)), axis=0)
    return jnp.einsum("kp,kc->pc", weight, color, precision="highest")


def _level_iou(grid: Grid, level: float, views: Views) -> float:
    try:
        mesh = contour(grid, -np.log(level))
    except ValueError:  # nothing is that dense
        return 0.0
    return mesh_iou(tidy(mesh, LEAST_PIECE), views)


def _arrays(mixture: Mixture, other: float | np.ndarray) -> tuple[Mixture, Array]:
    """The mixture and a level or colours in the precision that JAX works in, whatever files gave."""
    dtype = jnp.result_type(float)

    def placed(x: Array | np.ndarray | float) -> Array:
        return jnp.asarray(x, dtype) if isinstance(x, Array) else jax.device_put(np.asarray(x, dtype))

    return jax.tree.map(placed, (mixture, other))
