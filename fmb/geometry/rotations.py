"""Rotations of space in two forms, with finite gradients everywhere, also at the identity.

rotation vector   axis times angle in radians
quaternion        (w, x, y, z), any length but zero

Functions take any leading shape. A matrix turns a point by `matrix @ point`.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

SMALL_ANGLE = 1e-2  # radians; smaller ones use a series, whose first dropped term, angle^8, is below float64 rounding


def rigid_transform(rotation: Float[Array, "*batch 3 3"], translation: Float[Array, "*batch 3"]) -> Array:
    """Homogeneous matrices [*batch, 4, 4] that first rotate, then translate."""
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def matrix_from_quaternion(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3 3"]:
    """Rotation matrix of a quaternion wxyz of any length but zero."""
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


def quaternion_from_rotation_vector(vector: Float[Array, "*batch 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion wxyz of a rotation vector."""
    squared = jnp.sum(vector * vector, axis=-1, keepdims=True)
    small = squared < SMALL_ANGLE**2
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    series = 0.5 - squared / 48.0 + squared**2 / 3840.0 - squared**3 / 645120.0
    cosine = jnp.where(small, 1.0 - squared / 8.0 + squared**2 / 384.0 - squared**3 / 46080.0, jnp.cos(0.5 * angle))
    return jnp.concatenate([cosine, vector * jnp.where(small, series, jnp.sin(0.5 * angle) / angle)], axis=-1)
