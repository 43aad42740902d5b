import jax
import numpy as np
import pytest

from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.pose.observation import (
    camera_of,
    check_observation,
    check_start,
    nothing_seen,
    observed_pixels,
    pooled,
    pose_of,
)
from tests.pose_scene import IMAGE_SIZE, INTRINSICS, camera_at, lopsided_mixture, observe

TRUTH = camera_at(np.array([0.2, 0.5, -0.3]))
GOOD = observe(lopsided_mixture(), TRUTH)


def intrinsics(**entries: float) -> np.ndarray:
    matrix = INTRINSICS.copy()
    for name, value in entries.items():
        matrix[{"fx": (0, 0), "cx": (0, 2), "cy": (1, 2)}[name]] = value
    return matrix


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"depth": None, "silhouette": None}, "neither depth nor silhouette"),
        ({"depth": GOOD.depth[1:]}, r"cup: depth of shape \(29, 40\); all images"),
        ({"valid": np.ones((2, 2), bool)}, r"cup: valid of shape \(2, 2\)"),
        ({"silhouette": np.zeros(IMAGE_SIZE)}, "cup: the mask is empty"),
        ({"valid": np.zeros(IMAGE_SIZE, bool)}, "cup: the mask is empty"),
        ({"silhouette": 255 * GOOD.silhouette}, "cup: silhouette must lie between 0 and 1"),
        ({"depth": np.zeros(IMAGE_SIZE)}, "cup: no valid pixel has a depth above 0"),
        ({"depth": np.where(GOOD.silhouette > 0, np.nan, 3.0)}, "cup: no pixel of the mask has a depth"),
        ({"depth": 1000 * GOOD.depth}, "cup: median depth is 2.*e.03 times the model's size: millimetres?"),
        ({"depth": GOOD.depth / 1000}, "cup: median depth is 0.00.* times the model's size: metres, and a model in"),
        ({"depth": 1000 * GOOD.depth, "silhouette": None}, "times the model's size: millimetres?"),
        (
            {"intrinsics": intrinsics(cx=320, cy=240)},
            r"cup: principal point \(320, 240\) in an image of 40 x 30 pixels",
        ),
        ({"intrinsics": intrinsics(cx=10, cy=7.5)}, "intrinsics of another size?"),
        ({"intrinsics": intrinsics(fx=0)}, "cup: intrinsics must be a finite 3 x 3 matrix of positive focal lengths"),
    ],
)
def test_observations_that_make_no_sense(change, text):
    with pytest.raises(ValueError, match=text):
        check_observation("cup", GOOD._replace(**change), 1.0)


def test_observations_that_do():
    assert check_observation("cup", GOOD, 1.0) is GOOD
    check_observation("cup", GOOD._replace(depth=None), 1.0)
    check_observation("cup", GOOD._replace(silhouette=None), 1.0)
    check_observation("cup", GOOD._replace(depth=1000 * GOOD.depth), 1000.0)
    assert not nothing_seen(GOOD)
    assert nothing_seen(GOOD._replace(silhouette=np.zeros(IMAGE_SIZE)))
    assert nothing_seen(GOOD._replace(depth=np.full(IMAGE_SIZE, np.nan)))


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (2 * np.eye(4), "first.json: not a rigid motion"),
        (np.diag([1.0, 1, -1, 1]), "first.json: not a rigid motion"),
        (np.full((4, 4), np.nan), "first.json: not a rigid motion"),
        (TRUTH @ np.diag([-1.0, 1, -1, 1]), "first.json: nothing of the object is in the image from there"),
    ],
)
def test_starts_that_make_no_sense(start, text):
    with pytest.raises(ValueError, match=text):
        check_start("first.json", start, lopsided_mixture(), GOOD)


def test_pixels_are_the_cameras_rays():
    pixels = observed_pixels(GOOD, 2.0)
    rays = pixel_rays(Cameras(np.eye(4)[None], INTRINSICS[None]), *IMAGE_SIZE)
    np.testing.assert_allclose(np.moveaxis(pixels.direction, 0, -1), rays.direction[0], atol=1e-12)
    seen = np.isfinite(GOOD.depth) & (GOOD.silhouette > 0.5)
    np.testing.assert_array_equal(pixels.depth_weight > 0, seen)
    np.testing.assert_allclose(pixels.depth[seen], GOOD.depth[seen] / 2)
    assert not observed_pixels(GOOD, 2.0, "mask").depth_weight.any()
    assert not observed_pixels(GOOD, 2.0, "depth").mask_weight.any()


def test_pooled_blocks_are_means():
    pixels = observed_pixels(GOOD, 1.0)
    sight = jax.tree.map(np.asarray, pooled(pixels, 4))  # 30 rows: the last blocks stick out
    height, width = 8, 10
    assert sight.direction.shape == (3, height * width)
    block = GOOD.silhouette[8:12, 16:20]
    number = 2 * width + 4
    assert sight.silhouette[number] == pytest.approx(block.mean())
    np.testing.assert_allclose(sight.direction[:, number], pixels.direction[:, 8:12, 16:20].mean((1, 2)))
    depth = GOOD.depth[8:12, 16:20]
    front = depth <= np.nanmin(depth) + 0.05
    assert sight.point[2, number] == pytest.approx(depth[front].mean())
    assert sight.mask_weight[-1] == pytest.approx(0.5)


def test_few_pixels_stand_for_all():
    pixels = observed_pixels(GOOD, 1.0)
    everything, few = (jax.tree.map(np.asarray, pooled(pixels, 1, most)) for most in (None, 50))
    assert few.point.shape == (3, 50)
    assert few.depth_weight.sum() == pytest.approx(everything.depth_weight.sum(), rel=0.02)
    chosen = few.depth_weight > 0
    np.testing.assert_allclose(few.point[:, chosen], everything.point[:, few.depth_pixel[chosen]])
    np.testing.assert_allclose(few.silhouette, everything.silhouette[few.mask_pixel])
    many = jax.tree.map(np.asarray, pooled(pixels, 1, 1100))
    assert many.depth_weight.sum() == everything.depth_weight.sum()  # all of them, once each
    assert len(np.unique(many.depth_pixel[many.depth_weight > 0])) == everything.depth_weight.sum()


def test_poses_there_and_back():
    middle = np.array([0.3, -2.0, 5.0])
    pose = pose_of(TRUTH, middle, 4.0)
    np.testing.assert_allclose(camera_of(pose, middle, 4.0), TRUTH, atol=1e-12)
    np.testing.assert_allclose(4 * pose.translation, (np.linalg.inv(TRUTH) @ np.append(middle, 1))[:3], atol=1e-12)
