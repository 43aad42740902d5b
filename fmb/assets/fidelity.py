"""How far a mesh is from a reference mesh: distances between their surfaces and angles between their normals."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.metrics import chamfer_distance

POINTS = 30_000  # on each surface


class MeshErrors(NamedTuple):
    """Distances in the unit of the meshes; `floor` is the Chamfer distance of two samplings of the reference."""

    chamfer: float
    floor: float
    normal_degrees: float  # mean angle of the normals at nearest points, over both directions


def mesh_errors(
    mesh: trimesh.Trimesh, reference: trimesh.Trimesh, generator: np.random.Generator, count: int = POINTS
) -> MeshErrors:
    """Errors between `count` points on each surface, which also says how far apart two samplings of one are."""
    point, normal = _oriented(mesh, count, generator)
    other, other_normal = _oriented(reference, count, generator)
    again, _ = _oriented(reference, count, generator)
    angles = [_angles(point, normal, other, other_normal), _angles(other, other_normal, point, normal)]
    degrees = float(np.rad2deg(np.mean(angles)))
    return MeshErrors(chamfer_distance(point, other), chamfer_distance(again, other), degrees)


def _oriented(mesh: trimesh.Trimesh, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    point, face = sample_surface(mesh, count, seed=generator)
    corner = np.asarray(mesh.triangles)[face]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return np.asarray(point), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _angles(
    point: Float[np.ndarray, "point 3"],
    normal: Float[np.ndarray, "point 3"],
    other: Float[np.ndarray, "other 3"],
    other_normal: Float[np.ndarray, "other 3"],
) -> Float[np.ndarray, " point"]:
    nearest = cKDTree(other).query(point)[1]
    return np.arccos(np.clip(np.sum(normal * other_normal[nearest], axis=1), -1.0, 1.0))
