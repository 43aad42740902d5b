"""Programs of a bounded number of kinds stay in memory."""

import jax
import jax.numpy as jnp

from fmb.fit import programs


def test_one_kind_too_many_clears_all(monkeypatch):
    monkeypatch.setattr(programs, "MOST_KINDS", 2)
    monkeypatch.setattr(programs, "known", set())
    twice = jax.jit(lambda x: 2.0 * x)
    for kind, kept in (("a", 1), ("b", 1), ("a", 1), ("c", 0), ("a", 1), ("b", 0)):
        twice(jnp.ones(3))
        programs.announce(kind)
        assert twice._cache_size() == kept
