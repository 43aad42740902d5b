"""What the encoder's numbers mean: half a mixture, each component cut in two or not, then mirrored at x = 0.

A component is 13 numbers: mean, logs of the inverse semi-axes, the slant of its axes, log of the sharpness, colour.
They give the ellipsoid of fmb/shape/edges.py, |E^T (x - mean)| = 1 with E = D (1 + S), D diagonal and S strictly lower.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Mixture
from fmb.shape.edges import Edges, mixture_from_edges
from fmb.single_view.layout import Layout

MEAN, AXES, SLANT, SHARPNESS, COLOR = slice(0, 3), slice(3, 6), slice(6, 9), 9, slice(10, 13)
NUMBERS = 13
REACH_OF = np.array([0.3] * 3 + [0.5] * 3 + [0.5] * 3 + [0.5] + [1.5] * 3)  # a deformation of 1 in each number's unit
START_SPREAD, START_RADIUS = 0.35, 0.2  # of the components of a mean shape, in radii of the object
START_SHARPNESS = 1.0
CHILDREN, CHILD_NUMBERS = 2, 6  # of each child: where it lies in its parent, and logs of its axes over the parent's
CHILD_PLACE, CHILD_SIZE = 0.5, 0.25  # its first place along the parent's axes, and its first log size


class Blobs(NamedTuple):
    """A mixture and the colour of each component, 0 to 1."""

    mixture: Mixture
    color: Float[Array, "mixture 3"]


def start_numbers(shape: Layout, generator: np.random.Generator) -> Float[np.ndarray, "mean component number"]:
    """Mean shapes before the training: balls of one size, scattered; with a mirror, on one side of it."""
    found = np.zeros((shape.means, shape.components, NUMBERS))
    found[..., MEAN] = generator.normal(0.0, START_SPREAD, (*found.shape[:2], 3))
    if shape.mirrored:
        found[..., 0] = 0.5 * np.abs(found[..., 0])
    found[..., AXES] = -np.log(START_RADIUS)
    found[..., SHARPNESS] = START_SHARPNESS
    return found


def start_children(shape: Layout, generator: np.random.Generator) -> Float[np.ndarray, "child component how"]:
    """How components are cut before the training: along a random axis each; nothing where they are not cut."""
    if not shape.split:
        return np.zeros((0, shape.components, CHILD_NUMBERS))
    way = generator.normal(size=(shape.components, 3))
    way *= CHILD_PLACE / np.linalg.norm(way, axis=1, keepdims=True)
    size = np.full_like(way, CHILD_SIZE)
    return np.stack([np.concatenate([sign * way, size], axis=1) for sign in (1.0, -1.0)])


def blobs_of(
    numbers: Float[Array, "component number"], children: Float[Array, "child component how"], mirrored: bool
) -> Blobs:
    """All components that the numbers stand for: parts first, then their mirror images."""
    edges = edges_of(numbers)
    color = jax.nn.sigmoid(numbers[:, COLOR])
    if len(children):
        edges, color = cut_in_two(edges, children), jnp.tile(color, (CHILDREN, 1))
    if mirrored:
        both = (edges, mirror_image(edges))
        edges, color = jax.tree.map(lambda *parts: jnp.concatenate(parts), *both), jnp.tile(color, (2, 1))
    return Blobs(mixture_from_edges(edges), color)


def edges_of(numbers: Float[Array, "component number"]) -> Edges:
    """The ellipsoids of the numbers."""
    diagonal, slant = jnp.exp(numbers[:, AXES]), numbers[:, SLANT]
    zero, one = jnp.zeros_like(slant[:, 0]), jnp.ones_like(slant[:, 0])
    rows = ((one, zero, zero), (slant[:, 0], one, zero), (slant[:, 1], slant[:, 2], one))
    unit = jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)
    return Edges(numbers[:, MEAN], diagonal[:, :, None] * unit, numbers[:, SHARPNESS])


def mirror_image(edges: Edges) -> Edges:
    """The ellipsoids at the other side of x = 0: E becomes H E H, which is lower triangular as well."""
    flip = jnp.asarray([-1.0, 1.0, 1.0], edges.mean.dtype)
    return edges._replace(
        mean=edges.mean * flip[None], edge_cholesky=edges.edge_cholesky * (flip[:, None] * flip[None])[None]
    )


def cut_in_two(edges: Edges, children: Float[Array, "child component how"]) -> Edges:
    """Two ellipsoids for each, at mean + E^-T a with the columns of E scaled; `children` holds a and the logs."""
    a, lower = children[..., :3], edges.edge_cholesky
    z = a[..., 2] / lower[None, :, 2, 2]
    y = (a[..., 1] - lower[None, :, 2, 1] * z) / lower[None, :, 1, 1]
    x = (a[..., 0] - lower[None, :, 1, 0] * y - lower[None, :, 2, 0] * z) / lower[None, :, 0, 0]
    mean = edges.mean[None] + jnp.stack([x, y, z], axis=-1)
    factor = lower[None] * jnp.exp(children[..., None, 3:])
    sharpness = jnp.tile(edges.log_sharpness, CHILDREN)
    return Edges(mean.reshape(-1, 3), factor.reshape(-1, 3, 3), sharpness)
