"""The loss of each method that fits a network to points. A new method is a function and a line in LOSSES."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fmb.clouds.losses import (
    closest_distance,
    eikonal,
    implicit_distance,
    misplaced,
    normal_distance,
    pull_distance,
    surface_area,
    surface_distance,
)
from fmb.fields.field import Field, sloped


class Batch(NamedTuple):
    """What one step sees; what its method does not need has no rows. Stacked, with the steps first, in a chunk."""

    points: Float[Array, "point 3"]  # of the cloud
    local: Float[Array, "local 3"]  # near the cloud
    nearest: Float[Array, "nearest 3"]  # of the cloud to the local ones
    everywhere: Float[Array, "everywhere 3"]  # in the whole domain
    surface: Float[Array, "surface 3"]  # of the field, as it was when the chunk began
    neighbours: Float[Array, "surface near 3"]  # of the cloud to those
    places: Float[Array, "place 3"]  # that are surely inside or outside
    depth: Float[Array, " place"]  # of each, at least; negative outside
    normal: Float[Array, "normal 3"]  # of the cloud's points, outward; 0 where unknown


class Weights(NamedTuple):
    """Weights of the terms, and how a point's distance from the surface is measured."""

    surface: float
    eikonal: float
    area: float
    body: float = 0.0
    distance: str = "implicit"
    normal: float = 0.0


Terms = dict[str, Array]


def igr(field: Field, batch: Batch, weights: Weights) -> Terms:
    """|f| at the points, and slopes of 1 there and everywhere."""
    value, slope = sloped(field, jnp.concatenate([batch.points, batch.local, batch.everywhere]))
    count = len(batch.points)
    near = closest_distance(field, batch.points) if weights.distance == "closest" else implicit_distance(value[:count])
    steep = eikonal(slope)
    terms = {"loss": near + weights.eikonal * steep, "points_to_surface": near, "eikonal": steep}
    if weights.normal:
        turned = normal_distance(slope[:count], batch.normal)
        terms |= {"loss": terms["loss"] + weights.normal * turned, "normals": turned}
    if weights.area:
        area = surface_area(value[-len(batch.everywhere) :])
        terms |= {"loss": terms["loss"] + weights.area * area, "surface_area": area}
    return terms


def diff_cd(field: Field, batch: Batch, weights: Weights) -> Terms:
    """IGR's terms, and the distance of the surface from the points: a surface far from all of them shrinks away.

    Except where it shuts a hollow: a lid has nothing to shrink to. What the cloud surely leaves out opens it.
    """
    terms = igr(field, batch, weights)
    near, back = terms["points_to_surface"], surface_distance(field, batch.surface, batch.neighbours)
    both = (near + weights.surface * back) / (1.0 + weights.surface)
    terms |= {"loss": terms["loss"] - near + both, "surface_to_points": back}
    if not weights.body:
        return terms
    wrong = misplaced(field(batch.places), batch.depth)
    return terms | {"loss": terms["loss"] + weights.body * wrong, "misplaced": wrong}


def neural_pull(field: Field, batch: Batch, weights: Weights) -> Terms:
    """Where the field pulls points near the cloud: to the nearest of the cloud."""
    value, slope = sloped(field, batch.local)
    pulled = pull_distance(value, slope, batch.local, batch.nearest)
    steep = eikonal(slope)
    return {"loss": pulled + weights.eikonal * steep, "pull": pulled, "eikonal": steep}


class Method(NamedTuple):
    """The terms of a step by name, "loss" their sum; weights that stand for -1; what of a Batch it needs.

    `reads` names the options that it has beside those of every network.
    """

    terms: Callable[[Field, Batch, Weights], Terms]
    eikonal: float
    area: float
    body: float
    needs: tuple[str, ...]
    reads: tuple[str, ...] = ()


ALIKE = ("distance", "area_weight", "normal_weight", "use_normals")
LOSSES: dict[str, Method] = {
    "diff_cd": Method(
        diff_cd,
        0.1,
        0.0,
        3.0,
        ("points", "local", "everywhere", "surface", "places"),
        (*ALIKE, "surface_weight", "body_weight"),
    ),
    "igr": Method(igr, 0.1, 0.0, 0.0, ("points", "local", "everywhere"), ALIKE),
    "siren": Method(igr, 0.1, 0.33, 0.0, ("points", "local", "everywhere"), ALIKE),
    "neural_pull": Method(neural_pull, 0.0, 0.0, 0.0, ("local", "nearest")),
}
