"""The sensor's noise against the laws it is made from."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import pinhole_intrinsics
from fmb.pose.simulation import (
    AXIAL,
    DAMAGE,
    DISPARITY_STEP,
    FOCAL_BASELINE,
    METRES_PER_SCALE,
    SENSOR_NOISES,
    Exposure,
    axial,
    beside_edge,
    disparity,
    edges,
    grazing,
    incidence,
    lateral,
    mask,
    simulate_sensor,
)

HEIGHT, WIDTH = 60, 80
INTRINSICS = pinhole_intrinsics(HEIGHT, WIDTH, 45.0)


def wall(distance: float, degrees: float = 0.0, scale: float = 1.0) -> Exposure:
    """A plane that fills the image, turned about the image's vertical, `distance` away in its middle."""
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    ray = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(INTRINSICS).T
    normal = Rotation.from_euler("y", degrees, degrees=True).as_matrix()[:, 2]
    depth = distance * normal[2] / (ray @ normal)
    depth[(depth < 0.0) | (depth > 4.0 * distance)] = np.nan  # towards its horizon
    return Exposure(depth, np.ones((HEIGHT, WIDTH)), INTRINSICS, scale)


def ball() -> Exposure:
    """A ball of radius 0.6 at distance 3, as an object in its canonical frame."""
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    ray = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(INTRINSICS).T
    along, square = 3.0 * ray[..., 2], np.sum(ray**2, axis=-1)
    inside = along**2 - square * (9.0 - 0.36)
    depth = np.where(inside > 0, (along - np.sqrt(np.maximum(inside, 0))) / square, np.nan)
    return Exposure(depth, np.isfinite(depth).astype(float), INTRINSICS)


@pytest.mark.parametrize("degrees", [0.0, 35.0, 62.0])
def test_incidence_of_a_plane(degrees):
    exposure = wall(3.0, degrees)
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    ray = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(INTRINSICS).T
    normal = Rotation.from_euler("y", degrees, degrees=True).as_matrix()[:, 2]
    expected = np.where(np.isnan(exposure.depth), np.nan, np.arccos(ray @ normal / np.linalg.norm(ray, axis=-1)))
    # near 0 the arc cosine keeps half of the digits
    np.testing.assert_allclose(incidence(exposure.depth, INTRINSICS), expected, atol=1e-7)


def test_incidence_where_nothing_is_known():
    depth = np.full((5, 5), np.nan)
    depth[2, 2] = 1.0
    assert np.isnan(incidence(depth, INTRINSICS)).all()
    ball_angle = incidence(ball().depth, INTRINSICS)
    assert np.nanmin(ball_angle) < 0.1 and np.nanmax(ball_angle) > np.deg2rad(70)


def test_axial_deviation_grows_with_the_square_of_depth():
    deviations = {}
    for distance in (2.0, 4.0, 8.0):
        error = axial(wall(distance), np.random.default_rng(0)).depth - distance
        deviations[distance] = error.std()
        # 4,800 pixels: the deviation is known to 1 %, here to four of these
        expected = AXIAL * METRES_PER_SCALE * distance**2
        assert error.std() == pytest.approx(expected, rel=0.04)
        assert abs(error.mean()) < 4 * expected / np.sqrt(error.size)
    assert deviations[8.0] / deviations[2.0] == pytest.approx(16.0, rel=0.06)
    # in metres: half a scale of 0.3 m in units of metres is the same sensor
    one = axial(wall(3.0), np.random.default_rng(0)).depth
    metres = axial(wall(0.9, scale=METRES_PER_SCALE), np.random.default_rng(0)).depth
    np.testing.assert_allclose(metres, METRES_PER_SCALE * one, rtol=1e-12)


def test_axial_deviation_grows_at_grazing_incidence():
    flat, steep = (wall(3.0, degrees) for degrees in (0.0, 75.0))
    errors = [axial(exposure, np.random.default_rng(0)).depth - exposure.depth for exposure in (flat, steep)]
    middle = (slice(None), slice(36, 44))
    assert np.isfinite(errors[1][middle]).all() and errors[1][middle].std() > 2.0 * errors[0][middle].std()


def test_lateral_noise_follows_the_slope():
    assert np.ptp(lateral(wall(3.0), np.random.default_rng(0)).depth) == 0.0
    tilted = wall(3.0, 45.0)
    error = (lateral(tilted, np.random.default_rng(0)).depth - tilted.depth)[:, 38:42]
    # at 45 degrees depth changes by as much as the shift, 0.8 + 0.035 of the sensor's pixels of 3 / 585 each
    assert error.std() == pytest.approx(3.0 * (0.8 + 0.035) / 585.0, rel=0.2)


