"""The methods of the table: ours, and Poisson and moving least squares of pymeshlab and Open3D.

The others need normals, which are estimated by their own packages. Their settings were tried by hand for each noise,
which they are told; ours see the points alone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import trimesh

from fmb.clouds.evidence import examine
from fmb.clouds.options import PointsOptions
from fmb.clouds.surface import certain_surface, supported, uncertainty
from fmb.clouds.table import METHODS as OURS

CELLS = 192  # along the longest side of our surfaces
# neighbours for normals, depth of the octree, scale of moving least squares: those that did best on dragon and spot
SETTINGS = {"none": (16, 8, 2.0), "medium": (48, 7, 4.0), "strong": (200, 5, 8.0)}


class Method(NamedTuple):
    """Points, name of their noise and seed to a mesh; the package that it needs, empty for ours."""

    make: Callable[[np.ndarray, str, int], trimesh.Trimesh]
    package: str = ""


def ours(name: str, components: int = 40, preset: str = "fast") -> Callable:
    """A method of task `points`."""

    def make(points: np.ndarray, noise: str, seed: int) -> trimesh.Trimesh:
        options = replace(PointsOptions(), points_method=name, preset=preset, components=components)
        evidence = examine(points)
        state = OURS[name].fit(points, None, options, np.random.default_rng(seed), evidence=evidence)
        mesh, _ = certain_surface(state.field, CELLS, points, uncertainty(state.field, points[evidence.kept]))
        return supported(mesh, points, evidence.spacing)[0]

    return make


def meshlab_poisson(points: np.ndarray, noise: str, seed: int) -> trimesh.Trimesh:
    """Screened Poisson reconstruction; several threads make it ten times slower on two cores."""
    meshes = _meshlab(points, noise)
    meshes.generate_surface_reconstruction_screened_poisson(depth=SETTINGS[noise][1], threads=1)
    return _taken(meshes)


def meshlab_least_squares(points: np.ndarray, noise: str, seed: int) -> trimesh.Trimesh:
    """Algebraic point set surfaces: moving least squares, by marching cubes."""
    meshes = _meshlab(points, noise)
    meshes.generate_marching_cubes_apss(filterscale=SETTINGS[noise][2], resolution=128)
    return _taken(meshes)


def _meshlab(points: np.ndarray, noise: str):
    import pymeshlab

    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.add_mesh(pymeshlab.Mesh(points))
    meshes.compute_normal_for_point_clouds(k=SETTINGS[noise][0])
    return meshes


def _taken(meshes) -> trimesh.Trimesh:
    made = meshes.current_mesh()
    return trimesh.Trimesh(made.vertex_matrix(), made.face_matrix())


def open3d_poisson(points: np.ndarray, noise: str, seed: int) -> trimesh.Trimesh:
    """Screened Poisson reconstruction after normals that were made to agree along a tree."""
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(SETTINGS[noise][0]))
    cloud.orient_normals_consistent_tangent_plane(15)
    made, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=SETTINGS[noise][1], n_threads=1)
    mesh = trimesh.Trimesh(np.asarray(made.vertices), np.asarray(made.triangles))
    if mesh.volume < 0.0:
        mesh.invert()
    return mesh


METHODS: dict[str, Method] = {
    "metaballs 40": Method(ours("metaballs")),
    "metaballs 200": Method(ours("metaballs", 200)),
    **{f"{name} fast": Method(ours(name)) for name in ("diff_cd", "igr", "neural_pull", "siren")},
    "diff_cd quality": Method(ours("diff_cd", preset="quality")),
    "Poisson, pymeshlab": Method(meshlab_poisson, "pymeshlab"),
    "Poisson, Open3D": Method(open3d_poisson, "open3d"),
    "least squares, pymeshlab": Method(meshlab_least_squares, "pymeshlab"),
}
