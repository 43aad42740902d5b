import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fm_render import Mixture, Settings, render
from fmb.fields.metaballs import HALF_OPAQUE, softened
from fmb.geometry.rotations import matrix_from_rotation_vector
from fmb.pose.first_order import CLIPPED, DEPTH_WEIGHT, image_loss, rays_of
from fmb.pose.residuals import (
    Noise,
    Pose,
    Sight,
    cauchy,
    density_slopes,
    depth_residuals,
    field_at,
    mask_residuals,
    normal_equations,
    surface_distances,
    surface_levels,
)
from fmb.pose.search import moved

NOISE = Noise(jnp.array(0.05), jnp.array(0.02))


def scene(components: int = 4) -> tuple[Mixture, Pose, jax.Array]:
    generator = np.random.default_rng(3)
    lower = np.tril(generator.normal(size=(components, 3, 3))) + 5 * np.eye(3)
    mixture = Mixture(
        jnp.asarray(0.2 * generator.normal(size=(components, 3))),
        jnp.asarray(lower),
        jnp.asarray(generator.uniform(0, 2, size=components)),
    )
    pose = Pose(matrix_from_rotation_vector(jnp.array([0.3, -0.5, 0.2])), jnp.array([0.1, -0.05, 3.0]))
    direction = np.concatenate([0.15 * generator.normal(size=(2, 40)), np.ones((1, 40))])
    return mixture, pose, jnp.asarray(direction)


def with_autodiff(function, mixture: Mixture, pose: Pose, where: jax.Array) -> tuple[np.ndarray, ...]:
    """Values and slopes that the function gives, and its slopes by automatic differentiation."""

    @jax.jit
    def both(pose):
        slope = jax.jacobian(lambda step: function(mixture, moved(pose, step), where)[0])(jnp.zeros(6))
        return *function(mixture, pose, where), slope.T

    return jax.tree.map(np.asarray, both(pose))


def test_density_is_the_renderers_and_its_slopes_are_exact():
    mixture, pose, direction = scene()
    density, slope, expected = with_autodiff(density_slopes, mixture, pose, direction)
    rendered = jax.jit(lambda: render(mixture, rays_of(pose, direction), outputs=("density",)).density)()
    np.testing.assert_allclose(density, rendered, rtol=1e-10)
    np.testing.assert_allclose(slope, expected, atol=1e-10)


def test_slopes_of_levels():
    mixture, pose, direction = scene()
    point = direction * jnp.linspace(2.5, 3.5, 40)[None]
    _, slope, levels = with_autodiff(surface_levels, mixture, pose, point)
    np.testing.assert_allclose(slope, levels, atol=1e-10)


def test_distance_from_one_ball_is_exact():
    radius, sharpness = 0.4, 2.0
    lower = jnp.sqrt(2 * sharpness) / radius * jnp.eye(3)[None]
    ball = Mixture(jnp.array([[0.1, 0.0, 0.0]]), lower, jnp.array([sharpness + HALF_OPAQUE]))
    pose = Pose(matrix_from_rotation_vector(jnp.array([0.3, -0.5, 0.2])), jnp.array([0.0, 0.0, 3.0]))
    away = jnp.array([0.15, 0.3, 0.4, 0.5, 1.0])  # from the ball's middle
    middle = pose.rotation @ ball.mean[0] + pose.translation
    point = middle[:, None] + jnp.array([0.6, 0.0, -0.8])[:, None] * away[None]
    distance, slope, expected = with_autodiff(surface_distances, ball, pose, point)
    np.testing.assert_allclose(distance, away - radius, atol=1e-12)
    np.testing.assert_allclose(slope, expected, atol=1e-10)


def test_points_on_the_surface_have_slopes_of_planes():
    mixture, pose, direction = scene()

    def nearer(_, depth):
        jet = field_at(mixture, pose, direction * depth[None])
        along = -(jet.slope * direction).sum(0)
        return depth - jnp.clip(-jet.value / jnp.where(along > 0.1, along, jnp.inf), -0.05, 0.05)

    @jax.jit
    def seen():  # the surface seen by the camera, and the field there
        point = direction * jax.lax.fori_loop(0, 200, nearer, jnp.full(40, 2.0))[None]
        return point, field_at(mixture, pose, point).value

    point, value = seen()
    on = np.abs(np.asarray(value)) < 1e-9
    assert on.sum() > 10
    distance, slope, expected = with_autodiff(surface_distances, mixture, pose, point)
    np.testing.assert_allclose(distance[on], 0, atol=1e-9)
    np.testing.assert_allclose(slope[:, on], expected[:, on], atol=1e-7)


