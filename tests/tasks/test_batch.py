"""Fits at once, fits that go on, and task batch: results come whole, and what was done stays done."""

import csv
import errno
import json
import os
import random
import shutil
import signal
import time
import warnings
from collections import deque
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from fmb import machine
from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.files.models import read_mixture
from fmb.files.tables import alike, flat, write_csv
from fmb.fit.checkpoints import Snapshot
from fmb.geometry.frames import canonical_frame
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views
from fmb.machine import Clock
from fmb.options import ConfigError
from fmb.pictures.thumbnails import card_of
from fmb.shape.batch import Candidates, Fits, remembered
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import (
    RECIPES,
    Hooks,
    begin_work,
    compile_shape_fit,
    conversion_views,
    end_work,
    fit_to_views,
    plan_shape_fit,
)
from fmb.shape.start import start_mixture
from fmb.tasks.batch import batch
from fmb.tasks.batch_jobs import Outcome, inputs_of, names_of, shard_of, source_of
from fmb.tasks.batch_slurm import command_of, submit
from fmb.whole import whole_folder

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--num-views 5 --image-width 16 --image-height 16 --num-mixtures 3 --batch-size 128 --num-epochs 40 --cpu"
SMALL += (
    " --gmm-points 200 --mesh-resolution 16 --batch-workers 1 --batch-devices 1 --batch-slots 2 --ground-truth raycast"
)


def config_of(*words: object):
    return load_config(["batch", *SMALL.split(), *map(str, words)], tuple(TASKS), default_file=None)


@pytest.fixture(scope="module", autouse=True, params=[False, pytest.param(True, marks=pytest.mark.slow)])
def attends(request):
    """Without what the recipe does between chunks, which takes long to compile, and with it."""
    before = RECIPES["best"]
    RECIPES["best"] = before._replace(attends=request.param)
    yield request.param
    RECIPES["best"] = before


@pytest.fixture(scope="module")
def meshes(tmp_path_factory) -> Path:
    """Three bodies."""
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.box((1.0, 0.7, 0.5)).export(folder / "box.ply")
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    trimesh.creation.cylinder(0.4, 1.2).export(folder / "post.ply")
    return folder


