"""What cameras see of a mixture, and its errors against what they saw of the object."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from fm_render import Mixture, Settings, render_views
from fmb.fields.depths import surface_depth
from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.geometry.metrics import cross_entropy, depth_mae, iou
from fmb.geometry.views import FOREGROUND, Images, Views
from fmb.ready import ready


@ready(2)
def _look_once(mixture: Mixture, cameras: Cameras, image_size: tuple[int, int], settings: Settings):
    sight = render_views(mixture, cameras, image_size, settings=settings)
    return sight.alpha, sight.depth


def look(mixture: Mixture, cameras: Cameras, image_size: tuple[int, int], settings: Settings = Settings()) -> Images:
    """Alpha and depth of the mixture in images of (height, width), one view after the other, in the canonical frame.

    Depth is smooth everywhere; `shown` tells where it means something.
    """
    cameras = jax.tree.map(partial(np.asarray, dtype=mixture.mean.dtype), cameras)
    count = len(cameras.intrinsics)
    each = (jax.tree.map(lambda x, i=i: x[i : i + 1], cameras) for i in range(count))
    seen = [_look_once(mixture, camera, image_size, settings) for camera in each]
    return Images(*(np.concatenate([np.asarray(image) for image in images]) for images in zip(*seen, strict=True)))


def shown(images: Images, unit: float) -> Images:
    """The images for a picture: depth times `unit`, NaN where alpha is below one half.

    Where alpha reaches one half nowhere, as it may in a thin start, half of the largest alpha is the bound.
    """
    bound = min(FOREGROUND, float(images.alpha.max()) / 2)
    return images._replace(depth=np.where((images.alpha >= bound) & (images.alpha > 0), unit * images.depth, np.nan))


def measure(images: Images, views: Views, unit: float) -> dict[str, float]:
    """Errors of the images against the views; depth errors are multiplied by `unit`, the views' unit of length."""
    errors = {
        "cross_entropy": cross_entropy(images.alpha, views.silhouette, views.valid),
        "iou": iou(images.alpha, views.silhouette, views.valid),
    }
    if views.depth is not None:
        errors["depth_mae"] = unit * depth_mae(images.depth, views.depth, images.alpha, views.valid)
    return errors


RENDERED, SURFACE = "rendered_depth_mae", "surface_depth_mae"  # the other depth, beside "depth_mae"


def evaluate(
    mixture: Mixture, views: Mapping[str, Views], unit: float, settings: Settings = Settings()
) -> tuple[dict[str, Images], dict[str, dict[str, float]]]:
    """The images of the mixture from each set of views, by its name, and their errors.

    Depths are those of the surface, see `surface_depth`, and RENDERED is the error of those that the renderer blends.
    Settings with betas of their own are those of a fit to depths, which has made the blended ones right: then depths
    are blended, and SURFACE is the error of the surface.
    """
    images, errors, blended = {}, {}, settings.betas is not None
    for name, part in views.items():
        size = part.silhouette.shape[1:]
        rendered = look(mixture, part.cameras, size, settings)
        surface = rendered._replace(depth=surface_depth(mixture, part.cameras, size))
        images[name], other = (rendered, surface) if blended else (surface, rendered)
        errors[name] = measure(images[name], part, unit)
        if part.depth is not None:
            errors[name][SURFACE if blended else RENDERED] = measure(other, part, unit)["depth_mae"]
    return images, errors


def surface_normals(
    mixture: Mixture, cameras: Cameras, depth: Float[np.ndarray, "view height width"]
) -> Float[np.ndarray, "view height width 3"]:
    """Outward unit normals, in world axes, of the surface at these depths; NaN where there is none.

    They point against the slope of the summed density, whose level the surface is.
    """
    mean, factor = np.asarray(mixture.mean, float), np.tril(np.asarray(mixture.precision_cholesky, float))
    log_weight, normal = np.asarray(mixture.log_weight, float), np.full((*depth.shape, 3), np.nan)
    for view in range(len(depth)):
        seen = np.isfinite(depth[view])
        rays = pixel_rays(Cameras(*(np.asarray(field)[view : view + 1] for field in cameras)), *depth.shape[1:])
        origin, direction = (np.asarray(field, float)[0][seen] for field in rays)
        point = origin + depth[view][seen][:, None] * direction
        peak, slope = np.full(len(point), -np.inf), np.zeros_like(point)
        for centre, lower, log in zip(mean, factor, log_weight, strict=True):
            white = (point - centre) @ lower
            density = log - np.sum(white * white, axis=1) / 2.0
            top = np.maximum(peak, density)
            kept, share = np.exp(peak - top), np.exp(density - top)
            peak, slope = top, kept[:, None] * slope + share[:, None] * (white @ lower.T)
        normal[view][seen] = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-300)
    return normal
