"""Pinhole cameras: where they stand, the rays of their pixels, and points seen through them.

OpenCV axes (x right, y down, z forward), lengths in the unit of the world, image coordinates in pixels with the
centre of pixel (0, 0) at (0.5, 0.5), so that the middle of the image is (width / 2, height / 2).
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fm_render import Cameras, Rays

ANY_ARRAY = Array | np.ndarray
PARALLEL_SINE = 1e-6  # where the sine of the angle to `up` is smaller, `up` cannot decide the roll


def pinhole_intrinsics(height: int, width: int, vfov_degrees: float) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of square pixels with the principal point in the middle of the image.

    Raises ValueError for an empty image or a field of view outside (0, 180) degrees.
    """
    if height < 1 or width < 1:
        raise ValueError(f"image of {width} x {height} pixels: both sides must be at least 1")
    if not 0.0 < vfov_degrees < 180.0:
        raise ValueError(f"vfov_degrees {vfov_degrees}: must lie between 0 and 180")
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(vfov_degrees))
    return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])


def look_at(position: Sequence | ANY_ARRAY, target: Sequence | ANY_ARRAY, up: Sequence | ANY_ARRAY) -> np.ndarray:
    """World from camera, [..., 4, 4], of cameras at `position` [..., 3] whose z axis meets `target`.

    `up` [..., 3] points upwards in the image. Where it is zero or parallel to the optical axis, the world axis that is
    furthest from the optical axis takes its place.

    Raises ValueError where position and target coincide.
    """
    position, target, up = np.broadcast_arrays(*(np.asarray(vector, float) for vector in (position, target, up)))
    forward = target - position
    length = np.linalg.norm(forward, axis=-1, keepdims=True)
    if np.any(length == 0.0):
        raise ValueError(f"look_at: position and target coincide at {target[length[..., 0] == 0.0][0]}")
    forward = forward / length
    right = np.cross(forward, up)
    stand_in = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward), axis=-1)])
    sine = np.linalg.norm(right, axis=-1, keepdims=True)
    parallel = sine <= PARALLEL_SINE * np.linalg.norm(up, axis=-1, keepdims=True)
    right = np.where(parallel, stand_in, right)
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=-1)
    return _world_from_camera(rotation, position)


def random_cameras(
    generator: np.random.Generator, count: int, distance: float, intrinsics: Float[np.ndarray, "3 3"]
) -> Cameras:
    """Cameras that look at the origin from `distance`; their rotations are uniform over all rotations.

    With the same seed, a longer batch begins with the cameras of a shorter one.

    Raises ValueError for count < 1 or a distance that is not positive.
    """
    _check_orbit(count, distance)
    rotation = Rotation.from_quat(generator.normal(size=(count, 4))).as_matrix()
    return Cameras(_world_from_camera(rotation, -distance * rotation[:, :, 2]), np.tile(intrinsics, (count, 1, 1)))


def orbit_cameras(
    count: int,
    distance: float,
    intrinsics: Float[np.ndarray, "3 3"],
    elevation: float = 0.0,
    up: Sequence[float] = (0.0, 1.0, 0.0),
) -> Cameras:
    """Cameras that look at the origin, evenly spaced on a circle around the axis `up`.

    `elevation` is their angle in radians above the plane orthogonal to `up`. The first camera is the one nearest to the
    z axis (to the x axis if `up` is z).

    Raises ValueError for count < 1, a distance that is not positive or an `up` of zero length.
    """
    _check_orbit(count, distance)
    up = np.asarray(up, float)
    if not np.linalg.norm(up) > 0.0:
        raise ValueError(f"orbit_cameras: up {up} must have a length")
    up = up / np.linalg.norm(up)
    start = np.eye(3)[2 if abs(up[2]) < 0.9 else 0]
    start = start - up * (start @ up)
    start = start / np.linalg.norm(start)
    angle = 2.0 * np.pi * np.arange(count)[:, None] / count
    level = np.cos(angle) * start + np.sin(angle) * np.cross(up, start)
    position = distance * (np.cos(elevation) * level + np.sin(elevation) * up)
    return Cameras(look_at(position, np.zeros(3), up), np.tile(intrinsics, (count, 1, 1)))


@partial(jax.jit, static_argnums=(1, 2))
def pixel_rays(cameras: Cameras, height: int, width: int) -> Rays:
    """Rays through the pixel centres, [view, height, width, 3], in world axes.

    Directions have unit depth: their component along the optical axis is 1, so the ray parameter is the depth.
    Differentiable in pose and intrinsics.
    """
    world_from_camera, intrinsics = jnp.asarray(cameras.world_from_camera), jnp.asarray(cameras.intrinsics)
    row, column = jnp.meshgrid(
        jnp.arange(height, dtype=intrinsics.dtype) + 0.5,
        jnp.arange(width, dtype=intrinsics.dtype) + 0.5,
        indexing="ij",
    )
    focal_x, skew, centre_x = (intrinsics[:, 0, axis, None, None] for axis in range(3))
    focal_y, centre_y = (intrinsics[:, 1, axis, None, None] for axis in (1, 2))
    y = (row[None] - centre_y) / focal_y
    x = (column[None] - centre_x - skew * y) / focal_x
    right, down, forward, position = (world_from_camera[:, None, None, :3, axis] for axis in range(4))
    direction = x[..., None] * right + y[..., None] * down + forward
    return Rays(jnp.broadcast_to(position, direction.shape), direction)


def project(cameras: Cameras, points: Float[ANY_ARRAY, "point 3"]) -> tuple[Array, Array]:
    """Image position [view, point, 2] in pixels and depth [view, point] of world points; the inverse of `pixel_rays`.

    Only positions of points with depth > 0 mean something.
    """
    world_from_camera, intrinsics = jnp.asarray(cameras.world_from_camera), jnp.asarray(cameras.intrinsics)
    offset = jnp.asarray(points)[None] - world_from_camera[:, None, :3, 3]
    seen = jnp.einsum("vpi,vij,vkj->vpk", offset, world_from_camera[:, :3, :3], intrinsics, precision="highest")
    return seen[..., :2] / seen[..., 2:], seen[..., 2]


def finest_pixel(cameras: Cameras) -> Float[Array, ""]:
    """Width of the smallest of the cameras' pixels at the distance of the world's origin, which is in the object."""
    distance = jnp.linalg.norm(jnp.asarray(cameras.world_from_camera)[:, :3, 3], axis=1)
    focal = jnp.diagonal(jnp.asarray(cameras.intrinsics), axis1=1, axis2=2)[:, :2].max(axis=1)
    return jnp.min(distance / focal)


def nearest_to_rays(
    origin: Float[np.ndarray, "ray 3"], direction: Float[np.ndarray, "ray 3"]
) -> Float[np.ndarray, "3"]:
    """The point that lines through `origin` along `direction`, of length 1, come nearest to in the mean square."""
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    return np.linalg.lstsq(across.sum(axis=0), np.einsum("rij,rj->i", across, origin), rcond=None)[0]


def _world_from_camera(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    transform = np.zeros((*position.shape[:-1], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = position
    transform[..., 3, 3] = 1.0
    return transform


def _check_orbit(count: int, distance: float) -> None:
    if count < 1:
        raise ValueError(f"number of views {count}: must be at least 1")
    if not distance > 0.0:
        raise ValueError(f"camera distance {distance}: must be positive")
