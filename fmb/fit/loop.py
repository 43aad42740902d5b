"""The loop: Adam on batches of rays, its course of the learning rate, the average it ends with.

One compiled program runs CHUNK steps; Python calls it again until the end, moves the progress bar, and lets a recipe
look at the mixture between two chunks. What the parameters are is not known here: see Coordinates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fmb.fit.schedules import Pace, Plateau

CHUNK = 125  # steps between two looks at the progress
MEAN_DECAY, EPSILON = 0.9, 1e-8  # Adam (Kingma & Ba 2015), its own defaults


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast; decays are Adam's of the squared gradient and the average's of the parameters."""

    num_epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    early_stop: bool = True
    square_decay: float = 0.999
    average_decay: float = 0.0


class Coordinates(NamedTuple):
    """How parameters move: `pull(parameters, gradient)` into the coordinates of a step, `move(parameters, step)`."""

    pull: Callable[[Any, Any], Any]
    move: Callable[[Any, Any], Any]


class Course(NamedTuple):
    """Parameters, Adam's moments of their gradient, and the running average of the parameters."""

    parameters: Any
    mean: Any
    square: Any
    average: Any
    step: Int[Array, ""]


class Program(NamedTuple):
    """A compiled chunk of steps, and what it was compiled for."""

    run: Callable
    options: FitOptions
    chunk: int


class Fit(NamedTuple):
    """The average of the last parameters and, for each step, the loss before it and its learning rate."""

    parameters: Any
    loss: Float[np.ndarray, " step"]
    learning_rate: Float[np.ndarray, " step"]


def begin(parameters: Any) -> Course:
    """A course that has not moved yet."""
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return Course(parameters, zeros, zeros, parameters, jnp.zeros((), jnp.int32))


def compile_fit(
    loss: Callable[[Any, Any], Array], coordinates: Coordinates, parameters: Any, data: Any, options: FitOptions
) -> Program:
    """The program that minimises `loss(parameters, batch)` over batches of the rows of `data`.

    Of `parameters` and `data` only shapes and types are read (arrays or jax.ShapeDtypeStruct), so that it can be
    compiled before there are any.
    """
    chunk = CHUNK // 5 if options.schedule == "plateau" else CHUNK

    def step(data: Any, course: Course, now: tuple[Array, Array]) -> tuple[Course, Array]:
        index, rate = now
        value, gradient = jax.value_and_grad(loss)(course.parameters, jax.tree.map(lambda x: x[index], data))
        return adam(course, coordinates, gradient, rate, options), value

    def run(course: Course, data: Any, index: Array, rate: Array) -> tuple[Course, Array]:
        return jax.lax.scan(lambda course, now: step(data, course, now), course, (index, rate))

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (parameters, data))
    index = jax.ShapeDtypeStruct((chunk, options.batch_size), jnp.int32)
    rate = jax.ShapeDtypeStruct((chunk,), jax.tree.leaves(parameters)[0].dtype)
    course = jax.eval_shape(begin, shapes[0])
    return Program(jax.jit(run).lower(course, shapes[1], index, rate).compile(), options, chunk)


def adam(course: Course, coordinates: Coordinates, gradient: Any, rate: Array, options: FitOptions) -> Course:
    """One step of Adam (Kingma & Ba 2015, algorithm 1) in the given coordinates; nothing moves at rate 0."""
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
    young = (1 + count) / (10 + count)  # until the average is that old it follows faster, and forgets the start
    keep = jnp.where(rate > 0, jnp.minimum(options.average_decay, young), 1.0)
    average = jax.tree.map(lambda a, x: keep * a + (1 - keep) * x, course.average, parameters)
    return Course(parameters, mean, square, average, step)


def run_fit(
    program: Program,
    course: Course,
    data: Any,
    batches: Iterator[Int[np.ndarray, " ray"]],
    steps_per_epoch: int,
    on_chunk: Callable[[Course, Any, int, int, float], tuple[Course, Any]],
) -> Fit:
    """Runs the compiled program over its epochs.

    `on_chunk(course, data, step, total, loss)` sees, after each chunk, how far the fit is, and returns course and data
    to go on with. A fit that will end early has passed step / total of its schedule: `total` shrinks then. Raises
    FloatingPointError, with the step, where the loss is no longer finite, or the parameters.
    """
    options, start = program.options, 0
    pace = _pace(options, steps_per_epoch)
    dtype = jax.tree.leaves(course.parameters)[0].dtype
    losses, rates = [], []
    while start < pace.end:
        steps = np.arange(start, start + program.chunk)
        rate, kept = pace.rate(steps), steps < pace.end
        index = np.stack([next(batches) for _ in steps])
        course, loss = program.run(course, data, jnp.asarray(index), jnp.asarray(rate, dtype))
        loss, start = np.asarray(loss)[kept], start + int(np.count_nonzero(kept))
        _check_finite(loss, course.parameters, start - len(loss))
        losses.append(loss)
        rates.append(rate[kept])
        total = round(start / pace.progress(start))  # if it goes on at the pace it had so far
        course, data = on_chunk(course, data, start, total, float(loss.mean()))
        pace.see(loss, start)
    return Fit(course.average, np.concatenate(losses), np.concatenate(rates))


def _pace(options: FitOptions, steps_per_epoch: int) -> Pace | Plateau:
    total = options.num_epochs * steps_per_epoch
    if options.schedule == "plateau":
        return Plateau(options.learning_rate, steps_per_epoch, total, options.early_stop)
    return Pace(options.learning_rate, options.schedule, total, options.early_stop)


def _check_finite(loss: Float[np.ndarray, " step"], parameters: Any, start: int) -> None:
    if not np.isfinite(loss).all():
        first = int(np.argmin(np.isfinite(loss)))
        raise FloatingPointError(f"the loss is {loss[first]} at step {start + first}; try a smaller initial_lr")
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(parameters)):
        last = start + len(loss) - 1
        raise FloatingPointError(f"the parameters are not finite after step {last}; try a smaller initial_lr")


class History(NamedTuple):
    """The course of a fit; NaN where something was not measured at a step."""

    step: np.ndarray
    loss: np.ndarray
    learning_rate: np.ndarray
    novel_loss: np.ndarray | None = None
