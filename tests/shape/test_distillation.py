"""Fits taught by others: what the pupil is shown, of whom nothing is known, and that it errs less on unseen views."""

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from fm_render import Mixture
from fmb.fields.looks import look
from fmb.geometry.cameras import Cameras, project
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import cross_entropy
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views, scene_cameras
from fmb.shape import distillation
from fmb.shape.distillation import TAUGHT, cameras_like, of_real_views, taught, with_soft_masks
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import RECIPES, ShapeFit, ShapeProgram, compile_shape_fit, fit_to_views
from fmb.shape.start import other_starts, start_mixture
from fmb.shape.symmetry_fit import Aim

SIZE = (12, 16)


def cameras(count: int) -> Cameras:
    return scene_cameras(np.random.default_rng(1), count, RenderingOptions(image_height=12, image_width=16))


def ball(place: float) -> Mixture:
    return Mixture(jnp.array([[place, 0.0, 0.0]]), 4.0 * jnp.eye(3)[None], jnp.array([2.0]))


def test_more_cameras_see_the_object_from_as_far_away():
    given = cameras(5)
    more = cameras_like(given, SIZE, np.random.default_rng(0))
    assert len(more.intrinsics) == TAUGHT
    distance = np.linalg.norm(given.world_from_camera[:, :3, 3], axis=1)
    assert_allclose(np.linalg.norm(more.world_from_camera[:, :3, 3], axis=1), np.median(distance))
    place, depth = (np.asarray(x) for x in project(more, np.zeros((1, 3))))
    assert_allclose(place, np.broadcast_to([8.0, 6.0], place.shape), atol=1e-9)
    assert_allclose(depth, np.median(distance))


def test_soft_masks_stand_behind_the_views():
    generator = np.random.default_rng(0)
    silhouette, depth = generator.uniform(size=(2, 3, *SIZE))
    alpha = generator.uniform(size=(TAUGHT, *SIZE))
    views = Views(cameras(3), silhouette, depth, silhouette > 0.5)
    both = with_soft_masks(views, cameras(TAUGHT), alpha)
    assert_array_equal(both.silhouette, np.concatenate([silhouette, alpha]))
    assert_array_equal(both.depth[:3], depth)
    assert np.isnan(both.depth[3:]).all() and both.valid[3:].all() and not both.valid[:3].all()
    plain = with_soft_masks(views._replace(depth=None, valid=None), cameras(TAUGHT), alpha)
    assert plain.depth is None and plain.valid is None and plain.cameras.intrinsics.shape == (3 + TAUGHT, 3, 3)


def test_the_pupil_is_shown_the_mean_opacity_of_its_teachers(monkeypatch):
    views = Views(cameras(3), np.zeros((3, *SIZE)))
    starts, seen = [ball(0.2), ball(-0.2)], []

    def fit(program, start, given, generator, point):
        assert given is views
        return ShapeFit(start, None, *(np.zeros(3),) * 3, 0.0)

    monkeypatch.setattr(distillation, "fit_to_views", fit)
    monkeypatch.setattr(
        distillation, "compile_shape_fit", lambda start, shape, *more: program._replace(effort=shape[0])
    )
    program = ShapeProgram(None, RECIPES["best"], 2.2)  # nothing is fitted
    aim = Aim(views, OptimizationOptions(), np.random.default_rng(0))
    _, more = taught(program, starts.__getitem__, aim, 2, lambda *now: seen.append(now))
    added = Cameras(*(field[3:] for field in more.views.cameras))
    expected = sum(look(start, added, SIZE).alpha for start in starts) / 2
    assert_allclose(more.views.silhouette[3:], expected, atol=1e-6)
    assert seen == [(1, 2), (2, 2)]
    told = ShapeFit(starts[0], None, *(np.arange(3 + TAUGHT),) * 3, 0.0)
    assert [len(x) for x in of_real_views(told, 3)[2:5]] == [3, 3, 3]


@pytest.mark.slow
def test_a_taught_fit_errs_less_on_unseen_views():
    mesh = trimesh.util.concatenate([trimesh.creation.torus(0.7, 0.2), trimesh.creation.box([0.3, 0.3, 1.6])])
    options = RenderingOptions(image_height=48, image_width=48)
    parts = [scene_cameras(np.random.default_rng(seed), count, options) for seed, count in ((3, 6), (4, 24))]
    train, unseen = (render_ground_truth(mesh, part, (48, 48), "raycast").views for part in parts)
    model, fit_options = ModelOptions(16, init="sphere"), OptimizationOptions(batch_size=1024)
    start = start_mixture(None, model, 0).mixture
    program = compile_shape_fit(start, train.silhouette.shape, fit_options)

    def error(mixture: Mixture) -> float:
        return cross_entropy(look(mixture, unseen.cameras, (48, 48)).alpha, unseen.silhouette)

    one = fit_to_views(program, start, train, np.random.default_rng(0)).mixture
    aim = Aim(train, fit_options, np.random.default_rng(0))
    wider, more = taught(program, other_starts(start, None, model, 0, "best", None), aim, 5)
    pupil = fit_to_views(wider, start, more.views, more.generator).mixture
    assert error(pupil) < 0.9 * error(one)
