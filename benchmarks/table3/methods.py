"""The methods of table 3: each prepares once for a size of data, then turns views into something to look at."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.ndimage import binary_dilation

from benchmarks.render.naive import render_naive
from benchmarks.table3.carving import carve
from fm_render import Mixture
from fmb.fields.looks import look
from fmb.fit.loop import compile_fit
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Images, Views, foreground
from fmb.hull.votes import Volume, look_at_volume
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import RECIPES, ShapeProgram, compile_shape_fit, fit_options, fit_to_views
from fmb.shape.start import start_mixture
from fmb.shape.supervision import Sample, Supervision

RELEASED_MARGIN = 3e-8  # alpha is clipped to [3e-8, 1 - 3e-8] in the released loss
DISSENT = 0.1  # of the carving that forgives: 3 of 32 views may be against a voxel


@dataclass(frozen=True)
class Settings:
    """What a result depends on beside model, noise, method, seed and the sources."""

    views: int = 32
    size: int = 64
    components: int = 40
    grid: int = 384
    effort: float = 1.0  # factor on the epochs of our own recipe
    unseen: int = 32
    unseen_size: int = 64


class Outcome(NamedTuple):
    """What a method found, as a function of cameras and image size, and how long that took."""

    look: Callable[[Cameras, tuple[int, int]], Images]
    seconds: float


Solve = Callable[[Views, int], Outcome]  # (training views, seed)


class Method(NamedTuple):
    """`prepare(settings)` compiles; `sources` are the files whose change makes old results void.

    `package`: what it needs beside our own environment; where that is missing the method is skipped.
    """

    prepare: Callable[[Settings], Solve]
    sources: tuple[str, ...]
    package: str | None = None


def prepare_metaballs(settings: Settings) -> Solve:
    """Our own recipe from a sphere."""
    usual = OptimizationOptions()
    epochs = max(1, round(settings.effort * usual.num_epochs))
    # a batch larger than a pass (all rays near an outline, a quarter of the others) is refused: matters to tiny data
    batch = min(usual.batch_size, _rays(settings) // 4)
    options = replace(usual, num_epochs=epochs, batch_size=batch)
    program = compile_shape_fit(_sphere(settings, 0, options.recipe), _shape(settings), options)
    return _solve_with(program, settings, options.recipe)


def prepare_predecessor(settings: Settings) -> Solve:
    """The released recipe, start and loss on the renderer as one would first write it."""
    recipe, start = RECIPES["predecessor"], _sphere(settings, 0, "predecessor")

    def loss(parameters: NamedTuple, batch: Sample) -> Array:
        mixture = recipe.decode(parameters)
        # nothing above the diagonal, which fm_render does not read, may take part
        mixture = mixture._replace(precision_cholesky=jnp.tril(mixture.precision_cholesky))
        density = render_naive(mixture, batch.pixels.rays, outputs=("density",)).density
        alpha = jnp.clip(-jnp.expm1(-density), RELEASED_MARGIN, 1 - RELEASED_MARGIN)
        seen = batch.pixels.silhouette
        return -jnp.mean(batch.weight * (seen * jnp.log(alpha) + (1 - seen) * jnp.log1p(-alpha)))

    supervision = Supervision(scale=OptimizationOptions().opt_shape_scale)
    released, sample = fit_options(OptimizationOptions(recipe="predecessor")), supervision.shapes(_rays(settings))
    fit = compile_fit(loss, recipe.coordinates, jax.eval_shape(recipe.encode, start), sample, released)
    program = ShapeProgram(fit, recipe, supervision.scale, supervision)
    return _solve_with(program, settings, "predecessor")


def prepare_carving(settings: Settings, dissent: float = 0.0) -> Solve:
    """Voxel carving; nothing to compile and nothing random."""

    def solve(views: Views, seed: int) -> Outcome:
        start = time.perf_counter()
        volume = carve(views, settings.grid, dissent=dissent)
        seconds = time.perf_counter() - start
        return Outcome(lambda cameras, image_size: look_at_volume(volume, cameras, image_size), seconds)

    return solve


def prepare_forgiving_carving(settings: Settings) -> Solve:
    """Voxel carving where DISSENT of the views may be against a voxel."""
    return prepare_carving(settings, DISSENT)


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
        pose = np.linalg.inv(np.asarray(views.cameras.world_from_camera, float))
        intrinsics = np.asarray(views.cameras.intrinsics, float)
        for mask, camera_from_world, matrix in zip(views.silhouette, pose, intrinsics, strict=True):
            camera = open3d.camera.PinholeCameraParameters()
            # there pixel (0, 0) has its centre at (0, 0)
            middle = matrix[:2, 2] - 0.5
            camera.intrinsic = open3d.camera.PinholeCameraIntrinsic(width, height, matrix[0, 0], matrix[1, 1], *middle)
            camera.extrinsic = camera_from_world
            image = open3d.geometry.Image(foreground(np.asarray(mask)).astype(np.float32))
            grid.carve_silhouette(image, camera)
        occupied = np.zeros(3 * (settings.grid,), bool)
        left = np.array([voxel.grid_index for voxel in grid.get_voxels()], int).reshape(-1, 3)
        # rounding may leave one more on an edge
        occupied[tuple(left[(left < settings.grid).all(axis=1)].T)] = True
        seconds = time.perf_counter() - start
        volume = Volume(occupied, box)
        return Outcome(lambda cameras, image_size: look_at_volume(volume, cameras, image_size), seconds)

    return solve


FIT_SOURCES = (
    "fm_render.py",
    "fm_render.py",
    "fmb/fields/mixtures.py",
    "fmb/fit/loop.py",
    "fmb/shape/recipe.py",
    "fmb/shape/supervision.py",
    "fmb/shape/attendant.py",
    "fmb/shape/attendant.py",
    "fmb/fit/losses.py",
    "fmb/shape/start.py",
    "fmb/fit/schedules.py",
)
OURS = "fuzzy metaballs"
METHODS: dict[str, Method] = {
    OURS: Method(
        prepare_metaballs,
        (*FIT_SOURCES, "fmb/shape/edges.py", "fmb/shape/attendant.py", "fmb/shape/sampling.py"),
    ),
    "predecessor's recipe": Method(prepare_predecessor, (*FIT_SOURCES, "benchmarks/render/naive.py")),
    "voxel carving": Method(prepare_carving, ("benchmarks/table3/carving.py",)),
    "voxel carving, 9 of 10": Method(prepare_forgiving_carving, ("benchmarks/table3/carving.py",)),
    "Open3D voxel carving": Method(prepare_open3d, ("benchmarks/table3/carving.py",), "open3d"),
}


def _shape(settings: Settings) -> tuple[int, int, int]:
    return settings.views, settings.size, settings.size


def _rays(settings: Settings) -> int:
    return int(np.prod(_shape(settings)))


def _sphere(settings: Settings, seed: int, recipe: str) -> Mixture:
    return start_mixture(None, ModelOptions(num_mixtures=settings.components, init="sphere"), seed, recipe).mixture


def _solve_with(program: Any, settings: Settings, recipe: str) -> Solve:
    """Start and fit; the first call is made twice, so that what it compiles on the way does not count."""
    warm = []

    def solve(views: Views, seed: int) -> Outcome:
        for _ in range(1 if warm else 2):
            start = time.perf_counter()
            mixture = _sphere(settings, seed, recipe)
            fit = fit_to_views(program, mixture, views, np.random.default_rng([seed, 3]))
            jax.block_until_ready(fit.mixture)
            seconds = time.perf_counter() - start
            warm.append(seconds)
        return Outcome(lambda cameras, image_size: look(fit.mixture, cameras, image_size), seconds)

    return solve
