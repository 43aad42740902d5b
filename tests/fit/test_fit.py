import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from numpy.testing import assert_allclose

import fmb.fit.loop
from fmb.fit.loop import Coordinates, Course, Fit, adam, begin, compile_fit, run_fit
from fmb.fit.options import FitOptions
from fmb.fit.schedules import cosine

ADD = Coordinates(
    lambda parameters, gradient: gradient, lambda parameters, step: jax.tree.map(jnp.add, parameters, step)
)
TARGETS = np.random.default_rng(0).normal(size=(40, 3)) * [1.0, 10.0, 0.01]
START = np.array([3.0, -2.0, 0.5])
ORDER = np.random.default_rng(1).permutation(40).reshape(-1, 4)  # 10 batches of 4


class Point(NamedTuple):
    """What the fits here move."""

    place: Array


def loss(point: Point, batch: Array) -> Array:
    return jnp.mean((point.place[None] - batch) ** 2 * jnp.array([[1.0, 0.1, 100.0]]))


def batches():
    while True:
        yield from ORDER.astype(np.int32)


def keep(course, data, *progress):
    return course, data


def fitted(options: FitOptions, on_chunk=keep, loss=loss, data=TARGETS, coordinates=ADD) -> Fit:
    """The fit of START to batches of `data`, 10 an epoch."""
    parameters = Point(jnp.array(START))
    program = compile_fit(loss, coordinates, parameters, jnp.array(data), options)
    return run_fit(program, begin(parameters), jnp.array(data), batches(), 10, on_chunk)


def adam_in_numpy(rates, square_decay: float, average_decay: float) -> tuple[np.ndarray, np.ndarray]:
    """Average and losses of Kingma & Ba's algorithm 1, line by line."""
    place, average, first, second, losses = START, START, 0.0, 0.0, []
    for t, (rate, index) in enumerate(zip(rates, np.resize(ORDER, (len(rates), 4)), strict=True), 1):
        error, factor = place - TARGETS[index], np.array([1.0, 0.1, 100.0])
        losses.append(np.mean(error**2 * factor))
        gradient = np.sum(2.0 * error * factor, axis=0) / error.size
        first = 0.9 * first + 0.1 * gradient
        second = square_decay * second + (1.0 - square_decay) * gradient**2
        place = place - rate * (first / (1.0 - 0.9**t)) / (np.sqrt(second / (1.0 - square_decay**t)) + 1e-8)
        keep = min(average_decay, (1 + t) / (10 + t))
        average = keep * average + (1.0 - keep) * place
    return average, np.array(losses)


@pytest.mark.parametrize(("square_decay", "average_decay"), [(0.999, 0.0), (0.99, 0.9)])
def test_fit_is_adam(square_decay, average_decay):
    fit = fitted(FitOptions(3, 4, 0.3, "cosine", square_decay=square_decay, average_decay=average_decay))
    rates = 0.3 * np.asarray(cosine(jnp.arange(30) / 30))
    average, losses = adam_in_numpy(rates, square_decay, average_decay)
    assert_allclose(fit.learning_rate, rates, rtol=1e-14)
    assert_allclose(fit.loss, losses, rtol=1e-12)
    assert_allclose(fit.parameters.place, average, rtol=1e-12)


def test_first_step_has_the_length_of_the_rate():
    gradient = np.array([5.0, -1e-3, 1e-8])
    options = FitOptions(1, 1, 1.0, "constant", square_decay=0.7)
    course = adam(begin(Point(jnp.array(START))), ADD, Point(jnp.array(gradient)), jnp.array(0.25), options)
    # both moments are those of one gradient; epsilon halves a step whose gradient is as small
    assert_allclose(course.parameters.place, START - 0.25 * gradient / (np.abs(gradient) + 1e-8), rtol=1e-14)
    assert_allclose(course.parameters.place[2], START[2] - 0.125, rtol=1e-14)
    assert int(course.step) == 1


def test_nothing_moves_at_rate_0():
    course = begin(Point(jnp.array(START)))._replace(average=Point(jnp.array([1.0, 2.0, 3.0])))
    options = FitOptions(1, 1, 1.0, "constant", average_decay=0.5)
    for gradient in ([1.0, -2.0, 3.0], [jnp.nan, jnp.inf, 0.0]):
        still = adam(course, ADD, Point(jnp.array(gradient)), jnp.array(0.0), options)
        assert np.array_equal(still.parameters.place, START)
        assert np.array_equal(still.average.place, [1.0, 2.0, 3.0])


