"""The loop: Adam on random batches in one compiled program, schedules of the learning rate, early stop.

The program runs CHUNK steps; Python calls it again until the end, and waits for it only to move the progress bar and,
for the plateau rule, to see the losses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

CHUNK = 100  # steps between two looks at the progress
MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8  # Adam (Kingma & Ba 2015), its own defaults
WARM_UP = 0.3  # share of a one-cycle course that rises
FIRST_RATE, LAST_RATE = 1 / 25, 1e-4  # of one cycle, in units of the largest rate (Smith & Topin 2018)
DROP = 0.1  # factor of the rate at a plateau


@dataclass(frozen=True)
class FitOptions:
    """How long, how fast; `epochs` counts passes over all rays."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "one_cycle"
    early_stop: bool = True


class Course(NamedTuple):
    """Parameters and Adam's moments."""

    parameters: Any
    mean: Any
    square: Any
    step: Int[Array, ""]


class Fit(NamedTuple):
    """The parameters found and, for each step, its loss before the step and its learning rate."""

    parameters: Any
    loss: Float[np.ndarray, " step"]
    learning_rate: Float[np.ndarray, " step"]


class Plateau:
    """Learning rates of the released rule: a tenth when the loss is no longer credibly falling, an end after 4 drops.

    After every tenth of an epoch a line is fitted to the losses of the last 0.4 epochs. The loss falls credibly while
    the probability that the slope per epoch, with the line's own error, is below -1e-4 exceeds 1/2; a drop starts a
    new window.
    """

    WINDOW, CREDIBLE_SLOPE, MAX_DROPS = 0.4, -1e-4, 4

    def __init__(self, learning_rate: float, steps_per_epoch: int):
        self.learning_rate, self.drops, self.since_drop = learning_rate, 0, []
        self.window = max(3, round(self.WINDOW * steps_per_epoch))

    def see(self, losses: Float[np.ndarray, " step"]) -> None:
        """Take note of losses, in order."""
        self.since_drop.extend(losses)
        if len(self.since_drop) < self.window or self.finished:
            return
        slope = np.polynomial.polynomial.polyfit(np.arange(self.window), self.since_drop[-self.window :], 1)[1]
        # the median of a symmetric error is the slope itself: P(slope < bound) > 1/2 means slope < bound
        if slope >= self.CREDIBLE_SLOPE:
            self.learning_rate, self.drops, self.since_drop = DROP * self.learning_rate, self.drops + 1, []

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be gained."""
        return self.drops >= self.MAX_DROPS


def one_cycle(progress: Float[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
    """Up along a cosine from FIRST_RATE to 1, then down to LAST_RATE."""
    rising = FIRST_RATE + (1 - FIRST_RATE) * (1 - np.cos(np.pi * progress / WARM_UP)) / 2
    falling = LAST_RATE + (1 - LAST_RATE) * (1 + np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2
    return np.where(progress < WARM_UP, rising, falling)


SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # factor of the learning rate over progress 0 to 1
    "one_cycle": one_cycle,
    "cosine": lambda progress: (1 + np.cos(np.pi * progress)) / 2,
    "constant": np.ones_like,
}


class Program(NamedTuple):
    """A compiled chunk of steps and what it was compiled for."""

    run: Callable
    options: FitOptions
    steps_per_epoch: int
    chunk: int


def compile_fit(
    loss: Callable[[Any, Any], Array],
    project: Callable[[Any], Any],
    parameters: Any,
    data: Any,
    options: FitOptions,
) -> Program:
    """The program that minimises `loss(parameters, batch)` over batches of the rows of `data`.

    `project(parameters)` returns them to what is allowed, after every step. Of `parameters` and `data` only shapes and
    types are read (arrays or jax.ShapeDtypeStruct), so that it can be compiled before there are any.
    Raises ValueError for a batch larger than the data.
    """
    rows = jax.tree.leaves(data)[0].shape[0]
    if options.batch_size > rows:
        raise ValueError(f"batch_size is {options.batch_size}; must be at most {rows}, the number of rays")
    steps_per_epoch = rows // options.batch_size
    total = options.epochs * steps_per_epoch
    chunk = max(1, round(0.1 * steps_per_epoch)) if options.schedule == "plateau" else min(CHUNK, total)

    def step(data: Any, course: Course, now: tuple[Array, Array]) -> tuple[Course, Array]:
        index, rate = now
        batch = jax.tree.map(lambda rows: rows[index], data)
        value, gradient = jax.value_and_grad(loss)(course.parameters, batch)
        return adam(course, gradient, rate, project), value

    def run(course: Course, data: Any, index: Array, rate: Array) -> tuple[Course, Array]:
        return jax.lax.scan(lambda course, now: step(data, course, now), course, (index, rate))

    shape = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (begin(parameters), data))
    index = jax.ShapeDtypeStruct((chunk, options.batch_size), jnp.int32)
    rate = jax.ShapeDtypeStruct((chunk,), jax.tree.leaves(parameters)[0].dtype)
    return Program(jax.jit(run).lower(*shape, index, rate).compile(), options, steps_per_epoch, chunk)


def begin(parameters: Any) -> Course:
    """A course that has not moved yet."""
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return Course(parameters, zeros, zeros, jnp.zeros((), jnp.int32))


def adam(course: Course, gradient: Any, rate: Array, project: Callable[[Any], Any]) -> Course:
    """One step of Adam (Kingma & Ba 2015, algorithm 1), then `project`."""
    step = course.step + 1
    mean = jax.tree.map(lambda m, g: MEAN_DECAY * m + (1 - MEAN_DECAY) * g, course.mean, gradient)
    square = jax.tree.map(lambda v, g: SQUARE_DECAY * v + (1 - SQUARE_DECAY) * g * g, course.square, gradient)
    count = step.astype(rate.dtype)
    mean_weight, square_weight = 1 - MEAN_DECAY**count, 1 - SQUARE_DECAY**count
    moved = jax.tree.map(
        lambda x, m, v: x - rate * (m / mean_weight) / (jnp.sqrt(v / square_weight) + EPSILON),
        course.parameters,
        mean,
        square,
    )
    return Course(project(moved), mean, square, step)


def run_fit(
    program: Program,
    parameters: Any,
    data: Any,
    generator: np.random.Generator,
    on_progress: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> Fit:
    """Runs the compiled program over its epochs; `on_progress(step, total, loss)` is called after each chunk.

    Raises FloatingPointError, with the step, where the loss is no longer finite.
    """
    total = program.options.epochs * program.steps_per_epoch
    rows = jax.tree.leaves(data)[0].shape[0]
    batches = random_batches(rows, program.options.batch_size, generator)
    plateau = Plateau(program.options.learning_rate, program.steps_per_epoch)
    course, losses, rates = begin(parameters), [], []
    for start in range(0, total, program.chunk):
        steps = np.arange(start, start + program.chunk)
        rate = learning_rates(program.options, steps, total, plateau)
        index = np.stack([next(batches) for _ in steps])
        course, loss = program.run(
            course, data, jnp.asarray(index), jnp.asarray(rate, jax.tree.leaves(parameters)[0].dtype)
        )
        loss = np.asarray(loss)[steps < total]
        if not np.isfinite(loss).all():
            first = start + int(np.argmin(np.isfinite(loss)))
            raise FloatingPointError(f"the loss is {loss[first - start]} at step {first}; try a smaller initial_lr")
        losses.append(loss)
        rates.append(rate[steps < total])
        plateau.see(loss)
        on_progress(min(start + program.chunk, total), total, float(loss.mean()))
        if program.options.schedule == "plateau" and program.options.early_stop and plateau.finished:
            break
    return Fit(course.parameters, np.concatenate(losses), np.concatenate(rates))


def random_batches(rows: int, batch_size: int, generator: np.random.Generator) -> Iterator[Int[np.ndarray, " ray"]]:
    """Row numbers, batch after batch without end; within a pass over all rows none comes twice.

    What is left of a pass when no full batch remains is dropped: a short batch would need a program of its own, and
    every pass drops others.
    """
    while True:
        order = generator.permutation(rows).astype(np.int32)
        yield from order[: rows // batch_size * batch_size].reshape(-1, batch_size)


def learning_rates(
    options: FitOptions, steps: Int[np.ndarray, " step"], total: int, plateau: Plateau
) -> Float[np.ndarray, " step"]:
    """The rate of each step, 0 after the last."""
    if options.schedule == "plateau":
        rate = np.full(len(steps), plateau.learning_rate)
    else:
        rate = options.learning_rate * SCHEDULES[options.schedule](steps / total)
    return np.where(steps < total, rate, 0.0)
