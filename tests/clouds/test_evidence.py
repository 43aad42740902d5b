"""What a cloud says of itself, and the body that it encloses, where both are known."""

import numpy as np
import pytest
import trimesh

from fmb.clouds.choice import choose_method
from fmb.clouds.enclosure import certain_places, enclose, inner_points
from fmb.clouds.evidence import bare_share, examine


def ball(count: int, noise: float = 0.0, radius: float = 0.4, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True) + noise * generator.normal(size=(count, 3))


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.05])
def test_noise_and_spacing_of_a_sphere(noise):
    found = examine(ball(6_000, noise))
    assert found.noise == pytest.approx(noise, rel=0.3)
    if noise < 0.005:
        assert found.spacing == pytest.approx(np.sqrt(4 * np.pi * 0.4**2 / 6_000), rel=0.05)
    assert examine(ball(6_000)).noise < 1e-4


@pytest.mark.parametrize("noise", [0.015, 0.03])
def test_noise_of_sparse_points(noise):
    found = examine(ball(500, noise))
    assert found.spacing > 0.04 and found.noise == pytest.approx(noise, rel=0.3)
    assert examine(ball(500)).noise < 0.003


def test_strays_go_and_the_sparser_of_two_scans_stays():
    generator = np.random.default_rng(0)
    dense, sparse = ball(4_000), ball(500, seed=1)
    dense, sparse = dense[dense[:, 0] > 0], sparse[sparse[:, 0] < 0]
    strays = generator.uniform(-0.5, 0.5, (200, 3))
    strays = strays[np.abs(np.linalg.norm(strays, axis=1) - 0.4) > 0.08]
    found = examine(np.concatenate([dense, sparse, strays]))
    lost = ~found.kept
    assert lost[: len(dense) + len(sparse)].mean() < 0.01 and lost[-len(strays) :].mean() > 0.7
    # a point of the sparse half stands for a larger area, so both halves count alike
    share = found.area / found.area.sum()
    assert share[: len(dense)].sum() == pytest.approx(0.5, abs=0.08)


def test_share_of_a_surface_without_points():
    sphere = trimesh.creation.icosphere(4, 0.4)
    points = ball(4_000)
    half = points[points[:, 2] > 0.0]
    spacing = examine(half).spacing
    # by Archimedes a band of the sphere has the area of its height; points reach three spacings past the rim
    expected = (0.4 - 3.0 * spacing) / 0.8
    assert bare_share(sphere, half, spacing, np.random.default_rng(0)) == pytest.approx(expected, abs=0.02)
    assert bare_share(sphere, points, spacing, np.random.default_rng(0)) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("opening", [1.0, 0.9])  # closed, and a pot with a mouth of radius 0.17
def test_the_body_of_a_sphere_is_found_even_where_it_is_open(opening):
    points, generator = ball(5_000), np.random.default_rng(0)
    points = points[points[:, 2] < 0.4 * opening]
    found = enclose(points, examine(points), generator)
    assert found.flooded < 0.02
    volume = np.count_nonzero(found.depth > 0.0) * found.side**3
    cap = 0.4 * (1.0 - opening)
    expected = np.pi * (4 / 3 * 0.4**3 - cap**2 * (0.4 - cap / 3))
    assert volume == pytest.approx(expected, rel=0.08)
    inside = inner_points(found, 500, generator)
    assert np.linalg.norm(inside, axis=1).max() < 0.4 + 2 * found.side
    places, depth = certain_places(found, 2_000, generator)
    true = 0.4 - np.linalg.norm(places, axis=1)
    shown = places[:, 2] < 0.4 * opening  # what lies beyond the mouth is a matter of taste
    # in one of 5,000 random points' voids the balloon may dip by a cell
    assert np.mean(depth[shown] * true[shown] > 0.0) > 0.998
    assert np.mean(np.abs(depth[shown]) <= np.abs(true[shown]) + found.side) > 0.998


def test_a_ring_keeps_its_hole():
    mesh, generator = trimesh.creation.torus(0.35, 0.12), np.random.default_rng(0)
    points = np.asarray(trimesh.sample.sample_surface(mesh, 5_000, seed=0)[0])
    found = enclose(points, examine(points), generator)
    middle = len(found.depth) // 2
    assert found.depth[middle, middle, middle] < 0.0
    assert np.count_nonzero(found.depth > 0.0) * found.side**3 == pytest.approx(mesh.volume, rel=0.1)


@pytest.mark.parametrize(
    ("points", "method", "words"),
    [(ball(3_000), "diff_cd", "details"), (ball(3_000, 0.05), "metaballs", "noise"), (ball(150), "metaballs", "apart")],
)
def test_the_method_that_a_cloud_calls_for(points, method, words):
    choice = choose_method(examine(points))
    assert choice.method == method and words in choice.reason