def test_average_is_exponential():
    seen = []

    def on_chunk(course: Course, data, *progress):
        seen.append(np.asarray(course.parameters.place))
        return course, data

    options = FitOptions(2, 4, 0.1, "constant", average_decay=0.8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fmb.fit.loop, "CHUNK", 1)
        fit = fitted(options, on_chunk)
    average = START
    for step, place in enumerate(seen, 1):
        keep = min(0.8, (1 + step) / (10 + step))  # 0.8 from step 35 on
        average = keep * average + (1 - keep) * place
    assert_allclose(fit.parameters.place, average, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_chunks_leave_no_trace(schedule, monkeypatch):
    options = FitOptions(3, 4, 0.2, schedule, early_stop=False, average_decay=0.7)
    whole, steps = fitted(options), []

    def on_chunk(course: Course, data, step: int, total: int, mean_loss: float):
        steps.append((step, total))
        first = 7 * (len(steps) - 1)
        assert_allclose(mean_loss, whole.loss[first:step].mean(), rtol=1e-12)
        return course, data

    monkeypatch.setattr(fmb.fit.loop, "CHUNK", 7)
    parts = fitted(options, on_chunk)
    assert steps == [(7, 30), (14, 30), (21, 30), (28, 30), (30, 30)]
    assert len(whole.loss) == 30
    # XLA may fuse a loop of another length otherwise
    assert_allclose(parts.loss, whole.loss, rtol=1e-12)
    assert_allclose(parts.parameters.place, whole.parameters.place, rtol=1e-12)
    assert_allclose(parts.learning_rate, whole.learning_rate, rtol=1e-14)


def test_the_fit_goes_on_from_what_it_is_given(monkeypatch):
    monkeypatch.setattr(fmb.fit.loop, "CHUNK", 10)

    def on_chunk(course: Course, data, *progress):
        return begin(Point(jnp.array(START))), jnp.array(TARGETS)

    # the second epoch is the first again, whatever the first came to
    fit = fitted(FitOptions(2, 4, 0.2, "constant"), on_chunk)
    assert_allclose(fit.loss[10:], fit.loss[:10], rtol=1e-12)


def test_losses_that_are_not_finite_name_their_step(monkeypatch):
    monkeypatch.setattr(fmb.fit.loop, "CHUNK", 4)
    data, row = TARGETS.copy(), ORDER[6, 2]
    data[row] = np.nan
    with pytest.raises(FloatingPointError, match="the loss is nan at step 6; try a smaller initial_lr"):
        fitted(FitOptions(2, 4, 0.1, "constant"), data=data)
    data[row] = np.inf
    with pytest.raises(FloatingPointError, match="the loss is inf at step 6"):
        fitted(FitOptions(2, 4, 0.1, "constant"), data=data)


def test_a_slope_that_is_not_finite_is_found_even_in_the_last_step():
    def root(point: Point, batch: Array) -> Array:
        return jnp.sqrt(jnp.sum(0.0 * point.place)) + 0.0 * batch.sum()  # finite, its slope is not

    parameters, data = Point(jnp.array(START)), jnp.array(TARGETS)
    program = compile_fit(root, ADD, parameters, data, FitOptions(1, 4, 0.1, "constant"))
    with pytest.raises(
        FloatingPointError, match="the parameters are not finite after step 0; try a smaller initial_lr"
    ):
        run_fit(program, begin(parameters), data, batches(), 1, keep)


def test_what_runs_beyond_the_end_does_no_harm():
    options = FitOptions(1, 4, 0.1, "constant", average_decay=0.5)
    parameters, data = Point(jnp.array(START)), jnp.array(np.vstack([TARGETS, np.full((1, 3), np.nan)]))
    program = compile_fit(loss, ADD, parameters, data, options)
    # a chunk has more steps than the fit; the rest sees nothing but NaN
    beyond = itertools.chain(ORDER.astype(np.int32), itertools.repeat(np.full(4, 40, np.int32)))
    fit = run_fit(program, begin(parameters), data, beyond, 10, keep)
    assert len(fit.loss) == len(fit.learning_rate) == 10
    assert_allclose(fit.parameters.place, fitted(options).parameters.place, rtol=1e-14)


def test_plateau_ends_after_four_drops():
    def flat(point: Point, batch: Array) -> Array:
        return 0.0 * (point.place.sum() + batch.sum())

    progress = []
    fit = fitted(FitOptions(50, 4, 0.1, "plateau"), lambda *now: progress.append(now[2:4]) or now[:2], flat)
    # a window of 4 steps is full after each chunk of 25
    assert_allclose(fit.learning_rate, np.repeat([0.1, 0.01, 0.001, 0.0001], 25), rtol=1e-12)
    assert progress == [(25, 500), (50, 500), (75, 500), (100, 500)]
    fit = fitted(FitOptions(20, 4, 0.1, "plateau", early_stop=False), loss=flat)
    assert len(fit.loss) == 200
    assert_allclose(fit.learning_rate[100:], 1e-5, rtol=1e-12)


def test_compilation_needs_shapes_only():
    shapes = Point(jax.ShapeDtypeStruct((3,), jnp.float64)), jax.ShapeDtypeStruct((40, 3), jnp.float64)
    options = FitOptions(2, 4, 0.1, "constant")
    program = compile_fit(loss, ADD, *shapes, options)
    fit = run_fit(program, begin(Point(jnp.array(START))), jnp.array(TARGETS), batches(), 10, keep)
    assert_allclose(fit.parameters.place, fitted(options).parameters.place, rtol=1e-14)
    assert (program.options, program.chunk) == (options, fmb.fit.loop.CHUNK)
