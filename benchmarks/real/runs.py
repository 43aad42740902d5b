"""Real sequences: each is read, every fifth view is left out, a mixture is fitted to the others and measured."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.table3.carving import carve
from fm_render import Mixture
from fmb.fields.looks import look
from fmb.fields.mixtures import fit_gmm, in_single
from fmb.files.captures.read import read_capture
from fmb.geometry.frames import Frame
from fmb.geometry.metrics import iou
from fmb.geometry.views import Images, Views, select_views
from fmb.hull.frame import framed_hull, hull_points
from fmb.hull.votes import look_at_volume
from fmb.shape.attendant import outline_error, outline_length
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture

SOURCES = (
    "benchmarks/real/runs.py",
    "fm_render.py",
    "fmb/shape/recipe.py",
    "fmb/shape/attendant.py",
    "fmb/fit/loop.py",
)
LEFT_OUT = 5  # every fifth view
HULL_GRID = 96  # voxels of the hull that gives the frame and the points to start from
CARVING_GRID = 192  # voxels of the hull that is measured beside the fit
SHIFT_STEPS = (1.0, 0.5)  # pixels: of the search for the shift of a view
GMM_POINTS = 20_000


@dataclass(frozen=True)
class Settings:
    """What a result depends on beside sequence and number of components; the same for all of them."""

    side: int = 160
    epochs: int = 100
    batch: int = 2048
    start: str = "hull"  # EM on points of the visual hull; or "sphere"
    seed: int = 0


class Sequence(NamedTuple):
    """Views in the canonical frame that their training part gives; `shown` are those left out of the fit."""

    name: str
    train: Views
    shown: Views
    shown_names: tuple[str, ...]
    frame: Frame
    start_points: np.ndarray


class Result(NamedTuple):
    """A mixture in the canonical frame and what was measured of it."""

    mixture: Mixture
    row: Mapping[str, Any]


def read_sequence(folder: Path, settings: Settings) -> Sequence:
    """The data set, reduced to settings.side pixels; frame and hull come from the training views alone."""
    capture = read_capture(folder, longest_side=settings.side)
    out = left_out(len(capture.names))
    views = capture.views._replace(depth=None)
    frame, volume = framed_hull(select_views(views, np.flatnonzero(~out)), HULL_GRID)
    views = views._replace(cameras=frame.cameras_to_canonical(views.cameras))
    names = tuple(name for name, shown in zip(capture.names, out, strict=True) if shown)
    parts = (select_views(views, np.flatnonzero(which)) for which in (~out, out))
    points = hull_points(volume, GMM_POINTS, np.random.default_rng(settings.seed))
    return Sequence(folder.name, *parts, names, frame, points)


def left_out(count: int) -> np.ndarray:
    """Which views are left out: the fifth, the tenth and so on."""
    return np.arange(count) % LEFT_OUT == LEFT_OUT - 1


def start_of(sequence: Sequence, components: int, settings: Settings) -> Mixture:
    """The mixture that the fit begins with, in float32."""
    if settings.start == "sphere":
        return start_mixture(None, ModelOptions(num_mixtures=components, init="sphere"), settings.seed).mixture
    return in_single(fit_gmm(sequence.start_points, components, settings.seed))


def fit_sequence(sequence: Sequence, components: int, settings: Settings) -> Result:
    """Fit and measurement; the seconds are those of the fit after compilation."""
    usual = OptimizationOptions()
    options = replace(usual, num_epochs=settings.epochs, batch_size=settings.batch)
    silhouettes = sequence.train._replace(color=None)
    start = start_of(sequence, components, settings)
    program = compile_shape_fit(start, silhouettes.silhouette.shape, options)
    began = time.perf_counter()
    fit = fit_to_views(program, start, silhouettes, np.random.default_rng([settings.seed, 3]))
    jax.block_until_ready(fit.mixture)
    seconds = time.perf_counter() - began
    errors = {part: agreement(fit.mixture, getattr(sequence, part)) for part in ("train", "shown")}
    row = {
        "name": sequence.name,
        "components": components,
        "settings": asdict(settings),
        "views": [len(sequence.train.silhouette), len(sequence.shown.silhouette)],
        "size": [int(x) for x in sequence.train.silhouette.shape[:0:-1]],
        "iou": errors["shown"]["iou"],
        "worst": min(errors["shown"]["each"]),
        "off": errors["shown"]["off"],
        "moved_iou": moved_agreement(fit.mixture, sequence.shown),
        "train_iou": errors["train"]["iou"],
        "seconds": seconds,
        "load": os.getloadavg()[0],
        "steps": len(fit.history.step),
        "unbelieved": float(1.0 - fit.believed.mean()),
    }
    return Result(fit.mixture, row)


def agreement(mixture: Mixture, views: Views) -> dict[str, Any]:
    """How well the mixture agrees with the masks; see `overlaps`."""
    alpha = look(mixture, views.cameras, views.silhouette.shape[1:]).alpha
    return overlaps(alpha, views)


def overlaps(alpha: np.ndarray, views: Views) -> dict[str, Any]:
    """IoU over all pixels of all views, that of each view, and how many pixels outlines are off in the mean."""
    valid = views.valid if views.valid is not None else np.ones(views.silhouette.shape, bool)
    each = [iou(*images) for images in zip(alpha, views.silhouette, valid, strict=True)]
    off = outline_error(alpha, views.silhouette, valid, outline_length(views.silhouette, valid)).mean()
    return {"iou": iou(alpha, views.silhouette, valid), "each": each, "off": float(off)}


def moved_agreement(mixture: Mixture, views: Views) -> float:
    """IoU over all views if each may first be moved by the shift that suits it best, in half pixels.

    What the shift gains is the error of the view's camera, not of the shape.
    """
    image_size, best = views.silhouette.shape[1:], np.full(len(views.silhouette), -1.0)
    shift = np.zeros((len(best), 2))
    for step in SHIFT_STEPS:
        middle = shift.copy()
        for offset in step * (np.argwhere(np.ones((3, 3))) - 1.0):
            intrinsics = np.array(views.cameras.intrinsics, float)
            intrinsics[:, :2, 2] += middle + offset
            seen = look(mixture, views.cameras._replace(intrinsics=intrinsics), image_size).alpha
            each = np.array(overlaps(seen, views)["each"])
            better = each > best
            shift[better], best[better] = (middle + offset)[better], each[better]
    intrinsics = np.array(views.cameras.intrinsics, float)
    intrinsics[:, :2, 2] += shift
    moved = views._replace(cameras=views.cameras._replace(intrinsics=intrinsics))
    return agreement(mixture, moved)["iou"]


def hull_agreement(sequence: Sequence) -> float:
    """IoU of the visual hull of the training views with the masks of the views left out."""
    volume = carve(sequence.train, CARVING_GRID)
    seen: Images = look_at_volume(volume, sequence.shown.cameras, sequence.shown.silhouette.shape[1:])
    return overlaps(seen.alpha, sequence.shown)["iou"]
