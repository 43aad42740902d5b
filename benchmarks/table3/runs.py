"""The runs of table 3: which there are, and how each is measured."""

import os
from dataclasses import asdict
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from benchmarks.study import Job, canonical, key
from benchmarks.table3.methods import METHODS, Settings, Solve
from fmb.fields.looks import measure
from fmb.geometry.cameras import Cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import ALPHA_MARGIN
from fmb.geometry.noise import NOISES, changed_views
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Images, Views, foreground, scene_cameras
from fmb.shape.options import ModelOptions, OptimizationOptions

CLEAN = "clean"
UNSEEN_SEED = 7_2  # section 7.2; the same unseen cameras for every model, method and seed
KEPT_VIEWS = 4  # of the unseen ones, whose pictures are kept
DATA_SOURCES = (
    "fmb/geometry/noise.py",
    "fmb/geometry/ground_truth.py",
    "fmb/geometry/cameras.py",
    "fmb/geometry/frames.py",
    "benchmarks/table3/runs.py",
)
MEASURING_SOURCES = ("fmb/fields/looks.py", "fmb/geometry/metrics.py")


class Run(NamedTuple):
    """One reconstruction."""

    mesh: Path
    noise: str
    method: str
    seed: int
    settings: Settings


def job(run: Run, folder: Path) -> Job:
    """What makes the run's row, and in the folder its pictures, KEY.npz."""
    # of options what is set there, not their text: options of other tasks come and go
    usual = [repr(options()) for options in (ModelOptions, OptimizationOptions, RenderingOptions)]
    settings = [asdict(run.settings), run.noise, run.method, run.seed, *usual]
    sources = (*METHODS[run.method].sources, *DATA_SOURCES, *MEASURING_SOURCES, "benchmarks/table3/methods.py")
    mark = key(f"{run.mesh.stem}-{run.noise}-{run.method}-{run.seed}", settings, sources, [run.mesh])
    return Job(mark, partial(perform, run, folder / f"{mark}.npz"))


@cache
def prepared(method: str, settings: Settings) -> Solve:
    """The method, compiled once for data of this size."""
    return METHODS[method].prepare(settings)


class Data(NamedTuple):
    """Views to reconstruct from, and views to judge by."""

    train: Views
    unseen: Views


def silhouettes(mesh: Path, cameras: Cameras, settings: Settings) -> np.ndarray:
    """What cameras see of the mesh in its canonical frame."""
    size = settings.size, settings.size
    return np.asarray(render_ground_truth(canonical(mesh), cameras, size, "raycast").views.silhouette)


@lru_cache(maxsize=4)
def clean_data(mesh: Path, seed: int, settings: Settings) -> Data:
    """Views of the mesh in its canonical frame; training cameras by the seed, unseen ones always the same."""
    parts = []
    for generator, count, size in (
        (np.random.default_rng([seed, 1]), settings.views, settings.size),
        (np.random.default_rng(UNSEEN_SEED), settings.unseen, settings.unseen_size),
    ):
        cameras = scene_cameras(
            generator, count, RenderingOptions(image_width=size, image_height=size, camera_roll=True)
        )
        parts.append(render_ground_truth(canonical(mesh), cameras, (size, size), "raycast").views)
    return Data(*parts)


def data(run: Run) -> Data:
    """Views of a run, noise included."""
    found = clean_data(run.mesh, run.seed, run.settings)
    if run.noise == CLEAN:
        return found
    return found._replace(train=NOISES[run.noise](found.train, np.random.default_rng([run.seed, 2])))


def perform(run: Run, pictures: Path) -> dict[str, Any]:
    """The run's row, after its pictures are written."""
    train, unseen = data(run)
    outcome = prepared(run.method, run.settings)(train, run.seed)
    size = unseen.silhouette.shape[1:]
    images = outcome.look(unseen.cameras, size)
    errors = measure(images, unseen, 1.0)
    few = slice(KEPT_VIEWS)
    # views that the noise met come first, so that the pictures show it
    met = changed_views(clean_data(run.mesh, run.seed, run.settings).train, train)
    shown = np.argsort(~met, kind="stable")[few]
    np.savez_compressed(
        pictures,
        alpha=images.alpha[few].astype(np.float32),
        depth=np.asarray(images.depth[few], np.float32),
        reference=unseen.depth[few].astype(np.float32),
        train=np.asarray(train.silhouette[shown], np.float32),
    )
    return {
        "model": run.mesh.stem,
        "noise": run.noise,
        "method": run.method,
        "seed": run.seed,
        "cross_entropy": errors["cross_entropy"],
        "iou": errors["iou"],
        "depth_percent": 100.0 * errors["depth_mae"],
        "seconds": outcome.seconds,
        "load": os.getloadavg()[0],
        **where_wrong(images, unseen),
    }


def where_wrong(images: Images, views: Views) -> dict[str, float]:
    """Shares of pixels at the outline (within one pixel), and of the cross-entropy there and inside the silhouette."""
    inside = foreground(np.asarray(views.silhouette))
    cross = np.zeros((1, 3, 3), bool)
    cross[0, 1], cross[0, :, 1] = True, True
    edge = binary_dilation(inside, cross) & ~binary_erosion(inside, cross, border_value=1)
    alpha = np.clip(np.asarray(images.alpha, float), ALPHA_MARGIN, 1.0 - ALPHA_MARGIN)
    error = -np.where(inside, np.log(alpha), np.log1p(-alpha))
    total = error.sum()
    return {
        "outline": float(edge.mean()),
        "error_at_outline": float(error[edge].sum() / total),
        "error_inside": float(error[inside].sum() / total),
    }
