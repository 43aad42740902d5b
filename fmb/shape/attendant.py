"""What recipe "best" does between chunks of steps: it moves idle components, doubts false pixels and odd views."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32

from fm_numerics import LEAST_BLOCK, PAIRS_PER_BLOCK, nearby
from fm_render import Cameras, Mixture, Rays, Settings, render_views, trace
from fmb.fit.loop import Course
from fmb.fit.losses import pixel_cross_entropy
from fmb.geometry.cameras import ANY_ARRAY, finest_pixel
from fmb.geometry.metrics import MEDIAN_TO_DEVIATION
from fmb.geometry.views import Pixels, Views, foreground
from fmb.ready import ready
from fmb.shape.edges import Edges, thickened, triangular
from fmb.shape.sampling import BAND, Sampling, outline_band
from fmb.shape.supervision import Sample
from fmb.shape.symmetric import Parameters, edges_of, mixture_of, with_edges

RELOCATIONS, FIRST_RELOCATION, LAST_RELOCATION = 9, 0.12, 0.63  # how often, and between which parts of the fit
RELOCATED = 0.15  # of the components, at most, each time
WORTH_RAYS = 16_384  # sample of rays that tells what components are worth
FIRST_DOUBT = 0.25  # part of the fit after which masks may be doubted
FIRST_VIEW_DOUBT = 1 / 3  # and whole views
THINNEST = 0.05  # semi-axis of a component, in the finest pixels: no mask tells of less, and meshes come out in holes
LOOKS = 40  # at all rays, at most, in a fit: each takes as long as hundreds of steps where there are many rays


class Care(NamedTuple):
    """What a fit is looked after with, from its start to its end."""

    silhouette: Float[Array, "view height width"]
    valid: Bool[Array, "view height width"]
    weight: Float[Array, " ray"]  # of each pixel in the loss, as it is sampled
    length: Float[Array, " view"]  # of the outlines, in pixels
    cameras: Cameras  # in the frame of the fit
    thinnest: Float[Array, ""]  # semi-axis that a component may have


class Attention(NamedTuple):
    """What happens between chunks, as state: what is believed, when all rays are looked at next, what moved."""

    believed: Bool[Array, "view height width"]
    view_weight: Float[Array, " view"]
    error: Float[Array, " view"]
    look: Float[Array, ""]  # part of the fit from which all rays are looked at again
    relocations: Int[Array, ""]
    key: UInt32[Array, " word"]  # as plain numbers, which a file can hold

    def trust(self) -> Float[Array, "view height width"]:
        """How much each pixel is believed: its view's weight, or 0."""
        return self.view_weight[:, None, None] * self.believed


