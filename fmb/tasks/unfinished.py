"""Checkpoints that outlive an interrupted run: a folder beside the results, from which --resume goes on.

Results are whole or nothing; checkpoints are written while the fit runs. They belong to the results once these are
complete, and only then does the folder go. Milestones, which some tasks show, stay in `checkpoints`; between them the
two latest states are kept in `latest`, one every EVERY seconds and one where a signal ends the run.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fmb.ends import held
from fmb.files.safe import read_arrays, read_json
from fmb.fit.checkpoints import Kept, opened, run_digest, sealed
from fmb.machine import Unwritable, reason, replacing, warn, write_metrics

RECORD = "unfinished.json"
# from one step to the next
MAY_CHANGE = ("points_rate", "eikonal_weight", "area_weight", "surface_weight", "distance", "fit_devices")
EVERY = 30.0  # seconds between two states that are kept; writing one takes milliseconds
WORTH_KEEPING = 5.0  # seconds; a fit that was stopped earlier begins anew as fast
LATEST = 2  # states


class Unfinished:
    """The checkpoints of a run into `place`; `record` says what it works with, `resumes` whether its fit can go on.

    Files of the names `beside`, which others write into its folder, go with it. With `late` nothing is written before
    there is a state worth keeping, and a folder that cannot be made does not stop the fit.
    """

    def __init__(
        self,
        place: Path,
        record: Mapping[str, Any],
        resumes: bool = True,
        beside: Sequence[str] = (),
        late: bool = False,
    ):
        place = Path(os.path.abspath(place))
        self.resumes, self.beside, self.folder = resumes, (RECORD, *beside), place.with_name(f"{place.name}.unfinished")
        self.checkpoints, self.latest = self.folder / "checkpoints", self.folder / "latest"
        self.record, self.late = json.loads(json.dumps(record)), late
        self.run = run_digest({name: value for name, value in self.record.items() if name not in MAY_CHANGE})
        self.make: Callable[[], Kept] | None = None  # the state that was offered last
        self.began = self.written = time.monotonic()

    def begin(self, resume: bool) -> dict[str, np.ndarray] | None:
        """The arrays of the last checkpoint that is whole, if the run goes on; else the folder is made anew.

        Raises ValueError where there is nothing to go on with, or it is of another run.
        """
        self.began = self.written = time.monotonic()
        found = self._all()
        if resume:
            if not found:
                raise ValueError(f"{self.folder}: no interrupted run to go on with; run without --resume")
            self._check_same()
            if not self.resumes:
                warn(f"note: this method takes seconds and starts anew; {self.folder} says with which options")
                return None
            return self._newest(found)
        if found:
            lost = "; --resume would have gone on with it" * self.resumes
            warn(f"note: the interrupted run in {self.folder} is replaced{lost}")
            self.remove()
        if not self.late:
            self._make_folder()
        return None

    def steps(self) -> list[int]:
        """The steps of which there is a milestone."""
        return steps_in(self.checkpoints)

    def path(self, step: int) -> Path:
        """The milestone after so many steps."""
        return self.checkpoints / f"{step}.npz"

    def save(self, state: Kept) -> None:
        """Keeps the state as a milestone."""
        self._write(self.path(state.step), state)
        self.make, self.written = None, time.monotonic()
        for step in steps_in(self.latest):
            (self.latest / f"{step}.npz").unlink(missing_ok=True)

    def offer(self, make: Callable[[], Kept]) -> None:
        """Keeps the state that is made, if it is time to; else it is made where a signal ends the run."""
        self.make = make
        if time.monotonic() > self.written + EVERY:
            try:
                self._keep()
            except ValueError as error:
                if not self.late:
                    raise
                warn(f"note: {error}; this run cannot be resumed")
            self.written = time.monotonic()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Where a signal, or a fit or device that fails, ends what is done within, a line says what --resume takes."""
        try:
            yield
        except (KeyboardInterrupt, FloatingPointError, RuntimeError) as end:
            with held():
                if isinstance(end, KeyboardInterrupt) and time.monotonic() > self.began + WORTH_KEEPING:
                    try:
                        self._keep()
                    except ValueError as error:
                        warn(f"note: {error}")
                if found := self._all():
                    later = "goes on with it" if self.resumes else "starts anew: this method takes seconds"
                    warn(f"note: {self.folder} keeps the run up to step {found[-1][0]}; --resume {later}")
            raise

    def hand_over(self, folder: Path) -> None:
        """Copies the checkpoints into the folder of results."""
        shutil.copytree(self.checkpoints, folder / "checkpoints")

    def remove(self) -> None:
        """Removes what a run has written; what else is in the folder stays."""
        for path in [*(path for _, path in self._all()), *(self.folder / name for name in self.beside)]:
            path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.latest, self.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _keep(self) -> None:
        """Writes the state that was offered last, and forgets all but the LATEST ones."""
        if self.make is None:
            return
        state, self.make = self.make(), None
        self._write(self.latest / f"{state.step}.npz", state)
        for step in steps_in(self.latest)[:-LATEST]:
            (self.latest / f"{step}.npz").unlink(missing_ok=True)

    def _write(self, path: Path, state: Kept) -> None:
        if not path.parent.is_dir():
            self._make_folder()
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **sealed(state.arrays, self.run))

    def _make_folder(self) -> None:
        try:
            for folder in (self.checkpoints, self.latest):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unwritable(f"{self.folder}: cannot be written ({reason(error)})") from error
        write_metrics(self.folder / RECORD, self.record)

    def _all(self) -> list[tuple[int, Path]]:
        """Every checkpoint with its step, the newest last."""
        folders = self.checkpoints, self.latest
        return sorted((step, folder / f"{step}.npz") for folder in folders for step in steps_in(folder))

    def _newest(self, found: Sequence[tuple[int, Path]]) -> dict[str, np.ndarray]:
        """The arrays of the newest that is whole; of those that are not a line is said."""
        for _, path in reversed(found):
            try:
                return opened(read_arrays(path), self.run)
            except ValueError as error:
                words = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
                warn(f"note: {words}; the one before it is taken")
        raise ValueError(f"{self.folder}: none of its {len(found)} checkpoints can be used; run without --resume")

    def _check_same(self) -> None:
        old = read_json(self.folder / RECORD)
        for name, value in self.record.items():
            if old.get(name) == value:
                continue
            words = f"{name} was {old.get(name)} and is {value}"
            if name not in MAY_CHANGE:
                raise ValueError(f"{self.folder}: is another run, {words}; --resume must be given the same")
            warn(f"note: {words}")


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, in order."""
    if not os.path.isdir(folder):
        return []
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == ".npz" and path.stem.isdecimal())
