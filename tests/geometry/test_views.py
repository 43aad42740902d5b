import numpy as np
import pytest

from fmb.geometry.cameras import Cameras, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.views import Views, check_views, flatten_views, select_views, split_views


@pytest.fixture
def views() -> Views:
    """Three small views with every field."""
    generator = np.random.default_rng(2)
    cameras = random_cameras(generator, 3, 3.0, pinhole_intrinsics(2, 4, 45.0))
    image = generator.uniform(size=(5, 3, 2, 4))
    return Views(cameras, image[0], image[1], image[2] > 0.3, np.moveaxis(image[2:], 0, -1))


def test_views_are_selected_in_order(views):
    chosen = select_views(views, np.array([2, 0]))
    assert np.array_equal(chosen.depth, views.depth[[2, 0]])
    assert np.array_equal(chosen.cameras.world_from_camera, views.cameras.world_from_camera[[2, 0]])
    assert select_views(views._replace(color=None), slice(1)).color is None
    assert select_views(views, slice(1)).silhouette.shape == (1, 2, 4)


def test_flat_pixels_pair_rays_with_what_they_saw(views):
    pixels = flatten_views(views)
    rays = pixel_rays(views.cameras, 2, 4)
    keep = views.valid
    assert pixels.silhouette.shape == (keep.sum(),)
    assert np.array_equal(pixels.silhouette, views.silhouette[keep])
    assert np.array_equal(pixels.depth, views.depth[keep])
    assert np.array_equal(pixels.color, views.color[keep])
    assert np.array_equal(pixels.rays.direction, np.asarray(rays.direction)[keep])
    everything = flatten_views(views._replace(valid=None, color=None))
    assert np.array_equal(everything.rays.origin, np.asarray(rays.origin).reshape(-1, 3))
    assert np.array_equal(everything.silhouette, views.silhouette.ravel())
    assert everything.color is None


def test_wrong_views_are_named(views):
    assert check_views(views, "scan") is views
    broken = views.cameras.world_from_camera.copy()
    broken[1, 0, 0] = np.nan
    for wrong, message in (
        (views._replace(silhouette=np.zeros((3, 0, 4))), r"scan: silhouettes of shape \(3, 0, 4\)"),
        (views._replace(depth=views.depth[:2]), r"scan: depth of shape \(2, 2, 4\), expected \(3, 2, 4\)"),
        (
            views._replace(cameras=select_views(views, slice(2)).cameras),
            r"scan: cameras.world_from_camera of shape \(2, 4, 4\), expected \(3, 4, 4\)",
        ),
        (views._replace(cameras=views.cameras._replace(world_from_camera=broken)), "scan: .* is not finite"),
        (views._replace(silhouette=views.silhouette + 0.5), "scan: silhouettes must lie between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            check_views(wrong, "scan")


def test_views_are_split_and_must_show_something():
    cameras = Cameras(np.tile(np.eye(4), (3, 1, 1)), np.tile(np.eye(3), (3, 1, 1)))
    silhouette = np.zeros((3, 2, 2))
    silhouette[1] = 1.0
    views = split_views(Views(cameras, silhouette), 2)
    assert views["train"].silhouette.sum() == 4.0 and views["novel"].silhouette.shape == (1, 2, 2)
    with pytest.raises(ValueError, match="none of the 1 views to fit to shows the object; try a smaller camera_dist"):
        split_views(Views(cameras, silhouette), 1)