def test_gradient_and_information_of_the_mask():
    mixture, pose, direction = scene()
    seen = jnp.asarray(np.random.default_rng(0).uniform(size=40))
    ones, number = jnp.ones(40), jnp.arange(40)
    sight = Sight(direction, seen, ones, number, direction, ones, number)

    @jax.jit
    def residuals(step):
        density, slope = density_slopes(mixture, moved(pose, step), direction)
        found = mask_residuals(density, slope, sight, NOISE)
        return found.loss.sum(), (density, slope, normal_equations(found))

    expected, (density, slope, normal) = jax.grad(residuals, has_aux=True)(jnp.zeros(6))
    np.testing.assert_allclose(normal.gradient, expected, rtol=1e-9, atol=1e-9)
    believed = 0.02 + 0.96 * -np.expm1(-np.asarray(density))
    change = 0.96 * np.exp(-np.asarray(density)) * np.asarray(slope)  # Fisher: slopes of p squared / (p (1 - p))
    np.testing.assert_allclose(normal.information, (change / (believed * (1 - believed))) @ change.T, rtol=1e-9)


def test_robust_loss_and_gradient_of_the_depth():
    square = jnp.linspace(0.01, 30, 50)
    loss, weight = cauchy(square)
    slope = jax.vmap(jax.grad(lambda x: cauchy(x)[0]))(square)
    np.testing.assert_allclose(weight, 2 * slope, rtol=1e-6)
    assert loss[0] == pytest.approx(0.005, rel=0.01)  # half the square where it is small
    mixture, pose, direction = scene()
    point, number = direction * 2.8, jnp.arange(40)
    sight = Sight(direction, jnp.ones(40), jnp.ones(40), number, point, jnp.ones(40), number)

    @jax.jit
    def residuals(step):
        found = depth_residuals(*surface_levels(mixture, moved(pose, step), point), sight, NOISE)
        return found.loss.sum(), normal_equations(found)

    expected, normal = jax.grad(residuals, has_aux=True)(jnp.zeros(6))
    np.testing.assert_allclose(normal.gradient, expected, rtol=1e-9)


def test_softened_edges_stay_where_they_are():
    mixture = scene(1)[0]
    soft = softened(mixture, jnp.array(0.7))
    edge = mixture.mean[0] + jnp.linalg.solve(
        mixture.precision_cholesky[0].T,
        jnp.sqrt(2 * (mixture.log_weight[0] - HALF_OPAQUE)) * jnp.array([0.6, 0.0, 0.8]),
    )
    here = Pose(jnp.eye(3), jnp.zeros(3))
    for model in (mixture, soft):
        assert field_at(model, here, edge[:, None]).value[0] == pytest.approx(0, abs=1e-9)
    assert soft.log_weight[0] < mixture.log_weight[0]
    np.testing.assert_allclose(softened(mixture, jnp.array(0.0)).log_weight, mixture.log_weight)


def test_far_points_and_empty_rays_stay_finite_in_single_precision():
    mixture, pose, direction = jax.tree.map(lambda x: x.astype(jnp.float32), scene())
    point = jnp.concatenate([direction * 0, direction * 1e3, mixture.mean.T @ jnp.ones((4, 1), jnp.float32)], axis=1)
    for function in (surface_distances, surface_levels):
        assert all(np.isfinite(array).all() for array in jax.jit(function)(mixture, pose, point))
    density, slope = jax.jit(density_slopes)(mixture, pose, direction + jnp.array([[90.0], [0], [0]], jnp.float32))
    number = jnp.arange(40)
    ones = jnp.ones(40, jnp.float32)
    sight = Sight(direction, ones, ones, number, direction, ones, number)
    noise = jax.tree.map(lambda x: x.astype(jnp.float32), NOISE)
    normal = jax.jit(lambda *x: normal_equations(mask_residuals(*x)))(density, slope, sight, noise)
    assert all(np.isfinite(x).all() for x in normal)


def test_the_papers_loss_clips_alpha_and_divides_by_all_pixels():
    mixture, pose, direction = scene()
    away = pose._replace(translation=pose.translation + jnp.array([50.0, 0, 0]))
    one, number = jnp.ones(40), jnp.arange(40)
    sight = Sight(direction, one, one, number, 3 * direction, one, number)
    masked = sight._replace(depth_weight=0 * one)
    loss = jax.jit(image_loss, static_argnums=2)
    assert loss(mixture, masked, Settings(), away) == pytest.approx(-np.log(CLIPPED))
    half = sight._replace(mask_weight=0 * one, depth_weight=(number < 20).astype(float))
    depth = np.asarray(jax.jit(lambda: render(mixture, rays_of(pose, direction), 1.0, ("depth",)).depth)())[:20]
    expected = DEPTH_WEIGHT * np.abs(depth - 3).sum() / 40 / 3
    assert loss(mixture, half, Settings(), pose) == pytest.approx(expected)
