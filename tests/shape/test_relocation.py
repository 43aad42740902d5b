import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from numpy.testing import assert_allclose

from fm_render import Rays, render
from fmb.fit.losses import pixel_cross_entropy
from fmb.geometry.cameras import pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.views import Pixels
from fmb.shape.attendant import (
    GAIN,
    HALF_OFFSET,
    HALF_WIDTH,
    LEAST_DENSITY,
    Worth,
    believed,
    component_worth,
    halved,
    relocate,
)
from fmb.shape.edges import Edges, mixture_from_edges


@pytest.fixture
def edges() -> Edges:
    """Four overlapping ellipsoids."""
    generator = np.random.default_rng(3)
    lower = np.tril(0.5 * generator.normal(size=(4, 3, 3)))
    lower[:, range(3), range(3)] = generator.uniform(1.5, 3.0, (4, 3))
    return Edges(jnp.array(0.3 * generator.normal(size=(4, 3))), jnp.array(lower), jnp.array([0.0, 0.5, 1.0, 0.3]))


@pytest.fixture
def pixels() -> Pixels:
    """Two views of 8 x 8 pixels of a disc."""
    cameras = random_cameras(np.random.default_rng(1), 2, 3.0, pinhole_intrinsics(8, 8, 30.0))
    row, column = np.mgrid[:8, :8] - 3.5
    silhouette = np.tile((np.hypot(row, column) < 2.6).astype(float).ravel(), 2)
    rays = pixel_rays(cameras, 8, 8)
    return Pixels(Rays(*(x.reshape(-1, 3) for x in rays)), jnp.array(silhouette))


@jax.jit
def density(edges: Edges, rays: Rays, present: Array) -> Array:
    """Density along the rays of those components that are present."""
    mixture = mixture_from_edges(edges)
    mixture = mixture._replace(log_weight=jnp.where(present, mixture.log_weight, -jnp.inf))
    return render(mixture, rays, outputs=("density",)).density


def loss(density: Array, pixels: Pixels, weight: np.ndarray) -> float:
    """Sum of the cross-entropies, with the least density that counts."""
    floored = jnp.maximum(density, LEAST_DENSITY)
    return float(weight @ np.asarray(pixel_cross_entropy(floored, pixels.silhouette)))


def test_worth_is_what_the_loss_would_gain(edges, pixels):
    weight = np.random.default_rng(0).uniform(size=128) * (np.arange(128) % 3 > 0)
    worth = component_worth(edges, pixels, jnp.array(weight))
    whole = loss(density(edges, pixels.rays, np.ones(4, bool)), pixels, weight)
    brute = [loss(density(edges, pixels.rays, np.arange(4) != k), pixels, weight) - whole for k in range(4)]
    assert_allclose(worth.value, brute, rtol=1e-10, atol=1e-10)
    shares = np.array([density(edges, pixels.rays, np.arange(4) == k) for k in range(4)])
    pixel = weight * np.asarray(pixel_cross_entropy(jnp.array(shares.sum(axis=0)), pixels.silhouette))
    assert_allclose(worth.error, (pixel * shares / shares.sum(axis=0)).sum(axis=1), rtol=1e-4)


def test_worth_is_the_same_in_blocks(edges, pixels, monkeypatch):
    weight = jnp.array(np.random.default_rng(0).uniform(size=128))
    whole = component_worth(edges, pixels, weight)
    monkeypatch.setattr("fmb.shape.attendant.LEAST_BLOCK", 50)
    monkeypatch.setattr("fmb.shape.attendant.PAIRS_PER_BLOCK", 1)
    blocks = component_worth.__wrapped__(edges, pixels, weight)
    for one, other in zip(whole, blocks, strict=True):
        assert_allclose(one, other, rtol=1e-10)


def test_worth_of_what_is_nowhere_to_be_seen_is_nothing(edges, pixels):
    # one far to the side, one behind the only camera that is left; the ray of the second is under the silhouette
    pixels = jax.tree.map(lambda x: x[:64], pixels)
    toward = np.asarray(pixels.rays.direction).mean(axis=0)
    away = np.asarray(pixels.rays.origin[0]) - 2.0 * toward
    mean = edges.mean.at[0].set(jnp.array([200.0, 0.0, 0.0])).at[1].set(away)
    weight = jnp.ones(64)
    for all_gone in (mean, mean.at[2:].set(mean[:1])):
        worth = component_worth(edges._replace(mean=all_gone), pixels, weight)
        assert_allclose(worth.value[:2], 0.0, atol=1e-12)
        assert worth.error[1] == 0.0 and np.all(np.isfinite(worth.error))


def test_halves_of_the_one_in_error(edges):
    worth = Worth(np.array([5.0, 0.1, 7.0, 9.0]), np.array([1.0, 0.2, 6.0, 0.3]))
    moved, changed = relocate(edges, worth, 1)
    assert changed.tolist() == [False, True, True, False]
    for k in (0, 3):
        assert all(np.array_equal(ours[k], theirs[k]) for ours, theirs in zip(moved, edges, strict=True))
    lower = np.asarray(edges.edge_cholesky[2])
    values, vectors = np.linalg.eigh(lower @ lower.T)
    length = 1.0 / np.sqrt(values[0])
    for half in (1, 2):
        ours = np.asarray(moved.edge_cholesky[half])
        assert np.array_equal(ours, np.tril(ours)) and np.all(np.diag(ours) > 0.0)
        semi_axes = 1.0 / np.linalg.norm(ours.T @ vectors, axis=0)  # along the axes of the whole
        assert_allclose(semi_axes, [0.6 * length, *1.0 / np.sqrt(values[1:])], rtol=1e-12)
        offset = np.asarray(moved.mean[half] - edges.mean[2])
        assert_allclose(np.abs(offset @ vectors), [0.5 * length, 0.0, 0.0], atol=1e-12)
        assert moved.log_sharpness[half] == edges.log_sharpness[2]
    assert_allclose(moved.mean[1] + moved.mean[2], 2.0 * edges.mean[2], atol=1e-12)


