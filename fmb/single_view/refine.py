"""The fit that starts from a prediction: its components are moved until their silhouettes are those of given views."""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from fm_render import Mixture
from fmb.fields.symmetric import SymmetricMixture
from fmb.geometry.views import Views
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import ShapeFit, compile_shape_fit, fit_to_views
from fmb.single_view.blobs import Blobs
from fmb.single_view.layout import Layout
from fmb.single_view.prediction import half_of

RATE = 0.02  # largest rate: a third of what a fit from nothing takes, which would forget what one view cannot tell
EPOCHS = 40


def refine(
    blobs: Blobs,
    layout: Layout,
    views: Views,
    generator: np.random.Generator,
    epochs: int = EPOCHS,
    on_progress: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> ShapeFit:
    """The fit to the silhouettes of the views, in the frame of the prediction; a mirror may move a little.

    Raises ValueError and FloatingPointError as `fit_to_views` does.
    """
    options = replace(OptimizationOptions(), num_epochs=epochs, initial_lr=RATE, batch_size=batch_of(views))
    half, symmetry = half_of(blobs, layout)
    half = Mixture(*(jnp.asarray(field, jnp.float32) for field in half))
    start = SymmetricMixture(half, symmetry) if layout.mirrored else half
    program = compile_shape_fit(start, views.silhouette.shape, options)
    return fit_to_views(program, start, views, generator, lambda *now: on_progress(*now[:3]))


def batch_of(views: Views) -> int:
    """Rays in a step: those of a fit, or all that there are."""
    return min(OptimizationOptions().batch_size, int(np.size(views.silhouette)))
