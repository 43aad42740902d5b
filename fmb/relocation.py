"""What recipe "best" does between chunks of steps: idle components move to where they are missed, false pixels go."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float
from scipy import ndimage

from fm_render import Mixture, Rays, Settings, trace
from fmb.edges import Edges, mixture_from_edges
from fmb.losses import pixel_cross_entropy
from fmb.numerics import LEAST_BLOCK, PAIRS_PER_BLOCK, nearby
from fmb.views import Pixels

GAIN = 0.6  # a component moves if what it is worth is less than this part of the error of the one it halves
HALF_WIDTH, HALF_OFFSET = 0.6, 0.5  # of a half: its longest axis and how far from the middle, in units of the whole's
LEAST_DENSITY = 1e-4  # of a ray without a component; less is rounding, which under a silhouette would cost too much
PATCH, SHARE = 5, 0.6  # pixels: side of the square of which that share must be doubtful
INSIDE, PERHAPS_INSIDE = 0.5, 0.1  # alpha from which a pixel of the background is doubtful, alone and beside a patch


class Worth(NamedTuple):
    """What each component is worth (the loss without it, less that with it) and its share of the loss."""

    value: Float[np.ndarray, " mixture"]
    error: Float[np.ndarray, " mixture"]


@jax.jit
def component_worth(
    edges: Edges, pixels: Pixels, weight: Float[Array, " ray"], settings: Settings = Settings()
) -> Worth:
    """Worth of the components on some rays, the loss of a ray shared out in proportion to their density there."""
    mixture, count = mixture_from_edges(edges), weight.shape[0]
    block = max(LEAST_BLOCK, PAIRS_PER_BLOCK // len(mixture.mean))
    blocks = -(-count // block)

    def padded(x: Array) -> Array:
        filled = jnp.pad(x, ((0, blocks * block - count), *((0, 0),) * (x.ndim - 1)), mode="edge")
        return filled.reshape(blocks, block, *x.shape[1:])

    weight = jnp.pad(weight, (0, blocks * block - count)).reshape(blocks, block)
    rays, silhouette = jax.tree.map(padded, (pixels.rays, pixels.silhouette))

    def add(total: Worth, part: tuple[Rays, Array, Array]) -> tuple[Worth, None]:
        return jax.tree.map(jnp.add, total, _block_worth(mixture, *part, settings)), None

    nothing = jnp.zeros(len(mixture.mean), weight.dtype)
    return jax.lax.scan(add, Worth(nothing, nothing), (rays, silhouette, weight))[0]


def _block_worth(mixture: Mixture, rays: Rays, silhouette: Array, weight: Array, settings: Settings) -> Worth:
    start, near_mixture, near_rays = nearby(mixture, rays.origin.T, rays.direction.T)
    hits = trace(settings, near_mixture, *near_rays)
    density = jnp.where(hits.distance + start > 0, jnp.exp(hits.log_density), 0)
    total = jnp.maximum(density.sum(0, keepdims=True), 1e-9)

    def loss(density: Array) -> Array:
        return pixel_cross_entropy(density, jnp.broadcast_to(silhouette, density.shape))

    without, everything = (loss(jnp.maximum(x, LEAST_DENSITY)) for x in (total - density, total))
    value = weight[None] * (without - everything)
    return Worth(value.sum(1), (weight[None] * loss(total) * density / total).sum(1))


def relocate(edges: Edges, worth: Worth, count: int) -> tuple[Edges, Bool[np.ndarray, " mixture"]]:
    """At most `count` components of least worth become halves of those with most error; and which have changed.

    The ellipsoid in error is cut across its longest axis: both halves are 0.6 times as long and stand half a semi-axis
    from its middle.
    """
    mean, lower, log_sharpness = (np.array(x, np.float64) for x in edges)
    changed = np.zeros(len(mean), bool)
    idle, wanting = np.argsort(worth.value), np.argsort(-worth.error)
    for cheap, dear in zip(idle[:count], wanting[:count], strict=True):
        if cheap == dear or changed[cheap] or changed[dear] or worth.value[cheap] >= GAIN * worth.error[dear]:
            continue
        precision = lower[dear] @ lower[dear].T
        values, vectors = np.linalg.eigh(precision)
        semi_axis, axis = 1 / np.sqrt(values[0]), vectors[:, 0]
        shortened = precision + (1 / HALF_WIDTH**2 - 1) * values[0] * np.outer(axis, axis)
        lower[[cheap, dear]] = np.linalg.cholesky(shortened)
        offset = HALF_OFFSET * semi_axis * axis
        mean[cheap], mean[dear] = mean[dear] + offset, mean[dear] - offset
        log_sharpness[cheap] = log_sharpness[dear]
        changed[[cheap, dear]] = True
    moved = Edges(mean, lower, log_sharpness)
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), moved, edges), changed


def believed(
    alpha: Float[np.ndarray, "view height width"], silhouette: Float[np.ndarray, "view height width"]
) -> Bool[np.ndarray, "view height width"]:
    """False for background pixels in patches that the other views, through the fit, say are inside the object.

    Segmentation loses whole parts of an object; a fit that 32 views agree on does not follow one of them. Single pixels
    and thin lines stay: there the fit may be what is wrong.
    """
    background = silhouette < 0.5
    doubtful = (background & (alpha > INSIDE)).astype(np.float64)
    core = ndimage.uniform_filter(doubtful, (1, PATCH, PATCH), mode="constant") >= SHARE - 1e-9
    near_core = ndimage.maximum_filter(core, (1, PATCH + 2, PATCH + 2), mode="constant")
    return ~(near_core & background & (alpha > PERHAPS_INSIDE))
