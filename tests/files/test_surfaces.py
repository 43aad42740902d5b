"""OFF, STL and PLY as the programs that people use write them: the same tetrahedron from every one."""

import struct

import numpy as np
import pytest
import trimesh

from fmb.files.meshes import read_mesh

CORNER = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
FACE = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]


def volume(tmp_path, name: str, data: str | bytes) -> float:
    (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_mesh(tmp_path / name).volume


def off(head: str, more: str = "", color: str = "") -> str:
    rows = [f"{x} {y} {z}{more}" for x, y, z in CORNER] + [f"3 {a} {b} {c}{color}" for a, b, c in FACE]
    return head + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    "data",
    [
        off("OFF 4 4 0\n"),
        off("OFF4 4 6\n"),
        off("# made\nOFF # here\n\n4 4\n# rows\n"),
        off("\ufeffOFF\r\n4 4 0\r\n", color=" 200 100 0").replace("\n", "\r\n"),
        off("NOFF\n4 4 0\n", " 0 0 1"),
        off("COFF\n4 4 0\n", " 10 20 30 255"),
        off("CNOFF\n4 4 0\n", " 0 0 1 0.5 0.5 0.5"),
        off("STCN4OFF\n4 4 0\n", " 1 0 0 1 0.5 0.5 0.5 1 0 0", " 7"),
        off("OFF\n4 4 0\n").encode("utf-16"),
    ],
)
def test_off_of_every_kind(tmp_path, data):
    np.testing.assert_allclose(volume(tmp_path, "a.off", data), 1 / 6)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (off("OFF BINARY\n4 4 0\n"), "only OFF in text and three dimensions is read"),
        (off("OFF\n4 5 0\n"), "8 lines for 4 vertices and 5 faces; the file is cut short"),
        (off("OFF\n4 4 0\n").replace("1 0 0\n", "1,5 0 0\n", 1), r"line 4: vertex '1,5 0 0' has decimal commas"),
        (off("OFF\n4 4 0\n").replace("3 1 2 3", "4 1 2 3"), "line 10: face of 4 vertices with 3 numbers after it"),
        (off("OFF\n4 4 0\n").replace("3 1 2 3", "3 1 2 .5"), "line 10: face of 3 vertices with 3 numbers after it"),
        (off("OFF\n\n4 4 0\n").replace("3 1 2 3", "3 1 2 x"), "line 11: face '3 1 2 x' is not made of numbers"),
        (off("OFF\n4 4 0\n").replace("1 0 0\n", "1 0\n", 1), "line 4: vertex with 2 numbers, needs 3"),
    ],
)
def test_off_that_cannot_be_read(tmp_path, data, words):
    with pytest.raises(ValueError, match=words):
        volume(tmp_path, "a.off", data)


def test_off_with_polygons_of_many_lengths(tmp_path):
    faces = "4 0 3 2 1 255 0 0\n3 0 1 4 0 255 0 7\n3 1 2 4 0 0 255\n3 2 3 4 9 9 9\n3 3 0 4 9 9 9 9\n"
    pyramid = "OFF 5 5\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n" + faces
    assert volume(tmp_path, "a.off", pyramid) == pytest.approx(1 / 3)
    colors = read_mesh(tmp_path / "a.off").visual.face_colors.tolist()
    assert colors[:3] == [[255, 0, 0, 255]] * 2 + [[0, 255, 0, 255]]


def stl(begin: str, end: str, loop: str = "endloop") -> str:
    rows = ["".join(f"   vertex {x:e} {y:e} {z:e}\n" for x, y, z in (CORNER[k] for k in face)) for face in FACE]
    facets = [f" facet normal 0 0 0\n  outer loop\n{row}  {loop}\n endfacet\n" for row in rows]
    return begin + "\n" + "".join(facets) + end


@pytest.mark.parametrize(
    "data",
    [
        stl("solid", ""),
        stl("solid vertex facet 1.5 \u00fc", "end solid cube"),
        stl("SOLID", "ENDSOLID", "end loop").upper(),
        stl("solid a\n", "endsolid a\n").replace("\n", "\r\n"),
        stl("solid \u00fc", "").encode("latin-1"),
        stl("solid", "").encode("utf-16"),
    ],
)
def test_stl_texts(tmp_path, data):
    np.testing.assert_allclose(volume(tmp_path, "a.stl", data), 1 / 6)


