"""Points of mixtures whose distribution and surface are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fm_render import Mixture
from fmb.fields.points import Cloud, cloud_to_world, surface_points, volume_points
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.frames import Frame


def ball(log_weight: float = 8.0) -> Mixture:
    """One component of standard deviation 0.2 about (0.1, 0, 0)."""
    return Mixture(jnp.array([[0.1, 0.0, 0.0]]), 5.0 * jnp.eye(3)[None], jnp.array([log_weight]))


def test_volume_points_are_those_of_the_density():
    cloud = volume_points(ball(), 20_000, np.random.default_rng(0))
    assert cloud.point.shape == (20_000, 3) and cloud.normal is None
    # five standard errors
    assert_allclose(cloud.point.mean(axis=0), [0.1, 0.0, 0.0], atol=5 * 0.2 / np.sqrt(20_000))
    assert_allclose(np.cov(cloud.point.T), 0.04 * np.eye(3), atol=5 * 0.04 * np.sqrt(2 / 20_000))
    again = volume_points(ball(), 20_000, np.random.default_rng(0))
    np.testing.assert_array_equal(cloud.point, again.point)


def test_surface_points_lie_where_rays_are_densest():
    cameras = orbit_cameras(3, 3.0, pinhole_intrinsics(24, 32, 45.0))
    cloud = surface_points(ball(), cameras, (24, 32), jnp.array([[0.2, 0.4, 0.6]]))
    assert len(cloud.point) == len(cloud.normal) == len(cloud.color) > 100
    assert_allclose(np.linalg.norm(cloud.normal, axis=1), 1.0, atol=1e-12)
    assert_allclose(cloud.color, np.tile([0.2, 0.4, 0.6], (len(cloud.color), 1)), atol=1e-12)
    # Eq. 6: the ray is orthogonal to what leads from the middle of a round component to its hit
    offset = cloud.point - [0.1, 0.0, 0.0]
    camera = np.asarray(cameras.world_from_camera)[:, :3, 3]
    cosine = np.einsum("pi,cpi->cp", offset, cloud.point - camera[:, None])
    assert_allclose(np.abs(cosine).min(axis=0), 0.0, atol=1e-9)
    assert np.linalg.norm(offset, axis=1).max() < 0.2 * np.sqrt(2 * (8.0 - np.log(np.log(10.0)))) + 1e-9
    towards = np.einsum("pi,cpi->cp", cloud.normal, camera[:, None] - cloud.point)
    assert np.all(towards.max(axis=0) > 0)


def test_points_return_to_the_world():
    frame = Frame(np.array([1.0, 2.0, 3.0]), np.asarray(2.0))
    cloud = Cloud(np.ones((2, 3)), np.zeros((2, 3)))
    assert_allclose(cloud_to_world(cloud, frame).point, [[3.0, 4.0, 5.0]] * 2)
    assert cloud_to_world(cloud, frame).normal is cloud.normal


def test_errors():
    with pytest.raises(ValueError, match="number of points 0: must be at least 1"):
        volume_points(ball(), 0, np.random.default_rng(0))
    cameras = orbit_cameras(2, 3.0, pinhole_intrinsics(8, 8, 45.0))
    with pytest.raises(ValueError, match=r"no pixel of 2 views has an alpha above 0\.9"):
        surface_points(ball(-3.0), cameras, (8, 8))
