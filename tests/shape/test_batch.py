"""Fits at once, and fits that go on: both are those of fit_to_views from its start to its end."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from fmb.fit.checkpoints import Snapshot
from fmb.geometry.frames import canonical_frame
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views
from fmb.shape.batch import Candidates, Fits, remembered
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import (
    Hooks,
    begin_work,
    compile_shape_fit,
    conversion_views,
    end_work,
    fit_to_views,
    plan_shape_fit,
)
from fmb.shape.start import start_mixture

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


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)])
def program(cases, request):
    """Without what a recipe does between chunks, which takes long to compile, and with it."""
    start, views = cases["box"]
    program = compile_shape_fit(start, views.silhouette.shape, OPTIONS)
    return program._replace(recipe=program.recipe._replace(attends=request.param))


@pytest.fixture(scope="module")
def singles(cases, program) -> dict[str, tuple]:
    """One fit after the other, with every state that was offered."""
    found = {}
    for name, (start, views) in cases.items():
        states: list[Snapshot] = []
        hooks = Hooks(offer=lambda make, states=states: states.append(make()))
        found[name] = fit_to_views(program, start, views, np.random.default_rng(2), hooks), states
    return found


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


def test_fits_at_once_are_those_one_after_the_other(cases, program, singles):
    """Three fits of unequal length in two slots."""
    start, views = cases["box"]
    plan = plan_shape_fit(start, views.silhouette.shape, OPTIONS)._replace(recipe=program.recipe)
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
    assert len({len(fit.history.loss) for fit, _ in singles.values()}) > 1
    for name, (single, _) in singles.items():
        assert_allclose(found[name].history.learning_rate, single.history.learning_rate, rtol=1e-6)
        # float32, and sums in another order; later components move, which is decided by such differences
        assert_allclose(found[name].history.loss[:20], single.history.loss[:20], rtol=1e-3)
        assert found[name].loss < 1.3 * single.loss


def test_a_fit_that_is_not_finite_leaves_its_slot(cases, program):
    start, views = cases["box"]
    plan = plan_shape_fit(start, views.silhouette.shape, OPTIONS)._replace(recipe=program.recipe)
    work, bad = (begin_work(plan, start, views, np.random.default_rng(2)) for _ in range(2))
    bad = bad._replace(start=bad.start._replace(mean=bad.start.mean * jnp.nan))
    fits = Fits(plan, work, 1, 2)
    fits.put("bad", bad)
    fits.put("good", work)
    (ended,) = fits.advance()
    assert ended.ticket == "bad" and ended.fit is None and "not finite between steps 0 and 125" in ended.error
    assert fits.tickets == ["good"] and fits.free == 1


def test_candidates_are_those_of_least_loss():
    low = Candidates(jnp.full(2, jnp.inf), jnp.zeros((2, 1)))
    for loss in (5.0, 3.0, 4.0, 9.0, 2.0):
        low = remembered(low, jnp.asarray(loss), jnp.array([10.0 * loss]))
    assert sorted(np.asarray(low.loss)) == [2.0, 3.0] and sorted(np.asarray(low.parameters)[:, 0]) == [20.0, 30.0]
