"""The whole program, small: as a user starts it, what it writes, and what it says to input it cannot use."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import run_fmb
from fmb.files.captures.read import read_capture
from fmb.files.models import read_model
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import iou
from fmb.tasks.scenes import NOVEL_VIEWS
from tests.agreement import disagreements

ROOT = Path(__file__).resolve().parents[2]
OFFSET = np.array([5e5, 4e6, 100.0])
PICTURES = (
    "01_reference_colors",
    "02_reference_depths",
    "03_reference_masks",
    "04_initial_masks",
    "05_initial_depths",
    "06_convergence",
    "07_mask_overlay",
    "08_final_masks",
    "09_depth_comparison",
    "10_final_depths",
    "11_uncertainty",
    "12_portrait",
)
SMALL = "--num-mixtures 6 --num-views 4 --image-width 20 --image-height 16"
SMALL += " --batch-size 128 --num-epochs 20 --gmm-points 500"


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The program in a process of its own, in `folder`; all of them share a cache of compiled programs beside it."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache"), "JAX_ENABLE_X64": "0"}
    command = [sys.executable, str(ROOT / "run_fmb.py"), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def lump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mesh far from the origin, ten units long."""
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.apply_transform(np.diag([5.0, 3.0, 2.0, 1.0]))
    mesh.apply_translation(OFFSET)
    path = tmp_path_factory.mktemp("meshes") / "lump.obj"
    mesh.export(path, digits=17)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, lump: Path) -> tuple[Path, subprocess.CompletedProcess]:
    """Output folder and process of one run."""
    folder = tmp_path_factory.mktemp("run")
    done = start(
        folder, "--cpu", "--mesh-file", str(lump), "--output-dir", "out", *SMALL.split(), "--uncertainty", "true"
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def test_run_writes_its_pictures(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, _ = finished
    for name in PICTURES:
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 200, name
            assert len(picture.convert("L").getcolors(256) or range(257)) > 2, name
    written = {path.name for path in folder.iterdir()}
    others = {"model.npz", "config.yaml", "history.csv", "metrics.json", "mesh.ply", "cameras.json", "report.html"}
    others |= {"masks", "images", "depth"}
    assert written == {f"{name}.png" for name in PICTURES} | others


def test_run_reports_what_was_asked_for(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, done = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    for errors in (metrics["train"], metrics["novel"], metrics["initial"]["train"], metrics["initial"]["novel"]):
        assert set(errors) == {"cross_entropy", "iou", "depth_mae", "rendered_depth_mae"}
    parts = ("total", "load", "ground_truth", "gmm", "compile", "optimize", "evaluate", "export", "figures")
    assert set(metrics["seconds"]) == set(parts)
    assert metrics["seconds"]["total"] >= sum(metrics["seconds"][part] for part in parts[1:])
    assert metrics["num_mixtures"] == 6
    assert metrics["device"] == "cpu"
    assert metrics["ground_truth_backend"] in ("pyrender", "raycast")
    assert set(metrics["versions"]) >= {"jax", "numpy", "trimesh"}
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + metrics["steps"]
    assert metrics["mesh"]["chamfer_percent"] < 20 and 0.8 < metrics["mesh"]["train_iou"] <= 1
    assert len(metrics["view_iou"]) == len(metrics["view_weight"]) == 4
    assert "unseen views" in done.stdout
    assert f"{metrics['seconds']['total']:.1f} s on cpu" in done.stdout


def test_every_number_of_the_run_agrees(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, done = finished
    assert disagreements(folder, done.stdout.replace("in out/", "")) == []
    assert all(len(line) <= 80 for line in [*done.stdout.splitlines(), *done.stderr.splitlines()])
    metrics = json.loads((folder / "metrics.json").read_text())
    course = (folder / "history.csv").read_text().splitlines()
    first, last = (float(course[row].split(",")[-1]) for row in (1, -1))
    errors = [metrics["initial"]["novel"]["cross_entropy"], metrics["novel"]["cross_entropy"]]
    assert [first, last] == pytest.approx(errors, rel=1e-5)  # the curve is of the same views as the table
    with Image.open(folder / "09_depth_comparison.png") as picture:
        assert picture.text["Title"] == "Reference depths against the fit's surface"
    assert metrics["train"]["depth_mae"] < metrics["train"]["rendered_depth_mae"]
    altered = done.stdout.replace(f"{metrics['novel']['iou']:.4g}", "0.1234")
    assert disagreements(folder, altered) == ["screen: 0.1234"]  # the check can fail


def test_stages_are_told_one_plain_line_each(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    told = finished[1].stderr
    assert "\r" not in told and "\033" not in told
    names = [line[:18].strip() for line in told.splitlines()]
    assert names[0] == "loading libraries" and {"fit", "writing"} <= set(names)
    (fit,) = (line for line in told.splitlines() if line.startswith("fit "))
    assert re.search(r"(\d+) of \1 steps, loss 0\.\d{4}$", fit)


def test_the_run_is_a_capture_that_is_read_back(finished: tuple[Path, subprocess.CompletedProcess], lump: Path) -> None:
    capture = read_capture(str(finished[0]), "auto", 1024)
    views, mesh = capture.views, trimesh.load(lump)
    assert len(capture.names) == 4 + NOVEL_VIEWS and sum(capture.held_out) == NOVEL_VIEWS
    truth = render_ground_truth(mesh, views.cameras, views.silhouette.shape[1:], "raycast").views
    assert iou(views.silhouette, truth.silhouette) > 0.97  # two ways to draw the same triangles
    both = np.isfinite(views.depth) & np.isfinite(truth.depth)
    assert np.median(np.abs(views.depth - truth.depth)[both]) < 1e-3 * np.nanmax(truth.depth)
    assert views.color.shape == (*views.silhouette.shape, 3)
    up = -np.asarray(views.cameras.world_from_camera)[:, 1, 1]
    assert np.all(up >= 0.0)  # no camera stands on its head


def test_fit_beats_its_start_and_an_ellipsoid_is_easy(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    metrics = json.loads((finished[0] / "metrics.json").read_text())
    assert metrics["train"]["cross_entropy"] < metrics["initial"]["train"]["cross_entropy"]
    # its outline is a fifth of its 150 or so pixels; a third of these may be wrong
    assert metrics["novel"]["iou"] > 0.88


def test_model_is_in_the_frame_of_the_input(finished: tuple[Path, subprocess.CompletedProcess], lump: Path) -> None:
    model = read_model(finished[0] / "model.npz")
    mesh = trimesh.load(lump)
    inside = np.abs((np.asarray(model.mean) - OFFSET) / mesh.extents)
    assert np.median(inside) < 0.5 and np.ptp(np.asarray(model.mean), axis=0).min() > 0.1
    # 4e6 away float32 knows quarters of a unit only
    assert np.asarray(model.mean).dtype == np.float64
    assert np.unique(np.asarray(model.mean)[:, 1] % 0.25).size == 6
    assert model.metadata["num_mixtures"] == 6
    with np.load(finished[0] / "model.npz") as arrays:
        # the object is ten units long; nothing is surer than a thousandth of that, nor less than its own size
        assert np.all((arrays["mean_deviation"] > 0.01) & (arrays["mean_deviation"] < 10.0))
        assert arrays["mean_axes"].shape == (6, 3, 3) and arrays["weight_deviation"].shape == (6,)


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main(["--cpu", *(str(word) for word in words)])


def test_failed_fit_leaves_the_last_result(tmp_path: Path, lump: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "04_initial_masks.png").write_text("kept")
    words = ("--mesh-file", lump, "--ground-truth", "raycast", "--output-dir", tmp_path, *SMALL.split())
    assert run(*words, "--initial-lr", 10, "--schedule", "constant", "--num-epochs", 200) == 2
    shown = capsys.readouterr().err
    assert "not finite" in shown or "the loss is" in shown
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("04_initial_masks.png", "kept")]


@pytest.mark.slow
def test_resolved_config_gives_the_same_result(
    tmp_path: Path, finished: tuple[Path, subprocess.CompletedProcess]
) -> None:
    words = ("--cpu", "--config", str(finished[0] / "config.yaml"), "--mesh", "none", "--report", "false")
    done = start(tmp_path, *words, "--output-dir", "again")
    assert done.returncode == 0, done.stderr
    before, again = (json.loads((path / "metrics.json").read_text()) for path in (finished[0], tmp_path / "again"))
    assert again["novel"] == pytest.approx(before["novel"], rel=1e-4)


@pytest.mark.slow
def test_open_mesh_starts_from_its_surface_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corners = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]]
    sheet = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]])
    sheet.export(tmp_path / "sheet.stl")
    words = ("--ground-truth", "raycast", "--mesh", "none", "--report", "false", *SMALL.split())
    assert run("--mesh-file", tmp_path / "sheet.stl", "--output-dir", tmp_path / "out", *words) == 0
    assert "surface_gmm instead of volume_gmm" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["init"] == "surface_gmm"


