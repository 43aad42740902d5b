"""What the encoder makes of one image: components, and cameras in the order of how well they explain the silhouette.

The image and its mirror image are both looked at. An object with the mirror x = 0 looks from the mirrored camera like
the mirror image, so both tell of one shape, whose numbers are averaged, and of twice as many cameras. What the shape is
depends on the camera, so there is one for each that is known or supposed.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fm_render import Cameras, Mixture, Settings, render_views
from fmb.geometry.images import view_ious
from fmb.geometry.symmetry import Placement, Symmetry
from fmb.single_view.blobs import Blobs, blobs_of
from fmb.single_view.cameras import CameraLabels, cameras_of, mirrored_labels, mirrored_where
from fmb.single_view.layout import Layout
from fmb.single_view.network import Encoder, Output, encode, inputs_of, shape_of

IOU_WEIGHT = 10.0  # of the IoU beside the log probability: what looks alike from two sides differs by hundredths
DENSER = 0.2  # added to log weights: what is uncertain counts as object from an opacity of 0.43 on.  Measured on 40
# shapes: IoU 0.860 becomes 0.864, in other views 0.835 becomes 0.840; 0.1 and 0.3 give less, 0.6 as little as 0


class Looked(NamedTuple):
    """What the encoder says of images, of both ways round where shapes have a mirror."""

    ways: tuple[Output, ...]
    assignment: Float[np.ndarray, "image mean"]  # averaged
    quaternion: Float[np.ndarray, "image hypothesis 4"]
    score: Float[np.ndarray, "image hypothesis"]  # log probabilities, of both ways together
    place: Float[np.ndarray, "image hypothesis 3"]


class Seen(NamedTuple):
    """Images of predictions, [image, view, ...]."""

    alpha: Float[np.ndarray, "image view size size"]
    color: Float[np.ndarray, "image view size size 3"]


@partial(jax.jit, static_argnums=1)
def _network(encoder: Encoder, layout: Layout, images: jax.Array) -> tuple[Output, ...]:
    ways = (images, images[:, :, ::-1]) if layout.mirrored else (images,)
    return tuple(encode(encoder, way) for way in ways)


@partial(jax.jit, static_argnums=1)
def _shapes(encoder: Encoder, layout: Layout, ways: tuple[Output, ...], cameras: Cameras) -> jax.Array:
    def of_camera(camera: Cameras) -> jax.Array:
        flips = jnp.ones(len(camera.intrinsics), bool)
        both = (camera, mirrored_where(flips, camera, layout.size))
        found = [shape_of(encoder, layout, way, one).numbers for way, one in zip(ways, both, strict=False)]
        return sum(found) / len(found)

    return jax.vmap(of_camera, in_axes=1, out_axes=1)(cameras)


def shapes_seen_from(
    encoder: Encoder, layout: Layout, looked: Looked, cameras: Cameras
) -> Float[np.ndarray, "image camera component number"]:
    """The numbers of the shapes in the images, for each camera [image, camera, ...] of the squares."""
    dtype = encoder.means.dtype
    return np.asarray(_shapes(encoder, layout, looked.ways, jax.tree.map(lambda x: jnp.asarray(x, dtype), cameras)))


def look_at_images(
    encoder: Encoder,
    layout: Layout,
    color: Float[np.ndarray, "image size size 3"],
    silhouette: Bool[np.ndarray, "image size size"],
) -> Looked:
    """What the encoder says of squares around objects, colours from 0 to 1."""
    images = inputs_of(jnp.asarray(color, jnp.result_type(float)), jnp.asarray(silhouette))
    ways, found = _network(encoder, layout, images), []
    assignment = np.mean([np.asarray(way.assignment) for way in ways], axis=0)
    for number, way in enumerate(ways):
        hypotheses = way.quaternion.shape[1]
        place = np.repeat(np.asarray(way.place, float)[:, None], hypotheses, axis=1)
        labels = CameraLabels(np.asarray(way.quaternion, float).reshape(-1, 4), place.reshape(-1, 3))
        labels = mirrored_labels(labels) if number else labels
        score = np.asarray(jax.nn.log_softmax(way.score), float) - np.log(len(ways))
        found.append((labels.quaternion.reshape(-1, hypotheses, 4), score, labels.place.reshape(-1, hypotheses, 3)))
    quaternion, score, place = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    return Looked(ways, assignment, quaternion, score, place)


@partial(jax.jit, static_argnums=(1, 4))
def _render(children: jax.Array, mirrored: bool, numbers: jax.Array, cameras: Cameras, size: int) -> tuple:
    def one(now: tuple) -> tuple:
        blobs = denser(blobs_of(now[0], children, mirrored))
        seen = render_views(blobs.mixture, now[1], (size, size), 1.0, ("alpha", "color"), Settings(), blobs.color)
        return seen.alpha, seen.color

    return jax.lax.map(one, (numbers, cameras))


def render_numbers(encoder: Encoder, layout: Layout, numbers: np.ndarray, cameras: Cameras) -> Seen:
    """What predictions look like from cameras [image, view, ...] of the encoder's size."""
    dtype = encoder.means.dtype
    cameras = jax.tree.map(lambda field: jnp.asarray(field, dtype), cameras)
    found = _render(encoder.children, layout.mirrored, jnp.asarray(numbers, dtype), cameras, layout.size)
    return Seen(*map(np.asarray, found))


