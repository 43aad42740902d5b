"""Fits a network to normalised points: chunks of compiled steps, between which the surface is extracted anew."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jaxtyping import Float

from fm_render import Mixture
from fmb.clouds.enclosure import enclose, outward
from fmb.clouds.evidence import Evidence, examine
from fmb.clouds.methods import LOSSES, Batch, Weights
from fmb.clouds.options import AUTO, PointsOptions
from fmb.clouds.sampling import PLACES, Target, draw_batches, make_target
from fmb.clouds.smoothing import smoothed
from fmb.clouds.surface import extract
from fmb.fields.field import Field
from fmb.fields.networks import INPUTS, Network, Shape, network_field, start_network
from fmb.fit.checkpoints import Columns, columns_of, filled, to_arrays
from fmb.fit.loop import Coordinates, Course, adam, begin
from fmb.fit.options import FitOptions
from fmb.fit.schedules import SCHEDULES
from fmb.geometry.frames import Frame

CHUNK = 20  # steps between two extractions: the surface moves by less than a projection's reach
# The eikonal weight grows with the noise from here on, up to so many times. With 5 % noise on the dragon, weights of
# 0.2, 0.5 and 2 end at 1.86, 1.94 and 3.06 % of the longest side; with 1 %, 0.1 and 0.5 at 0.40 and 0.63 %.
NOISY, SMOOTHEST = 0.02, 2.5
FEWEST_POINTS = PLACES  # in a step: of every kind there is one at least
SAVES = 20  # checkpoints of a fit, if nothing else is said
CHUNK_CELLS = 48  # along the longest side of the surface that samples are taken from
PLAIN = Coordinates(lambda parameters, gradient: gradient, lambda p, change: jax.tree.map(jnp.add, p, change))


Streams = Callable[[int], np.random.Generator]
Chunk = Callable[[Course, Batch], tuple[Course, dict[str, Array]]]


class Preset(NamedTuple):
    """Size of a network, and how it is fitted."""

    width: int
    depth: int
    skip: int
    steps: int
    points: int
    rate: float
    activation: str


PRESETS = {
    "fast": Preset(64, 4, 0, 2_000, 1_000, 2e-3, "sine"),
    "quality": Preset(128, 4, 0, 4_000, 1_000, 7e-4, "sine"),
    "paper": Preset(256, 8, 4, 40_000, 5_000, 1e-3, "softplus"),  # as published,
}


class State(NamedTuple):
    """A fit after `step` steps: its field, arrays that it can go on from, and a column of each term over the steps."""

    step: int
    field: Field
    arrays: Mapping[str, np.ndarray]
    history: Mapping[str, np.ndarray]
    mixture: Mixture | None = None  # where the field is that of one
    facts: Mapping[str, Any] = {}  # what else there is to tell
    frame: Frame | None = None  # of the field, in that of the points, where it is another one


class Hooks(NamedTuple):
    """Who looks on: a progress bar, who keeps checkpoints, and the arrays of the one to go on from."""

    progress: Callable[[int, int, float], None] = lambda step, total, loss: None
    save: Callable[[State], None] = lambda state: None
    begun: Mapping[str, np.ndarray] | None = None
    offer: Callable[[Callable[[], State]], None] = lambda make: None  # a state between those that are saved


def preset_of(options: PointsOptions) -> Preset:
    """The preset with what the options say otherwise; in a net too flat for its skip this stands in the middle.

    Raises ValueError for a layer with no room for the input beside what it takes from the layer before it, and for
    steps so small that some term would see nothing.
    """
    preset = PRESETS[options.preset]
    wanted = (
        options.network_width,
        options.network_depth,
        0,
        options.num_steps,
        options.points_per_step,
        options.points_rate,
        "" if options.activation == AUTO else options.activation,
    )
    found = Preset(*(value or default for value, default in zip(wanted, preset, strict=True)))
    if found.skip >= found.depth:  # as far down as in the published net
        found = found._replace(skip=found.depth // 2)
    if 0 < found.skip < found.depth and found.width <= INPUTS:
        raise ValueError(f"network_width is {found.width}; preset {options.preset} needs at least {INPUTS + 1}")
    if found.points < FEWEST_POINTS:
        raise ValueError(f"points_per_step is {found.points}; must be at least {FEWEST_POINTS}")
    return found


def weights_of(options: PointsOptions, noise: float = 0.0) -> Weights:
    """The weights of the terms: those of the options, or of the method, for points with that noise."""
    method = LOSSES[options.points_method]
    smoother = min(max(noise / NOISY, 1.0), SMOOTHEST)
    chosen = (
        smoother * method.eikonal if options.eikonal_weight < 0 else options.eikonal_weight,
        method.area if options.area_weight < 0 else options.area_weight,
        method.body if options.body_weight < 0 else options.body_weight,
    )
    return Weights(options.surface_weight, *chosen, options.distance, options.normal_weight * options.use_normals)


def fit_network(
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"] | None,
    options: PointsOptions,
    generator: np.random.Generator,
    hooks: Hooks = Hooks(),
    evidence: Evidence | None = None,
) -> State:
    """The network whose zero is the surface of normalised points, and stands on their normals where they have some.

    `evidence` is that of the points, where it is known. Every chunk has random numbers of its own, so a fit that goes
    on from a checkpoint is the same, bit for bit.
    Raises FloatingPointError, with the step, where the loss is not finite or the surface vanishes.
    """
    streams, evidence = _streams(generator), evidence or examine(points)
    weights = weights_of(options, evidence.noise)._replace(**{} if normals is not None else {"normal": 0.0})
    target = _target(points, normals, evidence, weights, options, streams)
    course, history = begin(start_network(_shape(options), streams(0))), {}
    if hooks.begun is not None:
        course, history = restored(hooks.begun, options)
    else:
        hooks.save(_state(course, history, options))
    course, history = _fitted(course, history, target, weights, options, (streams, hooks))
    facts = {"spacing": evidence.spacing, "noise": evidence.noise, "weights": weights._asdict()}
    facts |= {"strays": int(np.count_nonzero(~evidence.kept))}
    return _state(course, history, options)._replace(facts=facts)


def _target(
    points: np.ndarray,
    normals: np.ndarray | None,
    evidence: Evidence,
    weights: Weights,
    options: PointsOptions,
    streams: Streams,
) -> Target:
    """What the fit aims at: points that are no strays, smoothed, and what their method needs beside them."""
    points = points[evidence.kept]
    points = smoothed(points, evidence) if options.smooth else points
    turned = weights.normal and "normal_weight" in LOSSES[options.points_method].reads
    body = enclose(points, evidence, streams(0)) if weights.body or turned else None
    normal = outward(points, normals[evidence.kept], body) if turned else None
    return make_target(points, body if weights.body else None, normal)


def _fitted(
    course: Course,
    history: Columns,
    target: Target,
    weights: Weights,
    options: PointsOptions,
    others: tuple[Streams, Hooks],
) -> tuple[Course, Columns]:
    """The course at its end, and the terms of all steps."""
    preset, method, (streams, hooks) = preset_of(options), LOSSES[options.points_method], others
    run, save_every = compile_chunk(options, preset, weights), options.save_every or max(1, preset.steps // SAVES)
    while (step := int(course.step)) < preset.steps:
        surface = _surface(course, options, step) if "surface" in method.needs else None
        batches = draw_batches(target, surface, method.needs, (CHUNK, preset.points), streams(1 + step))
        count = min(CHUNK, preset.steps - step)
        course, terms = run(course, jax.tree.map(lambda x, n=count: jnp.asarray(x[:n], _dtype()), batches))
        _check_finite(terms["loss"], step)
        for name, values in terms.items():
            history.setdefault(name, []).append(np.asarray(values))
        done = int(course.step)
        hooks.progress(done, preset.steps, float(np.mean(terms["loss"])))
        if done // save_every > step // save_every or done == preset.steps:
            hooks.save(_state(course, history, options))
        else:
            hooks.offer(partial(_state, course, {name: list(parts) for name, parts in history.items()}, options))
    return course, history


def compile_chunk(options: PointsOptions, preset: Preset, weights: Weights) -> Chunk:
    """A compiled function that takes a step with each of the batches; the course after them, and every step's terms."""
    method, moments = LOSSES[options.points_method], FitOptions()

    def loss(layers: Network, batch: Batch) -> tuple[Array, dict[str, Array]]:
        terms = method.terms(network_field(layers, preset.activation), batch, weights)
        return terms["loss"], terms

    def step(course: Course, now: tuple[Batch, Array]) -> tuple[Course, dict[str, Array]]:
        gradient, terms = jax.grad(loss, has_aux=True)(course.parameters, now[0])
        return adam(course, PLAIN, gradient, now[1], moments), terms | {"learning_rate": now[1]}

    def run(course: Course, batches: Batch) -> tuple[Course, dict[str, Array]]:
        number = course.step + jnp.arange(len(batches.points), dtype=course.step.dtype)
        rates = preset.rate * SCHEDULES["cosine"](number.astype(_dtype()) / preset.steps)
        return jax.lax.scan(step, course, (batches, rates))

    return jax.jit(run)


