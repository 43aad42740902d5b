"""Bodies with deep hollows, as fields: methods that only pull a surface to points leave spurious surfaces there."""

import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array

from fmb.clouds.surface import extract
from fmb.geometry.interior import sample_surface

SHAPE_CELLS = 96


def box(points: Array, centre: tuple, half: tuple) -> Array:
    """Signed distance from a box."""
    away = jnp.abs(points - jnp.asarray(centre)[None]) - jnp.asarray(half)[None]
    outside = jnp.sqrt(jnp.sum(jnp.maximum(away, 0.0) ** 2, axis=1) + 1e-12)
    return outside + jnp.minimum(jnp.max(away, axis=1), 0.0)


def comb(points: Array) -> Array:
    """A back with five teeth."""
    teeth = [box(points, (x, -0.1, 0.0), (0.05, 0.35, 0.12)) for x in (-0.4, -0.2, 0.0, 0.2, 0.4)]
    return jnp.min(jnp.stack([box(points, (0.0, 0.35, 0.0), (0.45, 0.1, 0.12)), *teeth]), axis=0)


def cup(points: Array) -> Array:
    """A cylinder, hollow and open above."""
    across = jnp.sqrt(points[:, 0] ** 2 + points[:, 2] ** 2 + 1e-12)
    outer = jnp.maximum(across - 0.4, jnp.abs(points[:, 1]) - 0.5)
    inner = jnp.maximum(across - 0.28, -0.38 - points[:, 1])
    return jnp.maximum(outer, -inner)


def shape_and_points(field, count: int = 10_000) -> tuple[trimesh.Trimesh, np.ndarray]:
    """The mesh of a body, and points of its surface."""
    mesh = extract(field, SHAPE_CELLS)
    return mesh, sample_surface(mesh, count, np.random.default_rng(0))
