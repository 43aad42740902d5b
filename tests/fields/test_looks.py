"""Models as cameras see them: images, errors, and the surface of balls, whose size is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from fm_render import Mixture, render
from fmb.fields import depths
from fmb.fields.depths import surface_depth
from fmb.fields.looks import RENDERED, evaluate, look, measure, shown
from fmb.geometry.cameras import Cameras, look_at, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.metrics import cross_entropy, depth_mae, iou
from fmb.geometry.views import Images, Views, select_views
from tests.datasets import sphere_depth

SIZE = (9, 12)


@pytest.fixture
def mixture() -> Mixture:
    """Three components around the middle."""
    generator = np.random.default_rng(0)
    lower = np.tril(generator.normal(size=(3, 3, 3)))
    lower[:, range(3), range(3)] = generator.uniform(3.0, 6.0, (3, 3))
    return Mixture(jnp.array(0.2 * generator.normal(size=(3, 3))), jnp.array(lower), jnp.array([0.0, 1.0, 2.0]))


@pytest.fixture
def cameras() -> Cameras:
    """Three cameras."""
    return random_cameras(np.random.default_rng(1), 3, 3.0, pinhole_intrinsics(*SIZE, 40.0))


@pytest.fixture
def views(cameras) -> Views:
    """What they saw, with depth and pixels that say nothing."""
    generator = np.random.default_rng(2)
    silhouette = (generator.uniform(size=(3, *SIZE)) > 0.4).astype(float)
    depth = np.where(silhouette > 0.5, generator.uniform(2.0, 4.0, size=silhouette.shape), np.nan)
    return Views(cameras, silhouette, depth, generator.uniform(size=silhouette.shape) > 0.2)


def test_depth_of_many_components_goes_in_blocks(mixture, cameras, monkeypatch):
    """The same depths, whatever the number of rays that are looked at together."""
    whole = surface_depth(mixture, cameras, SIZE)
    monkeypatch.setattr(depths, "MOST_PAIRS", 3 * 40)
    jax.clear_caches()
    assert_allclose(surface_depth(mixture, cameras, SIZE), whole, rtol=1e-9)
    jax.clear_caches()
    assert np.isfinite(whole).any()


def test_look_is_the_renderer(mixture, cameras):
    images = look(mixture, cameras, SIZE)
    expected = jax.jit(render)(mixture, pixel_rays(cameras, *SIZE))
    assert images.alpha.shape == images.depth.shape == (3, *SIZE) and images.color is None
    assert isinstance(images.alpha, np.ndarray)
    assert_allclose(images.alpha, expected.alpha, rtol=1e-12, atol=1e-15)
    assert_allclose(images.depth, expected.depth, rtol=1e-12)


def test_look_takes_the_precision_of_the_mixture(mixture, cameras):
    single = Mixture(*(jnp.asarray(field, jnp.float32) for field in mixture))
    images = look(single, cameras, SIZE)
    assert images.alpha.dtype == images.depth.dtype == np.float32
    assert_allclose(images.alpha, look(mixture, cameras, SIZE).alpha, atol=1e-5)


def test_depth_is_shown_where_something_is_to_be_seen():
    alpha, depth = np.array([[[0.0, 0.49, 0.5, 1.0]]]), np.array([[[1.0, 2.0, 3.0, 4.0]]])
    images = shown(Images(alpha, depth), 10.0)
    assert np.array_equal(images.depth, [[[np.nan, np.nan, 30.0, 40.0]]], equal_nan=True)
    assert np.array_equal(images.alpha, alpha)
    thin = shown(Images(0.2 * alpha, depth), 1.0)
    assert np.array_equal(thin.depth, [[[np.nan, np.nan, 3.0, 4.0]]], equal_nan=True)
    assert np.isnan(shown(Images(0.0 * alpha, depth), 1.0).depth).all()


def test_errors_are_those_of_the_metrics(mixture, cameras, views):
    images = look(mixture, cameras, SIZE)
    errors = measure(images, views, 7.0)
    assert errors == {
        "cross_entropy": cross_entropy(images.alpha, views.silhouette, views.valid),
        "iou": iou(images.alpha, views.silhouette, views.valid),
        "depth_mae": 7.0 * depth_mae(images.depth, views.depth, images.alpha, views.valid),
    }
    assert all(np.isfinite(error) for error in errors.values())
    everything = measure(images, views._replace(depth=None, valid=None), 7.0)
    assert everything == {
        "cross_entropy": cross_entropy(images.alpha, views.silhouette),
        "iou": iou(images.alpha, views.silhouette),
    }


def test_sets_of_views_by_name(mixture, views):
    parts = {"train": select_views(views, slice(2)), "novel": select_views(views, slice(2, None))}
    seen, errors = evaluate(mixture, parts, 2.0)
    assert list(seen) == list(errors) == ["train", "novel"]
    for name, part in parts.items():
        assert np.array_equal(seen[name].alpha, look(mixture, part.cameras, SIZE).alpha)
        rendered = measure(look(mixture, part.cameras, SIZE), part, 2.0)
        assert errors[name] == measure(seen[name], part, 2.0) | {RENDERED: rendered["depth_mae"]}


LENS = pinhole_intrinsics(12, 16, 30.0)


def ball(centre: list[float], spread: float, log_weight: float) -> Mixture:
    return Mixture(jnp.array([centre]), jnp.eye(3)[None] / spread, jnp.array([log_weight]))


def test_a_ball_is_a_sphere():
    cameras = random_cameras(np.random.default_rng(0), 3, 3.0, LENS)
    centre, spread, log_weight = [0.1, -0.2, 0.05], 0.2, 2.0
    radius = spread * np.sqrt(2.0 * (log_weight - np.log(np.log(2.0))))
    found = surface_depth(ball(centre, spread, log_weight), cameras, (12, 16))
    expected = sphere_depth(cameras, (12, 16), centre, radius)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 100 and np.mean(np.isfinite(found) != np.isfinite(expected)) < 0.02
    np.testing.assert_allclose(found[both], expected[both], atol=1e-5)


def test_the_nearer_of_two_is_seen_and_too_thin_is_nothing():
    pose = look_at([0.0, 0.0, -3.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])[None]
    cameras = random_cameras(np.random.default_rng(0), 1, 3.0, LENS)._replace(world_from_camera=pose)
    near, far = ball([0.3, 0.0, -0.5], 0.1, 3.0), ball([0.0, 0.0, 0.5], 0.2, 1.0)
    both = Mixture(*(jnp.concatenate(pair) for pair in zip(near, far, strict=True)))
    depth = surface_depth(both, cameras, (12, 16))[0]
    radius = 0.1 * np.sqrt(2.0 * (3.0 - np.log(np.log(2.0))))
    assert np.isclose(np.nanmin(depth), 2.5 - radius, atol=0.02)  # no pixel is right in the middle
    assert np.nanmax(depth) > 2.9  # around it the other one
    assert np.isnan(surface_depth(ball([0.0, 0.0, 0.0], 0.2, -2.0), cameras, (12, 16))).all()


def test_rays_through_fog_end_where_half_of_the_light_does():
    pose = look_at([0.0, 0.0, -3.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])[None]
    cameras = Cameras(pose, np.array([[[10.0, 0.0, 0.5], [0.0, 10.0, 0.5], [0.0, 0.0, 1.0]]]))
    # neither is a surface, the first lets half of ln 2 pass and more: the rest is a part of the second
    fog = [ball([0.0, 0.0, z], 0.1, np.log(0.5)) for z in (-0.5, 0.5)]
    both = Mixture(*(jnp.concatenate(pair) for pair in zip(*fog, strict=True)))
    expected = 3.5 + 0.1 * norm.ppf((np.log(2.0) - 0.5) / 0.5)
    np.testing.assert_allclose(surface_depth(both, cameras, (1, 1)), [[[expected]]], atol=1e-5)
    assert np.isnan(surface_depth(fog[0], cameras, (1, 1))).all()
