"""Outlines of silhouettes as lines of points, which the rim of a mesh is drawn to, and how far outside vertices lie.

Gaussians of vertices show no part that is thinner than they are wide. A line has no width: both sides of a wing seen
edge-on are drawn to their own side of its outline, whose normals tell them apart (iterative closest points, in images).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.measure import find_contours

from fmb.fit.losses import weighted_mean
from fmb.geometry.cameras import ANY_ARRAY, Cameras, project

POINTS = 256  # of a view's outlines
SMOOTHING = 1.0  # pixels; deviation of the Gaussian whose slope is an outline's normal
TURN = 8.0  # pixels: a vertex that is turned by a right angle from the outline counts as so much farther from it
ALONG = 0.1  # weight of distances along the outline beside those across it
ROBUST = 4.0  # pixels, from which on distances count by their length and no longer by their square
MARGIN = 1.0  # pixels beside the image's border, where an outline may be that of the image


class Outline(NamedTuple):
    """Outlines of views: points in pixels, unit normals out of the object, weights, and distances outside it."""

    point: Float[ANY_ARRAY, "view outline 2"]
    outward: Float[ANY_ARRAY, "view outline 2"]
    weight: Float[ANY_ARRAY, "view outline"]
    outside: Float[ANY_ARRAY, "view height width"]  # pixels from the object, 0 within it


def outlines(
    silhouette: Float[ANY_ARRAY, "view height width"], weight: Float[ANY_ARRAY, "view height width"]
) -> Outline:
    """The outlines of silhouettes, where pixels have a weight and are not at the border; of none, weights of 0."""
    views = zip(np.asarray(silhouette, float), np.asarray(weight, float), strict=True)
    return Outline(*(np.stack(parts) for parts in zip(*(outline(*view) for view in views), strict=True)))


def outline(mask: Float[np.ndarray, "height width"], weight: Float[np.ndarray, "height width"]) -> Outline:
    """Points evenly along the outlines of one view, without an axis for views."""
    height, width = mask.shape
    lines = find_contours(np.pad(mask, 1), 0.5)
    away = np.maximum(distance_transform_edt(mask < 0.5) - 0.5, 0.0) if lines else np.zeros(mask.shape)
    if not lines:
        return Outline(np.zeros((POINTS, 2)), np.zeros((POINTS, 2)), np.zeros(POINTS), away * (weight > 0.0))
    point = evenly([line[:, ::-1] - 0.5 for line in lines])  # padded by a pixel, whose middle is at half
    slope = np.stack([gaussian_filter(mask, SMOOTHING, order=order, mode="constant") for order in ((0, 1), (1, 0))])
    column, row = np.clip(np.floor(point).astype(int), 0, [width - 1, height - 1]).T
    normal = -slope[:, row, column].T
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    inside = np.all((point > MARGIN) & (point < np.array([width, height]) - MARGIN), axis=1)
    counts = inside * (length[:, 0] > 0.0) * weight[row, column]
    return Outline(point, normal / np.where(length > 0.0, length, 1.0), counts, away * (weight > 0.0))


def evenly(lines: list[np.ndarray]) -> Float[np.ndarray, "outline 2"]:
    """POINTS points at equal distances along lines, one after the other."""
    starts, ends = (np.concatenate([line[cut] for line in lines]) for cut in (slice(None, -1), slice(1, None)))
    length = np.linalg.norm(ends - starts, axis=1)
    total = np.cumsum(length)
    at = (np.arange(POINTS) + 0.5) / POINTS * total[-1]
    piece = np.minimum(np.searchsorted(total, at), len(total) - 1)
    share = 1.0 - (total[piece] - at) / np.maximum(length[piece], 1e-12)
    return starts[piece] + share[:, None] * (ends - starts)[piece]


def outline_loss(
    points: Float[Array, "point 3"], normals: Float[Array, "point 3"], cameras: Cameras, seen: Outline
) -> Float[Array, ""]:
    """Mean square distance, at the world's origin, of the outlines from the rim, and of points from the masks.

    Each point of an outline is drawn to by the point of the mesh that is nearest in the image among those whose normals
    look the same way there; which one that is has no slope. Beyond ROBUST pixels it is the length that counts.
    """
    place, _ = project(cameras, points)
    turned = jnp.einsum("vij,pi->vpj", jnp.asarray(cameras.world_from_camera)[:, :3, :2], stop_gradient(normals))
    middle = jnp.linalg.norm(jnp.asarray(cameras.world_from_camera)[:, :3, 3], axis=1)
    pixel = middle / jnp.asarray(cameras.intrinsics)[:, 0, 0]
    nearest = jax.vmap(nearest_on_rim)(stop_gradient(place), turned, seen.point, seen.outward)
    away = seen.point - jnp.take_along_axis(place, nearest[..., None], axis=1)
    across = jnp.sum(away * seen.outward, axis=2)
    square = across * across + ALONG * jnp.sum(away * away, axis=2)
    missing = 2.0 * ROBUST**2 * (jnp.sqrt(1.0 + square / ROBUST**2) - 1.0)
    beyond = jax.vmap(sampled)(seen.outside[..., None], place)[..., 0] ** 2
    unit = (pixel * pixel)[:, None]
    return weighted_mean(unit * missing, seen.weight) + jnp.mean(unit * beyond)


def nearest_on_rim(
    place: Float[Array, "point 2"],
    turned: Float[Array, "point 2"],
    wanted: Float[Array, "outline 2"],
    outward: Float[Array, "outline 2"],
) -> Array:
    """For each point of an outline the index of the point beside it, in the image and by direction."""
    square = jnp.sum(wanted**2, axis=1)[:, None] + jnp.sum(place**2, axis=1)[None]
    square = square - 2.0 * jnp.matmul(wanted, place.T, precision="highest")
    return jnp.argmin(square - TURN**2 * jnp.matmul(outward, turned.T), axis=1)


def sampled(
    image: Float[Array, "height width channel"], place: Float[Array, "point 2"]
) -> Float[Array, "point channel"]:
    """The image between the middles of its pixels, bilinear; beyond its border, what is there."""
    height, width = image.shape[:2]
    top = jnp.asarray([width - 1.0, height - 1.0], place.dtype)
    at = jnp.clip(place - 0.5, 0.0, top[None])
    low = jnp.clip(jnp.floor(stop_gradient(at)), 0.0, jnp.maximum(top - 1.0, 0.0)[None])
    share, (column, row) = at - low, low.astype(jnp.int32).T
    right, below = jnp.minimum(column + 1, width - 1), jnp.minimum(row + 1, height - 1)
    x, y = share[:, :1], share[:, 1:]
    above = (1.0 - x) * image[row, column] + x * image[row, right]
    return (1.0 - y) * above + y * ((1.0 - x) * image[below, column] + x * image[below, right])