def begin_attention(views: Views, sampling: Sampling, cameras: Cameras, seed: int) -> tuple[Care, Attention]:
    """What is known of the views, and the state before the first chunk; every valid pixel is believed.

    `cameras` are those of the views in the frame of the fit.
    """
    silhouette = np.asarray(views.silhouette, np.float32)
    valid = np.ones(silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
    length = np.asarray(outline_length(silhouette, valid), np.float32)
    given = silhouette, valid, sampling.weight(), length
    care = Care(*map(jnp.asarray, given), cameras, THINNEST * finest_pixel(cameras))
    ones = jnp.ones_like(care.length)
    look = jnp.asarray(FIRST_DOUBT, ones.dtype)
    key = jax.random.key_data(jax.random.key(seed))
    return care, Attention(care.valid, ones, 0 * ones, look, jnp.zeros((), jnp.int32), key)


@ready()
def attend(
    care: Care, state: Attention, course: Course, sample: Sample, progress: Float[Array, ""], settings: Settings
) -> tuple[Attention, Course, Sample]:
    """State, course and sample to go on with after the part `progress` of the fit: pure, so that it can be vmapped."""
    looks = progress >= jnp.minimum(state.look, 1)  # at the end, always
    state = jax.lax.cond(looks, partial(doubt, care), lambda state, *_: state, state, course, progress, settings)
    trust = state.trust().ravel()
    sample = sample._replace(weight=care.weight * trust)
    state, course = tended(care, state, course, (sample, trust), progress, settings)
    return state, course, sample


def tended(
    care: Care,
    state: Attention,
    course: Course,
    seen: tuple[Sample, Float[Array, " ray"]],
    progress: Float[Array, ""],
    settings: Settings,
) -> tuple[Attention, Course]:
    """State and course after no component is too thin and, when it is time to, idle ones have moved.

    `seen` are rays and how much each is believed.
    """
    parameters, average = (
        with_edges(now, thickened(edges_of(now), care.thinnest)) for now in (course.parameters, course.average)
    )
    course = course._replace(parameters=parameters, average=average)
    passed = jnp.sum(jnp.linspace(FIRST_RELOCATION, LAST_RELOCATION, RELOCATIONS) <= progress, dtype=jnp.int32)
    moves = (passed > state.relocations) & (progress < 1)  # what moves at the very end would never learn its place
    key, use = jax.random.split(jax.random.wrap_key_data(state.key))
    course = jax.lax.cond(moves, partial(relocated, care), lambda course, *_: course, course, *seen, use, settings)
    return state._replace(relocations=passed, key=jax.random.key_data(key)), course


def doubt(care: Care, state: Attention, course: Course, progress: Float[Array, ""], settings: Settings) -> Attention:
    """The state after a look along all rays: which pixels and, later, which views are believed."""
    trusted, error, _ = sighted(care, mixture_of(course.average), settings)
    error = error.astype(state.error.dtype)
    late = progress >= FIRST_VIEW_DOUBT  # two looks in a row, since a component may just have moved
    weight = jnp.where(late, view_weight(jnp.minimum(state.error, error)), state.view_weight)
    look = (progress + (1 - FIRST_DOUBT) / LOOKS).astype(state.look.dtype)
    error = jnp.where(late, error, state.error)
    return state._replace(believed=trusted, view_weight=weight.astype(error.dtype), error=error, look=look)


def sighted(
    care: Care, mixture: Mixture, settings: Settings
) -> tuple[Bool[Array, "view height width"], Float[Array, " view"], Float[Array, "view height width"]]:
    """Which pixels are believed beside what the views see of the mixture, how far outlines are off, and alpha."""
    size = care.silhouette.shape[1:]
    alpha = render_views(mixture, care.cameras, size, outputs=("alpha",), settings=settings).alpha
    alpha = jnp.where(care.valid, alpha, 0)
    trusted = care.valid & believed(alpha, care.silhouette)
    return trusted, outline_error(alpha, care.silhouette, trusted, care.length), alpha


def relocated(
    care: Care, course: Course, sample: Sample, trust: Float[Array, " ray"], key: Array, settings: Settings
) -> Course:
    """The course after idle components moved, by what they are worth on WORTH_RAYS random rays."""
    index = jax.random.choice(key, care.weight.shape[0], (WORTH_RAYS,), p=care.weight / care.weight.sum())
    part = jax.tree.map(lambda x: x[index], sample.pixels)
    worth = component_worth(course.parameters, part, trust[index], settings)
    edges, changed = relocate(edges_of(course.parameters), worth, math.ceil(RELOCATED * worth.value.shape[0]))

    def forget(moment: Array) -> Array:
        return jnp.where(changed.reshape(-1, *(1,) * (moment.ndim - 1)), 0, moment)

    mean, square = (
        with_edges(moment, jax.tree.map(forget, edges_of(moment))) for moment in (course.mean, course.square)
    )
    moved = with_edges(course.parameters, edges)
    return Course(moved, mean, square, moved, course.step)


GAIN = 0.6  # a component moves if what it is worth is less than this part of the error of the one it halves
HALF_WIDTH, HALF_OFFSET = 0.6, 0.5  # of a half: its longest axis and how far from the middle, in units of the whole's
LEAST_DENSITY = 1e-4  # of a ray without a component; less is rounding, which under a silhouette would cost too much
PATCH, SHARE = 5, 0.6  # pixels: side of the square of which that share must be doubtful
INSIDE, PERHAPS_INSIDE = 0.5, 0.1  # alpha from which a pixel of the background is doubtful, alone and beside a patch


class Worth(NamedTuple):
    """What each component is worth (the loss without it, less that with it) and its share of the loss."""

    value: Float[ANY_ARRAY, " mixture"]
    error: Float[ANY_ARRAY, " mixture"]


@ready()
def component_worth(
    parameters: Parameters, pixels: Pixels, weight: Float[Array, " ray"], settings: Settings = Settings()
) -> Worth:
    """Worth of the components on some rays, the loss of a ray shared out in proportion to their density there.

    One that has copies is worth what they are together.
    """
    mixture, count = mixture_of(parameters), weight.shape[0]
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
    worth = jax.lax.scan(add, Worth(nothing, nothing), (rays, silhouette, weight))[0]
    return jax.tree.map(lambda x: x.reshape(-1, len(edges_of(parameters).mean)).sum(0), worth)


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


def relocate(edges: Edges, worth: Worth, count: int) -> tuple[Edges, Bool[Array, " mixture"]]:
    """At most `count` components of least worth become halves of those with most error; and which have changed.

    The ellipsoid in error is cut across its longest axis: both halves are 0.6 times as long and stand half a semi-axis
    from its middle.
    """
    mean, lower, log_sharpness = edges
    worth = jax.tree.map(jnp.asarray, worth)
    pairs = jnp.argsort(worth.value)[:count], jnp.argsort(-worth.error)[:count]

    def take(changed: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        cheap, dear = pair
        gains = worth.value[cheap] < GAIN * worth.error[dear]
        moves = gains & (cheap != dear) & ~changed[cheap] & ~changed[dear]
        return changed.at[cheap].max(moves).at[dear].max(moves), moves

    changed, moves = jax.lax.scan(take, jnp.zeros(len(mean), bool), pairs)
    offset, half = halved(lower)
    cheap, dear = (jnp.where(moves, index, len(mean)) for index in pairs)  # what does not move is dropped
    source = pairs[1]
    mean = mean.at[cheap].set(mean[source] + offset[source], mode="drop")
    mean = mean.at[dear].set(edges.mean[source] - offset[source], mode="drop")
    lower = lower.at[cheap].set(half[source], mode="drop").at[dear].set(half[source], mode="drop")
    return Edges(mean, lower, log_sharpness.at[cheap].set(log_sharpness[source], mode="drop")), changed


def halved(
    lower: Float[Array, "mixture 3 3"],
) -> tuple[Float[Array, "mixture 3"], Float[Array, "mixture 3 3"]]:
    """Where the halves of each ellipsoid stand, from its middle, and their factor.

    With L = U S V^T the halves' precision is U S'^2 U^T, S' with its least entry divided by HALF_WIDTH.
    """
    axes, inverse, _ = jnp.linalg.svd(lower)
    offset = HALF_OFFSET / inverse[:, -1:] * axes[:, :, -1]
    return offset, triangular(axes * inverse.at[:, -1].divide(HALF_WIDTH)[:, None])


def believed(
    alpha: Float[ANY_ARRAY, "view height width"], silhouette: Float[ANY_ARRAY, "view height width"]
) -> Bool[Array, "view height width"]:
    """False for background pixels in patches that the other views, through the fit, say are inside the object.

    Segmentation loses whole parts of an object; a fit that 32 views agree on does not follow one of them. Single pixels
    and thin lines stay: there the fit may be what is wrong.
    """
    background = ~foreground(silhouette)
    doubtful = jnp.asarray(background & (alpha > INSIDE), jnp.float32)
    core = _window(doubtful, PATCH, jax.lax.add) >= SHARE * PATCH**2 - 1e-3
    near_core = _window(core.astype(jnp.float32), PATCH + 2, jax.lax.max) > 0
    return ~(near_core & background & (alpha > PERHAPS_INSIDE))


def _window(image: Array, side: int, combine: Callable) -> Array:
    """Sum or largest value in the square of `side` pixels about each pixel; 0 outside."""
    return jax.lax.reduce_window(image, jnp.zeros((), image.dtype), combine, (1, side, side), (1, 1, 1), "SAME")


FEWEST_VIEWS = 5  # of fewer nobody can say which one is wrong
FAR = 5.0  # robust standard deviations above the median up to which a view is believed
LEAST_FACTOR, LEAST_PIXELS = 1.5, 0.3  # and at least so many times the median and so much more: some views are harder
STEEPNESS = 4  # power at which the weight falls beyond: at twice the bound it is 1/16


def outline_length(
    silhouette: Float[np.ndarray, "view height width"], valid: Bool[np.ndarray, "view height width"]
) -> Float[np.ndarray, " view"]:
    """Length of the outlines of each view in pixels, roughly; at least 1."""
    return np.maximum((outline_band(silhouette, valid) & valid).sum((1, 2)) / (2 * BAND), 1.0)


def outline_error(
    alpha: Float[ANY_ARRAY, "view height width"],
    silhouette: Float[ANY_ARRAY, "view height width"],
    believed: Bool[ANY_ARRAY, "view height width"],
    length: Float[ANY_ARRAY, " view"],
) -> Float[ANY_ARRAY, " view"]:
    """How far the outlines of each view are off in the mean, in pixels: wrong pixels per length of outline."""
    wrong = (foreground(alpha) != foreground(silhouette)) & believed
    return wrong.sum((1, 2)) / length


def view_weight(error: Float[ANY_ARRAY, " view"]) -> Float[ANY_ARRAY, " view"]:
    """1 for views whose error is like the others', less for those far beyond: what outvotes them does not average out.

    The bound is FAR robust standard deviations above the median, but not near it. No view of fewer than FEWEST_VIEWS
    loses weight.
    """
    if len(error) < FEWEST_VIEWS:
        return jnp.ones(len(error))
    middle = jnp.median(error)
    spread = MEDIAN_TO_DEVIATION * jnp.median(jnp.abs(error - middle))
    return weight_beyond(error, farthest(middle, spread))


def farthest(middle: Float[ANY_ARRAY, ""], spread: Float[ANY_ARRAY, ""]) -> Float[Array, ""]:
    """The error up to which a view is believed, from the median of all errors and their robust standard deviation."""
    return jnp.maximum(middle + FAR * spread, LEAST_FACTOR * middle + LEAST_PIXELS)


def weight_beyond(error: Float[ANY_ARRAY, " view"], bound: Float[ANY_ARRAY, ""]) -> Float[Array, " view"]:
    """1 for errors up to the bound, less beyond."""
    return jnp.minimum(1.0, bound / jnp.maximum(error, bound)) ** STEEPNESS
