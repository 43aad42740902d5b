"""Components moved by what the image shows where they lie, as vertices of Pixel2Mesh (Wang et al. 2018).

The camera, known or supposed, projects each component and its mirror image into the network's maps; what these show
there says how far the component moves across and along the camera's axes, and how else it changes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fm_render import Cameras
from fmb.fields.networks import Layer
from fmb.single_view.blobs import MEAN, NUMBERS, REACH_OF
from fmb.single_view.layout import Layout

CODE = 13  # numbers of a camera: its turn, where it sees the middle, the log of a radius there, and its nearness
NEAREST = 0.1  # radii; of a point before the camera, so that a supposed camera inside the object does no harm
SAME, FLIP = (1.0, 1.0, 1.0), (-1.0, 1.0, 1.0)  # of the coordinates of a component, and of its mirror image
SEEN_MAPS = 3  # of the network's four: the last is so small that it says the same of all


class Alignment(NamedTuple):
    """One move of all components."""

    own: Float[Array, "component hidden"]  # what is added for each component
    whole: Layer  # from the features of the whole image
    seen: Layer  # from what the maps show, where that is, and the component's numbers
    inner: Layer
    change: Layer  # shifts along the camera's axes by the component and by its mirror image, then the other numbers


class Widths(NamedTuple):
    """Sides of the matrices of an alignment."""

    seen: int
    change: int


def widths_of(layout: Layout) -> Widths:
    """What one component sees and what is said of it."""
    sides = 2 if layout.mirrored else 1
    return Widths(sides * (sum(layout.channels[:SEEN_MAPS]) + 3) + NUMBERS + CODE, 3 * sides + NUMBERS - 3)


def camera_code(cameras: Cameras, size: int) -> Float[Array, "image 13"]:
    """A camera as the network reads it: turn, place of the middle, all in half sides of the square, and nearness."""
    turn, half = cameras.world_from_camera[:, :3, :3], size / 2.0
    middle = -jnp.einsum("bij,bi->bj", turn, cameras.world_from_camera[:, :3, 3], precision="highest")
    depth = jnp.maximum(middle[:, 2:], NEAREST)
    pixel = jnp.einsum("bij,bj->bi", cameras.intrinsics, middle / depth, precision="highest")[:, :2]
    focal = jnp.sqrt(cameras.intrinsics[:, :1, 0] * cameras.intrinsics[:, 1:2, 1])
    return jnp.concatenate(
        [turn.reshape(-1, 9), pixel / half - 1.0, jnp.log(focal / (half * depth)), 1.0 / depth], axis=1
    )


def sampled(image: Float[Array, "image height width channel"], place: Float[Array, "image point 2"]) -> Array:
    """The maps at places from 0 to 1 across and down, linear between the middles of pixels, as at the border beyond.

    A product of matrices, which compiles in a third of the time that gathering four corners takes.
    """
    height, width, channels = image.shape[1:]

    def shares(at: Array, count: int) -> Array:
        at = jnp.clip(at * count - 0.5, 0.0, count - 1.0)
        return jax.nn.relu(1.0 - jnp.abs(at[..., None] - jnp.arange(count, dtype=at.dtype)[None, None]))

    weight = shares(place[..., 1], height)[..., :, None] * shares(place[..., 0], width)[..., None, :]
    rows = image.reshape(len(image), height * width, channels)
    return jnp.matmul(weight.reshape(*place.shape[:2], height * width), rows)


def aligned(
    part: Alignment,
    numbers: Float[Array, "image component number"],
    features: Float[Array, "image feature"],
    maps: tuple[Array, ...],
    cameras: Cameras,
    layout: Layout,
) -> Float[Array, "image component number"]:
    """The numbers of all components after one move."""
    turn = cameras.world_from_camera[:, :3, :3]
    sides = jnp.asarray((SAME, FLIP)[: 2 if layout.mirrored else 1], numbers.dtype)
    count, own = len(sides), jnp.broadcast_to(camera_code(cameras, layout.size)[:, None], (*numbers.shape[:2], CODE))
    points = numbers[:, None, :, MEAN] * sides[None, :, None]
    rows = [numbers, own, *seen_at(points.reshape(len(points), -1, 3), maps, cameras, layout)]
    hidden = jnp.dot(jnp.concatenate(rows, axis=-1), part.seen.weight) + (part.own + part.seen.bias[None])[None]
    hidden = jax.nn.relu(hidden + (jnp.dot(features, part.whole.weight) + part.whole.bias[None])[:, None])
    hidden = jax.nn.relu(jnp.dot(hidden, part.inner.weight) + part.inner.bias[None, None])
    change = jnp.dot(hidden, part.change.weight) + part.change.bias[None, None]
    shift = change[..., : 3 * count].reshape(*change.shape[:2], count, 3)
    shift = jnp.einsum("bij,bmsj,si->bmi", turn, shift, sides, precision="highest")
    change = jnp.concatenate([shift, change[..., 3 * count :]], axis=-1)
    return numbers + jnp.asarray(REACH_OF, numbers.dtype)[None, None] * change


def seen_at(
    points: Float[Array, "image point 3"], maps: tuple[Array, ...], cameras: Cameras, layout: Layout
) -> list[Float[Array, "image component number"]]:
    """Where the points lie before the camera, and what the maps show there, those of one component side by side."""
    turn, position = cameras.world_from_camera[:, :3, :3], cameras.world_from_camera[:, None, :3, 3]
    before = jnp.einsum("bij,bpi->bpj", turn, points - position, precision="highest")
    depth = jnp.maximum(before[..., 2:], NEAREST)
    pixel = jnp.einsum("bij,bpj->bpi", cameras.intrinsics, before / depth, precision="highest")[..., :2]
    place = jax.lax.stop_gradient(pixel / layout.size)
    middle = -jnp.einsum("bij,bpi->bpj", turn, position, precision="highest")[..., 2:]
    found = jnp.concatenate(
        [2.0 * place - 1.0, depth - middle, *(sampled(image, place) for image in maps[:SEEN_MAPS])], axis=-1
    )
    return [found[:, start : start + layout.components] for start in range(0, points.shape[1], layout.components)]
