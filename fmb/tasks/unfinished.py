"""Checkpoints that outlive an interrupted run: a folder beside the results, from which --resume goes on.

Results are whole or nothing; checkpoints are written while the fit runs. They belong to the results once these are
complete, and only then does the folder go.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fmb.files.safe import read_arrays, read_json
from fmb.fit.checkpoints import Kept
from fmb.machine import replacing, warn, write_metrics

RECORD = "unfinished.json"
MAY_CHANGE = ("points_rate", "eikonal_weight", "area_weight", "surface_weight", "distance")  # from one step to the next


class Unfinished:
    """The checkpoints of a run into `place`; `record` says what it works with, `resumes` whether its fit can go on.

    Files of the names `beside`, which others write into its folder, go with it.
    """

    def __init__(self, place: Path, record: Mapping[str, Any], resumes: bool = True, beside: Sequence[str] = ()):
        self.resumes, self.beside, self.folder = resumes, (RECORD, *beside), place.with_name(f"{place.name}.unfinished")
        self.checkpoints, self.record = self.folder / "checkpoints", json.loads(json.dumps(record))

    def begin(self, resume: bool) -> dict[str, np.ndarray] | None:
        """The arrays of the last checkpoint, if the run goes on; else the folder is made anew.

        Raises ValueError where there is nothing to go on with, or it is of another run.
        """
        steps = self.steps()
        if resume:
            if not steps:
                raise ValueError(f"{self.folder}: no interrupted run to go on with; run without --resume")
            self._check_same()
            if not self.resumes:
                warn(f"note: this method takes seconds and starts anew; {self.folder} says with which options")
                return None
            return read_arrays(self.path(steps[-1]))
        if steps:
            lost = "; --resume would have gone on with it" * self.resumes
            warn(f"note: the interrupted run in {self.folder} is replaced{lost}")
            self.remove()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.folder}: cannot be written ({error.strerror})") from error
        write_metrics(self.folder / RECORD, self.record)
        return None

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint."""
        if not os.path.isdir(self.checkpoints):
            return []
        names = [path.stem for path in self.checkpoints.iterdir() if path.suffix == ".npz" and path.stem.isdecimal()]
        return sorted(map(int, names))

    def path(self, step: int) -> Path:
        """The checkpoint after so many steps."""
        return self.checkpoints / f"{step}.npz"

    def save(self, state: Kept) -> None:
        """Keeps the state."""
        with replacing(self.path(state.step)) as partial, partial.open("wb") as file:
            np.savez(file, **state.arrays)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Where a signal or a fit that fails ends what is done within, a line says what --resume goes on with."""
        try:
            yield
        except (KeyboardInterrupt, FloatingPointError):
            if steps := self.steps():
                later = "goes on with it" if self.resumes else "starts anew: this method takes seconds"
                warn(f"note: {self.folder} keeps the run up to step {steps[-1]}; --resume {later}")
            raise

    def hand_over(self, folder: Path) -> None:
        """Copies the checkpoints into the folder of results."""
        shutil.copytree(self.checkpoints, folder / "checkpoints")

    def remove(self) -> None:
        """Removes what a run has written; what else is in the folder stays."""
        for path in [*map(self.path, self.steps()), *(self.folder / name for name in self.beside)]:
            path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _check_same(self) -> None:
        old = read_json(self.folder / RECORD)
        for name, value in self.record.items():
            if old.get(name) == value:
                continue
            words = f"{name} was {old.get(name)} and is {value}"
            if name not in MAY_CHANGE:
                raise ValueError(f"{self.folder}: is another run, {words}; --resume must be given the same")
            warn(f"note: {words}")
