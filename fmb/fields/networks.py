"""Networks as fields: f(parameters, points), negative inside, a sphere before the first step.

Parameters are a tuple of layers and nothing else, so that they can be saved as plain arrays; where the input enters a
second time (the skip), a layer is wider than what the layer before it gives.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from fmb.fields.field import Field

SHARPNESS = 100.0  # of the softplus, as published: its bend is a hundredth of the box wide
FREQUENCY = 30.0  # of the sines (Sitzmann et al. 2020)
RADIUS = 0.5  # of the sphere before the first step, in longest sides of the cloud's box
LEAST = 0.01  # factor of the last layer where the sphere is added
ROUND = 0.1  # radius within which the added sphere has no kink
ADDED = ("sine", "elu")  # activations of which weights alone make no sphere
INPUTS = 3  # coordinates of a point
LEAST_DEVIATION = 1e-4  # of the last layer's weights, which are nearly equal (Atzmon & Lipman 2020)


class Layer(NamedTuple):
    """A linear map of rows."""

    weight: Float[Array, "input output"]
    bias: Float[Array, " output"]


Network = tuple[Layer, ...]


class Shape(NamedTuple):
    """Hidden layers, all `width` wide; before hidden layer number `skip` the input enters again (0: nowhere)."""

    width: int
    depth: int
    skip: int
    activation: str


def softplus(x: Array) -> Array:
    """A ramp with a round corner: log(1 + exp(SHARPNESS x)) / SHARPNESS."""
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(SHARPNESS * x))) / SHARPNESS


@jax.custom_jvp
def fast_sine(x: Array) -> Array:
    """sin x, as exactly as single precision holds x itself, by Taylor's series within a half turn.

    With its derivatives it takes an eighth of the time of jnp.sin, whose code for large angles runs on one number at a
    time on a CPU; a step of a fit needs six of them for each neuron.
    """
    turns = jnp.round(x / math.pi)
    rest = x - turns * math.pi
    square = rest * rest
    series = 1.0
    for factor in (110.0, 72.0, 42.0, 20.0, 6.0):
        series = 1.0 - square / factor * series
    return rest * series * (1.0 - 2.0 * (turns - 2.0 * jnp.floor(turns / 2.0)))


@fast_sine.defjvp
def _(points: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return fast_sine(points[0]), tangents[0] * fast_sine(points[0] + math.pi / 2.0)


def sine(x: Array) -> Array:
    """sin(FREQUENCY x)."""
    return fast_sine(FREQUENCY * x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "softplus": softplus,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "sine": sine,
}


def sphere(points: Float[Array, "point 3"]) -> Float[Array, " point"]:
    """|x| - RADIUS, round at the middle."""
    return jnp.sqrt(jnp.sum(points * points, axis=1) + ROUND**2) - RADIUS


@cache
def network(activation: str) -> Callable[[Network, Array], Array]:
    """f(parameters, points) with that activation; the same function each time, so that it is compiled once."""
    bend = ACTIVATIONS[activation]

    def evaluate(layers: Network, points: Array) -> Array:
        rows = points
        for number, layer in enumerate(layers):
            if number and len(layer.weight) > rows.shape[1]:
                rows = jnp.concatenate([rows, points], axis=1) / math.sqrt(2.0)
            rows = jnp.dot(rows, layer.weight) + layer.bias[None]
            rows = bend(rows) if number + 1 < len(layers) else rows
        return rows[:, 0] + sphere(points) if activation in ADDED else rows[:, 0]

    return evaluate


def network_field(layers: Network, activation: str) -> Field:
    """The field of a network."""
    return Partial(network(activation), layers)


def start_network(shape: Shape, generator: np.random.Generator) -> Network:
    """A network whose field is about |x| - RADIUS: it is so by its weights or, see ADDED, by the sphere alone."""
    layers = _sines(shape, generator) if shape.activation == "sine" else _ramps(shape, generator)
    if shape.activation in ADDED:
        layers[-1] = LEAST * layers[-1][0], 0.0 * layers[-1][1]
    dtype = jnp.result_type(float)
    return tuple(Layer(*(jnp.asarray(array, dtype) for array in pair)) for pair in layers)


def _sizes(shape: Shape) -> list[tuple[int, int]]:
    """Inputs and outputs of every layer; what comes before the skip leaves room for the input."""
    hidden = [shape.width] * shape.depth
    inputs, outputs = [INPUTS, *hidden], [*hidden, 1]
    if 0 < shape.skip < shape.depth:
        outputs[shape.skip - 1] -= INPUTS
    return list(zip(inputs, outputs, strict=True))


def _ramps(shape: Shape, generator: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the geometric initialisation (Atzmon & Lipman 2020)."""
    layers = []
    for inputs, outputs in _sizes(shape):
        layers.append((generator.normal(0.0, math.sqrt(2.0 / outputs), (inputs, outputs)), np.zeros(outputs)))
    inputs = len(layers[-1][0])
    weight = generator.normal(math.sqrt(math.pi / inputs), LEAST_DEVIATION, (inputs, 1))
    return [*layers[:-1], (weight, np.full(1, -RADIUS))]


def _sines(shape: Shape, generator: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases as those of Sitzmann et al. (2020)."""
    layers = []
    for number, (inputs, outputs) in enumerate(_sizes(shape)):
        reach = 1.0 / inputs if number == 0 else math.sqrt(6.0 / inputs) / FREQUENCY
        weight = generator.uniform(-reach, reach, (inputs, outputs))
        layers.append((weight, generator.uniform(-1.0, 1.0, outputs) / math.sqrt(inputs)))
    return layers
