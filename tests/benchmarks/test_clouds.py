"""The table of surfaces from points, with a method that takes no time; what makes no surface is told."""

from functools import partial

import numpy as np
import pytest
import trimesh

from benchmarks.clouds import __main__ as program
from benchmarks.clouds.cases import Case, given, scans
from benchmarks.clouds.methods import METHODS, Method
from fmb.geometry.comparison import compare


def hull(points: np.ndarray, noise: str, seed: int) -> trimesh.Trimesh:
    return trimesh.PointCloud(points).convex_hull


def nothing(points: np.ndarray, noise: str, seed: int) -> trimesh.Trimesh:
    raise ValueError("no surface")


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    trimesh.creation.icosphere(2, 3.0).export(folder / "ball.ply")
    trimesh.creation.icosphere(3, 3.0).export(folder / "ball_hi.ply")
    return folder


def test_table(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "METHODS", {"hull": Method(hull), "none": Method(nothing)})
    monkeypatch.setattr(program, "compare", partial(compare, count=300))
    words = ["--models", str(models), "--names", "ball", "--points", "2000", "--seeds", "0", "1"]
    words += ["--noises", "none", "strong", "--methods", "hull", "none", "--output", str(tmp_path / "out")]
    results = tmp_path / "clouds.md"
    assert program.main([*words, "--results", str(results)]) == 0
    lines = [line.split("|") for line in results.read_text().splitlines() if line.startswith("| hull")]
    clean, strong = (float(cell.split("±")[0]) for cell in lines[0][2:4])
    # the hull of a ball with noise is wider by three deviations or so, which are 5 % of the diameter each
    assert clean < 0.2 and 5.0 < strong < 25.0
    assert "2, 2" in lines[1][2] and "ball, none (2)" in results.read_text()
    assert "No surface: none on ball, none (no surface)" in results.read_text()
    kept = tmp_path / "out" / "results.jsonl"
    rows = kept.read_text()
    assert program.main(words) == 0 and kept.read_text() == rows  # nothing was made anew
    more = [word if word != "none" else "medium" for word in words]
    more[more.index("medium", more.index("--methods"))] = "hull"
    assert program.main([*more, "--made", "--results", str(results)]) == 0 and kept.read_text() == rows
    assert "ball, strong" in results.read_text() and "ball, medium" not in results.read_text()
    assert program.main([*words, "--made", "--points", "500"]) == 2
    assert "no row of these methods and cases" in capsys.readouterr().err
    assert program.main(["--models", str(tmp_path)]) == 2
    assert "no mesh in this folder" in capsys.readouterr().err


def test_clouds_are_normalised_and_scans_found(models, tmp_path):
    case = Case(models / "ball_hi.ply", "medium")
    points, truth = given(case, 500, 0)
    assert np.ptp(points, axis=0).max() == pytest.approx(1.0) and case.name == "ball, medium"
    radius = np.linalg.norm(points - truth.bounds.mean(axis=0), axis=1)
    assert radius.std() / np.ptp(truth.bounds, axis=0).max() == pytest.approx(0.01, rel=0.15)
    (models / "ball.ply").rename(tmp_path / "scan_gt.ply")
    np.savetxt(tmp_path / "scan.5.xyz", 3.0 * points)
    assert [(found.name, found.scan.name) for found in scans(tmp_path)] == [("scan", "scan.5.xyz")]
    assert given(scans(tmp_path)[0], 0, 0).points == pytest.approx(points - (points.min(0) + points.max(0)) / 2)


def test_other_packages_are_named():
    assert {method.package for method in METHODS.values()} == {"", "pymeshlab", "open3d"}
