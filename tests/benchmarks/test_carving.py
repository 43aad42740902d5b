"""Voxel carving against a vote on every single voxel, and against shapes that are known."""

import numpy as np
import pytest
import trimesh

from benchmarks.table3.carving import carve
from fmb.fields.looks import measure
from fmb.geometry.cameras import pinhole_intrinsics, project, random_cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.views import Views, select_views
from fmb.hull.votes import QUORUM, Box, Volume, look_at_volume

CUBE = Box(np.full(3, -1.2), 2.4)


def seen(mesh: trimesh.Trimesh, count: int, side: int, seed: int = 0) -> Views:
    cameras = random_cameras(np.random.default_rng(seed), count, 3.0, pinhole_intrinsics(side, side, 45.0))
    return render_ground_truth(mesh, cameras, (side, side), "raycast").views


def brute_force(views: Views, grid: int, box: Box, dissent: float) -> np.ndarray:
    """The rule, voxel by voxel."""
    index = np.argwhere(np.ones((grid, grid, grid), bool))
    image, depth = map(np.asarray, project(views.cameras, box.lower + box.edge / grid * (index + 0.5)))
    count, height, width = views.silhouette.shape
    against, cast = np.zeros(len(index)), np.zeros(len(index))
    for view in range(count):
        column, row = np.floor(image[view]).astype(int).T
        sees = (depth[view] > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        if views.valid is not None:
            sees &= views.valid[view, row, column]
        cast += sees
        against += sees & (views.silhouette[view, row, column] < 0.5)
    return ((cast >= QUORUM * count) & (against <= dissent * cast + 1e-9)).reshape(grid, grid, grid)


@pytest.mark.parametrize("dissent", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("grid", [1, 13, 32])
def test_cells_change_nothing(grid, dissent):
    views = seen(trimesh.creation.box((1.0, 0.3, 0.6)), 6, 20)
    # silhouettes with holes, specks and pixels that say nothing
    generator = np.random.default_rng(1)
    silhouette = np.where(generator.uniform(size=views.silhouette.shape) < 0.05, 1 - views.silhouette, views.silhouette)
    views = views._replace(silhouette=silhouette, valid=generator.uniform(size=silhouette.shape) > 0.1)
    # of the large box some lies behind cameras
    for box in (CUBE, Box(np.full(3, -4.0), 8.0)):
        volume = carve(views, grid, box, dissent)
        assert np.array_equal(volume.occupied, brute_force(views, grid, box, dissent))


def test_skew_and_oblong_images_change_nothing():
    views = seen(trimesh.creation.icosphere(3, 0.5), 5, 24)
    skewed = views.cameras.intrinsics.copy()
    skewed[:, 0, 1], skewed[:, 0, 0], skewed[:, 0, 2] = 3.0, 20.0, 8.0
    views = views._replace(
        cameras=views.cameras._replace(intrinsics=skewed), silhouette=views.silhouette[:, :, 4:], depth=None
    )
    assert np.array_equal(carve(views, 24, CUBE).occupied, brute_force(views, 24, CUBE, 0.0))


@pytest.mark.slow
def test_sphere_is_found_with_its_box():
    volume = carve(seen(trimesh.creation.icosphere(4, 0.5), 24, 64), 64)
    assert np.all(volume.box.lower < -0.48) and np.all(volume.box.lower + volume.box.edge > 0.48)
    assert volume.box.edge < 1.3
    filled = volume.occupied.sum() * (volume.box.edge / 64) ** 3
    # the hull of 24 views contains the ball, up to half a pixel (0.02) of rasterisation
    assert 4 / 3 * np.pi * 0.48**3 < filled < 4 / 3 * np.pi * 0.56**3


@pytest.mark.slow
def test_unseen_views_of_the_hull():
    views = seen(trimesh.creation.icosphere(4, 0.5), 32, 48)
    volume = carve(select_views(views, slice(24)), 96)
    unseen = select_views(views, slice(24, None))
    errors = measure(look_at_volume(volume, unseen.cameras, (48, 48)), unseen, 1.0)
    assert errors["iou"] > 0.95
    assert errors["depth_mae"] < 0.03


def test_rays_meet_the_first_occupied_voxel():
    occupied = np.zeros((8, 8, 8), bool)
    occupied[:, :, 2] = occupied[:, :, 6] = True
    volume = Volume(occupied, Box(np.full(3, -1.0), 2.0))
    pose = np.eye(4)
    pose[2, 3] = -3.0
    cameras = random_cameras(np.random.default_rng(0), 1, 3.0, pinhole_intrinsics(9, 9, 60.0))
    images = look_at_volume(volume, cameras._replace(world_from_camera=pose[None]), (9, 9))
    # voxel 2 begins at -1/2; samples are at most an eighth of the box's depth x sqrt(3) apart
    assert 2.5 <= images.depth[0, 4, 4] < 2.5 + 2.0 / 8
    assert images.alpha[0, 4, 4] == 1.0 and images.alpha[0, 0, 0] == 0.0
    assert np.isnan(images.depth[0, 0, 0])


def test_nothing_left_is_an_empty_volume():
    views = seen(trimesh.creation.icosphere(2, 0.5), 3, 12)
    volume = carve(views._replace(silhouette=np.zeros_like(views.silhouette)), 16)
    assert not volume.occupied.any()
    assert not look_at_volume(volume, views.cameras, (12, 12)).alpha.any()


def test_dissent_survives_a_missing_piece():
    views = seen(trimesh.creation.icosphere(3, 0.5), 12, 32)
    silhouette = views.silhouette.copy()
    silhouette[0] = 0.0
    broken = views._replace(silhouette=silhouette)
    assert not carve(broken, 24, CUBE).occupied.any()
    full, kept = carve(views, 24, CUBE).occupied, carve(broken, 24, CUBE, 0.1).occupied
    assert np.all(kept[full])


def test_wrong_numbers_are_named():
    views = seen(trimesh.creation.icosphere(1, 0.5), 2, 8)
    with pytest.raises(ValueError, match="carving from 1 view; must be at least 2"):
        carve(select_views(views, slice(1)))
    with pytest.raises(ValueError, match="carving into 0 voxels on an edge; must be at least 1"):
        carve(views, 0)
    with pytest.raises(ValueError, match=r"carving with dissent 1\.0; must be at least 0 and below 1"):
        carve(views, 8, dissent=1.0)
