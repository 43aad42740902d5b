"""Draws pictures in another process, and puts them in place only if all goes well."""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any


class Painter:
    """Draws in another process, in order, into a hidden folder; `finish` moves all pictures into `folder`.

    If the context ends without `finish`, no picture is left.
    """

    def __init__(self, folder: Path):
        self.folder, self.jobs = folder, []

    def __enter__(self) -> "Painter":
        self.hidden = tempfile.TemporaryDirectory(dir=self.folder, prefix=".drawing-")
        self.pool = ProcessPoolExecutor(1, get_context("spawn"))
        return self

    def draw(self, function: Callable[..., list[Path]], *arguments: Any) -> None:
        """Calls `function(folder, *arguments)`, which returns the files it wrote, in the other process."""
        self.jobs.append(self.pool.submit(function, Path(self.hidden.name), *arguments))

    def finish(self) -> None:
        """Waits for all drawings. Raises ValueError where the process that draws has died."""
        try:
            paths = [path for job in self.jobs for path in job.result()]
        except BrokenProcessPool:
            raise ValueError(f"{self.folder}: the process that draws the pictures has died") from None
        for path in dict.fromkeys(paths):
            os.replace(path, self.folder / path.name)

    def __exit__(self, *reason: Any) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.hidden.cleanup()
