import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from numpy.testing import assert_allclose

from fm_render import Mixture, Rays, render
from fmb.fit.loop import begin, compile_fit, run_fit
from fmb.fit.losses import pixel_cross_entropy
from fmb.fit.options import FitOptions
from fmb.shape.edges import (
    BLUNTEST,
    EDGE_COORDINATES,
    PLAIN_COORDINATES,
    SHARPEST,
    Edges,
    edges_from_mixture,
    keep_valid,
    mixture_from_edges,
    move_edges,
    pull_edges,
    thickened,
)

GENERATOR = np.random.default_rng(7)
DIRECTION = np.column_stack([0.15 * GENERATOR.normal(size=(60, 2)), np.ones(60)])
RAYS = Rays(jnp.tile(jnp.array([[0.0, 0.0, -3.0]]), (60, 1)), jnp.array(DIRECTION))
SILHOUETTE = jnp.array(GENERATOR.uniform(size=60) > 0.5, float)


@pytest.fixture
def edges() -> Edges:
    """Three ellipsoids of different size, shape and sharpness."""
    generator = np.random.default_rng(3)
    lower = np.tril(generator.normal(size=(3, 3, 3)))
    lower[:, range(3), range(3)] = generator.uniform(1.5, 4.0, (3, 3))
    mean = 0.3 * generator.normal(size=(3, 3))
    return Edges(jnp.array(mean), jnp.array(lower), jnp.array([-1.0, 0.7, 3.0]))


def silhouette_loss(edges: Edges, rays: Rays) -> Array:
    density = render(mixture_from_edges(edges), rays, outputs=("density",)).density
    return jnp.mean(pixel_cross_entropy(density, SILHOUETTE))


def test_round_trips(edges):
    back = edges_from_mixture(mixture_from_edges(edges))
    for field, ours in zip(Edges._fields, edges, strict=True):
        # near the sharpest, log kappa grows without bound: digits are lost in 1 - k / SHARPEST
        assert_allclose(getattr(back, field), ours, rtol=1e-12, atol=1e-13, err_msg=field)
    mixture = mixture_from_edges(edges)
    for field, ours in zip(Mixture._fields, mixture, strict=True):
        assert_allclose(getattr(mixture_from_edges(back), field), ours, rtol=1e-12, atol=1e-13, err_msg=field)


def test_density_is_that_of_the_formula(edges):
    mixture, points = mixture_from_edges(edges), np.random.default_rng(0).normal(size=(5, 3))
    kappa = np.exp(edges.log_sharpness)
    sharpness = kappa / (1.0 + kappa / 10.0)
    for k in range(3):
        offset = points - np.asarray(edges.mean[k])
        square = np.sum((offset @ np.asarray(edges.edge_cholesky[k])) ** 2, axis=1)
        mahalanobis = np.sum((offset @ np.asarray(mixture.precision_cholesky[k])) ** 2, axis=1)
        expected = np.log(2.0) * np.exp(sharpness[k] * (1.0 - square))
        assert_allclose(np.exp(float(mixture.log_weight[k]) - 0.5 * mahalanobis), expected, rtol=1e-12)


def test_a_lone_component_is_half_opaque_along_its_edge(edges):
    # rays that touch the ellipsoid: in whitened space through points of the unit sphere, at right angles to the radius
    generator = np.random.default_rng(1)
    radius = generator.normal(size=(20, 3))
    radius /= np.linalg.norm(radius, axis=1, keepdims=True)
    tangent = np.cross(radius, generator.normal(size=(20, 3)))
    alpha = jax.jit(lambda edges, rays: render(mixture_from_edges(edges), rays, outputs=("alpha",)).alpha)
    for k in range(3):
        back = np.linalg.inv(np.asarray(edges.edge_cholesky[k]).T).T
        direction = tangent @ back
        rays = Rays(jnp.array(np.asarray(edges.mean[k]) + radius @ back - 9.0 * direction), jnp.array(direction))
        lone = jax.tree.map(lambda x, k=k: x[k : k + 1], edges)
        assert_allclose(alpha(lone, rays), 0.5, rtol=1e-11)


def test_sharpness_is_kept_within_bounds():
    lower = jnp.tile(2.0 * jnp.eye(3), (4, 1, 1))
    faint, sharp = np.log(np.log(2.0)) - 5.0, np.log(np.log(2.0)) + 40.0
    mixture = Mixture(jnp.zeros((4, 3)), lower, jnp.array([faint, -jnp.inf, sharp, 0.0]))
    edges = edges_from_mixture(mixture)
    assert all(np.all(np.isfinite(x)) for x in edges)
    log_weight = np.asarray(mixture_from_edges(edges).log_weight) - np.log(np.log(2.0))
    assert_allclose(log_weight, [BLUNTEST, BLUNTEST, 0.99 * SHARPEST, -np.log(np.log(2.0))], rtol=1e-12)
    # the precision stays what it was: only the weight gives way
    assert_allclose(mixture_from_edges(edges).precision_cholesky, lower, rtol=1e-12, atol=1e-12)
    extreme = edges._replace(log_sharpness=jnp.array([-50.0, 0.0, 50.0, 700.0]))
    sharpness = np.asarray(mixture_from_edges(extreme).log_weight) - np.log(np.log(2.0))
    assert np.all(sharpness > -1e-12) and np.all(sharpness <= SHARPEST * (1.0 + 1e-12))


