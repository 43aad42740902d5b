"""How well a surface agrees with a reference: every measure of it in one record, with all that it depends on.

Distances are exact, from samples of one surface to the whole other one, so they are 0 for equal surfaces. Beside them
stand distances between samples, as most papers print them. These have a floor: that of two samplings of the reference.
"""

from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.geometry.distances import Pieces, cut, nearest_on
from fmb.geometry.interior import solid_cells
from fmb.geometry.metrics import POINTS

THRESHOLD = 0.01  # of the reference's longest side: nearer points count as found in the F-score
CELLS_PER_DIAGONAL = 100  # of the voxels, along the diagonal of the box of both surfaces
FARTHEST_CENTRES, LARGEST_RATIO = 3.0, 10.0  # of the boxes, in longest sides: beyond, frames differ


class Sides(NamedTuple):
    """Distances, and angles of normals in degrees, from samples of each surface to the other."""

    there: Float[np.ndarray, " point"]  # from the reference to the mesh: what the mesh lacks
    back: Float[np.ndarray, " other"]  # from the mesh to the reference: what it has too much
    there_degrees: Float[np.ndarray, " point"]
    back_degrees: Float[np.ndarray, " other"]


class Sampled(NamedTuple):
    """A surface, its pieces, samples of it and their normals."""

    pieces: Pieces
    point: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"]
    face_normal: Float[np.ndarray, "face 3"]


def compare(
    mesh: trimesh.Trimesh,
    reference: trimesh.Trimesh,
    count: int = POINTS,
    seed: int = 0,
    unit: float | None = None,
    threshold: float = THRESHOLD,
) -> dict[str, Any]:
    """The record of a mesh against its reference, both in one frame; ready for JSON.

    Distances are in units of `unit`, by default the longest side of the reference's box. "exact" and "sampled" have
    Chamfer (mean of both directions), the mean of each direction, the mean square, Hausdorff (largest of both), the
    angle of normals in degrees, and the F-score at `threshold`. "floor" has what "sampled" is between two samplings of
    the reference. Raises ValueError for an empty mesh, and where the two can hardly be in one frame.
    """
    check_frames(mesh.bounds, reference.bounds)
    generator = np.random.default_rng(seed)
    sides = np.ptp(reference.bounds, axis=0)
    unit = float(sides.max()) if unit is None else unit
    here, there = sampled(mesh, count, generator), sampled(reference, count, generator)
    again = sampled(reference, count, generator, there.pieces)
    return {
        "exact": summary(exact_sides(here, there), unit, threshold),
        "sampled": summary(sampled_sides(here, there), unit, threshold),
        "floor": summary(sampled_sides(again, there), unit, threshold),
        "voxel_iou": voxel_iou(mesh, reference),
        **topology(mesh),
        "reference": topology(reference),
        "samples": count,
        "seed": seed,
        "unit": unit,
        "threshold": threshold,
        "cells_per_diagonal": CELLS_PER_DIAGONAL,
    }


def check_frames(box: Float[np.ndarray, "2 3"] | None, reference: Float[np.ndarray, "2 3"] | None) -> None:
    """Raises ValueError where boxes, lower and upper corner, are so far apart or unlike that frames must differ."""
    if box is None or reference is None:
        raise ValueError("a mesh without faces cannot be compared")
    size, expected = (float(np.ptp(corners, axis=0).max()) for corners in (box, reference))
    away = float(np.linalg.norm(box.mean(axis=0) - reference.mean(axis=0))) / expected
    if away > FARTHEST_CENTRES:
        raise ValueError(
            f"reference in another frame: the centres are {away:.3g} sizes apart, at most {FARTHEST_CENTRES:g}"
        )
    if not 1.0 / LARGEST_RATIO <= size / expected <= LARGEST_RATIO:
        most = f"at most {LARGEST_RATIO:g} times as large"
        raise ValueError(f"reference in another unit: the sizes are {size:.3g} and {expected:.3g}, {most}")


