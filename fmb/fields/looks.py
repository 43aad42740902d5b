"""What cameras see of a mixture, and its errors against what they saw of the object."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, Settings, passes, render_views
from fmb.fields.metaballs import HALF_OPAQUE
from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.geometry.metrics import cross_entropy, depth_mae, iou
from fmb.geometry.views import FOREGROUND, Images, Views


@partial(jax.jit, static_argnums=2)
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


def evaluate(
    mixture: Mixture, views: Mapping[str, Views], unit: float, settings: Settings = Settings()
) -> tuple[dict[str, Images], dict[str, dict[str, float]]]:
    """The images of the mixture from each set of views, by its name, and their errors."""
    seen = {name: look(mixture, part.cameras, part.silhouette.shape[1:], settings) for name, part in views.items()}
    return seen, {name: measure(seen[name], part, unit) for name, part in views.items()}


REACH = 2.0  # scales; the surface is looked for so far before and behind the mixture's middle
SAMPLES, HALVINGS = 160, 12  # samples of that stretch, 1/40 scale apart; bisections at the first crossing


@partial(jax.jit, static_argnums=(2, 3))
def _first_crossing(mixture: Mixture, cameras: Cameras, height: int, width: int) -> Float[Array, " ray"]:
    rays = jax.tree.map(lambda x: x.reshape(-1, 3).T, pixel_rays(cameras, height, width))
    passed = passes(mixture, *rays)
    place, rate = passed.closest, passed.rate
    peak = mixture.log_weight[:, None] - passed.square / 2

    def field(distance: Array) -> Array:
        return HALF_OPAQUE - jax.nn.logsumexp(peak - rate * (distance[None] - place) ** 2 / 2, axis=0)

    offset = mixture.mean.mean(0)[:, None] - rays.origin
    middle = (offset * rays.direction).sum(0) / (rays.direction**2).sum(0)
    step = 2.0 * REACH / SAMPLES
    starts = jnp.linspace(-REACH, REACH, SAMPLES + 1, dtype=middle.dtype)
    inside = jax.lax.map(lambda start: field(middle + start) <= 0, starts)
    high = middle + starts[jnp.argmax(inside, axis=0)]

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        half = (ends[0] + ends[1]) / 2
        within = field(half) <= 0
        return jnp.where(within, ends[0], half), jnp.where(within, half, ends[1])

    _, found = jax.lax.fori_loop(0, HALVINGS, halve, (high - step, high))
    return jnp.where(inside.any(axis=0) & (found > 0), found, jnp.nan)


def surface_depth(
    mixture: Mixture, cameras: Cameras, image_size: tuple[int, int]
) -> Float[np.ndarray, "view height width"]:
    """Depth of the surface in images of (height, width); NaN where a ray meets none. In the canonical frame.

    It is exact to 1e-5 scales, except that a ray may miss parts thinner than 1/40 scale.
    """
    cameras = Cameras(*(np.asarray(field, mixture.mean.dtype) for field in cameras))
    parts = [Cameras(*(field[view : view + 1] for field in cameras)) for view in range(len(cameras.intrinsics))]
    seen = [np.asarray(_first_crossing(mixture, part, *image_size)) for part in parts]
    return np.stack(seen).reshape(-1, *image_size)


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
