"""Asks a process of its own for what OpenGL draws. Imports little, so that the process can start before all else.

A driver that crashes or hangs there does no harm here.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLATFORMS = ("egl", "osmesa")
SCRIPT = Path(__file__).with_name("opengl_process.py")
SECONDS = 60.0  # after these, and one more a view, a driver counts as hanging
_ready: dict[str, subprocess.Popen] = {}  # by platform: processes that wait for a request


@contextmanager
def started_early() -> Iterator[None]:
    """The process that draws gets ready while other things are imported; one that nobody has asked is ended."""
    platform = platforms()[0]
    _ready[platform] = _start(platform)
    try:
        yield
    finally:
        while _ready:
            _, process = _ready.popitem()
            process.kill()
            process.communicate()


def platforms() -> tuple[str, ...]:
    """What to try, in this order: $PYOPENGL_PLATFORM alone, where it is set."""
    chosen = os.environ.get("PYOPENGL_PLATFORM")
    return (chosen,) if chosen else PLATFORMS


def ask(request: bytes, views: int) -> bytes:
    """The answer of the first platform that draws. Raises ValueError, one line, where there is none."""
    reasons, seconds = [], SECONDS + views
    for platform in platforms():
        process = _ready.pop(platform, None) or _start(platform)
        try:
            answer, words = process.communicate(request, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            reasons.append(f"{platform}: no picture after {seconds:.0f} s")
            continue
        if process.returncode == 0:
            return answer
        reasons.append(f"{platform}: {_reason(process.returncode, words)}")
    raise ValueError(f"pyrender cannot draw here ({'; '.join(reasons)})")


def _start(platform: str) -> subprocess.Popen:
    pipe, environment = subprocess.PIPE, {**os.environ, "PYOPENGL_PLATFORM": platform}
    # -P: Python must not look for modules in the folder of the script first
    command = [sys.executable, "-P", str(SCRIPT)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)


def _reason(code: int, words: bytes) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    lines = words.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"
