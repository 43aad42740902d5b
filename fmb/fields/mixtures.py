"""Mixtures to start from (small spheres, or EM on points), conversions, sampling, covariances."""

import math

import jax
import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.em import Gaussians, fit_gaussians
from fmb.geometry.frames import SCALE_PER_DEVIATION, Frame

SPHERE_SPREAD = 0.1  # of the means; the released value
SPHERE_PRECISION = 30.0  # diagonal of L times the object's scale; the released value
SURFACE_SPREAD = np.sqrt(5.0 / 3.0)  # standard deviation of a ball's surface over that of its volume
# These opacities gave the best mean IoU of initial silhouettes over seven meshes, at 10, 40 and 160 components alike:
# volume 0.84, 0.90, 0.94; surface 0.82, 0.90, 0.95. With the GMM's own weights almost nothing is seen.
VOLUME_OPACITY, SURFACE_OPACITY = 4.7, 2.0
APART = 0.5  # deviations between a component's middle and those of its halves: the field hardly changes


def sphere_mixture(
    generator: np.random.Generator,
    count: int,
    scale: float = 1.0,
    spread: float = SPHERE_SPREAD,
    sphere_size: float = SPHERE_PRECISION,
    weight_factor: float = 1.0,
) -> Mixture:
    """Small equal spheres near the origin, as in the released program, where the object's scale (eta) is `scale`.

    Means are normal with standard deviation spread * sqrt(scale). The precision factor L is sphere_size / scale times
    the unit matrix. Weights are weight_factor / count.

    Raises ValueError for count < 1.
    """
    if count < 1:
        raise ValueError(f"num_mixtures {count}: must be at least 1")
    mean = spread * np.sqrt(scale) * generator.normal(size=(count, 3))
    precision_cholesky = np.tile(sphere_size / scale * np.eye(3), (count, 1, 1))
    return _mixture(mean, precision_cholesky, np.full(count, weight_factor / count))


def fit_gmm(
    points: Float[np.ndarray, "point 3"], count: int, seed: int, kind: str = "volume", weight_factor: float = 1.0
) -> Mixture:
    """Mixture of `count` components with full covariances, fitted to the points by EM, with weights for rendering.

    `kind` says where the points lie, "volume" or "surface", and chooses the weights from OPACITIES; they are multiplied
    by weight_factor. The same seed gives the same result.

    Raises ValueError for count < 1, fewer points than components, points that are not finite or all coincide.
    """
    return from_gaussians(fit_gaussians(points, count, seed), kind, weight_factor)


def volume_opacity(found: Gaussians) -> Float[np.ndarray, " mixture"]:
    """Weight of each component, in proportion to its peak density; their weighted mean is VOLUME_OPACITY.

    Points uniform in a solid have the same density everywhere inside, so a component alone there has VOLUME_OPACITY.
    """
    peak = found.weight / np.sqrt(np.linalg.det(found.covariance))
    return VOLUME_OPACITY * peak / (found.weight @ peak)


def surface_opacity(found: Gaussians) -> Float[np.ndarray, " mixture"]:
    """Weight of each component, by the root of its share of the points; SURFACE_OPACITY for an average one.

    For an average component of 40 this is the GMM's weight times 80, as in the released program.
    """
    return SURFACE_OPACITY * np.sqrt(found.weight * len(found.weight))


OPACITIES = {"volume": volume_opacity, "surface": surface_opacity}


def from_gaussians(found: Gaussians, kind: str = "volume", weight_factor: float = 1.0) -> Mixture:
    """Mixture with the ellipsoids of a density; OPACITIES[kind] gives the weights."""
    factor = np.swapaxes(np.linalg.inv(np.linalg.cholesky(found.covariance)), 1, 2)
    return _mixture(found.mean, lower_factor(factor), weight_factor * OPACITIES[kind](found))