def sampled(mesh: trimesh.Trimesh, count: int, generator: np.random.Generator, pieces: Pieces | None = None) -> Sampled:
    """The mesh with `count` samples of it, uniform by area, each with the normal of the face that it lies on."""
    pieces = pieces or cut(mesh)
    point, face = sample_surface(mesh, count, seed=generator)
    corner = np.asarray(mesh.triangles, float)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    return Sampled(pieces, np.asarray(point), normal[face], normal)


def exact_sides(mesh: Sampled, reference: Sampled) -> Sides:
    """From the samples of each to the other's surface."""
    there, back = nearest_on(mesh.pieces, reference.point), nearest_on(reference.pieces, mesh.point)
    degrees = _degrees(reference.normal, mesh.face_normal[there.face], mesh.normal, reference.face_normal[back.face])
    return Sides(there.distance, back.distance, *degrees)


def sampled_sides(mesh: Sampled, reference: Sampled) -> Sides:
    """From the samples of each to the other's samples."""
    there, place = cKDTree(mesh.point).query(reference.point)
    back, other = cKDTree(reference.point).query(mesh.point)
    degrees = _degrees(reference.normal, mesh.normal[place], mesh.normal, reference.normal[other])
    return Sides(there, back, *degrees)


def _degrees(*normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles of the first two and of the last two normals; if one surface is inside out, of the turned ones."""
    cosines = [np.clip(np.sum(normals[k] * normals[k + 1], axis=1), -1.0, 1.0) for k in (0, 2)]
    straight = [np.rad2deg(np.arccos(cosine)) for cosine in cosines]
    turned = [180.0 - angle for angle in straight]
    first, second = min((straight, turned), key=lambda pair: pair[0].mean() + pair[1].mean())
    return first, second


def summary(sides: Sides, unit: float, threshold: float) -> dict[str, float]:
    """Chamfer and the others, see `compare`."""
    there, back = sides.there / unit, sides.back / unit
    recall, precision = float(np.mean(there < threshold)), float(np.mean(back < threshold))
    return {
        "chamfer": float(there.mean() + back.mean()) / 2,
        "from_reference": float(there.mean()),
        "to_reference": float(back.mean()),
        "squared": float(np.mean(there**2) + np.mean(back**2)) / 2,
        "hausdorff": float(max(there.max(), back.max())),
        "normal_degrees": float(sides.there_degrees.mean() + sides.back_degrees.mean()) / 2,
        "f_score": 2 * recall * precision / (recall + precision) if recall + precision else 0.0,
    }


def voxel_iou(mesh: trimesh.Trimesh, reference: trimesh.Trimesh, cells: int = CELLS_PER_DIAGONAL) -> float:
    """Intersection over union of the solids, in cells over the box of both, so many along its diagonal.

    Raises ValueError where neither has a cell.
    """
    lower, upper = np.minimum(mesh.bounds[0], reference.bounds[0]), np.maximum(mesh.bounds[1], reference.bounds[1])
    side = float(np.linalg.norm(upper - lower)) / cells
    first, second, third = (int(n) for n in np.ceil((upper - lower) / side).astype(int) + 1)
    own, other = (solid_cells(part, lower - side / 2, side, (first, second, third)) for part in (mesh, reference))
    union = int(np.count_nonzero(own | other))
    if not union:
        raise ValueError(f"voxel IoU: neither surface encloses the middle of one of {cells} cells along the diagonal")
    return int(np.count_nonzero(own & other)) / union


def topology(mesh: trimesh.Trimesh) -> dict[str, Any]:
    """Euler number, connected pieces, and whether it is closed; where it is not, vertices at one place count once.

    Marching cubes may put several vertices at one place: to join those of a closed surface would tear it.
    """
    joined = mesh
    if not mesh.is_watertight:
        joined = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
        joined.update_faces(joined.nondegenerate_faces())
    return {
        "euler": int(joined.euler_number),
        "components": int(joined.body_count),
        "watertight": bool(joined.is_watertight),
    }
