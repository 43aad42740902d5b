"""Metaballs fitted to a cloud: a mixture whose surface, where its density is ln 2, lies on the points.

It starts as a GMM of the body that the cloud encloses, and is then moved by Adam until points and surface agree: the
symmetric distance of losses.py, or, where the noise is wider than the surface's samples, the likelihood of the points.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float
from scipy.spatial import cKDTree

from fm_render import Mixture
from fmb.clouds.enclosure import Enclosure, certain_places, enclose, inner_points, outward
from fmb.clouds.evidence import Evidence, estimate_noise, examine
from fmb.clouds.losses import length, misplaced, moved_along, nearest_distance
from fmb.clouds.options import AUTO, PointsOptions
from fmb.clouds.recipe import Hooks, State
from fmb.clouds.smoothing import smoothed
from fmb.clouds.surface import extract
from fmb.clouds.symmetry import largest_of_cloud, skin_of_cloud, symmetry_of_cloud
from fmb.fields.correlation import bodies_of
from fmb.fields.field import Field
from fmb.fields.metaballs import HALF_DENSITY, density_field, log_density, value_slope_curvature
from fmb.fields.mixtures import fit_gmm, in_single, mixture_frame
from fmb.fields.surface_symmetry import Skin
from fmb.fields.symmetric import fold
from fmb.fit.loop import CHUNK, Course, Fit, Program, begin, run_fit, steps_of
from fmb.fit.options import FitOptions
from fmb.fit.schedules import Pace, begin_pace, stall_window
from fmb.geometry.interior import sample_surface
from fmb.geometry.symmetry import GROUPS, NO_SYMMETRY, place_record
from fmb.shape.edges import Edges, edges_from_mixture
from fmb.shape.symmetric import (
    Parameters,
    SymmetricEdges,
    coordinates_of,
    edges_of,
    edges_of_symmetric,
    mixture_of,
    symmetric_from_edges,
    symmetry_of,
)

STEPS, ROWS = 500, 8192  # steps of the fit; places of each kind between two extractions of the surface
BATCH = 2048  # points of a step; half as many places of each other kind
FIT = FitOptions(STEPS * BATCH // ROWS, BATCH, 0.03, "cosine", False, square_decay=0.99, average_decay=0.9)
CELLS = 48  # along the longest side of the surface that samples are taken from
NEAR = 4  # candidates for the nearest point of the cloud
# Noise from which on the likelihood is used: the 1,024 samples of a step are then about as dense as the noise is wide.
# Distances to single points make tunnels there: over dragon and spot with 5 % noise they end at 2.0 and 2.3 % of the
# longest side, the likelihood at 1.6 and 1.0.
STRONG = 0.02
LEAST_SLOPE = 2.0  # of the field a longest side, where offsets are first-order distances
STEEPNESS = 0.01  # longest sides over which the field should change by 1 at the points, or over the noise
CERTAIN_WEIGHT, STEEP_WEIGHT, SLENDER_WEIGHT, NORMAL_WEIGHT = 1.0, 0.02, 0.01, 0.02
GMM_POINTS, GMM_POINTS_EACH = 4_000, 60  # places in the body for its GMM, at least; for each component


class Rows(NamedTuple):
    """What steps see, in rows of equal number."""

    point: Float[Array, "row 3"]  # of the cloud
    normal: Float[Array, "row 3"]  # of the point; 0 where unknown
    surface: Float[Array, "row 3"]  # a sample of the mixture's surface, as it was when the chunk began
    near: Float[Array, "row near 3"]  # points of the cloud next to the sample
    place: Float[Array, "row 3"]  # surely inside or outside
    depth: Float[Array, " row"]  # least one of that place


class Lengths(NamedTuple):
    """By what the losses are rounded, in longest sides."""

    spacing: Float[Array, ""]
    noise: Float[Array, ""]


def fit_blobs(
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"] | None,
    options: PointsOptions,
    generator: np.random.Generator,
    hooks: Hooks = Hooks(),
    evidence: Evidence | None = None,
) -> State:
    """The mixture of options.components components whose surface lies on normalised points; `evidence` is theirs.

    It takes seconds, so a run that is resumed starts it anew, with the same result.
    Raises FloatingPointError, with the step, where the loss is not finite or the surface vanishes.
    """
    evidence = evidence or examine(points)
    kept = points[evidence.kept]
    enclosure = enclose(kept, evidence, generator)
    mixture, facts = start_blobs(kept, enclosure, options.components, generator), _facts(evidence, enclosure)
    skin = partial(skin_of_cloud, points, evidence)
    if evidence.noise < STRONG:
        points, evidence = _calmed(points, evidence, generator)
    hooks.save(_state(0, mixture, {}, facts))
    edges, told = begin_blobs(mixture, options.group, skin, generator)
    facts, aim = facts | told, _aim(points, normals, enclosure, evidence)
    steps: list[float] = []

    def refresh(edges: Parameters, step: int) -> Rows:
        return draw_rows(aim, enclosure, mixture_of(edges), step, generator)

    def on_chunk(course: Course, rows: Any, step: int, total: int, loss: float) -> tuple[Course, Any]:
        hooks.progress(step, total, loss)
        steps.extend([loss] * (step - len(steps)))
        if step == total:
            return course, rows
        hooks.save(_state(step, mixture_of(course.average), {"loss": np.array(steps)}, facts))
        return course, refresh(course.parameters, step)

    start, batches = (begin(edges), refresh(edges, 0)), _batches(generator)
    state = _ended(run_fit(blob_program(evidence), *start, batches, ROWS // BATCH, on_chunk), facts)
    hooks.save(state)
    return state


def _ended(fit: Fit, facts: dict[str, Any]) -> State:
    """The state at the end of the fit; of a symmetric one all copies, and where its mirror or axis is by now."""
    if isinstance(fit.parameters, SymmetricEdges):
        facts = facts | {"symmetry": facts["symmetry"] | place_record(symmetry_of(fit.parameters))}
    history = {"loss": fit.loss, "learning_rate": fit.learning_rate}
    return _state(len(fit.loss), whole_of(fit.parameters), history, facts)


def _calmed(points: np.ndarray, evidence: Evidence, generator: np.random.Generator) -> tuple[np.ndarray, Evidence]:
    """The points, moved to the surface that their neighbours lie about, and what noise is left.

    Over the dragon with 1 % noise, fits to the points as they are end at 0.53 to 0.87 % of the longest side.
    """
    moved = smoothed(points[evidence.kept], evidence)
    noise = min(evidence.noise, estimate_noise(moved, evidence.spacing, generator))
    calm = np.array(points)
    calm[evidence.kept] = moved
    return calm, evidence._replace(noise=noise)


def start_blobs(
    points: Float[np.ndarray, "point 3"], enclosure: Enclosure, count: int, generator: np.random.Generator
) -> Mixture:
    """A GMM of the body, weighted so that half of the points lie within its surface."""
    inside = inner_points(enclosure, max(GMM_POINTS, GMM_POINTS_EACH * count), generator)
    mixture = in_single(fit_gmm(inside, count, int(generator.integers(2**31))))
    some = jnp.asarray(points[generator.permutation(len(points))[:BATCH]], mixture.mean.dtype)
    return mixture._replace(log_weight=mixture.log_weight + jnp.median(value_slope_curvature(mixture, some).value))


def begin_blobs(
    mixture: Mixture, kind: str, skin_at: Callable[..., Skin], generator: np.random.Generator
) -> tuple[Parameters, dict[str, Any]]:
    """What is fitted, and what there is to say of its symmetry; "auto" takes the largest that the points have.

    A kind that is named is taken as told, at its best place. Places are in the frame of the mixture. `skin_at` takes
    the object's scale and a generator.
    """
    if kind == NO_SYMMETRY:
        return edges_from_mixture(mixture), {}
    bodies, scale = bodies_of(mixture), float(mixture_frame(mixture).scale)
    skin = skin_at(scale, generator)
    chosen = largest_of_cloud(skin, bodies) if kind == AUTO else symmetry_of_cloud(skin, bodies, kind)
    if chosen is None:
        return edges_from_mixture(mixture), {"symmetry": {"kind": NO_SYMMETRY}}
    count = -(-len(mixture.mean) // len(GROUPS[chosen.symmetry.kind]().maps))
    folded = fold(mixture, chosen.symmetry, count)
    told = {
        "kind": chosen.symmetry.kind,
        "score": chosen.score,
        "share_far": chosen.far,
        "distance_in_scales": chosen.distance,
        "holds": chosen.holds,
        "components_fitted": len(folded.fundamental.mean),
    }
    return edges_of_symmetric(folded, 1.0), {"symmetry": told}


def whole_of(parameters: Parameters) -> Mixture:
    """All components as they are written: copies that fall together are one."""
    if isinstance(parameters, Edges):
        return mixture_of(parameters)
    return in_single(symmetric_from_edges(parameters).whole())


def field_of_blobs(arrays: Mapping[str, np.ndarray], options: PointsOptions) -> Field:
    """The field of a checkpoint's arrays."""
    return density_field(Mixture(*(jnp.asarray(arrays[name]) for name in Mixture._fields)), HALF_DENSITY)


