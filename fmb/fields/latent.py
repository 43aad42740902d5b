"""A space of shapes as fields: f(code, points), negative inside, one network for all (Park et al. 2019, DeepSDF).

The network sees the code and the positional encoding of the point,
gamma(x) = (cos(2^l pi x), sin(2^l pi x)) for l = 0 ... L - 1 (Remelli et al. 2020, MeshSDF).
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from fmb.fields.field import Field
from fmb.fields.networks import ACTIVATIONS, FREQUENCY, INPUTS, Layer, Network
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.frames import Frame

OUTPUTS: dict[str, Callable[[Array], Array]] = {"linear": lambda x: x, "tanh": jnp.tanh}


class LatentShape(NamedTuple):
    """The network: `depth` hidden layers, `width` wide; before hidden layer `skip` the input enters again (0: nowhere).

    `frequencies` is L, the number of octaves of the encoding; `output` one of OUTPUTS.
    """

    code: int
    width: int
    depth: int
    skip: int
    frequencies: int
    activation: str
    output: str


class Space(NamedTuple):
    """Shapes by name with their codes, the network that decodes them, and where each shape lay.

    A point x of shape i in its file's frame is frames[i].to_canonical(x) for the field; the box of each shape has
    its middle at 0 there, and its longest side is 1.
    """

    names: tuple[str, ...]
    codes: Float[np.ndarray, "shape code"]
    parameters: Network
    shape: LatentShape
    frames: tuple[Frame, ...]

    def field(self, code: Float[ANY_ARRAY, " code"]) -> Field:
        """The field of a code, in canonical coordinates; it is differentiable in the code as well."""
        return latent_field(self.parameters, jnp.asarray(code, self.parameters[0].weight.dtype), self.shape)

    def code_of(self, name: str) -> Float[np.ndarray, " code"]:
        """The code of the shape of that name.  Raises ValueError for another name."""
        if name not in self.names:
            raise ValueError(f"no shape {name!r} in this space; it has {', '.join(self.names)}")
        return self.codes[self.names.index(name)]


def encode(points: Float[Array, "*point 3"], frequencies: int) -> Float[Array, "*point encoded"]:
    """cos and sin of 2^l pi x for l below `frequencies`, one after the other: six numbers an octave.

    Only the first octave takes a cosine and a sine; the others follow by doubling the angle.
    """
    cosine, sine = jnp.cos(math.pi * points), jnp.sin(math.pi * points)
    parts = []
    for _ in range(frequencies):
        parts += [cosine, sine]
        cosine, sine = cosine * cosine - sine * sine, 2.0 * cosine * sine
    return jnp.concatenate(parts, axis=-1)


@cache
def latent_network(shape: LatentShape) -> Callable[[Network, Array, Array], Array]:
    """f(parameters, code, points); the same function each time, so that it is compiled once."""
    bend, end = ACTIVATIONS[shape.activation], OUTPUTS[shape.output]

    def evaluate(layers: Network, code: Array, points: Array) -> Array:
        seen = encode(points, shape.frequencies)
        entry = jnp.concatenate([jnp.broadcast_to(code[None], (len(points), len(code))), seen], axis=1)
        rows = entry
        for number, layer in enumerate(layers):
            if number and number == shape.skip:
                rows = jnp.concatenate([rows, entry], axis=1) / math.sqrt(2.0)
            rows = jnp.dot(rows, layer.weight) + layer.bias[None]
            rows = bend(rows) if number + 1 < len(layers) else rows
        return end(rows[:, 0])

    return evaluate


def latent_field(parameters: Network, code: Float[Array, " code"], shape: LatentShape) -> Field:
    """The field of a code."""
    return Partial(latent_network(shape), parameters, code)


def start_latent(shape: LatentShape, generator: np.random.Generator) -> Network:
    """Random weights: by Sitzmann et al. (2020) for sines, else by He et al. (2015); biases are zero for the latter.

    The inputs of octave l get weights 2^-l as large, so that coarse forms come first: with equal ones a decoder needs
    several times as many steps until its surface has no debris.
    """
    dtype, layers, fading = jnp.result_type(float), [], input_scale(shape)
    for number, (inputs, outputs) in enumerate(layer_sizes(shape)):
        if shape.activation == "sine":
            reach = 1.0 / inputs if number == 0 else math.sqrt(6.0 / inputs) / FREQUENCY
            weight = generator.uniform(-reach, reach, (inputs, outputs))
            bias = generator.uniform(-1.0, 1.0, outputs) / math.sqrt(inputs)
        else:
            weight, bias = generator.normal(0.0, math.sqrt(2.0 / inputs), (inputs, outputs)), np.zeros(outputs)
        if number == 0 or number == shape.skip:
            weight[-len(fading) :] *= fading[:, None]
        layers.append(Layer(jnp.asarray(weight, dtype), jnp.asarray(bias, dtype)))
    return tuple(layers)


def input_scale(shape: LatentShape) -> Float[np.ndarray, " input"]:
    """The factor of each input's first weights: 1 for the code, 2^-l for octave l."""
    octaves = np.repeat(0.5 ** np.arange(shape.frequencies), 2 * INPUTS)
    return np.concatenate([np.ones(shape.code), octaves])


def layer_sizes(shape: LatentShape) -> list[tuple[int, int]]:
    """Inputs and outputs of every layer."""
    entry = shape.code + 2 * INPUTS * shape.frequencies
    inputs, outputs = [entry, *[shape.width] * shape.depth], [*[shape.width] * shape.depth, 1]
    if 0 < shape.skip < shape.depth:
        inputs[shape.skip] += entry
    return list(zip(inputs, outputs, strict=True))
