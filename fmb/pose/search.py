"""The search for a pose by damped Gauss-Newton steps (Levenberg-Marquardt), from one start or many."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fm_render import product
from fmb.geometry.rotations import matrix_from_rotation_vector
from fmb.pose.residuals import NormalEquations, Pose

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-6, 1e6  # of the Gauss-Newton matrix, relative to its diagonal
EASED, TIGHTENED = 0.2, 6.0  # factors of the damping after an accepted and a refused step
LEAST_PROMISE = 3e-3  # nats over all pixels; a step that is predicted to gain less changes nothing visible
LONGEST_TURN, LONGEST_SHIFT = 0.5, 0.4  # of one step: radians and scales
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


class Search(NamedTuple):
    """The state of a search: the pose, its normal equations, the damping of the next step, the last step's quality.

    `promise` is the decrease of the loss that the normal equations predicted for the last step; `length` is its length.
    """

    pose: Pose
    normal: NormalEquations
    damping: Float[Array, ""]
    promise: Float[Array, ""]
    length: Float[Array, ""]
    steps: Int[Array, ""]


class SearchPath(NamedTuple):
    """The pose after each step, and its loss."""

    pose: Pose
    loss: Float[Array, " step"]


def moved(pose: Pose, step: Float[Array, "6"]) -> Pose:
    """The pose after a step: turned about the object's middle by its first three numbers, moved by the last three."""
    turn = matrix_from_rotation_vector(step[:3])
    return Pose(product("ij,jk->ik", turn, pose.rotation), pose.translation + step[3:])


def damped_step(normal: NormalEquations, damping: Float[Array, ""]) -> Float[Array, "6"]:
    """Step of Levenberg and Marquardt, shortened to LONGEST_TURN and LONGEST_SHIFT; 0 where it is not finite."""
    diagonal = jnp.diagonal(normal.information)
    floor = 1e-6 * diagonal.max() + jnp.finfo(diagonal.dtype).tiny ** 0.5
    matrix = normal.information + jnp.diag(damping * diagonal + floor)
    step = -jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), normal.gradient)
    step = jnp.where(jnp.isfinite(step).all(), step, 0)
    sizes = jnp.sqrt((step.reshape(2, 3) ** 2).sum(1)) / jnp.array([LONGEST_TURN, LONGEST_SHIFT], step.dtype)
    return step / jnp.maximum(1, sizes.max())


def begin(evaluate: Callable[[Pose], NormalEquations], pose: Pose) -> Search:
    """A search before its first trial, which stays at the same pose and is always taken.

    Evaluating the pose here would double what must be compiled.
    """
    shapes = jax.eval_shape(evaluate, pose)
    blind = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    endless = jnp.full_like(blind.loss, jnp.inf)
    blind = blind._replace(loss=endless, information=jnp.eye(6, dtype=blind.loss.dtype))
    return Search(pose, blind, jnp.full_like(endless, FIRST_DAMPING / EASED), endless, endless, jnp.array(0))


def advance(evaluate: Callable[[Pose], NormalEquations], search: Search) -> Search:
    """The search after one trial: a step is taken if it lowers the loss; else the damping rises."""
    last = search.normal
    step = damped_step(last, search.damping)
    pose = moved(search.pose, step)
    normal = evaluate(pose)
    better = normal.loss < last.loss
    damping = jnp.clip(search.damping * jnp.where(better, EASED, TIGHTENED), LEAST_DAMPING, MOST_DAMPING)
    promise = -product("i,i->", step, last.gradient) - product("i,ij,j->", step, last.information, step) / 2
    blind = jnp.isinf(last.loss)
    promise, length = (jnp.where(blind, jnp.inf, x) for x in (promise, jnp.sqrt((step * step).sum())))
    course = damping, promise, length, search.steps + 1
    taken, refused = Search(pose, normal, *course), Search(search.pose, last, *course)
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), taken, refused)


def descend(
    evaluate: Callable[[Pose], NormalEquations], pose: Pose, steps: int, tolerance: float = 0.0
) -> tuple[Search, SearchPath]:
    """The search after at most `steps` trials, and its path, whose rows after the end repeat the last one.

    It ends early once a step is shorter than `tolerance` or is predicted to gain less than LEAST_PROMISE.
    """
    search = begin(evaluate, pose)

    def keep(track: SearchPath, search: Search) -> SearchPath:
        later = jnp.arange(steps) >= search.steps - 1
        row = SearchPath(search.pose, search.normal.loss)
        return jax.tree.map(lambda rows, x: jnp.where(later.reshape(-1, *(1,) * x.ndim), x[None], rows), track, row)

    track = jax.tree.map(lambda x: jnp.broadcast_to(x, (steps, *x.shape)), SearchPath(search.pose, search.normal.loss))

    def unfinished(state: tuple[Search, SearchPath]) -> Bool[Array, ""]:
        return (state[0].steps < steps) & (state[0].length > tolerance) & (state[0].promise > LEAST_PROMISE)

    def trial(state: tuple[Search, SearchPath]) -> tuple[Search, SearchPath]:
        search = advance(evaluate, state[0])
        return search, keep(state[1], search)

    return jax.lax.while_loop(unfinished, trial, (search, track))


def best_of(results: Any, loss: Float[Array, " start"], count: int) -> Any:
    """The `count` results of least loss, best first."""
    _, index = jax.lax.top_k(-loss, count)
    return jax.tree.map(lambda x: x[index], results)


def turns_around(count: int, spread: float) -> Float[np.ndarray, "start 3"]:
    """Rotation vectors of angles from 0 to `spread` [rad] about evenly spread axes, denser near zero."""
    number = np.arange(count)
    height = 1 - 2 * (number + 0.5) / count
    around = GOLDEN_ANGLE * number
    across = np.sqrt(1 - height**2)
    axis = np.stack([across * np.cos(around), across * np.sin(around), height], axis=1)
    order = np.argsort((number * 0.6180339887) % 1)  # so that angles and axes are independent
    return axis[order] * (spread * np.sqrt(number / max(count - 1, 1)))[:, None]
