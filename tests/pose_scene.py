"""A small mixture and what a depth camera would see of it, for the tests of pose, tracking and joint fits."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.metaballs import HALF_OPAQUE
from fmb.geometry.cameras import pinhole_intrinsics
from fmb.pose.estimate import PoseProgram, compile_pose
from fmb.pose.observation import Observation
from fmb.pose.options import PoseOptions

IMAGE_SIZE = (30, 40)
INTRINSICS = pinhole_intrinsics(*IMAGE_SIZE, 30.0)


def lopsided_mixture() -> Mixture:
    """Five balls of different sizes that no rotation maps to each other, in single precision."""
    mean = np.array([[0.0, 0, 0], [0.45, 0.1, 0], [-0.15, 0.4, 0.1], [0.05, -0.1, 0.5], [-0.3, -0.3, -0.2]])
    radius = np.array([0.25, 0.15, 0.2, 0.18, 0.12])
    sharpness = 6.0
    lower = np.sqrt(2 * sharpness) / radius[:, None, None] * np.eye(3)
    weight = np.full(5, sharpness + HALF_OPAQUE)
    return Mixture(*(jnp.asarray(x, jnp.float32) for x in (mean, lower, weight)))


@lru_cache(maxsize=1)
def tracking_program() -> PoseProgram:
    """The search from one start alone, compiled once for all tests."""
    return compile_pose(lopsided_mixture(), IMAGE_SIZE, PoseOptions(num_starts=0))


@lru_cache(maxsize=1)
def search_program() -> PoseProgram:
    """The search from eight starts beside the given one, compiled once for all tests."""
    return compile_pose(lopsided_mixture(), IMAGE_SIZE, PoseOptions(num_starts=8))


def camera_at(turn: np.ndarray, distance: float = 3.0) -> np.ndarray:
    """World from a camera turned by a rotation vector that looks at the origin."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    pose[:3, 3] = -distance * pose[:3, 2]
    return pose


def shifted(camera: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The camera from which the object appears turned about its middle by `turn` and moved by `shift`."""
    seen = np.linalg.inv(camera)
    seen[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ seen[:3, :3]
    seen[:3, 3] += shift
    return np.linalg.inv(seen)


def observe(
    mixture: Mixture, camera: np.ndarray, generator: np.random.Generator | None = None, deviation: float = 0.01
) -> Observation:
    """What is seen from there; with a generator depth has normal noise and each mask pixel is drawn by its alpha."""
    column, row = np.meshgrid(np.arange(IMAGE_SIZE[1]) + 0.5, np.arange(IMAGE_SIZE[0]) + 0.5)
    direction = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(INTRINSICS).T @ camera[:3, :3].T
    mean, lower, weight = (np.asarray(x, float) for x in mixture)
    radius = np.sqrt(2 * (weight - HALF_OPAQUE)) / lower[:, 0, 0]
    offset = mean - camera[:3, 3]
    square = np.sum(direction**2, axis=-1)[..., None]
    closest = direction @ offset.T / square
    miss = np.sum(offset**2, axis=1) - closest**2 * square
    density = np.exp(weight - 0.5 * lower[:, 0, 0] ** 2 * miss).sum(-1)
    hit = closest - np.sqrt(np.maximum(radius**2 - miss, 0) / square)
    depth = np.where(miss < radius**2, hit, np.inf).min(-1)
    for _ in range(8):  # where balls meet, the surface of their sum lies a little outside of theirs
        rest = camera[:3, 3] + np.where(np.isfinite(depth), depth, 0)[..., None] * direction
        away = rest[..., None, :] - mean
        log_density = weight - 0.5 * lower[:, 0, 0] ** 2 * np.sum(away**2, axis=-1)
        top = log_density.max(-1, keepdims=True)
        share = np.exp(log_density - top)
        slope = -np.einsum("hwk,k,hwki,hwi->hw", share, lower[:, 0, 0] ** 2, away, direction) / share.sum(-1)
        step = (np.log(share.sum(-1)) + top[..., 0] - HALF_OPAQUE) / np.where(slope > 1, slope, np.inf)
        depth = depth - np.clip(step, -0.02, 0.02)
    depth = np.where(np.isfinite(depth), depth, np.nan)
    alpha = -np.expm1(-density)
    if generator is None:
        return Observation(INTRINSICS, depth, (alpha > 0.5).astype(float))
    seen = (generator.uniform(size=alpha.shape) < alpha).astype(float)
    return Observation(INTRINSICS, depth + deviation * generator.normal(size=depth.shape), seen)
