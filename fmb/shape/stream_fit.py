"""The fit of a mixture to views that stay on disk: `fit_to_views`, but that no step sees more than a group of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, Settings
from fmb.fit.history import History
from fmb.fit.loop import Course, Fit, Passed, begin, compile_plan
from fmb.fit.prefetch import ahead
from fmb.geometry.metrics import MEDIAN_TO_DEVIATION, view_ious
from fmb.shape.attendant import (
    FEWEST_VIEWS,
    FIRST_DOUBT,
    FIRST_VIEW_DOUBT,
    Attention,
    Care,
    farthest,
    sighted,
    tended,
    weight_beyond,
)
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import (
    Hooks,
    LookAfter,
    OnShape,
    ShapeFit,
    ShapeProgram,
    Standing,
    carried_on,
    filled_standing,
    loss_of,
    plan_shape_fit,
    resized,
    whole_loss,
)
from fmb.shape.streaming import Glance, Glances, ViewStream, care_of, choice_of, pixels_at
from fmb.shape.supervision import Sample

JUDGES = 64  # views, at most, by which the best of the last states is chosen
UNKNOWN = -1.0  # error of a view that has not been looked at

look_closely = jax.jit(sighted)
tend = jax.jit(tended)


def compile_stream_fit(
    mixture: Mixture, stream: ViewStream, options: OptimizationOptions, settings: Settings | None = None
) -> ShapeProgram:
    """The compiled fit of such a mixture to the stream.

    Raises ValueError for a schedule or recipe that looks at all rays in one epoch.
    """
    if options.schedule == "plateau" or options.recipe == "predecessor":
        given = "recipe is predecessor" if options.recipe == "predecessor" else "schedule is plateau"
        raise ValueError(f"{given}; not possible with views from disk, see --stream-views")
    plan = plan_shape_fit(mixture, stream.shape, options, settings)
    rays = plan.fit.chunk * options.batch_size
    parameters, sample = jax.eval_shape(plan.recipe.encode, mixture), plan.supervision.shapes(rays)
    loss, coordinates = loss_of(plan.recipe, plan.supervision), plan.recipe.coordinates
    return plan._replace(fit=compile_plan(plan.fit, loss, coordinates, parameters, sample))


def fit_to_stream(
    program: ShapeProgram,
    mixture: Mixture,
    stream: ViewStream,
    generator: np.random.Generator,
    on_progress: OnShape | Hooks = Hooks(),
    point: Float[np.ndarray, "point 3"] | None = None,
) -> ShapeFit:
    """The mixture after the fit to all views of the stream, and to `point` of the surface, in their frame.

    As `fit_to_views`, with these differences: rays are drawn group by group; masks and views are doubted by the state
    before each chunk, each group when its turn comes; the best of the last states is chosen by JUDGES views. `believed`
    of what comes back is empty.
    """
    hooks = on_progress if isinstance(on_progress, Hooks) else Hooks(on_progress)
    fit_options, aims = program.fit.options, program.aims
    seeds = generator.integers(2**31, size=2)
    rows = program.fit.chunk, fit_options.batch_size
    choose = choice_of(program.recipe, aims.depth_weight)
    glances = Glances(stream, choose, aims, rows, int(seeds[0]), point)
    standing = begin_stream(program, mixture, stream, int(seeds[1]))
    if hooks.begun is not None:
        standing = filled_standing(standing, hooks.begun)
    parts = ahead(glances.glance, int(standing.passed.pace.step) // program.fit.chunk)
    try:
        now = next(parts)
        if hooks.begun is None:
            standing = standing._replace(weight=now.sample.weight)
        batches = rows_again(rows)
        fit, standing = carried_on(program, standing, now.sample, batches, hooks, looking_after(program, now, parts))
    finally:
        parts.close()
    return end_stream(program, glances, fit, standing, program.recipe.encode(resized(mixture, aims.scale)))


def rows_again(rows: tuple[int, int]) -> Iterator[np.ndarray]:
    """The rows of each batch: a chunk's rays lie in the order in which its steps take them, chunk after chunk."""
    every = np.arange(rows[0] * rows[1], dtype=np.int32).reshape(rows)
    while True:
        yield from every


