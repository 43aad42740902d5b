"""The runs of table 2: which there are, how each is measured, and the file that remembers them."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.study import digest, read_rows
from benchmarks.table2.methods import FIDELITY, OWN, Method, Model, Solve
from benchmarks.table2.optional import OPTIONAL
from benchmarks.table2.scenes import NOISY, Settings, trial
from benchmarks.table3.methods import ROOT
from fmb.geometry.metrics import object_pose_error
from util import plain

METHODS: dict[str, Method] = OWN | OPTIONAL  # of the table
KNOWN: dict[str, Method] = {**METHODS, **{name: method for kind in FIDELITY.values() for name, method in kind.items()}}
SUCCESS = 5.0  # combined error below which a trial succeeded
SCENE_SOURCES = (
    "benchmarks/table2/scenes.py",
    "fmb/geometry/ground_truth.py",
    "fmb/geometry/cameras.py",
    "fmb/geometry/frames.py",
)


@dataclass(frozen=True)
class Run:
    """One trial of one method on one model."""

    mesh: Path
    noise: str
    method: str
    number: int
    settings: Settings

    @property
    def key(self) -> str:
        """Of everything that the result depends on: a changed mesh, setting or source makes it another run."""
        sources = (
            *KNOWN[self.method].sources,
            *SCENE_SOURCES,
            *(("fmb/pose/simulation.py",) if self.noise == NOISY else ()),
        )
        parts = [asdict(self.settings), self.method, digest(self.mesh), *(digest(ROOT / source) for source in sources)]
        name = f"{self.mesh.stem}-{self.noise}-{self.number}"
        return f"{name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


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


def perform(run: Run, solve: Solve) -> dict[str, Any]:
    """The run's row."""
    found = trial(run.mesh, run.number, run.noise, run.settings)
    start = time.perf_counter()
    estimate = solve(found.exposure, found.start)
    seconds = time.perf_counter() - start
    error = object_pose_error(estimate.camera_from_object, found.truth, 1.0)
    return {
        "key": run.key,
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


def perform_all(
    runs: Iterable[Run], folder: Path, on_run: Callable[[Run], None] = lambda run: None
) -> Iterator[dict[str, Any]]:
    """The rows of all runs; those in folder/results.jsonl are read, each other one is added to it at once.

    A method that is new to a model does its first trial once more before it counts: that one compiles.
    """
    path, solvers = folder / "results.jsonl", {}
    known = read_rows(path)
    for run in runs:
        on_run(run)
        if run.key not in known:
            prepared = run.method, run.mesh, run.settings
            if prepared not in solvers:
                model = Model(run.mesh, run.settings, folder / "mixtures")
                solvers = {prepared: KNOWN[run.method].prepare(model)}
                perform(run, solvers[prepared])
            known[run.key] = plain(perform(run, solvers[prepared]))
            with path.open("a", encoding="utf-8") as file:
                # a line that a kill cut off ends here
                file.write(f"\n{json.dumps(known[run.key])}\n")
        yield known[run.key]
