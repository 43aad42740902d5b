"""How a mixture looks from given cameras, and how well that agrees with what they saw."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jax import Array

from fm_render import Mixture, render
from fmb.cameras import Cameras, pixel_rays
from fmb.metrics import cross_entropy, depth_mae, iou
from fmb.sheets import Images
from fmb.views import Views

VISIBLE = 0.5  # alpha from which a pixel belongs to the object


@partial(jax.jit, static_argnums=(2, 3))
def _look_once(mixture: Mixture, cameras: Cameras, height: int, width: int) -> tuple[Array, Array]:
    sight = render(mixture, pixel_rays(cameras, height, width))
    return sight.alpha, sight.depth


def look(mixture: Mixture, cameras: Cameras, image_size: tuple[int, int]) -> Images:
    """The mixture as the cameras see it, images of (height, width); in the canonical frame, view after view.

    Depth is smooth everywhere; see `shown` for where it means something.
    """
    cameras = jax.tree.map(partial(np.asarray, dtype=mixture.mean.dtype), cameras)
    count = len(cameras.intrinsics)
    seen = [_look_once(mixture, jax.tree.map(lambda x, i=i: x[i : i + 1], cameras), *image_size) for i in range(count)]
    return Images(*(np.concatenate([np.asarray(image) for image in images]) for images in zip(*seen, strict=True)))


def shown(images: Images, unit: float) -> Images:
    """The images for a picture: depth times `unit`, and NaN where alpha is below VISIBLE.

    A start may be too thin to be visible anywhere; then half of its largest alpha is the bound.
    """
    bound = min(VISIBLE, float(images.alpha.max()) / 2)
    return images._replace(depth=np.where((images.alpha >= bound) & (images.alpha > 0), unit * images.depth, np.nan))


def measure(images: Images, views: Views, unit: float) -> dict[str, float]:
    """Errors of what is seen against the views; `unit` is the length of the views' unit in the one to report in."""
    errors = {
        "cross_entropy": cross_entropy(images.alpha, views.silhouette, views.valid),
        "iou": iou(images.alpha, views.silhouette, views.valid),
    }
    if views.depth is not None:
        errors["depth_mae"] = unit * depth_mae(images.depth, views.depth, images.alpha, views.valid)
    return errors


def evaluate(
    mixture: Mixture, views: Mapping[str, Views], unit: float
) -> tuple[dict[str, Images], dict[str, dict[str, float]]]:
    """What the mixture looks like from each set of views, by its name, and the errors of that."""
    seen = {name: look(mixture, part.cameras, part.silhouette.shape[1:]) for name, part in views.items()}
    return seen, {name: measure(seen[name], part, unit) for name, part in views.items()}
