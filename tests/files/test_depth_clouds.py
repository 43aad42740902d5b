"""Points of a depth image."""

import numpy as np
import pytest
from PIL import Image

from fmb.files.depth_clouds import read_depth_cloud
from fmb.files.poses import ObservationFiles


@pytest.fixture
def files(tmp_path) -> ObservationFiles:
    """A plane two units away, of which a mask shows the left half; a fifth of it was not measured."""
    depth = np.full((10, 20), 2.0)
    depth[:2] = np.nan
    np.save(tmp_path / "depth.npy", depth)
    np.savetxt(tmp_path / "K.txt", [[10.0, 0.0, 10.0], [0.0, 10.0, 5.0], [0.0, 0.0, 1.0]])
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :10] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return ObservationFiles(tmp_path / "K.txt", tmp_path / "depth.npy", tmp_path / "mask.png")


def test_points_lie_on_the_rays_of_their_pixels(files):
    points = read_depth_cloud(files, 1000, np.random.default_rng(0)).point
    row, column = np.meshgrid(np.arange(2, 10) + 0.5, np.arange(10) + 0.5, indexing="ij")
    expected = np.stack([(column - 10.0) / 5.0, (row - 5.0) / 5.0, np.full(row.shape, 2.0)], axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(points, expected, atol=1e-6)
    few = read_depth_cloud(files, 30, np.random.default_rng(0)).point
    assert len(np.unique(few, axis=0)) == 30 and (few[:, None] == points[None]).all(axis=2).any(axis=1).all()


def test_an_image_without_depths_of_the_object_is_refused(files, tmp_path):
    depth = np.full((10, 20), np.nan)
    depth[:, 15:] = 2.0
    np.save(tmp_path / "depth.npy", depth)
    with pytest.raises(ValueError, match="depth"):
        read_depth_cloud(files, 1000, np.random.default_rng(0))
