"""Shape from silhouette: the fit of a mixture to views (section 7.2)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, Rays, render
from fmb.fit import Fit, FitOptions, Program, compile_fit, run_fit
from fmb.losses import silhouette_cross_entropy
from fmb.views import Pixels, Views, flatten_views

LEAST_DIAGONAL = 1e-6  # of precision_cholesky, in the frame of the fit (section 3)


def silhouette_loss(mixture: Mixture, pixels: Pixels) -> Float[Array, ""]:
    """Cross-entropy of the pixels' silhouette (Eq. 11), from the density."""
    density = render(mixture, pixels.rays, outputs=("density",)).density
    return silhouette_cross_entropy(density, pixels.silhouette)


def keep_valid(mixture: Mixture) -> Mixture:
    """The mixture with the diagonal of precision_cholesky at least LEAST_DIAGONAL."""
    diagonal = jnp.eye(3, dtype=bool)[None]
    lower = mixture.precision_cholesky
    return mixture._replace(precision_cholesky=jnp.where(diagonal, jnp.maximum(lower, LEAST_DIAGONAL), lower))


def compile_shape_fit(mixture: Mixture, shape: tuple[int, int, int], options: FitOptions) -> Program:
    """The compiled fit of such a mixture to silhouettes of `shape` = (views, height, width), all pixels valid."""
    count = int(np.prod(shape))
    ray = jax.ShapeDtypeStruct((count, 3), jnp.float32)
    pixels = Pixels(Rays(ray, ray), jax.ShapeDtypeStruct((count,), jnp.float32))
    return compile_fit(silhouette_loss, keep_valid, mixture, pixels, options)


def fit_shape(
    program: Program,
    mixture: Mixture,
    views: Views,
    shape_scale: float,
    generator: np.random.Generator,
    on_progress: Callable[[int, int, float], None],
) -> tuple[Mixture, Fit]:
    """The mixture after the fit to the silhouettes of `views`, in their frame, which is canonical.

    Adam's steps have a size in the unit of the parameters: the fit happens where the object's scale is `shape_scale`.
    """
    pixels = flatten_views(Views(views.cameras, views.silhouette, valid=views.valid))
    pixels = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), pixels)
    pixels = pixels._replace(rays=pixels.rays._replace(origin=shape_scale * pixels.rays.origin))
    fit = run_fit(program, resized(mixture, shape_scale), pixels, generator, on_progress)
    return resized(fit.parameters, 1 / shape_scale), fit


def resized(mixture: Mixture, factor: float) -> Mixture:
    """The mixture, `factor` times as large."""
    return mixture._replace(mean=factor * mixture.mean, precision_cholesky=mixture.precision_cholesky / factor)
