"""The noise of a depth image, told from its own windows, and what it is for: which points are wrong."""

import numpy as np
import pytest

from fmb.pose.noise import beside_quadrics, depth_noise
from fmb.pose.observation import observed_pixels
from fmb.pose.refinement import blocks_of, dispersion, matched, measured_points, surface_of
from fmb.pose.verification import CLOSE, NOISES, agreement, evidence_of, tolerance
from tests.pose_scene import camera_at, lopsided_mixture, observe


def slanted(size: int, unit: float = 1.0) -> np.ndarray:
    """Depths of a slanted plane, whose inverses are linear in the image."""
    row, column = np.indices((size, size)) / size
    return unit / (0.4 + 0.1 * row - 0.05 * column)


@pytest.mark.parametrize(("size", "unit"), [(30, 1.0), (80, 700.0)])
def test_noise_of_a_plane_is_found_in_its_unit(size, unit):
    seen, generator = np.ones((size, size), bool), np.random.default_rng(0)
    depth = slanted(size, unit)
    assert depth_noise(depth, seen) < 1e-12 * unit
    noise = 0.004 * unit * generator.normal(size=depth.shape)
    assert depth_noise(depth + noise, seen) == pytest.approx(0.004 * unit, rel=0.1)
    bent = depth + 0.5 * unit * (np.hypot(*np.indices(depth.shape)) / size) ** 2  # a bowl adds nothing
    assert depth_noise(bent + noise, seen) == pytest.approx(0.004 * unit, rel=0.1)
    depth[:, size // 2 :] += unit  # nor does a step in depth, which few windows see
    assert depth_noise(depth + noise, seen) == pytest.approx(0.004 * unit, rel=0.15)


def test_too_little_tells_nothing():
    seen = np.zeros((30, 30), bool)
    assert depth_noise(slanted(30), seen) == 0.0
    seen[3:7] = True  # narrower than a window
    assert depth_noise(slanted(30), seen) == 0.0
    rest = beside_quadrics(5)
    np.testing.assert_allclose(rest @ rest, rest, atol=1e-12)
    assert np.trace(rest) == pytest.approx(25 - 6)


def test_what_counts_as_wrong_follows_the_noise():
    assert tolerance(0.0, 2.0) == 2.0 * CLOSE and tolerance(0.1, 2.0) == pytest.approx(0.1 * NOISES)
    seen = observe(lopsided_mixture(), camera_at(np.zeros(3)), np.random.default_rng(0), 0.03)
    pixels = observed_pixels(seen, 1.0)
    evidence = evidence_of(seen, pixels, 1.0)
    assert 0.02 < evidence.noise < 0.06  # the balls' edges add some
    points = measured_points(seen) @ camera_at(np.zeros(3))[:3, :3].T + camera_at(np.zeros(3))[:3, 3]
    surface = surface_of(points, np.tile([0.0, 0.0, -1.0], (len(points), 1)))
    shifted = camera_at(np.zeros(3))
    shifted[2, 3] += 0.06  # a little over two deviations
    strict = agreement(surface, evidence._replace(noise=0.0), shifted, 1.0)
    assert agreement(surface, evidence, shifted, 1.0).off < 0.6 * strict.off


def test_noise_that_neighbours_share_tells_less():
    row, column = np.indices((40, 40)).reshape(2, -1) / 20.0 - 1.0
    plane = np.stack([column, row, np.zeros_like(row)], axis=1)
    surface, pose = surface_of(plane, np.tile([0.0, 0.0, -1.0], (len(plane), 1))), np.eye(4)
    pose[2, 3] = -3.0
    generator = np.random.default_rng(0)
    alone = generator.normal(size=(40, 40))
    shared = np.kron(generator.normal(size=(8, 8)), np.ones((5, 5)))
    found = []
    for noise in (alone, shared):
        points = plane - pose[:3, 3] + 0.01 * noise.reshape(-1, 1) * [0.0, 0.0, 1.0]
        pairs = matched(surface, points, pose, 0.2)
        weight = np.full(len(pairs.distance), 1e4)
        information = np.einsum("ni,n,nj->ij", pairs.slope, weight, pairs.slope) + 1e-6 * np.eye(6)
        found.append(dispersion(pairs, weight, information, blocks_of(points)[pairs.kept]))
    assert 1.0 <= found[0] < 2.0 and 12.0 < found[1] < 50.0  # 25 pixels share an error
