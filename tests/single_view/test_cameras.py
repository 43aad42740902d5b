"""Squares and cameras of the encoder: round trips, mirror images, what a crop keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fm_render import Cameras
from fmb.geometry.cameras import project
from fmb.geometry.views import Views
from fmb.single_view.cameras import CameraLabels, aside, cameras_of, labels_of, mirrored_labels, mirrored_where
from fmb.single_view.crops import Square, cropped, cropped_intrinsics, cropped_within, fitting_intrinsics, square_around
from fmb.single_view.evaluation import turn_degrees
from fmb.single_view.refine import mirrored_views
from fmb.single_view.sights import random_poses

SIZE = 32


def some_cameras() -> Cameras:
    """Cameras that look past the object."""
    pose = random_poses(np.random.default_rng(0), 6)
    pose[:, :3, 3] += 0.2 * np.random.default_rng(1).normal(size=(6, 3))
    lens = np.array([[90.0, 0.0, 18.0], [0.0, 90.0, 15.0], [0.0, 0.0, 1.0]])
    return Cameras(pose, np.tile(lens, (6, 1, 1)))


def test_labels_and_cameras_are_inverse():
    cameras = some_cameras()
    labels = labels_of(cameras, SIZE)
    back = cameras_of(*labels, SIZE, cameras.intrinsics[0])
    np.testing.assert_allclose(back.world_from_camera, cameras.world_from_camera, atol=1e-9)
    free = cameras_of(*labels, SIZE)  # by the nominal lens the middle stays where it is, in the same size
    again = labels_of(free, SIZE)
    np.testing.assert_allclose(again.place, labels.place, atol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(again.quaternion * labels.quaternion, axis=1)), 1.0, atol=1e-12)
    assert turn_degrees(free.world_from_camera[:1], free.world_from_camera[0])[0] < 1e-5
    np.testing.assert_allclose(aside(np.array([[0.0, 0.0, 3.0]]))[0], np.eye(3), atol=1e-15)


def test_mirrored_labels_are_those_of_mirrored_cameras():
    cameras = some_cameras()
    labels, views = labels_of(cameras, SIZE), Views(cameras, np.zeros((6, SIZE, SIZE)))
    mirrored = labels_of(mirrored_views(views).cameras, SIZE)
    expected = mirrored_labels(labels)
    there = mirrored_where(jnp.array([True] * 5 + [False]), jax.tree.map(jnp.asarray, cameras), SIZE)
    for one, other, kept in zip(there, mirrored_views(views).cameras, cameras, strict=True):
        np.testing.assert_allclose(one[:5], other[:5], atol=1e-12)
        np.testing.assert_array_equal(one[5], kept[5])
    np.testing.assert_allclose(mirrored.place, expected.place, atol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(mirrored.quaternion * expected.quaternion, axis=1)), 1.0, atol=1e-9)
    np.testing.assert_array_equal(mirrored_labels(CameraLabels(*expected)).quaternion, labels.quaternion)


def test_a_mirrored_camera_sees_mirrored_points_in_the_mirrored_image():
    pose, lens = some_cameras()
    lens[:, 0, 1] = 3.0  # skew
    points = 0.3 * np.random.default_rng(0).normal(size=(20, 3))
    expected = np.asarray(project(Cameras(pose, lens), points)[0]) * [-1.0, 1.0] + [SIZE, 0.0]
    views = mirrored_views(Views(Cameras(pose, lens), np.zeros((6, SIZE, SIZE))))
    there = mirrored_where(jnp.ones(6, bool), Cameras(jnp.asarray(pose), jnp.asarray(lens)), SIZE)
    for cameras in (views.cameras, there):
        np.testing.assert_allclose(project(cameras, points * [-1.0, 1.0, 1.0])[0], expected, atol=1e-9)


def test_a_crop_shows_the_same_points():
    mask = np.zeros((30, 40), np.float32)
    mask[10:20, 4:24] = 1.0
    square = square_around(mask, 1.2)
    assert square == Square(2.0, 3.0, 24.0)
    small = cropped(mask, square, 12)
    assert small.sum() == pytest.approx(mask.sum() / 4.0)
    wide = Square(-10.0, -5.0, 60.0)  # out of the image on all sides
    assert cropped(mask, wide, 30).sum() == pytest.approx(mask.sum() / 4.0)
    assert cropped(np.stack([mask] * 3, axis=-1), wide, 30, nearest=True).shape == (30, 30, 3)
    cameras = some_cameras()
    points = np.random.default_rng(2).normal(size=(7, 3)) * 0.3
    crop = cropped_intrinsics(cameras.intrinsics[0], square, 12)
    before, after = (
        np.asarray(project(Cameras(cameras.world_from_camera[:1], lens[None]), points)[0][0])
        for lens in (cameras.intrinsics[0], crop)
    )
    np.testing.assert_allclose(after, (before - [square.left, square.top]) / 2.0, atol=1e-9)
    with pytest.raises(ValueError, match="shows no object"):
        square_around(np.zeros((4, 4)))


def test_a_crop_has_the_colours_of_the_object_alone():
    mask = np.zeros((30, 40), np.float32)
    mask[10:21, 4:23] = 1.0  # its border cuts pixels of the square in two
    mask[21, 4:23] = 0.25
    color = np.where(mask[..., None] > 0.0, [0.9, 0.4, 0.2], 0.0)
    square = Square(2.0, 3.0, 24.0)
    found, share = cropped_within(color, mask, square, 12), cropped(mask, square, 12)
    assert 0.0 < share[share > 0.0].min() < 0.5
    np.testing.assert_allclose(found[share > 0.0], np.tile([0.9, 0.4, 0.2], (np.sum(share > 0.0), 1)), atol=1e-6)
    assert np.all(found[share == 0.0] == 0.0)


def test_points_fill_their_square():
    pose, points = some_cameras().world_from_camera[0], np.random.default_rng(2).normal(size=(50, 3)) * 0.3
    lens = fitting_intrinsics(pose, points, SIZE, 1.25)
    place = np.asarray(project(Cameras(pose[None], lens[None]), points)[0][0])
    assert np.ptp(place, axis=0).max() == pytest.approx(SIZE / 1.25)
    np.testing.assert_allclose((place.min(axis=0) + place.max(axis=0)) / 2.0, SIZE / 2.0)
    with pytest.raises(ValueError, match="stands inside the object"):
        fitting_intrinsics(pose, points + pose[:3, 3], SIZE)
