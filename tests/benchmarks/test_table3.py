"""The benchmark of table 3 on two tiny meshes: rows, statistics, pictures."""

import numpy as np
import pytest
import trimesh

from benchmarks.study import ROOT, read_rows
from benchmarks.table3 import __main__ as table3
from benchmarks.table3 import curves as table3_curves
from benchmarks.table3 import report as table3_report
from benchmarks.table3 import runs as table3_runs
from benchmarks.table3.methods import METHODS, OURS, Settings
from benchmarks.table3.runs import CLEAN, Run
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Images, Views, scene_cameras
from fmb.shape.options import OptimizationOptions

OPEN3D = "Open3D voxel carving"
TINY = ["--views", "4", "--size", "16", "--components", "3", "--grid", "12", "--effort", "0.01"]


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    """A folder of two meshes."""
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.icosphere(2, 0.5).export(folder / "ball.ply")
    trimesh.creation.box((1.0, 0.5, 0.3)).export(folder / "brick.ply")
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Four unseen views, carving in place of all fits, and no method of other people's."""
    monkeypatch.setattr(table3, "Settings", lambda *given: Settings(*given, unseen=4, unseen_size=16))
    monkeypatch.setitem(METHODS, OPEN3D, METHODS[OPEN3D]._replace(package="no_such_package"))
    for name in (OURS, "predecessor's recipe"):
        monkeypatch.setitem(METHODS, name, METHODS["voxel carving"])
    yield
    table3_runs.prepared.cache_clear()


def row(model: str, seed: int, error: float, **fields) -> dict:
    return {"model": model, "seed": seed, "method": OURS, "noise": CLEAN, "cross_entropy": error, **fields}


def test_the_whole_table(meshes, quick, tmp_path, capsys):
    argv = ["--models", str(meshes), *TINY, "--seeds", "0", "1", "--output", str(tmp_path / "out")]
    argv += ["--results", str(tmp_path / "shape.md"), "--figures", str(tmp_path / "figures")]
    assert table3.main(argv) == 0
    printed, warned = capsys.readouterr()
    assert "paper: NeRF" in printed and "0.062 ± 0.063" in printed and "processes wanted to run" in printed
    skipped = f"Skipped, for want of a package (No module named 'no_such_package'): {OPEN3D}."
    assert skipped in warned.splitlines() and skipped in printed
    drawn = {"bars.png", "clean.png", "damaged.png", "worst.png"}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == drawn
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"table3_{name}" for name in drawn}
    # two meshes, two seeds, clean and damaged, every method but one
    assert len(read_rows(tmp_path / "out" / "results.jsonl")) == 2 * 2 * 2 * (len(METHODS) - 1)
    assert "<!-- table3:begin -->" in (tmp_path / "shape.md").read_text()


def test_curves_begin_with_what_is_quick_and_go_on_where_they_were(meshes, quick, tmp_path, monkeypatch, capsys):
    argv = ["--models", str(meshes), *TINY, "--seeds", "0", "--output", str(tmp_path), "--curves"]
    argv += ["--results", str(tmp_path / "RESULTS.md")]
    curves = {"components": ("components", (3, 2, 4)), "seconds": ("effort", (0.02, 0.01))}
    monkeypatch.setattr(table3_curves, "CURVES", curves)
    assert table3.main([*argv, "--minutes", "0"]) == 2
    assert "error: curves: no point was ready after 0 minutes; the same command goes on" in capsys.readouterr().err
    assert len(read_rows(tmp_path / "results.jsonl")) == 1
    assert table3.main(argv) == 0
    printed = capsys.readouterr().out
    assert "components 2" in printed and "components 4" in printed and "0.02 x the epochs" in printed
    # four settings, of which one is on both curves, two meshes, clean and damaged
    assert len(read_rows(tmp_path / "results.jsonl")) == 4 * 2 * 2
    assert {path.name for path in tmp_path.glob("*.*")} >= {"curves.png", "curves.md"}
    assert "<!-- table3_curves:begin -->\n## Shape from silhouette: curves" in (tmp_path / "RESULTS.md").read_text()


