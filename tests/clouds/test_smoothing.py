"""Noisy points nearer to their surface, clean ones where they were."""

import numpy as np

from fmb.clouds.evidence import examine
from fmb.clouds.smoothing import FEWEST, MOST, patch_size, smoothed


def noisy_ball(noise: float, count: int = 12_000) -> np.ndarray:
    generator = np.random.default_rng(2)
    points = generator.normal(size=(count, 3))
    points *= 0.5 / np.linalg.norm(points, axis=1, keepdims=True)
    return points + noise * generator.normal(size=points.shape)


def test_smoothed_points_are_nearer_to_their_surface():
    points = noisy_ball(0.05)
    evidence = examine(points)
    error = np.abs(np.linalg.norm(smoothed(points, evidence), axis=1) - 0.5)
    assert np.mean(np.abs(np.linalg.norm(points, axis=1) - 0.5)) > 0.038
    assert error.mean() < 0.015
    assert FEWEST <= patch_size(evidence) <= MOST


def test_clean_points_and_few_points_stay():
    points = noisy_ball(0.01, 3000)  # a third of what they are apart
    evidence = examine(points)
    assert smoothed(points, evidence) is points
    few = points[:30]
    assert smoothed(few, evidence._replace(noise=0.1)) is few
