"""Compiled programs in memory: of a bounded number of kinds, however many shapes a process works with."""

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
    known.add(kind)
