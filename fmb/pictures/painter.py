"""Draws pictures beside other work."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fmb.ends import held
from fmb.pictures import painter_process


class Painter:
    """Draws into `folder` in a process of its own, in order: in a thread, drawing would take turns with the fit.

    The process imports nothing of the user's, neither the program that runs nor what lies in the current folder, and
    ends with this one.
    """

    def __init__(self, folder: Path):
        self.folder, self.jobs = folder, []

    def __enter__(self) -> "Painter":
        # -P: Python must not look for modules in the folder of the script first; Ctrl-C is not for the child
        command = [sys.executable, "-P", painter_process.__file__]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, start_new_session=True)
        self.pool = ThreadPoolExecutor(1, "painter")  # only feeds and drains the pipes
        return self

    def draw(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Has `function(folder, *arguments)` called, and gives what it will return; all are pickled."""
        self.jobs.append(self.pool.submit(self._ask, (function, self.folder, *arguments)))
        return self.jobs[-1]

    def _ask(self, job: tuple) -> Any:
        try:
            pickle.dump(job, self.process.stdin)
            self.process.stdin.flush()
            error, result = pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise ValueError(f"{self.folder}: the process that draws the pictures has died") from None
        if error is not None:
            raise error
        return result

    def finish(self) -> None:
        """Waits for all drawings; raises what one has raised."""
        for job in self.jobs:
            job.result()

    def __exit__(self, *reason: Any) -> None:
        with held():  # afterwards nobody writes into the folder
            self.process.kill()
            self.pool.shutdown(cancel_futures=True)
            with suppress(BrokenPipeError), self.process:  # what was not sent is lost
                pass
