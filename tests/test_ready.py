"""Programs that a later run finds ready: the same numbers without tracing, and never those of something else."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmb import ready
from fmb.ready import Kept

ROOT = Path(__file__).resolve().parents[1]
TRACED = []


def powers(x, exponent, factor):
    TRACED.append(exponent)
    return {"sum": jnp.sum(factor * x**exponent), "none": None}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which programs are kept, those of this file among them."""
    TRACED.clear()
    monkeypatch.setattr(ready._Store, "used", True)
    monkeypatch.setattr(ready, "OURS", (*ready.OURS, __name__.partition(".")[0]))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def anew():
    """The function as another process has it: JAX has forgotten what it traced."""
    jax.clear_caches()
    return Kept(powers, (1,))


def files(place, kind="*"):
    return sorted(path.name for path in place.glob(f"fmb-{kind}-*"))


def test_what_was_kept_is_not_traced_again(place):
    x = np.arange(6.0).reshape(2, 3)
    first = Kept(powers, (1,))(x, 3, 2.0)
    assert TRACED == [3] and len(files(place)) == 2
    again = anew()
    for _ in range(2):
        found = again(x, 3, 2.0)
        assert found["none"] is None and found["sum"] == first["sum"] == 2.0 * np.sum(x**3)
    assert TRACED == [3]


@pytest.mark.parametrize(
    "other",
    [
        (np.ones((2, 3)), 2, 2.0),  # told
        (np.ones((3, 2)), 3, 2.0),  # shape
        (np.ones((2, 3), np.float32), 3, 2.0),  # type
        (np.ones((2, 3)), 3, np.float64(2.0)),  # a number that keeps its type
        ((np.ones((2, 3)),), 3, 2.0),  # structure
    ],
)
def test_other_arguments_have_another_name(other):
    function, x = Kept(powers, (1,)), (np.zeros((2, 3)), 3, 2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ready, "OURS", (*ready.OURS, __name__.partition(".")[0]))
        assert function.name(x) == function.name((np.ones((2, 3)), 3, 5.0)) != function.name(other)


def test_another_source_asks_for_the_text(place, monkeypatch):
    Kept(powers, (1,))(np.ones(2), 3, 2.0)
    monkeypatch.setattr(ready, "source", lambda: "changed")
    assert anew()(np.ones(2), 3, 2.0)["sum"] == 4.0
    assert TRACED == [3, 3] and len(files(place, "name")) == 2 and len(files(place, "text")) == 1


@pytest.mark.parametrize("kind", ["name", "text"])
def test_a_damaged_file_is_mended(place, kind):
    Kept(powers, (1,))(np.ones(2), 3, 2.0)
    (name,) = files(place, kind)
    whole = (place / name).read_bytes()
    (place / name).write_bytes(whole[:-1])
    assert anew()(np.ones(2), 3, 2.0)["sum"] == 4.0
    assert ready.read(place / name) is not None


@pytest.mark.parametrize("function", [lambda x: 2.0 * x, partial(lambda factor, x: factor * x, 2.0)])
def test_what_has_no_name_is_compiled_and_not_kept(place, function):
    assert Kept(function)(3.0) == 6.0 and files(place) == []
    with pytest.raises(ready.UnnamedError):
        ready.described(function)


def test_within_another_function_it_is_a_part_of_that(place):
    inner = Kept(powers, (1,))
    slope = jax.jit(jax.grad(lambda x: inner(x, 2, 1.0)["sum"]))(jnp.ones(3))
    assert np.array_equal(slope, [2.0, 2.0, 2.0]) and files(place) == []


def test_nothing_is_kept_unless_asked_for(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        assert ready.folder() is None and Kept(powers, (1,))(np.ones(2), 3, 2.0)["sum"] == 4.0
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert files(tmp_path) == []


PROGRAM = """
import sys, jax, numpy as np
from fmb.ready import Kept, keep_programs
from fmb.shape.attendant import halved
keep_programs()
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
factor = np.tril(np.arange(1.0, 10.0).reshape(1, 3, 3)).astype(np.float32)
kept = Kept(halved)
print(*(np.asarray(x).ravel().tolist() for x in kept(factor)))
print(kept.jitted._cache_size())
"""


def test_another_process_gets_the_same_from_lapack(tmp_path):
    # what calls LAPACK crashes unless JAX has linked it, which it does as it lowers
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout and len(files(tmp_path, "text")) == 1