def test_pull_is_the_slope_of_a_step(edges):
    pulled = pull_edges(edges, jax.jit(jax.grad(silhouette_loss))(edges, RAYS))
    loss = jax.jit(lambda step: silhouette_loss(move_edges(edges, step), RAYS))
    for field in Edges._fields:
        slope = np.asarray(getattr(pulled, field))
        for place in np.ndindex(slope.shape):
            if field == "edge_cholesky" and place[2] > place[1]:
                assert slope[place] == 0.0, "above the diagonal"
                continue
            step = jax.tree.map(lambda x: np.zeros(x.shape), edges)
            getattr(step, field)[place] = 1e-5
            numeric = float(loss(step) - loss(jax.tree.map(np.negative, step))) / 2e-5
            # errors: h^2 times a third derivative, and rounding of the loss over h
            assert slope[place] == pytest.approx(numeric, rel=1e-6, abs=1e-9), (field, place)


def test_steps_keep_triangles_and_signs(edges):
    still = move_edges(edges, jax.tree.map(jnp.zeros_like, edges))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(still, edges, strict=True))
    step = jax.tree.map(lambda x: -30.0 * jnp.ones_like(x), edges)
    lower = np.asarray(move_edges(edges, step).edge_cholesky)
    assert np.array_equal(lower, np.tril(lower)) and np.all(np.diagonal(lower, axis1=1, axis2=2) > 0.0)


def test_fits_do_not_know_the_frame(edges):
    """x' = A x with A upper triangular keeps A^-T E lower triangular; then the fit does the same in either frame."""
    upper = np.array([[0.2, 0.1, -0.3], [0.0, 3.0, 0.5], [0.0, 0.0, 1.5]])
    inverse = np.linalg.inv(upper)
    moved = Edges(edges.mean @ upper.T, jnp.array(inverse.T @ np.asarray(edges.edge_cholesky)), edges.log_sharpness)
    fits = []
    options = FitOptions(20, 60, 0.05, "cosine", square_decay=0.99, average_decay=0.5)
    program = compile_fit(silhouette_loss, EDGE_COORDINATES, edges, RAYS, options)
    for start, rays in ((edges, RAYS), (moved, Rays(*(x @ upper.T for x in RAYS)))):
        always = itertools.repeat(np.arange(60, dtype=np.int32))
        fits.append(run_fit(program, begin(start), rays, always, 1, lambda course, data, *_: (course, data)))
    ours, theirs = fits
    # rounding grows along the fit
    assert_allclose(theirs.loss, ours.loss, rtol=1e-8)
    assert_allclose(theirs.parameters.mean, ours.parameters.mean @ upper.T, rtol=1e-7, atol=1e-8)
    expected = inverse.T @ np.asarray(ours.parameters.edge_cholesky)
    assert_allclose(theirs.parameters.edge_cholesky, expected, rtol=1e-7, atol=1e-7)
    assert ours.loss[-1] < ours.loss[0]


def test_plain_steps_keep_the_diagonal_positive():
    lower = np.tril(np.random.default_rng(0).normal(size=(2, 3, 3)))
    mixture = Mixture(jnp.ones((2, 3)), jnp.array(lower), jnp.zeros(2))
    step = Mixture(jnp.full((2, 3), 0.5), jnp.array(np.tril(np.full((2, 3, 3), -4.0))), jnp.array([1.0, -2.0]))
    moved = keep_valid(mixture, step)
    expected = lower + np.tril(np.full((3, 3), -4.0))
    expected[:, range(3), range(3)] = np.maximum(expected[:, range(3), range(3)], 1e-6)
    assert_allclose(moved.precision_cholesky, expected, rtol=1e-15)
    assert np.array_equal(moved.mean, np.full((2, 3), 1.5)) and np.array_equal(moved.log_weight, [1.0, -2.0])
    assert_allclose(np.diagonal(keep_valid(mixture, step, 0.1).precision_cholesky, axis1=1, axis2=2), 0.1, rtol=1e-15)
    pulled = PLAIN_COORDINATES.pull(mixture, step)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(pulled, step, strict=True))


def test_thickened_has_no_thinner_semi_axis_and_changes_no_other_component(edges):
    axes, inverse = np.linalg.svd(edges.edge_cholesky)[:2]
    bound = np.array([9.0, 2.0, 1.0])[None]  # of the first component alone: none is thinner than 1/9 otherwise
    thin = edges._replace(edge_cholesky=edges.edge_cholesky.at[0].set(np.linalg.qr((axes[0] * [1e6, 2.0, 1.0]).T)[1].T))
    found = thickened(thin, jnp.asarray(1.0 / 9.0))
    assert inverse.max() < 9.0
    assert_allclose(np.linalg.svd(found.edge_cholesky[:1])[1], bound, rtol=1e-9)
    matrix = np.asarray(found.edge_cholesky[0])
    assert_allclose(matrix @ matrix.T, axes[0] @ np.diag(bound[0] ** 2) @ axes[0].T, rtol=1e-8)
    assert np.all(np.diag(matrix) > 0.0) and np.array_equal(matrix, np.tril(matrix))
    for before, after in zip(thin, found, strict=True):
        assert np.array_equal(before[1:], after[1:])
