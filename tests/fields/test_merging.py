"""Merged components keep mass, middle and spread, and look alike."""

import numpy as np
from numpy.testing import assert_allclose

from fm_render import Mixture
from fmb.fields.merging import merge_mixture


def shell(count: int) -> tuple[Mixture, np.ndarray]:
    """Small round components on an ellipsoid, coloured by their place."""
    point = np.random.default_rng(0).normal(size=(count, 3))
    point *= [1.0, 0.6, 0.4] / np.linalg.norm(point, axis=1, keepdims=True)
    return Mixture(point, np.tile(20.0 * np.eye(3), (count, 1, 1)), np.full(count, 0.5)), 0.5 + 0.5 * point


def covariance(mixture: Mixture) -> np.ndarray:
    return np.linalg.inv(mixture.precision_cholesky @ np.swapaxes(mixture.precision_cholesky, 1, 2))


def shadow(mixture: Mixture, axes: list[int]) -> np.ndarray:
    """Alpha along parallel rays: the least distance to a component along a ray is that to its shadow."""
    place = np.stack(np.meshgrid(*[np.linspace(-1.3, 1.3, 40)] * 2), axis=-1).reshape(-1, 1, 2)
    flat = np.linalg.inv(covariance(mixture)[:, axes][:, :, axes])
    offset = place - np.asarray(mixture.mean)[:, axes]
    square = np.einsum("pki,kij,pkj->pk", offset, flat, offset)
    return 1.0 - np.exp(-np.exp(np.asarray(mixture.log_weight) - square / 2).sum(axis=1))


def test_equal_balls_become_one_of_the_same_moments():
    offset = np.array([4e5, 5e6, 200.0])
    mixture = Mixture(np.eye(3) + offset, np.tile(2.0 * np.eye(3), (3, 1, 1)), np.zeros(3))
    merged, color = merge_mixture(mixture, np.eye(3), 1)
    assert_allclose(merged.mean[0] - offset, 1 / 3, atol=1e-8)
    spread = np.cov(np.eye(3), bias=True) + np.eye(3) / 4
    assert_allclose(covariance(merged)[0], spread, atol=1e-8)
    assert_allclose(color, 1 / 3)
    # three balls of radius 1/2 throw three times the shadow of one; the merged one is larger, so lighter
    a, b, c = np.sqrt(np.linalg.eigvalsh(spread)) ** 1.6075
    assert_allclose(np.exp(merged.log_weight[0]), 3 / 4 / ((a * b + a * c + b * c) / 3) ** (1 / 1.6075), rtol=1e-9)


def test_a_tenth_of_the_components_looks_alike():
    mixture, color = shell(2000)
    merged, _ = merge_mixture(mixture, color, 200)
    assert len(merged.mean) == 200
    for axes in ([0, 1], [0, 2], [1, 2]):
        before, after = shadow(mixture, axes), shadow(merged, axes)
        assert np.minimum(before, after).sum() > 0.97 * np.maximum(before, after).sum()


def test_nothing_is_merged_that_is_few_and_nothing_split_that_is_one():
    mixture, color = shell(5)
    assert merge_mixture(mixture, color, 5)[0] is mixture
    same = mixture._replace(mean=np.zeros((5, 3)))
    merged, _ = merge_mixture(same, color, 3)
    assert len(merged.mean) == 1 and np.isclose(np.exp(merged.log_weight[0]), 5 * np.exp(0.5))


def test_components_of_sizes_that_squares_do_not_hold():
    mean = np.random.default_rng(1).normal(size=(40, 3))
    scale = np.exp(np.where(np.arange(40) % 2, -299.0, -1.0))[:, None] * np.ones(3)
    scale[0, 2] = 1e-8 * scale[0, 0]
    mixture = Mixture(mean, np.eye(3) / scale[:, :, None], np.zeros(40))
    for part in (mixture, Mixture(*(field[1::2] for field in mixture))):  # large and tiny ones, tiny ones alone
        merged, color = merge_mixture(part, np.zeros((len(part.mean), 3)), 10)
        assert len(merged.mean) == 10 and all(np.isfinite(field).all() for field in (*merged, color))
