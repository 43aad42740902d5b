"""Fields f(points), negative inside: slopes, Newton steps to the surface, points and normals with gradients."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jax.tree_util import Partial
from jaxtyping import Float

from fmb.geometry.cameras import ANY_ARRAY
from fmb.ready import ready

Field = Callable[[Array], Array]  # [point, 3] to [point]; a jax.tree_util.Partial is compiled once for all mixtures
OnProgress = Callable[[int, int], None]  # called with points done and all points
BATCH = 512  # points in one call: [component, point] arrays stay in the fast cache; 8192 take 1.3 times as long a point
SLOPES = 2_000  # about so many points tell how steep a field is
NEWTON_STEPS = 2  # towards the zero; after the first about 1 % of marching cubes' error is left


def unwatched(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def polish(
    field: Field, vertices: Float[np.ndarray, "vertex 3"], longest: float, on_progress: OnProgress = unwatched
) -> Float[np.ndarray, "vertex 3"]:
    """The vertices after Newton steps of at most `longest` towards the field's zero; none moves away from it."""
    points = np.asarray(vertices, float)
    value, slope = slopes_at(field, points, on_progress)
    for number in range(NEWTON_STEPS):
        step = -value[:, None] * slope / np.maximum(np.sum(slope**2, axis=1), np.finfo(float).tiny)[:, None]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        moved = points + step * np.minimum(1.0, longest / np.maximum(length, np.finfo(float).tiny))
        last = number == NEWTON_STEPS - 1
        value_there, slope_there = (evaluated(field, moved), slope) if last else slopes_at(field, moved, on_progress)
        nearer = np.abs(value_there) < np.abs(value)
        points, slope = (np.where(nearer[:, None], *pair) for pair in ((moved, points), (slope_there, slope)))
        value = np.where(nearer, value_there, value)
    return points


def attached(field: Field, vertices: Float[ANY_ARRAY, "vertex 3"]) -> Float[Array, "vertex 3"]:
    """The same points, which lie on the field's zero, with the gradient of points that stay on it.

    As the parameters of the field change, they move along the normal: x - (f - sg f) sg(grad f / |grad f|^2), with sg
    the stop-gradient.
    """
    points = stop_gradient(jnp.asarray(vertices))
    value, pull = jax.vjp(field, points)
    slope = stop_gradient(pull(jnp.ones_like(value))[0])
    square = jnp.sum(slope * slope, axis=-1, keepdims=True)
    return points - (value - stop_gradient(value))[:, None] * slope / jnp.where(square > 0.0, square, 1.0)


def sloped(field: Field, points: Float[Array, "point 3"]) -> tuple[Float[Array, " point"], Float[Array, "point 3"]]:
    """Value and slope of the field at the points, for compiled code; both have gradients."""
    value, pull = jax.vjp(field, points)
    return value, pull(jnp.ones_like(value))[0]


def projected(field: Field, points: Float[Array, "point 3"], steps: int, longest: float) -> Float[Array, "point 3"]:
    """The points after Newton steps x - f grad f / |grad f|^2, none longer than `longest`; without gradient."""
    points = stop_gradient(points)
    for _ in range(steps):
        value, slope = sloped(field, points)
        square = jnp.sum(slope * slope, axis=1)
        share = value / jnp.where(square > 0.0, square, 1.0)
        share = jnp.clip(share, *(sign * longest / jnp.sqrt(jnp.where(square > 0.0, square, 1.0)) for sign in (-1, 1)))
        points = stop_gradient(points - share[:, None] * slope)
    return points


def first_order_distance(
    field: Field, points: Float[np.ndarray, "point 3"], surface: Float[np.ndarray, "other 3"]
) -> Float[np.ndarray, " point"]:
    """Distances f / |grad f| from the field's zero (Taubin 1991), negative inside, of any field in one unit.

    Where the field is flatter than it usually is at `surface`, points near its zero, that slope is taken instead.
    """
    steep = usual_slope(field, surface)
    value, slope = slopes_at(field, points)
    return value / np.maximum(np.linalg.norm(slope, axis=1), steep)


def usual_slope(field: Field, surface: Float[np.ndarray, "point 3"]) -> float:
    """Median |grad f| at points near the field's zero."""
    some = surface[:: max(1, len(surface) // SLOPES)]
    return float(np.median(np.linalg.norm(slopes_at(field, some)[1], axis=1)))


def field_normals(field: Field, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
    """Unit normals of the field's level sets, outward (towards larger values); 0 where it is flat.

    It is meant for `attached` vertices; no task of this program needs it.
    """
    slope = slopes_at(field, points)[1]
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return slope / np.where(length > 0.0, length, 1.0)


@ready()
def _value(field: Partial, points: Array) -> Array:
    return field(points)


@ready()
def _value_and_slope(field: Partial, points: Array) -> tuple[Array, Array]:
    value, pull = jax.vjp(field, points)
    return value, pull(jnp.ones_like(value))[0]


def _in_batches(
    function: Callable, field: Field, points: np.ndarray, on_progress: OnProgress = unwatched
) -> list[np.ndarray]:
    """The arrays that `function(field, points)` returns, computed in batches of one size."""
    field = field if isinstance(field, Partial) else Partial(field)
    dtype = jnp.result_type(float)
    parts = []
    for start in range(0, max(len(points), 1), BATCH):
        batch = points[start : start + BATCH]
        padded = np.zeros((BATCH, 3), dtype)
        padded[: len(batch)] = batch
        parts.append([np.asarray(x)[: len(batch)] for x in function(field, padded)])
        on_progress(start + len(batch), len(points))
    return [np.concatenate(part).astype(float) for part in zip(*parts, strict=True)]


def slopes_at(field: Field, points: np.ndarray, on_progress: OnProgress = unwatched) -> list[np.ndarray]:
    return _in_batches(_value_and_slope, field, np.asarray(points), on_progress)


def evaluated(field: Field, points: np.ndarray, on_progress: OnProgress = unwatched) -> np.ndarray:
    (value,) = _in_batches(partial(_only, _value), field, points, on_progress)
    broken = np.count_nonzero(~np.isfinite(value))
    if broken:
        raise ValueError(f"the field is not finite at {broken} of {len(value)} points")
    return value


def _only(function: Callable, *arguments) -> tuple[Array]:
    return (function(*arguments),)
