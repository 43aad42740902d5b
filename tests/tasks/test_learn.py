"""Task `learn`, small: what it writes, how it goes on after an interruption, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

import run_fmb
from fmb.files.distances import write_distances
from fmb.files.several import files_of
from fmb.files.spaces import read_space
from fmb.latent.samples import sample_distances
from fmb.tasks import unfinished

SMALL = "--cpu --learn-steps 100 --decoder-width 24 --decoder-depth 2 --learn-points 256 --learn-samples 1000"
SMALL += " --learn-resolution 24"


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main([str(word) for part in words for word in (part.split() if isinstance(part, str) else [part])])


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ball, an egg in another unit and place, and a note."""
    folder = tmp_path_factory.mktemp("meshes")
    ball = trimesh.creation.icosphere(2, 1.0)
    ball.export(folder / "ball.ply")
    egg = ball.copy()
    egg.vertices *= (50.0, 30.0, 30.0)
    egg.apply_translation([0.0, 400.0, 0.0]).export(folder / "egg.obj")
    (folder / "notes.txt").write_text("not a mesh")
    return folder


@pytest.fixture(scope="module")
def done(meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run."""
    folder = tmp_path_factory.mktemp("done")
    assert run("learn", meshes, SMALL, "--save-samples true --output-dir", folder) == 0
    return folder / "learn"


def test_results(done: Path, meshes: Path):
    names = (
        "space.npz metrics.json config.yaml train_metrics.csv eval_metrics.csv report.html checkpoints meshes samples"
    )
    pictures = "01_reconstructions.png 02_codes.png 03_line.png 04_convergence.png"
    assert {path.name for path in done.iterdir()} == {*names.split(), *pictures.split()}
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["shapes"] == ["ball", "egg"] and metrics["steps"] == 100
    assert len(list(csv.DictReader((done / "train_metrics.csv").read_text().splitlines()))) == 100
    for row, name in zip(metrics["errors"], ("ball", "egg"), strict=True):
        assert row["shape"] == name and row["reference_euler"] == 2 and 0.0 < row["exact_chamfer"] < 0.05
    egg = trimesh.load(done / "meshes" / "egg.ply")
    np.testing.assert_allclose(egg.bounds.mean(axis=0), [0.0, 400.0, 0.0], atol=5.0)
    assert read_space(done).names == read_space(done.parent).names == ("ball", "egg")


def test_an_interrupted_run_goes_on_to_the_same_space(done: Path, meshes: Path, tmp_path: Path, monkeypatch, capsys):
    class Stopped(unfinished.Unfinished):
        def save(self, state):
            super().save(state)
            if state.step == 50:
                raise KeyboardInterrupt

    words = ("learn", meshes / "ball.ply", meshes / "egg.obj", SMALL, "--report false --output-dir", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fmb.tasks.learn.Unfinished", Stopped)
        assert run(*words) == 130
    assert "keeps the run up to step 50; --resume goes on with it" in capsys.readouterr().err
    assert run(*words, "--resume --learn-steps 99") == 2
    assert "is another run, learn_steps was 100 and is 99" in capsys.readouterr().err
    assert run(*words, "--resume") == 0
    first, second = (read_space(place) for place in (done, tmp_path))
    np.testing.assert_array_equal(first.codes, second.codes)
    assert [path.name for path in tmp_path.iterdir()] == ["learn"]


def test_distances_of_another_program_are_learnt_from(meshes: Path, tmp_path: Path):
    made = sample_distances(trimesh.load(meshes / "ball.ply"), "other", 1000, np.random.default_rng(0))
    write_distances(tmp_path / "other.npz", made.pos, made.neg)
    words = (meshes / "*.obj", tmp_path / "other.npz", SMALL, "--report false --mesh none --output-dir", tmp_path)
    assert run("learn", *words) == 0
    rows = json.loads((tmp_path / "learn" / "metrics.json").read_text())["errors"]
    assert "exact_chamfer" in rows[0] and "exact_chamfer" not in rows[1] and rows[1]["wrong_side"] < 0.2
    assert not (tmp_path / "learn" / "meshes").exists()


def test_input_that_makes_no_sense_is_one_line_and_changes_nothing(tmp_path: Path, meshes: Path, capsys):
    def said(*words: object) -> str:
        assert run(*words, "--output-dir", tmp_path / "out") == 2
        assert not (tmp_path / "out").exists()
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    empty, sheet = tmp_path / "empty", tmp_path / "sheet.ply"
    empty.mkdir()
    flat = trimesh.creation.icosphere(1, 1.0)
    trimesh.Trimesh(flat.vertices * (1, 1, 0), flat.faces).export(sheet)
    (empty.parent / "again").mkdir()
    trimesh.creation.icosphere(1, 1.0).export(tmp_path / "again" / "ball.stl")
    assert "learn needs meshes" in said("learn", SMALL)
    assert "1 shape; a space of shapes needs at least 2" in said("learn", meshes / "ball.ply", meshes / "ball.ply")
    assert "names of shapes are not unique: ball" in said("learn", meshes, tmp_path / "again")
    assert "empty: no file in it that ends in .obj" in said("learn", empty, meshes)
    assert "gone.ply: no such mesh file" in said("learn", meshes, tmp_path / "gone.ply")
    assert "sheet.ply: the mesh has no inside" in said("learn", meshes, sheet, SMALL)
    cloud = tmp_path / "cloud.npy"
    np.save(cloud, np.random.default_rng(0).normal(size=(200, 3)))
    assert "--method latent needs --shapes" in said("points", cloud, "--method latent")
    assert "empty: no space.npz in it" in said("points", cloud, "--method latent --shapes", empty)
    assert "task pose does not work on it" in said("pose", "--shapes", empty)


def test_patterns_folders_and_names_mean_files_once(meshes: Path):
    words = [str(meshes), str(meshes / "*.ply"), str(meshes / "egg.obj")]
    assert [path.name for path in files_of(words, (".ply", ".obj"))] == ["ball.ply", "egg.obj"]
