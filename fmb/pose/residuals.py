"""Residuals of one image at a pose and their slopes in closed form, summed up to normal equations in one pass.

Everything is canonical: the mixture is about its middle in units of its scale; points and rays are in the camera's
axes. A step (w, v) turns the object about its middle by the rotation vector w, then moves it by v, both in the camera's
axes. So a point p of the object moves by w x (p - t) + v. Arrays are [3, ray] and [mixture, ray], rays last.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from fm_numerics import dot, laid_out, lower, product, transposed
from fm_render import Mixture
from fmb.fields.metaballs import FLATTEST, HALF_OPAQUE, LEAST_SHARPNESS, FieldJet, value_slope_curvature


class Sight(NamedTuple):
    """One image: its silhouette along directions of unit depth, its measured points, and the weights of both.

    `mask_pixel` and `depth_pixel` are the numbers of their pixels, counted row by row.
    """

    direction: Float[Array, "3 ray"]
    silhouette: Float[Array, " ray"]
    mask_weight: Float[Array, " ray"]
    mask_pixel: Int[Array, " ray"]
    point: Float[Array, "3 point"]
    depth_weight: Float[Array, " point"]
    depth_pixel: Int[Array, " point"]


class Pose(NamedTuple):
    """Pose of the object in the camera: x_camera = rotation @ x_object + translation."""

    rotation: Float[Array, "3 3"]
    translation: Float[Array, "3"]


class NormalEquations(NamedTuple):
    """Loss, its gradient and Gauss-Newton matrix in the step (w, v), and the loss of each kind of residual."""

    loss: Float[Array, ""]
    gradient: Float[Array, "6"]
    information: Float[Array, "6 6"]
    parts: Float[Array, "2"]


class Noise(NamedTuple):
    """Expected noise: standard deviation of the depth residuals in scales, share of wrong pixels in the mask."""

    depth: Float[Array, ""]
    mislabelled: Float[Array, ""]


class Residuals(NamedTuple):
    """For each ray: slope of the residual in the step, derivative of the loss by it, weight of its square, loss."""

    slope: Float[Array, "6 ray"]
    score: Float[Array, " ray"]
    weight: Float[Array, " ray"]
    loss: Float[Array, " ray"]


def cauchy(square: Array) -> tuple[Array, Array]:
    """Cauchy loss and its derivative by half the squared residual, in units of the variance; outliers count less."""
    bound = 2.385**2
    return bound / 2 * jnp.log1p(square / bound), 1 / (1 + square / bound)


def density_slopes(mixture: Mixture, pose: Pose, direction: Array) -> tuple[Array, Array]:
    """Density along each ray by the linear rule (Eq. 6), and its slope [6, ray] in the step.

    All rays have the same origin, so only directions are mapped into the components' spaces. By the envelope theorem
    the hits count as fixed: for component i, the slope by a shift of the object is D_i Sigma_i^-1 (x_i - mean_i).
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


def field_at(mixture: Mixture, pose: Pose, point: Float[Array, "3 ray"]) -> FieldJet:
    """The mixture's field at measured points, negative inside; its slope is in the camera's axes."""
    place = laid_out(product("ij,ir->jr", pose.rotation, point - pose.translation[:, None]), point)[0]
    jet = value_slope_curvature(mixture, place.T)
    return jet._replace(slope=product("ij,jr->ir", pose.rotation, jet.slope))


def slope_in_step(gradient: Array, pose: Pose, point: Array) -> Float[Array, "6 ray"]:
    """Slope in the step of a function of points, from its gradient in the camera's axes."""
    return -jnp.concatenate([cross(point - pose.translation[:, None], gradient), gradient])


def surface_distances(mixture: Mixture, pose: Pose, point: Array) -> tuple[Array, Array]:
    """Distance of each point from the surface, negative inside, and its slope [6, ray] in the step, as for a plane.

    It solves f - g s + k s^2 / 2 = 0, with g the slope of f and k its curvature: exact for one ball, else to first
    order. Noise of the depth has this length. Far from the surface the slope is not that of a plane.
    """
    jet = field_at(mixture, pose, point)
    square = jnp.maximum((jet.slope * jet.slope).sum(0), FLATTEST**2)
    root = jnp.sqrt(jnp.maximum(square - 2 * jet.curvature * jet.value, square / 16))
    steep = jnp.sqrt(square)
    return 2 * jet.value / (steep + root), slope_in_step(jet.slope / steep[None], pose, point)


def surface_levels(mixture: Mixture, pose: Pose, point: Array) -> tuple[Array, Array]:
    """Distance of each point from a ball of the components' mean size with the same field there, and its slope.

    It depends on f alone, so its slope is exact at any distance, as a search from afar needs.
    """
    jet = field_at(mixture, pose, point)
    depth = jnp.maximum(mixture.log_weight - HALF_OPAQUE, LEAST_SHARPNESS).mean()
    diagonal = jnp.diagonal(mixture.precision_cholesky, axis1=1, axis2=2)
    size = jnp.exp(-jnp.log(jnp.abs(diagonal)).mean())
    away = jnp.sqrt(2 * jax.nn.softplus(depth + jet.value))
    factor = size * jax.nn.sigmoid(depth + jet.value) / away
    return size * (away - jnp.sqrt(2 * depth)), slope_in_step(factor[None] * jet.slope, pose, point)


def mask_residuals(density: Array, slope: Array, sight: Sight, noise: Noise) -> Residuals:
    """Cross-entropy (Eq. 11) of a mask in which a share e of the pixels is wrong, with Fisher's weight.

    A pixel shows the object with probability e + (1 - 2 e) alpha, so the loss and slope of one pixel are bounded.
    """
    opacity = -jnp.expm1(-density)
    believed = noise.mislabelled + (1 - 2 * noise.mislabelled) * opacity
    rate = (1 - 2 * noise.mislabelled) * jnp.exp(-density)
    variance = believed * (1 - believed)
    loss = -sight.silhouette * jnp.log(believed) - (1 - sight.silhouette) * jnp.log1p(-believed)
    score = rate * (believed - sight.silhouette) / variance
    return Residuals(slope, sight.mask_weight * score, sight.mask_weight * rate**2 / variance, sight.mask_weight * loss)


def depth_residuals(distance: Array, slope: Array, sight: Sight, noise: Noise) -> Residuals:
    """Distances of the measured points under Cauchy's robust loss (iteratively reweighted least squares)."""
    loss, weight = cauchy((distance / noise.depth) ** 2)
    weight = sight.depth_weight * weight / noise.depth**2
    return Residuals(slope, weight * distance, weight, sight.depth_weight * loss)


def normal_equations(*residuals: Residuals) -> NormalEquations:
    """The sums over all rays of all residuals."""
    gradient = sum(product("ir,r->i", x.slope, x.score) for x in residuals)
    information = sum(product("ir,jr->ij", x.slope * x.weight[None], x.slope) for x in residuals)
    parts = jnp.stack([x.loss.sum() for x in residuals])
    return NormalEquations(parts.sum(), gradient, information, parts)


def cross(a: Array, b: Array) -> Array:
    """Cross product of vectors [3, ray]."""
    return jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
