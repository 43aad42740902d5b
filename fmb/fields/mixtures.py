"""Mixtures to start from (small spheres, or scikit-learn's EM on points), conversions, sampling, covariances."""

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from fm_render import Mixture
from fmb.geometry.frames import SCALE_PER_DEVIATION, Frame

SPHERE_SPREAD = 0.1  # of the means; the released value
SPHERE_PRECISION = 30.0  # diagonal of L times the object's scale; the released value
# EM on 20,000 points with 40 components takes scikit-learn 1.2 s on one core. 15 steps on 4,000 of the points and then
# 3 on all take 0.4 s and lose 0.008 of the mean log-likelihood, which varies by 0.01 between seeds.
FEWEST_WARM_POINTS, WARM_POINTS_PER_COMPONENT = 4_000, 50
WARM_STEPS, FULL_STEPS = 15, 3
COVARIANCE_FLOOR = 1e-5  # of the points' mean variance; added to each component, so that flat ones stay invertible
SURFACE_SPREAD = np.sqrt(5.0 / 3.0)  # standard deviation of a ball's surface over that of its volume
# These opacities gave the best mean IoU of initial silhouettes over seven meshes, at 10, 40 and 160 components alike:
# volume 0.84, 0.90, 0.94; surface 0.82, 0.90, 0.95. With the GMM's own weights almost nothing is seen.
VOLUME_OPACITY, SURFACE_OPACITY = 4.7, 2.0


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
    return from_sklearn(em_gmm(points, count, seed), kind, weight_factor)


def em_gmm(points: Float[np.ndarray, "point 3"], count: int, seed: int) -> Any:
    """scikit-learn's GaussianMixture after k-means, EM on a part of the points, and a few steps on all.

    Raises ValueError as `fit_gmm` does.
    """
    if count < 1:
        raise ValueError(f"num_mixtures {count}: must be at least 1")
    if len(points) < count:
        raise ValueError(f"num_mixtures {count}: more than the {len(points)} points to fit them to")
    broken = np.count_nonzero(~np.isfinite(points).all(axis=1))
    if broken:
        raise ValueError(f"points for EM: {broken} of {len(points)} are not finite")
    variance = float(np.mean(np.var(points, axis=0)))
    if not variance > 0.0:
        raise ValueError(f"points for EM: all {len(points)} coincide")
    warm_count = max(FEWEST_WARM_POINTS, WARM_POINTS_PER_COMPONENT * count)
    if warm_count >= len(points):
        return _em(points, WARM_STEPS + FULL_STEPS, seed, variance, n_components=count)
    part = np.random.default_rng(seed).permutation(len(points))[:warm_count]
    warm = _em(points[part], WARM_STEPS, seed, variance, n_components=count)
    start = {"weights_init": warm.weights_, "means_init": warm.means_, "precisions_init": warm.precisions_}
    return _em(points, FULL_STEPS, seed, variance, n_components=count, init_params="random_from_data", **start)


def _em(points: np.ndarray, steps: int, seed: int, variance: float, **options) -> Any:
    # importing this takes 1 to 2 s; a sphere start need not wait for it
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    gmm = GaussianMixture(max_iter=steps, random_state=seed, reg_covar=COVARIANCE_FLOOR * variance, **options)
    # one thread: the matrices are tiny, and threads that wait for each other on a busy machine took 20 s for 0.4 s
    with threadpool_limits(1), warnings.catch_warnings():
        # it stops early on purpose, and k-means may have fewer distinct points than components
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gmm.fit(points)


def volume_opacity(gmm: Any) -> Float[np.ndarray, " mixture"]:
    """Weight of each component, in proportion to its peak density; their weighted mean is VOLUME_OPACITY.

    Points uniform in a solid have the same density everywhere inside, so a component alone there has VOLUME_OPACITY.
    """
    peak = gmm.weights_ * np.prod(np.diagonal(gmm.precisions_cholesky_, axis1=1, axis2=2), axis=1)
    return VOLUME_OPACITY * peak / (gmm.weights_ @ peak)


def surface_opacity(gmm: Any) -> Float[np.ndarray, " mixture"]:
    """Weight of each component, by the root of its share of the points; SURFACE_OPACITY for an average one.

    For an average component of 40 this is the GMM's weight times 80, as in the released program.
    """
    return SURFACE_OPACITY * np.sqrt(gmm.weights_ * len(gmm.weights_))


OPACITIES = {"volume": volume_opacity, "surface": surface_opacity}


def from_sklearn(gmm: Any, kind: str = "volume", weight_factor: float = 1.0) -> Mixture:
    """Mixture of a fitted GaussianMixture with full covariances; OPACITIES[kind] gives the weights.

    scikit-learn keeps an upper triangular P with inverse covariance P P'; here L is lower triangular, L L' the same.

    Raises ValueError for another covariance type.
    """
    if gmm.covariance_type != "full":
        raise ValueError(f"covariance_type {gmm.covariance_type!r} of the GaussianMixture: must be 'full'")
    return _mixture(gmm.means_, lower_factor(gmm.precisions_cholesky_), weight_factor * OPACITIES[kind](gmm))


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
    within = share @ np.diagonal(np.asarray(covariance(mixture), float), axis1=1, axis2=2)
    deviation = np.sqrt(within + share @ (mean - centre) ** 2).mean()
    return Frame(centre, np.asarray(SCALE_PER_DEVIATION * SURFACE_SPREAD * deviation))


def covariance(mixture: Mixture) -> Float[Array, "mixture 3 3"]:
    """Covariance matrices, the inverses of L L'."""
    factor = jnp.asarray(mixture.precision_cholesky)
    inverse = solve_triangular(factor, jnp.broadcast_to(jnp.eye(3, dtype=factor.dtype), factor.shape), lower=True)
    return jnp.matmul(jnp.swapaxes(inverse, 1, 2), inverse, precision="highest")


def _mixture(mean: np.ndarray, precision_cholesky: np.ndarray, weight: np.ndarray) -> Mixture:
    return Mixture(jnp.asarray(mean), jnp.asarray(precision_cholesky), jnp.log(jnp.asarray(weight)))


def lower_factor(factor: np.ndarray) -> np.ndarray:
    """L, lower triangular with a positive diagonal, such that L L' = F F' for the given F.

    It comes from the QR decomposition of F': squaring F would lose digits of thin components.
    """
    lower = np.swapaxes(np.linalg.qr(np.swapaxes(factor, 1, 2), mode="r"), 1, 2)
    sign = np.sign(np.diagonal(lower, axis1=1, axis2=2))
    return lower * sign[:, None, :]


def in_single(mixture: Mixture) -> Mixture:
    """The same numbers in float32 JAX arrays, as fits and searches want them."""
    return jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), mixture)


def in_double(mixture: Mixture) -> Mixture:
    """The same numbers in float64 NumPy arrays: float32 is too coarse far from the origin."""
    return Mixture(*(np.asarray(field, np.float64) for field in mixture))


def _probability(mixture: Mixture) -> np.ndarray:
    """Share of each component in the integral of the field."""
    factor = np.asarray(mixture.precision_cholesky, float)
    log_mass = np.asarray(mixture.log_weight, float) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    mass = np.exp(log_mass - log_mass.max())
    return mass / mass.sum()
