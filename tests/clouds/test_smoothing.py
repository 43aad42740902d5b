"""Noisy points nearer to their surface, clean ones where they were."""

import numpy as np
import pytest

from fmb.clouds.evidence import examine
from fmb.clouds.smoothing import FEWEST, MOST, patch_size, smoothed


def noisy_ball(noise: float, count: int = 3000) -> np.ndarray:
    generator = np.random.default_rng(2)
    points = generator.normal(size=(count, 3))
    points *= 0.5 / np.linalg.norm(points, axis=1, keepdims=True)
    return points + noise * generator.normal(size=points.shape)


@pytest.mark.parametrize(("noise", "rest"), [(0.02, 0.008), (0.05, 0.02)])
def test_smoothed_points_are_nearer_to_their_surface(noise, rest):
    points = noisy_ball(noise)
    evidence = examine(points, np.random.default_rng(0))
    error = np.abs(np.linalg.norm(smoothed(points, evidence), axis=1) - 0.5)
    assert np.mean(np.abs(np.linalg.norm(points, axis=1) - 0.5)) > 1.9 * rest
    assert error.mean() < rest
    assert FEWEST <= patch_size(evidence) <= MOST


def test_clean_points_and_few_points_stay():
    points = noisy_ball(0.0)
    evidence = examine(points, np.random.default_rng(0))
    assert smoothed(points, evidence) is points
    few = points[:30]
    assert smoothed(few, evidence._replace(noise=0.1)) is few
