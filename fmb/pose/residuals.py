"""What one image says of a pose: residuals and their slopes in closed form, summed to normal equations in one pass.

Everything is canonical: the mixture about its middle in units of its scale, points and rays in the camera's axes. A
step (w, v) turns the object by the rotation vector w about its middle and then moves it by v, both in the camera's
axes, so that a point p of the object moves by w x (p - t) + v. Arrays are [3, ray] and [mixture, ray], rays last.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from fm_render import Mixture, dot, laid_out, lower, product, transposed
from fmb.fields.metaballs import HALF_OPAQUE, LEAST_SHARPNESS

FLATTEST = 1e-3  # least slope of the log density per scale: in the middle of a component there is none


class Sight(NamedTuple):
    """One image: how opaque it is along unit-depth directions, points seen in it, and how much either counts.

    `mask_pixel` and `depth_pixel` are their places in the image, row by row.
    """

    direction: Float[Array, "3 ray"]
    silhouette: Float[Array, " ray"]
    mask_weight: Float[Array, " ray"]
    mask_pixel: Int[Array, " ray"]
    point: Float[Array, "3 point"]
    depth_weight: Float[Array, " point"]
    depth_pixel: Int[Array, " point"]


class Pose(NamedTuple):
    """Object in the camera: x_camera = rotation @ x_object + translation."""

    rotation: Float[Array, "3 3"]
    translation: Float[Array, "3"]


class Normal(NamedTuple):
    """Loss, its gradient and its Gauss-Newton matrix in the step (w, v); mask's and depth's part of the loss."""

    loss: Float[Array, ""]
    gradient: Float[Array, "6"]
    information: Float[Array, "6 6"]
    parts: Float[Array, "2"]


class Noise(NamedTuple):
    """What to expect: standard deviation of the depth residual in scales, share of wrong pixels in the mask."""

    depth: Float[Array, ""]
    mislabelled: Float[Array, ""]


class Residuals(NamedTuple):
    """Per ray: slope of the residual in the step, its pull on the loss, weight of its square, and the loss."""

    slope: Float[Array, "6 ray"]
    score: Float[Array, " ray"]
    weight: Float[Array, " ray"]
    loss: Float[Array, " ray"]


def squared(square: Array) -> tuple[Array, Array]:
    """No robustness: every residual counts in full."""
    return square / 2, jnp.ones_like(square)


def huber(square: Array) -> tuple[Array, Array]:
    """Linear beyond one and a third standard deviations (Huber 1964)."""
    size, bound = jnp.sqrt(jnp.maximum(square, 1e-12)), 1.345
    return jnp.where(size < bound, square / 2, bound * (size - bound / 2)), jnp.minimum(1, bound / size)


def cauchy(square: Array) -> tuple[Array, Array]:
    """Logarithmic: far residuals count less the farther they are."""
    bound = 2.385**2
    return bound / 2 * jnp.log1p(square / bound), 1 / (1 + square / bound)


def geman_mcclure(square: Array) -> tuple[Array, Array]:
    """Bounded: what is far off counts as much wherever it is (Geman & McClure 1985)."""
    bound = 3.0**2
    return square / 2 / (1 + square / bound), 1 / (1 + square / bound) ** 2


# loss and its derivative by half the squared residual, from that square in units of the variance
KERNELS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "squared": squared,
    "huber": huber,
    "cauchy": cauchy,
    "geman_mcclure": geman_mcclure,
}


def density_slopes(mixture: Mixture, pose: Pose, direction: Array) -> tuple[Array, Array]:
    """Density along each ray by the linear rule, and its slope [6, ray] in the step.

    All rays share their origin, so that only directions are turned into the components' spaces. By the envelope theorem
    the hits stay where they are: of component i the slope by a shift of the object is D_i Sigma_i^-1 (x_i - mean_i).
    """
    origin = -product("ij,i->j", pose.rotation, pose.translation)
    turned = laid_out(product("ij,ir->jr", pose.rotation, direction), direction)[0]
    factor = mixture.precision_cholesky
    offset = transposed(factor, (mixture.mean - origin[None]).T[..., None])
    ray = transposed(factor, turned[:, None])
    distance = dot(ray, offset) / dot(ray, ray)
    rest = tuple(q - distance * u for q, u in zip(offset, ray, strict=True))
    density = jnp.where(distance > 0, jnp.exp(mixture.log_weight[:, None] - dot(rest, rest) / 2), 0)
    pull = lower(factor, rest)
    near = jnp.stack([(-density * x).sum(0) for x in pull])
    far = jnp.stack([(-density * distance * x).sum(0) for x in pull])
    near, far = (product("ij,jr->ir", pose.rotation, x) for x in (near, far))
    turn = cross(direction, far) - cross(pose.translation[:, None], near)
    return density.sum(0), jnp.concatenate([turn, near])


class Surface(NamedTuple):
    """Per point: log density above that of half opacity, its gradient in the camera's axes, its curvature."""

    value: Float[Array, " ray"]
    gradient: Float[Array, "3 ray"]
    curvature: Float[Array, " ray"]


