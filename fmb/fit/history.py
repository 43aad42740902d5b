"""The course of a fit as numbers. Imports little, for processes that draw."""

from typing import NamedTuple

import numpy as np


class History(NamedTuple):
    """The course of a fit; NaN where something was not measured at a step."""

    step: np.ndarray
    loss: np.ndarray
    learning_rate: np.ndarray
    novel_loss: np.ndarray | None = None