def sample_mixture(mixture: Mixture, count: int, generator: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """Independent points whose density is the mixture's field, sum of exp(log_weight - d^2 / 2)."""
    chosen = generator.choice(len(mixture.mean), size=count, p=_probability(mixture))
    factor = np.asarray(mixture.precision_cholesky, float)[chosen]
    offset = np.linalg.solve(np.swapaxes(factor, 1, 2), generator.normal(size=(count, 3, 1)))
    return np.asarray(mixture.mean, float)[chosen] + offset[..., 0]


def mixture_frame(mixture: Mixture) -> Frame:
    """The canonical frame, estimated from a mixture: its centre of mass, and the scale of the surface around it.

    The scale is exact for a ball of even density. It is computed in float64, wherever the mixture lies.
    """
    share, mean = _probability(mixture), np.asarray(mixture.mean, float)
    centre = mean[0] + share @ (mean - mean[0])
    within = share @ np.diagonal(covariance(mixture), axis1=1, axis2=2)
    deviation = np.sqrt(within + share @ (mean - centre) ** 2).mean()
    return Frame(centre, np.asarray(SCALE_PER_DEVIATION * SURFACE_SPREAD * deviation))


def covariance(mixture: Mixture) -> Float[np.ndarray, "mixture 3 3"]:
    """Covariance matrices, the inverses of L L', in float64."""
    inverse = np.linalg.inv(np.asarray(mixture.precision_cholesky, float))
    return np.swapaxes(inverse, 1, 2) @ inverse


def cut_in_halves(mixture: Mixture) -> Mixture:
    """Twice as many components, each cut in two along its longest axis: first all one halves, then all others.

    Two halves have the mass, the mean and the covariance of the whole: with the deviation s along its axis, they lie at
    -+ APART s and have the deviation s sqrt(1 - APART^2) along it.
    """
    mean, lower = (np.asarray(field, float) for field in mixture[:2])
    axes, inverse, _ = np.linalg.svd(lower)  # the last axis is the longest
    shift = APART * axes[:, :, 2] / inverse[:, 2:]
    shorter = math.sqrt(1.0 - APART**2)
    factor = lower_factor(axes * (inverse * [1.0, 1.0, 1.0 / shorter])[:, None])
    weight = np.asarray(mixture.log_weight, float) - math.log(2.0 * shorter)
    both = np.concatenate([mean - shift, mean + shift]), np.tile(factor, (2, 1, 1)), np.tile(weight, 2)
    return jax.device_put(Mixture(*(field.astype(mixture.mean.dtype) for field in both)))


def _mixture(mean: np.ndarray, precision_cholesky: np.ndarray, weight: np.ndarray) -> Mixture:
    return jax.device_put(Mixture(mean, precision_cholesky, np.log(weight)))  # jnp.asarray would compile a program


def lower_factor(factor: np.ndarray) -> np.ndarray:
    """L, lower triangular with a positive diagonal, such that L L' = F F' for the given F.

    It comes from the QR decomposition of F': squaring F would lose digits of thin components.
    """
    lower = np.swapaxes(np.linalg.qr(np.swapaxes(factor, 1, 2), mode="r"), 1, 2)
    sign = np.sign(np.diagonal(lower, axis1=1, axis2=2))
    return lower * sign[:, None, :]


def in_single(mixture: Mixture) -> Mixture:
    """The same numbers in float32 JAX arrays, as fits and searches want them."""
    return jax.device_put(Mixture(*(np.asarray(field, np.float32) for field in mixture)))


def in_double(mixture: Mixture) -> Mixture:
    """The same numbers in float64 NumPy arrays: float32 is too coarse far from the origin."""
    return Mixture(*(np.asarray(field, np.float64) for field in mixture))


def _probability(mixture: Mixture) -> np.ndarray:
    """Share of each component in the integral of the field."""
    factor = np.asarray(mixture.precision_cholesky, float)
    log_mass = np.asarray(mixture.log_weight, float) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    mass = np.exp(log_mass - log_mass.max())
    return mass / mass.sum()
