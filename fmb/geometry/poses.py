"""The record of a camera's pose that was found, used from the search to the file."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fmb.geometry.frames import Frame


class PoseEstimate(NamedTuple):
    """The pose that was found and how sure it is, in the frame and unit of the mixture.

    `covariance` is that of xi = (rotation vector in radians, translation), both in the camera's axes:
    camera_from_object = exp(xi) estimate, where exp(xi) turns about the camera's centre. `path` has the pose after each
    trial of the search that won, the given start first (of method first_order, after every 20th step); `loss` has the
    loss of each, in its own stage; `iterations` counts the trials. `cross_entropy`
    is the mean over pixels, where 3 % of the mask may be wrong. `depth_rms` is the root mean square distance of the
    measured points from the surface. Either is NaN where there was no such image. `success` means that the search came
    to rest at a pose that explains the image. `disagreement` is the share of measured points and of the model's surface
    that speaks against the pose, NaN where the model has no surface or the image no depth. A search that diverged
    leaves NaN.
    """

    world_from_camera: Float[np.ndarray, "4 4"]
    covariance: Float[np.ndarray, "6 6"]
    path: Float[np.ndarray, "step 4 4"]
    loss: Float[np.ndarray, " step"]
    cross_entropy: float
    depth_rms: float
    success: bool
    iterations: int
    disagreement: float = math.nan

    def to_world(self, frame: Frame) -> "PoseEstimate":
        """The same pose in the input's frame and unit, where this one is canonical."""
        scale = float(frame.scale)
        return self._replace(
            world_from_camera=frame.poses_to_world(self.world_from_camera),
            covariance=scaled_covariance(self.covariance, scale),
            path=frame.poses_to_world(self.path),
            depth_rms=scale * self.depth_rms,
        )


def scaled_covariance(covariance: Float[np.ndarray, "6 6"], scale: float) -> Float[np.ndarray, "6 6"]:
    """The covariance of the same pose in a unit in which lengths are `scale` times as large."""
    unit = np.repeat([1.0, scale], 3)
    return np.asarray(covariance, float) * unit[:, None] * unit