def blob_loss(edges: Parameters, rows: Rows, lengths: Lengths, strong: bool) -> Float[Array, ""]:
    """How badly points and surface agree; see the terms."""
    mixture, half = mixture_of(edges), rows.point.shape[0] // 2
    jet = value_slope_curvature(mixture, jnp.concatenate([rows.point, rows.place[:half]]))
    steep = length(jet.slope.T)
    offset = jet.value / stop_gradient(jnp.maximum(steep, LEAST_SLOPE))
    count = rows.point.shape[0]
    at = slice(None, count)
    field = partial(log_density, mixture, jnp.asarray(HALF_DENSITY, jet.value.dtype))
    surface = moved_along(field, rows.surface[:half])
    if strong:
        agreement = unlikelihood(rows.point[:half], surface, lengths.noise)
    else:
        near = rounded(offset[at], jnp.maximum(0.2 * lengths.spacing, lengths.noise))
        agreement = (near + nearest_distance(surface, rows.near[:half])) / 2
    wanted = 1.0 / jnp.maximum(lengths.noise, STEEPNESS)
    flat = jnp.mean(jax.nn.relu(1.0 - steep[at] / wanted) ** 2)
    cosine = jnp.sum(rows.normal * jet.slope.T[at] / steep[at, None], axis=1)
    turned = jnp.mean(jnp.sum(rows.normal**2, axis=1) - cosine)
    return (
        agreement
        + CERTAIN_WEIGHT * misplaced(offset[count:], rows.depth[:half])
        + STEEP_WEIGHT * flat
        + NORMAL_WEIGHT * turned
        + SLENDER_WEIGHT * slender(edges_of(edges), jnp.maximum(lengths.spacing, 1.5 * lengths.noise))
    )


