"""Pinhole cameras: where they stand, the rays of their pixels, and points seen through them.

OpenCV axes (x right, y down, z forward), lengths in the unit of the world, image coordinates in pixels with the
centre of pixel (0, 0) at (0.5, 0.5), so that the middle of the image is (width / 2, height / 2).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from fm_render import Rays
from fm_tiles import Cameras as Cameras
from fm_tiles import look_at, rigid_motion
from fm_tiles import pinhole_intrinsics as pinhole_intrinsics
from fmb.ready import ready

ANY_ARRAY = Array | np.ndarray
UP = (0.0, 1.0, 0.0)  # of a mesh, where nothing says otherwise


def random_cameras(
    generator: np.random.Generator,
    count: int,
    distance: float,
    intrinsics: Float[np.ndarray, "3 3"],
    up: Sequence[float] | None = None,
) -> Cameras:
    """Cameras that look at the origin from `distance`, in directions uniform over the sphere.

    `up` points upwards in all images; for None they are turned about their axes, too, uniform over all rotations.

    With the same seed, a longer batch begins with the cameras of a shorter one.

    Raises ValueError for count < 1 or a distance that is not positive.
    """
    _check_orbit(count, distance)
    rotation = Rotation.from_quat(generator.normal(size=(count, 4))).as_matrix()
    position = -distance * rotation[:, :, 2]
    pose = rigid_motion(rotation, position) if up is None else look_at(position, np.zeros(3), up)
    return Cameras(pose, np.tile(intrinsics, (count, 1, 1)))


def orbit_cameras(
    count: int,
    distance: float,
    intrinsics: Float[np.ndarray, "3 3"],
    elevation: float = 0.0,
    up: Sequence[float] = UP,
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


@ready(1, 2)
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
    return _rays_through(world_from_camera[:, None, None], intrinsics[:, None, None], row[None], column[None])


@jax.jit
def chosen_rays(
    cameras: Cameras, view: Int[ANY_ARRAY, " ray"], row: Int[ANY_ARRAY, " ray"], column: Int[ANY_ARRAY, " ray"]
) -> Rays:
    """Those of `pixel_rays` at the given places, [ray, 3]."""
    world_from_camera, intrinsics = jnp.asarray(cameras.world_from_camera), jnp.asarray(cameras.intrinsics)
    row, column = (jnp.asarray(place, intrinsics.dtype) + 0.5 for place in (row, column))
    return _rays_through(world_from_camera[view], intrinsics[view], row, column)


def _rays_through(world_from_camera: Array, intrinsics: Array, row: Array, column: Array) -> Rays:
    focal_x, skew, centre_x = (intrinsics[..., 0, axis] for axis in range(3))
    focal_y, centre_y = (intrinsics[..., 1, axis] for axis in (1, 2))
    y = (row - centre_y) / focal_y
    x = (column - centre_x - skew * y) / focal_x
    right, down, forward, position = (world_from_camera[..., :3, axis] for axis in range(4))
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


def _check_orbit(count: int, distance: float) -> None:
    if count < 1:
        raise ValueError(f"number of views {count}: must be at least 1")
    if not distance > 0.0:
        raise ValueError(f"camera distance {distance}: must be positive")
