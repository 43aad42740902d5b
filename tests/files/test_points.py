"""Clouds written, and read by trimesh and NumPy."""

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fmb.fields.points import Cloud
from fmb.files.points import POINT_FORMATS, write_points


@pytest.fixture
def cloud() -> Cloud:
    """Points far from the origin, with normals and colours."""
    generator = np.random.default_rng(0)
    normal = generator.normal(size=(50, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return Cloud(generator.normal(size=(50, 3)) + 1e6, normal, generator.uniform(size=(50, 3)))


def test_ply_is_read_by_trimesh(tmp_path, cloud):
    read = trimesh.load(write_points(tmp_path / "cloud.PLY", cloud))
    np.testing.assert_array_equal(read.vertices, cloud.point)
    assert_allclose(read.colors[:, :3] / 255.0, cloud.color, atol=0.5 / 255 + 1e-12)
    raw = read.metadata["_ply_raw"]["vertex"]["data"]
    assert_allclose(np.column_stack([raw[name] for name in ("nx", "ny", "nz")]), cloud.normal, atol=1e-7)


def test_bare_points(tmp_path, cloud):
    bare = Cloud(cloud.point)
    np.testing.assert_array_equal(trimesh.load(write_points(tmp_path / "a.ply", bare)).vertices, cloud.point)
    np.testing.assert_array_equal(np.load(write_points(tmp_path / "a.npy", bare)), cloud.point)


def test_npy_has_what_the_cloud_has(tmp_path, cloud):
    np.testing.assert_array_equal(np.load(write_points(tmp_path / "a.npy", cloud)), np.concatenate(cloud, axis=1))
    assert np.load(write_points(tmp_path / "b.npy", cloud._replace(normal=None))).shape == (50, 6)


def test_errors(tmp_path, cloud):
    with pytest.raises(ValueError, match=r"cloud\.xyz: point format '\.xyz' is not known, allowed are \.ply, \.npy"):
        write_points(tmp_path / "cloud.xyz", cloud)
    with pytest.raises(ValueError, match="cannot be written"):
        write_points(tmp_path / "missing" / "cloud.ply", cloud)
    assert list(tmp_path.iterdir()) == [] and set(POINT_FORMATS) == {".ply", ".npy"}
