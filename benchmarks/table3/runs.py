"""The runs of table 3: which there are, how each is measured, and the file that remembers them."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from scipy.ndimage import binary_dilation, binary_erosion

from benchmarks.study import digest, read_rows
from benchmarks.table3.methods import OWN, ROOT, Method, Settings, Solve
from benchmarks.table3.optional import OPTIONAL
from fmb.fields.looks import measure
from fmb.files.meshes import read_mesh
from fmb.geometry.cameras import Cameras
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import ALPHA_MARGIN
from fmb.geometry.noise import NOISES, changed_views
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Images, Views, scene_cameras
from fmb.shape.options import ModelOptions, OptimizationOptions
from util import plain

METHODS: dict[str, Method] = OWN | OPTIONAL
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


@dataclass(frozen=True)
class Run:
    """One reconstruction."""

    mesh: Path
    noise: str
    method: str
    seed: int
    settings: Settings

    @property
    def key(self) -> str:
        """Of everything that the result depends on: a changed mesh, setting or source makes it another run."""
        parts = [asdict(self.settings), self.noise, self.method, self.seed, digest(self.mesh)]
        # of fmb/options.py what is set there, not its text: options of other tasks come and go
        parts += [repr(options()) for options in (ModelOptions, OptimizationOptions, RenderingOptions)]
        sources = (*METHODS[self.method].sources, *DATA_SOURCES, *MEASURING_SOURCES, "benchmarks/table3/methods.py")
        parts += [digest(ROOT / source) for source in sources]
        name = f"{self.mesh.stem}-{self.noise}-{re.sub('[^a-z0-9]+', '_', self.method)}-{self.seed}"
        return f"{name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


class Data(NamedTuple):
    """Views to reconstruct from, and views to judge by."""

    train: Views
    unseen: Views


@lru_cache(maxsize=4)
def canonical(mesh: Path) -> trimesh.Trimesh:
    """The mesh in its canonical frame."""
    found = read_mesh(mesh)
    return canonical_frame(found).mesh_to_canonical(found)


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
        cameras = scene_cameras(generator, count, RenderingOptions(image_width=size, image_height=size))
        parts.append(render_ground_truth(canonical(mesh), cameras, (size, size), "raycast").views)
    return Data(*parts)


def data(run: Run) -> Data:
    """Views of a run, noise included."""
    found = clean_data(run.mesh, run.seed, run.settings)
    if run.noise == CLEAN:
        return found
    return found._replace(train=NOISES[run.noise](found.train, np.random.default_rng([run.seed, 2])))


def perform(run: Run, solve: Solve, folder: Path) -> dict[str, Any]:
    """The run's row, after its pictures are in the folder."""
    train, unseen = data(run)
    outcome = solve(train, run.seed)
    size = unseen.silhouette.shape[1:]
    images = outcome.look(unseen.cameras, size)
    errors = measure(images, unseen, 1.0)
    few = slice(KEPT_VIEWS)
    # views that the noise met come first, so that the pictures show it
    met = changed_views(clean_data(run.mesh, run.seed, run.settings).train, train)
    shown = np.argsort(~met, kind="stable")[few]
    np.savez_compressed(
        folder / f"{run.key}.npz",
        alpha=images.alpha[few].astype(np.float32),
        depth=np.asarray(images.depth[few], np.float32),
        reference=unseen.depth[few].astype(np.float32),
        train=np.asarray(train.silhouette[shown], np.float32),
    )
    return {
        "key": run.key,
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
    inside = np.asarray(views.silhouette) > 0.5
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


def perform_all(
    runs: Iterable[Run], folder: Path, on_run: Callable[[Run], None] = lambda run: None
) -> Iterator[dict[str, Any]]:
    """The rows of all runs; those in folder/results.jsonl are read, each other one is added to it at once."""
    path, solvers = folder / "results.jsonl", {}
    known = read_rows(path)
    with path.open("a+b") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        for run in runs:
            on_run(run)
            if run.key not in known:
                prepared = run.method, run.settings
                if prepared not in solvers:
                    solvers[prepared] = METHODS[run.method].prepare(run.settings)
                row = plain(perform(run, solvers[prepared], folder))
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
                known[run.key] = row
            yield known[run.key]
