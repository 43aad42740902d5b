"""Losses of points and surfaces, on a ball and an ellipsoid, where the answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.optimize import minimize

from fmb.clouds.losses import (
    AREA_SHARPNESS,
    closest_distance,
    closest_points,
    eikonal,
    implicit_distance,
    misplaced,
    pull_distance,
    surface_area,
    surface_distance,
)
from fmb.clouds.methods import LOSSES, Batch, Weights
from fmb.fields.field import projected, sloped
from fmb.fields.networks import Shape, network_field, start_network

RADIUS = 0.4
AXES = np.array([0.5, 0.35, 0.25])


def ball(radius, points):
    return jnp.sqrt(jnp.sum(points**2, axis=1)) - radius


def squeezed(radius, points):
    """Zero on the ball, no distance: its slope is 2 |x| and not 1."""
    return jnp.sum(points**2, axis=1) - radius**2


def ellipsoid(axes, points):
    return jnp.sum((points / axes[None]) ** 2, axis=1) - 1.0


def level(value, points):
    """The same everywhere."""
    return 0.0 * points[:, 0] + value


def around(count: int, seed: int = 0) -> np.ndarray:
    """Points from half a radius inside to half a radius outside."""
    generator = np.random.default_rng(seed)
    direction = generator.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * generator.uniform(0.5, 1.5, (count, 1)) * RADIUS


def slope_of(loss, parameter: float) -> tuple[float, float]:
    """The gradient, and the quotient of finite differences."""
    step, loss = 1e-6, jax.jit(loss)
    return float(jax.jit(jax.grad(loss))(parameter)), float(
        (loss(parameter + step) - loss(parameter - step)) / (2 * step)
    )


def test_closest_points_of_an_ellipsoid_are_those_of_scipy():
    points = around(12, 3)
    found = jax.jit(closest_points)(Partial(ellipsoid, jnp.asarray(AXES)), jnp.asarray(points))
    assert found.found.sum() >= 10
    np.testing.assert_allclose(ellipsoid(AXES, found.point)[found.found], 0.0, atol=1e-8)
    for point, start in zip(points[found.found], np.asarray(found.point)[found.found], strict=True):
        best = minimize(
            lambda x, p=point: np.sum((x - p) ** 2),
            start + 0.01,
            constraints={"type": "eq", "fun": lambda x: np.sum((x / AXES) ** 2) - 1.0},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(start, best.x, atol=1e-5)


def test_a_newton_step_that_fails_is_told_and_leaves_finite_gradients():
    points = jnp.asarray([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]])  # at the middle of a ball all of it is as near
    field = Partial(squeezed, RADIUS)
    found = jax.jit(closest_points)
    assert list(found(field, points).found) == [False, True]
    gradient = jax.jit(jax.grad(lambda radius: closest_distance(Partial(squeezed, radius), points)))
    assert np.isfinite(gradient(RADIUS))
    assert not found(Partial(level, 1.0), points).found.any()


def test_the_distance_to_closest_points_has_the_gradient_of_the_implicit_function():
    points = jnp.asarray(around(40))
    expected = np.mean(np.abs(np.linalg.norm(points, axis=1) - RADIUS))
    loss = jax.jit(lambda radius: closest_distance(Partial(squeezed, radius), points))
    assert float(loss(RADIUS)) == pytest.approx(expected, abs=1e-5)
    gradient, quotient = slope_of(loss, RADIUS)
    assert gradient == pytest.approx(quotient, abs=1e-6)
    change = jnp.asarray([0.3, -1.0, 0.7])
    gradient, quotient = slope_of(lambda x: closest_distance(Partial(ellipsoid, AXES + x * change), points), 0.0)
    assert gradient == pytest.approx(quotient, abs=2e-5)


@pytest.mark.parametrize("field", [ball, squeezed])
def test_the_surface_moves_with_the_field_towards_the_points(field):
    # points on a smaller ball: every point of the surface is RADIUS - 0.3 from its own
    surface = around(50)
    near = 0.3 * surface / np.linalg.norm(surface, axis=1, keepdims=True)
    near = jnp.asarray(np.stack([near, near + 0.5, near - 0.5], axis=1))

    def loss(radius):
        return surface_distance(Partial(field, radius), jnp.asarray(surface), near)

    # the walk takes a few steps of at most 0.05: start near the surface
    surface = RADIUS * surface / np.linalg.norm(surface, axis=1, keepdims=True) + 0.003
    assert float(jax.jit(loss)(RADIUS)) == pytest.approx(RADIUS - 0.3, abs=5e-4)
    assert slope_of(loss, RADIUS) == pytest.approx((1.0, 1.0), abs=1e-3)


def test_projection_walks_to_the_zero_and_never_farther_than_it_may():
    points = jnp.asarray(around(50))
    assert np.max(np.abs(ball(RADIUS, projected(Partial(ball, RADIUS), points, 1, 1.0)))) < 1e-12
    moved = np.linalg.norm(projected(Partial(squeezed, RADIUS), points, 3, 0.01) - points, axis=1)
    assert moved.max() <= 0.03 + 1e-12
    still = projected(Partial(level, 1.0), points, 2, 0.1)
    np.testing.assert_array_equal(still, points)


def test_the_surface_area_is_that_of_a_ball():
    samples = jnp.asarray(np.random.default_rng(1).uniform(-0.8, 0.8, (200_000, 3)))
    estimate = AREA_SHARPNESS / 2 * 1.6**3 * float(surface_area(ball(RADIUS, samples)))
    # the estimate averages the areas of balls between which the weight falls, so it is larger by (1 / alpha r)^2
    assert estimate == pytest.approx(4 * np.pi * RADIUS**2, rel=0.03)


def test_values_of_the_simple_terms_on_a_ball():
    points = jnp.asarray(around(30))
    value, slope = sloped(Partial(squeezed, RADIUS), points)
    away = np.linalg.norm(points, axis=1)
    assert float(implicit_distance(value)) == pytest.approx(np.mean(np.abs(away**2 - RADIUS**2)))
    assert float(eikonal(slope)) == pytest.approx(np.mean((1 - 2 * away) ** 2), abs=1e-6)
    value, slope = sloped(Partial(ball, RADIUS), points)
    nearest = RADIUS * points / away[:, None]
    assert float(pull_distance(value, slope, points, nearest)) == pytest.approx(0.0, abs=2e-4)
    assert float(pull_distance(value, slope, points, nearest + 0.1)) == pytest.approx(0.1 * np.sqrt(3), rel=1e-3)


def test_places_are_as_deep_as_they_are_surely():
    points = jnp.asarray([[0.0, 0.0, 0.3], [0.0, 0.0, 0.3], [0.0, 0.5, 0.0], [0.0, 0.5, 0.0]])
    value, depth = ball(RADIUS, points), jnp.asarray([0.05, 0.25, -0.05, 0.05])
    assert float(misplaced(value, depth)) == pytest.approx((0.0 + 0.15 + 0.0 + 0.15) / 4)


def batch(count: int, field) -> Batch:
    """A batch whose points of the surface lie on it."""
    generator = np.random.default_rng(5)
    parts = [around(count, seed) for seed in range(3)]
    everywhere = generator.uniform(-0.8, 0.8, (count, 3))
    surface = projected(field, jnp.asarray(parts[0]), 20, 0.1)
    neighbours = surface[:, None] + 0.05 * generator.normal(size=(count, 4, 3))
    places = everywhere, generator.uniform(-0.1, 0.1, count)
    normals = around(count, 4) / RADIUS * (np.arange(count) % 5 > 0)[:, None]  # some are unknown
    return Batch(*(jnp.asarray(x) for x in (*parts, everywhere, surface, neighbours, *places, normals)))


@pytest.mark.parametrize(
    ("name", "activation"),
    [("diff_cd", "sine"), pytest.param("siren", "softplus", marks=pytest.mark.slow), ("neural_pull", "sine")],
)
def test_gradients_of_every_method_are_those_of_finite_differences(name, activation):
    layers = start_network(Shape(8, 1, 0, activation), np.random.default_rng(0))
    weights, data = Weights(1.0, 0.3, 0.2, 0.5, normal=0.4), batch(20, network_field(layers, activation))

    @jax.jit
    def loss(layers):
        return LOSSES[name].terms(network_field(layers, activation), data, weights)["loss"]

    generator, step = np.random.default_rng(1), 1e-6
    change = jax.tree.map(lambda x: jnp.asarray(generator.normal(size=x.shape)), layers)
    moved = [jax.tree.map(lambda x, d, s=sign: x + s * step * d, layers, change) for sign in (1, -1)]
    quotient = (loss(moved[0]) - loss(moved[1])) / (2 * step)
    gradient = jax.tree.reduce(
        jnp.add, jax.tree.map(lambda g, d: jnp.sum(g * d), jax.jit(jax.grad(loss))(layers), change)
    )
    assert float(gradient) == pytest.approx(float(quotient), rel=1e-4, abs=1e-5)
