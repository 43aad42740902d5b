"""What a field is fitted by: distances between points and its surface, both ways, and what keeps it a distance.

A field is f(points), negative inside. All lengths are in longest sides of the cloud's box. Formulas: Haerenstam-Nielsen
et al., DiffCD, ECCV 2024; IGR, Gropp et al. 2020; Neural-Pull, Ma et al. 2021; SIREN, Sitzmann et al. 2020.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Bool, Float

from fmb.fields.field import Field, attached, projected, sloped

AREA_SHARPNESS = 100.0  # alpha of the surface area: its samples reach a hundredth to either side
PROJECTION_STEPS, LONGEST_STEP = 2, 0.05  # Newton steps of surface samples, which a few steps of the fit have moved
NEWTON_STEPS = 6  # towards closest points; they double their digits
CONVERGED = 1e-4  # largest error of the equations of a closest point
SOFT = 1e-8  # square length that is added below roots, whose slope at 0 is infinite


class Closest(NamedTuple):
    """The points of the surface closest to others, with gradient, and which of them were found."""

    point: Float[Array, "point 3"]
    found: Bool[Array, " point"]


def length(x: Float[Array, "point 3"]) -> Float[Array, " point"]:
    """Lengths whose slope at 0 is 0."""
    return jnp.sqrt(jnp.sum(x * x, axis=1) + SOFT)


def closest_points(field: Field, points: Float[Array, "point 3"]) -> Closest:
    """The closest points x of the field's zero: stationary |x - p|^2 / 2 + m f(x), by Newton's method.

    One is found where the equations hold, the distance is smallest along the surface, and it is on the right side.
    The gradient is that of the implicit function: one Newton step whose matrix is constant has it.
    """
    points = stop_gradient(points)
    value, slope = sloped(field, points)
    square = jnp.maximum(jnp.sum(slope * slope, axis=1), SOFT)
    start = points - (value / square)[:, None] * slope, value / square

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        return _newton(field, points, *stop_gradient(state)), None

    (point, factor), _ = jax.lax.scan(step, stop_gradient(start), None, NEWTON_STEPS)
    point, factor = stop_gradient((point, factor))
    found = stop_gradient(_is_closest(field, points, point, factor, value))
    # where none was found, Newton's matrix may be singular, and its gradient not finite
    safe = jnp.where(found[:, None], point, stop_gradient(start[0])), jnp.where(found, factor, 0.0)
    return Closest(_newton(field, points, *safe, found)[0], found)


def _equations(field: Field, points: Array, point: Array, factor: Array) -> tuple[Array, Array]:
    """What is zero at a closest point: x - p + m grad f, and f."""
    value, slope = sloped(field, point)
    return point - points + factor[:, None] * slope, value


def _matrix(field: Field, point: Array, factor: Array) -> tuple[Array, Array]:
    """Curvature I + m H of the distance, and the slope, in a tuple: together the matrix of Newton's method."""

    def along(axis: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda x: sloped(field, x)[1], (point,), (jnp.broadcast_to(axis[None], point.shape),))

    slope, bend = zip(*(along(axis) for axis in jnp.eye(3, dtype=point.dtype)), strict=True)
    identity = jnp.eye(3, dtype=point.dtype)[None]
    return identity + factor[:, None, None] * jnp.stack(bend, axis=1), slope[0]


def _newton(
    field: Field, points: Array, point: Array, factor: Array, found: Array | None = None
) -> tuple[Array, Array]:
    """One step of Newton's method with a constant matrix; capped, unless it is the one for the gradient of `found`."""
    rest = _equations(field, points, point, factor)
    curved, slope = stop_gradient(_matrix(field, point, factor))
    zero = jnp.zeros((len(point), 1, 1), point.dtype)
    matrix = jnp.concatenate(
        [
            jnp.concatenate([curved, slope[:, :, None]], axis=2),
            jnp.concatenate([slope[:, None, :], zero], axis=2),
        ],
        axis=1,
    )
    if found is not None:  # a singular matrix would spoil the gradient even where its result is not used
        matrix = jnp.where(found[:, None, None], matrix, jnp.eye(4, dtype=point.dtype)[None])
    change = jnp.linalg.solve(matrix, jnp.concatenate([rest[0], rest[1][:, None]], axis=1)[..., None])[..., 0]
    if found is None:
        change = jnp.where(jnp.isfinite(change), change, 0.0)
        change = change * jnp.minimum(1.0, 2 * LONGEST_STEP / length(change[:, :3]))[:, None]
    return point - change[:, :3], factor - change[:, 3]


