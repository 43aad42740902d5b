"""Pickles of arrays, as the released program wrote them; pickles that ask for anything else."""

import os
import pickle
import tracemalloc
from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fmb.files import released
from fmb.files.released import read_released
from tests.files.damage import released_arrays


def check(path, content, factor=None) -> None:
    """The file gives the mixture of `arrays`."""
    path.write_bytes(content)
    mixture = read_released(path)
    mean, upper, log_weight = released_arrays()
    upper = upper if factor is None else factor
    assert_allclose(mixture.mean, mean)
    assert_allclose(mixture.log_weight, log_weight)
    lower = mixture.precision_cholesky
    assert not np.triu(lower, 1).any() and np.all(np.diagonal(lower, axis1=1, axis2=2) > 0)
    upper = upper.astype(float)
    assert_allclose(lower @ np.swapaxes(lower, 1, 2), upper @ np.swapaxes(upper, 1, 2), atol=1e-12)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_lists_of_arrays(tmp_path, protocol):
    check(tmp_path / "model.pkl", pickle.dumps(released_arrays(), protocol))
    check(tmp_path / "model.pkl", pickle.dumps(list(released_arrays()), protocol))


def test_arrays_of_jax(tmp_path):
    check(tmp_path / "model.pkl", pickle.dumps([jnp.asarray(a) for a in released_arrays()]))


def test_other_layouts(tmp_path):
    mean, upper, log_weight = released_arrays()
    path = tmp_path / "model.pkl"
    check(path, pickle.dumps({"means": mean, "prec": upper, "weights_log": log_weight, "more": 1}))
    check(path, pickle.dumps((np.asfortranarray(mean), upper, log_weight.astype(">f4"))))
    lower = np.swapaxes(upper, 1, 2).copy()
    check(path, pickle.dumps((mean, lower, log_weight)), lower)
    # the released renderer reads the upper triangle alone
    full = upper + 7.0 * np.tril(np.ones((3, 3), np.float32), -1)
    check(path, pickle.dumps((mean, full, log_weight)))


class Harmful:
    """Runs a command when it is read."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


class Nested(Harmful):
    """Calls what was allowed with what was not."""

    def __reduce__(self):
        return eval, ("__import__('os').system('touch harmed')",)


def payloads() -> dict[str, bytes]:
    """Pickles that want more than arrays, by what is told of them."""
    array = b"cnumpy\nndarray\n)\x81(I1\n(%btcnumpy\ndtype\n(S'f4'\ntRI00\n%btb."
    return {
        "posix.system": pickle.dumps(Harmful()),
        "builtins.eval": pickle.dumps([*released_arrays(), Nested()]),
        "collections.OrderedDict": pickle.dumps(OrderedDict(a=1)),
        "an array of something else than numbers": pickle.dumps(np.array([Harmful()], object), 2),
        "numpy.load": b"cnumpy\nload\n(S'harmed'\ntR.",
        "an object outside the file": b"Pharmed\n.",
        "an array of unknown form": array % (b"I-3\n", b"C\x00"),
        "an array of shape (9,) with 0 bytes": array % (b"I9\n", b"C\x00"),
        "'os\\nos.system'": b"\x80\x04\x8c\x05os\nos\x8c\x06system\x93.",
        "a change of a function": b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__U\x04utf8\x85s\x86b.",
        "a text in another encoding than latin1": b"c_codecs\nencode\n(S'a'\nS'utf_16'\ntR.",
    }


@pytest.mark.parametrize("reason", payloads())
def test_nothing_else_is_run(tmp_path, monkeypatch, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pkl"
    path.write_bytes(payloads()[reason])
    with pytest.raises(
        ValueError, match=r"model\.pkl: refused, the pickle asks for .*; only arrays of numbers are read"
    ) as error:
        read_released(path)
    assert reason in str(error.value) and "\n" not in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pkl"]


def test_what_it_asks_for_is_counted_first(tmp_path):
    path, text = tmp_path / "model.pkl", b"X\0\0\x10\0" + bytes(2**20)
    asked = {
        b"Nr\xff\xff\xff\x1f.": "a table of 536870911 places",
        b"(" * 20_000 + b".": "more than 10000 steps",
        b"\x8b\xff\xff\x01\x00" + b"\x7f" * 0x1FFFF + b".": "a number or name of more than 1000 bytes",
        b"c_codecs\nencode\nq\0(" + text + b"q\1" + b"h\0h\1\x85R" * 65 + b"l.": "more than 64 MiB of text as bytes",
    }
    for content, reason in asked.items():
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"refused, the pickle asks for {reason}"):
            read_released(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**23 + 2**26


def test_a_refused_file_leaves_no_trace(tmp_path):
    """The state of an object may be any attributes of it; those of what the reader itself calls stay."""
    before = released.Encoder.__call__.__defaults__
    (tmp_path / "model.pkl").write_bytes(payloads()["a change of a function"])
    with pytest.raises(ValueError, match="a change of a function"):
        read_released(tmp_path / "model.pkl")
    assert released.Encoder.__call__.__defaults__ == before
    check(tmp_path / "model.pkl", pickle.dumps(released_arrays(), 2))
