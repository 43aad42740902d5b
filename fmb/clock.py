"""Where the time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

BEGAN = time.perf_counter()  # when this was imported: near enough to when the program was started


class Clock:
    """Seconds since `began` (now, if None) and by named part; what has passed already belongs to part "load"."""

    def __init__(self, began: float | None = None):
        now = time.perf_counter()
        self.began = now if began is None else began
        self.parts = {"load": now - self.began}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time within to that of `part`."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """The total so far and the parts."""
        return {"total": time.perf_counter() - self.began, **self.parts}
