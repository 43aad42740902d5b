import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import xlog1py, xlogy

from fmb.fit.losses import pixel_cross_entropy, relative_depth_loss, robust, silhouette_cross_entropy, weighted_mean

SLOPE = jax.jit(jax.vmap(jax.grad(pixel_cross_entropy), in_axes=(0, 0)))


def test_cross_entropy_is_that_of_alpha():
    density, silhouette = np.meshgrid([1e-12, 1e-3, 0.5, np.log(2.0), 3.0], [0.0, 0.3, 1.0])
    alpha = -np.expm1(-density)
    expected = -xlogy(silhouette, alpha) - xlog1py(1.0 - silhouette, -alpha)
    assert_allclose(pixel_cross_entropy(jnp.array(density), jnp.array(silhouette)), expected, rtol=1e-13, atol=1e-13)


def test_cross_entropy_beyond_where_alpha_saturates():
    density = jnp.array([1e-290, 1e-200, 200.0, 1e6])
    on, off = jnp.ones(4), jnp.zeros(4)
    # -log(1 - exp(-density)) tends to -log(density) and to exp(-density); -log(1 - alpha) is the density
    assert_allclose(pixel_cross_entropy(density[:2], on[:2]), -np.log(density[:2]), rtol=1e-14)
    assert_allclose(pixel_cross_entropy(density[2:], on[2:]), [np.exp(-200.0), 0.0], atol=1e-16)
    assert_allclose(pixel_cross_entropy(density, off), density, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_are_finite_and_never_vanish_for_too_little_density(dtype):
    tiny = np.finfo(dtype).tiny
    density = jnp.array([0.0, tiny, 1e-30, 1e-10, 1e-3, 1.0, 80.0, 1e4, 1e30], dtype)
    on, half = jnp.ones_like(density), jnp.full_like(density, 0.5)
    slope = np.asarray(SLOPE(density, on))
    assert slope.dtype == dtype and np.all(np.isfinite(slope))
    # d/d density of -log(1 - exp(-density)) is -1 / expm1(density)
    shifted = np.asarray(density, np.float64) + tiny
    expected = -1.0 / np.expm1(np.minimum(shifted, 700.0))
    assert_allclose(slope[:6], expected[:6], rtol=1e-6)
    assert slope[0] < -0.5 / tiny
    assert_allclose(np.asarray(SLOPE(density, half)), 0.5 * (1.0 + slope), rtol=1e-6)
    assert np.all(np.isfinite(pixel_cross_entropy(density, half)))


def test_slope_against_finite_differences():
    density = np.geomspace(1e-4, 10.0, 9)
    silhouette = np.linspace(0.0, 1.0, 9)
    step = 1e-5 * density
    ahead = pixel_cross_entropy(jnp.array(density + step), jnp.array(silhouette))
    behind = pixel_cross_entropy(jnp.array(density - step), jnp.array(silhouette))
    numeric = (np.asarray(ahead) - np.asarray(behind)) / (2.0 * step)
    assert_allclose(SLOPE(jnp.array(density), jnp.array(silhouette)), numeric, rtol=1e-7, atol=1e-7)


def test_weights_leave_pixels_out():
    density, silhouette = jnp.array([0.2, 0.7, 5.0]), jnp.array([1.0, 0.0, jnp.nan])
    pixel = np.asarray(pixel_cross_entropy(density, silhouette))
    weight = jnp.array([1.0, 3.0, 0.0])
    loss = jax.jit(jax.value_and_grad(silhouette_cross_entropy))
    value, slope = loss(density, silhouette, weight)
    assert_allclose(value, (pixel[0] + 3.0 * pixel[1]) / 4.0, rtol=1e-15)
    assert np.all(np.isfinite(slope)) and slope[2] == 0.0
    value, slope = loss(density, silhouette, jnp.zeros(3))
    assert value == 0.0 and np.array_equal(slope, np.zeros(3))
    assert_allclose(silhouette_cross_entropy(density[:2], silhouette[:2]), pixel[:2].mean(), rtol=1e-15)


def test_weighted_mean():
    value = jnp.array([[1.0, 2.0], [4.0, jnp.inf]])
    assert weighted_mean(value[:1]) == 1.5
    assert_allclose(weighted_mean(value, jnp.array([[1.0, 1.0], [2.0, 0.0]])), 11.0 / 4.0, rtol=1e-15)


def test_relative_depth_loss_leaves_out_the_background():
    depth = jnp.array([2.0, 5.0, 7.0, 8.0, 1.0])
    observed = jnp.array([4.0, 4.0, jnp.nan, jnp.inf, 0.0])
    loss = jax.jit(jax.value_and_grad(relative_depth_loss))
    value, slope = loss(depth, observed)
    assert_allclose(value, (0.5**2 + 0.25**2) / 2.0, rtol=1e-15)
    assert_allclose(slope, [-2.0 * 0.5 / 4.0 / 2.0, 2.0 * 0.25 / 4.0 / 2.0, 0.0, 0.0, 0.0], rtol=1e-15)
    scaled, _ = loss(10.0 * depth, 10.0 * observed)
    assert_allclose(scaled, value, rtol=1e-14)
    value, slope = loss(depth.at[0].set(jnp.nan), observed, jnp.array([0.0, 1.0, 1.0, 1.0, 1.0]))
    assert_allclose(value, 0.25**2, rtol=1e-15)
    assert np.all(np.isfinite(slope))
    value, slope = loss(depth, jnp.full(5, jnp.nan))
    assert value == 0.0 and np.array_equal(slope, np.zeros(5))


def test_robust_is_a_square_within_its_width_and_a_line_beyond():
    small, large = jnp.array([0.0, 1e-4, -1e-4]), jnp.array([5.0, -7.0])
    assert_allclose(robust(small, 0.1), small**2 / 0.2, rtol=1e-5)
    assert_allclose(robust(large, 0.1), jnp.abs(large) - 0.1, rtol=1e-3)
