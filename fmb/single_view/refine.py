"""The fit that starts from a prediction: its components are moved until their silhouettes are those of given views."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from fm_render import Cameras, Mixture
from fmb.fields.mixtures import cut_in_halves
from fmb.fields.symmetric import SymmetricMixture
from fmb.geometry.symmetry import apply_to_mixture
from fmb.geometry.views import Views
from fmb.shape.color import fit_color
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


def halved(blobs: Blobs, layout: Layout) -> Blobs:
    """Twice as many components, each cut in two along its longest axis; those beyond the mirror stay mirror images."""
    half, symmetry = half_of(blobs, layout)
    color = np.tile(np.asarray(blobs.color)[: len(half.mean)], (2, 1))
    parts = cut_in_halves(half)
    if not layout.mirrored:
        return Blobs(parts, color)
    return Blobs(apply_to_mixture(symmetry.orbit, parts), np.tile(color, (2, 1)))


def refined_color(mixture: Mixture, layout: Layout, views: Views) -> np.ndarray:
    """The colours of a fit: those that the views show, on the side that they do not see those of its mirror image."""
    if not layout.mirrored:
        return fit_color(mixture, views)
    both = jax.tree.map(lambda *fields: np.concatenate(fields), views, mirrored_views(views))
    return fit_color(mixture, both)


def mirrored_views(views: Views) -> Views:
    """The views of an object that is its own mirror image at x = 0, from the mirrored cameras."""
    flip, width = np.diag([-1.0, 1.0, 1.0, 1.0]), views.silhouette.shape[2]
    lens = np.array(views.cameras.intrinsics, float)
    lens[:, 0, 1], lens[:, 0, 2] = -lens[:, 0, 1], width - lens[:, 0, 2]
    pose = flip @ np.asarray(views.cameras.world_from_camera, float) @ flip
    images = jax.tree.map(lambda image: np.asarray(image)[:, :, ::-1], views._replace(cameras=None))
    return images._replace(cameras=Cameras(pose, lens))


def batch_of(views: Views) -> int:
    """Rays in a step: those of a fit, or all that there are."""
    return min(OptimizationOptions().batch_size, int(np.size(views.silhouette)))
