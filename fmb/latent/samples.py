"""Signed distances of a mesh at points in and out of it, most of them near its surface."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.sample import sample_surface

from fmb.geometry.distances import cut, nearest_on
from fmb.geometry.frames import Frame, box_frame
from fmb.geometry.interior import THRESHOLD, winding_number

DEVIATIONS = (0.005, 0.05)  # of the points from the surface, in longest sides: half of the near ones each
EVERYWHERE = 0.35  # share of points that are uniform in the domain: with 0.15, a sine decoder has debris between them
REACH = 0.6  # half the side of the domain
SURPLUS = 1.3  # points made at first for each that is wanted; a half is inside, more or less
MOST_ROUNDS = 12
LEAST_INSIDE = 0.01  # share of places near a body that lie in it; a sheet that is not quite flat has fewer
ROUNDING = 1e-6  # of winding numbers: those of a flat sheet are one half at its sides


class Samples(NamedTuple):
    """Points x, y, z of one shape with their signed distances, negative inside, in the frame of the shape's box.

    `pos` are the points outside, `neg` those inside: DeepSDF's names.
    """

    name: str
    frame: Frame
    pos: Float[np.ndarray, "outside 4"]
    neg: Float[np.ndarray, "inside 4"]


class Places(NamedTuple):
    """Where a shape's distance is to be measured: places in the frame of its box, and the mesh in that frame."""

    name: str
    frame: Frame
    mesh: trimesh.Trimesh
    outside: Float[np.ndarray, "outside 3"]
    inside: Float[np.ndarray, "inside 3"]


def sample_distances(mesh: trimesh.Trimesh, name: str, count: int, generator: np.random.Generator) -> Samples:
    """About `count` exact signed distances, half of them inside, see `find_places`."""
    return measure_distances(find_places(mesh, name, count, generator))


def measure_distances(places: Places) -> Samples:
    """The exact distances of the places from the mesh, negative inside."""
    away = nearest_on(cut(places.mesh), np.concatenate([places.outside, places.inside])).distance
    count = len(places.outside)
    pos, neg = np.column_stack([places.outside, away[:count]]), np.column_stack([places.inside, -away[count:]])
    return Samples(places.name, places.frame, pos, neg)


def find_places(
    mesh: trimesh.Trimesh, name: str, count: int, generator: np.random.Generator, source: str | Path = ""
) -> Places:
    """About `count` places, half of them inside: some seconds less than to measure them.

    The side is that of the generalised winding number, so it holds for meshes with holes and overlapping parts.
    Raises ValueError that begins with `source` (or `name`) for a mesh without an inside.
    """
    frame = box_frame(np.asarray(mesh.vertices))
    mesh = frame.mesh_to_canonical(mesh)
    wanted, parts, found, tried = count // 2, ([], []), [0, 0], 0
    for _ in range(MOST_ROUNDS):
        points = draw_places(mesh, int(SURPLUS * count), generator)
        tried += len(points)
        inside = np.abs(winding_number(mesh, points)) > THRESHOLD + ROUNDING
        for side, chosen in enumerate((points[~inside], points[inside])):
            parts[side].append(chosen[: wanted - found[side]])
            found[side] += len(parts[side][-1])
        if min(found) >= wanted or found[1] < LEAST_INSIDE * tried:
            break
    if min(found) < wanted:
        raise ValueError(f"{source or name}: the mesh has no inside: {found[1]} of {tried} points near it lie in it")
    return Places(name, frame, mesh, *map(np.concatenate, parts))


def from_rows(name: str, pos: Float[np.ndarray, "outside 4"], neg: Float[np.ndarray, "inside 4"]) -> Samples:
    """Samples of another program, in the frame of the box that the balls inside the shape fill."""
    reach = -neg[:, 3:]
    frame = box_frame(np.concatenate([neg[:, :3] - reach, neg[:, :3] + reach]))
    sides = (np.column_stack([frame.to_canonical(side[:, :3]), side[:, 3] / frame.scale]) for side in (pos, neg))
    return Samples(name, frame, *sides)


def draw_places(mesh: trimesh.Trimesh, count: int, generator: np.random.Generator) -> Float[np.ndarray, "place 3"]:
    """Places near the surface, at two scales, and some in the whole domain; in random order."""
    points = np.asarray(sample_surface(mesh, count, seed=generator)[0])
    deviation = generator.choice(DEVIATIONS, (count, 1))
    points = points + deviation * generator.normal(size=(count, 3))
    everywhere = generator.random(count) < EVERYWHERE
    points[everywhere] = generator.uniform(-REACH, REACH, (int(everywhere.sum()), 3))
    return points
