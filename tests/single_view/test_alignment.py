"""What alignments read: maps between pixels, and cameras as numbers."""

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import map_coordinates

from fm_render import Cameras
from fmb.single_view.alignment import camera_code, sampled
from fmb.single_view.cameras import labels_of
from fmb.single_view.sights import random_poses

SIZE = 32


def test_maps_are_read_between_their_pixels():
    generator = np.random.default_rng(0)
    image, place = generator.normal(size=(2, 5, 7, 3)), generator.uniform(-0.2, 1.2, (2, 11, 2))
    found = np.asarray(sampled(jnp.asarray(image), jnp.asarray(place)))
    at = place[..., ::-1] * [5, 7] - 0.5
    for one in range(2):
        for channel in range(3):
            expected = map_coordinates(image[one, ..., channel], at[one].T, order=1, mode="nearest")
            np.testing.assert_allclose(found[one, :, channel], expected, atol=1e-12)


def test_the_code_of_a_camera_is_that_of_its_labels():
    pose = random_poses(np.random.default_rng(0), 4)
    pose[:, :3, 3] += 0.1 * np.random.default_rng(1).normal(size=(4, 3))
    lens = np.tile([[90.0, 0.0, 18.0], [0.0, 90.0, 15.0], [0.0, 0.0, 1.0]], (4, 1, 1))
    code = np.asarray(camera_code(Cameras(jnp.asarray(pose), jnp.asarray(lens)), SIZE))
    place = labels_of(Cameras(pose, lens), SIZE).place
    np.testing.assert_allclose(code[:, 9:11], place[:, :2], atol=1e-12)
    np.testing.assert_allclose(code[:, :9], pose[:, :3, :3].reshape(4, 9))
    depth = -np.einsum("vi,vi->v", pose[:, :3, 2], pose[:, :3, 3])
    np.testing.assert_allclose(code[:, 12], 1.0 / depth)
    np.testing.assert_allclose(code[:, 11], np.log(90.0 / (SIZE / 2 * depth)))
