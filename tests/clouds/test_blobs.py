"""Metaballs fitted to points: the terms of their loss in closed form, and fits whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from fmb.clouds.blobs import field_of_blobs, fit_blobs, misplaced, rounded, slender, unlikelihood
from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import Hooks
from fmb.clouds.surface import extract
from fmb.geometry.distances import distance_to
from fmb.shape.edges import Edges


def cloud(mesh: trimesh.Trimesh, count: int, noise: float = 0.0) -> np.ndarray:
    points = np.asarray(trimesh.sample.sample_surface(mesh, count, seed=1)[0])
    return points + noise * np.random.default_rng(1).normal(size=points.shape)


def test_terms_in_closed_form():
    offset = jnp.array([0.3, -0.4, 0.0])
    assert float(rounded(offset, jnp.array(0.4))) == pytest.approx((0.5 + 0.4 * np.sqrt(2) + 0.4) / 3)
    # 0.1 deep at least, but 0.05 outside; 0.2 outside at least, but 0.05 only; deep enough
    places = misplaced(jnp.array([0.05, 0.05, -0.3]), jnp.array([0.1, -0.2, 0.1]))
    assert float(places) == pytest.approx((0.15 + 0.15 + 0.0) / 3)
    thin = jnp.stack([jnp.diag(jnp.array([50.0, 1e-9, 1e-9])), 5.0 * jnp.eye(3)])
    edges = Edges(jnp.zeros((2, 3)), thin, jnp.zeros(2))
    assert float(slender(edges, jnp.array(0.1))) == pytest.approx(np.log(5.0) ** 2 / 2)


def test_the_likelihood_and_its_gradient():
    generator = np.random.default_rng(0)
    points, surface = generator.normal(size=(5, 3)), generator.normal(size=(4, 3))
    square = np.sum((points[:, None] - surface) ** 2, axis=2)
    expected = -0.5 * np.mean(np.log(np.exp(-square / (2 * 0.5**2)).mean(axis=1)))
    noise = jnp.array(0.5)
    assert float(unlikelihood(jnp.asarray(points), jnp.asarray(surface), noise)) == pytest.approx(expected, rel=1e-10)
    slope = jax.grad(lambda x: unlikelihood(jnp.asarray(points), x, noise))(jnp.asarray(surface))
    step = np.zeros_like(surface)
    step[2, 1] = 1e-6
    ends = [float(unlikelihood(jnp.asarray(points), jnp.asarray(surface + s * step), noise)) for s in (1, -1)]
    assert float(slope[2, 1]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_a_fit_finds_a_ring_and_says_how_it_goes():
    mesh, saved = trimesh.creation.torus(0.36, 0.14), []
    points, options = cloud(mesh, 3_000), PointsOptions(components=10)
    state = fit_blobs(points, None, options, np.random.default_rng(0), Hooks(save=saved.append))
    found = extract(state.field, 64)
    assert found.euler_number == 0 and found.is_watertight
    assert distance_to(found, points).mean() < 0.005 and distance_to(mesh, np.asarray(found.vertices)).max() < 0.03
    assert [part.step for part in saved] == [0, 125, 250, 375, 500] and state.history["loss"].shape == (500,)
    assert state.facts["strays"] == 0 and state.facts["noise"] < 0.002
    probe = jnp.asarray(points[:20])
    np.testing.assert_array_equal(field_of_blobs(state.arrays, options)(probe), state.field(probe))


@pytest.mark.slow
def test_strong_noise_does_not_swell_a_sphere_and_a_fit_goes_the_same_way_again():
    points = cloud(trimesh.creation.icosphere(4, 0.4), 6_000, 0.05)
    options = PointsOptions(components=10)
    state, again = (fit_blobs(points, None, options, np.random.default_rng(0)) for _ in range(2))
    for name, array in state.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name], err_msg=name)
    found = extract(state.field, 64)
    # distances to the points themselves would not tell: half of the noise is radial
    radius = np.linalg.norm(np.asarray(found.vertices), axis=1)
    assert found.euler_number == 2 and radius.mean() == pytest.approx(0.4, abs=0.01) and radius.std() < 0.015
