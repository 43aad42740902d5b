"""What keeps the renderer fast and exact: the stable cubic, rays moved near, blocks, and gradients as moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fm_numerics as numerics
from fm_numerics import check_shapes, in_blocks, nearby, smallest_root
from fm_render import Mixture, Rays, intersect_cubic, passes, render
from tests.reference import HITS

SEPARATE = 0.03  # of the longest root: roots nearer than that have lost digits before any solver sees them


def cubics(count: int, decades: float, dtype, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Beta and gamma >= beta^2, over so many decades about 1, many of them at or near double roots."""
    generator = np.random.default_rng(seed)
    beta = 10.0 ** generator.uniform(-decades, decades, count) * generator.choice([-1.0, 1.0], count)
    share = 10.0 ** generator.uniform(-12.0, 4.0, count) * (generator.random(count) < 0.9)
    apart = 10.0 ** generator.uniform(-8.0, 8.0, count)
    gamma = np.where(generator.random(count) < 0.3, beta**2 + apart, beta**2 * (1.0 + share))
    beta = beta.astype(dtype)
    return beta, np.maximum(gamma.astype(dtype), beta**2)


def scaled(beta: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coefficients of the cubic in tau / unit, and that unit, in float64."""
    beta, gamma = beta.astype(float), gamma.astype(float)
    unit = np.maximum(np.sqrt(gamma), 1.0)
    return 2.0 * beta / unit, (gamma - 1.0) / unit**2, -beta / unit**3, unit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decades", [1.5, 12.0])
def test_root_against_eigenvalues(decades, dtype):
    beta, gamma = cubics(20_000, decades, dtype)
    c2, c1, c0, unit = scaled(beta, gamma)
    companion = np.zeros((len(beta), 3, 3))
    companion[:, 1, 0] = companion[:, 2, 1] = 1.0
    companion[:, :, 2] = -np.stack([c0, c1, c2], axis=1)
    roots = np.linalg.eigvals(companion)
    smallest = np.where(np.abs(roots.imag) < 1e-9, roots.real, np.inf).min(axis=1)
    gaps = np.abs(roots[:, [0, 1, 2]] - roots[:, [1, 2, 0]]).min(axis=1)
    found = np.asarray(jax.jit(smallest_root)(jnp.asarray(beta), jnp.asarray(gamma)), float)
    error = np.abs(found - unit * smallest) / np.maximum(1.0, np.abs(unit * smallest))
    # a gap of 0.03 costs 1 / 0.03 of the rounding: 60 units in the last place were measured
    assert error[gaps > SEPARATE].max() < 100.0 * np.finfo(dtype).eps
    assert np.mean(gaps > SEPARATE) > 0.6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_root_fulfils_its_cubic_also_where_roots_meet(dtype):
    beta, gamma = cubics(100_000, 6.0, dtype)
    c2, c1, c0, unit = scaled(beta, gamma)
    x = np.asarray(jax.jit(smallest_root)(jnp.asarray(beta), jnp.asarray(gamma)), float) / unit
    value = ((x + c2) * x + c1) * x + c0
    size = np.abs(x) ** 3 + np.abs(c2) * x**2 + np.abs(c1 * x) + np.abs(c0)
    # backward error: what is found is the root of a cubic whose coefficients differ by rounding
    assert np.max(np.abs(value) / np.maximum(size, np.finfo(np.float32).tiny)) < 10.0 * np.finfo(dtype).eps


def test_roots_by_hand():
    # through the mean: tau^3 - tau; a triple root; a single one at the densest point; then
    # (tau + 2) (tau + 1.5) (tau - 0.5) and its mirror image
    beta, gamma = jnp.array([0.0, 0.0, 0.0, 1.5, -1.5]), jnp.array([0.0, 1.0, 4.0, 2.25, 2.25])
    assert_allclose(smallest_root(beta, gamma), [-1.0, 0.0, 0.0, -2.0, -0.5], atol=1e-12)


def adversarial_pairs(count: int, seed: int) -> tuple[Mixture, jax.Array, jax.Array]:
    """Float32 components [100] and rays [3, count / 100] over twelve decades of size, slant and distance."""
    generator = np.random.default_rng(seed)
    rays = count // 100
    factor = np.tril(generator.normal(size=(100, 3, 3)) * 10.0 ** generator.uniform(-3.0, 3.0, (100, 3, 3)))
    factor[:, range(3), range(3)] = 10.0 ** generator.uniform(-3.0, 3.0, (100, 3))
    mean = generator.normal(size=(100, 3)) * 10.0 ** generator.uniform(-6.0, 2.0, (100, 1))
    direction = generator.normal(size=(3, rays)) * 10.0 ** generator.uniform(-3.0, 3.0, rays)
    direction[:, ::7] = np.eye(3)[:, generator.integers(0, 3, len(direction[0, ::7]))]  # along the axes
    origin = generator.normal(size=(3, rays)) * 10.0 ** generator.uniform(-6.0, 2.0, rays)
    origin[:, ::5] = 0.0  # and, of the components at the origin, right through the mean
    mean[::10] = 0.0
    single = (jnp.asarray(array, jnp.float32) for array in (mean, factor, np.zeros(100), origin, direction))
    mean, factor, log_weight, origin, direction = single
    return Mixture(mean, factor, log_weight), origin, direction


def broken_cubics(count: int, seed: int) -> int:
    """How many numbers of the cubic's distances and of their gradients are not finite."""

    def distance(factor, mean, origin, direction):
        passed = passes(Mixture(mean, factor, jnp.zeros(len(mean))), origin, direction)
        return intersect_cubic(passed, jnp.zeros(())).distance

    @jax.jit
    def count_broken(mixture, origin, direction):
        value, pull = jax.vjp(distance, mixture.precision_cholesky, mixture.mean, origin, direction)
        results = (value, *pull(1.0 / (1.0 + jnp.abs(value))))
        return sum(jnp.sum(~jnp.isfinite(array)) for array in results)

    return int(count_broken(*adversarial_pairs(count, seed)))


def test_cubic_is_finite():
    assert broken_cubics(10**5, 0) == 0


@pytest.mark.slow
def test_cubic_is_finite_in_ten_million_pairs():
    assert sum(broken_cubics(10**6, seed) for seed in range(1, 11)) == 0


def test_cubic_against_the_twin():
    generator = np.random.default_rng(3)
    factor = np.tril(generator.normal(size=(30, 3, 3))) * 4.0
    factor[:, range(3), range(3)] = 10.0 ** generator.uniform(-0.5, 2.0, (30, 3))
    mean, origin = 0.3 * generator.normal(size=(30, 3)), np.tile([[0.0], [0.0], [-3.0]], 200)
    direction = np.concatenate([0.3 * generator.normal(size=(2, 200)), np.ones((1, 200))])
    precision = factor @ np.swapaxes(factor, 1, 2)
    expected = HITS["cubic"](precision, origin.T[None] - mean[:, None], direction.T[None])
    mean, factor, log_weight, origin, direction = map(jnp.asarray, (mean, factor, np.zeros(30), origin, direction))
    passed = jax.jit(lambda *x: intersect_cubic(passes(*x), log_weight[:, None]).distance)
    found = passed(Mixture(mean, factor, log_weight), origin, direction)
    # both stand on one double root out of 6,000 where bisection and formula may fall to either side
    assert np.quantile(np.abs(found - expected), 0.999) < 1e-9


def test_rays_moved_near_lose_nothing():
    generator = np.random.default_rng(4)
    mean = jnp.asarray(generator.normal(size=(5, 3)) + [40.0, -30.0, 20.0], jnp.float32)
    direction = generator.normal(size=(3, 500))
    origin = np.array([[40.0], [-30.0], [20.0]]) - 100.0 * direction + 0.1 * generator.normal(size=(3, 500))
    origin, direction = jnp.asarray(origin, jnp.float32), jnp.asarray(direction, jnp.float32)
    start, moved_mixture, (moved, _) = jax.jit(nearby)(Mixture(mean, mean, mean), origin, direction)
    wide = [np.asarray(array, float) for array in (origin, start, direction, mean, moved_mixture.mean)]
    middle = np.median(wide[3] - wide[4], axis=0)
    exact = wide[0] + wide[1] * wide[2] - middle[:, None]
    assert np.abs(exact).max() < 2.0 and np.abs(wide[0]).max() > 200.0
    # two units in the last place of numbers near 1, where plain sums at 200 would lose 1e-5
    assert np.abs(np.asarray(moved) - exact).max() < 3e-7


def test_rays_moved_near_keep_their_slopes():
    mixture = Mixture(jnp.array([[1.0, 2.0, 3.0]]), jnp.eye(3)[None], jnp.zeros(1))
    origin, direction = jnp.array([[0.1], [0.2], [-4.0]]), jnp.array([[0.3], [-0.2], [1.0]])
    start = nearby(mixture, origin, direction)[0]
    for position, factor in ((1, 1.0), (2, float(start[0, 0]))):
        slope = jax.jacrev(lambda *inputs: nearby(*inputs)[2][0], argnums=position)(mixture, origin, direction)
        assert_allclose(slope.reshape(3, 3), factor * np.eye(3), atol=1e-14)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("count", [1, 64, 65, 200])
def test_blocks_are_invisible(count, closed, monkeypatch):
    sizes = []

    def function(common, rays):
        sizes.append(rays.shape[1])
        return {"flat": common * rays.sum(0), "tall": jnp.sin(common * rays[:2])}

    def total(common, rays):
        results = in_blocks(lambda common, rays: function(common[0], rays), (common,), rays, 10, closed)
        return sum((x**2).sum() for x in results.values()), results

    rays, common = jnp.asarray(np.random.default_rng(5).normal(size=(6, count))), jnp.array(1.3)
    whole = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(common, rays)
    assert sizes[0] == count
    monkeypatch.setattr(numerics, "PAIRS_PER_BLOCK", 640)
    monkeypatch.setattr(numerics, "LEAST_BLOCK", 16)
    sizes.clear()
    parts = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(common, rays)
    assert max(sizes) <= max(64, min(count, 64))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-13, atol=1e-13), whole, parts)


def test_shapes_that_broadcasting_would_hide_are_refused():
    mixture = Mixture(jnp.zeros((2, 3)), jnp.tile(jnp.eye(3), (2, 1, 1)), jnp.zeros(2))
    rays = Rays(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    check_shapes(mixture)
    for broken, message in (
        (mixture._replace(log_weight=jnp.zeros(1)), "mixture.log_weight has shape"),
        (mixture._replace(precision_cholesky=jnp.eye(3)[None]), "mixture.precision_cholesky has shape"),
        (Mixture(jnp.zeros((0, 3)), jnp.zeros((0, 3, 3)), jnp.zeros(0)), "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            check_shapes(broken)
    with pytest.raises(ValueError, match="rays.direction has shape .* its last axis must be 3"):
        render(mixture, rays._replace(direction=jnp.ones((1, 2))))
