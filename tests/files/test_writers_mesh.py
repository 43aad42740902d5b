"""Meshes written in every format, and read back by trimesh and by our reader."""

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fmb.files.meshes import MESH_FORMATS, read_mesh, write_mesh


@pytest.fixture
def mesh() -> trimesh.Trimesh:
    """A coloured ball of radius 2 away from the origin."""
    ball = trimesh.creation.icosphere(2, 2.0).apply_translation([10.0, -20.0, 30.0])
    color = np.random.default_rng(0).integers(0, 255, size=(len(ball.vertices), 3), dtype=np.uint8)
    return trimesh.Trimesh(ball.vertices, ball.faces, vertex_colors=color, process=False)


@pytest.mark.parametrize("suffix", MESH_FORMATS)
def test_round_trip(tmp_path, mesh, suffix):
    path = write_mesh(tmp_path / f"mesh{suffix}", mesh)
    for read in (trimesh.load_mesh(path), read_mesh(path)):
        assert read.is_watertight and len(read.faces) == len(mesh.faces)
        assert_allclose(read.volume, mesh.volume, rtol=1e-5)
        assert_allclose(read.bounds, mesh.bounds, rtol=1e-6)
        assert_allclose(read.triangles_center.mean(axis=0), mesh.triangles_center.mean(axis=0), rtol=1e-6)
    if suffix != ".stl":
        assert_allclose(read.visual.vertex_colors[:, :3], mesh.visual.vertex_colors[:, :3], atol=1)
        assert_allclose(read.vertices, mesh.vertices, rtol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_old_file_stays_when_writing_fails(tmp_path, mesh, monkeypatch):
    path = write_mesh(tmp_path / "mesh.ply", mesh)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ValueError, match=r"mesh\.ply: cannot be written \(no space left on device\)"):
        write_mesh(path, mesh)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_errors(tmp_path, mesh):
    message = r"mesh\.fbx: mesh format '\.fbx' is not known, allowed are \.ply, \.obj, \.glb, \.stl"
    with pytest.raises(ValueError, match=message):
        write_mesh(tmp_path / "mesh.fbx", mesh)