def _is_closest(field: Field, points: Array, point: Array, factor: Array, value: Array) -> Bool[Array, " point"]:
    """Whether the equations hold, the distance curves upwards along the surface, and the point is on the right side."""
    stationary, rest = _equations(field, points, point, factor)
    holds = (jnp.max(jnp.abs(stationary), axis=1) < CONVERGED) & (jnp.abs(rest) < CONVERGED)
    curved, slope = _matrix(field, point, factor)
    normal = slope / length(slope)[:, None]
    # on the tangent plane alone: the normal's own direction gets curvature 1
    plane = jnp.eye(3, dtype=point.dtype)[None] - normal[:, :, None] * normal[:, None, :]
    along = plane @ curved @ plane + normal[:, :, None] * normal[:, None, :]
    smallest = jnp.linalg.eigvalsh((along + jnp.swapaxes(along, 1, 2)) / 2)[:, 0]
    return holds & (smallest > 0.0) & (factor * value >= 0.0)


def implicit_distance(value: Float[Array, " point"]) -> Float[Array, ""]:
    """Mean |f| at the points."""
    return jnp.mean(jnp.abs(value))


def closest_distance(field: Field, points: Float[Array, "point 3"]) -> Float[Array, ""]:
    """Mean distance of points from the closest points of the surface; |f| where none was found."""
    closest = closest_points(field, points)
    return jnp.mean(jnp.where(closest.found, length(points - closest.point), jnp.abs(field(points))))


def surface_distance(
    field: Field, surface: Float[Array, "point 3"], neighbours: Float[Array, "point near 3"]
) -> Float[Array, ""]:
    """Mean distance of points of the surface to the nearest of the cloud, of which `neighbours` are candidates.

    The points are first walked to the surface as it is now, and then move with it: see `attached`.
    """
    return nearest_distance(moved_along(field, surface), neighbours)


def moved_along(field: Field, surface: Float[Array, "point 3"]) -> Float[Array, "point 3"]:
    """Points of an earlier surface, walked to the surface as it is now, with the gradient of points that stay on it."""
    return attached(field, projected(field, surface, PROJECTION_STEPS, LONGEST_STEP))


def nearest_distance(points: Float[Array, "point 3"], neighbours: Float[Array, "point near 3"]) -> Float[Array, ""]:
    """Mean distance of points to the nearest of their neighbours."""
    apart = points[:, None] - neighbours
    nearest = jnp.argmin(jnp.sum(stop_gradient(apart) ** 2, axis=2), axis=1)
    return jnp.mean(length(jnp.take_along_axis(apart, nearest[:, None, None], axis=1)[:, 0]))


def eikonal(slope: Float[Array, "point 3"]) -> Float[Array, ""]:
    """Mean (1 - |grad f|)^2."""
    return jnp.mean((1.0 - length(slope)) ** 2)


def normal_distance(slope: Float[Array, "point 3"], normal: Float[Array, "point 3"]) -> Float[Array, ""]:
    """Mean |grad f - n| at points with outward unit normals (IGR); points whose normal is 0 do not count."""
    known = jnp.sum(normal * normal, axis=1)
    return jnp.sum(known * length(slope - normal)) / jnp.maximum(jnp.sum(known), 1.0)


def surface_area(value: Float[Array, " point"]) -> Float[Array, ""]:
    """Mean exp(-alpha |f|): alpha V / 2 times it, for points that fill a volume V evenly, is the surface's area."""
    return jnp.mean(jnp.exp(-AREA_SHARPNESS * jnp.abs(value)))


def misplaced(value: Float[Array, " place"], depth: Float[Array, " place"]) -> Float[Array, ""]:
    """Mean length by which places lie less deep in the surface than `depth`, or less far outside where that is < 0."""
    return jnp.mean(jnp.maximum(jnp.abs(depth) + jnp.sign(depth) * value, 0.0))


def pull_distance(
    value: Float[Array, " point"],
    slope: Float[Array, "point 3"],
    points: Float[Array, "point 3"],
    nearest: Float[Array, "point 3"],
) -> Float[Array, ""]:
    """Mean distance between the nearest points of the cloud and where the field pulls the points: x - f n."""
    return jnp.mean(length(nearest - (points - value[:, None] * slope / length(slope)[:, None])))
