"""PLY tables of every kind come back as NumPy wrote them."""

import warnings

import numpy as np
import pytest

from fmb.files.ply import encode_ply, parse_header, parse_numbers, parse_ply
from fmb.files.safe import Broken

LENGTH = [3, 4, 3, 5]
ENTRY = [np.arange(n) + 10 * n for n in LENGTH]
POINT = np.random.default_rng(0).normal(size=(4, 3))


def header(order: str, end: str = "\n") -> bytes:
    lines = [
        f"format {order} 1.0",
        "comment  made  by hand",
        "element vertex 4",
        "property double x",
        "property float y",
    ]
    lines += ["property uchar level", "obj_info here", "element face 4", "property list uchar int vertex_indices"]
    lines += ["property short flag", "property list uint float texcoord", "element edge 9", "property int a"]
    return end.join(["ply", *lines, "end_header", ""]).encode()


def body(order: str) -> bytes:
    kind = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(order)
    if kind is None:
        rows = [f"{x!r} {y!r} {n}" for n, (x, y) in enumerate(POINT[:, :2].tolist())]
        rows += [
            f"{n} {' '.join(map(str, e))}  {-n}\t{n} {' '.join(map(str, e))}"
            for n, e in zip(LENGTH, ENTRY, strict=True)
        ]
        return "\r\n".join(rows).encode()
    data = b""
    for n, (x, y) in enumerate(POINT[:, :2]):
        data += np.array(x, kind + "f8").tobytes() + np.array(y, kind + "f4").tobytes() + bytes([n])
    for n, entry in zip(LENGTH, ENTRY, strict=True):
        data += bytes([n]) + entry.astype(kind + "i4").tobytes() + np.array(-n, kind + "i2").tobytes()
        data += np.array(n, kind + "u4").tobytes() + entry.astype(kind + "f4").tobytes()
    return data


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_numbers_and_lists_of_any_order(order, end):
    # what follows the wanted elements is not looked at: the edges are not there
    tables = parse_ply(header(order, end) + body(order), ("vertex", "face"))
    np.testing.assert_allclose(tables["vertex"].column["x"], POINT[:, 0], rtol=0)
    np.testing.assert_allclose(tables["vertex"].column["y"], POINT[:, 1], rtol=1e-6)
    assert tables["vertex"].column["level"].tolist() == [0, 1, 2, 3]
    assert tables["face"].column["flag"].tolist() == [-3, -4, -3, -5]
    for name in ("vertex_indices", "texcoord"):
        found = tables["face"].lists[name]
        assert found.length.tolist() == LENGTH and found.value.tolist() == np.concatenate(ENTRY).tolist()
    assert parse_header(header(order, end)).comments == ("made  by hand", "here")


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian"])
def test_missing_rows_are_counted_before_memory_is_spent(order):
    data = header(order) + body(order)
    with pytest.raises(Broken, match=r"3 of 4 rows of element face; the file is cut short"):
        parse_ply(data[:-3], ("face",))
    with pytest.raises(Broken, match=r"of 9999999999999 rows of element vertex"):
        parse_ply(data.replace(b"vertex 4", b"vertex 9999999999999"), ("vertex",))


def test_words_that_are_no_numbers_are_named():
    assert parse_numbers(b" 1 2e3\r\n-inf 1,5 7")[1] == "1,5" and parse_numbers(b" \n")[0].size == 0
    with pytest.raises(Broken, match=r"1 of 4 rows of element vertex; the file is cut short; '0,1' is no number"):
        parse_ply(header("ascii") + b"1 2 3 0,1 4 5", ("vertex",))
    with pytest.raises(Broken, match=r"element vertex: level 300 is no uint8"):
        parse_ply(header("ascii") + b"1 2 300 " * 4, ("vertex",))


def test_numpy_that_only_warns_reads_no_part_of_a_text(monkeypatch):
    def older(text, *_, **__):
        warnings.warn("unmatched data", DeprecationWarning, stacklevel=2)
        return np.ones(1)

    monkeypatch.setattr(np, "fromstring", older)
    with warnings.catch_warnings(action="ignore"):
        number, word = parse_numbers(b"1 2 x 3")
    assert number.tolist() == [1, 2] and word == "x"


def test_what_is_written_is_read():
    faces = np.arange(6, dtype=np.int32).reshape(2, 3)
    data = encode_ply(
        {"vertex": {"x": POINT[:, 0], "red": np.arange(4, dtype=np.uint8)}, "face": {"i": faces}}, ["a b"]
    )
    tables = parse_ply(data, ("vertex", "face"))
    np.testing.assert_array_equal(tables["vertex"].column["x"], POINT[:, 0])
    assert tables["vertex"].column["red"].tolist() == [0, 1, 2, 3] and parse_header(data).comments == ("a b",)
    assert tables["face"].lists["i"].value.tolist() == list(range(6))


def test_numbers_that_the_header_does_not_name_are_left_out():
    head = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nelement face 1\n"
    head += b"property list uchar int vertex_indices\nend_header\n"
    for rows in (b"0 1 9\n\n2 3 9\n4 5 9 9\n3 0 1 2\n", b"0 1 2 3 4 5 3 0 1 2\n"):
        tables = parse_ply(head + rows, ("vertex", "face"))
        np.testing.assert_array_equal(tables["vertex"].column["x"], [0, 2, 4])
        np.testing.assert_array_equal(tables["vertex"].column["y"], [1, 3, 5])
        np.testing.assert_array_equal(tables["face"].lists["vertex_indices"].value, [0, 1, 2])
