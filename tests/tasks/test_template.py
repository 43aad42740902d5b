"""Tasks `template` and `symmetry --symmetrise`, small: what they write and what they refuse."""

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

import run_fmb
from fmb.files.captures.read import read_capture
from fmb.geometry.mesh_symmetry import geometric_error
from fmb.geometry.options import ReflectionOptions
from fmb.geometry.symmetry import Plane
from fmb.shape.template_fit import STAGES
from fmb.tasks.scenes import NOVEL_VIEWS
from fmb.tasks.symmetrise import parse_plane, plane_of, symmetrise
from fmb.tasks.template import given_template
from tests.geometry.test_alignment import hand

PLANE = Plane(np.array([0.6, 0.8, 0.0]), np.asarray(2.0))


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main([str(word) for word in words])


def lopsided() -> trimesh.Trimesh:
    """A ball about the plane, one side of it larger."""
    ball = trimesh.creation.icosphere(2)
    ball.vertices[ball.vertices[:, 0] > 0.0] *= [1.2, 1.0, 1.0]
    turn = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    ball.vertices = ball.vertices @ turn.T + 2.0 * PLANE.normal
    return ball


def test_template_writes_a_closed_mesh_and_what_is_known_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, stage in list(STAGES.items()):
        monkeypatch.setitem(STAGES, name, stage._replace(steps=50))
    monkeypatch.setattr("fmb.tasks.template.SIDE", 64)
    monkeypatch.setattr("fmb.geometry.comparison.CELLS_PER_DIAGONAL", 20)
    egg = trimesh.creation.icosphere(3).apply_scale([10.0, 6.0, 6.0]).apply_translation([100.0, 0.0, 0.0])
    egg.export(tmp_path / "egg.ply")
    small = [
        "--num-views",
        "4",
        "--image-width",
        "24",
        "--image-height",
        "24",
        "--template-detail",
        "1",
        "--ground-truth",
        "raycast",
    ]
    assert run("template", tmp_path / "egg.ply", *small, "--output-dir", tmp_path, "--cpu") == 0
    folder = tmp_path
    metrics = json.loads((folder / "metrics.json").read_text())
    mesh = trimesh.load(folder / "mesh.ply")
    assert mesh.is_watertight and len(mesh.vertices) == metrics["vertices"] and metrics["novel_iou"] > 0.85
    normal = np.array(metrics["plane"]["normal"])
    assert geometric_error(mesh, Plane(normal, np.asarray(metrics["plane"]["offset"]))).largest < 1e-4
    assert abs(mesh.bounds.mean(axis=0)[0] - 100.0) < 1.0 and mesh.visual.kind == "vertex"
    assert "Plane of symmetry" in (folder / "report.html").read_text()
    capture = read_capture(folder)
    assert len(capture.names) == 4 + NOVEL_VIEWS and capture.views.color is not None
    assert abs(np.asarray(capture.views.cameras.world_from_camera)[:, 0, 3].mean() - 100.0) < 10.0
    for picture in ("01_mesh", "02_masks", "03_course"):
        assert iio.imread(folder / f"{picture}.png").std() > 5


def test_templates_without_a_plane_or_with_holes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    body = hand()
    body.export(tmp_path / "hand.ply")
    body.update_faces(np.arange(len(body.faces)) > 3)
    body.export(tmp_path / "holes.ply")
    for name, told in (
        ("hand.ply", "no plane of symmetry: its best one is"),
        ("holes.ply", "not watertight; a template"),
    ):
        words = "--template-mesh", tmp_path / name, "--output-dir", tmp_path / "out", "--num-views", 2, "--cpu"
        small = "--image-width", 16, "--image-height", 16, "--ground-truth", "raycast"
        assert run("template", tmp_path / "hand.ply", *words, *small) == 2
        error = capsys.readouterr().err
        assert f"error: {tmp_path / name}: {told}" in error and not (tmp_path / "out").exists()


def test_a_template_that_is_too_fine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fmb.tasks.template.MOST_VERTICES", 100)
    trimesh.creation.icosphere(2).export(tmp_path / "ball.ply")
    with pytest.raises(ValueError, match=r"ball.ply: 162 vertices; a template may have at most 100"):
        given_template(str(tmp_path / "ball.ply"))


def test_symmetrise_writes_the_mesh_and_its_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fmb.tasks.symmetrise.SAMPLES", 500)
    monkeypatch.setattr("fmb.pictures.comparison.FINEST_EDGE", 12)
    monkeypatch.setattr("fmb.pictures.comparison.SIDE", 64)
    mesh, options = lopsided(), ReflectionOptions("left_to_right, centre", "found", "midpoint")
    facts = symmetrise(options, mesh, PLANE, tmp_path)["symmetrised"]
    written = trimesh.load(tmp_path / "symmetric.ply")
    assert written.is_watertight and geometric_error(written, PLANE).largest < 1e-12
    assert facts["error_before"]["geometric"]["largest"] > 0.05 > 1e-9 > facts["error_after"]["index"]["largest"]
    assert len(written.vertices) == facts["vertices"] > 1.5 * len(mesh.vertices) and facts["watertight"]
    assert iio.imread(tmp_path / "10_symmetrised.png").std() > 5


def test_planes_are_given_or_found_or_asked_for():
    given = plane_of(ReflectionOptions("centre", "0, 3, 4, 10"), None, "a.ply", "nearest: none")
    np.testing.assert_allclose(given.normal, [0.0, 0.6, 0.8])
    assert float(given.offset) == 2.0 and plane_of(ReflectionOptions("centre"), PLANE, "a.ply", "") is PLANE
    with pytest.raises(ValueError, match=r"^a.ply: no plane of symmetry \(nearest: x\); --mirror-plane nx"):
        plane_of(ReflectionOptions("centre"), None, "a.ply", "nearest: x")
    for text in ("1,2,3", "a,b,c,d", "1,0,0,inf"):
        with pytest.raises(ValueError, match="must be found, or four numbers nx,ny,nz,d"):
            parse_plane(text)
    with pytest.raises(ValueError, match="the normal is .*must be finite and not 0"):
        parse_plane("0,0,0,1")
