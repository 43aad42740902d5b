"""Losses between rendered and observed images: Eq. 11 (from the density), Eq. 12, and weighted means."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def weighted_mean(value: Float[Array, "*pixel"], weight: Float[Array, "*pixel"] | None = None) -> Float[Array, ""]:
    """Mean of `value`, weighted by `weight` (>= 0; None: all alike); 0 if all weights are 0.

    Where the weight is 0, the value may be anything, also NaN.
    """
    if weight is None:
        return jnp.mean(value)
    total = jnp.sum(weight)
    return jnp.sum(jnp.where(weight > 0.0, weight * value, 0.0)) / jnp.where(total > 0.0, total, 1.0)


def pixel_cross_entropy(density: Float[Array, "*pixel"], silhouette: Float[Array, "*pixel"]) -> Float[Array, "*pixel"]:
    """Cross-entropy of the silhouette (0 to 1) under alpha = 1 - exp(-density) (Eq. 11 with its sign turned).

    It is computed from the density, so nothing saturates: -log(1 - alpha) is the density itself. The smallest normal
    number is added, which changes no density above 1e-31: an empty ray in a silhouette then costs 87 (float64: 708) and
    has a finite slope. Clamping would make that slope 0.
    """
    density = density + jnp.finfo(density.dtype).tiny
    return (1.0 - silhouette) * density - silhouette * jnp.log(-jnp.expm1(-density))


def silhouette_cross_entropy(
    density: Float[Array, "*pixel"],
    silhouette: Float[Array, "*pixel"],
    weight: Float[Array, "*pixel"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean of the cross-entropy; pixels of weight 0 may have any silhouette, also NaN."""
    if weight is not None:
        silhouette = jnp.where(weight > 0.0, silhouette, 0.0)
    return weighted_mean(pixel_cross_entropy(density, silhouette), weight)


def relative_depth_loss(
    depth: Float[Array, "*pixel"],
    observed_depth: Float[Array, "*pixel"],
    weight: Float[Array, "*pixel"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean of ((z - z_observed) / z_observed)^2, the square of Eq. 12 at each pixel; 0 if no pixel counts.

    Pixels count where the observed depth is positive and finite (NaN: background).
    """
    seen = (observed_depth > 0.0) & jnp.isfinite(observed_depth)
    observed_depth = jnp.where(seen, observed_depth, 1.0)
    weight = seen.astype(depth.dtype) if weight is None else jnp.where(seen, weight, 0.0)
    error = jnp.where(weight > 0.0, depth - observed_depth, 0.0) / observed_depth
    return weighted_mean(error * error, weight)


def robust(error: Float[Array, "*pixel"], width: float) -> Float[Array, "*pixel"]:
    """Pseudo-Huber loss: error^2 / (2 width) for errors far below `width`, |error| - width for errors far above."""
    return width * (jnp.sqrt(1.0 + (error / width) ** 2) - 1.0)
