"""Depth of the surface of balls, whose size is known in closed form."""

import jax.numpy as jnp
import numpy as np

from fm_render import Mixture
from fmb.fields.looks import surface_depth
from fmb.geometry.cameras import look_at, pinhole_intrinsics, pixel_rays, random_cameras

HEIGHT, WIDTH = 12, 16
INTRINSICS = pinhole_intrinsics(HEIGHT, WIDTH, 30.0)


def ball(centre: list[float], spread: float, log_weight: float) -> Mixture:
    return Mixture(jnp.array([centre]), jnp.eye(3)[None] / spread, jnp.array([log_weight]))


def sphere_depth(cameras, centre: list[float], radius: float) -> np.ndarray:
    origin, direction = (np.asarray(field) for field in pixel_rays(cameras, HEIGHT, WIDTH))
    offset, square = origin - np.array(centre), np.sum(direction**2, axis=-1)
    along = np.sum(offset * direction, axis=-1)
    inside = along**2 - square * (np.sum(offset**2, axis=-1) - radius**2)
    return np.where(inside > 0, (-along - np.sqrt(np.maximum(inside, 0))) / square, np.nan)


def test_a_ball_is_a_sphere():
    cameras = random_cameras(np.random.default_rng(0), 3, 3.0, INTRINSICS)
    centre, spread, log_weight = [0.1, -0.2, 0.05], 0.2, 2.0
    radius = spread * np.sqrt(2.0 * (log_weight - np.log(np.log(2.0))))
    found = surface_depth(ball(centre, spread, log_weight), cameras, (HEIGHT, WIDTH))
    expected = sphere_depth(cameras, centre, radius)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 100 and np.mean(np.isfinite(found) != np.isfinite(expected)) < 0.02
    np.testing.assert_allclose(found[both], expected[both], atol=1e-5)


def test_the_nearer_of_two_is_seen_and_too_thin_is_nothing():
    pose = look_at([0.0, 0.0, -3.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])[None]
    cameras = random_cameras(np.random.default_rng(0), 1, 3.0, INTRINSICS)._replace(world_from_camera=pose)
    near, far = ball([0.3, 0.0, -0.5], 0.1, 3.0), ball([0.0, 0.0, 0.5], 0.2, 1.0)
    both = Mixture(*(jnp.concatenate(pair) for pair in zip(near, far, strict=True)))
    depth = surface_depth(both, cameras, (HEIGHT, WIDTH))[0]
    radius = 0.1 * np.sqrt(2.0 * (3.0 - np.log(np.log(2.0))))
    assert np.isclose(np.nanmin(depth), 2.5 - radius, atol=0.02)  # no pixel is right in the middle
    assert np.nanmax(depth) > 2.9  # around it the other one
    assert np.isnan(surface_depth(ball([0.0, 0.0, 0.0], 0.2, -2.0), cameras, (HEIGHT, WIDTH))).all()
