"""What recipe "best" does between chunks of steps: it moves idle components, doubts false pixels and odd views."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float
from scipy import ndimage

from fm_render import LEAST_BLOCK, PAIRS_PER_BLOCK, Mixture, Rays, Settings, nearby, render, trace
from fmb.fit.loop import Course
from fmb.fit.losses import pixel_cross_entropy
from fmb.geometry.views import Pixels, Views
from fmb.shape.edges import Edges, mixture_from_edges
from fmb.shape.sampling import BAND, Sampling, outline_band
from fmb.shape.supervision import Sample

RELOCATIONS, FIRST_RELOCATION, LAST_RELOCATION = 9, 0.12, 0.63  # how often, and between which parts of the fit
RELOCATED = 0.15  # of the components, at most, each time
WORTH_RAYS = 16_384  # sample of rays that tells what components are worth
FIRST_DOUBT = 0.25  # part of the fit after which masks may be doubted
FIRST_VIEW_DOUBT = 1 / 3  # and whole views
LOOKS = 40  # at all rays, at most, in a fit: each takes as long as hundreds of steps where there are many rays


class Attendant:
    """What looks after a fit, from its start to its end."""

    def __init__(
        self, views: Views, sampling: Sampling, generator: np.random.Generator, settings: Settings = Settings()
    ):
        self.silhouette, self.generator, self.settings = np.asarray(views.silhouette), generator, settings
        self.believed = np.ones(self.silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
        self.valid, self.weight = self.believed, sampling.weight()
        self.rays, self.length = np.flatnonzero(self.weight), outline_length(self.silhouette, self.valid)
        self.view_weight, self.error = np.ones(len(self.silhouette)), np.zeros(len(self.silhouette))
        self.look = FIRST_DOUBT
        self.due = list(np.linspace(FIRST_RELOCATION, LAST_RELOCATION, RELOCATIONS))

    def attend(self, course: Course, sample: Sample, progress: float) -> tuple[Course, Sample]:
        """Course and sample to go on with after the part `progress` of the fit."""
        if progress >= min(self.look, 1):  # at the end, always
            sample = self._doubt(course, sample, progress)
            self.look = progress + (1 - FIRST_DOUBT) / LOOKS
        passed = [due for due in self.due if due <= progress]
        self.due = self.due[len(passed) :]
        if passed and progress < 1:  # what moves at the very end would never learn its place
            course = self._relocate(course, sample)
        return course, sample

    def _doubt(self, course: Course, sample: Sample, progress: float) -> Sample:
        alpha = np.asarray(all_alpha(mixture_from_edges(course.average), sample.pixels.rays, self.settings))
        alpha = np.where(self.valid, alpha.reshape(self.silhouette.shape), 0)
        self.believed = self.valid & believed(alpha, self.silhouette)
        if progress >= FIRST_VIEW_DOUBT:  # two looks in a row, since a component may just have moved
            before, self.error = self.error, outline_error(alpha, self.silhouette, self.believed, self.length)
            self.view_weight = view_weight(np.minimum(before, self.error))
        return sample._replace(weight=jnp.asarray(self.weight * self.trust().ravel()))

    def trust(self) -> Float[np.ndarray, "view height width"]:
        """How much each pixel is believed: its view's weight, or 0."""
        return (self.view_weight[:, None, None] * self.believed).astype(np.float32)

    def _relocate(self, course: Course, sample: Sample) -> Course:
        chance = self.weight[self.rays] / self.weight[self.rays].sum()
        index = self.generator.choice(self.rays, WORTH_RAYS, p=chance)
        part = jax.tree.map(lambda x: x[index], sample.pixels)
        trust = jnp.asarray(self.trust().ravel()[index])
        worth = Worth(*map(np.asarray, component_worth(course.parameters, part, trust, self.settings)))
        moved, changed = relocate(course.parameters, worth, math.ceil(RELOCATED * len(worth.value)))

        def forget(moment: Array) -> Array:
            return jnp.where(changed.reshape(-1, *(1,) * (moment.ndim - 1)), 0, moment)

        mean, square = jax.tree.map(forget, (course.mean, course.square))
        return Course(moved, mean, square, moved, course.step)


@jax.jit
def all_alpha(mixture: Mixture, rays: Rays, settings: Settings = Settings()) -> Float[Array, " ray"]:
    """Alpha along all rays."""
    return render(mixture, rays, outputs=("alpha",), settings=settings).alpha


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


FEWEST_VIEWS = 5  # of fewer nobody can say which one is wrong
DEVIATION = 1.4826  # of a normal distribution, in units of its median absolute deviation
FAR = 5.0  # robust standard deviations above the median up to which a view is believed
LEAST_FACTOR, LEAST_PIXELS = 1.5, 0.3  # and at least so many times the median and so much more: some views are harder
STEEPNESS = 4  # power at which the weight falls beyond: at twice the bound it is 1/16


def outline_length(
    silhouette: Float[np.ndarray, "view height width"], valid: Bool[np.ndarray, "view height width"]
) -> Float[np.ndarray, " view"]:
    """Length of the outlines of each view in pixels, roughly; at least 1."""
    return np.maximum((outline_band(silhouette, valid) & valid).sum((1, 2)) / (2 * BAND), 1.0)


def outline_error(
    alpha: Float[np.ndarray, "view height width"],
    silhouette: Float[np.ndarray, "view height width"],
    believed: Bool[np.ndarray, "view height width"],
    length: Float[np.ndarray, " view"],
) -> Float[np.ndarray, " view"]:
    """How far the outlines of each view are off in the mean, in pixels: wrong pixels per length of outline."""
    wrong = ((alpha >= 0.5) != (silhouette >= 0.5)) & believed
    return wrong.sum((1, 2)) / length


def view_iou(
    alpha: Float[np.ndarray, "view height width"],
    silhouette: Float[np.ndarray, "view height width"],
    believed: Bool[np.ndarray, "view height width"],
) -> Float[np.ndarray, " view"]:
    """Intersection over union of each view, over what is believed of it; 1 if both are empty."""
    rendered, observed = ((x >= 0.5) & believed for x in (alpha, silhouette))
    common, union = (rendered & observed).sum((1, 2)), (rendered | observed).sum((1, 2))
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def view_weight(error: Float[np.ndarray, " view"]) -> Float[np.ndarray, " view"]:
    """1 for views whose error is like the others', less for those far beyond: what outvotes them does not average out.

    The bound is FAR robust standard deviations above the median, but not near it. No view of fewer than FEWEST_VIEWS
    loses weight.
    """
    if len(error) < FEWEST_VIEWS:
        return np.ones(len(error))
    middle = np.median(error)
    spread = DEVIATION * np.median(np.abs(error - middle))
    bound = max(middle + FAR * spread, LEAST_FACTOR * middle + LEAST_PIXELS)
    return np.minimum(1.0, bound / np.maximum(error, bound)) ** STEEPNESS
