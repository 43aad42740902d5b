"""What is made one ahead of its use, by a thread of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

Made = TypeVar("Made")


def ahead(make: Callable[[int], Made], first: int = 0, end: int | None = None) -> Iterator[Made]:
    """`make(first)`, `make(first + 1)` and so on up to `end` (None: without end); while one is used the next is made.

    At most two are there at a time. What `make` raises is raised where its result is asked for.
    """
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        numbers = count(first) if end is None else iter(range(first, end))
        future = next((pool.submit(make, number) for number in numbers), None)
        while future is not None:
            made = future.result()
            future = next((pool.submit(make, number) for number in numbers), None)
            yield made
            del made  # or it would stay beside the next two
    finally:
        pool.shutdown(cancel_futures=True)
