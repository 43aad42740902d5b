"""The loop of a fit: Adam on batches of rays, the learning rate of each step, and the average at the end.

A pure, compiled function takes CHUNK steps at a time. Python calls it until the end; between two chunks it moves the
progress bar and lets a recipe look at the parameters. The loop works for any parameters, see Coordinates.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fmb.fit.history import History as History
from fmb.fit.options import FitOptions
from fmb.fit.parallel import RAYS, over_rays
from fmb.fit.programs import announce
from fmb.fit.schedules import Pace, begin_pace, progress, rate, see, stall_window
from fmb.ready import Kept

CHUNK = 125  # steps of one call of the compiled function
MEAN_DECAY, EPSILON = 0.9, 1e-8  # of Adam (Kingma & Ba 2015): its defaults


class Coordinates(NamedTuple):
    """How parameters move: `pull(parameters, gradient)` maps to the coordinates of a step, `move` takes the step."""

    pull: Callable[[Any, Any], Any]
    move: Callable[[Any, Any], Any]


class Course(NamedTuple):
    """Parameters, Adam's moments of their gradient, and the running average of the parameters."""

    parameters: Any
    mean: Any
    square: Any
    average: Any
    step: Int[Array, ""]


class Steps(NamedTuple):
    """A chunk of steps: the loss before each, its learning rate, and the progress after the last."""

    loss: Float[Array, " step"]
    learning_rate: Float[Array, " step"]
    progress: Float[Array, ""]


class Program(NamedTuple):
    """A compiled chunk of steps, the pace to begin with for a number of steps an epoch, and the options behind them."""

    run: Callable[[Course, Pace, Any, Array], tuple[Course, Pace, Steps]]
    pace: Callable[[int], Pace]
    options: FitOptions
    chunk: int


class Fit(NamedTuple):
    """The average of the last parameters and, for each step, the loss before it and its learning rate."""

    parameters: Any
    loss: Float[np.ndarray, " step"]
    learning_rate: Float[np.ndarray, " step"]


def begin(parameters: Any) -> Course:
    """The course before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return Course(parameters, zeros, zeros, parameters, jnp.zeros((), jnp.int32))


def compile_fit(
    loss: Callable[[Any, Any], Array], coordinates: Coordinates, parameters: Any, data: Any, options: FitOptions
) -> Program:
    """The program that minimises `loss(parameters, batch)` over batches of the rows of `data`.

    Only shapes and types of `parameters` and `data` are read (arrays or jax.ShapeDtypeStruct), so it can be compiled
    before the values are known.
    """
    return compile_plan(plan_fit(loss, coordinates, parameters, data, options), loss, coordinates, parameters, data)


def compile_plan(
    plan: Program, loss: Callable[[Any, Any], Array], coordinates: Coordinates, parameters: Any, data: Any
) -> Program:
    """The planned program, compiled for steps that look at such `data`: all rows, or those of a chunk alone."""
    options = plan.options
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (parameters, data))
    announce((options, *((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes))))
    course, begun = jax.eval_shape(begin, shapes[0]), jax.eval_shape(lambda: plan.pace(1))
    index = jax.ShapeDtypeStruct((plan.chunk, options.batch_size), jnp.int32)
    if options.fit_devices != 1:
        spread = steps_of(loss, coordinates, options, RAYS)
        return plan._replace(run=over_rays(spread, options.fit_devices, (course, begun, shapes[1], index)))
    return plan._replace(run=Kept(plan.run).compiled(course, begun, shapes[1], index))


def plan_fit(
    loss: Callable[[Any, Any], Array], coordinates: Coordinates, parameters: Any, data: Any, options: FitOptions
) -> Program:
    """What `compile_fit` compiles, not yet compiled: its `run` is a pure function."""
    chunk = CHUNK // 5 if options.schedule == "plateau" else CHUNK
    dtype, rows = jax.tree.leaves(parameters)[0].dtype, jax.tree.leaves(data)[0].shape[0]
    room = stall_window(options.schedule, options.num_epochs, max(1, rows // options.batch_size))

    def pace(steps_per_epoch: int) -> Pace:
        window = min(room, stall_window(options.schedule, options.num_epochs, steps_per_epoch))
        return begin_pace(jnp.asarray(options.initial_lr, dtype), options.num_epochs * steps_per_epoch, window, room)

    return Program(steps_of(loss, coordinates, options), pace, options, chunk)


def steps_of(
    loss: Callable[[Any, Any], Array], coordinates: Coordinates, options: FitOptions, axis: str = ""
) -> Callable[[Course, Pace, Any, Array], tuple[Course, Pace, Steps]]:
    """A pure function of course, pace, data and the rows of each batch; it takes one step with each batch.

    Where the batches are spread over an `axis` of devices, loss and slope are the means over it.
    """
    return partial(taken, (loss, coordinates, options, axis))


def taken(rule: tuple, course: Course, pace: Pace, data: Any, index: Array) -> tuple[Course, Pace, Steps]:
    """The steps of `steps_of`, by loss, coordinates, options and axis."""
    loss, coordinates, options, axis = rule

    def step(course: Course, now: tuple[Array, Array]) -> tuple[Course, Array]:
        value, gradient = jax.value_and_grad(loss)(course.parameters, jax.tree.map(lambda x: x[now[0]], data))
        if axis:
            value, gradient = jax.lax.pmean((value, gradient), axis)
        return adam(course, coordinates, gradient, now[1], options), value

    rates = rate(pace, options.schedule, pace.step + jnp.arange(len(index), dtype=jnp.int32))
    course, losses = jax.lax.scan(step, course, (index, rates))
    after = see(pace, options.schedule, options.early_stop, losses)
    return course, after, Steps(losses, rates, progress(pace, after.step))


def adam(course: Course, coordinates: Coordinates, gradient: Any, rate: Array, options: FitOptions) -> Course:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) in the given coordinates; at rate 0 nothing moves."""
    step, decay = course.step + 1, options.square_decay
    gradient = coordinates.pull(course.parameters, gradient)
    mean = jax.tree.map(lambda m, g: MEAN_DECAY * m + (1 - MEAN_DECAY) * g, course.mean, gradient)
    square = jax.tree.map(lambda v, g: decay * v + (1 - decay) * g * g, course.square, gradient)
    count = step.astype(rate.dtype)
    mean_weight, square_weight = 1 - MEAN_DECAY**count, 1 - decay**count

    def change(mean: Array, square: Array) -> Array:
        full = -rate * (mean / mean_weight) / (jnp.sqrt(square / square_weight) + EPSILON)
        return jnp.where(rate > 0, full, 0)  # a gradient that is not finite would spoil the product with 0

    parameters = coordinates.move(course.parameters, jax.tree.map(change, mean, square))
    young = (1 + count) / (10 + count)  # a young average follows faster, so that it forgets the start
    keep = jnp.where(rate > 0, jnp.minimum(options.average_decay, young), 1.0)
    average = jax.tree.map(lambda a, x: keep * a + (1 - keep) * x, course.average, parameters)
    return Course(parameters, mean, square, average, step)


