"""Task `symmetry` and fits with a symmetry as a user meets them, small."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

import run_fmb
from fm_render import Mixture
from fmb.config import Config
from fmb.fields.body_symmetry import body_of
from fmb.fields.surface_symmetry import SurfaceLikeness
from fmb.files.models import read_mixture
from fmb.geometry.frames import Frame
from fmb.geometry.symmetry import plane_symmetry
from fmb.tasks.symmetry import Answer, Subject, made_symmetric

TURN = trimesh.transformations.rotation_matrix(0.7, [1.0, 2.0, 3.0], [0.3, 0.1, 0.0])
SMALL = ("--num-mixtures", "16", "--gmm-points", "4000")


def wedge(shear: float = 0.0) -> trimesh.Trimesh:
    """A solid with one plane, x = 0, somewhere in space; sheared it has none."""
    corner = np.array(
        [[0.5, 0, 0], [0.5, 0.9, 0.1], [0.2, 1.3, 0.4], [0.35, 0.2, 0.9], [0.1, 0.7, 1.2], [0.45, -0.2, 0.5]]
    )
    mesh = trimesh.convex.convex_hull(np.concatenate([corner, corner * [-1.0, 1.0, 1.0]]))
    matrix = np.eye(4)
    matrix[0, 1:3] = shear
    return mesh.apply_transform(matrix).apply_transform(TURN)


def run(*words: str) -> int:
    return run_fmb.main([*words, "--cpu"])


def test_a_mesh_with_a_plane(tmp_path: Path, capsys):
    wedge().export(tmp_path / "wedge.ply")
    assert run("symmetry", str(tmp_path / "wedge.ply"), "--output-dir", str(tmp_path), *SMALL) == 0
    assert "symmetry: plane, correlation 0.9" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    (plane,) = metrics["nearest"]["planes"]
    normal = TURN[:3, 0]
    assert metrics["symmetry"] == "plane"
    assert abs(np.dot(plane["normal"], normal)) > np.cos(np.deg2rad(0.2))
    np.testing.assert_allclose(np.dot(plane["normal"], TURN[:3, 3]), plane["offset"], atol=2e-3)
    assert metrics["nearest"]["distance"] < 1e-3
    written = {path.name for path in tmp_path.iterdir()}
    assert {"01_symmetry.png", "02_image.png", "03_difference.png", "film.gif", "report.html"} <= written


@pytest.mark.slow
def test_a_mesh_without_one_is_told_so(tmp_path: Path, capsys):
    wedge(0.25).export(tmp_path / "sheared.ply")
    words = ("--symmetry", "plane", "--report", "false")
    assert run("symmetry", str(tmp_path / "sheared.ply"), "--output-dir", str(tmp_path), *SMALL, *words) == 0
    assert "no symmetry; nearest: plane, correlation 0.9" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["symmetry"] == "none"


@pytest.mark.slow
def test_a_mesh_is_converted_with_its_plane(tmp_path: Path, capsys):
    wedge().export(tmp_path / "wedge.ply")
    fit = (
        "--num-epochs",
        "3",
        "--num-views",
        "8",
        "--image-width",
        "24",
        "--image-height",
        "24",
        "--batch-size",
        "512",
    )
    words = ("--symmetry", "auto", "--output-dir", str(tmp_path))
    assert run("convert", str(tmp_path / "wedge.ply"), *SMALL, *fit, *words) == 0
    assert "symmetry: plane" in capsys.readouterr().out
    record = json.loads((tmp_path / "metrics.json").read_text())["symmetry"]
    assert record["components_fitted"] == 8
    assert record["parameters"] == 8 * 10 + 3
    mean = read_mixture(tmp_path / "model.npz")
    world = mean.frame.mixture_to_world(mean.mixture).mean
    plane = record["planes"][0]
    image = world - 2.0 * ((world @ plane["normal"]) - plane["offset"])[:, None] * np.array(plane["normal"])
    assert np.linalg.norm(image[:, None] - world[None], axis=2).min(axis=1).max() < 1e-4


def test_what_is_not_symmetric_is_not_made_so_by_a_plane_of_it(tmp_path: Path):
    """The correlation of a model refuses a plane that its surface would hold."""
    found = SurfaceLikeness(plane_symmetry(np.eye(3)[0], 0.0), 0.97, 0.001, 0.0)
    assert found.holds
    frame = Frame(np.zeros(3), np.asarray(1.0))
    body = body_of(Mixture(np.zeros((1, 3)), 5.0 * np.eye(3)[None], np.full(1, 2.0)))  # of a model
    subject, config = Subject("model.npz", frame, wedge(), None, body), Config()
    config = replace(config, reflection=replace(config.reflection, symmetrise="centre"))
    with pytest.raises(ValueError, match=r"^model.npz: no plane of symmetry \(nearest: plane, correlation 0.970"):
        made_symmetric(subject, Answer([found], None, found), config, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("points", "CLOUD", "--method", "siren", "--symmetry", "plane"), "symmetry is plane; method siren has none"),
        (("symmetry", "CLOUD", "--symmetry", "mirror"), "--symmetry is 'mirror'; must be one of auto, none, plane"),
    ],
)
def test_refusals(tmp_path: Path, capsys, words, told):
    cloud = tmp_path / "cloud.ply"
    trimesh.creation.icosphere(subdivisions=3).export(cloud)
    assert run(*(str(cloud) if word == "CLOUD" else word for word in words), "--output-dir", str(tmp_path)) == 2
    assert told in capsys.readouterr().err