def rounded(offset: Float[Array, " point"], radius: Float[Array, ""]) -> Float[Array, ""]:
    """Mean length of offsets, squares of those within the radius: noise averages out, strays count little."""
    return jnp.mean(jnp.sqrt(offset * offset + radius * radius))


def unlikelihood(
    points: Float[Array, "point 3"], surface: Float[Array, "sample 3"], noise: Float[Array, ""]
) -> Float[Array, ""]:
    """-noise times the mean log likelihood of points that are samples of the surface with Gaussian noise, >= 0."""
    square = (
        jnp.sum(points**2, axis=1)[:, None]
        + jnp.sum(surface**2, axis=1)[None]
        - 2.0 * jnp.matmul(points, surface.T, precision="highest")
    )
    chance = jax.nn.logsumexp(-square / (2.0 * noise * noise), axis=1) - jnp.log(float(len(surface)))
    return -noise * jnp.mean(chance)


def slender(edges: Edges, least: Float[Array, ""]) -> Float[Array, ""]:
    """Mean square of the logarithm by which components are thinner than is told by points so far apart."""
    sharp = jnp.log(jnp.sum(edges.edge_cholesky**2, axis=(1, 2))) / 2 + jnp.log(least)
    return jnp.mean(jax.nn.relu(sharp) ** 2)