def surface_at(mixture: Mixture, pose: Pose, point: Float[Array, "3 ray"]) -> Surface:
    """f = logsumexp(log density) - log log 2, which vanishes where one component alone is half opaque.

    Its gradient is in the camera's axes; its curvature (>= 0) is the components' mean along their own slopes.
    """
    place = product("ij,ir->jr", pose.rotation, point - pose.translation[:, None])
    place = laid_out(place, point)[0]
    factor = mixture.precision_cholesky
    rest = transposed(factor, place[:, None] - mixture.mean.T[..., None])
    log_density = mixture.log_weight[:, None] - dot(rest, rest) / 2
    top = log_density.max(0)
    share = jnp.exp(log_density - top[None])
    total = share.sum(0)
    pull = lower(factor, rest)
    across = transposed(factor, pull)
    bend = dot(across, across) / jnp.maximum(dot(pull, pull), FLATTEST**2)
    inward = jnp.stack([(-share * x).sum(0) for x in pull]) / total[None]
    inward = product("ij,jr->ir", pose.rotation, inward)
    return Surface(top + jnp.log(total) - HALF_OPAQUE, inward, (share * bend).sum(0) / total)


def slope_in_step(gradient: Array, pose: Pose, point: Array) -> Float[Array, "6 ray"]:
    """Of a function of the object's points, from its gradient in the camera's axes."""
    return -jnp.concatenate([cross(point - pose.translation[:, None], gradient), gradient])


def surface_distances(mixture: Mixture, pose: Pose, point: Array) -> tuple[Array, Array]:
    """Distance of each point from the surface, positive inside, and its slope in the step as of a plane's.

    It solves f - g s - k s^2 / 2 = 0, g the slope of f and k its curvature: exact for one ball, else first order. That
    is the length that noise of depth has, but far from the surface its slope is not that of a plane.
    """
    surface = surface_at(mixture, pose, point)
    square = jnp.maximum((surface.gradient * surface.gradient).sum(0), FLATTEST**2)
    root = jnp.sqrt(jnp.maximum(square + 2 * surface.curvature * surface.value, square / 16))
    steep = jnp.sqrt(square)
    return 2 * surface.value / (steep + root), slope_in_step(surface.gradient / steep[None], pose, point)


def surface_levels(mixture: Mixture, pose: Pose, point: Array) -> tuple[Array, Array]:
    """The level of each point as the distance it would be from a ball of the components' mean size, and its slope.

    A function of f alone, so that the slope is exact however far the point is: what a search from afar needs.
    """
    surface = surface_at(mixture, pose, point)
    depth = jnp.maximum(mixture.log_weight - HALF_OPAQUE, LEAST_SHARPNESS).mean()
    diagonal = jnp.diagonal(mixture.precision_cholesky, axis1=1, axis2=2)
    size = jnp.exp(-jnp.log(jnp.abs(diagonal)).mean())
    rest = jax.nn.softplus(depth - surface.value)
    away = jnp.sqrt(2 * rest)
    factor = size * jax.nn.sigmoid(depth - surface.value) / away
    return size * (jnp.sqrt(2 * depth) - away), slope_in_step(factor[None] * surface.gradient, pose, point)


def mask_residuals(density: Array, slope: Array, sight: Sight, noise: Noise) -> Residuals:
    """Cross-entropy (Eq. 11) of masks that are wrong in a share of the pixels, with Fisher's weight.

    Of p = e + (1 - 2 e) alpha; e bounds what one pixel can say, and keeps far pixels from having slopes without end.
    """
    opacity = -jnp.expm1(-density)
    believed = noise.mislabelled + (1 - 2 * noise.mislabelled) * opacity
    rate = (1 - 2 * noise.mislabelled) * jnp.exp(-density)
    variance = believed * (1 - believed)
    loss = -sight.silhouette * jnp.log(believed) - (1 - sight.silhouette) * jnp.log1p(-believed)
    score = rate * (believed - sight.silhouette) / variance
    return Residuals(slope, sight.mask_weight * score, sight.mask_weight * rate**2 / variance, sight.mask_weight * loss)


def depth_residuals(distance: Array, slope: Array, sight: Sight, noise: Noise, kernel: str) -> Residuals:
    """Distances of the points seen, by a robust kernel (iteratively reweighted least squares)."""
    loss, weight = KERNELS[kernel]((distance / noise.depth) ** 2)
    weight = sight.depth_weight * weight / noise.depth**2
    return Residuals(slope, weight * distance, weight, sight.depth_weight * loss)


def normal_equations(*residuals: Residuals) -> Normal:
    """Sums over all rays of all residuals."""
    gradient = sum(product("ir,r->i", x.slope, x.score) for x in residuals)
    information = sum(product("ir,jr->ij", x.slope * x.weight[None], x.slope) for x in residuals)
    parts = jnp.stack([x.loss.sum() for x in residuals])
    return Normal(parts.sum(), gradient, information, parts)


def cross(a: Array, b: Array) -> Array:
    """Of vectors [3, ray]."""
    return jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
