"""A code of a trained space, and a similarity, fitted to points of a part of a shape: the space completes the rest.

y = R (s x) + t takes points to the space's frame, where f(z, y) is the field; distances are f / s. Loss: the mean of
|f(z, y)| / s, rounded at zero, + w d^2, d the Mahalanobis distance of z from the codes of the shapes. Dividing by s
keeps a shape from growing until every point is near it.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmb.clouds.evidence import Evidence, examine
from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import PLAIN, Hooks, State
from fmb.clouds.surface import REACH
from fmb.fields.field import Field
from fmb.fields.latent import LatentShape, Space, latent_network
from fmb.fields.networks import Network
from fmb.fit.loop import Course, adam, begin
from fmb.fit.options import FitOptions
from fmb.fit.schedules import SCHEDULES
from fmb.geometry.frames import Frame
from fmb.geometry.rotations import matrix_from_rotation_vector

SCALES = (1.0, 0.85, 0.7, 0.55)  # of the cloud's longest side in that of the whole shape, to begin with
ASIDE = (-0.5, 0.0, 0.5)  # places of the cloud in the room that its scale leaves, along each axis
TURNS = 60  # rotations to begin with where the cloud may be turned in any way
SEARCH_POINTS, FIT_POINTS = 128, 1024  # of the cloud, for each start; in a step of the last fit
STARTS, START_STEPS, STEPS = 12, 120, 400
RATE = 0.02
PRIOR = 2e-4  # weight of the codes' distance from those of the shapes
ROUND = 0.003  # longest sides within which |f| has a round corner
LEAST_SPREAD = 0.1  # share of the largest variance that every direction of codes has at least


class Similar(NamedTuple):
    """A code, and the similarity that takes canonical points of the cloud to the space."""

    code: Float[Array, " code"]
    log_scale: Float[Array, ""]
    turn: Float[Array, "3"]  # rotation vector
    shift: Float[Array, "3"]

    def scale(self) -> Array:
        """s."""
        return jnp.exp(self.log_scale)

    def to_space(self, points: Float[Array, "point 3"]) -> Float[Array, "point 3"]:
        """The points in the space's frame."""
        turned = jnp.dot(self.scale() * points, matrix_from_rotation_vector(self.turn).T)
        return turned + self.shift[None]


class Codes(NamedTuple):
    """The codes of the shapes as a normal distribution: their mean, and the inverse root of their covariance."""

    mean: Float[Array, " code"]
    whitening: Float[Array, "code code"]


def fit_completion(
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"] | None,
    options: PointsOptions,
    generator: np.random.Generator,
    hooks: Hooks = Hooks(),
    evidence: Evidence | None = None,
) -> State:
    """The whole shape of normalised points that are a part of it.

    The field lies in a frame of its own, `State.frame`, whose longest side is that of the whole shape. It takes
    seconds, so a run that is resumed starts it anew, with the same result. Raises ValueError without a space.
    """
    space = options.latent_space
    if space is None:
        raise ValueError("--method latent needs --shapes, a folder that task learn has written")
    points = points[(evidence or examine(points)).kept]
    few = _some(points, SEARCH_POINTS, generator)
    starts = search(space, few, options.turned, generator)
    codes = codes_of(space)
    found, loss = _descend(
        space, starts, jnp.broadcast_to(few[None], (len(starts.code), *few.shape)), codes, START_STEPS
    )
    best = int(np.argmin(np.where(np.isfinite(loss[:, -1]), loss[:, -1], np.inf)))
    chosen = jax.tree.map(lambda x: x[best : best + 1], found)
    many = _some(points, FIT_POINTS, generator)[None]
    hooks.progress(START_STEPS, START_STEPS + STEPS, float(loss[best, -1]))
    found, last = _descend(space, chosen, many, codes, STEPS)
    placed = jax.tree.map(lambda x: x[0], found)
    if not np.isfinite(last).all():
        raise FloatingPointError("the loss of the completion is not finite")
    hooks.progress(START_STEPS + STEPS, START_STEPS + STEPS, float(last[0, -1]))
    state = _state(space, placed, np.concatenate([loss[best], last[0]]), points)
    hooks.save(state)
    return state


def codes_of(space: Space) -> Codes:
    """The distribution of the space's codes; no direction is narrower than LEAST_SPREAD of the widest."""
    dtype = space.parameters[0].weight.dtype
    centred = space.codes - space.codes.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variance = np.maximum(variance, max(LEAST_SPREAD * variance.max(), np.finfo(np.float32).tiny))
    return Codes(jnp.asarray(space.codes.mean(axis=0), dtype), jnp.asarray(axes.T / np.sqrt(variance)[:, None], dtype))


def search(space: Space, points: Float[Array, "point 3"], turned: bool, generator: np.random.Generator) -> Similar:
    """The STARTS best of many places, scales and turns of all shapes; each shape's best one is among them first."""
    places = _places(points, turned, generator)
    losses = []
    for code in space.codes:
        placed = jax.tree.map(lambda x: x, places._replace(code=_repeated(space, code, len(places.log_scale))))
        losses.append(np.asarray(_search_losses(space.shape, space.parameters, placed, points)))
    loss = np.array(losses)
    first = np.sort(loss.argmin(axis=1)[:, None] + len(loss[0]) * np.arange(len(loss))[:, None], axis=None)
    order = [*first[np.argsort(loss.ravel()[first])], *np.argsort(loss, axis=None)]
    order = np.array(list(dict.fromkeys(map(int, order))))[:STARTS]
    shape, place = np.divmod(order, len(loss[0]))
    dtype = space.parameters[0].weight.dtype
    return jax.tree.map(lambda x: x[place], places)._replace(code=jnp.asarray(space.codes[shape], dtype))


