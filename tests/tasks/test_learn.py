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
from fmb.geometry.distances import distance_to
from fmb.latent.samples import sample_distances
from fmb.tasks import unfinished

SMALL = "--cpu --learn-steps 600 --decoder-rate 4e-3 --decoder-width 24 --decoder-depth 2 --learn-points 512"
SMALL += " --learn-samples 2000 --learn-resolution 24 --code-length 2"


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
    """The results of a run on signed distances alone, which leaves out the comparison with meshes."""
    folder = tmp_path_factory.mktemp("done")
    for name in ("ball.ply", "egg.obj"):
        mesh = trimesh.load(meshes / name)
        made = sample_distances(mesh, name, 4000, np.random.default_rng(0))
        sides = (np.column_stack([made.frame.to_world(s[:, :3]), made.frame.scale * s[:, 3]]) for s in made[2:])
        write_distances(folder / f"{name[:-4]}.npz", *sides)
    assert run("learn", folder / "*.npz", SMALL, "--save-samples true --output-dir", folder / "learn") == 0
    return folder / "learn"


def test_results(done: Path, meshes: Path):
    names = (
        "space.npz metrics.json config.yaml train_metrics.csv eval_metrics.csv report.html checkpoints meshes samples"
    )
    pictures = "01_reconstructions.png 02_codes.png 03_line.png 04_convergence.png"
    assert {path.name for path in done.iterdir()} == {*names.split(), *pictures.split()}
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["shapes"] == ["ball", "egg"] and metrics["steps"] == 600
    assert len(list(csv.DictReader((done / "train_metrics.csv").read_text().splitlines()))) == 600
    for row, name in zip(metrics["errors"], ("ball", "egg"), strict=True):
        assert row["shape"] == name and row["distance_error"] < 0.01 and row["wrong_side"] < 0.1
    space = read_space(done)
    assert space.names == read_space(done.parent).names == ("ball", "egg")
    np.testing.assert_allclose(space.frames[1].centre, [0.0, 400.0, 0.0], atol=2.0)
    np.testing.assert_allclose(space.frames[1].scale, 100.0, rtol=0.03)
    egg = trimesh.load(done / "meshes" / "egg.ply")
    truth = trimesh.load(meshes / "egg.obj")  # in the frame of the file; a coarse grid may see debris beside it
    assert distance_to(egg, np.asarray(truth.vertices)).mean() < 5.0


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_space(meshes: Path, tmp_path: Path, monkeypatch, capsys):
    class Stopped(unfinished.Unfinished):
        def save(self, state):
            super().save(state)
            if state.step == 300:
                raise KeyboardInterrupt

    def words(place: str) -> tuple:
        return ("learn", meshes, SMALL, "--report false --output-dir", tmp_path / place / "learn")

    assert run(*words("once")) == 0
    rows = json.loads((tmp_path / "once" / "learn" / "metrics.json").read_text())["errors"]
    assert [row["exact_chamfer"] < 0.5 and row["reference_euler"] == 2 for row in rows] == [True, True]
    with monkeypatch.context() as patch:
        patch.setattr("fmb.tasks.learn.Unfinished", Stopped)
        assert run(*words("twice")) == 130
    assert "keeps the run up to step 300; --resume goes on with it" in capsys.readouterr().err
    assert run(*words("twice"), "--resume --learn-steps 99") == 2
    assert "is another run, learn_steps was 600 and is 99" in capsys.readouterr().err
    assert run(*words("twice"), "--resume") == 0
    first, second = (read_space(tmp_path / place) for place in ("once", "twice"))
    np.testing.assert_array_equal(first.codes, second.codes)
    assert [path.name for path in (tmp_path / "twice").iterdir()] == ["learn"]


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
