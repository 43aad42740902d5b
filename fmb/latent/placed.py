"""A shape of a space somewhere: its code, and where it lies, which a capture does not tell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float

from fmb.fields.field import Field
from fmb.fields.isosurface import Family
from fmb.fields.latent import Space
from fmb.fit.loop import Coordinates
from fmb.geometry.cameras import ANY_ARRAY


class Placed(NamedTuple):
    """A code, and the middle and the logarithm of the longest side of the shape's box."""

    code: Float[ANY_ARRAY, " code"]
    centre: Float[ANY_ARRAY, "3"]
    log_side: Float[ANY_ARRAY, ""]


def placed(code: Float[np.ndarray, " code"]) -> Placed:
    """The code where shapes of the space lie: the middle of the box at 0, its longest side 1."""
    dtype = jnp.result_type(float)
    return Placed(jnp.asarray(code, dtype), jnp.zeros(3, dtype), jnp.zeros((), dtype))


def placed_field(space_field: Field, centre: Array, log_side: Array, points: Array) -> Array:
    """Distances of the shape moved and scaled: s f((x - c) / s)."""
    side = jnp.exp(log_side)
    return side * space_field((points - centre[None]) / side)


def family_of(space: Space) -> Family:
    """Fields of placed codes."""

    def field(parameters: Placed) -> Field:
        inner = space.field(parameters.code)
        return Partial(placed_field, inner, parameters.centre, parameters.log_side)

    return field


def coordinates(place_rate: float) -> Coordinates:
    """Steps of the code as they are, those of the place times `place_rate` (0: it stays)."""

    def move(parameters: Placed, change: Placed) -> Placed:
        scaled = change._replace(centre=place_rate * change.centre, log_side=place_rate * change.log_side)
        return jax.tree.map(jnp.add, parameters, scaled)

    return Coordinates(lambda parameters, gradient: gradient, move)


def starts_of(
    space: Space, code: Float[np.ndarray, " code"], count: int, generator: np.random.Generator
) -> list[Placed]:
    """The code, and random ones, normal about the mean of the space's codes with their deviation."""
    codes = space.codes
    deviation = float(np.sqrt(np.mean((codes - codes.mean(axis=0)) ** 2)))
    others = codes.mean(axis=0) + deviation * generator.normal(size=(count - 1, codes.shape[1]))
    return [placed(one) for one in (code, *others)]