def test_disparities_lie_on_the_lattice():
    tilted = wall(3.0, 50.0)
    found = disparity(tilted, np.random.default_rng(0))
    steps = FOCAL_BASELINE / found.metres / DISPARITY_STEP
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    error = np.abs(FOCAL_BASELINE / found.metres - FOCAL_BASELINE / tilted.metres)
    assert error.max() <= DISPARITY_STEP / 2 + 1e-9
    assert len(np.unique(found.depth)) > 10
    coarse = disparity(tilted, np.random.default_rng(0), 4.0)
    error = np.abs(FOCAL_BASELINE / coarse.metres - FOCAL_BASELINE / tilted.metres)
    assert DISPARITY_STEP < error.max() <= 2 * DISPARITY_STEP + 1e-9


@pytest.mark.parametrize(("degrees", "share"), [(50.0, 0.0), (75.0, 0.5), (88.0, 1.0)])
def test_grazing_returns_get_lost(degrees, share):
    exposure = wall(3.0, degrees)
    lost = np.isnan(grazing(exposure, np.random.default_rng(0)).depth)
    angle = np.rad2deg(incidence(exposure.depth, INTRINSICS))
    near = np.abs(angle - degrees) < 2.0
    assert near.sum() > 100
    assert lost[near].mean() == pytest.approx(share, abs=0.1)


def test_half_of_the_edge_gets_lost():
    exposure = ball()
    found = edges(exposure, np.random.default_rng(0))
    beside = beside_edge(exposure.depth, INTRINSICS)
    lost = np.isnan(found.depth) & np.isfinite(exposure.depth)
    assert not lost[~beside].any()
    assert 0.35 < lost[beside].mean() < 0.65
    step = wall(3.0).depth
    step[:, 40:] = 3.5
    columns = np.flatnonzero(beside_edge(step, INTRINSICS).any(axis=0))
    assert columns.tolist() == [39, 40]


def test_the_mask_loses_its_share_and_depth_with_it():
    exposure = ball()
    found = mask(exposure, np.random.default_rng(3))
    lost = (exposure.silhouette > 0) & (found.silhouette == 0)
    assert 0.3 * DAMAGE < lost.sum() / exposure.silhouette.sum() < 3.0 * DAMAGE
    assert np.isnan(found.depth[lost]).all()
    np.testing.assert_array_equal(np.isnan(found.depth[~lost]), np.isnan(exposure.depth[~lost]))


def test_everything_together_is_seeded_and_harmless_at_strength_0():
    exposure = ball()
    first, again = (simulate_sensor(exposure, np.random.default_rng(5)) for _ in range(2))
    other = simulate_sensor(exposure, np.random.default_rng(6))
    np.testing.assert_array_equal(first.depth, again.depth)
    assert not np.array_equal(first.depth, other.depth, equal_nan=True)
    none = simulate_sensor(exposure, np.random.default_rng(5), 0.0)
    np.testing.assert_array_equal(none.depth, exposure.depth)
    seen = np.isfinite(first.depth)
    # nothing appears where there was nothing, most of the ball is still measured, to a few per cent of its scale
    assert not seen[np.isnan(exposure.depth)].any()
    assert 0.6 < seen.sum() / np.isfinite(exposure.depth).sum() < 0.95
    error = np.abs(first.depth - exposure.depth)[seen]
    assert 0.001 < np.median(error) < 0.01
    assert np.isfinite(first.silhouette).all()


@pytest.mark.parametrize("name", SENSOR_NOISES)
def test_an_empty_image_stays_empty(name):
    empty = Exposure(np.full((8, 8), np.nan), np.zeros((8, 8)), INTRINSICS)
    found = SENSOR_NOISES[name](empty, np.random.default_rng(0))
    assert np.isnan(found.depth).all() and not found.silhouette.any()


def test_messages():
    with pytest.raises(ValueError, match="strength -1.0 of the sensor's noise; must be at least 0"):
        simulate_sensor(ball(), np.random.default_rng(0), -1.0)
    with pytest.raises(ValueError, match="scale 0.0 of the object; must be positive"):
        simulate_sensor(ball()._replace(scale=0.0), np.random.default_rng(0))
