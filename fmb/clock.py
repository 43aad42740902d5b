"""Where the time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds since it was made, and by named part."""

    def __init__(self):
        self.start, self.parts = time.perf_counter(), {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time within to that of `part`."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """The total so far and the parts."""
        return {"total": time.perf_counter() - self.start, **self.parts}