def test_no_more_than_asked_for_move(edges):
    worth = Worth(np.zeros(4), np.array([4.0, 3.0, 2.0, 1.0]))
    worth = worth._replace(value=np.array([0.3, 0.2, 0.1, 0.0]))
    for count, expected in ((0, []), (1, [0, 3]), (2, [0, 1, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])):
        moved, changed = relocate(edges, worth, count)
        assert np.flatnonzero(changed).tolist() == expected
        stayed = [k for k in range(4) if np.array_equal(moved.mean[k], edges.mean[k])]
        assert sorted([*stayed, *expected]) == [0, 1, 2, 3]


def test_nothing_moves_that_is_worth_keeping(edges):
    error = np.array([1.0, 2.0, 3.0, 4.0])  # the last is asked for first, of the first of equal worth
    moved, changed = relocate(edges, Worth(GAIN * np.full(4, 4.0), error), 4)
    assert not changed.any()
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(moved, edges, strict=True))
    assert relocate(edges, Worth(np.array([9.0, 0.99 * GAIN * 4.0, 9.0, 9.0]), error), 1)[1].sum() == 2


def test_one_component_stays(edges):
    lone = jax.tree.map(lambda x: x[:1].astype(jnp.float32), edges)
    moved, changed = relocate(lone, Worth(np.zeros(1), np.ones(1)), 1)
    assert not changed.any() and moved.mean.dtype == jnp.float32
    assert np.array_equal(moved.edge_cholesky, lone.edge_cholesky)


@pytest.mark.parametrize("thinnest", [1e-2, 1e-4, 1e-6])
def test_thin_components_are_halved_in_single_precision(thinnest):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    inverse = np.array([1 / thinnest, 10.0, 2.0])
    precision = (turn * inverse**2) @ turn.T
    lower = np.linalg.cholesky(precision)
    offset, half = jax.jit(halved)(jnp.asarray(lower[None], jnp.float32))
    assert np.all(np.isfinite(half)) and np.array_equal(half, np.tril(half)) and np.all(np.diagonal(half[0]) > 0)
    singular = np.linalg.svd(np.asarray(half[0], float), compute_uv=False)
    # float32 keeps what is below 1e-7 of the largest entry no better
    least = 1e-6 / thinnest
    assert_allclose(singular, [*inverse[:2], inverse[2] / HALF_WIDTH], rtol=1e-4, atol=least)
    if thinnest > 1e-5:
        assert_allclose(np.abs(offset[0]), np.abs(HALF_OFFSET / inverse[2] * turn[:, 2]), rtol=0.05, atol=0.01)


@pytest.fixture
def disc() -> np.ndarray:
    """Two views of 32 x 32 pixels of a disc of radius 13."""
    row, column = np.mgrid[:32, :32] - 15.5
    return np.tile((np.hypot(row, column) < 13.0).astype(float), (2, 1, 1))


def blurred(disc: np.ndarray) -> np.ndarray:
    """The disc as a fit shows it: an edge of a pixel or two."""
    row, column = np.mgrid[:32, :32] - 15.5
    return np.broadcast_to(1.0 / (1.0 + np.exp(2.0 * (np.hypot(row, column) - 13.0))), disc.shape)


def test_clean_masks_are_believed(disc):
    assert believed(blurred(disc), disc).all()
    assert believed(disc, disc).all()
    assert believed(np.zeros_like(disc), disc).all(), "what the fit lacks is no reason to doubt"


def test_removed_blocks_are_found(disc):
    damaged = disc.copy()
    damaged[0, 12:20, 10:18] = 0.0
    doubted = ~believed(blurred(disc), damaged)
    expected = np.zeros(disc.shape, bool)
    expected[0, 12:20, 10:18] = True
    assert np.array_equal(doubted, expected)


def test_a_removed_side_is_found_up_to_its_edge(disc):
    damaged = disc.copy()
    damaged[1, :, 18:] = 0.0
    doubted = ~believed(blurred(disc), damaged)
    removed = (disc > damaged)[1]
    assert not doubted[0].any()
    assert doubted[1][removed].mean() > 0.95 and not doubted[1][damaged[1] > 0.5].any()
    # beyond the true outline as far as the fit is above 0.1, 1.1 pixels, and half a pixel for the grid
    row, column = np.mgrid[:32, :32] - 15.5
    assert not doubted[1][np.hypot(row, column) > 13.0 + 1.6].any()


def test_single_pixels_and_thin_lines_are_believed(disc):
    damaged = disc.copy()
    damaged[0, 16, 16] = damaged[0, 10, 12] = 0.0
    damaged[0, 22:24, :] = 0.0
    damaged[1, :, 9] = 0.0
    damaged[1, 12:15, 16:19] = 0.0  # 9 of 25 pixels
    assert believed(blurred(disc), damaged).all()


def test_each_view_is_judged_alone():
    # the same single pixel in every view is no patch
    silhouette = np.ones((30, 9, 9))
    silhouette[:, 4, 4] = 0.0
    assert believed(np.ones((30, 9, 9)), silhouette).all()
    silhouette[3] = 0.0
    doubted = ~believed(np.ones((30, 9, 9)), silhouette)
    assert doubted[3, 1:-1, 1:-1].all() and not np.delete(doubted, 3, axis=0).any()
