"""A rasteriser of Gaussian splats as 3DGS has it (EWA, Zwicker et al. 2001), slow and plain, to judge exports by."""

import numpy as np
from scipy.spatial.transform import Rotation

from fmb.files.splats import Splats
from fmb.geometry.cameras import Cameras

LARGEST_ALPHA, SMALLEST_ALPHA = 0.99, 1 / 255  # of one splat at one pixel, as in 3DGS


def rasterise(splats: Splats, cameras: Cameras, height: int, width: int) -> np.ndarray:
    """Alpha [view, height, width] of the splats, composited from front to back."""
    row, column = np.mgrid[:height, :width] + 0.5
    images = []
    for pose, intrinsics in zip(np.asarray(cameras.world_from_camera), np.asarray(cameras.intrinsics), strict=True):
        turn = pose[:3, :3].T
        x, y, z = ((splats.mean - pose[:3, 3]) @ turn.T).T
        focal = intrinsics[0, 0], intrinsics[1, 1]
        zero = np.zeros_like(z)
        slope = np.stack(
            [
                np.stack([focal[0] / z, zero, -focal[0] * x / z**2], -1),
                np.stack([zero, focal[1] / z, -focal[1] * y / z**2], -1),
            ],
            axis=1,
        )
        axes = (
            turn
            @ Rotation.from_quat(splats.quaternion, scalar_first=True).as_matrix()
            * np.exp(splats.log_scale)[:, None]
        )
        flat = slope @ axes
        inverse = np.linalg.inv(flat @ np.swapaxes(flat, 1, 2))
        middle = np.stack([focal[0] * x / z + intrinsics[0, 2], focal[1] * y / z + intrinsics[1, 2]], axis=-1)
        opacity = 1 / (1 + np.exp(-splats.opacity))
        passing = np.ones((height, width))
        for place in np.argsort(z):
            if z[place] <= 0:
                continue
            u, v = column - middle[place, 0], row - middle[place, 1]
            (a, b), (_, c) = inverse[place]
            alpha = np.minimum(LARGEST_ALPHA, opacity[place] * np.exp(-0.5 * (a * u * u + 2 * b * u * v + c * v * v)))
            passing = passing * (1 - np.where(alpha < SMALLEST_ALPHA, 0, alpha))
        images.append(1 - passing)
    return np.stack(images)
