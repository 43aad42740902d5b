"""Task `compare`, small: meshes, models and points; what it writes, moves and refuses."""

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

import run_fmb
from fmb.fields.options import MeshOptions
from fmb.files.models import write_model
from fmb.files.shapes import read_shape
from tests.geometry.test_alignment import hand, moved


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer samples and smaller pictures than the program has."""
    monkeypatch.setattr("fmb.tasks.compare.POINTS", 1_000)
    monkeypatch.setattr("fmb.pictures.comparison.FINEST_EDGE", 12)
    monkeypatch.setattr("fmb.pictures.comparison.SIDE", 96)


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main([str(word) for word in words])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a body, the same turned, in millimetres, as points, and a ball as a mixture."""
    folder = tmp_path_factory.mktemp("given")
    mesh = hand()
    mesh.export(folder / "truth.ply")
    for name, vertices in (("turned.ply", moved(mesh.vertices, 3)), ("large.obj", 1000.0 * mesh.vertices)):
        trimesh.Trimesh(vertices, mesh.faces, process=False).export(folder / name)
    np.save(folder / "points.npy", trimesh.sample.sample_surface(mesh, 2_000, seed=0)[0])
    arrays = np.array([[5.0, 6.0, 7.0]]), 2.0 * np.eye(3)[None], np.array([2.0])
    write_model(folder / "model.npz", *arrays, {"mesh": {"level": 0.7, "field": "density"}})
    return folder


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.slow
def test_icp_undoes_a_motion_and_a_page_tells_of_it(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert (
        run("compare", given / "turned.ply", given / "truth.ply", "--align", "icp", "--output-dir", tmp_path, "--cpu")
        == 0
    )
    metrics = metrics_of(tmp_path)
    assert metrics["errors"]["exact"]["hausdorff"] < 1e-5 and metrics["errors"]["voxel_iou"] > 0.999
    aligned = read_shape(tmp_path / "aligned.ply")
    np.testing.assert_allclose(aligned.bounds, hand().bounds, atol=1e-4)
    matrix = np.array(metrics["moved_by"])
    turned = np.asarray(read_shape(given / "turned.ply").vertices)
    np.testing.assert_allclose(turned @ matrix[:3, :3].T + matrix[:3, 3], aligned.vertices, atol=1e-3)
    page = (tmp_path / "report.html").read_text()
    assert "Errors of turned.ply" in page and "Worst points" in page and "Hausdorff (max-max)" in page
    for picture in ("01_errors", "02_both", "03_shares"):
        assert iio.imread(tmp_path / f"{picture}.png").std() > 5
    assert "first: Euler number 6, 3 pieces, watertight" in capsys.readouterr().out


def test_other_units_are_told_and_scaled_on_request(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    files = given / "large.obj", given / "truth.ply"
    assert run("compare", *files, "--align", "icp", "--output-dir", tmp_path, "--cpu") == 2
    words = capsys.readouterr().err
    assert "sizes differ 1000 times" in words and "--length-factor" in words and words.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    options = "--length-factor", 0.001, "--report", "false", "--output-dir", tmp_path, "--cpu"
    assert run("compare", *files, *options) == 0
    assert metrics_of(tmp_path)["errors"]["exact"]["chamfer"] < 1e-6 and not (tmp_path / "compare/aligned.ply").exists()


def test_points_and_models_are_shapes_too(given: Path, tmp_path: Path):
    small = "--report", "false", "--cpu", "--output-dir"
    assert run("compare", given / "points.npy", given / "truth.ply", *small, tmp_path / "a") == 0
    metrics = metrics_of(tmp_path / "a")
    assert metrics["first"]["kind"] == "points" and metrics["errors"]["exact"]["to_reference"] < 1e-6
    assert "voxel_iou" not in metrics["errors"]
    surface = read_shape(given / "model.npz", MeshOptions(mesh_resolution=24))
    # density exp(2 - 2 r^2) is 0.7 at this radius
    radius = np.sqrt((2.0 - np.log(0.7)) / 2.0)
    np.testing.assert_allclose(surface.bounds, np.array([5.0, 6.0, 7.0]) + [[-radius], [radius]], atol=0.02)
    surface.export(tmp_path / "ball.ply")
    files = given / "model.npz", tmp_path / "ball.ply"
    assert run("compare", *files, "--mesh-resolution", 24, *small, tmp_path / "b") == 0
    assert metrics_of(tmp_path / "b")["errors"]["exact"]["hausdorff"] < 1e-3


def test_bad_input_is_one_line(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    np.save(tmp_path / "flat.npy", np.zeros((2, 3)))
    (tmp_path / "word.doc").write_text("x")
    for words, told in (
        (("compare", given / "truth.ply"), "compare needs two files"),
        (("compare", given / "turned.ply", given / "truth.ply"), "reference in another frame"),
        (
            ("compare", given / "truth.ply", tmp_path / "flat.npy"),
            "flat.npy: 2 points, 0 not finite; must be 3 or more",
        ),
        (("compare", given / "truth.ply", tmp_path / "word.doc"), "word.doc: '.doc' is no kind of shape, allowed are"),
        (("points", given / "points.npy", given / "truth.ply"), "unexpected "),
        (("compare", given / "truth.ply", "b.ply", "--reference-file", "c.ply"), "--reference-file is given, too"),
    ):
        assert run(*words, "--output-dir", tmp_path / "out", "--cpu") == 2
        error = capsys.readouterr().err
        assert told in error and error.startswith("error: ") and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()
