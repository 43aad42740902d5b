"""Open3D's voxel carving in table 3. Open3D is not in this project's environment; it was run with 0.20 (CPU)."""

import importlib
import time
from collections.abc import Iterable

import numpy as np
from scipy.ndimage import binary_dilation

from benchmarks.table3.carving import carve
from benchmarks.table3.methods import Method, Outcome, Settings, Solve
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views, foreground
from fmb.hull.votes import Volume, look_at_volume


def prepare_open3d(settings: Settings) -> Solve:
    """Open3D's carving of a dense grid; it keeps a voxel while some corner of it meets the mask in every view.

    As it is used by default: what lies outside an image is carved away.
    """
    import open3d

    def solve(views: Views, seed: int) -> Outcome:
        start = time.perf_counter()
        # a corner counts where any of the four pixels around it does: masks are a pixel larger to it
        grown = binary_dilation(foreground(np.asarray(views.silhouette)), np.ones((1, 3, 3), bool))
        box = carve(views._replace(silhouette=grown.astype(float)), 1).box
        size, white = box.edge / settings.grid, np.ones(3)
        grid = open3d.geometry.VoxelGrid.create_dense(np.array(box.lower), white, size, *(3 * [box.edge]))
        height, width = views.silhouette.shape[1:]
        pose, intrinsics = opencv_cameras(views.cameras)
        for mask, camera_from_world, matrix in zip(views.silhouette, pose, intrinsics, strict=True):
            camera = open3d.camera.PinholeCameraParameters()
            # there pixel (0, 0) has its centre at (0, 0)
            middle = matrix[:2, 2] - 0.5
            camera.intrinsic = open3d.camera.PinholeCameraIntrinsic(width, height, matrix[0, 0], matrix[1, 1], *middle)
            camera.extrinsic = camera_from_world
            image = open3d.geometry.Image((foreground(np.asarray(mask))).astype(np.float32))
            grid.carve_silhouette(image, camera)
        occupied = np.zeros(3 * (settings.grid,), bool)
        left = np.array([voxel.grid_index for voxel in grid.get_voxels()], int).reshape(-1, 3)
        # rounding may leave one more on an edge
        occupied[tuple(left[(left < settings.grid).all(axis=1)].T)] = True
        seconds = time.perf_counter() - start
        volume = Volume(occupied, box)
        return Outcome(lambda cameras, image_size: look_at_volume(volume, cameras, image_size), seconds)

    return solve


def opencv_cameras(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """World to camera [view, 4, 4] and intrinsics [view, 3, 3], in double precision."""
    pose = np.linalg.inv(np.asarray(cameras.world_from_camera, float))
    return pose, np.asarray(cameras.intrinsics, float)


def missing_packages(methods: Iterable[Method]) -> dict[str, str]:
    """The packages of these methods that cannot be imported, each with the reason."""
    missing = {}
    for package in sorted({method.package for method in methods if method.package}):
        try:
            importlib.import_module(package)
        except ImportError as error:
            missing[package] = str(error)
    return missing


_SOURCES = ("benchmarks/table3/optional.py",)
OPTIONAL: dict[str, Method] = {
    "Open3D voxel carving": Method(prepare_open3d, (*_SOURCES, "benchmarks/table3/carving.py"), "open3d"),
}
