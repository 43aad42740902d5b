"""Fits to views on disk: the same views, rays and steps as in memory, and no more than two groups at a time."""

import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from fmb.config import Config
from fmb.files.captures import stored as stored_module
from fmb.files.captures.read import plan_capture, read_capture
from fmb.files.captures.stored import stored
from fmb.fit.loop import begin, compile_plan
from fmb.fit.prefetch import ahead
from fmb.geometry.frames import canonical_frame
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views, flatten_views
from fmb.shape import streaming
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import RECIPES, Hooks, all_pixels, conversion_views, loss_of, plan_shape_fit, resized
from fmb.shape.sampling import sample_outlines
from fmb.shape.start import start_mixture
from fmb.shape.stream_fit import compile_stream_fit, fit_to_stream
from fmb.shape.streaming import Glances, ViewStream, census_of, choice_of, in_memory
from fmb.shape.supervision import Supervision
from fmb.tasks.scenes import scene_of_capture
from fmb.tasks.streamed import open_views
from tests.datasets import make_scene, write_plain

COUNT, SIDE = 12, 16
OPTIONS = OptimizationOptions(num_epochs=20, batch_size=64, early_stop=False)


@pytest.fixture(scope="module", autouse=True, params=[False, pytest.param(True, marks=pytest.mark.slow)])
def attends(request):
    """Without what the recipe does between chunks, which takes long to compile, and with it."""
    before = RECIPES["best"]
    RECIPES["best"] = before._replace(attends=request.param)
    yield request.param
    RECIPES["best"] = before


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Four views in a group."""
    monkeypatch.setattr(streaming, "GROUP_PIXELS", 4 * SIDE * SIDE)
    monkeypatch.setattr(streaming, "LEAST_VIEWS", 1)


@pytest.fixture(scope="module")
def views() -> Views:
    mesh = trimesh.creation.box((1.0, 0.7, 0.5))
    small = RenderingOptions(num_views=COUNT, image_width=SIDE, image_height=SIDE)
    return conversion_views(canonical_frame(mesh).mesh_to_canonical(mesh), np.random.default_rng(1), small)


@pytest.fixture(scope="module")
def start():
    mesh = trimesh.creation.box((1.0, 0.7, 0.5))
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    return start_mixture(mesh, ModelOptions(num_mixtures=3, gmm_points=200), 0).mixture


@pytest.fixture(scope="module")
def program(views, start, attends):
    return compile_stream_fit(start, stream_of(views), OPTIONS)


def stream_of(views: Views, depth: float = 0.0) -> ViewStream:
    return in_memory(views, choice_of(RECIPES["best"], depth))


def test_a_glance_takes_rows_of_all_pixels(views):
    generator = np.random.default_rng(3)
    valid = generator.uniform(size=views.silhouette.shape) < 0.9
    views = views._replace(valid=valid, depth=np.where(valid, views.depth, np.nan))
    aims = Supervision(depth_weight=1.0, point_weight=1.0, scale=2.2)
    glances = Glances(in_memory(views, sample_outlines), sample_outlines, aims, (3, 32), 5, np.eye(3))
    glance = glances.glance(4)
    again = Glances(in_memory(views, sample_outlines), sample_outlines, aims, (3, 32), 5, np.eye(3)).glance(4)
    jax.tree.map(assert_array_equal, glance, again)
    view, inside = np.divmod(glance.place, SIDE * SIDE)
    assert valid.reshape(COUNT, -1)[glance.index[view], inside].all()
    everything = views._replace(valid=None, silhouette=np.where(valid, views.silhouette, 0))
    sampling = sample_outlines(everything.silhouette, None, 32)
    whole = all_pixels(everything, np.eye(3), sampling, aims, generator)
    rows = glance.index[view] * SIDE * SIDE + inside
    jax.tree.map(
        lambda mine, all_of: assert_allclose(mine, np.asarray(all_of)[rows], rtol=1e-6, atol=1e-6),
        glance.sample.pixels,
        whole.pixels,
    )
    assert set(map(tuple, np.asarray(glance.sample.point) / 2.2)) <= set(map(tuple, np.eye(3, dtype=np.float32)))
    group = Views(*(None if x is None else jax.tree.map(lambda y: y[glance.index], x) for x in views))
    weight = sample_outlines(group.silhouette, group.valid, 32).weight()
    assert_array_equal(glance.sample.weight, weight[glance.place])
    assert len(flatten_views(group).silhouette) == group.valid.sum()


def test_every_view_has_its_turn(views):
    glances = Glances(stream_of(views), sample_outlines, Supervision(), (1, 16), 0)
    groups = [glances.group(number) for number in range(6)]
    for turn in (groups[:3], groups[3:]):
        assert sorted(np.concatenate(turn)) == list(range(COUNT))
    assert not np.array_equal(groups[0], groups[3])
    census, whole = stream_of(views).census, sample_outlines(views.silhouette, None, 1)
    assert (census.near.sum(), census.far.sum()) == (len(whole.near), len(whole.far))


def test_views_on_disk_are_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, "BLOCK_PIXELS", 1)
    scene = make_scene(9)
    scene = scene._replace(views=scene.views._replace(silhouette=1 - scene.views.silhouette))  # the background's masks
    write_plain(tmp_path, scene)
    data = (tmp_path / "masks" / "003.png").read_bytes()
    (tmp_path / "masks" / "003.png").write_bytes(data[: len(data) - 40])  # its size can be read, its pixels cannot
    capture = read_capture(tmp_path)
    found, census = stored(plan_capture(tmp_path), lambda views: census_of(views, sample_outlines))
    index = np.array([5, 0, 7])
    assert (found.names, found.notices) == (capture.names, capture.notices)
    assert any("inverted" in line for line in found.notices) and any("1 of 9 masks" in line for line in found.notices)
    assert_array_equal(found.held_out, capture.held_out)
    wanted = jax.tree.map(lambda array: array[index], capture.views)
    jax.tree.map(assert_array_equal, found.read(index), wanted._replace(color=None, depth=None))
    deep, _ = stored(plan_capture(tmp_path, needed=["depth"]), lambda views: census_of(views, sample_outlines))
    jax.tree.map(assert_array_equal, deep.read(index), wanted._replace(color=None))
    jax.tree.map(assert_array_equal, found.capture(index).views, wanted)
    jax.tree.map(assert_array_equal, census, census_of(capture.views, sample_outlines))
    (tmp_path / "masks" / "000.png").unlink()
    with pytest.raises(ValueError, match=r"000.png: no such"):
        found.read(index)


def test_a_fit_is_that_to_views_in_memory(views, start, program, attends):
    """From files that are read a few at a time, and step by step that of the loop with the same rows of all rays."""
    views = views._replace(depth=None)
    stream, states = stream_of(views), []
    hooks = Hooks(offer=lambda make: states.append(make()))
    fit = fit_to_stream(program, start, stream, np.random.default_rng(2), hooks)
    slow = ViewStream(stream.cameras, stream.size, stream.census, lambda index: stream.read(np.array(index)))
    kept = states[1].arrays
    again = fit_to_stream(program, start, slow, np.random.default_rng(2), Hooks(begun=kept))
    jax.tree.map(assert_array_equal, again, fit)
    assert np.mean(fit.view_iou) > 0.8 and fit.view_weight.shape == (COUNT,)
    if attends:
        return
    glances = Glances(stream, sample_outlines, program.aims, (program.fit.chunk, 64), int(seed_of(2)))
    whole = all_pixels(views, None, sample_outlines(views.silhouette, None, 64), program.aims, np.random.default_rng(0))
    plan = plan_shape_fit(start, views.silhouette.shape, OPTIONS)
    parameters, loss = plan.recipe.encode(resized(start, program.shape_scale)), loss_of(plan.recipe, plan.supervision)
    in_one = compile_plan(plan.fit, loss, plan.recipe.coordinates, parameters, whole)
    course, pace, found = begin(parameters), in_one.pace(max(1, stream.epoch // 64)), []
    for number in range(2):
        glance = glances.glance(number)
        rows = glance.index[glance.place // SIDE**2] * SIDE**2 + glance.place % SIDE**2
        weight = np.zeros(len(whole.weight), np.float32)
        weight[rows] = np.asarray(glance.sample.weight)
        sample = whole._replace(weight=jnp.asarray(weight))
        course, pace, steps = in_one.run(course, pace, sample, jnp.asarray(rows.reshape(-1, 64), jnp.int32))
        found.append(steps.loss)
    assert_allclose(np.concatenate(found), fit.history.loss[:250], rtol=1e-4)  # float32, and rays of another program


def seed_of(seed: int) -> int:
    return np.random.default_rng(seed).integers(2**31, size=2)[0]


def test_a_view_that_disagrees_loses_weight(views, start, attends):
    if not attends:
        pytest.skip("nothing is doubted")
    silhouette = np.array(views.silhouette)
    silhouette[3] = np.roll(silhouette[3], 6, axis=1)
    stream = stream_of(views._replace(depth=None, silhouette=silhouette))
    fit = fit_to_stream(compile_stream_fit(start, stream, OPTIONS), start, stream, np.random.default_rng(2))
    assert fit.view_weight[3] < 0.5 and np.delete(fit.view_weight, 3).min() > 0.9
    assert np.argmin(fit.view_iou) == 3


def test_what_is_ahead_is_one():
    made, released = [], []

    def make(number: int) -> int:
        made.append(number)
        if number == 4:
            raise ValueError("four.png: broken")
        return number

    parts = ahead(make, 1)
    for number in (1, 2, 3):
        assert next(parts) == number
        released.append(number)
        assert max(made) <= number + 2
    with pytest.raises(ValueError, match="four.png"):
        next(parts)
    assert list(ahead(lambda number: number, 2, 5)) == [2, 3, 4] and list(ahead(make, 0, 0)) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def config_of(folder, **capture) -> Config:
    config = Config(task="shape", model=ModelOptions(gmm_points=50))
    return replace(config, capture=replace(config.capture, data=str(folder), **capture))


def test_a_scene_on_disk_is_that_in_memory(tmp_path, monkeypatch):
    scene = make_scene(9)
    scene.views.silhouette[2] = 0.0
    write_plain(tmp_path, scene)
    config = config_of(tmp_path, stream_views="always")
    found, memory = (f(config, np.random.default_rng(0)) for f in (open_views, in_memory_scene))
    assert found.stream.shape == memory.shape == found.shape
    assert_allclose(found.frame.centre, memory.frame.centre)
    seen, all_of = found.look(), memory.look()
    read = found.stream.read(np.arange(found.stream.count))
    assert_array_equal(read.silhouette, all_of.views["train"].silhouette)
    assert_allclose(read.cameras.world_from_camera, all_of.views["train"].cameras.world_from_camera)
    assert "7 views are read from disk while the fit goes on" in seen.notices[-1]
    assert seen.notices[:-1] == all_of.notices
    monkeypatch.setattr("fmb.tasks.streamed.SEEN", 3)
    assert open_views(config, np.random.default_rng(0)).look().views["train"].silhouette.shape[0] == 3
    config = config_of(tmp_path)
    assert open_views(config, np.random.default_rng(0)).stream is None
    monkeypatch.setattr("fmb.tasks.streamed.LARGEST_CAPTURE", 100)
    assert open_views(config, np.random.default_rng(0)).stream.count == 7


def in_memory_scene(config: Config, generator: np.random.Generator):
    return scene_of_capture(config, generator, read_capture(config.capture.data))


@pytest.mark.parametrize(
    ("section", "option", "value", "words"),
    [
        ("capture", "data", "none", "data is none; a capture is needed"),
        ("model", "symmetry", "plane", "symmetry is plane; must be none"),
        ("capture", "refine_cameras", True, "refine_cameras is true; must be false"),
        ("optimization", "recipe", "predecessor", "recipe is predecessor; must be best"),
        ("optimization", "schedule", "plateau", "schedule is plateau; must be another"),
    ],
)
def test_what_needs_all_views_is_refused(tmp_path, section, option, value, words):
    config = config_of(tmp_path, stream_views="always")
    config = replace(config, **{section: replace(getattr(config, section), **{option: value})})
    with pytest.raises(ValueError, match=f"stream_views is always and {words}"):
        open_views(config, np.random.default_rng(0))
