"""Splats look like the mixture they come from, to an independent rasteriser, and become it again."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fm_render import Mixture, render
from fmb.files.splats import HARMONIC, MOST_COPIES, OPAQUE, copies, mixture_from_splats, splats_from_mixture, widening
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics, pixel_rays
from fmb.geometry.metrics import iou
from tests.ewa import rasterise


def blobs(log_weight: float, count: int = 8) -> Mixture:
    """Overlapping ellipsoids about half a unit long, of weights around exp(log_weight)."""
    generator = np.random.default_rng(3)
    factor = np.tril(generator.normal(size=(count, 3, 3)))
    factor[:, range(3), range(3)] = generator.uniform(3.0, 8.0, size=(count, 3)) * np.exp(log_weight / 12)
    mean = 0.35 * generator.normal(size=(count, 3))
    return Mixture(*map(jnp.asarray, (mean, factor, log_weight + 0.2 * generator.normal(size=count))))


@pytest.mark.parametrize("log_weight", [1.0, 4.0, 9.6])
def test_splats_have_the_same_silhouette(log_weight):
    mixture = blobs(log_weight)
    cameras = orbit_cameras(3, 9.0, pinhole_intrinsics(48, 48, 15.0), elevation=0.4)
    alpha = np.asarray(render(mixture, pixel_rays(cameras, 48, 48), outputs=("alpha",)).alpha)
    drawn = rasterise(splats_from_mixture(mixture), cameras, 48, 48)
    assert (alpha > 0.5).mean() > 0.05
    assert iou(drawn, alpha) >= 0.97
    assert np.abs(drawn - alpha).mean() < 0.04


def test_one_splat_each_is_not_enough():
    mixture = blobs(4.0)
    cameras = orbit_cameras(3, 9.0, pinhole_intrinsics(48, 48, 15.0), elevation=0.4)
    alpha = np.asarray(render(mixture, pixel_rays(cameras, 48, 48), outputs=("alpha",)).alpha)
    splats = splats_from_mixture(mixture)
    single = splats._replace(
        log_scale=splats.log_scale - np.log(widening(np.exp(mixture.log_weight))).repeat(32)[:, None]
    )
    assert iou(rasterise(type(splats)(*(field[::32] for field in single)), cameras, 48, 48), alpha) < 0.75


def test_thin_components_are_as_opaque_as_they_were():
    weight = np.array([0.05, 0.1, 0.15, 2.0, OPAQUE])
    assert copies(weight).tolist() == [1, 1, 2, 20, MOST_COPIES]
    splats = splats_from_mixture(Mixture(np.zeros((5, 3)), np.tile(np.eye(3), (5, 1, 1)), np.log(weight)))
    opacity = 1 / (1 + np.exp(-splats.opacity))
    start = np.cumsum([0, *copies(weight)])
    fall = np.exp(-0.5 * np.linspace(0, 4, 50) ** 2)
    for place, value in enumerate(weight):
        own = opacity[start[place] : start[place + 1], None] * fall
        # at most 0.1 of weight a copy: 5 % of the density at the edges
        assert_allclose(1 - np.prod(1 - own, axis=0), 1 - np.exp(-value * fall), atol=0.02)


def test_opaque_components_stay_half_opaque_where_they_were():
    weight = np.array([9.0, 100.0, 15_000.0])
    splats = splats_from_mixture(Mixture(np.zeros((3, 3)), np.tile(np.eye(3), (3, 1, 1)), np.log(weight)))
    distance = np.sqrt(2 * np.log(weight / np.log(2)))
    for place in range(3):
        opacity, scale = 1 / (1 + np.exp(-splats.opacity[32 * place])), np.exp(splats.log_scale[32 * place, 0])
        assert opacity < 0.99
        assert_allclose((1 - opacity * np.exp(-0.5 * (distance[place] / scale) ** 2)) ** 32, 0.5, rtol=1e-12)


@pytest.mark.parametrize("log_weight", [-1.0, 1.0, 9.6])
def test_splats_become_the_mixture_again(log_weight):
    mixture = blobs(log_weight)
    color = np.random.default_rng(0).uniform(size=(8, 3))
    again, same = mixture_from_splats(splats_from_mixture(mixture, color), widened=True)
    for name, field, expected in zip(Mixture._fields, again, mixture, strict=True):
        assert_allclose(field, expected, rtol=1e-9, atol=1e-9, err_msg=name)
    assert_allclose(same, color, atol=1e-12)


def test_splats_of_others_are_taken_as_they_are():
    splats = splats_from_mixture(blobs(6.0))
    foreign, color = mixture_from_splats(splats)
    assert len(foreign.mean) == 8
    assert_allclose(foreign.log_weight, np.log(32 * np.log1p(np.exp(splats.opacity[::32]))))
    assert_allclose(color, 0.75)
    bright = mixture_from_splats(splats._replace(harmonic=np.full_like(splats.harmonic, 9.0)))[1]
    assert_allclose(bright, 1.0)
    assert_allclose(splats.harmonic[0] * HARMONIC + 0.5, 0.75)


def test_components_without_weight_are_left_out():
    mixture = blobs(1.0)
    mixture = mixture._replace(log_weight=mixture.log_weight.at[2].set(-jnp.inf))
    assert len(np.unique(splats_from_mixture(mixture).mean, axis=0)) == 7
    with pytest.raises(ValueError, match="all its components have weight 0"):
        splats_from_mixture(mixture._replace(log_weight=jnp.full(8, -jnp.inf)))
