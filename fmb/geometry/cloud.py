"""Points with what is known of each."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Cloud(NamedTuple):
    """Points and, where they are known, their outward unit normals and colours from 0 to 1."""

    point: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"] | None = None
    color: Float[np.ndarray, "point 3"] | None = None

    @property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """The lower and the upper corner of the box."""
        return np.stack([self.point.min(axis=0), self.point.max(axis=0)])
