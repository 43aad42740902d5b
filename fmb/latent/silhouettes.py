"""Silhouettes of a mesh without a rasteriser, differentiable in its vertices, separable along rows and columns.

Three of them: triangles that count as layers, vertices as spots, and triangles as fuzzy Gaussians in our own renderer.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float

from fm_render import Mixture, render_views
from fmb.fields.isosurface import Surface
from fmb.geometry.cameras import Cameras, project

BLUR = 0.7  # pixels: least deviation of what a triangle is drawn as
ACROSS = 0.6  # of the width of two triangles: where they are larger than pixels, the deviation that leaves no gaps
STEEPNESS = 3.0  # of the step from no layer to two
SPOT = 1.0  # pixels, and the density in the middle of a vertex's spot
FLATNESS = 0.2  # thickness of a triangle's Gaussian over its width
OPAQUE = 3.0  # density through the middle of a triangle's Gaussian
LEAST_DEPTH = 1e-3  # of a vertex, below which it counts as no further away

Silhouette = Callable[[Surface, Cameras, tuple[int, int]], Array]  # opacity, [view, height, width]


def layers(surface: Surface, cameras: Cameras, image_size: tuple[int, int]) -> Float[Array, "view height width"]:
    """Opacity by how many layers of surface lie behind each pixel: none outside, two or more inside.

    Each triangle adds its area in the image, as a Gaussian of BLUR pixels or more around its middle. So the number of
    layers D depends neither on the size of triangles nor on their slant, and is 1 at the edge of the silhouette, where
    the opacity 1 - 2^(-D^STEEPNESS) is one half: the edge is where it should be.
    """
    pixel, depth = project(cameras, surface.vertex)
    corner = pixel[:, surface.face]
    one, two = corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0]
    area = jnp.abs(one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]) / 2.0
    seen = jnp.min(depth[:, surface.face], axis=2) > LEAST_DEPTH
    area = jnp.where(seen, area, 0.0)
    width = jnp.sqrt(2.0 * jnp.sum(area * area) / jnp.maximum(jnp.sum(area), 1e-6))
    blur = jnp.maximum(BLUR, ACROSS * width)
    count = spread(jnp.mean(corner, axis=2), area, image_size, blur)
    return 1.0 - jnp.exp(-math.log(2.0) * count**STEEPNESS)


def spots(surface: Surface, cameras: Cameras, image_size: tuple[int, int]) -> Float[Array, "view height width"]:
    """Opacity 1 - exp(-D) where every vertex adds a Gaussian of SPOT pixels and height SPOT to D."""
    pixel, depth = project(cameras, surface.vertex)
    height = jnp.where((depth > LEAST_DEPTH) & (surface.weight > 0.0)[None], 2.0 * math.pi * SPOT**3, 0.0)
    return 1.0 - jnp.exp(-spread(pixel, height, image_size, SPOT))


def fuzzy(surface: Surface, cameras: Cameras, image_size: tuple[int, int]) -> Float[Array, "view height width"]:
    """Opacity of flat Gaussians, one for each triangle, drawn by this project's renderer."""
    return render_views(gaussians(surface), cameras, image_size, outputs=("alpha",)).alpha


def gaussians(surface: Surface) -> Mixture:
    """A flat Gaussian for each triangle, as wide as the triangle and round; its shape is constant for gradients."""
    vector = stop_gradient(surface.area_vector)
    area = jnp.sqrt(jnp.sum(vector * vector, axis=1))
    normal = vector / jnp.where(area > 0.0, area, 1.0)[:, None]
    width = jnp.sqrt(jnp.maximum(area, 0.05 * jnp.mean(area)) / math.pi)
    eye, across = jnp.eye(3, dtype=normal.dtype)[None], normal[:, :, None] * normal[:, None, :]
    precision = (eye + (1.0 / FLATNESS**2 - 1.0) * across) / (width**2)[:, None, None]
    log_weight = jnp.where(area > 0.0, math.log(OPAQUE), -30.0)
    return Mixture(jnp.mean(surface.corners, axis=1), jnp.linalg.cholesky(precision), log_weight)


def spread(
    place: Float[Array, "view point 2"],
    mass: Float[Array, "view point"],
    image_size: tuple[int, int],
    blur: Float[Array, ""] | float,
) -> Float[Array, "view height width"]:
    """The sum of the points' masses, each spread over pixels as a round Gaussian: one product of matrices a view."""
    height, width = image_size
    rows, columns = (jnp.arange(side, dtype=place.dtype) + 0.5 for side in (height, width))
    down = jnp.exp(-(((rows[None, :, None] - place[:, None, :, 1]) / blur) ** 2) / 2.0)
    across = jnp.exp(-(((columns[None, :, None] - place[:, None, :, 0]) / blur) ** 2) / 2.0)
    scaled = across * (mass / (2.0 * math.pi * blur**2))[:, None, :]
    return jnp.einsum("vhp,vwp->vhw", down, scaled, precision=jax.lax.Precision.DEFAULT)


SILHOUETTES: dict[str, Silhouette] = {"layers": layers, "spots": spots, "fuzzy": fuzzy}
