"""What the encoder's numbers mean: closed forms, mirror images, components cut in two."""

import jax
import jax.numpy as jnp
import numpy as np

from fm_render import Cameras, render
from fmb.fields.mixtures import covariance
from fmb.geometry.cameras import pixel_rays
from fmb.single_view.blobs import NUMBERS, blobs_of, cut_in_two, edges_of
from fmb.single_view.layout import layout_of
from fmb.single_view.options import EncoderOptions
from fmb.single_view.prediction import half_of
from fmb.single_view.sights import random_poses

NONE_CUT = jnp.zeros((0, 5, 6))
LENS = np.array([[40.0, 0.0, 9.0], [0.0, 40.0, 8.0], [0.0, 0.0, 1.0]])


def some_numbers() -> jax.Array:
    found = 0.3 * np.random.default_rng(1).normal(size=(5, NUMBERS))
    found[:, 3:6] += 1.2
    return jnp.asarray(found)


def test_the_other_half_is_the_mirror_image():
    blobs, flip = blobs_of(some_numbers(), NONE_CUT, True), np.diag([-1.0, 1.0, 1.0])
    half, symmetry = half_of(blobs, layout_of(EncoderOptions()))
    assert symmetry.kind == "plane" and len(blobs.color) == 2 * len(half.mean) == 10
    np.testing.assert_allclose(blobs.mixture.mean[5:], half.mean @ flip, atol=1e-12)
    np.testing.assert_allclose(covariance(blobs.mixture)[5:], flip @ covariance(half) @ flip, atol=1e-12)
    np.testing.assert_array_equal(blobs.mixture.log_weight[5:], half.log_weight)
    np.testing.assert_array_equal(blobs.color[:5], blobs.color[5:])


@jax.jit
def seen(numbers: jax.Array, cameras: Cameras) -> jax.Array:
    mixture = blobs_of(numbers, NONE_CUT, True).mixture
    return render(mixture, pixel_rays(cameras, 16, 16), outputs=("alpha",)).alpha


def test_a_mirrored_camera_sees_the_mirrored_image():
    pose, flip = random_poses(np.random.default_rng(0), 1)[0], np.diag([-1.0, 1.0, 1.0, 1.0])
    lens = LENS.copy()
    lens[0, 2] = 16 - lens[0, 2]
    here, there = seen(some_numbers(), Cameras(np.stack([pose, flip @ pose @ flip]), np.stack([LENS, lens])))
    assert here.max() > 0.5 and np.abs(here - here[:, ::-1]).max() > 0.1
    np.testing.assert_allclose(there, here[:, ::-1], atol=1e-12)


def test_ellipsoids_are_those_of_the_numbers():
    numbers, edges = some_numbers(), edges_of(some_numbers())
    lower = np.asarray(edges.edge_cholesky)
    np.testing.assert_allclose(np.diagonal(lower, axis1=1, axis2=2), np.exp(numbers[:, 3:6]))
    assert np.abs(np.triu(lower, 1)).max() == 0.0
    np.testing.assert_allclose(lower[:, 2, 0] / lower[:, 2, 2], numbers[:, 7])


def test_children_lie_in_their_parents():
    edges, how = edges_of(some_numbers()), np.random.default_rng(2).normal(size=(2, 5, 6))
    found = cut_in_two(edges, jnp.asarray(how))
    lower = np.asarray(edges.edge_cholesky)
    offset = np.asarray(found.mean).reshape(2, 5, 3) - np.asarray(edges.mean)[None]
    np.testing.assert_allclose(np.einsum("mji,cmj->cmi", lower, offset), how[..., :3], atol=1e-12)
    grown = np.asarray(found.edge_cholesky).reshape(2, 5, 3, 3) / np.where(lower == 0.0, 1.0, lower)[None]
    np.testing.assert_allclose(grown[:, :, 2], np.exp(how[..., 3:]), atol=1e-12)
    assert len(blobs_of(some_numbers(), jnp.asarray(how), True).color) == 20