def _repeated(space: Space, code: np.ndarray, count: int) -> Array:
    return jnp.asarray(np.tile(code, (count, 1)), space.parameters[0].weight.dtype)


def _places(points: Float[Array, "point 3"], turned: bool, generator: np.random.Generator) -> Similar:
    """Similarities to begin with."""
    if turned:
        turns = Rotation.random(TURNS, rng=generator).as_rotvec()
        grid = [(scale, turn, np.zeros(3)) for scale in SCALES for turn in turns]
    else:
        asides = np.stack(np.meshgrid(ASIDE, ASIDE, ASIDE), axis=-1).reshape(-1, 3)
        grid = [(scale, np.zeros(3), aside) for scale in SCALES for aside in asides]
    scale, turn, aside = (np.array(part) for part in zip(*grid, strict=True))
    room = np.maximum(1.0 - scale[:, None] * np.ptp(np.asarray(points), axis=0)[None], 0.0)
    dtype = points.dtype
    return Similar(*(jnp.asarray(x, dtype) for x in (np.zeros((len(scale), 1)), np.log(scale), turn, aside * room)))


@partial(jax.jit, static_argnums=0)
def _search_losses(shape: LatentShape, network: Network, placed: Similar, points: Array) -> Array:
    return jax.lax.map(lambda one: misfit(shape, network, one, points), placed, batch_size=16)


def misfit(shape: LatentShape, network: Network, placed: Similar, points: Float[Array, "point 3"]) -> Float[Array, ""]:
    """Mean distance of the points from the surface, to first order, in longest sides of the cloud."""
    value = latent_network(shape)(network, placed.code, placed.to_space(points)) / placed.scale()
    return jnp.mean(jnp.sqrt(value * value + ROUND**2) - ROUND)


def objective(shape: LatentShape, network: Network, placed: Similar, points: Array, codes: Codes) -> Array:
    """Misfit and prior."""
    away = jnp.dot(codes.whitening, placed.code - codes.mean)
    return misfit(shape, network, placed, points) + PRIOR * jnp.mean(away * away)


def _descend(
    space: Space, start: Similar, points: Float[Array, "start point 3"], codes: Codes, steps: int
) -> tuple[Similar, np.ndarray]:
    """Every start after so many steps, and its losses."""
    found, loss = _descent(space.shape, steps)(space.parameters, start, points, codes)
    return found, np.asarray(loss)


@cache
def _descent(shape: LatentShape, steps: int) -> Callable[..., tuple[Similar, Array]]:
    moments = FitOptions()

    def one(network: Network, start: Similar, points: Array, codes: Codes) -> tuple[Similar, Array]:
        def step(course: Course, number: Array) -> tuple[Course, Array]:
            loss, gradient = jax.value_and_grad(lambda placed: objective(shape, network, placed, points, codes))(
                course.parameters
            )
            rate = RATE * SCHEDULES["cosine"](number[None].astype(points.dtype) / steps)[0]
            return adam(course, PLAIN, gradient, rate, moments), loss

        course, losses = jax.lax.scan(step, begin(start), jnp.arange(steps))
        return course.parameters, losses

    return jax.jit(jax.vmap(one, (None, 0, 0, None)))


@cache
def _placed_network(shape: LatentShape) -> Callable[..., Array]:
    """f(z, R u), in the frame of State: u = s x + R^T t, divided by the frame's room."""

    def evaluate(network: Network, code: Array, rotation: Array, room: Array, points: Array) -> Array:
        value = latent_network(shape)(network, code, jnp.dot(room * points, rotation.T))
        return value / room

    return evaluate


def field_of_completion(arrays: Any, options: PointsOptions) -> Field:
    """The field of a checkpoint's arrays."""
    dtype = options.latent_space.parameters[0].weight.dtype
    code, rotation, room = (jnp.asarray(arrays[name], dtype) for name in ("code", "rotation", "room"))
    return Partial(_placed_network(options.latent_space.shape), options.latent_space.parameters, code, rotation, room)


def _state(space: Space, placed: Similar, loss: np.ndarray, points: np.ndarray) -> State:
    rotation = np.asarray(matrix_from_rotation_vector(placed.turn), float)
    scale, shift = float(placed.scale()), np.asarray(placed.shift, float)
    # corners of the space's box must stay in the box in which surfaces are looked for
    room = max(1.0, float(np.abs(rotation).sum(axis=0).max()) * 0.5 / REACH)
    frame = Frame(-rotation.T @ shift / scale, np.asarray(room / scale))
    code = np.asarray(placed.code, float)
    arrays = {
        "code": code,
        "rotation": rotation,
        "room": np.asarray(room),
        "frame": np.append(frame.centre, frame.scale),
    }
    field = field_of_completion(arrays, PointsOptions(latent_space=space))
    away = np.linalg.norm(space.codes - code, axis=1)
    nearest = int(np.argmin(away))
    facts = {
        "code": code,
        "nearest_shape": space.names[nearest],
        "from_nearest_code": float(away[nearest]),
        "turn_degrees": math.degrees(float(np.linalg.norm(placed.turn))),
        "misfit": float(misfit(space.shape, space.parameters, placed, jnp.asarray(points, placed.code.dtype))),
    }
    rates = [RATE * np.asarray(SCHEDULES["cosine"](jnp.arange(n) / n)) for n in (START_STEPS, STEPS)]
    history = {"loss": loss, "learning_rate": np.concatenate(rates)}
    return State(len(loss), field, arrays, history, facts=facts, frame=frame)


def _some(points: np.ndarray, count: int, generator: np.random.Generator) -> Array:
    index = generator.permutation(len(points))[:count]
    return jnp.asarray(points[np.resize(index, min(count, len(points)))], jnp.result_type(float))
