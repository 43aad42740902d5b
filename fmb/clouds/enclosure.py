"""What a cloud encloses: a balloon is shrunk onto it that cannot pass gaps, and what is left within is the body.

The balloon's radius decides what counts as a gap. Where it is too small the inside is flooded, and every point sees
the outside on both of its sides; the smallest radius at which that ends is taken.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt, label, map_coordinates
from scipy.spatial import cKDTree

from fmb.clouds.evidence import Evidence

CELLS, MARGIN = 72, 0.26  # cells along the longest side; free space around the box, which the largest radius needs
GROWTH, LARGEST = 1.35, 0.25  # of the balloon's radius: factor from trial to trial, and where it ends
PATIENCE = 0.05  # share of flooded points that a radius, larger by a factor e, must save
LOOKS, PLANE = 1_000, 16  # points that look about, and neighbours that tell where their sides are
CONCAVE = 1.2  # radii from all points: a place in the body that is surely no hollow which the balloon did not enter


class Enclosure(NamedTuple):
    """A grid around a normalised cloud; its node (i, j, k) lies at origin + side (i, j, k)."""

    depth: Float[np.ndarray, "x y z"]  # below the surface that the points suggest; negative outside
    away: Float[np.ndarray, "x y z"]  # distance from the nearest point
    origin: float  # all three coordinates
    side: float
    gap: float  # radius of the balloon: wider gaps are open
    noise: float  # of the points
    flooded: float  # share of points that see the outside on both sides; high where the cloud encloses nothing


def enclose(points: Float[np.ndarray, "point 3"], evidence: Evidence, generator: np.random.Generator) -> Enclosure:
    """The body that a normalised cloud encloses, for points that are no strays."""
    side, origin = 1.0 / CELLS, -0.5 - MARGIN
    nodes = int(np.ceil(-2 * origin / side)) + 1
    free = np.ones((nodes,) * 3, bool)
    free[tuple(np.rint((points - origin) / side).astype(int).T)] = False
    away = side * distance_transform_edt(free)
    looks = _looks(points, 1.5 * max(evidence.spacing, side), generator)
    first = radius = max(evidence.spacing, 0.9 * side)
    best, body, gap, flooded = np.inf, free, radius, 1.0
    while radius <= max(LARGEST, first) and (price := PATIENCE * np.log(radius / first)) < best:
        outside = _outside(away, radius, side)
        seen = float(np.mean(np.all([outside[tuple(x.T)] for x in _nodes(looks, origin, side, nodes)], axis=0)))
        if seen + price < best:
            best, body, gap, flooded = seen + price, ~outside, radius, seen
        radius *= GROWTH
    depth = side * (distance_transform_edt(body) - distance_transform_edt(~body))
    # half of the points lie on either side of the surface, however thick a layer noise has made of them
    depth -= np.median(map_coordinates(depth, (points.T - origin) / side, order=1))
    return Enclosure(depth, away, origin, side, gap, evidence.noise, flooded)


def _outside(away: np.ndarray, radius: float, side: float) -> np.ndarray:
    """Nodes within a ball of that radius that comes from outside and touches no point."""
    parts, _ = label(away > radius)
    return side * distance_transform_edt(parts != parts[0, 0, 0]) < radius


def _looks(points: np.ndarray, reach: float, generator: np.random.Generator) -> np.ndarray:
    """Places at some distance from points, [side, point, 3]: on both sides of the plane of their neighbours."""
    chosen = points[generator.permutation(len(points))[:LOOKS]]
    patch = points[cKDTree(points).query(chosen, min(PLANE, len(points)), workers=-1)[1]]
    patch = patch - patch.mean(axis=1, keepdims=True)
    normal = np.linalg.eigh(np.einsum("nki,nkj->nij", patch, patch))[1][:, :, 0]
    return np.stack([chosen + reach * normal, chosen - reach * normal])


def _nodes(places: np.ndarray, origin: float, side: float, nodes: int) -> np.ndarray:
    return np.clip(np.rint((places - origin) / side).astype(int), 0, nodes - 1)


def outward(
    points: Float[np.ndarray, "point 3"], normals: Float[np.ndarray, "point 3"], enclosure: Enclosure
) -> Float[np.ndarray, "point 3"]:
    """The normals with length 1, or 0 where they had none; all are turned round where most look into the body."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.where(length > 0.0, length, 1.0)
    reach = 1.5 * enclosure.side
    before, behind = (
        map_coordinates(enclosure.depth, (points + sign * reach * unit - enclosure.origin).T / enclosure.side, order=1)
        for sign in (1.0, -1.0)
    )
    return -unit if np.sum(np.sign(before - behind)) > 0.0 else unit


def inner_points(enclosure: Enclosure, count: int, generator: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """Places spread over the body; where it is thinner than a cell, over its middle."""
    least = min(0.0, float(enclosure.depth.max()) - enclosure.side / 2)
    return _spread(enclosure, np.argwhere(enclosure.depth > least), count, generator)


class Certain(NamedTuple):
    """Places of which it is known how deep they lie at least (negative: how far outside)."""

    place: Float[np.ndarray, "place 3"]
    depth: Float[np.ndarray, " place"]


MOST_DEPTH = 0.1  # of a certain place: farther from the surface all fields may differ
OUTSIDE_SHARE = 0.75  # of the certain places


def certain_places(enclosure: Enclosure, count: int, generator: np.random.Generator) -> Certain:
    """Places that are surely inside or outside, in random order, with half of the depth that the grid gives them."""
    depth, doubt = enclosure.depth, max(enclosure.side, enclosure.noise)
    within = np.argwhere((depth > doubt) & (enclosure.away > CONCAVE * enclosure.gap - enclosure.noise))
    without = np.argwhere((depth < -doubt) & (enclosure.away > doubt))
    outside = round(OUTSIDE_SHARE * count) if len(within) else count
    places, depths = [], []
    for nodes, number in ((without, outside), (within, count - outside)):
        chosen = nodes[generator.integers(len(nodes), size=number)] if number else np.zeros((0, 3), int)
        places.append(_spread(enclosure, chosen, number, generator, drawn=True))
        depths.append(depth[tuple(chosen.T)])
    depth, order = np.concatenate(depths), generator.permutation(count)
    least = np.sign(depth) * np.clip((np.abs(depth) - doubt) / 2, 1e-4, MOST_DEPTH)
    return Certain(np.concatenate(places)[order], least[order])


def _spread(
    enclosure: Enclosure, nodes: np.ndarray, count: int, generator: np.random.Generator, drawn: bool = False
) -> np.ndarray:
    """Random places in the cells about nodes."""
    chosen = nodes if drawn else nodes[generator.integers(len(nodes), size=count)]
    return enclosure.origin + enclosure.side * (chosen + generator.uniform(-0.5, 0.5, (len(chosen), 3)))
