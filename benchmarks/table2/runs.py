"""The runs of table 2: which there are, and how each is measured."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.study import Job, key
from benchmarks.table2.methods import KNOWN, Estimate, Model
from benchmarks.table2.scenes import NOISY, Settings, trial
from fmb.geometry.metrics import object_pose_error
from fmb.pose.simulation import Exposure

SUCCESS = 5.0  # combined error below which a trial succeeded
SCENE_SOURCES = (
    "benchmarks/table2/scenes.py",
    "fmb/geometry/ground_truth.py",
    "fmb/geometry/cameras.py",
    "fmb/geometry/frames.py",
)


class Run(NamedTuple):
    """One trial of one method on one model."""

    mesh: Path
    noise: str
    method: str
    number: int
    settings: Settings


def plan(
    meshes: Iterable[Path], trials: int, noises: Iterable[str], methods: Iterable[str], settings: Settings
) -> list[Run]:
    """All runs, model by model and method by method, so that each is prepared once."""
    return [
        Run(mesh, noise, method, number, settings)
        for mesh in meshes
        for method in methods
        for noise in noises
        for number in range(trials)
    ]


def job(run: Run, folder: Path) -> Job:
    """What makes the run's row; mixtures are kept in the folder."""
    sources = (*KNOWN[run.method].sources, *SCENE_SOURCES, *(("fmb/pose/simulation.py",) if run.noise == NOISY else ()))
    name = f"{run.mesh.stem}-{run.noise}-{run.method}-{run.number}"
    model = Model(run.mesh, run.settings, folder / "mixtures")
    return Job(key(name, [asdict(run.settings), run.method], sources, [run.mesh]), partial(perform, run, model))


@lru_cache(maxsize=1)
def prepared(method: str, model: Model) -> Callable[[Exposure, np.ndarray], tuple[Estimate, float]]:
    """The method for this model: estimate and seconds; the first trial is made twice, for that compiles."""
    solve, warm = KNOWN[method].prepare(model), []

    def timed(exposure: Exposure, start: np.ndarray) -> tuple[Estimate, float]:
        if not warm:
            warm.append(solve(exposure, start))
        began = time.perf_counter()
        estimate = solve(exposure, start)
        return estimate, time.perf_counter() - began

    return timed


def perform(run: Run, model: Model) -> dict[str, Any]:
    """The run's row."""
    found = trial(run.mesh, run.number, run.noise, run.settings)
    estimate, seconds = prepared(run.method, model)(found.exposure, found.start)
    error = object_pose_error(estimate.camera_from_object, found.truth, 1.0)
    return {
        "model": run.mesh.stem,
        "noise": run.noise,
        "method": run.method,
        "number": run.number,
        "degrees": error.rotation_degrees,
        "percent": error.translation_percent,
        "error": error.combined,
        "success": error.combined <= SUCCESS,
        "claimed": estimate.claimed,
        "seconds": seconds,
        "iterations": estimate.iterations,
        "pose": estimate.camera_from_object.tolist(),
    }
