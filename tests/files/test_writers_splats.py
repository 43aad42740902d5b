"""Splats as files: what an independent reader finds in them."""

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fm_render import Mixture
from fmb.files.splats import PROPERTIES, splats_from_mixture, write_splats


def mixture() -> Mixture:
    """Two components, one of them opaque."""
    factor = np.stack([np.diag([1.0, 2.0, 4.0]), 3.0 * np.eye(3)])
    return Mixture(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, -1.0]]), factor, np.array([np.log(0.15), 9.0]))


def test_file_has_the_layout_that_viewers_expect(tmp_path):
    splats = splats_from_mixture(mixture(), np.array([[1.0, 0.5, 0.0], [0.25, 0.25, 0.25]]))
    path = write_splats(tmp_path / "splats.ply", splats)
    rows = trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]
    assert rows.dtype.names == PROPERTIES and len(rows) == 34
    assert_allclose([rows[0][name] for name in ("x", "y", "z", "nx", "ny", "nz")], [1, 2, 3, 0, 0, 0])
    assert_allclose([0.5 + 0.28209479 * rows[0][f"f_dc_{k}"] for k in range(3)], [1.0, 0.5, 0.0], atol=1e-6)
    assert_allclose(sorted(np.exp([rows[0][f"scale_{k}"] for k in range(3)])), [0.25, 0.5, 1.0], rtol=1e-6)
    assert_allclose(np.linalg.norm([rows[0][f"rot_{k}"] for k in range(4)]), 1.0, rtol=1e-6)
    # two copies of opacity o: 1 - (1 - o)^2 = 1 - exp(-0.15)
    assert_allclose(1 - (1 / (1 + np.exp(rows[0]["opacity"]))) ** 2, 1 - np.exp(-0.15), rtol=1e-6)


def test_errors(tmp_path):
    splats = splats_from_mixture(mixture())
    with pytest.raises(ValueError, match=r"splats\.splat: splats are written as \.ply"):
        write_splats(tmp_path / "splats.splat", splats)
    with pytest.raises(ValueError, match="cannot be written"):
        write_splats(tmp_path / "missing" / "splats.ply", splats)
