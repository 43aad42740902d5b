"""What the encoder makes of one image: components, and cameras in the order of how well they explain the silhouette.

The image and its mirror image are both looked at. An object with the mirror x = 0 looks from the mirrored camera like
the mirror image, so both tell of one shape, whose numbers are averaged, and of twice as many cameras.
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
from fmb.single_view.cameras import CameraLabels, cameras_of, mirrored_labels
from fmb.single_view.layout import Layout
from fmb.single_view.network import Encoder, encode, inputs_of, numbers_of

IOU_WEIGHT = 10.0  # of the IoU beside the log probability: what looks alike from two sides differs by hundredths


class Looked(NamedTuple):
    """What the encoder says of images, averaged over both ways round where shapes have a mirror."""

    numbers: Float[np.ndarray, "image component number"]
    assignment: Float[np.ndarray, "image mean"]
    quaternion: Float[np.ndarray, "image hypothesis 4"]
    score: Float[np.ndarray, "image hypothesis"]  # log probabilities, of both ways together
    place: Float[np.ndarray, "image hypothesis 3"]


class Seen(NamedTuple):
    """Images of predictions, [image, view, ...]."""

    alpha: Float[np.ndarray, "image view size size"]
    color: Float[np.ndarray, "image view size size 3"]


@partial(jax.jit, static_argnums=1)
def _network(encoder: Encoder, layout: Layout, images: jax.Array) -> tuple:
    ways = [encode(encoder, images)]
    if layout.mirrored:
        ways.append(encode(encoder, images[:, :, ::-1]))
    numbers = sum(numbers_of(encoder, way) for way in ways) / len(ways)
    return numbers, sum(way.assignment for way in ways) / len(ways), ways


def look_at_images(
    encoder: Encoder,
    layout: Layout,
    color: Float[np.ndarray, "image size size 3"],
    silhouette: Bool[np.ndarray, "image size size"],
) -> Looked:
    """What the encoder says of squares around objects, colours from 0 to 1."""
    images = inputs_of(jnp.asarray(color, jnp.result_type(float)), jnp.asarray(silhouette))
    numbers, assignment, ways = _network(encoder, layout, images)
    found = []
    for number, way in enumerate(ways):
        hypotheses = way.quaternion.shape[1]
        place = np.repeat(np.asarray(way.place, float)[:, None], hypotheses, axis=1)
        labels = CameraLabels(np.asarray(way.quaternion, float).reshape(-1, 4), place.reshape(-1, 3))
        labels = mirrored_labels(labels) if number else labels
        score = np.asarray(jax.nn.log_softmax(way.score), float) - np.log(len(ways))
        found.append((labels.quaternion.reshape(-1, hypotheses, 4), score, labels.place.reshape(-1, hypotheses, 3)))
    quaternion, score, place = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    return Looked(np.asarray(numbers), np.asarray(assignment), quaternion, score, place)


@partial(jax.jit, static_argnums=(1, 4))
def _render(children: jax.Array, mirrored: bool, numbers: jax.Array, cameras: Cameras, size: int) -> tuple:
    def one(now: tuple) -> tuple:
        blobs = blobs_of(now[0], children, mirrored)
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
    return jax.tree.map(np.asarray, blobs_of(jnp.asarray(numbers), encoder.children, layout.mirrored))


def half_of(blobs: Blobs, layout: Layout) -> tuple[Mixture, Symmetry]:
    """The components that are predicted, without mirror images, and the mirror; a fit moves them and keeps it."""
    count = len(blobs.color) // 2 if layout.mirrored else len(blobs.color)
    dtype = blobs.mixture.mean.dtype
    placement = Placement(jnp.eye(3, dtype=dtype), jnp.zeros(3, dtype))
    return jax.tree.map(lambda x: jnp.asarray(x[:count]), blobs.mixture), Symmetry(layout.symmetry, placement)


class Ranked(NamedTuple):
    """Cameras of one image, the best first, and how well the predicted silhouette agrees from each (IoU)."""

    cameras: Cameras
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
    batch = jax.tree.map(lambda field: field[None], cameras)
    seen = render_numbers(encoder, layout, looked.numbers[image][None], batch).alpha[0]
    agreement = view_ious(seen, np.repeat(silhouette[None].astype(float), len(seen), axis=0))
    order = np.argsort(-(looked.score[image] + IOU_WEIGHT * agreement), kind="stable")
    return Ranked(jax.tree.map(lambda field: field[order], cameras), agreement[order], looked.score[image][order])


def given_camera(
    encoder: Encoder, layout: Layout, looked: Looked, cameras: Cameras, silhouette: Bool[np.ndarray, "size size"]
) -> Ranked:
    """The one camera that is known, as if it were predicted."""
    batch = jax.tree.map(lambda field: field[None], cameras)
    seen = render_numbers(encoder, layout, looked.numbers[:1], batch).alpha[0]
    return Ranked(cameras, view_ious(seen, silhouette[None].astype(float)), np.zeros(1))