def blobs_from(encoder: Encoder, layout: Layout, numbers: Float[np.ndarray, "component number"]) -> Blobs:
    """The mixture of a prediction with its colours, all components."""
    return jax.tree.map(np.asarray, denser(blobs_of(jnp.asarray(numbers), encoder.children, layout.mirrored)))


def denser(blobs: Blobs) -> Blobs:
    """The components with DENSER added to their log weights.

    A training weighs each pixel alike, so opacities are probabilities; the best IoU takes what is a little less likely.
    """
    return blobs._replace(mixture=blobs.mixture._replace(log_weight=blobs.mixture.log_weight + DENSER))


def half_of(blobs: Blobs, layout: Layout) -> tuple[Mixture, Symmetry]:
    """The components that are predicted, without mirror images, and the mirror; a fit moves them and keeps it."""
    count = len(blobs.color) // 2 if layout.mirrored else len(blobs.color)
    dtype = blobs.mixture.mean.dtype
    placement = Placement(jnp.eye(3, dtype=dtype), jnp.zeros(3, dtype))
    return jax.tree.map(lambda x: jnp.asarray(x[:count]), blobs.mixture), Symmetry(layout.symmetry, placement)


class Ranked(NamedTuple):
    """Cameras of one image, the best first, the shape for each, and how well its silhouette agrees from it (IoU)."""

    cameras: Cameras
    numbers: Float[np.ndarray, "hypothesis component number"]
    iou: Float[np.ndarray, " hypothesis"]
    score: Float[np.ndarray, " hypothesis"]


def rank_cameras(
    encoder: Encoder,
    layout: Layout,
    looked: Looked,
    image: int,
    silhouette: Bool[np.ndarray, "size size"],
    intrinsics: Float[np.ndarray, "3 3"] | None = None,
) -> Ranked:
    """The predicted cameras of an image by log probability and IOU_WEIGHT times the silhouette's IoU, added."""
    cameras = cameras_of(looked.quaternion[image], looked.place[image], layout.size, intrinsics)
    found = given_cameras(encoder, layout, looked, image, cameras, silhouette)
    score = looked.score[image]
    order = np.argsort(-(score + IOU_WEIGHT * found.iou), kind="stable")
    return jax.tree.map(lambda field: field[order], found._replace(score=score))


def given_cameras(
    encoder: Encoder,
    layout: Layout,
    looked: Looked,
    image: int,
    cameras: Cameras,
    silhouette: Bool[np.ndarray, "size size"],
) -> Ranked:
    """Cameras that are known, in their order, as if they were predicted, all equally likely."""
    one = looked._replace(ways=jax.tree.map(lambda field: field[image : image + 1], looked.ways))
    numbers = shapes_seen_from(encoder, layout, one, jax.tree.map(lambda field: field[None], cameras))[0]
    seen = render_numbers(encoder, layout, numbers, jax.tree.map(lambda field: field[:, None], cameras)).alpha[:, 0]
    agreement = view_ious(seen, np.repeat(silhouette[None].astype(float), len(seen), axis=0))
    return Ranked(cameras, numbers, agreement, np.zeros(len(seen)))
