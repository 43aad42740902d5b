"""Task batch: the fits are those of shape, results come whole, and what was done stays done."""

import csv
import json
import os
import shutil
from collections import deque
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.files.models import read_mixture
from fmb.files.tables import alike, flat, write_csv
from fmb.machine import Clock
from fmb.options import ConfigError
from fmb.shape.batch import Candidates, Fits, remembered
from fmb.shape.recipe import begin_work, compile_shape_fit, end_work, fit_to_views
from fmb.shape.start import start_mixture
from fmb.tasks.batch import batch
from fmb.tasks.batch_jobs import names_of, shard_of
from fmb.tasks.scenes import open_scene
from fmb.tasks.shape import streams

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--num-views 5 --image-width 16 --image-height 16 --num-mixtures 3 --batch-size 128 --num-epochs 40 --cpu"
SMALL += " --gmm-points 200 --mesh-resolution 16 --batch-workers 1 --batch-devices 1 --ground-truth raycast"


def config_of(*words: object):
    return load_config(["batch", *SMALL.split(), *map(str, words)], tuple(TASKS), default_file=None)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory) -> Path:
    """Three bodies."""
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.box((1.0, 0.7, 0.5)).export(folder / "box.ply")
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    trimesh.creation.cylinder(0.4, 1.2).export(folder / "post.ply")
    return folder


@pytest.fixture(scope="module")
def done(meshes, tmp_path_factory) -> Path:
    """A batch of the three."""
    folder = tmp_path_factory.mktemp("batch")
    batch(config_of(meshes, "--output-dir", folder), Clock())
    return folder / "batch"


def rows_in(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "table.csv").read_text().splitlines()))


def test_a_folder_for_each_and_a_table(done):
    rows = rows_in(done)
    assert [row["name"] for row in rows] == ["ball", "box", "post"] and not any(row["error"] for row in rows)
    for row in rows:
        folder = done / "shapes" / row["name"]
        assert {path.name for path in folder.iterdir()} == {"mesh.ply", "metrics.json", "model.npz", "thumbnail.png"}
        assert len(read_mixture(folder / "model.npz").mixture.mean) == 3
        assert float(row["novel_iou"]) > 0.5
    page = (done / "index.html").read_text()
    assert page.count("<a class=") == 3 and 'src="shapes/ball/thumbnail.png"' in page
    assert json.loads((done / "metrics.json").read_text())["done_now"] == 3


def test_fits_are_those_of_one_at_a_time(meshes):
    """Two slots, three fits of unequal length, against fit_to_views; no component has moved yet: that is chaotic."""
    jobs, singles, program = deque(), {}, None
    for name in ("box", "ball", "post"):
        words = ["shape", str(meshes / f"{name}.ply"), *SMALL.split()]
        config = load_config(words, tuple(TASKS), default_file=None)
        scene = open_scene(config, streams(config)[0])
        start = start_mixture(scene.mesh, config.model, 42).mixture
        program = program or compile_shape_fit(start, scene.shape, config.optimization)
        views = scene.look().views["train"]
        singles[name] = fit_to_views(program, start, views, streams(config)[1])
        jobs.append((name, views, begin_work(program, start, views, streams(config)[1])))
    from fmb.shape.recipe import plan_shape_fit

    plan = plan_shape_fit(start, scene.shape, config.optimization)
    fits, found, views_of = Fits(plan, jobs[0][2], 1, 2), {}, {name: views for name, views, _ in jobs}
    while jobs or fits.tickets:
        while jobs and fits.free:
            fits.put(jobs[0][0], jobs.popleft()[2])
        for ended in fits.advance():
            found[ended.ticket] = end_work(
                plan, ended.work, views_of[ended.ticket], ended.fit, ended.attention, ended.low
            )
    assert len({len(fit.history.loss) for fit in singles.values()}) > 1
    for name, single in singles.items():
        assert_allclose(found[name].history.learning_rate, single.history.learning_rate, rtol=1e-6)
        # float32, and another order of sums; Adam divides by gradients that may be small
        assert_allclose(found[name].history.loss[:20], single.history.loss[:20], rtol=1e-3)
        assert found[name].loss < 1.3 * single.loss


