"""Draws pictures beside other work."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fmb.ends import held


class Painter:
    """Draws into `folder` in a thread, in order, while XLA computes in others.

    Not in a process: a process would import the user's own program again, and could outlive this one.
    """

    def __init__(self, folder: Path):
        self.folder, self.jobs = folder, []

    def __enter__(self) -> "Painter":
        self.pool = ThreadPoolExecutor(1, "painter")
        return self

    def draw(self, function: Callable[..., list[Path]], *arguments: Any) -> None:
        """Calls `function(folder, *arguments)` in the thread."""
        self.jobs.append(self.pool.submit(function, self.folder, *arguments))

    def finish(self) -> None:
        """Waits for all drawings; raises what one has raised."""
        for job in self.jobs:
            job.result()

    def __exit__(self, *reason: Any) -> None:
        with held():  # afterwards nobody writes into the folder
            self.pool.shutdown(cancel_futures=True)
