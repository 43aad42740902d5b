"""Our ways from cameras to images, of one signature: what the benchmarks of peers, of growth and of a GPU time.

Imports nothing beside JAX and the renderer, so that it runs where nothing else is installed. A new way is two functions
and a line in METHODS.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from benchmarks.measure import Rates
from benchmarks.render.naive import render_naive
from fm_render import Cameras, Mixture, Rays, Rendering, Sight, in_tiles, render, render_views, views_loss
from fm_tiles import met, side_of, tiles_of
from fmb.fit.losses import pixel_cross_entropy, relative_depth_loss, silhouette_cross_entropy
from fmb.geometry.cameras import pixel_rays
from fmb.geometry.rotations import matrix_from_rotation_vector, rigid_transform

POSE_STEP = 0.02  # radians and scales, so that the gradient is not that at the answer


class Scene(NamedTuple):
    """One view, what a method may start from, and the mask it is compared with."""

    cameras: Cameras  # a batch of one
    rays: Rays  # [ray, 3], row by row
    silhouette: Float[Array, "view height width"]
    depth: Float[Array, "view height width"] | None = None  # NaN: background

    def moved(self, pose: Float[Array, "6"]) -> "Scene":
        """As seen by a camera that is turned and moved by the pose, a rotation vector and a shift."""
        turn = rigid_transform(matrix_from_rotation_vector(pose[None, :3]), pose[None, 3:])
        moved = jnp.einsum("vij,vjk->vik", self.cameras.world_from_camera, turn, precision="highest")
        cameras = self.cameras._replace(world_from_camera=moved)
        rays = pixel_rays(cameras, *self.silhouette.shape[1:])
        return self._replace(cameras=cameras, rays=jax.tree.map(lambda x: x.reshape(-1, 3), rays))


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
    """`images(outputs, mixture, scene)`, each [view, height, width], and `loss(mixture, scene)` of the silhouette.

    `most`: pairs beyond which it is tried last, or not at all. `forward` and `both`, without and with the gradient, are
    counted per pair that is met; `met` says what share of all pairs that is. None: nobody counted; all. `tolerance`:
    how far its gradient may be off, of the largest entry.
    """

    images: Callable[[tuple[str, ...], Mixture, Scene], tuple[Array, ...]]
    loss: Callable[[Mixture, Scene], Array]
    forward: Work | None = None
    both: Work | None = None
    most: int = 10**12
    met: Callable[[Mixture, Scene], float] | None = None
    tolerance: float = 5e-4

    def density(self, mixture: Mixture, scene: Scene) -> Array:
        """The image that a silhouette is made of."""
        return self.images(("density",), mixture, scene)[0]

    def pose_gradient(self, mixture: Mixture, scene: Scene) -> tuple[Array, Array]:
        """Cross-entropy and depth loss a little beside the scene's pose, and the gradient with respect to the pose."""

        def loss(pose: Array) -> Array:
            density, depth = self.images(("density", "depth"), mixture, scene.moved(pose))
            return silhouette_cross_entropy(density, scene.silhouette) + relative_depth_loss(depth, scene.depth)

        return jax.value_and_grad(loss)(jnp.full(6, POSE_STEP, scene.silhouette.dtype))

    def gradient(self, mixture: Mixture, scene: Scene) -> tuple[Array, Mixture]:
        """Loss, and its gradient with respect to all numbers of the mixture."""
        return jax.value_and_grad(self.loss)(mixture, scene)


def along_rays(renderer: Callable) -> tuple[Callable, Callable]:
    """Images and silhouette loss by a renderer of rays."""

    def images(outputs: tuple[str, ...], mixture: Mixture, scene: Scene) -> tuple[Array, ...]:
        found, shape = renderer(mixture, scene.rays, outputs=outputs), scene.silhouette.shape
        return tuple(getattr(found, name).reshape(*shape, *getattr(found, name).shape[1:]) for name in outputs)

    def loss(mixture: Mixture, scene: Scene) -> Array:
        return silhouette_cross_entropy(images(("density",), mixture, scene)[0], scene.silhouette)

    return images, loss


def images_in_tiles(outputs: tuple[str, ...], mixture: Mixture, scene: Scene) -> tuple[Array, ...]:
    """Images by `render_views`."""
    found = render_views(mixture, scene.cameras, scene.silhouette.shape[1:], outputs=outputs)
    return tuple(getattr(found, name) for name in outputs)


def loss_in_tiles(mixture: Mixture, scene: Scene) -> Array:
    """Silhouette loss by `views_loss`, which takes the slope in the same pass."""

    def loss(rendering: Rendering, silhouette: Array) -> Array:
        return pixel_cross_entropy(rendering.density, silhouette)

    return views_loss(loss, mixture, scene.cameras, scene.silhouette) / scene.silhouette.size


def share_of_pairs(mixture: Mixture, scene: Scene) -> float:
    """Pairs that the tiles of `views_loss` meet, of all; pixels of tiles that stand out of the image count as well."""
    (views, *size), components = scene.silhouette.shape, len(mixture.mean)
    side = side_of(size)
    tiles = tiles_of(views, size, side)

    @jax.jit
    def pairs(mixture: Mixture, cameras: Cameras) -> Array:
        task, (table, shared), placed = in_tiles(mixture, cameras, tiles, side, Sight())
        return met(task, table, placed, shared).sum()

    return int(pairs(mixture, scene.cameras)) * side**2 / (components * scene.silhouette.size)


RAYS, TILES, NAIVE = "render", "render_views", "naive twin"
METHODS: dict[str, Method] = {
    RAYS: Method(*along_rays(render), RAYS_FORWARD, plus(RAYS_FORWARD, RAYS_BACKWARD)),
    TILES: Method(
        images_in_tiles, loss_in_tiles, PIXELS_FORWARD, plus(PIXELS_FORWARD, PIXELS_BACKWARD), met=share_of_pairs
    ),
    # it keeps tens of numbers for each pair, and its path through the distance does not cancel in float32
    NAIVE: Method(*along_rays(render_naive), most=2 * 10**7, tolerance=5e-2),
}
