"""The benchmark of table 2 on two tiny meshes: rows, statistics, pictures; and of table 1."""

import numpy as np
import pytest
import trimesh

from benchmarks.measure import Timing
from benchmarks.render import table1
from benchmarks.study import ROOT, read_rows
from benchmarks.table2 import __main__ as table2
from benchmarks.table2 import methods as table2_methods
from benchmarks.table2 import report as table2_report
from benchmarks.table2 import runs as table2_runs
from benchmarks.table2 import scenes as table2_scenes
from benchmarks.table2.methods import METHODS, OURS, START
from benchmarks.table2.scenes import CLEAN, NOISY, Settings
from fmb.geometry.cameras import pinhole_intrinsics
from fmb.geometry.metrics import object_pose_error

TINY = ["--width", "32", "--height", "24", "--trials", "2"]
OTHERS = [name for name, method in METHODS.items() if method.package]


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    """A folder of two meshes without symmetries."""
    folder = tmp_path_factory.mktemp("meshes")
    ball = trimesh.creation.icosphere(2, 0.5)
    ball.vertices = ball.vertices * [1.0, 0.7, 0.4] + [0.0, 0.0, 0.3] * ball.vertices[:, :1] ** 2
    ball.export(folder / "egg.ply")
    boxes = [trimesh.creation.box((1.0, 0.5, 0.3)), trimesh.creation.box((0.2, 0.4, 0.9))]
    boxes[1].apply_translation([0.5, 0.1, 0.3])
    trimesh.util.concatenate(boxes).export(folder / "brick.ply")
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Where all begin in place of the search and of others' ICP."""
    start = METHODS[START]
    for name, method in table2_methods.KNOWN.items():
        monkeypatch.setitem(table2_methods.KNOWN, name, start._replace(numbers=method.numbers))
    curve = {"points, ICP point": {OTHERS[0]: start}, "mesh, ICP plane": {OTHERS[1]: start}}
    monkeypatch.setattr(table2, "FIDELITY", curve)
    monkeypatch.setattr(table2, "COMPONENTS", (5, 40))
    monkeypatch.setattr(
        table1, "measure", lambda seconds: {size: {"forward": Timing(1.0, 0.5)} for size in table1.SIZES}
    )


def row(model: str, number: int, error: float, **fields) -> dict:
    return {"model": model, "number": number, "method": OURS, "noise": CLEAN, "error": error, "seconds": 0.1, **fields}


def test_the_whole_table(meshes, quick, tmp_path, capsys):
    argv = ["--models", str(meshes), *TINY, "--output", str(tmp_path / "out"), "--methods", START, OURS]
    assert table2.main([*argv, "--fidelity", "--timing", "--results", str(tmp_path / "pose.md")]) == 0
    printed = capsys.readouterr().out
    for words in ("paper: SoftRas mesh", "8.7 ± 6.6", "| brick", "paper: Pulsar", "1 (0.5)", "mesh, ICP plane"):
        assert words in printed
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"models.png", "fidelity.png"}
    rows = list(read_rows(tmp_path / "out" / "results.jsonl").values())
    # two meshes, two trials, clean and noisy, two methods; four points of curves from the true pose
    assert len(rows) == 2 * 2 * 2 * 2 + 2 * 2 * 4
    starts = [entry for entry in rows if entry["method"] == START]
    assert all(entry["degrees"] <= 45.0 and entry["percent"] <= 50.0 for entry in starts)
    assert "<!-- table2:begin -->" in (tmp_path / "pose.md").read_text()


def test_trials_are_the_same_for_all_and_differ_from_each_other(meshes):
    path, settings = meshes / "egg.ply", Settings(width=32, height=24)
    first, again, other = (table2_scenes.trial(path, number, CLEAN, settings) for number in (0, 0, 1))
    np.testing.assert_array_equal(first.start, again.start)
    assert np.abs(first.start - other.start).max() > 0.01
    noisy = table2_scenes.trial(path, 0, NOISY, settings)
    np.testing.assert_array_equal(noisy.truth, first.truth)
    assert np.isfinite(noisy.exposure.depth).sum() < np.isfinite(first.exposure.depth).sum()
    assert np.linalg.norm(first.truth[:3, 3]) == pytest.approx(3.0)
    none = table2_scenes.trial(path, 0, CLEAN, Settings(width=32, height=24, perturbation=0.0))
    np.testing.assert_allclose(none.start, none.truth, atol=1e-15)


