"""The known scene that data sets are made of: two balls before cameras whose images are oblong.

Principal points lie off the middle; silhouettes are soft and, like the colours, made of multiples of 1/255, so that 8
bits hold them exactly.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fmb.geometry.cameras import Cameras, look_at
from fmb.geometry.views import Views

HEIGHT, WIDTH, COUNT = 18, 24, 5
BALLS = ((np.array([0.1, 0.0, -0.1]), 0.45), (np.array([-0.3, 0.35, 0.2]), 0.3))  # centre and radius
HALF_PIXEL = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
POINTS = np.array([[0.1, 0.0, 0.35], [0.55, 0.0, -0.1], [-0.3, 0.65, 0.2]])


class Scene(NamedTuple):
    """What is written: views, their names, and which of them are for testing."""

    views: Views
    names: tuple[str, ...]
    held_out: np.ndarray

    def camera_from_world(self, view: int) -> np.ndarray:
        """The inverse pose."""
        return np.linalg.inv(self.views.cameras.world_from_camera[view])


def make_scene(count: int = COUNT, height: int = HEIGHT, width: int = WIDTH) -> Scene:
    """The balls from cameras around them, the last view held out."""
    generator = np.random.default_rng(7)
    direction = generator.normal(size=(count, 3))
    position = 3.0 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    pose = look_at(position, generator.normal(scale=0.05, size=(count, 3)), [0.0, 1.0, 0.0])
    intrinsics = np.zeros((count, 3, 3))
    intrinsics[:, 0, 0] = 1.3 * width + generator.uniform(size=count)
    intrinsics[:, 1, 1] = 1.3 * width + generator.uniform(size=count)
    intrinsics[:, 0, 2] = 0.5 * width + generator.uniform(-1.0, 1.0, count)
    intrinsics[:, 1, 2] = 0.5 * height + generator.uniform(-1.0, 1.0, count)
    intrinsics[:, 2, 2] = 1.0
    cameras = Cameras(pose, intrinsics)
    silhouette, depth = zip(*(see(pose[view], intrinsics[view], (height, width)) for view in range(count)), strict=True)
    color = generator.integers(0, 256, (count, height, width, 3)).astype(np.float32) / np.float32(255.0)
    names = tuple(f"{view:03d}" for view in range(count))
    views = Views(cameras, np.stack(silhouette), np.stack(depth), color=color)
    return Scene(views, names, np.arange(count) == count - 1)


def see(pose: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Silhouette, soft over about a pixel and in steps of 1/255, and depth of the balls, NaN outside."""
    row, column = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5, indexing="ij")
    pixel = np.stack([column, row, np.ones(size)], axis=-1)
    direction = pixel @ np.linalg.inv(intrinsics).T @ pose[:3, :3].T
    share, depth = np.zeros(size), np.full(size, np.inf)
    for centre, radius in BALLS:
        offset = centre - pose[:3, 3]
        closest = direction @ offset / np.sum(direction**2, axis=-1)
        miss = np.linalg.norm(closest[..., None] * direction - offset, axis=-1)
        share = np.maximum(share, np.clip(0.5 + 10.0 * (radius - miss), 0.0, 1.0))
        half = np.sqrt(np.maximum(radius**2 - miss**2, 0.0)) / np.linalg.norm(direction, axis=-1)
        depth = np.where(miss < radius, np.minimum(depth, closest - half), depth)
    share = np.rint(255.0 * share).astype(np.float32) / np.float32(255.0)
    return share, np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as 8 bits."""
    return np.rint(255.0 * values).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Writes pixels as PNG, folders made on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
