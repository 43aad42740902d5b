"""Cameras as the encoder predicts them: a turn, and where the object lies in the square.

The turn is that of a camera that looks at the middle of the object; where the middle lies aside of the optical axis,
the camera is turned from there by the smallest rotation. So a crop of a larger image has the same turn as a camera that
looks at the object, up to perspective.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import Cameras

NOMINAL_FOCAL = 5.5  # of a square's camera that nobody knows, in half sides: the middle of the training's


class CameraLabels(NamedTuple):
    """What the encoder should say: a quaternion wxyz, and the middle's place in half sides with the log of a radius."""

    quaternion: Float[np.ndarray, "sight 4"]
    place: Float[np.ndarray, "sight 3"]


def aside(direction: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """The smallest rotations that turn the z axis into these directions, of any length, with z > 0."""
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    axis = np.cross(np.broadcast_to([0.0, 0.0, 1.0], unit.shape), unit)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    vector = axis / np.where(sine > 0.0, sine, 1.0) * np.arctan2(sine, unit[..., 2:])
    return Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(*unit.shape, 3)


def labels_of(cameras: Cameras, size: int) -> CameraLabels:
    """The labels of cameras that see the object's middle, the origin, in squares of size x size pixels."""
    pose, lens = (np.asarray(field, float) for field in cameras)
    turn = np.swapaxes(pose[:, :3, :3], 1, 2)
    middle = -np.einsum("vij,vj->vi", turn, pose[:, :3, 3])
    pixel = np.einsum("vij,vj->vi", lens, middle / middle[:, 2:])[:, :2]
    half = size / 2.0
    focal = np.sqrt(lens[:, 0, 0] * lens[:, 1, 1])
    radius = focal / (half * np.linalg.norm(middle, axis=1))
    straight = np.swapaxes(aside(middle), 1, 2) @ turn
    quaternion = Rotation.from_matrix(straight).as_quat()[:, [3, 0, 1, 2]]
    return CameraLabels(quaternion, np.column_stack([(pixel - half) / half, np.log(radius)]))


def cameras_of(
    quaternion: Float[np.ndarray, "hypothesis 4"],
    place: Float[np.ndarray, "hypothesis 3"],
    size: int,
    intrinsics: Float[np.ndarray, "3 3"] | None = None,
) -> Cameras:
    """The cameras of hypotheses, the inverse of `labels_of`.

    Without intrinsics each looks at the middle of the object, by a lens of NOMINAL_FOCAL.
    """
    half, count = size / 2.0, len(quaternion)
    pixel = half + half * place[:, :2]
    if intrinsics is None:
        focal = NOMINAL_FOCAL * half
        lens = np.tile(np.diag([focal, focal, 1.0]), (count, 1, 1))
        lens[:, :2, 2] = pixel
    else:
        lens = np.tile(np.asarray(intrinsics, float), (count, 1, 1))
    direction = np.linalg.solve(lens, np.column_stack([pixel, np.ones(count)])[..., None])[..., 0]
    distance = np.sqrt(lens[:, 0, 0] * lens[:, 1, 1]) / (half * np.exp(place[:, 2]))
    middle = direction / np.linalg.norm(direction, axis=1, keepdims=True) * distance[:, None]
    turn = aside(direction) @ Rotation.from_quat(quaternion[:, [1, 2, 3, 0]]).as_matrix()
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3] = np.swapaxes(turn, 1, 2)
    pose[:, :3, 3] = -np.einsum("vji,vj->vi", turn, middle)
    return Cameras(pose, lens)


def mirrored_labels(labels: CameraLabels) -> CameraLabels:
    """The labels of mirrored images of objects with the mirror x = 0; the same again gives the labels back."""
    flip = np.array([1.0, 1.0, -1.0, -1.0])
    return CameraLabels(labels.quaternion * flip[None], labels.place * np.array([[-1.0, 1.0, 1.0]]))


def mirrored_where(flip: Bool[Array, " camera"], cameras: Cameras, size: int) -> Cameras:
    """The cameras of squares, mirrored at x = 0 with their images where `flip` says so."""
    pose, lens = cameras
    sign = jnp.asarray([-1.0, 1.0, 1.0, 1.0], pose.dtype)
    there = lens.at[:, 0, 1].multiply(-1.0).at[:, 0, 2].set(size - lens[:, 0, 2])
    flip = flip[:, None, None]
    return Cameras(jnp.where(flip, (sign[:, None] * sign[None])[None] * pose, pose), jnp.where(flip, there, lens))
