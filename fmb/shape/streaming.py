"""Views that stay on disk: which of them, and which of their rays, each chunk of steps looks at.

The views pass in groups, in another order each time. A chunk of steps draws its rays from one group as a fit in memory
draws them from all views: those near an outline in every epoch, of the others a part. While a chunk runs, the group
after it is read. What is held is two groups and the rays of two chunks, however many views there are.

Groups and rays follow from seeds and the number of the chunk alone, so that a fit goes on anywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from fm_render import Cameras, Rays
from fmb.fit.checkpoints import digest_of
from fmb.geometry.cameras import chosen_rays, finest_pixel
from fmb.geometry.views import Pixels, Views
from fmb.shape.attendant import THINNEST, Care, outline_length
from fmb.shape.recipe import Recipe, enlarged
from fmb.shape.sampling import FAR_EPOCHS, Sampling, sample_objects
from fmb.shape.supervision import Sample, Supervision, spread_points

GROUP_PIXELS = 2**22  # of a group of views
LEAST_VIEWS = 8  # of a group, where it has more pixels


class Census(NamedTuple):
    """Of each view: rays that come in every epoch, other rays, length of its outlines in pixels, and a digest."""

    near: Int[np.ndarray, " view"]
    far: Int[np.ndarray, " view"]
    length: Float[np.ndarray, " view"]
    digest: UInt8[np.ndarray, "view 32"]


class ViewStream(NamedTuple):
    """Views of one size, in the canonical frame, that are read when they are looked at."""

    cameras: Cameras
    size: tuple[int, int]
    census: Census
    read: Callable[[np.ndarray], Views]  # the views of those numbers

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.census.near)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, height, width."""
        return (self.count, *self.size)

    @property
    def epoch(self) -> int:
        """Number of rays in an epoch."""
        return int(self.census.near.sum()) + -(-int(self.census.far.sum()) // FAR_EPOCHS)

    @property
    def each(self) -> int:
        """Number of views in a group."""
        return min(self.count, max(LEAST_VIEWS, GROUP_PIXELS // (self.size[0] * self.size[1])))


def in_memory(views: Views, choose: Callable[..., Sampling]) -> ViewStream:
    """The stream of views that are in memory, for rays chosen so."""

    def read(index: np.ndarray) -> Views:
        return Views(*(None if field is None else _chosen(field, index) for field in views._replace(color=None)))

    return ViewStream(views.cameras, views.silhouette.shape[1:], census_of(views, choose), read)


def _chosen(field: np.ndarray | Cameras, index: np.ndarray) -> np.ndarray | Cameras:
    if isinstance(field, Cameras):
        return Cameras(*(np.asarray(part)[index] for part in field))
    return np.asarray(field)[index]


def census_of(views: Views, choose: Callable[..., Sampling]) -> Census:
    """The census of the views, whose rays are chosen so."""
    sampling, pixels = choose(views.silhouette, views.valid, 0), int(np.prod(views.silhouette.shape[1:]))
    near, far = (np.bincount(part // pixels, minlength=len(views.silhouette)) for part in (sampling.near, sampling.far))
    valid = np.ones(views.silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
    length = outline_length(np.asarray(views.silhouette), valid)
    told = [views.silhouette, valid, *([] if views.depth is None else [views.depth])]
    digests = [digest_of(view) for view in zip(*told, strict=True)]
    return Census(near, far, length, np.stack([np.frombuffer(digest, np.uint8) for digest in digests]))


def choice_of(recipe: Recipe, depth_weight: float) -> Callable[..., Sampling]:
    """How the rays of a fit are chosen: where depths count, those on the object come in every epoch, too."""
    return sample_objects if depth_weight and recipe.attends else recipe.choose_rays


class Glance(NamedTuple):
    """What a chunk of steps looks at: a group of views, and of their rays those that it takes, in this order.

    `care.weight` and the sample's are those of these rays; `place` is where each lies in the group, pixel by pixel.
    """

    index: Int[np.ndarray, " view"]
    care: Care
    sample: Sample
    place: Int[np.ndarray, " ray"]


class Glances(NamedTuple):
    """How chunk after chunk looks at a stream."""

    stream: ViewStream
    choose: Callable[..., Sampling]
    aims: Supervision
    rows: tuple[int, int]  # steps of a chunk, rays of a step
    seed: int
    point: Float[np.ndarray, "point 3"] | None = None

    def group(self, number: int) -> Int[np.ndarray, " view"]:
        """The views that the chunk of that number looks at: all once, in another order each time."""
        each = self.stream.each
        turns, place = divmod(number, self.stream.count // each)  # what is left when no full group remains is left out
        order = np.random.default_rng([self.seed, 0, turns]).permutation(self.stream.count)
        return order[place * each : (place + 1) * each]

    def glance(self, number: int) -> Glance:
        """What the chunk of that number looks at.  Raises ValueError for a batch larger than its group has rays."""
        index, generator = self.group(number), np.random.default_rng([self.seed, 1, number])
        views, (steps, batch) = self.stream.read(index), self.rows
        sampling = self.choose(views.silhouette, views.valid, batch)
        batches = sampling.batches(batch, generator)
        place = np.concatenate([next(batches) for _ in range(steps)])
        weight = sampling.weight()[place]
        care = care_of(self.stream, index, views, self.aims.scale)._replace(weight=jnp.asarray(weight))
        beside = self.beside(len(place), generator)
        return Glance(index, care, Sample(pixels_at(views, place, self.aims), care.weight, beside), place)

    def beside(self, count: int, generator: np.random.Generator) -> Float[Array, "ray 3"] | None:
        """A point of the surface beside each of so many rays, in the frame of the fit, where points count."""
        if not self.aims.point_weight:
            return None
        return jnp.asarray(self.aims.scale * spread_points(self.point, count, generator), jnp.float32)


def care_of(stream: ViewStream, index: Int[np.ndarray, " view"], views: Views, scale: float) -> Care:
    """What some views, those of `index`, are looked after with; every valid pixel weighs 1."""
    silhouette = np.asarray(views.silhouette, np.float32)
    valid = np.ones(silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
    thinnest = THINNEST * finest_pixel(enlarged(stream.cameras, scale))
    given = silhouette, valid, valid.ravel().astype(np.float32), stream.census.length[index].astype(np.float32)
    return Care(*map(jnp.asarray, given), enlarged(views.cameras, scale), thinnest)


def pixels_at(views: Views, place: Int[np.ndarray, " ray"], aims: Supervision) -> Pixels:
    """The pixels of the views at those places, in the frame of the fit: rows of what `all_pixels` gives."""
    view, row, column = np.unravel_index(place, views.silhouette.shape)
    rays = chosen_rays(views.cameras, *(part.astype(np.int32) for part in (view, row, column)))
    origin, direction = (jnp.asarray(field, jnp.float32) for field in rays)
    silhouette = jnp.asarray(np.asarray(views.silhouette)[view, row, column], jnp.float32)
    depth = None
    if aims.depth_weight:
        depth = aims.scale * jnp.asarray(np.asarray(views.depth)[view, row, column], jnp.float32)
    return Pixels(Rays(aims.scale * origin, direction), silhouette, depth)
