"""The depth of a mixture's surface, as a depth camera would see it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from fm_render import Mixture, Passes, passes
from fmb.fields.metaballs import HALF_DENSITY
from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.ready import ready

STEP = 1 / 40  # scales between two samples of the density along a ray; thinner parts may be missed
HALVINGS = 12  # of a step, at the first crossing: 6e-6 scales are left
FADED, FADINGS = 6.0, 32  # deviations of a component behind which all of it has passed; bisections up to there
BLOCK = 1024  # rays at a time
MOST_PAIRS = 2**24  # of components and rays at a time: 64 MB an array; more would not fit for 10,000


class Along(NamedTuple):
    """Components as rays meet them: where each is densest, the square of 1 / its deviation there, its density."""

    place: Float[Array, "mixture ray"]
    rate: Float[Array, "mixture ray"]
    density: Float[Array, "mixture ray"]

    def at(self, distance: Float[Array, " ray"]) -> Float[Array, " ray"]:
        """Density at that distance."""
        return jnp.sum(self.density * jnp.exp(-self.rate * (distance[None] - self.place) ** 2 / 2), axis=0)

    def passed(self, distance: Float[Array, " ray"]) -> Float[Array, " ray"]:
        """Density of a ray that ends there, each component counting by the part of its mass that lies before."""
        return jnp.sum(self.density * ndtr((distance[None] - self.place) * jnp.sqrt(self.rate)), axis=0)


@ready()
def _surface_distance(
    mixture: Mixture, origin: Float[Array, "3 ray"], direction: Float[Array, "3 ray"]
) -> Float[Array, " ray"]:
    met: Passes = passes(mixture, origin, direction)
    along = Along(met.closest, met.rate, jnp.exp(mixture.log_weight[:, None] - met.square / 2))
    # where the sum reaches ln 2, one component has its share: nothing lies before the first place where one does
    share = HALF_DENSITY / len(mixture.mean)
    half = jnp.sqrt(2 * jnp.log(jnp.maximum(along.density / share, 1.0)) / along.rate)
    dense = along.density > share
    start = jnp.maximum(jnp.min(jnp.where(dense, along.place - half, jnp.inf), axis=0), 0.0)
    end = jnp.max(jnp.where(dense, along.place + half, -jnp.inf), axis=0)

    def goes_on(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[1])

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        distance = jnp.where(state[1], state[0] + STEP, state[0])
        return distance, state[1] & (along.at(distance) < HALF_DENSITY) & (distance < end)

    high, _ = jax.lax.while_loop(goes_on, step, (start, (along.at(start) < HALF_DENSITY) & (start < end)))
    solid = along.at(high) >= HALF_DENSITY
    low = jnp.where(high > start, high - STEP, start)
    hit = _bisected(along.at, low, high, HALVINGS)
    last = jnp.max(along.place + FADED / jnp.sqrt(along.rate), axis=0)
    faded = _bisected(along.passed, jnp.zeros_like(last), jnp.maximum(last, 0.0), FADINGS)
    found = jnp.where(solid, hit, faded)
    return jnp.where((found > 0) & (along.passed(last) >= HALF_DENSITY), found, jnp.nan)


def _bisected(
    density: Callable[[Array], Array], low: Float[Array, " ray"], high: Float[Array, " ray"], count: int
) -> Float[Array, " ray"]:
    """The farther end of the interval in which a growing density reaches ln 2, halved so many times."""

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        half = (ends[0] + ends[1]) / 2
        within = density(half) >= HALF_DENSITY
        return jnp.where(within, ends[0], half), jnp.where(within, half, ends[1])

    return jax.lax.fori_loop(0, count, halve, (low, high))[1]


@ready(2, 3)
def _opaque_rays(mixture: Mixture, cameras: Cameras, height: int, width: int) -> tuple[Array, Array, Array]:
    rays = jax.tree.map(lambda x: x.reshape(-1, 3).T, pixel_rays(cameras, height, width))
    count, block = height * width, max(1, MOST_PAIRS // len(mixture.mean))
    if count <= block:
        return *rays, _density(mixture, *rays) >= HALF_DENSITY
    padded = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, -count % block)), mode="edge"), rays)
    parts = jax.tree.map(lambda x: x.reshape(3, -1, block).transpose(1, 0, 2), padded)
    density = jax.lax.map(lambda part: _density(mixture, *part), (parts.origin, parts.direction))
    return *rays, density.reshape(-1)[:count] >= HALF_DENSITY


def _density(mixture: Mixture, origin: Float[Array, "3 ray"], direction: Float[Array, "3 ray"]) -> Array:
    """Of each ray before the camera."""
    met = passes(mixture, origin, direction)
    return jnp.where(met.closest > 0, jnp.exp(mixture.log_weight[:, None] - met.square / 2), 0).sum(axis=0)


def surface_depth(
    mixture: Mixture, cameras: Cameras, image_size: tuple[int, int]
) -> Float[np.ndarray, "view height width"]:
    """Depth of the surface in images of (height, width), in the canonical frame; NaN where alpha is below one half.

    It is where the density first reaches ln 2, exact to 1e-5 scales, except that a ray may miss parts thinner than
    STEP. Where an opaque ray meets no such place, it is where the density that lies before it reaches ln 2: half of
    the light comes from nearer. The rendered depth is a mean over components and lies inside the body.
    """
    cameras = Cameras(*(np.asarray(field, mixture.mean.dtype) for field in cameras))
    parts = [Cameras(*(field[view : view + 1] for field in cameras)) for view in range(len(cameras.intrinsics))]
    origin, direction, opaque = (
        np.concatenate([np.asarray(x) for x in pieces], axis=-1)
        for pieces in zip(*(_opaque_rays(mixture, part, *image_size) for part in parts), strict=True)
    )
    depth, chosen = np.full(opaque.shape, np.nan, origin.dtype), np.flatnonzero(opaque)
    for block in (chosen[first : first + BLOCK] for first in range(0, len(chosen), BLOCK)):
        filled = np.resize(block, BLOCK)  # one size of array, one program
        depth[block] = np.asarray(_surface_distance(mixture, origin[:, filled], direction[:, filled]))[: len(block)]
    return depth.reshape(-1, *image_size)
