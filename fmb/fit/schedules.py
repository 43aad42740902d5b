"""Courses of the learning rate, and when there is nothing more to gain."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

WARM_UP, LAST_RATE = 0.1, 1e-3  # cosine: share of all steps that rises, and the last rate in units of the largest
CYCLE_WARM_UP, CYCLE_FIRST, CYCLE_LAST = 0.3, 1 / 25, 1e-4  # one cycle (Smith & Topin 2018), likewise
FIRST_STALL, LAST_STALL = 0.3, 0.8  # parts of a schedule between which it may be cut short
STALL_WINDOW, LEAST_FALL = 0.1, 0.02  # a loss has stalled if over this part of the fit its mean fell by less than that
FEWEST_STEPS = 500  # in that part: a component that moved takes hundreds to learn its place
HURRY = 3  # times as fast does what is left of a schedule pass then
WINDOW, CREDIBLE_SLOPE = 0.4, -1e-4  # plateau: epochs that a line is fitted to, and the slope at which a loss falls
FACTOR, MAX_DROPS = 0.1, 4  # of the rate, each time, and after how many the fit may end


def falling_cosine(progress: Float[Array, " step"], start: float, last: float) -> Float[Array, " step"]:
    """From 1 at `start` to `last` at 1 along half a cosine."""
    return last + (1 - last) * (1 + jnp.cos(jnp.pi * (progress - start) / (1 - start))) / 2


def cosine(progress: Float[Array, " step"]) -> Float[Array, " step"]:
    """Up along a line from 1/25 to 1, then down along a cosine."""
    rising = CYCLE_FIRST + (1 - CYCLE_FIRST) * progress / WARM_UP
    return jnp.where(progress < WARM_UP, rising, falling_cosine(progress, WARM_UP, LAST_RATE))


def one_cycle(progress: Float[Array, " step"]) -> Float[Array, " step"]:
    """Up along a cosine over a third of all steps, then down along another."""
    rising = CYCLE_FIRST + (1 - CYCLE_FIRST) * (1 - jnp.cos(jnp.pi * progress / CYCLE_WARM_UP)) / 2
    return jnp.where(progress < CYCLE_WARM_UP, rising, falling_cosine(progress, CYCLE_WARM_UP, CYCLE_LAST))


SCHEDULES: dict[str, Callable[[Array], Array]] = {  # factor of the learning rate over progress 0 to 1
    "cosine": cosine,
    "one_cycle": one_cycle,
    "constant": jnp.ones_like,
    "plateau": jnp.ones_like,  # what changes is the rate it is a factor of
}


class Pace(NamedTuple):
    """How far through its schedule a fit is, as state that goes along with the compiled steps.

    From the step `start`, where the part `passed` of the schedule was over, the rest passes evenly until `end`.
    """

    learning_rate: Float[Array, ""]
    step: Int[Array, ""]
    start: Int[Array, ""]
    passed: Float[Array, ""]
    end: Int[Array, ""]
    losses: Float[Array, " last"]  # the newest at the end
    seen: Int[Array, ""]  # how many there were since the start, or since the rate dropped
    window: Int[Array, ""]  # how many of the last ones tell whether the loss has stalled
    drops: Int[Array, ""]  # of the learning rate


def stall_window(schedule: str, num_epochs: int, steps_per_epoch: int) -> int:
    """How many losses tell whether there is nothing more to gain: of a plateau all, else two halves to compare."""
    if schedule == "plateau":
        return max(3, round(WINDOW * steps_per_epoch))
    return 2 * max(FEWEST_STEPS, round(STALL_WINDOW * num_epochs * steps_per_epoch))


def begin_pace(learning_rate: Float[Array, ""], total: int, window: int, room: int) -> Pace:
    """The state before the first of `total` steps, with room for so many losses: at least the window."""
    zero, total, window = (jnp.asarray(x, jnp.int32) for x in (0, total, window))
    losses = jnp.zeros(room, learning_rate.dtype)
    return Pace(learning_rate, zero, zero, 0 * learning_rate, total, losses, zero, window, zero)


def progress(pace: Pace, step: Int[Array, "*step"]) -> Float[Array, "*step"]:
    """Part of the schedule that has passed before a step; exactly 1 from the end on."""
    since, left = ((x - pace.start).astype(pace.passed.dtype) for x in (step, pace.end))
    return jnp.where(step < pace.end, pace.passed + (1 - pace.passed) * since / left, 1)


def rate(pace: Pace, schedule: str, step: Int[Array, " step"]) -> Float[Array, " step"]:
    """Learning rate of the steps, 0 beyond the end."""
    return jnp.where(step < pace.end, pace.learning_rate * SCHEDULES[schedule](progress(pace, step)), 0)


def see(pace: Pace, schedule: str, early_stop: bool, losses: Float[Array, " step"]) -> Pace:
    """The state after steps with these losses, which may change the rate and, with `early_stop`, the end."""
    pace = pace._replace(
        step=jnp.minimum(pace.step + len(losses), pace.end),
        losses=jnp.concatenate([pace.losses, losses])[-len(pace.losses) :],
        seen=pace.seen + len(losses),
    )
    if schedule == "plateau":
        return _dropped(pace, early_stop)
    return _hurried(pace) if early_stop else pace


def _hurried(pace: Pace) -> Pace:
    """Once the loss has stalled, what is left of the schedule passes HURRY times as fast, to its end.

    The falling rate of its last part is not left out: what is cut in the middle has not settled.
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
    """The released rule: a tenth of the rate when the loss is no longer credibly falling, an end after MAX_DROPS drops.

    A line is fitted to the losses of the last 0.4 epochs. Its slope, with the error of the fit, is credibly below -1e-4
    when that has a probability above 1/2, which for a symmetric error says that the slope itself is. A drop starts a
    new window. The released rule asks after every step whether a tenth of an epoch agrees; here it is after each chunk.
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
    """How many losses are newer than each."""
    return jnp.arange(len(pace.losses), dtype=jnp.int32)[::-1]