def test_candidates_are_those_of_least_loss():
    low = Candidates(jnp.full(2, jnp.inf), jnp.zeros((2, 1)))
    for loss in (5.0, 3.0, 4.0, 9.0, 2.0):
        low = remembered(low, jnp.asarray(loss), jnp.array([10.0 * loss]))
    assert sorted(np.asarray(low.loss)) == [2.0, 3.0] and sorted(np.asarray(low.parameters)[:, 0]) == [20.0, 30.0]


def test_what_is_done_stays_done(meshes, done, capsys):
    before = {path: path.stat().st_mtime_ns for path in (done / "shapes").rglob("*.npz")}
    os.utime(meshes / "box.ply")  # another time, the same content
    batch(config_of(meshes, "--output-dir", done.parent), Clock())
    assert "3 of 3 shapes are done already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (done / "shapes").rglob("*.npz")}


def test_other_options_and_other_inputs_are_refused(meshes, done, tmp_path):
    shutil.copytree(done.parent, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"batch: is a batch with other options, num_views was 5 and is 6; choose"):
        batch(config_of(meshes, "--output-dir", tmp_path / "copy", "--num-views", "6"), Clock())
    shutil.copytree(meshes, tmp_path / "meshes")
    trimesh.creation.box((1.0, 1.0, 0.5)).export(tmp_path / "meshes" / "box.ply")
    config = config_of(tmp_path / "meshes", "--output-dir", tmp_path / "copy")
    with pytest.raises(ValueError, match=r"box.ply: is not what .*shapes/box was made of; choose"):
        batch(config, Clock())


def test_bad_inputs_are_skipped_and_told(meshes, tmp_path, capsys):
    (tmp_path / "bad.obj").write_text("v 0 0 0\n")
    words = tmp_path / "bad.obj", meshes / "ball.ply", "--output-dir", tmp_path
    with pytest.raises(ValueError, match=r"^1 of 2 inputs could not be used; table.csv in .* says why$"):
        batch(config_of(*words), Clock())
    assert "bad.obj: no triangles" in capsys.readouterr().err
    rows = rows_in(tmp_path / "batch")
    assert [(row["name"], bool(row["error"])) for row in rows] == [("bad", True), ("ball", False)]


def test_a_shard_does_its_part_alike(meshes, done, tmp_path):
    batch(config_of(meshes, "--output-dir", tmp_path, "--shard", "2/3"), Clock())
    (mine,), (_, same, _) = rows_in(tmp_path / "batch"), rows_in(done)
    assert {name: mine[name] for name in mine if "seconds" not in name} == {
        name: same[name] for name in same if "seconds" not in name
    }
    assert (tmp_path / "batch" / "metrics-2-of-3.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "batch needs meshes, captures or points"),
        (("nothing/*.ply",), r"nothing/\*.ply: no file in it that ends in .obj"),
        (("MESHES/box.ply", "other/box.ply"), "box.ply: has the name of .*box.ply, box; --batch-names path tells"),
        (("MESHES", "--shard", "4/3"), "shard is '4/3'; must be such as 3/8"),
        (("MESHES", "--symmetry", "plane"), "symmetry is plane; a batch has none"),
        (("MESHES", "--batch-devices", "4000"), "batch_devices is 4000; must be at most"),
    ],
)
def test_refusals(words, message, meshes, tmp_path):
    words = [word.replace("MESHES", str(meshes)) for word in words]
    config = config_of(*words, "--output-dir", tmp_path)
    with pytest.raises(ValueError, match=message):
        batch(config, Clock())


def test_names_and_tables(tmp_path):
    paths = [Path("a/x/model.obj"), Path("a/y/model.obj")]
    assert names_of(paths, "path") == ["x_model", "y_model"] and names_of(paths, "stem") == ["model", "model"]
    assert shard_of("3/8") == (3, 8)
    with pytest.raises(ConfigError, match="must be such as 3/8"):
        shard_of("0/8")
    assert flat({"a": {"b": 1.0, "c": [1]}, "d": None}) == {"a_b": 1.0, "d": None}
    assert alike([1, 2.5, None]) == [1.0, 2.5, None] and alike([1, "x"]) == ["1", "x"]
    write_csv(tmp_path / "t.csv", [{"a": 1.5}, {"a": float("nan"), "b": "x,y"}])
    assert (tmp_path / "t.csv").read_text() == 'a,b\n1.5,\n,"x,y"\n'