@partial(jax.jit, static_argnums=5)
def _chunk(course: Course, pace: Pace, rows: Rows, index: Array, lengths: Lengths, strong: bool):
    def loss(edges: Parameters, batch: Rows) -> Array:
        return blob_loss(edges, batch, lengths, strong)

    return steps_of(loss, coordinates_of(course.parameters), FIT)(course, pace, rows, index)


def blob_program(evidence: Evidence) -> Program:
    """The compiled steps; lengths are arguments, so that all clouds share a program."""
    lengths = Lengths(*(jnp.asarray(x, jnp.float32) for x in (evidence.spacing, max(evidence.noise, 1e-6))))
    window = stall_window(FIT.schedule, FIT.num_epochs, ROWS // BATCH)

    def run(course: Course, pace: Pace, rows: Rows, index: Array):
        return _chunk(course, pace, rows, index, lengths, evidence.noise >= STRONG)

    def pace(steps_per_epoch: int) -> Pace:
        rate = jnp.asarray(FIT.initial_lr, jnp.float32)
        return begin_pace(rate, FIT.num_epochs * steps_per_epoch, window, window)

    return Program(run, pace, FIT, CHUNK)


class Aim(NamedTuple):
    """The cloud that is aimed at: points, normals or 0, the share of each among the samples, and a tree."""

    point: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"]
    share: Float[np.ndarray, " point"]
    tree: cKDTree


def _aim(points: np.ndarray, normals: np.ndarray | None, enclosure: Enclosure, evidence: Evidence) -> Aim:
    kept = points[evidence.kept]
    normal = np.zeros_like(kept) if normals is None else outward(kept, normals[evidence.kept], enclosure)
    area = evidence.area[evidence.kept]
    return Aim(kept, normal, area / area.sum(), cKDTree(kept))


def draw_rows(aim: Aim, enclosure: Enclosure, mixture: Mixture, step: int, generator: np.random.Generator) -> Rows:
    """Rows for the steps until the surface is extracted again."""
    try:
        mesh = extract(density_field(mixture, HALF_DENSITY), CELLS, polished=False)
    except ValueError as error:
        raise FloatingPointError(f"the surface vanished at step {step} ({error})") from None
    surface = generator.permutation(sample_surface(mesh, ROWS, generator))
    chosen = generator.choice(len(aim.point), ROWS, p=aim.share)
    near = aim.point[aim.tree.query(surface, NEAR, workers=-1)[1]]
    certain = certain_places(enclosure, ROWS, generator)
    parts = (aim.point[chosen], aim.normal[chosen], surface, near, *certain)
    return Rows(*(jnp.asarray(part, jnp.float32) for part in parts))


def _batches(generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from generator.permutation(ROWS).astype(np.int32).reshape(-1, BATCH)


def _facts(evidence: Evidence, enclosure: Enclosure) -> dict[str, Any]:
    return {
        "spacing": evidence.spacing,
        "noise": evidence.noise,
        "strays": int(np.count_nonzero(~evidence.kept)),
        "gap": enclosure.gap,
        "flooded": enclosure.flooded,
    }


def _state(step: int, mixture: Mixture, history: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> State:
    arrays = {name: np.asarray(array) for name, array in mixture._asdict().items()}
    return State(step, density_field(mixture, HALF_DENSITY), arrays, history, mixture, facts)