@pytest.mark.slow
def test_starts_are_as_far_off_as_the_paper_s(meshes):
    settings = Settings(width=8, height=6)
    trials = [table2_scenes.trial(meshes / "egg.ply", number, CLEAN, settings) for number in range(200)]
    degrees, percent, combined = np.array([object_pose_error(x.start, x.truth, 1.0) for x in trials]).T
    assert degrees.max() <= 45.0 and percent.max() <= 50.0
    # the mean of sqrt(a b), a and b uniform from 0: 4/9 sqrt(45 50) = 21.1; the paper's is 20.2
    assert combined.mean() == pytest.approx(4 / 9 * np.sqrt(45 * 50), abs=2.0)


@pytest.mark.parametrize("name", OTHERS)
def test_icp_of_others_finds_the_pose_of_a_near_start(meshes, tmp_path, name):
    pytest.importorskip(METHODS[name].package, exc_type=ImportError)
    settings = Settings(width=64, height=48, perturbation=0.1)
    run = table2_runs.Run(meshes / "brick.ply", CLEAN, name, 1, settings)
    found = table2_runs.job(run, tmp_path).make()
    assert found["error"] < 2.0 and found["success"]


def test_pixels_become_points():
    intrinsics = pinhole_intrinsics(4, 6, 45.0)
    depth = np.full((4, 6), np.nan)
    depth[1, 4], depth[3, 0], depth[0, 0] = 2.0, 3.0, 0.0
    points = table2_methods.back_projected(depth, intrinsics)
    seen = points @ intrinsics.T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], [[4.5, 1.5], [0.5, 3.5]])
    np.testing.assert_allclose(points[:, 2], [2.0, 3.0])


def test_statistics():
    rows = [row("a", number, error) for number, error in enumerate([1.0, 2.0, 3.0, 10.0])]
    found = table2_report.summary(rows)
    assert found == pytest.approx((4.0, 3.0, 2.5, 0.75, 0.1, 4))  # quartiles 1.75 and 4.75
    assert table2_report.spread(found.mean, found.quartiles) == "4.00 ± 3.00"
    assert table2_report.details(found) == ("2.50", "75.0 %")
    pairs = [(True, True), (True, False), (False, False), (False, True), (True, True)]
    told = [row("a", number, 1.0, claimed=said, success=is_so) for number, (said, is_so) in enumerate(pairs)]
    text = table2_report.claims([*told, row("a", 9, 1.0, claimed=None, success=True)], OURS)
    assert text == "It calls 3 of 5 poses found, of which 2 are within 5; of the 2 that it doubts, 1 are not."
    nothing = table2_report.summary([])
    assert nothing.count == 0 and table2_report.spread(nothing.mean, 0.0) == "-"
    text = table2_report.worst([{**entry, "degrees": 1.0, "percent": 2.0} for entry in rows], OURS, 1)
    assert text == "a 3 clean: 1.0 degrees, 2.0 %"


def test_sensor_figure(meshes, tmp_path):
    figure = tmp_path / "figures" / "sensor.png"
    assert table2.main(["--models", str(meshes), *TINY, "--sensor-figure", str(figure)]) == 0
    assert figure.stat().st_size > 0


def test_methods_name_sources_that_exist():
    for method in table2_methods.KNOWN.values():
        assert all((ROOT / source).is_file() for source in method.sources)


@pytest.mark.slow
def test_our_search_and_its_mixture(meshes, tmp_path):
    run = table2_runs.Run(meshes / "brick.ply", CLEAN, OURS, 0, Settings(components=10))
    assert table2_runs.job(run, tmp_path).make()["error"] < 3.0
    assert len(list((tmp_path / "mixtures").glob("brick-10-*.npz"))) == 1
