"""Courses of the learning rate, and when there is nothing more to gain."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

WARM_UP, LAST_RATE = 0.1, 1e-3  # cosine: share of all steps that rises, and the last rate in units of the largest
CYCLE_WARM_UP, CYCLE_FIRST, CYCLE_LAST = 0.3, 1 / 25, 1e-4  # one cycle (Smith & Topin 2018), likewise
FIRST_STALL, LAST_STALL = 0.3, 0.8  # parts of a schedule between which it may be cut short
STALL_WINDOW, LEAST_FALL = 0.1, 0.02  # a loss has stalled if over this part of the fit its mean fell by less than that
FEWEST_STEPS = 500  # in that part: a component that moved takes hundreds to learn its place
HURRY = 3  # times as fast does what is left of a schedule pass then


def falling_cosine(progress: np.ndarray, start: float, last: float) -> np.ndarray:
    """From 1 at `start` to `last` at 1 along half a cosine."""
    return last + (1 - last) * (1 + np.cos(np.pi * (progress - start) / (1 - start))) / 2


def cosine(progress: Float[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
    """Up along a line from 1/25 to 1, then down along a cosine."""
    rising = CYCLE_FIRST + (1 - CYCLE_FIRST) * progress / WARM_UP
    return np.where(progress < WARM_UP, rising, falling_cosine(progress, WARM_UP, LAST_RATE))


def one_cycle(progress: Float[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
    """Up along a cosine over a third of all steps, then down along another."""
    rising = CYCLE_FIRST + (1 - CYCLE_FIRST) * (1 - np.cos(np.pi * progress / CYCLE_WARM_UP)) / 2
    return np.where(progress < CYCLE_WARM_UP, rising, falling_cosine(progress, CYCLE_WARM_UP, CYCLE_LAST))


SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # factor of the learning rate over progress 0 to 1
    "cosine": cosine,
    "one_cycle": one_cycle,
    "constant": np.ones_like,
}


class Pace:
    """How far through its schedule a fit is, and the rate there; once its loss has stalled it hurries to the end.

    What is left of the schedule passes HURRY times as fast, the falling rate of its last part included: what is cut in
    the middle has not settled.
    """

    def __init__(self, learning_rate: float, schedule: str, total: int, early_stop: bool):
        self.learning_rate, self.schedule, self.early_stop = learning_rate, SCHEDULES[schedule], early_stop
        self.start, self.passed, self.end = 0, 0.0, total
        self.window, self.losses = max(FEWEST_STEPS, round(STALL_WINDOW * total)), np.zeros(0)

    def progress(self, step: Int[np.ndarray, " step"] | int) -> Float[np.ndarray, " step"] | float:
        """Part of the schedule that has passed before a step; 1 at the end."""
        return self.passed + (1 - self.passed) * (step - self.start) / (self.end - self.start)

    def rate(self, step: Int[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
        """Learning rate of the steps, 0 beyond the end."""
        return np.where(step < self.end, self.learning_rate * self.schedule(self.progress(step)), 0.0)

    def see(self, losses: Float[np.ndarray, " step"], step: int) -> None:
        """Takes note of the losses up to `step`."""
        self.losses = np.concatenate([self.losses, losses])[-2 * self.window :]
        progress = self.progress(step)
        full = len(self.losses) == 2 * self.window
        if not (self.early_stop and full and self.passed == 0 and FIRST_STALL <= progress <= LAST_STALL):
            return
        before, after = self.losses[: self.window].mean(), self.losses[self.window :].mean()
        if after > (1 - LEAST_FALL) * before:
            self.start, self.passed = step, progress
            self.end = step + math.ceil((self.end - step) / HURRY)


class Plateau:
    """The released rule: a tenth of the rate when the loss is no longer credibly falling, an end after 4 drops.

    A line is fitted to the losses of the last 0.4 epochs. Its slope, with the error of the fit, is credibly below -1e-4
    when that has a probability above 1/2, which for a symmetric error says that the slope itself is. A drop starts a
    new window. The released rule asks after every step whether a tenth of an epoch agrees; here it is after each chunk.
    """

    WINDOW, CREDIBLE_SLOPE, FACTOR, MAX_DROPS = 0.4, -1e-4, 0.1, 4

    def __init__(self, learning_rate: float, steps_per_epoch: int, total: int = 0, early_stop: bool = False):
        self.learning_rate, self.drops = learning_rate, 0
        self.since_drop: list[float] = []
        self.window = max(3, round(self.WINDOW * steps_per_epoch))
        self.end, self.early_stop = total, early_stop

    def progress(self, step: int) -> float:
        """Part of the fit that has passed, if no drop ends it."""
        return step / self.end

    def rate(self, step: Int[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
        """Learning rate of the steps, 0 beyond the end."""
        return np.where(step < self.end, self.learning_rate, 0.0)

    def see(self, losses: Float[np.ndarray, " step"], step: int = 0) -> None:
        """Takes note of losses, in order, up to `step`."""
        self.since_drop = [*self.since_drop, *losses][-self.window :]
        if len(self.since_drop) < self.window or self.finished:
            return
        slope = np.polynomial.polynomial.polyfit(np.arange(self.window), self.since_drop, 1)[1]
        if slope >= self.CREDIBLE_SLOPE:
            self.learning_rate, self.drops, self.since_drop = self.FACTOR * self.learning_rate, self.drops + 1, []
            if self.finished and self.early_stop:
                self.end = step

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be gained."""
        return self.drops >= self.MAX_DROPS
