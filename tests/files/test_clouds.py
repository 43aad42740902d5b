"""Clouds read in every format, with normals where they have them; one line for each file that is none."""

import numpy as np
import pytest
import trimesh

from fmb.fields.points import Cloud
from fmb.files.clouds import read_cloud
from fmb.files.points import write_points

POINT = np.random.default_rng(0).normal(size=(7, 3)).round(3)
NORMAL = np.tile([[0.6, 0.0, -0.8]], (7, 1))
PCD = "VERSION .7\nFIELDS x y z _ normal_x normal_y normal_z\nSIZE 4 4 4 1 4 4 4\n"
PCD += "TYPE F F F U F F F\nCOUNT 1 1 1 4 1 1 1\n"


def read(path, data=None) -> Cloud:
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_cloud(path, 300, np.random.default_rng(0))


def lines(*columns, separator=" ") -> str:
    return "".join(separator.join(map(repr, map(float, row))) + "\n" for row in np.column_stack(columns))


def pcd(kind: str, count: int = 7, end: str = "") -> bytes:
    head = f"# .PCD\n{PCD}WIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA {kind}\n".encode()
    if kind == "ascii":
        return head + lines(POINT, np.zeros((7, 4)), NORMAL).encode() + end.encode()
    row = np.dtype([("p", "<f4", 3), ("gap", "u1", 4), ("n", "<f4", 3)])
    rows = np.zeros(7, row)
    rows["p"], rows["n"] = POINT, NORMAL
    return head + rows.tobytes()


def test_every_format_gives_points_and_normals(tmp_path):
    np.save(tmp_path / "a.npy", np.hstack([POINT, NORMAL]).astype(np.float32))
    write_points(tmp_path / "a.ply", Cloud(POINT, NORMAL))
    texts = {
        "a.xyz": "# x y z and normals\n" + lines(POINT, NORMAL),
        "b.txt": "x,y,z,nx,ny,nz\n" + lines(POINT, NORMAL, separator=", "),
        "c.pts": "7\n" + lines(POINT, NORMAL, np.arange(7)),
        "d.pcd": pcd("ascii"),
        "e.PCD": pcd("binary"),
        "a.npy": None,
        "a.ply": None,
    }
    for name, data in texts.items():
        cloud = read(tmp_path / name, data)
        np.testing.assert_allclose(cloud.point, POINT, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(cloud.normal, NORMAL, atol=1e-6, err_msg=name)


def test_numbers_that_are_no_normals_are_left(tmp_path):
    assert read(tmp_path / "a.pts", "7\n" + lines(POINT, 255 * NORMAL)).normal is None
    assert read(tmp_path / "a.xyz", lines(POINT)).normal is None
    missing = pcd("ascii").replace(repr(float(POINT[2, 0])).encode(), b"nan")
    assert len(read(tmp_path / "a.pcd", missing).point) == 6
    assert np.isnan(read(tmp_path / "b.xyz", lines(POINT) + "nan 0 0\n").point[7, 0])  # refused later, with the count


def test_a_mesh_is_sampled_and_says_so(tmp_path, capsys):
    trimesh.creation.icosphere(2).export(tmp_path / "ball.ply")
    cloud = read(tmp_path / "ball.ply")
    assert cloud.point.shape == (300, 3) and np.linalg.norm(cloud.point, axis=1).max() <= 1.0 + 1e-12
    assert "ball.ply: a mesh; 300 points of its surface are taken" in capsys.readouterr().err
    bare = "".join(f"v {x} {y} {z}\n" for x, y, z in POINT)
    np.testing.assert_array_equal(read(tmp_path / "bare.obj", bare).point, POINT)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.las", "x", "point format '.las' is not known, allowed are npy, xyz, txt, pts, pcd, obj"),
        ("a.xyz", "", "the file is empty"),
        ("a.xyz", "# nothing\n", "not a readable xyz file: no points"),
        ("a.xyz", "1 2\n3 4\n", "2 numbers a line; must be 3 or more"),
        ("a.xyz", "1 2 3\n4 5 six\n", "point 2: 'six' is no number"),
        ("a.xyz", "1 2 3\n4 5\n", "5 numbers in 2 lines; each must have 3"),
        ("a.txt", "Hello\n1 2 3\n", "begins with 'Hello'; must be numbers, a point a line"),
        ("a.pcd", "FIELDS x y z\n", "no line DATA ascii or DATA binary"),
        ("a.pcd", pcd("binary_compressed"), "DATA binary_compressed is not read; save it as ascii or binary"),
        ("a.pcd", pcd("binary", 9), "7 of 9 points are there"),
        ("a.pcd", pcd("ascii", 9), "70 numbers, 9 points need 90"),
        ("a.pcd", pcd("ascii").replace(b"FIELDS x", b"FIELDS w"), "points without x"),
        ("a.pcd", pcd("ascii").replace(b"SIZE 4 4", b"SIZE 4"), "not a readable pcd file"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "points without y, z"),
        ("a.npy", b"\x93NUMPY", "not a readable .npy file"),
    ],
)
def test_what_is_no_cloud(tmp_path, name, data, words):
    with pytest.raises(ValueError, match=r"a\.\w+: ") as told:
        read(tmp_path / name, data)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_arrays_of_another_shape(tmp_path):
    for array in (np.zeros((3, 4, 3)), np.zeros((5, 2)), np.array(["a"])):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ValueError, match=r"a\.npy: an array of shape .*; must be numbers \[point, 3\]"):
            read(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"gone\.xyz: no such file of points"):
        read(tmp_path / "gone.xyz")
