"""Fits with a symmetry: how a place moves, that it is learnt, and what is said of what is not symmetric."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fm_render import Mixture, Settings, render_views
from fmb.fields.mixtures import in_single
from fmb.fields.symmetric import SymmetricMixture, fold
from fmb.geometry.frames import Frame
from fmb.geometry.options import RenderingOptions
from fmb.geometry.symmetry import Placement, Symmetry, apply_to_mixture, plane_symmetry
from fmb.geometry.views import Views, scene_cameras
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views, resized
from fmb.shape.symmetric import (
    SYMMETRIC_COORDINATES,
    edges_of_symmetric,
    mixture_of,
    symmetric_from_edges,
    symmetry_of,
)
from fmb.shape.symmetry_fit import Aim, distinct, fit_with_symmetry, fundamental_count, seen_places, symmetry_record

OPTIONS = OptimizationOptions(num_epochs=30, batch_size=512)
SIZE = 20


def half(count: int = 4) -> Mixture:
    generator = np.random.default_rng(0)
    factor = np.tile(np.eye(3) * [9.0, 7.0, 8.0], (count, 1, 1))
    mean = generator.uniform(0.05, 0.35, (count, 3)) * [1.0, 1.6, -1.3]
    return Mixture(mean, factor, np.full(count, 2.0))


def truth() -> Symmetry:
    return plane_symmetry(np.array([1.0, 0.0, 0.0]), 0.0)


def views_of(mixture: Mixture, count: int = 6) -> Views:
    options = RenderingOptions(num_views=count, image_width=SIZE, image_height=SIZE, camera_roll=True)
    cameras = scene_cameras(np.random.default_rng(1), count, options)
    alpha = render_views(jax.tree.map(jnp.asarray, mixture), cameras, (SIZE, SIZE), outputs=("alpha",)).alpha
    return Views(cameras, np.asarray(alpha, np.float32))


def askew(degrees: float) -> Symmetry:
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.0, 0.6, 0.8])).as_matrix()
    return truth().moved(turn, np.array([0.05, 0.0, 0.0]), 1.0)


@pytest.mark.parametrize("kind", ["plane", pytest.param("cyclic_3", marks=pytest.mark.slow)])
def test_steps_of_a_place_against_differences(kind):
    place = Placement(Rotation.random(random_state=1).as_matrix(), 0.1 * np.ones(3))
    mixture = jax.tree.map(jnp.asarray, SymmetricMixture(half(), Symmetry(kind, place)))
    parameters = jax.jit(partial(edges_of_symmetric, scale=1.5))(mixture)
    copies = jax.jit(SymmetricMixture.copies)
    np.testing.assert_allclose(jax.jit(mixture_of)(parameters).mean, copies(mixture).mean, atol=1e-12)

    def value(moved) -> jax.Array:
        return jnp.sin(mixture_of(moved).mean * jnp.arange(1.0, 4.0)[None]).sum()

    @jax.jit
    def along(step, way) -> jax.Array:
        return value(SYMMETRIC_COORDINATES.move(parameters, jax.tree.map(partial(jnp.multiply, step), way)))

    pulled = jax.jit(lambda at: SYMMETRIC_COORDINATES.pull(at, jax.grad(value)(at)))(parameters)
    generator = np.random.default_rng(2)
    way = jax.tree.map(lambda x: jnp.asarray(generator.normal(size=x.shape)), parameters)
    group = mixture.symmetry.group
    free = np.array([False, *group.turns]), np.array(group.shifts)
    ends = [float(along(step, way)) for step in (1e-6, -1e-6)]
    both = zip(jax.tree.leaves(pulled), jax.tree.leaves(way), strict=True)
    # also along what changes nothing: its slope is zero, as it is told
    np.testing.assert_allclose(sum(float((a * b).sum()) for a, b in both), (ends[0] - ends[1]) / 2e-6, rtol=1e-5)
    for slope, can in zip((pulled.quaternion, pulled.origin), free, strict=True):
        np.testing.assert_array_equal(np.asarray(slope)[~can], 0.0)


def test_a_plane_is_learnt_and_half_of_the_components_are_fitted():
    views = views_of(apply_to_mixture(truth().orbit, half()))
    start = fold(in_single(apply_to_mixture(askew(15.0).orbit, half())), askew(15.0), 4)
    program = compile_shape_fit(start, views.silhouette.shape, OptimizationOptions(num_epochs=100, batch_size=512))
    fit = fit_to_views(program, start, views, np.random.default_rng(0))
    plane = fit.symmetric.symmetry.planes[0]
    assert np.degrees(np.arccos(abs(float(plane.normal[0])))) < 1.0
    assert abs(float(plane.offset)) < 0.01
    assert len(fit.symmetric.fundamental.mean) == 4
    assert len(fit.mixture.mean) == 8
    np.testing.assert_allclose(fit.mixture.mean, fit.symmetric.copies().mean, atol=1e-6)
    assert fit.view_iou.min() > 0.9


@pytest.mark.slow
def test_told_kinds_found_kinds_and_none():
    crooked = in_single(apply_to_mixture(truth().orbit, half()))
    crooked = crooked._replace(mean=crooked.mean.at[6].add(jnp.array([-0.2, 0.4, 0.3], jnp.float32)))
    views = views_of(crooked)
    program = compile_shape_fit(crooked, views.silhouette.shape, OPTIONS)
    few = OptimizationOptions(num_epochs=2, batch_size=512)
    quick = compile_shape_fit(crooked, views.silhouette.shape, few)
    fit, found = fit_with_symmetry("auto", quick, crooked, Aim(views, few, np.random.default_rng(0)))
    assert found.kind == "none"
    assert found.words.startswith("no symmetry: ")
    assert fit.symmetric is None
    fit, found = fit_with_symmetry("two_planes", quick, crooked, Aim(views, few, np.random.default_rng(0)))
    assert "the object does not seem to have it" in found.words
    record = symmetry_record(found, fit, Frame(np.ones(3), np.asarray(2.0)))
    assert record["components_fitted"] == fundamental_count("two_planes", 8) == 2
    assert record["parameters"] == 2 * 10 + 5
    assert len(record["planes"]) == 2
    point = np.array(record["axis"]["point"])
    for plane in record["planes"]:
        assert np.dot(plane["normal"], point) == pytest.approx(plane["offset"], abs=1e-5)
    plain, nothing = fit_with_symmetry("none", program, crooked, Aim(views, OPTIONS, np.random.default_rng(3)))
    assert nothing is None
    again = fit_to_views(program, crooked, views, np.random.default_rng(3))
    np.testing.assert_array_equal(plain.mixture.mean, again.mixture.mean)


@pytest.mark.slow
def test_silhouettes_favour_the_plane():
    mixture = in_single(apply_to_mixture(truth().orbit, half()))
    best = seen_places(mixture, "plane", views_of(mixture), Settings())[0]
    assert abs(best.planes[0].normal[0]) > np.cos(np.deg2rad(12.0))
    assert len(distinct([best, best])) == 1


def test_sizes_and_refusals():
    mixture = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), SymmetricMixture(half(), askew(10.0)))
    twice = resized(mixture, 2.0)
    np.testing.assert_allclose(twice.copies().mean, 2.0 * mixture.copies().mean, atol=1e-6)
    parameters = edges_of_symmetric(mixture, 1.0)
    np.testing.assert_allclose(symmetric_from_edges(parameters).copies().mean, mixture.copies().mean, atol=1e-6)
    assert symmetry_of(parameters).kind == "plane"
    with pytest.raises(ValueError, match="recipe is predecessor; with a symmetry it must be best"):
        compile_shape_fit(mixture, (6, SIZE, SIZE), OptimizationOptions(recipe="predecessor"))
