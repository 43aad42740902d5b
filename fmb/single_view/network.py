"""The encoder: one image -> weights of learnt mean shapes, a deformation of every component, and cameras.

A residual network (He et al. 2016) of four stages that each halve the image; after MCMR (Simoni et al. 2021) a shape is
the mean shapes, weighted, and a deformation. What a component is made of is in `numbers`, see fmb/single_view/blobs.py.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fm_render import Cameras
from fmb.fields.networks import Layer
from fmb.single_view.alignment import CODE, Alignment, aligned, camera_code, widths_of
from fmb.single_view.blobs import NUMBERS, REACH_OF, start_children, start_numbers
from fmb.single_view.layout import SHRINKING, Layout

CHANNELS = 4  # red, green, blue, each 0 where the silhouette is, and the silhouette
HIDDEN = 128  # of the two heads
ALIGN_HIDDEN = 96  # of each alignment
PLACE = 3  # where the middle of the object lies in the square, in half sides, and the log of a radius in half sides
SHORTEST = 1e-6  # length of a predicted quaternion, below which it means nothing
LEAST = 0.1  # factor of the first weights of what is predicted: a training starts near the mean shapes


class Convolution(NamedTuple):
    """A 3 x 3 convolution."""

    weight: Float[Array, "3 3 input output"]
    bias: Float[Array, " output"]


class Stage(NamedTuple):
    """Half the size by `shrink`, then a residual block of the other two."""

    shrink: Convolution
    first: Convolution
    second: Convolution


class Encoder(NamedTuple):
    """What is trained; `children` says how components are cut in two, [0, component, ...] where they are not."""

    stages: tuple[Stage, ...]
    features: Layer
    assign: Layer
    deform: tuple[Layer, Layer]
    camera: tuple[Layer, Layer]
    means: Float[Array, "mean component number"]
    children: Float[Array, "child component how"]
    known: tuple[Layer, ...]  # what a camera adds to the hidden layer of `deform`; none without alignments
    align: tuple[Alignment, ...]


class Output(NamedTuple):
    """What the network says of each image, as it comes; quaternions turn the world into the camera."""

    assignment: Float[Array, "image mean"]  # weights of the mean shapes, their sum 1
    quaternion: Float[Array, "image hypothesis 4"]  # wxyz, of length 1
    score: Float[Array, "image hypothesis"]  # log probabilities, up to a constant
    place: Float[Array, "image place"]
    features: Float[Array, "image feature"]
    maps: tuple[Float[Array, "image height width channel"], ...]  # of the stages


class Shape(NamedTuple):
    """The numbers of all components, and the deformation within them, as it comes, for the loss."""

    numbers: Float[Array, "image component number"]
    deformation: Float[Array, "image component number"]


def start_encoder(shape: Layout, generator: np.random.Generator) -> Encoder:
    """Random weights (He et al. 2015); residual blocks and alignments do nothing yet, mean shapes are balls."""
    dtype, layer = jnp.result_type(float), partial(start_layer, generator)

    def convolution(inputs: int, outputs: int, factor: float = 1.0) -> Convolution:
        weight = factor * generator.normal(0.0, math.sqrt(2.0 / (9 * inputs)), (3, 3, inputs, outputs))
        return Convolution(jnp.asarray(weight, dtype), jnp.zeros(outputs, dtype))

    stages, inputs = [], CHANNELS
    for width in shape.channels:
        stages.append(Stage(convolution(inputs, width), convolution(width, width), convolution(width, width, 0.0)))
        inputs = width
    side, features = shape.size // SHRINKING, shape.features
    numbers, cameras = shape.components * NUMBERS, 5 * shape.hypotheses + PLACE
    camera = (layer(features, HIDDEN), layer(HIDDEN, cameras, LEAST))
    apart = generator.normal(size=4 * shape.hypotheses)  # hypotheses that began alike would stay so
    return Encoder(
        tuple(stages),
        layer(side * side * inputs, features),
        layer(features, shape.means, LEAST),
        (layer(features, HIDDEN), layer(HIDDEN, numbers, LEAST)),
        (camera[0], Layer(camera[1].weight, camera[1].bias.at[: len(apart)].set(apart))),
        jnp.asarray(start_numbers(shape, generator), dtype),
        jnp.asarray(start_children(shape, generator), dtype),
        align=tuple(start_alignment(shape, generator) for _ in range(shape.alignments)),
        known=(layer(CODE, HIDDEN, 0.0),) if shape.alignments else (),
    )


def start_layer(generator: np.random.Generator, inputs: int, outputs: int, factor: float = 1.0) -> Layer:
    """A random layer, its weights times `factor`."""
    dtype = jnp.result_type(float)
    weight = factor * generator.normal(0.0, math.sqrt(2.0 / inputs), (inputs, outputs))
    return Layer(jnp.asarray(weight, dtype), jnp.zeros(outputs, dtype))


def start_alignment(shape: Layout, generator: np.random.Generator) -> Alignment:
    """An alignment that does nothing yet."""
    widths, layer = widths_of(shape), partial(start_layer, generator)
    return Alignment(
        jnp.asarray(generator.normal(size=(shape.components, ALIGN_HIDDEN)), jnp.result_type(float)),
        layer(shape.features, ALIGN_HIDDEN, 0.5),
        layer(widths.seen, ALIGN_HIDDEN),
        layer(ALIGN_HIDDEN, ALIGN_HIDDEN),
        layer(ALIGN_HIDDEN, widths.change, 0.0),
    )


def grown(encoder: Encoder, shape: Layout, generator: np.random.Generator) -> Encoder:
    """The encoder with as many alignments as `shape` has, at least its own; new ones change nothing yet."""
    fresh = start_encoder(shape, generator)
    return encoder._replace(known=encoder.known or fresh.known, align=encoder.align + fresh.align[len(encoder.align) :])


def convolved(x: Array, part: Convolution, stride: int = 1) -> Array:
    """The convolution of images [image, height, width, channel], padded by a zero on each side."""
    layout = ("NHWC", "HWIO", "NHWC")
    found = jax.lax.conv_general_dilated(x, part.weight, (stride, stride), [(1, 1), (1, 1)], dimension_numbers=layout)
    return found + part.bias[None, None, None]


def linear(x: Array, layer: Layer) -> Array:
    """The linear map of rows."""
    return jnp.dot(x, layer.weight) + layer.bias[None]


def encode(encoder: Encoder, images: Float[Array, "image size size channel"]) -> Output:
    """What the network says of images."""
    rows, maps = images, []
    for stage in encoder.stages:
        rows = jax.nn.relu(convolved(rows, stage.shrink, 2))
        inner = jax.nn.relu(convolved(rows, stage.first))
        rows = jax.nn.relu(rows + convolved(inner, stage.second))
        maps.append(rows)
    features = jax.nn.relu(linear(rows.reshape(len(rows), -1), encoder.features))
    camera = linear(jax.nn.relu(linear(features, encoder.camera[0])), encoder.camera[1])
    hypotheses = (camera.shape[1] - PLACE) // 5
    quaternion = camera[:, : 4 * hypotheses].reshape(-1, hypotheses, 4)
    length = jnp.sqrt(jnp.sum(quaternion * quaternion, axis=-1, keepdims=True) + SHORTEST**2)
    return Output(
        jax.nn.softmax(linear(features, encoder.assign)),
        quaternion / length,
        camera[:, 4 * hypotheses : 5 * hypotheses],
        camera[:, 5 * hypotheses :],
        features,
        tuple(maps),
    )


def shape_of(encoder: Encoder, layout: Layout, output: Output, cameras: Cameras) -> Shape:
    """The shapes in the images, seen from these cameras, one each: mean shapes, deformed, then aligned.

    An encoder without alignments does not read the cameras.
    """
    hidden = linear(output.features, encoder.deform[0])
    for layer in encoder.known:
        hidden += linear(camera_code(cameras, layout.size), layer)
    deformation = linear(jax.nn.relu(hidden), encoder.deform[1]).reshape(len(hidden), *encoder.means.shape[1:])
    mean = jnp.einsum("bk,kmn->bmn", output.assignment, encoder.means, precision="highest")
    numbers = mean + jnp.asarray(REACH_OF, mean.dtype)[None, None] * deformation
    for part in encoder.align:
        numbers = aligned(part, numbers, output.features, output.maps, cameras, layout)
    return Shape(numbers, deformation)


def inputs_of(color: Array, silhouette: Array) -> Float[Array, "image size size channel"]:
    """What the network sees: colours from 0 to 1 where the object is, and where it is; both about 0 on average."""
    shown = silhouette[..., None].astype(color.dtype)
    return jnp.concatenate([color * shown, shown], axis=-1) - 0.25


def parameter_count(tree: object) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