@pytest.mark.slow
def test_predecessor_recipe_runs_by_name(tmp_path: Path, lump: Path, capsys: pytest.CaptureFixture) -> None:
    words = "--recipe predecessor --init sphere --num-views 4 --ground-truth raycast --image-width 32 --image-height 32"
    assert run("--mesh-file", lump, *words.split(), "--output-dir", tmp_path / "out") == 0
    # ten epochs leave the balls so thin that nothing is half opaque: said, and no reason to lose the model
    assert "so the result has no" in capsys.readouterr().out and (tmp_path / "out" / "model.npz").exists()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["steps"] <= 10 * (4 * 32 * 32 // 800)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--mesh-file missing.obj", "missing.obj: "),
        ("--mesh-file one.obj", "one.obj"),
        ("--num-mixtures 0", "--num-mixtures is 0; must be at least 1"),
        ("--batch-size 100000000", "--batch-size is 100000000"),
        (
            "--num-views 1 --image-width 16 --image-height 16 --batch-size 300",
            "--batch-size is 300; must be at most 256",
        ),
        ("--num-mixtures 500 --gmm-points 100", "--num-mixtures is 500; must be at most gmm_points, 100"),
        (f"--mesh-file {ROOT}/data/ibex.ply --output-dir one.obj", "one.obj: is a file"),
        ("--num-vews 3", "unknown flag --num-vews (did you mean --num-views?)"),
        ("--config broken.yaml", "broken.yaml, line 3, column 1: not YAML"),
        ("teach", "unknown task 'teach'"),
        ("--recipe predecessor --num-epochs 3", "--num-epochs: recipe predecessor has its own num_epochs, 10"),
    ],
)
def test_bad_input_gives_one_line_and_code_2(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "one.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "broken.yaml").write_text("model:\n  num_mixtures: [4\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(*([] if "--output-dir" in arguments else ["--output-dir", "out"]), *arguments.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
