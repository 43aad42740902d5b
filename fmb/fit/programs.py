"""Compiled programs in memory: of a bounded number of kinds, however many shapes a process works with."""

import ctypes
import gc
import sys
from collections.abc import Hashable

import jax

# A fit of new shapes leaves 25 to 45 MB of compiled programs behind, those of its many small steps above all. Dropping
# them costs the next fit of a known shape its compilation again, a fraction of that where the cache on disk is used.
MOST_KINDS = 8
known: set[Hashable] = set()


def announce(kind: Hashable) -> None:
    """To be called before programs of that kind are compiled: one kind too many, and JAX forgets all it has compiled.

    What a caller holds stays as it is.
    """
    if kind not in known and len(known) >= MOST_KINDS:
        known.clear()
        jax.clear_caches()
        give_back()
    known.add(kind)


def give_back() -> None:
    """Memory that was freed goes back to the system: glibc keeps it otherwise, 600 MB after five fits."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