@pytest.fixture(scope="module")
def done(meshes, attends, tmp_path_factory) -> Path:
    """A batch of the three, and of a file that is no mesh."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "bad.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"^1 of 4 inputs could not be used; table.csv in .* says why$"):
        batch(config_of(folder / "bad.obj", meshes, "--output-dir", folder), Clock())
    return folder


OPTIONS = OptimizationOptions(num_epochs=40, batch_size=128)
BODIES = {
    "box": trimesh.creation.box((1.0, 0.7, 0.5)),
    "ball": trimesh.creation.icosphere(2),
    "post": trimesh.creation.cylinder(0.2, 1.2),
}


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple]:
    """A start and views of each body."""
    small = RenderingOptions(num_views=5, image_width=16, image_height=16)
    found = {}
    for name, mesh in BODIES.items():
        mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
        start = start_mixture(mesh, ModelOptions(num_mixtures=3, gmm_points=200), 0).mixture
        found[name] = start, conversion_views(mesh, np.random.default_rng(1), small)._replace(depth=None)
    return found


@pytest.fixture(scope="module")
def program(cases, attends):
    start, views = cases["box"]
    return compile_shape_fit(start, views.silhouette.shape, OPTIONS)


@pytest.fixture(scope="module")
def singles(cases, program) -> dict[str, tuple]:
    """One fit after the other, with every state that was offered."""
    found = {}
    for name, (start, views) in cases.items():
        states: list[Snapshot] = []
        hooks = Hooks(offer=lambda make, states=states: states.append(make()))
        found[name] = fit_to_views(program, start, views, np.random.default_rng(2), hooks), states
    return found


@pytest.mark.slow
def test_a_fit_goes_on_bit_for_bit(cases, program, singles):
    (start, views), (whole, states) = cases["box"], singles["box"]
    assert len(states) >= 3
    for kept in (states[0], states[-2]):
        again = fit_to_views(program, start, views, np.random.default_rng(2), Hooks(begun=kept.arrays))
        jax.tree.map(assert_array_equal, again.mixture, whole.mixture)
        assert_array_equal(again.history.loss, whole.history.loss)
        assert_array_equal(again.history.learning_rate, whole.history.learning_rate)
    short = {name: array for name, array in states[0].arrays.items() if name != "course.step"}
    with pytest.raises(ValueError, match=r"has no course.step; this fit needs one of shape \(\)"):
        fit_to_views(program, start, views, np.random.default_rng(2), Hooks(begun=short))


@pytest.mark.slow
def test_fits_at_once_are_those_one_after_the_other(cases, singles):
    """Three fits in two slots: one begins where another has ended."""
    start, views = cases["box"]
    plan = plan_shape_fit(start, views.silhouette.shape, OPTIONS)
    todo = deque(
        (name, begin_work(plan, start, views, np.random.default_rng(2))) for name, (start, views) in cases.items()
    )
    fits, found = Fits(plan, todo[0][1], 1, 2), {}
    while todo or fits.tickets:
        while todo and fits.free:
            fits.put(*todo.popleft())
        for ended in fits.advance():
            view: Views = cases[ended.ticket][1]
            found[ended.ticket] = end_work(plan, ended.work, view, ended.fit, ended.attention, ended.low)
    for name, (single, _) in singles.items():
        assert_allclose(found[name].history.learning_rate, single.history.learning_rate, rtol=1e-6)
        # float32, and sums in another order; later components move, which is decided by such differences
        assert_allclose(found[name].history.loss[:20], single.history.loss[:20], rtol=1e-3)
        assert found[name].loss < 1.3 * single.loss


def test_a_fit_that_is_not_finite_leaves_its_slot(cases, attends):
    start, views = cases["box"]
    plan = plan_shape_fit(start, views.silhouette.shape, OPTIONS)
    work, bad = (begin_work(plan, start, views, np.random.default_rng(2)) for _ in range(2))
    bad = bad._replace(start=bad.start._replace(mean=bad.start.mean * jnp.nan))
    fits = Fits(plan, work, 1, 2)
    fits.put("bad", bad)
    fits.put("good", work)
    (ended,) = fits.advance()
    assert ended.ticket == "bad" and ended.fit is None and "not finite between steps 0 and 125" in ended.error
    assert fits.tickets == ["good"] and fits.free == 1


def test_candidates_are_those_of_least_loss():
    low, remember = Candidates(jnp.full(2, jnp.inf), jnp.zeros((2, 1))), jax.jit(remembered)
    for loss in (5.0, 3.0, 4.0, 9.0, 2.0):
        low = remember(low, np.asarray(loss), np.array([10.0 * loss]))
    assert sorted(np.asarray(low.loss)) == [2.0, 3.0] and sorted(np.asarray(low.parameters)[:, 0]) == [20.0, 30.0]


def rows_in(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "table.csv").read_text().splitlines()))


def test_a_folder_for_each_and_a_table(done):
    bad, *rows = rows_in(done)
    assert bad["name"] == "bad" and "no triangles" in bad["error"] and not bad["novel_iou"]
    assert [row["name"] for row in rows] == ["ball", "box", "post"] and not any(row["error"] for row in rows)
    for row in rows:
        folder = done / "shapes" / row["name"]
        assert {path.name for path in folder.iterdir()} == {"mesh.ply", "metrics.json", "model.npz", "thumbnail.png"}
        assert len(read_mixture(folder / "model.npz").mixture.mean) == 3
        assert float(row["novel_iou"]) > 0.5
    page = (done / "index.html").read_text()
    assert page.count("<a class=") == 3 and 'src="shapes/ball/thumbnail.png"' in page and "no triangles" in page
    facts = json.loads((done / "metrics.json").read_text())
    assert (facts["done_now"], facts["failed"], facts["shapes_per_minute"] > 0) == (3, 1, True)


def test_what_is_done_stays_done(meshes, done, capsys):
    before = {path: path.stat().st_mtime_ns for path in (done / "shapes").rglob("*.npz")}
    os.utime(meshes / "box.ply")  # another time, the same content
    batch(config_of(meshes, "--output-dir", done), Clock())
    assert "3 of 3 shapes are done already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (done / "shapes").rglob("*.npz")}


def test_other_options_and_other_inputs_are_refused(meshes, done, tmp_path):
    shutil.copytree(done, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"copy: is a batch with other options, num_views was 5 and is 6; choose"):
        batch(config_of(meshes, "--output-dir", tmp_path / "copy", "--num-views", "6"), Clock())
    shutil.copytree(meshes, tmp_path / "meshes")
    trimesh.creation.box((1.0, 1.0, 0.5)).export(tmp_path / "meshes" / "box.ply")
    config = config_of(tmp_path / "meshes", "--output-dir", tmp_path / "copy")
    with pytest.raises(ValueError, match=r"box.ply: is not what .*shapes/box was made of; choose"):
        batch(config, Clock())


def test_a_shard_does_its_part_alike(meshes, done, tmp_path):
    batch(config_of(meshes, "--output-dir", tmp_path, "--shard", "2/3"), Clock())
    (mine,), same = rows_in(tmp_path), next(row for row in rows_in(done) if row["name"] == "box")
    assert {name: mine[name] for name in mine if "seconds" not in name} == {
        name: same[name] for name in same if "seconds" not in name
    }
    assert (tmp_path / "metrics-2-of-3.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "batch needs meshes, captures or points"),
        (("nothing/*.ply",), r"nothing/\*.ply: no file in it that ends in .obj"),
        (("MESHES/box.ply", "other/box.ply"), "box.ply: has the name of .*box.ply, box; --names path tells"),
        (("MESHES", "--shard", "4/3"), "shard is '4/3'; must be such as 3/8"),
        (("MESHES", "--batch-devices", "4000"), "batch_devices is 4000; must be at most"),
    ],
)
def test_refusals(words, message, meshes, tmp_path):
    words = [word.replace("MESHES", str(meshes)) for word in words]
    config = config_of(*words, "--output-dir", tmp_path)
    with pytest.raises(ValueError, match=message):
        batch(config, Clock())


def wait_for_lines(path: Path, count: int) -> None:
    """Until the file has so many lines, or a minute is over."""
    end = time.monotonic() + 60.0
    while time.monotonic() < end and not (path.is_file() and path.read_text().count("\n") >= count):
        time.sleep(0.0005)


def fake(config, job):
    """What stands in for a task: a folder of two files and a folder, written slowly."""
    with whole_folder(job.place) as folder:
        with (job.place.parents[1] / "log").open("a") as log:
            log.write(f"{job.name}\n")
        for name in ("one.txt", "two.txt"):
            (folder / name).write_text("x" * 1000)
            time.sleep(0.001)
        machine.write_metrics(folder / "metrics.json", source_of(job))
    return Outcome(job)


def test_a_batch_that_is_killed_loses_and_repeats_nothing(tmp_path, monkeypatch):
    """kill -9 at random moments, of all but the fits: each time in a copy of this process."""
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"{number:02}.xyz").write_text(f"{number} 0 0\n")
    monkeypatch.setattr("fmb.tasks.batch.pointed", fake)
    monkeypatch.setattr("fmb.tasks.batch.choose_device", lambda cpu: machine.Device("cpu", ""))
    config = config_of(tmp_path / "in", "--task", "points", "--output-dir", tmp_path)
    shapes, generator, finished = tmp_path / "shapes", random.Random(1), set()
    begun = 0
    for _ in range(8):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # JAX warns of threads, which the copy does not use
            child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            batch(config, Clock())
            os._exit(0)
        begun += generator.randint(2, 4)
        wait_for_lines(tmp_path / "log", begun)
        time.sleep(generator.uniform(0.0, 0.006))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        begun = (tmp_path / "log").read_text().count("\n")
        now = {path.name for path in shapes.iterdir() if not path.name.startswith(".")} if shapes.is_dir() else set()
        assert finished <= now, "what was done is still there"
        for name in now:
            assert {path.name for path in (shapes / name).iterdir()} == {"one.txt", "two.txt", "metrics.json"}
        finished = now
    assert 4 < len(finished) < 30
    before = (tmp_path / "log").read_text().splitlines()
    batch(config, Clock())
    after = (tmp_path / "log").read_text().splitlines()[len(before) :]
    assert sorted(after) == sorted({f"{number:02}" for number in range(30)} - finished)
    assert len(rows_in(tmp_path)) == 30
    assert {path.name[0] for path in shapes.iterdir()} <= set("0123456789"), "nothing hidden is left"


def test_jobs_of_a_cluster_are_the_shards(meshes, tmp_path, monkeypatch):
    config = config_of(meshes, "--output-dir", tmp_path, "--slurm-jobs", 2)
    command = command_of(config, tmp_path / "slurm", 2)
    assert command[2:4] == ["batch", str(meshes)] and command[-4:] == ["2/2", "--output-dir", str(tmp_path), "--cpu"]
    pytest.importorskip("submitit", reason="the extra `batch`")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="--slurm-jobs 2: there is no sbatch here"):
        batch(config, Clock())


@pytest.mark.slow
def test_jobs_run(meshes, tmp_path):
    pytest.importorskip("submitit", reason="the extra `batch`")
    config = config_of(meshes, "--output-dir", tmp_path, "--slurm-jobs", 2)
    for job in submit(config, machine.prepare_output_dir(tmp_path), "local"):
        job.result()
    assert [row["name"] for row in rows_in(tmp_path)] == ["ball", "box", "post"]


def test_what_a_file_may_set_and_a_batch_does_not_do(meshes, tmp_path):
    config = config_of(meshes, "--output-dir", tmp_path)
    with pytest.raises(ValueError, match="symmetry is plane; a batch has none"):
        batch(replace(config, model=replace(config.model, symmetry="plane")), Clock())
    with pytest.raises(ValueError, match="uncertainty is true; a batch does not do that"):
        batch(replace(config, export=replace(config.export, uncertainty=True)), Clock())
    with pytest.raises(ValueError, match="stream_views is always; a batch has all views of a capture in memory"):
        batch(replace(config, capture=replace(config.capture, stream_views="always")), Clock())


def test_a_device_that_fails_ends_the_batch_in_a_line(meshes, tmp_path, monkeypatch):
    def fail(fits):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

    monkeypatch.setattr("fmb.shape.batch.Fits.advance", fail)
    words = r"a device has failed, or has no memory left \(RESOURCE_EXHAUSTED: out of memory\); the same command"
    with pytest.raises(ValueError, match=words):
        batch(config_of(meshes / "box.ply", "--output-dir", tmp_path), Clock())
    assert list((tmp_path / "shapes").iterdir()) == []


def test_a_full_disk_ends_a_batch_of_points(tmp_path, monkeypatch):
    """No input is to blame: none is noted as bad."""
    for name in ("one.xyz", "two.xyz"):
        (tmp_path / name).write_text("0 0 0\n")

    def full(*names):
        raise OSError(errno.ENOSPC, "No space left on device")

    def points(config, clock):
        begun.append(config.io.cloud_file)
        folder = machine.prepare_output_dir(config.io.output_dir)
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full)
            machine.write_text(folder / "a.txt", "x")

    begun = []
    monkeypatch.setattr("fmb.tasks.batch_work.points", points)
    config = config_of(tmp_path, "--task", "points", "--output-dir", tmp_path / "out")
    with pytest.raises(ValueError, match=r"/a.txt: cannot be written \(no space left on device\); the same command"):
        batch(config, Clock())
    assert begun and not (tmp_path / "out" / "failed").exists()
    assert list((tmp_path / "out" / "shapes").iterdir()) == []


def test_a_folder_may_hold_captures_and_meshes(meshes, tmp_path):
    shutil.copytree(meshes, tmp_path / "all")
    for name in ("one", "two#"):
        write_capture(tmp_path / "all" / name)
    found = [path.name for path in inputs_of(config_of(tmp_path / "all"))]
    assert found == ["one", "two#", "ball.ply", "box.ply", "post.ply"]
    assert [path.name for path in inputs_of(config_of(tmp_path / "all" / "one"))] == ["one"]
    words = card_of({"name": "a&b", "folder": "shapes/two#", "picture": "shapes/two#/t.png", "line": "", "error": ""})
    assert 'href="shapes/two%23/"' in words and "a&amp;b" in words


def write_capture(folder: Path) -> None:
    """Names of a capture's files, which is all that is looked at before it is read."""
    (folder / "masks").mkdir(parents=True)
    np.savez(folder / "cameras.npz", K=np.eye(3)[None], R=np.eye(3)[None], t=np.zeros((1, 3)))


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