def test_points_of_a_curve(meshes):
    settings = Settings(4, 16, 40, 8, 1.0)
    runs = table3_curves.curve_runs([meshes / "ball.ply", meshes / "brick.ply"], [0], [CLEAN, "damaged"], settings)
    assert len(set(runs)) == len(runs) and [run.noise for run in runs] == sorted(run.noise for run in runs)
    costs = [table3_curves._cost(run.settings) for run in runs[: len(runs) // 2]]
    assert costs == sorted(costs)
    rows = [row(run.mesh.stem, 0, 1.0, noise=run.noise, seconds=run.settings.effort, load=0.0) for run in runs]
    whole = table3_curves.curves_of(runs, rows, settings)
    assert list(whole) == list(table3_curves.CURVES)
    assert [point.place for point in whole["components"]] == [10, 20, 40, 80, 160, 320, 640]
    assert [point.place for point in whole["seconds"]] == [0.05, 0.1, 0.25, 0.5, 1.0, 2.0]  # as measured
    assert all(len(point.rows) == 4 for points in whole.values() for point in points)
    # the second model of the last setting was not reached: clean it has, damaged it has not
    last = table3_curves.curves_of(runs, rows[:-1], settings)
    lengths = {len(point.rows) for points in last.values() for point in points}
    assert lengths == {2, 4}
    assert table3_curves.curves_of(runs, [], settings) == {}


def test_open3d_carves_as_we_do_but_for_a_pixel(meshes):
    pytest.importorskip("open3d", exc_type=ImportError)
    run = Run(meshes / "brick.ply", CLEAN, "Open3D voxel carving", 0, Settings(24, 32, 3, 32, 1.0, 4, 32))
    train, unseen = table3_runs.data(run)
    theirs, ours = (
        METHODS[name].prepare(run.settings)(train, 0).look(unseen.cameras, (32, 32)).alpha > 0.5
        for name in (run.method, "voxel carving")
    )
    assert np.mean(theirs[ours]) > 0.99 and np.sum(theirs) < 2 * np.sum(ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", [OURS, "predecessor's recipe"])
def test_fits_see_the_silhouettes_alone_and_repeat(meshes, name):
    settings = Settings(4, 16, 3, 8, 0.01, 2, 16)
    run = Run(meshes / "ball.ply", "damaged", name, 0, settings)
    train, unseen = table3_runs.data(run)
    solve = METHODS[name].prepare(settings)
    blind = train._replace(depth=None, color=None)
    first, again = (solve(views, 0).look(unseen.cameras, (16, 16)).alpha for views in (train, blind))
    assert first.shape == (2, 16, 16) and np.array_equal(first, again)
    assert not np.array_equal(first, solve(train, 1).look(unseen.cameras, (16, 16)).alpha)


def test_unseen_cameras_are_the_same_and_training_ones_are_not(meshes):
    settings = Settings(4, 16, 3, 8, 1.0, 2, 16)
    ball, brick = (table3_runs.clean_data(meshes / f"{name}.ply", 0, settings) for name in ("ball", "brick"))
    other = table3_runs.clean_data(meshes / "ball.ply", 1, settings)
    pose = ball.unseen.cameras.world_from_camera
    assert np.array_equal(pose, brick.unseen.cameras.world_from_camera)
    assert np.array_equal(pose, other.unseen.cameras.world_from_camera)
    assert not np.array_equal(ball.train.cameras.world_from_camera, other.train.cameras.world_from_camera)


def test_a_key_tells_settings_and_meshes(meshes, tmp_path, monkeypatch):
    run = Run(meshes / "ball.ply", CLEAN, OURS, 0, Settings())
    others = [run._replace(seed=1), run._replace(noise="damaged"), run._replace(settings=Settings(grid=8))]
    others.append(run._replace(mesh=meshes / "brick.ply"))
    keys = {table3_runs.job(entry, tmp_path).key for entry in (run, *others)}
    assert len(keys) == 5
    monkeypatch.setattr(table3_runs, "OptimizationOptions", lambda: OptimizationOptions(num_epochs=1))
    assert table3_runs.job(run, tmp_path).key not in keys


def test_the_load_beside_the_seconds():
    rows = [row("a", seed, 1.0, seconds=seconds, load=load) for seed, seconds, load in ((0, 2.0, 0.5), (1, 4.0, 3.5))]
    said = f"Meanwhile 0.5 to 3.5 processes wanted to run (mean 2.0); below 1: {OURS} 2.00 s (1 of 2 fits)."
    assert table3_report.load_line(rows) == said
    assert table3_report.load_line(rows[1:]).endswith("(mean 3.5), never fewer than 1.")
    assert table3_report.load_line([row("a", 0, 1.0)]) == ""


def test_spread_over_models_and_seeds():
    rows = [row("a", 0, 1.0), row("a", 1, 3.0), row("b", 0, 5.0), row("b", 1, 9.0)]
    found = table3_report.spread(rows, "cross_entropy")
    # models 2 and 7; seeds 3 and 6
    assert found == pytest.approx((4.5, 2.5, 3.0 / np.sqrt(2.0)))
    assert str(found) == "4.5000 ± 2.5000 (2.1213)"
    assert str(table3_report.spread(rows[:1], "cross_entropy")) == "1.0000 ± 0.0000"
    missing = table3_report.spread([row("a", 0, None)], "cross_entropy")
    assert np.isnan(missing.mean)


def test_merit_is_ordered_and_the_worst_explained():
    fields = {"error_at_outline": 0.8, "error_inside": 0.5}
    rows = [row(name, 0, i + 1.0, outline=0.01 * i, **fields) for i, name in enumerate("dcab")]
    assert table3_report.order_of_merit(rows, OURS) == ["d", "c", "a", "b"]
    text = table3_report.explanation(rows, OURS)
    assert text.startswith("Worst, clean: b, a, c.") and "correlate by 1.00" in text


def test_where_the_error_is():
    silhouette = np.zeros((1, 8, 8))
    silhouette[0, :, :4] = 1.0
    cameras = scene_cameras(np.random.default_rng(0), 1, RenderingOptions(image_width=8, image_height=8))
    alpha = silhouette.copy()
    alpha[0, :, 3] = 0.0  # one column missing, at the outline
    alpha[0, 0, 0] = 0.0  # and one pixel far from it
    where = table3_runs.where_wrong(Images(alpha), Views(cameras, silhouette))
    assert where["outline"] == 0.25
    # the clipped error of right pixels is 1e-6 of a wrong one's
    assert where["error_at_outline"] == pytest.approx(8 / 9, rel=1e-4)
    assert where["error_inside"] == pytest.approx(1.0, rel=1e-4)


def test_noise_figure(meshes, tmp_path):
    figure = tmp_path / "figures" / "noise.png"
    assert table3.main(["--models", str(meshes), *TINY, "--noise-figure", str(figure)]) == 0
    assert figure.stat().st_size > 0


def test_methods_name_sources_that_exist():
    for method in METHODS.values():
        assert all((ROOT / source).is_file() for source in method.sources)
