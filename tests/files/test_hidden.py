"""Images of what is unknown, BOP's two kinds of masks, and models that are points."""

import numpy as np
import pytest
from PIL import Image

from fmb.fields.points import Cloud
from fmb.files.bop import bop_targets, read_bop_model, read_bop_records, read_bop_view
from fmb.files.poses import ObservationFiles, read_observation
from fmb.files.shapes import read_mesh_or_points
from tests.datasets import write_bop


def save(path, pixels) -> None:
    Image.fromarray(np.where(pixels, 255, 0).astype(np.uint8)).save(path)


def test_unknown_pixels_say_nothing(folder):
    mask, unknown = np.zeros((24, 32), bool), np.zeros((24, 32), bool)
    mask[5:20, 8:20], unknown[:, 20:26] = True, True
    save(folder / "mask.png", mask)
    save(folder / "unknown.png", unknown)
    (folder / "K.txt").write_text("40 0 16\n0 40 12\n0 0 1\n")
    files = ObservationFiles(folder / "K.txt", None, folder / "mask.png", unknown=folder / "unknown.png")
    np.testing.assert_array_equal(read_observation(files).valid, ~unknown)
    save(folder / "unknown.png", np.kron(unknown, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(read_observation(files).valid, ~unknown)
    save(folder / "unknown.png", unknown[:10])
    with pytest.raises(ValueError, match=r"unknown.png: 32 x 10 pixels, mask.png has 32 x 24"):
        read_observation(files)


def test_a_mask_of_hidden_parts_beside_that_of_visible_ones(folder):
    scene = write_bop(folder)
    (scene / "mask").mkdir()
    target = bop_targets(scene)[0]
    visible = read_bop_view(read_bop_records(scene), target).silhouette > 0
    whole = visible | np.roll(visible, 3, axis=1)
    save(scene / "mask" / "000005_000000.png", whole)
    view = read_bop_view(read_bop_records(scene), target)
    np.testing.assert_array_equal(view.hidden, whole & ~visible)
    np.testing.assert_array_equal(view.silhouette > 0, visible)
    assert read_bop_view(read_bop_records(scene), bop_targets(scene)[1]).hidden is None
    save(scene / "mask" / "000005_000000.png", whole[:5])
    with pytest.raises(ValueError, match=r"mask/000005_000000.png: .* pixels, mask_visib/ has"):
        read_bop_view(read_bop_records(scene), target)


def test_a_model_of_points_alone(folder):
    scene = write_bop(folder)
    models = scene.parents[1] / "models"
    points = np.random.default_rng(0).normal(size=(150, 3)).astype(np.float32)
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 150\n" + "".join(
        f"property float {axis}\n" for axis in "xyz"
    )
    (models / "obj_000001.ply").write_bytes(f"{head}end_header\n".encode() + points.tobytes())
    shape = read_bop_model(models, 1).shape
    assert isinstance(shape, Cloud)
    np.testing.assert_allclose(shape.point, points)
    assert len(read_bop_model(models, 2).shape.faces) == 320
    with pytest.raises(ValueError, match="no such mesh file"):
        read_mesh_or_points(models / "none.ply")
    splats = f"{head}property float f_dc_0\nend_header\n".encode() + np.zeros((150, 4), np.float32).tobytes()
    (models / "splats.ply").write_bytes(splats)
    with pytest.raises(ValueError, match="Gaussian splats, which task `export` reads"):
        read_mesh_or_points(models / "splats.ply")
