"""Schedules of the learning rate, and rules that end a fit early."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

WARM_UP, LAST_RATE = 0.1, 1e-3  # cosine: share of steps in which the rate rises; last rate over the largest
CYCLE_WARM_UP, CYCLE_FIRST, CYCLE_LAST = 0.3, 1 / 25, 1e-4  # one cycle (Smith & Topin 2018); FIRST: its first rate
FIRST_STALL, LAST_STALL = 0.3, 0.8  # a schedule may be cut short between these parts of it
STALL_WINDOW, LEAST_FALL = 0.1, 0.02  # part of a fit; a loss whose mean fell by less over it has stalled
FEWEST_STEPS = 500  # in that part: a relocated component needs hundreds of steps
HURRY = 3  # the rest of the schedule then passes so many times as fast
WINDOW, CREDIBLE_SLOPE = 0.4, -1e-4  # plateau: epochs to which a line is fitted; slope below which a loss falls
FACTOR, MAX_DROPS = 0.1, 4  # plateau: factor of a drop of the rate; drops after which the fit may end


def falling_cosine(progress: Float[Array, " step"], start: float, last: float) -> Float[Array, " step"]:
    """Half a cosine that falls from 1 at progress `start` to `last` at progress 1."""
    return last + (1 - last) * (1 + jnp.cos(jnp.pi * (progress - start) / (1 - start))) / 2


def cosine(progress: Float[Array, " step"]) -> Float[Array, " step"]:
    """Rises on a line from 1/25 to 1, then falls along a cosine."""
    rising = CYCLE_FIRST + (1 - CYCLE_FIRST) * progress / WARM_UP
    return jnp.where(progress < WARM_UP, rising, falling_cosine(progress, WARM_UP, LAST_RATE))


def one_cycle(progress: Float[Array, " step"]) -> Float[Array, " step"]:
    """Rises along a cosine over a third of all steps, then falls along another."""
    rising = CYCLE_FIRST + (1 - CYCLE_FIRST) * (1 - jnp.cos(jnp.pi * progress / CYCLE_WARM_UP)) / 2
    return jnp.where(progress < CYCLE_WARM_UP, rising, falling_cosine(progress, CYCLE_WARM_UP, CYCLE_LAST))


SCHEDULES: dict[str, Callable[[Array], Array]] = {  # factor of the learning rate over progress 0 to 1
    "cosine": cosine,
    "one_cycle": one_cycle,
    "constant": jnp.ones_like,
    "plateau": jnp.ones_like,  # the rate itself changes instead
}


class Pace(NamedTuple):
    """How far a fit is in its schedule: state of the compiled steps.

    At step `start` the part `passed` of the schedule was over; the rest passes evenly until step `end`.
    """

    learning_rate: Float[Array, ""]
    step: Int[Array, ""]
    start: Int[Array, ""]
    passed: Float[Array, ""]
    end: Int[Array, ""]
    losses: Float[Array, " last"]  # the newest at the end
    seen: Int[Array, ""]  # number of losses since the start, or since the rate dropped
    window: Int[Array, ""]  # number of the last losses that tell whether the loss has stalled
    drops: Int[Array, ""]  # of the learning rate


def stall_window(schedule: str, num_epochs: int, steps_per_epoch: int) -> int:
    """Number of losses that tell whether the loss has stalled: those of a line (plateau), or two halves to compare."""
    if schedule == "plateau":
        return max(3, round(WINDOW * steps_per_epoch))
    return 2 * max(FEWEST_STEPS, round(STALL_WINDOW * num_epochs * steps_per_epoch))


def begin_pace(learning_rate: Float[Array, ""], total: int, window: int, room: int) -> Pace:
    """The state before the first of `total` steps; `room` for losses must be at least the window."""
    zero, total, window = (jnp.asarray(x, jnp.int32) for x in (0, total, window))
    losses = jnp.zeros(room, learning_rate.dtype)
    return Pace(learning_rate, zero, zero, 0 * learning_rate, total, losses, zero, window, zero)


def progress(pace: Pace, step: Int[Array, "*step"]) -> Float[Array, "*step"]:
    """Part of the schedule that has passed before each step; exactly 1 from the end on."""
    since, left = ((x - pace.start).astype(pace.passed.dtype) for x in (step, pace.end))
    return jnp.where(step < pace.end, pace.passed + (1 - pace.passed) * since / left, 1)


def rate(pace: Pace, schedule: str, step: Int[Array, " step"]) -> Float[Array, " step"]:
    """Learning rate of each step, 0 from the end on."""
    return jnp.where(step < pace.end, pace.learning_rate * SCHEDULES[schedule](progress(pace, step)), 0)


def see(pace: Pace, schedule: str, early_stop: bool, losses: Float[Array, " step"]) -> Pace:
    """The state after steps with these losses; they may change the rate and, with `early_stop`, the end."""
    pace = pace._replace(
        step=jnp.minimum(pace.step + len(losses), pace.end),
        losses=jnp.concatenate([pace.losses, losses])[-len(pace.losses) :],
        seen=pace.seen + len(losses),
    )
    if schedule == "plateau":
        return _dropped(pace, early_stop)
    return _hurried(pace) if early_stop else pace


def _hurried(pace: Pace) -> Pace:
    """The state in which, once the loss has stalled, the rest of the schedule passes HURRY times as fast.

    The last part, in which the rate falls, is not left out: without it the parameters have not settled.
    """
    age, half = _age(pace), pace.window // 2
    halves = age < half, (age >= half) & (age < pace.window)
    recent, before = (jnp.sum(jnp.where(part, pace.losses, 0)) for part in halves)
    now = progress(pace, pace.step)
    early = (pace.passed == 0) & (now >= FIRST_STALL) & (now <= LAST_STALL) & (pace.seen >= pace.window)
    hurries = early & (recent > (1 - LEAST_FALL) * before)
    end = pace.step - (pace.step - pace.end) // HURRY  # rounded up
    return pace._replace(
        start=jnp.where(hurries, pace.step, pace.start),
        passed=jnp.where(hurries, now, pace.passed),
        end=jnp.where(hurries, end, pace.end),
    )


def _dropped(pace: Pace, early_stop: bool) -> Pace:
    """The released rule: a tenth of the rate once the loss is no longer falling, and an end after MAX_DROPS drops.

    A line is fitted to the losses of the last 0.4 epochs. The released program asks whether its slope is below -1e-4
    with a probability above 1/2; for a symmetric error, this asks whether the slope itself is. A drop begins a new
    window. The released program asks after every step, for a tenth of an epoch; here it is asked after each chunk.
    """
    age, count = _age(pace), pace.window.astype(pace.losses.dtype)
    lever = jnp.where(age < pace.window, (count - 1) / 2 - age, 0)
    slope = jnp.sum(lever * (pace.losses - pace.losses[-1])) / jnp.sum(lever * lever)
    drop = (pace.seen >= pace.window) & (pace.drops < MAX_DROPS) & (slope >= CREDIBLE_SLOPE)
    drops = pace.drops + drop.astype(jnp.int32)
    ends = drop & (drops == MAX_DROPS) & early_stop
    return pace._replace(
        learning_rate=jnp.where(drop, FACTOR * pace.learning_rate, pace.learning_rate),
        seen=jnp.where(drop, 0, pace.seen),
        drops=drops,
        end=jnp.where(ends, pace.step, pace.end),
    )


def _age(pace: Pace) -> Int[Array, " last"]:
    """Number of losses that are newer than each."""
    return jnp.arange(len(pace.losses), dtype=jnp.int32)[::-1]
