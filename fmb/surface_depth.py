"""Depth of a mixture's surface, where its field first reaches ln 2: what a depth camera would see of it.

The renderer's depth is a mean over components of where each is densest along the ray, deep inside the body: smooth, as
descent needs it, and 0.1 scales behind the surface that poses are compared with. Pictures show this one.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, intersect_linear, residual, whiten
from fmb.cameras import Cameras, pixel_rays
from fmb.numerics import dot

LEVEL = float(np.log(np.log(2.0)))  # log density at which a ray that stays there for a component's depth has alpha 1/2
REACH = 2.0  # scales before and behind the mixture's middle within which the surface lies
SAMPLES, HALVINGS = 160, 12  # of that stretch, 1/40 scale apart; the interval of the first crossing, halved


@partial(jax.jit, static_argnums=(2, 3))
def _first_crossing(mixture: Mixture, cameras: Cameras, height: int, width: int) -> Float[Array, " ray"]:
    rays = jax.tree.map(lambda x: x.reshape(-1, 3).T, pixel_rays(cameras, height, width))
    pairs = whiten(mixture, *rays)
    place, rate = intersect_linear(pairs), dot(pairs.direction, pairs.direction)
    rest = residual(pairs, place)
    peak = mixture.log_weight[:, None] - dot(rest, rest) / 2

    def field(distance: Array) -> Array:
        return jax.nn.logsumexp(peak - rate * (distance[None] - place) ** 2 / 2, axis=0) - LEVEL

    offset = mixture.mean.mean(0)[:, None] - rays.origin
    middle = (offset * rays.direction).sum(0) / (rays.direction**2).sum(0)
    step = 2.0 * REACH / SAMPLES
    starts = jnp.linspace(-REACH, REACH, SAMPLES + 1, dtype=middle.dtype)
    inside = jax.lax.map(lambda start: field(middle + start) >= 0, starts)
    high = middle + starts[jnp.argmax(inside, axis=0)]

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        half = (ends[0] + ends[1]) / 2
        within = field(half) >= 0
        return jnp.where(within, ends[0], half), jnp.where(within, half, ends[1])

    _, found = jax.lax.fori_loop(0, HALVINGS, halve, (high - step, high))
    return jnp.where(inside.any(axis=0) & (found > 0), found, jnp.nan)


def surface_depth(
    mixture: Mixture, cameras: Cameras, image_size: tuple[int, int]
) -> Float[np.ndarray, "view height width"]:
    """Depth of the surface in images of (height, width); NaN where a ray meets none. In the canonical frame.

    Exact to 1e-5 scales, but for parts thinner than a fortieth, which a ray may step over.
    """
    cameras = Cameras(*(np.asarray(field, mixture.mean.dtype) for field in cameras))
    parts = [Cameras(*(field[view : view + 1] for field in cameras)) for view in range(len(cameras.intrinsics))]
    seen = [np.asarray(_first_crossing(mixture, part, *image_size)) for part in parts]
    return np.stack(seen).reshape(-1, *image_size)