def field_of(arrays: Mapping[str, np.ndarray], options: PointsOptions) -> Field:
    """The field of a checkpoint's arrays."""
    return network_field(filled(_blank(options), arrays).average, preset_of(options).activation)


def restored(arrays: Mapping[str, np.ndarray], options: PointsOptions) -> tuple[Course, Columns]:
    """The course and the terms so far, from the arrays of a checkpoint. Raises ValueError for another network's."""
    return filled(_blank(options), arrays), columns_of(arrays)


def _blank(options: PointsOptions) -> Course:
    return begin(start_network(_shape(options), np.random.default_rng(0)))


def _shape(options: PointsOptions) -> Shape:
    preset = preset_of(options)
    return Shape(preset.width, preset.depth, preset.skip, preset.activation)


def _state(course: Course, history: Mapping[str, list[np.ndarray]], options: PointsOptions) -> State:
    columns = {name: np.concatenate(parts) for name, parts in history.items()}
    field = network_field(course.average, preset_of(options).activation)
    return State(int(course.step), field, to_arrays(course, history), columns)


def _surface(course: Course, options: PointsOptions, step: int) -> trimesh.Trimesh:
    try:
        return extract(network_field(course.parameters, preset_of(options).activation), CHUNK_CELLS, polished=False)
    except ValueError as error:
        raise FloatingPointError(f"the surface vanished at step {step} ({error}); try a smaller points_rate") from None


def _streams(generator: np.random.Generator) -> Streams:
    root = int(generator.integers(2**63))
    return lambda number: np.random.default_rng([root, number])


def _check_finite(loss: Array, start: int) -> None:
    finite = np.isfinite(np.asarray(loss))
    if not finite.all():
        raise FloatingPointError(
            f"the loss is not finite at step {start + int(np.argmin(finite))}; try a smaller points_rate"
        )


def _dtype() -> Any:
    return jnp.result_type(float)
