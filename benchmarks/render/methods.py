"""Our ways from cameras to images, of one signature: what the benchmarks of peers, of growth and of a GPU time.

Imports nothing beside JAX and the renderer, so that it runs where nothing else is installed. A new way is two functions
and a line in METHODS.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import Array
from jaxtyping import Float

from benchmarks.measure import Rates
from benchmarks.render.naive import render_naive
from fm_render import Mixture, Rays, render
from fmb.fit.losses import silhouette_cross_entropy
from fmb.geometry.cameras import Cameras


class Scene(NamedTuple):
    """One view, what a method may start from, and the mask it is compared with."""

    cameras: Cameras  # a batch of one
    rays: Rays  # [ray, 3], row by row
    silhouette: Float[Array, "view height width"]


class Work(NamedTuple):
    """Arithmetic per (component, pixel) pair; a multiply-add is two. Comparisons and selections are not counted.

    `byte` is the traffic with memory that cannot be avoided, per pixel: what goes in and out; pairs stay in caches.
    """

    flop: int
    division: int
    exponential: int
    byte: int = 0

    def least(self, rates: Rates, components: int) -> float:
        """Nanoseconds a pair that it takes if every unit is always busy, one kind after the other."""
        busy = self.flop / rates.flop + self.division / rates.division + self.exponential / rates.exponential
        return busy + self.byte / rates.byte / components


def plus(*parts: Work) -> Work:
    """All of them."""
    return Work(*map(sum, zip(*parts, strict=True)))


# Counted by hand in fm_render.render, for the density and the gradient of the mixture alone.
# Forward: L^T o and L^T d, 18; q, 3; u.u and u.q, 10; q - t u, 6; its square, 5; s, 2; t from the camera, 1; sum, 1.
# A ray of two vectors goes in, a density comes out.
RAYS_FORWARD = Work(flop=46, division=1, exponential=1, byte=28)
# Backward: exp(s) times the slope of the loss, 1; u, q and t once more, 31; the weights g t + h and (g t + 2 h) t, 5;
# each of three weights times the 10, 12 and 6 different products of (1, o) and d, summed over rays, 56; sum of g, 1.
# The ray and the slope are read once more; the density and the mask before that.
RAYS_BACKWARD = Work(flop=94, division=2, exponential=0, byte=36)
# The same as quadratics of the pixel: N and D, six coefficients each on monomials that all tiles share, one of them 1,
# so five multiply-adds each, 20; N / D, 1 division; log weight - N / 2 D, 2; sum, 1. Only the density goes out.
PIXELS_FORWARD = Work(flop=23, division=1, exponential=1, byte=4)
# The weight g = exp(s) times the slope, 1; g / D and g N / D^2, 2, with the quotients at hand; each times six
# monomials, summed over pixels, 24 less two products with 1; sum of g, 1. The mask is read.
PIXELS_BACKWARD = Work(flop=26, division=0, exponential=0, byte=4)
# The depth needs T as well, linear in the pixel and over D: two multiply-adds and a product.
PIXELS_DEPTH = Work(flop=5, division=0, exponential=0, byte=4)


class Method(NamedTuple):
    """`density` [view, height, width] and `loss` of (mixture, scene); `most`: pairs beyond which it is tried last.

    `forward` and `both`, without and with the gradient, are counted per pair that is met; `met` says what share of all
    pairs that is. None: nobody counted; all. `tolerance`: how far its gradient may be off, of the largest entry.
    """

    density: Callable[[Mixture, Scene], Array]
    loss: Callable[[Mixture, Scene], Array]
    forward: Work | None = None
    both: Work | None = None
    most: int = 10**12
    met: Callable[[Mixture, Scene], float] | None = None
    tolerance: float = 5e-4

    def gradient(self, mixture: Mixture, scene: Scene) -> tuple[Array, Mixture]:
        """Loss, and its gradient with respect to all numbers of the mixture."""
        return jax.value_and_grad(self.loss)(mixture, scene)


def along_rays(renderer: Callable) -> tuple[Callable, Callable]:
    """Density and silhouette loss by a renderer of rays."""

    def density(mixture: Mixture, scene: Scene) -> Array:
        return renderer(mixture, scene.rays, outputs=("density",)).density.reshape(scene.silhouette.shape)

    def loss(mixture: Mixture, scene: Scene) -> Array:
        return silhouette_cross_entropy(density(mixture, scene), scene.silhouette)

    return density, loss


RAYS, NAIVE = "render", "naive twin"
METHODS: dict[str, Method] = {
    RAYS: Method(*along_rays(render), RAYS_FORWARD, plus(RAYS_FORWARD, RAYS_BACKWARD)),
    # it keeps tens of numbers for each pair, and its path through the distance does not cancel in float32
    NAIVE: Method(*along_rays(render_naive), most=5 * 10**7, tolerance=5e-2),
}
