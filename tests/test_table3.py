"""The benchmark of table 3 on two tiny meshes: rows, resumption, statistics, pictures, messages."""

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from benchmarks import table3, table3_methods, table3_report, table3_runs
from benchmarks.table3_methods import METHODS, OURS, Settings
from benchmarks.table3_runs import CLEAN, Run
from fmb.options import RenderingOptions
from fmb.sheets import Images
from fmb.views import Views, scene_cameras

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
    """Four unseen views, and carving in place of all fits."""
    monkeypatch.setattr(table3, "Settings", lambda *given: Settings(*given, unseen=4, unseen_size=16))
    carving = METHODS["voxel carving"]
    monkeypatch.setitem(METHODS, OURS, carving)
    monkeypatch.setitem(METHODS, "predecessor's recipe", carving)


def row(model: str, seed: int, error: float, **fields) -> dict:
    return {"model": model, "seed": seed, "method": OURS, "noise": CLEAN, "cross_entropy": error, **fields}


def test_the_whole_table_and_its_continuation(meshes, quick, tmp_path, monkeypatch, capsys):
    argv = ["--models", str(meshes), *TINY, "--seeds", "0", "1", "--output", str(tmp_path / "out")]
    argv += ["--results", str(tmp_path / "RESULTS.md")]
    monkeypatch.setattr(table3, "CURVES", {"components": ("components", (2, 4)), "seconds": ("effort", (0.01, 0.02))})
    assert table3.main([*argv, "--curves"]) == 0
    printed = capsys.readouterr().out
    assert "paper: NeRF" in printed and "0.062 ± 0.063" in printed and "components 4" in printed
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"bars.png", "clean.png", "damaged.png", "worst.png", "curves.png"}
    path = tmp_path / "out" / "results.jsonl"
    whole = path.read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    # two meshes, two seeds, clean and damaged, every method; curves for one seed, one of four points is in the table
    assert len(rows) == 2 * 2 * 2 * len(METHODS) + 3 * 2 * 2 == len({entry["key"] for entry in rows})
    # killed while it wrote the last line of the table: that run alone is made again
    lines = whole.splitlines()[: 8 * len(METHODS)]
    path.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    made = []
    perform = table3_runs.perform
    monkeypatch.setattr(table3_runs, "perform", lambda run, *rest: made.append(run) or perform(run, *rest))
    assert table3.main(argv) == 0
    assert len(made) == 1
    again = table3_runs.read_rows(path)
    assert again.keys() == {json.loads(line)["key"] for line in lines}
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.count("<!-- table3:begin -->") == text.count("<!-- table3:end -->") == 1


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


def test_a_key_tells_settings_meshes_and_sources(meshes, monkeypatch):
    run = Run(meshes / "ball.ply", CLEAN, OURS, 0, Settings())
    others = [replace(run, seed=1), replace(run, noise="damaged"), replace(run, settings=Settings(grid=8))]
    others.append(replace(run, mesh=meshes / "brick.ply"))
    assert len({entry.key for entry in (run, *others)}) == 5
    before = run.key
    monkeypatch.setattr(table3_runs, "digest", lambda path: "changed" if path.name == "shape.py" else "same")
    assert run.key != before


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


def test_the_ten_are_the_default_where_they_are(tmp_path, meshes):
    for name in (*table3.PAPER_NAMES, "extra"):
        (tmp_path / f"{name}.ply").touch()
    assert [path.stem for path in table3.find_meshes(tmp_path, [])] == list(table3.PAPER_NAMES)
    assert [path.stem for path in table3.find_meshes(meshes, [])] == ["ball", "brick"]


def test_noise_figure_and_messages(meshes, tmp_path, capsys):
    figure = tmp_path / "figures" / "noise.png"
    assert table3.main(["--models", str(meshes), *TINY, "--noise-figure", str(figure)]) == 0
    assert figure.stat().st_size > 0
    assert table3.main(["--models", str(meshes), "--names", "cone"]) == 2
    assert "no mesh named cone; there are ball, brick" in capsys.readouterr().err
    assert table3.main(["--models", str(tmp_path / "figures")]) == 2
    assert "no mesh in this folder" in capsys.readouterr().err


def test_methods_name_sources_that_exist():
    for method in METHODS.values():
        assert all((table3_methods.ROOT / source).is_file() for source in method.sources)
