"""Rotations of space in three forms, each with finite gradients everywhere, the identity included.

rotation vector   axis times angle in radians
quaternion        (w, x, y, z), any length but zero
mrp               modified Rodrigues parameters, axis times tan(angle / 4)

Functions take any leading shape; rotations turn points as `matrix @ point`.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

SMALL_ANGLE = 1e-2  # below it a series: its first dropped term, angle^8, is under the float64 rounding


def rigid_transform(rotation: Float[Array, "*batch 3 3"], translation: Float[Array, "*batch 3"]) -> Array:
    """Homogeneous matrices [*batch, 4, 4] that turn by `rotation`, then move by `translation`."""
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def matrix_from_quaternion(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3 3"]:
    """Rotation matrix of a quaternion wxyz; its length does not matter but must not be zero."""
    w, x, y, z = jnp.moveaxis(quaternion, -1, 0)
    two = 2.0 / (w * w + x * x + y * y + z * z)
    rows = (
        (1.0 - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)),
        (two * (x * y + w * z), 1.0 - two * (x * x + z * z), two * (y * z - w * x)),
        (two * (x * z - w * y), two * (y * z + w * x), 1.0 - two * (x * x + y * y)),
    )
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_from_rotation_vector(vector: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Rotation matrix of a rotation vector: the exponential map of SO(3)."""
    return matrix_from_quaternion(quaternion_from_rotation_vector(vector))


def matrix_from_mrp(mrp: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Rotation matrix of modified Rodrigues parameters; no singular point below a full turn."""
    squared = jnp.sum(mrp * mrp, axis=-1, keepdims=True)
    return matrix_from_quaternion(jnp.concatenate([1.0 - squared, 2.0 * mrp], axis=-1))


def quaternion_from_rotation_vector(vector: Float[Array, "*batch 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion wxyz of a rotation vector."""
    squared = jnp.sum(vector * vector, axis=-1, keepdims=True)
    small = squared < SMALL_ANGLE**2
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    series = 0.5 - squared / 48.0 + squared**2 / 3840.0 - squared**3 / 645120.0
    cosine = jnp.where(small, 1.0 - squared / 8.0 + squared**2 / 384.0 - squared**3 / 46080.0, jnp.cos(0.5 * angle))
    return jnp.concatenate([cosine, vector * jnp.where(small, series, jnp.sin(0.5 * angle) / angle)], axis=-1)


def quaternion_from_matrix(matrix: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion wxyz of a rotation matrix, with w >= 0.

    Each row of 4 q qᵀ is the quaternion times one of its entries; the longest of them is taken and normalised.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (jnp.moveaxis(matrix[..., row, :], -1, 0) for row in range(3))
    outer = (
        (1.0 + xx + yy + zz, zy - yz, xz - zx, yx - xy),
        (zy - yz, 1.0 + xx - yy - zz, xy + yx, xz + zx),
        (xz - zx, xy + yx, 1.0 - xx + yy - zz, yz + zy),
        (yx - xy, xz + zx, yz + zy, 1.0 - xx - yy + zz),
    )
    outer = jnp.stack([jnp.stack(row, axis=-1) for row in outer], axis=-2)
    longest = jnp.argmax(jnp.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    quaternion = jnp.take_along_axis(outer, longest[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion * jnp.where(quaternion[..., :1] < 0.0, -1.0, 1.0)
    return quaternion / jnp.linalg.norm(quaternion, axis=-1, keepdims=True)


def rotation_vector_from_quaternion(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3"]:
    """Shortest rotation vector of a quaternion wxyz of any length: the logarithm of SO(3), angle at most pi."""
    quaternion = quaternion * jnp.where(quaternion[..., :1] < 0.0, -1.0, 1.0)
    cosine, axis = quaternion[..., :1], quaternion[..., 1:]
    squared = jnp.sum(axis * axis, axis=-1, keepdims=True)
    small = squared < (0.5 * SMALL_ANGLE * cosine) ** 2
    sine = jnp.sqrt(jnp.where(small, 1.0, squared))
    safe_cosine = jnp.where(small, cosine, 1.0)
    ratio = squared / safe_cosine**2
    series = 2.0 / safe_cosine * (1.0 - ratio / 3.0 + ratio**2 / 5.0 - ratio**3 / 7.0)
    return axis * jnp.where(small, series, 2.0 * jnp.arctan2(sine, cosine) / sine)


def mrp_from_quaternion(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3"]:
    """Modified Rodrigues parameters of a quaternion wxyz of any length, their own length at most 1."""
    quaternion = quaternion * jnp.where(quaternion[..., :1] < 0.0, -1.0, 1.0)
    length = jnp.linalg.norm(quaternion, axis=-1, keepdims=True)
    return quaternion[..., 1:] / (length + quaternion[..., :1])


ROTATIONS = {
    "rotation_vector": matrix_from_rotation_vector,
    "quaternion": matrix_from_quaternion,
    "mrp": matrix_from_mrp,
}
