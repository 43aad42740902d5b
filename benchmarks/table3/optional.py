"""Methods of table 3 from other people's packages: Open3D's voxel carving, PyTorch3D's points and meshes.

Neither package is in this project's environment; where one is missing, its methods are skipped. Open3D's was run with
0.20 (CPU). PyTorch3D's follow the documentation of 0.7 and have not been run by this project: no build for Python 3.11
could be had. They start from a sphere of the canonical scale and minimise the cross-entropy by Adam, as the paper says
that it did; sizes are the paper's, what it does not say is that of PyTorch3D's own tutorials.
"""

import importlib
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation

from benchmarks.table3.carving import carve
from benchmarks.table3.methods import Method, Outcome, Settings, Solve
from fmb.geometry.cameras import Cameras
from fmb.geometry.metrics import ALPHA_MARGIN
from fmb.geometry.views import Images, Views, foreground
from fmb.hull.votes import Volume, look_at_volume

POINTS = 470  # as exact as 40 components in pose, says section 6
POINT_RADIUS = 0.1  # of half an image: 3 of 64 pixels, so that 470 of them close a surface
POINTS_PER_PIXEL = 10
SUBDIVISIONS = 2  # of the icosphere (section 7.2)
SOFTNESS = 1e-4  # sigma of SoftRas, square of half an image
FACES_PER_PIXEL = 50
STEPS, VIEWS_PER_STEP, RATE = 2000, 2, 0.01


class Shape(NamedTuple):
    """Something of PyTorch3D's: where its points start, by seed, and its images from (points, cameras, image size)."""

    start: Callable[[int], Any]
    alpha: Callable[..., Any]
    depth: Callable[..., Any]


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


def prepare_points(settings: Settings) -> Solve:
    """PyTorch3D's points: discs of one size that fade to their rim, composited by alpha."""
    import torch
    from pytorch3d import renderer
    from pytorch3d.structures import Pointclouds

    def prepared(position: Any, cameras: Any, image_size: tuple[int, int]) -> tuple[Any, Any]:
        options = renderer.PointsRasterizationSettings(
            image_size=image_size, radius=POINT_RADIUS, points_per_pixel=POINTS_PER_PIXEL
        )
        ones = [torch.ones_like(position[:, :1])] * len(cameras)
        clouds = Pointclouds(points=[position] * len(cameras), features=ones)
        return clouds, renderer.PointsRasterizer(cameras=cameras, raster_settings=options)

    def alpha(*given: Any) -> Any:
        clouds, rasterizer = prepared(*given)
        return renderer.PointsRenderer(rasterizer=rasterizer, compositor=renderer.AlphaCompositor())(clouds)[..., 0]

    def depth(*given: Any) -> Any:
        clouds, rasterizer = prepared(*given)
        return rasterizer(clouds).zbuf[..., 0]

    def start(seed: int) -> Any:
        # three standard deviations are one scale
        return torch.tensor(np.random.default_rng([seed, 4]).normal(size=(POINTS, 3)) / 3.0, dtype=torch.float32)

    return _fit_by_torch(Shape(start, alpha, depth))


def prepare_mesh(settings: Settings) -> Solve:
    """PyTorch3D's mesh, the soft rasterizer: faces that fade around their edges."""
    from pytorch3d import renderer
    from pytorch3d.structures import Meshes
    from pytorch3d.utils import ico_sphere

    sphere = ico_sphere(SUBDIVISIONS)
    shader = renderer.SoftSilhouetteShader(blend_params=renderer.BlendParams(sigma=SOFTNESS))

    def prepared(position: Any, cameras: Any, **options: Any) -> tuple[Any, Any]:
        mesh = Meshes(verts=[position] * len(cameras), faces=[sphere.faces_packed()] * len(cameras))
        settings = renderer.RasterizationSettings(**options)
        return mesh, renderer.MeshRasterizer(cameras=cameras, raster_settings=settings)

    def alpha(position: Any, cameras: Any, image_size: tuple[int, int]) -> Any:
        # where a face fades to 1e-4, as in the tutorial
        reach = float(np.log(1e4 - 1.0)) * SOFTNESS
        options = {"image_size": image_size, "blur_radius": reach, "faces_per_pixel": FACES_PER_PIXEL}
        mesh, rasterizer = prepared(position, cameras, **options)
        return renderer.MeshRenderer(rasterizer=rasterizer, shader=shader)(mesh)[..., 3]

    def depth(position: Any, cameras: Any, image_size: tuple[int, int]) -> Any:
        mesh, rasterizer = prepared(position, cameras, image_size=image_size, blur_radius=0.0, faces_per_pixel=1)
        return rasterizer(mesh).zbuf[..., 0]

    def start(seed: int) -> Any:
        # of radius 1 / sqrt 3 the sphere has the scale 1
        return sphere.verts_packed() / 3.0**0.5

    return _fit_by_torch(Shape(start, alpha, depth))


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


def _fit_by_torch(shape: Shape) -> Solve:
    """Adam on positions against the silhouettes of a few random views at a time; nothing to compile."""
    import torch

    def solve(views: Views, seed: int) -> Outcome:
        began, generator = time.perf_counter(), np.random.default_rng([seed, 3])
        position = shape.start(seed).clone().requires_grad_()
        optimizer, image_size = torch.optim.Adam([position], RATE), views.silhouette.shape[1:]
        for _ in range(STEPS):
            few = generator.choice(len(views.silhouette), min(VIEWS_PER_STEP, len(views.silhouette)), replace=False)
            seen = torch.tensor(np.asarray(views.silhouette)[few], dtype=torch.float32)
            cameras = Cameras(*(np.asarray(field)[few] for field in views.cameras))
            alpha = shape.alpha(position, _torch_cameras(cameras, image_size), image_size)
            loss = torch.nn.functional.binary_cross_entropy(alpha.clamp(ALPHA_MARGIN, 1.0 - ALPHA_MARGIN), seen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - began
        return Outcome(lambda cameras, size: _seen(shape, position.detach(), cameras, size), seconds)

    return solve


def _torch_cameras(cameras: Cameras, image_size: tuple[int, int]) -> Any:
    import torch
    from pytorch3d.utils import cameras_from_opencv_projection

    pose, intrinsics = (torch.tensor(x, dtype=torch.float32) for x in opencv_cameras(cameras))
    sizes = torch.tensor([image_size] * len(pose))
    # as here, there the middle of an image is at (width / 2, height / 2)
    return cameras_from_opencv_projection(pose[:, :3, :3], pose[:, :3, 3], intrinsics, sizes)


def _seen(shape: Shape, position: Any, cameras: Cameras, image_size: tuple[int, int]) -> Images:
    given = position, _torch_cameras(cameras, image_size), image_size
    alpha, depth = (image(*given).numpy().astype(float) for image in (shape.alpha, shape.depth))
    # -1 is background
    return Images(alpha, np.where(depth >= 0.0, depth, np.nan))


_SOURCES = ("benchmarks/table3/optional.py",)
OPTIONAL: dict[str, Method] = {
    "Open3D voxel carving": Method(prepare_open3d, (*_SOURCES, "benchmarks/table3/carving.py"), "open3d"),
    "PyTorch3D points": Method(prepare_points, _SOURCES, "pytorch3d"),
    "PyTorch3D mesh (SoftRas)": Method(prepare_mesh, _SOURCES, "pytorch3d"),
}
