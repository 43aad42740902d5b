"""The benchmark of real sequences, on a small one that is drawn here and, where they are shared, on the real ones."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from benchmarks.real import __main__ as real
from benchmarks.real.pictures import PANELS, SIDE, cropped, draw_sequence, squared
from benchmarks.real.runs import Result, Settings, left_out, overlaps, read_sequence, start_of
from benchmarks.study import read_rows
from fmb.files.captures.plain import write_cameras
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.ground_truth import render_ground_truth
from fmb.hull.check import check_cameras

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
SIZE = (40, 56)
TINY = Settings(side=28, epochs=2, batch=256)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """One sequence of eleven views of a box with a knob, in our own format."""
    root = tmp_path_factory.mktemp("real")
    folder = root / "knob"
    (folder / "masks").mkdir(parents=True)
    solid = trimesh.util.concatenate([trimesh.creation.box((1.0, 0.5, 0.4)), trimesh.creation.icosphere(2, 0.3)])
    solid.vertices[8:] += [0.4, 0.3, 0.2]
    cameras = orbit_cameras(11, 3.0, pinhole_intrinsics(*SIZE, 40.0), 0.3)
    views = render_ground_truth(solid, cameras, SIZE, "raycast").views
    names = [f"{view:03d}" for view in range(11)]
    write_cameras(folder / "cameras.json", cameras, SIZE, names)
    for name, mask in zip(names, views.silhouette, strict=True):
        Image.fromarray(np.round(255 * mask).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    return root


def test_every_fifth_is_left_out():
    assert np.array_equal(np.flatnonzero(left_out(11)), [4, 9])


def test_the_sequence_is_split_and_canonical(data):
    sequence = read_sequence(data / "knob", TINY)
    assert sequence.shown_names == ("004", "009")
    assert sequence.train.silhouette.shape == (9, 20, 28)
    assert abs(float(sequence.frame.scale) - 0.9) < 0.3
    # what is left out does not take part in the frame, yet lies in it
    distance = np.linalg.norm(sequence.shown.cameras.world_from_camera[:, :3, 3], axis=1)
    assert np.allclose(distance, 3.0 / sequence.frame.scale, rtol=0.15)
    assert len(sequence.start_points) == 20_000


@pytest.mark.slow
def test_section_and_rows(data, tmp_path):
    results = tmp_path / "RESULTS.md"
    flags = ["--data", str(data), "--components", "3", "--side", "28", "--epochs", "2", "--batch", "256"]
    flags += ["--output", str(tmp_path / "out"), "--results", str(results)]
    assert real.main(flags) == 0
    (row,) = read_rows(tmp_path / "out" / "results.jsonl").values()
    assert row["name"] == "knob" and row["views"] == [9, 2] and row["size"] == [28, 20]
    assert 0.0 < row["worst"] <= row["iou"] <= 1.0 and row["hull_iou"] > 0.8 and row["agreement"] > 0.8
    text = results.read_text(encoding="utf-8")
    assert "<!-- real:begin -->" in text and "knob" in text and f"{row['iou']:.4f}" in text


@pytest.mark.slow
def test_the_picture_is_drawn(data, tmp_path):
    sequence = read_sequence(data / "knob", TINY)
    mixture = start_of(sequence, 3, TINY)
    path = draw_sequence(tmp_path / "knob.png", sequence, Result(mixture, {"components": 3, "iou": 0.5}))
    with Image.open(path) as image:
        assert image.width > len(PANELS) * SIDE and image.height > 4 * SIDE


def test_wrong_folders_are_named(tmp_path, data, capsys):
    assert real.main(["--data", str(tmp_path), "--output", str(tmp_path / "o")]) == 2
    (tmp_path / "o").rmdir()
    assert real.main(["--data", str(tmp_path), "--output", str(tmp_path.parent / "o")]) == 2
    assert f"error: {tmp_path}: no sequence in this folder" in capsys.readouterr().err
    assert real.main(["--data", str(data), "--names", "cow", "--output", str(tmp_path / "o")]) == 2
    assert "no sequence named cow; there are knob" in capsys.readouterr().err


def test_pixels_that_say_nothing_are_not_measured(data):
    views = read_sequence(data / "knob", TINY).shown
    alpha, valid = np.array(views.silhouette), np.ones(views.silhouette.shape, bool)
    alpha[:, :, :9], valid[:, :, :9] = 1.0, False
    assert overlaps(alpha, views)["iou"] < 1.0
    assert overlaps(alpha, views._replace(valid=valid)) == {"iou": 1.0, "each": [1.0, 1.0], "off": 0.0}


def test_panels_show_the_object():
    mask = np.zeros((30, 50), bool)
    mask[10:20, 5:15] = True
    assert cropped(mask) == (slice(8, 22), slice(3, 17))
    assert cropped(np.zeros((30, 50), bool)) == (slice(None), slice(None))
    square = squared(np.zeros((30, 60, 3), np.uint8))
    assert square.shape == (SIDE, SIDE, 3)
    assert np.array_equal(np.flatnonzero(square[:, 100, 0] == 0), np.arange(SIDE // 4, 3 * SIDE // 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(real.LIMITS))
def test_cameras_of_the_shared_sequences_agree(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"no shared sequences at {REAL}")
    report = check_cameras(read_sequence(REAL / name, Settings(side=160)).train)
    assert report.fine and report.agreement > 0.88