class Passed(NamedTuple):
    """How far a fit is: its course and pace, and what was seen of its steps, chunk by chunk."""

    course: Course
    pace: Pace
    loss: tuple[np.ndarray, ...] = ()
    learning_rate: tuple[np.ndarray, ...] = ()


def run_fit(
    program: Program,
    course: Course,
    data: Any,
    batches: Iterator[Int[np.ndarray, " ray"]],
    steps_per_epoch: int,
    on_chunk: Callable[[Course, Any, int, int, float], tuple[Course, Any]],
) -> Fit:
    """The fit: runs the compiled program over its epochs.

    After each chunk, `on_chunk(course, data, step, total, loss)` sees how far the fit is and returns the course and
    data to go on with. step / total is the part of the schedule that has passed, so `total` shrinks where a fit will
    end early. Raises FloatingPointError, with the step, where the loss or the parameters are no longer finite.
    """

    def after(passed: Passed, data: Any, total: int, loss: float) -> tuple[Course, Any]:
        return on_chunk(passed.course, data, int(passed.pace.step), total, loss)

    return go_on(program, Passed(course, program.pace(steps_per_epoch)), data, batches, after)


def go_on(
    program: Program,
    passed: Passed,
    data: Any,
    batches: Iterator[Int[np.ndarray, " ray"]],
    on_chunk: Callable[[Passed, Any, int, float], tuple[Course, Any]],
) -> Fit:
    """The rest of a fit: `run_fit` from where it stands. `batches` are those from its first step on."""
    for _ in range(int(passed.pace.step)):
        next(batches)
    while (start := int(passed.pace.step)) < int(passed.pace.end):
        index = np.stack([next(batches) for _ in range(program.chunk)])
        course, pace, steps = program.run(passed.course, passed.pace, data, jnp.asarray(index))
        step = int(pace.step)
        loss = np.asarray(steps.loss)[: step - start]
        _check_finite(loss, course.parameters, start)
        rates = np.asarray(steps.learning_rate)[: step - start]
        passed = Passed(course, pace, (*passed.loss, loss), (*passed.learning_rate, rates))
        total = round(step / float(steps.progress))  # steps in all, at the pace so far
        course, data = on_chunk(passed, data, total, float(loss.mean()))
        passed = passed._replace(course=course)
    return Fit(passed.course.average, np.concatenate(passed.loss), np.concatenate(passed.learning_rate))


def _check_finite(loss: Float[np.ndarray, " step"], parameters: Any, start: int) -> None:
    if not np.isfinite(loss).all():
        first = int(np.argmin(np.isfinite(loss)))
        raise FloatingPointError(f"the loss is {loss[first]} at step {start + first}; try a smaller initial_lr")
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(parameters)):
        last = start + len(loss) - 1
        raise FloatingPointError(f"the parameters are not finite after step {last}; try a smaller initial_lr")
