"""What a run is doing, on stderr: a line that moves in a terminal; in a log one plain line for each part when it ends.

Imports nothing heavy, so that the first words come before the libraries are loaded.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PARTS = {  # names of parts, as metrics.json has them, and what the screen and the page call them
    "libraries": "loading libraries",
    "load": "reading",
    "count": "component count",
    "gmm": "starting mixture",
    "compile": "compiling",
    "ground_truth": "drawing views",
    "evaluate": "measuring",
    "optimize": "fit",
    "export": "writing",
    "figures": "pictures",
    "align": "aligning",
    "search": "searching",
    "samples": "sampling",
    "train": "training",
    "extract": "extracting",
}
HELD = ("libraries", "load", "gmm")  # in a log their lines wait for the first work: an error about input stands alone
LEAST = 0.05  # seconds of a part that is worth a line
TICK = 0.2  # seconds between two pictures of the moving line
ERASE = "\r\033[K"


class _Screen:
    lock = threading.RLock()
    open: list["Part"] = []  # the parts that run, the innermost last
    held: list[str] = []  # lines of a log that wait
    drawn = False  # whether the terminal's last line is the moving one
    bars = 0  # progress bars that are open: they have the line to themselves


class Part:
    """A part that runs: its name, when it began, and a note for its line."""

    def __init__(self, name: str):
        self.name, self.began, self.note = name, time.perf_counter(), ""

    def line(self) -> str:
        """Name, seconds so far and note, in less than 80 columns."""
        seconds = time.perf_counter() - self.began
        return f"{PARTS.get(self.name, self.name):<18}{seconds:7.1f} s   {self.note}".rstrip()[:79]


def is_terminal() -> bool:
    """Whether stderr is a terminal, where a line may move."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def part(name: str) -> Iterator[Part]:
    """A part of the run: told while it lasts and when it has ended, unless a progress bar is open around it."""
    if sys.stderr is None or _Screen.bars:
        yield Part(name)
        return
    now = Part(name)
    _Screen.open.append(now)
    stop = threading.Event()
    ticker = threading.Thread(target=_tick, args=(stop,), daemon=True) if is_terminal() else None
    if ticker is not None:
        _draw()
        ticker.start()
    ended = False
    try:
        yield now
        ended = True
    finally:
        stop.set()
        if ticker is not None:
            ticker.join()
        clear()
        _Screen.open.remove(now)
        if ended and time.perf_counter() - now.began >= LEAST:
            _tell(now)


def _tell(ended: Part) -> None:
    if is_terminal():
        with cleared():
            _write(ended.line() + "\n")
    elif ended.name in HELD:
        _Screen.held.append(ended.line())
    else:
        release()
        _write(ended.line() + "\n")


def release() -> None:
    """Writes the lines that wait."""
    lines, _Screen.held[:] = list(_Screen.held), []
    for line in lines:
        _write(line + "\n")


def forget() -> None:
    """Drops the lines that wait: the run has ended before its work began."""
    _Screen.held.clear()


@contextmanager
def bar() -> Iterator[None]:
    """A progress bar is open: it has the terminal's line to itself."""
    clear()
    _Screen.bars += 1
    try:
        yield
    finally:
        _Screen.bars -= 1


def note(text: str) -> bool:
    """Adds the note to the line of the part that runs; whether there is one."""
    if _Screen.open and not _Screen.bars:
        _Screen.open[-1].note = text
        return True
    return False


def clear() -> None:
    """Takes the moving line away, so that something else can be written."""
    with _Screen.lock:
        if _Screen.drawn:
            _write(ERASE)
            _Screen.drawn = False


@contextmanager
def cleared() -> Iterator[None]:
    """The moving line is away, and stays away, for as long as the context lasts."""
    with _Screen.lock:
        clear()
        yield


def _draw() -> None:
    with _Screen.lock:
        if _Screen.open and not _Screen.bars:
            _write(ERASE + _Screen.open[-1].line())
            _Screen.drawn = True


def _tick(stop: threading.Event) -> None:
    while not stop.wait(TICK):
        _draw()


def _write(text: str) -> Any:
    sys.stderr.write(text)
    sys.stderr.flush()
