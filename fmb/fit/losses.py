"""Losses between what was rendered and what was seen: Eq. 11 from the density, Eq. 12, and weighted means."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def weighted_mean(value: Float[Array, "*pixel"], weight: Float[Array, "*pixel"] | None = None) -> Float[Array, ""]:
    """Mean of `value`, counting each by its `weight` (>= 0; None: all alike).

    Where the weight is 0 the value may be anything, NaN included.  0 if all weights are 0.
    """
    if weight is None:
        return jnp.mean(value)
    total = jnp.sum(weight)
    return jnp.sum(jnp.where(weight > 0.0, weight * value, 0.0)) / jnp.where(total > 0.0, total, 1.0)


def pixel_cross_entropy(density: Float[Array, "*pixel"], silhouette: Float[Array, "*pixel"]) -> Float[Array, "*pixel"]:
    """Cross-entropy of the silhouette, 0 to 1, under alpha = 1 - exp(-density) (Eq. 11, its sign turned).

    From the density, so nothing saturates: -log(1 - alpha) is the density itself.  The smallest normal number is
    added to it, which changes no density above 1e-31 and makes an empty ray under a silhouette cost 87 (float32;
    float64: 708) with a finite slope; clamping instead would cut that slope off.
    """
    density = density + jnp.finfo(density.dtype).tiny
    return (1.0 - silhouette) * density - silhouette * jnp.log(-jnp.expm1(-density))


def silhouette_cross_entropy(
    density: Float[Array, "*pixel"],
    silhouette: Float[Array, "*pixel"],
    weight: Float[Array, "*pixel"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean of the cross-entropy; pixels of weight 0 may hold any silhouette, NaN included."""
    if weight is not None:
        silhouette = jnp.where(weight > 0.0, silhouette, 0.0)
    return weighted_mean(pixel_cross_entropy(density, silhouette), weight)


def relative_depth_loss(
    depth: Float[Array, "*pixel"],
    observed_depth: Float[Array, "*pixel"],
    weight: Float[Array, "*pixel"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean of ((z - z_observed) / z_observed)^2, the square of Eq. 12 per pixel.

    Pixels without a positive, finite observation (NaN: background) do not count; 0 if there are none at all.
    """
    seen = (observed_depth > 0.0) & jnp.isfinite(observed_depth)
    observed_depth = jnp.where(seen, observed_depth, 1.0)
    weight = seen.astype(depth.dtype) if weight is None else jnp.where(seen, weight, 0.0)
    error = jnp.where(weight > 0.0, depth - observed_depth, 0.0) / observed_depth
    return weighted_mean(error * error, weight)


def robust(error: Float[Array, "*pixel"], width: float) -> Float[Array, "*pixel"]:
    """Pseudo-Huber: error^2 / (2 width) where it is small against `width`, |error| - width where it is large."""
    return width * (jnp.sqrt(1.0 + (error / width) ** 2) - 1.0)