def test_stl_texts_that_are_cut_short(tmp_path, capsys):
    whole = stl("solid", "endsolid")
    last = whole.rindex("vertex")
    with pytest.raises(ValueError, match=r"last triangle does not end; the file is cut short"):
        volume(tmp_path, "a.stl", whole[: whole.index("\n", last) + 1])
    np.testing.assert_allclose(volume(tmp_path, "a.stl", whole.removesuffix("endsolid")), 1 / 6)
    assert "a.stl: it ends without endsolid, so it may be cut short" in capsys.readouterr().err


def test_several_solids_are_one_mesh(tmp_path):
    two = stl("solid a", "endsolid a\n") + stl("solid b", "endsolid b").replace("e+00", "e+01")
    np.testing.assert_allclose(volume(tmp_path, "a.stl", two), 1001 / 6)


def binary(count: int, begin: bytes = b"") -> bytes:
    faces = [struct.pack("<12fH", 0, 0, 0, *[x for k in face for x in CORNER[k]], 0) for face in FACE]
    return begin.ljust(80)[:80] + struct.pack("<I", count) + b"".join(faces)


def test_binary_stl_with_odd_lengths(tmp_path, capsys):
    for data, said in {
        binary(4, b"solid by cad"): "",
        binary(4)[:-2]: "",  # without the last attribute
        binary(4) + b"\r\n": "2 bytes after its 4 triangles are not read",
        binary(0): "its header says 0 triangles, it holds 4",
        binary(2**32 - 1): "its header says 4294967295 triangles, it holds 4",
    }.items():
        np.testing.assert_allclose(volume(tmp_path, "a.stl", data), 1 / 6)
        assert capsys.readouterr() == ("", said and f"{tmp_path / 'a.stl'}: {said}\n")
    with pytest.raises(ValueError, match=r"3 of 7 triangles; the file is cut short"):
        volume(tmp_path, "a.stl", binary(7)[:-3])
    with pytest.raises(ValueError, match=r"neither text nor of the length"):
        volume(tmp_path, "a.stl", np.full(284, 77, np.uint8).tobytes())


def test_ply_strips_and_colours_of_many_types(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 4\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    colors = "".join(f"property ushort {name}\n" for name in ("red", "green", "blue"))
    rows = "".join("{} {} {} 65535 0 257\n".format(*corner) for corner in CORNER)
    strips = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    assert volume(tmp_path, "a.ply", head + colors + strips + rows + "7 0 2 1 3 0 2 -1\n") == pytest.approx(1 / 6)
    assert read_mesh(tmp_path / "a.ply").visual.vertex_colors[0].tolist() == [255, 0, 1, 255]
    two = head + colors + strips.replace("tristrips 1", "tristrips 2") + rows + "4 0 2 1 3\n4 1 3 0 2\n"
    assert volume(tmp_path, "b.ply", two) == pytest.approx(1 / 6)
    with pytest.raises(ValueError, match=r"c\.ply: no triangles, only 4 points without faces"):
        volume(tmp_path, "c.ply", head + "end_header\n" + rows)


def test_obj_colours_of_bytes_and_utf16(tmp_path):
    rows = "".join("v {} {} {} 255 51 0\n".format(*corner) for corner in CORNER)
    rows += "".join("f {} {} {}\n".format(*(k + 1 for k in face)) for face in FACE)
    assert volume(tmp_path, "a.obj", rows.encode("utf-16-le")) == pytest.approx(1 / 6)
    assert read_mesh(tmp_path / "a.obj").visual.vertex_colors[0].tolist() == [255, 51, 0, 255]
    with pytest.raises(ValueError, match=r"line 1: vertex '0,5 1 2' has decimal commas; write points"):
        volume(tmp_path, "b.obj", "v 0,5 1 2\n")


def test_polygons_that_cross_themselves_are_told(tmp_path, capsys):
    cube = trimesh.creation.box()
    rows = "".join("v {} {} {}\n".format(*corner) for corner in cube.vertices.tolist())
    rows += "".join("f {} {} {}\n".format(*(k + 1 for k in face)) for face in cube.faces.tolist())
    volume(tmp_path, "a.obj", rows + "f 1 2 3 4\n")
    assert "polygons that cross themselves or are not flat" in capsys.readouterr().err