def begin_stream(program: ShapeProgram, mixture: Mixture, stream: ViewStream, seed: int) -> Standing:
    """Where a fit stands before its first step; no pixel is remembered, and no view was looked at."""
    course = begin(program.recipe.encode(resized(mixture, program.shape_scale)))
    per_epoch = max(1, round(program.effort * (stream.epoch // program.fit.options.batch_size)))
    ones = jnp.ones(stream.count, jnp.float32)
    key = jax.random.key_data(jax.random.key(seed))
    first = jnp.asarray(FIRST_DOUBT, ones.dtype)
    attention = Attention(
        jnp.zeros((0, *stream.size), bool), ones, UNKNOWN * ones, first, jnp.zeros((), jnp.int32), key
    )
    rays = program.fit.chunk * program.fit.options.batch_size
    return Standing(Passed(course, program.fit.pace(per_epoch)), attention, jnp.zeros(rays, jnp.float32))


def looking_after(program: ShapeProgram, first: Glance, parts: Iterator[Glance]) -> LookAfter:
    """What is done between two chunks: components move by what the rays of the last one say, and the next is begun."""
    now, settings, attends = first, program.aims.settings, program.recipe.attends

    def look_after(attention: Attention, course: Course, sample: Sample, progress: Float[Array, ""]) -> tuple:
        nonlocal now
        if attends:
            trust = sample.weight / now.care.weight  # of rays that were drawn it is never 0
            attention, course = tend(now.care, attention, course, (sample, trust), progress, settings)
        if progress >= 1:
            return attention, course, sample
        now = next(parts)
        if attends and progress >= FIRST_DOUBT:
            mixture = program.recipe.decode(course.average)
            attention, weight = doubted(now, attention, mixture, float(progress), settings)
            return attention, course, now.sample._replace(weight=weight)
        return attention, course, now.sample

    return look_after


def doubted(
    now: Glance, state: Attention, mixture: Mixture, progress: float, settings: Settings
) -> tuple[Attention, Float[Array, " ray"]]:
    """State and weight of each ray after a look at the group with the mixture as it is.

    A view loses weight after two looks in a row at which its outlines were far off, as `doubt` has it: far from what
    is usual among all views at their last looks.
    """
    trusted, error, _ = look_closely(now.care, mixture, settings)
    last, weight = np.array(state.error), np.array(state.view_weight)
    if progress >= FIRST_VIEW_DOUBT:
        before, last[now.index] = last[now.index], np.asarray(error)
        known = last[last >= 0.0]
        if len(known) >= FEWEST_VIEWS:
            middle = np.median(known)
            bound = farthest(middle, MEDIAN_TO_DEVIATION * np.median(np.abs(known - middle)))
            twice = np.where(before >= 0.0, np.minimum(before, last[now.index]), 0.0)
            weight[now.index] = np.asarray(weight_beyond(twice, bound))
    state = state._replace(error=jnp.asarray(last), view_weight=jnp.asarray(weight))
    trust = weight[now.index][:, None, None] * np.asarray(trusted)
    return state, now.care.weight * jnp.asarray(trust.reshape(-1)[now.place], now.care.weight.dtype)


def end_stream(program: ShapeProgram, glances: Glances, fit: Fit, standing: Standing, start: Any) -> ShapeFit:
    """What a fit leaves: of its end, the states of least loss and its start the one that fits JUDGES views best."""
    states = [fit.parameters, *(state for _, state in standing.low), start]
    losses = losses_of(program, glances, [program.recipe.decode(state) for state in states], standing.attention)
    best, stream = int(np.argmin(losses)), glances.stream
    found = program.recipe.decode(states[best])
    ious = [view_ious(*seen) for seen in sights(program, stream, found)]
    history = History(np.arange(len(fit.loss)), fit.loss, fit.learning_rate)
    nothing, weight = np.zeros((0, *stream.size), bool), np.asarray(standing.attention.view_weight)
    fitted = ShapeFit(resized(found, 1 / program.shape_scale), history, nothing, weight, np.concatenate(ious), 0.0)
    return fitted._replace(loss=float(losses[best]), kept_start=best == len(states) - 1)


def losses_of(
    program: ShapeProgram, glances: Glances, states: Sequence[Mixture], attention: Attention
) -> Float[np.ndarray, " state"]:
    """The loss of each state over all believed pixels of JUDGES views; the first state says what is believed."""
    stream, aims = glances.stream, program.aims
    judges = np.unique(np.linspace(0, stream.count - 1, min(JUDGES, stream.count)).round().astype(int))
    weight, losses = np.asarray(attention.view_weight), np.zeros(len(states))
    for view in judges:
        views = stream.read(np.array([view]))
        trusted, _ = trusted_alpha(program, care_of(stream, np.array([view]), views, aims.scale), states[0])
        place = np.arange(trusted.size)
        trust = jnp.asarray(weight[view] * trusted.ravel(), jnp.float32)
        sample = Sample(pixels_at(views, place, aims), trust, glances.beside(len(place), np.random.default_rng(view)))
        losses += [float(whole_loss(aims, state, sample)) for state in states]
    return losses / len(judges)


def sights(
    program: ShapeProgram, stream: ViewStream, mixture: Mixture
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of group after group of all views: what they see of the mixture, what they show, and what is believed of that."""
    count, each = stream.count, stream.each
    groups = [np.arange(first, min(first + each, count)) for first in range(0, count, each)]
    for index, views in ahead(lambda number: (groups[number], stream.read(groups[number])), 0, len(groups)):
        trusted, alpha = trusted_alpha(program, care_of(stream, index, views, program.shape_scale), mixture)
        yield alpha, np.asarray(views.silhouette), trusted


def trusted_alpha(program: ShapeProgram, care: Care, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of some views are believed beside what they see of the mixture, and its alpha there."""
    trusted, _, alpha = look_closely(care, mixture, program.aims.settings)
    return np.asarray(trusted if program.recipe.attends else care.valid), np.asarray(alpha)
