"""Courses of the learning rate."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

WARM_UP, LAST_RATE = 0.1, 1e-3  # cosine: share of all steps that rises, and the last rate in units of the largest
CYCLE_WARM_UP, CYCLE_FIRST, CYCLE_LAST = 0.3, 1 / 25, 1e-4  # one cycle (Smith & Topin 2018), likewise


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


class Plateau:
    """The released rule: a tenth of the rate when the loss is no longer credibly falling, an end after 4 drops.

    A line is fitted to the losses of the last 0.4 epochs. Its slope, with the error of the fit, is credibly below -1e-4
    when that has a probability above 1/2, which for a symmetric error says that the slope itself is. A drop starts a
    new window. The released rule asks after every step whether a tenth of an epoch agrees; here it is after each chunk.
    """

    WINDOW, CREDIBLE_SLOPE, FACTOR, MAX_DROPS = 0.4, -1e-4, 0.1, 4

    def __init__(self, learning_rate: float, steps_per_epoch: int):
        self.learning_rate, self.drops = learning_rate, 0
        self.since_drop: list[float] = []
        self.window = max(3, round(self.WINDOW * steps_per_epoch))

    def see(self, losses: Float[np.ndarray, " step"]) -> None:
        """Takes note of losses, in order."""
        self.since_drop = [*self.since_drop, *losses][-self.window :]
        if len(self.since_drop) < self.window or self.finished:
            return
        slope = np.polynomial.polynomial.polyfit(np.arange(self.window), self.since_drop, 1)[1]
        if slope >= self.CREDIBLE_SLOPE:
            self.learning_rate, self.drops, self.since_drop = self.FACTOR * self.learning_rate, self.drops + 1, []

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be gained."""
        return self.drops >= self.MAX_DROPS
