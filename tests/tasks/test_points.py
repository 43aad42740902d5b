"""Task `points`, small: what it writes, how it goes on after an interruption, and what it refuses."""

import csv
import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

import run_fmb
from fmb.fields.metaballs import mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.files.models import level_of, read_mixture
from fmb.geometry.distances import distance_to
from fmb.tasks import unfinished
from fmb.tasks.points_watch import PAGE, Watch

SMALL = "--cpu --num-steps 40 --network-width 16 --network-depth 2 --points-per-step 60 --save-every 20"
SMALL += " --surface-resolution 24 --method diff_cd"
MIDDLE, SIZE = np.array([30.0, -500.0, 7.0]), 20.0


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main([str(word) for part in words for word in (part.split() if isinstance(part, str) else [part])])


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    """A ball in a unit and at a place of its own."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=SIZE / 2)
    mesh.apply_translation(MIDDLE)
    return mesh


@pytest.fixture(scope="module")
def scan(ball: trimesh.Trimesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its points."""
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, trimesh.sample.sample_surface(ball, 800, seed=1)[0])
    return path


@pytest.fixture(scope="module")
def done(scan: Path, ball: trimesh.Trimesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run with a reference."""
    folder = tmp_path_factory.mktemp("done")
    ball.export(folder / "truth.ply")
    assert run("points", scan, SMALL, "--reference-mesh", folder / "truth.ply", "--output-dir", folder / "points") == 0
    assert [path.name for path in folder.iterdir() if path.name.startswith("points")] == ["points"]
    return folder / "points"


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_results_are_those_that_users_of_the_released_program_know(done: Path, ball: trimesh.Trimesh, scan: Path):
    names = "config.yaml train_metrics.csv eval_metrics.csv eval_metrics_final_40.csv train_points.npy local_sigma.npy"
    names += " mesh.ply metrics.json report.html film.gif"
    assert {*names.split()} <= {path.name for path in done.iterdir()}
    assert {path.name for path in (done / "checkpoints").iterdir()} == {f"{step}.npz" for step in (0, 20, 40)}
    assert {path.name for path in (done / "meshes").iterdir()} == {f"mesh_{step}.ply" for step in (0, 20, 40)}
    mesh = trimesh.load(done / "mesh.ply")
    assert mesh.is_watertight and distance_to(mesh, np.load(scan)).mean() < 0.1 * SIZE
    inside = np.load(done / "train_points.npy")
    np.testing.assert_allclose(np.ptp(inside, axis=0).max(), 1.0)
    assert len(np.load(done / "local_sigma.npy")) == len(inside) == 800
    assert [row["step"] for row in rows(done / "eval_metrics.csv")] == ["0", "20", "40"]
    assert len(rows(done / "train_metrics.csv")) == 40 and iio.improps(done / "film.gif").n_images >= 3
    final, metrics = rows(done / "eval_metrics_final_40.csv")[0], json.loads((done / "metrics.json").read_text())
    assert float(final["exact_chamfer_distance"]) == pytest.approx(
        metrics["errors"]["exact"]["chamfer"] * SIZE, rel=1e-2
    )
    assert metrics["euler"] == 2 and metrics["watertight"] and "checkpoints/0.npz" in metrics["files"]
    for picture in ("01_surface", "02_errors", "03_level_sets", "04_convergence"):
        assert iio.imread(done / f"{picture}.png").std() > 5


@pytest.mark.slow
def test_an_interrupted_run_goes_on_bit_for_bit(done: Path, scan: Path, tmp_path: Path, monkeypatch, capsys):
    save = unfinished.Unfinished.save

    def stopped(self, state):
        save(self, state)
        if state.step == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(unfinished.Unfinished, "save", stopped)
    words = ("points", scan, SMALL, "--report false --output-dir", tmp_path / "points")
    assert run(*words) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["points.unfinished"]
    assert "keeps the run up to step 20; --resume goes on with it" in capsys.readouterr().err
    monkeypatch.setattr(unfinished.Unfinished, "save", save)
    assert run(*words, "--resume --num-steps 61") == 2
    assert "is another run, num_steps was 40 and is 61" in capsys.readouterr().err
    assert run(*words, "--resume") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["points"]
    with np.load(done / "checkpoints" / "40.npz") as one, np.load(tmp_path / "points/checkpoints/40.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert (done / "mesh.ply").read_bytes() == (tmp_path / "points" / "mesh.ply").read_bytes()
    assert run(*words, "--resume") == 2
    assert "points.unfinished: no interrupted run to go on with" in capsys.readouterr().err


def test_input_that_makes_no_sense_is_one_line_and_changes_nothing(tmp_path: Path, scan: Path, ball, capsys):
    def said(*words: object) -> str:
        assert run("points", *words, "--output-dir", tmp_path / "out") == 2
        assert not (tmp_path / "out").exists()
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    np.save(tmp_path / "few.npy", np.zeros((9, 3)))
    np.save(tmp_path / "flat.npy", np.random.default_rng(0).normal(size=(200, 3)) * [1, 0, 1])
    assert "points needs a file of points" in said(SMALL)
    assert "few.npy: 9 points; at least 100" in said(tmp_path / "few.npy", SMALL)
    assert "flat.npy: all 200 points lie in a plane" in said(tmp_path / "flat.npy", SMALL)
    ball.copy().apply_translation([1e3, 0, 0]).export(tmp_path / "away.ply")
    words = said(scan, SMALL, "--reference-mesh", tmp_path / "away.ply")
    assert "away.ply: reference in another frame: the centres are 50 sizes apart" in words
    np.save(tmp_path / "again.npy", np.load(scan)[:40].repeat(5, axis=0))
    assert "again.npy: 200 points at 40 places; at least 100" in said(tmp_path / "again.npy", SMALL)
    assert "network_width is 3; preset paper needs" in said(
        scan, SMALL, "--preset paper --network-depth 8 --network-width 3"
    )
    assert "points_per_step is 3; must be at least 4" in said(scan, SMALL, "--points-per-step 3")
    assert "--method is 'blob'" in said(scan, "--method blob")


@pytest.mark.slow
def test_a_fit_is_watched_and_metaballs_that_were_stopped_start_anew(scan, tmp_path, monkeypatch, capsys):
    seen, save = [], Watch.save

    def stopped(self, state):
        save(self, state)
        seen.append((self.folder / "watch.html").read_text())
        assert iio.imread(self.folder / "watch_surface.png").std() > 5
        if state.step == 250:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "save", stopped)
    words = (
        "points",
        scan,
        "--cpu --num-mixtures 5 --surface-resolution 24 --report false --view --output-dir",
        tmp_path / "points",
    )
    assert run(*words) == 130
    said, place = capsys.readouterr(), tmp_path / "points.unfinished"
    assert f"watch the fit: open {(place / 'watch.html').as_uri()}" in " ".join(said.out.split())
    assert "keeps the run up to step 250; --resume starts anew: this method takes seconds" in said.err
    assert "the start" in seen[0] and "step 250 of 500" in seen[2] and all("refresh" in page for page in seen)

    def kept(self, state):
        save(self, state)
        seen.append((self.folder / PAGE).read_text())

    monkeypatch.setattr(Watch, "save", kept)
    assert run(*words, "--resume") == 0
    assert "this method takes seconds and starts anew" in capsys.readouterr().err
    assert "step 500 of 500; done" in seen[-1] and "refresh" not in seen[-1] and "watch_terms.png?500" in seen[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["points"]


@pytest.mark.slow
def test_metaballs_are_chosen_for_a_noisy_scan_and_become_a_model(ball: trimesh.Trimesh, tmp_path: Path, capsys):
    points = trimesh.sample.sample_surface(ball, 3_000, seed=1)[0]
    lower = points[points[:, 2] < MIDDLE[2] + 6.0]  # a ball without its top
    np.savetxt(tmp_path / "scan.xyz", lower + 0.04 * SIZE * np.random.default_rng(0).normal(size=lower.shape))
    words = "--method auto --num-mixtures 5 --cpu --surface-resolution 48 --report false"
    assert run("points", tmp_path / "scan.xyz", words, "--output-dir", tmp_path / "points") == 0
    assert "method metaballs: noise of" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "points" / "metrics.json").read_text())
    assert metrics["method"] == "metaballs" and 0.0 < metrics["share_without_points"] < 0.3
    model = read_mixture(tmp_path / "points" / "model.npz")
    assert level_of(model.facts) == pytest.approx(np.log(2.0)) and len(model.mixture.mean) == 5
    surface = mesh_mixture(model.mixture, MeshOptions(mesh_field="density", mesh_resolution=48)).mesh
    written = trimesh.load(tmp_path / "points" / "mesh.ply")
    assert distance_to(written, model.frame.to_world(np.asarray(surface.vertices))).max() < 0.02 * SIZE
    assert run("export", tmp_path / "points" / "model.npz", "--mesh stl --cpu --output-dir", tmp_path / "export") == 0
