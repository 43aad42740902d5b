"""The pictures of the check of cameras: what is marked is what is wrong, and what is drawn is where it should be."""

import numpy as np
import pytest
import trimesh

from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.views import Views
from fmb.hull.check import CameraReport, check_cameras
from fmb.hull.votes import Box, Volume
from fmb.pictures import draw
from fmb.pictures.cameras import (
    FURTHEST,
    MOST_POINTS,
    agreement_sheet,
    camera_drawings,
    draw_frusta,
    flattened,
    grave_views,
    image_corners,
    pyramids,
    surface_points,
    upright,
)
from fmb.pictures.sheets import ORANGE

SIZE = (32, 48)


@pytest.fixture(scope="module")
def seen() -> tuple[Views, CameraReport]:
    """Eight views from around and above, the camera of the third that of another."""
    cameras = orbit_cameras(8, 3.0, pinhole_intrinsics(*SIZE, 45.0), 0.4, (0.0, 0.0, 1.0))
    solid = trimesh.util.concatenate([trimesh.creation.box((1.2, 0.3, 0.3)), trimesh.creation.icosphere(2, 0.35)])
    solid.vertices[12:] += [0.5, 0.4, 0.3]
    views = render_ground_truth(solid, cameras, SIZE, "raycast").views
    pose = cameras.world_from_camera.copy()
    pose[2] = pose[0]
    views = views._replace(cameras=cameras._replace(world_from_camera=pose))
    return views, check_cameras(views)


def ball(grid: int = 40) -> Volume:
    ticks = (np.arange(grid) + 0.5) / grid * 2.0 - 1.0
    distance = np.linalg.norm(np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij")), axis=0)
    return Volume(distance < 0.8, Box(np.array([4.0, 5.0, 6.0]), 2.0))


def test_the_wrong_view_is_marked_on_the_sheet(seen):
    _, report = seen
    sheet = agreement_sheet(report)
    assert [label.endswith("!") for label in sheet.labels] == [view == 2 for view in range(8)]
    assert np.array_equal(np.flatnonzero(grave_views(report)), [2])
    rim = [tuple(sheet.tiles[view, 0, 0]) for view in range(8)]
    orange = tuple(int(ORANGE[i : i + 2], 16) for i in (1, 3, 5))
    assert [color == orange for color in rim] == [view == 2 for view in range(8)]
    assert sheet.labels[0].split() == ["0", f"{report.iou[0]:.2f}", f"{report.explained[0]:.2f}"]
    assert sheet.note.startswith("cameras and masks agree") and "view 2" in sheet.note


def test_nothing_to_share_is_a_dash(seen):
    _, report = seen
    nothing = np.full(8, np.nan)
    assert agreement_sheet(report._replace(iou=nothing, explained=nothing)).labels[1].split() == ["1", "-", "-"]


def test_surface_points_lie_on_the_surface_with_its_normals():
    points, normal = surface_points(ball())
    offset = points - np.array([5.0, 6.0, 7.0])
    distance = np.linalg.norm(offset, axis=1)
    assert 1000 < len(points) <= MOST_POINTS
    assert np.all(np.abs(distance - 0.8) < 2.0 * 2.0 / 40)
    assert np.all(np.sum(normal * offset / distance[:, None], axis=1) > 0.97)


def test_image_corners_are_where_the_corners_project(seen):
    views, _ = seen
    corner = image_corners(views.cameras, *SIZE)
    for view in range(8):
        in_camera = corner[view] @ views.cameras.world_from_camera[view, :3, :3]
        image = in_camera @ views.cameras.intrinsics[view].T
        assert np.allclose(image, [[0, 0, 1], [48, 0, 1], [48, 32, 1], [0, 32, 1]], atol=1e-9)


def test_up_in_the_images_is_up(seen):
    views, _ = seen
    turn = upright(views.cameras.world_from_camera[:, :3, :3])
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.isclose(np.linalg.det(turn), 1.0)
    # with cameras that look down by 0.4 the mean of their up axes is the world's z
    assert np.allclose(turn @ [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], atol=0.25)
    opposite = np.stack([np.eye(3), np.diag([-1.0, -1.0, 1.0])])
    assert np.array_equal(upright(opposite), np.eye(3))


def test_far_cameras_are_drawn_nearer_and_it_is_said(seen):
    views, _ = seen
    pose = views.cameras.world_from_camera.copy()
    pose[:, :3, 3] = 30.0 * pose[:, :3, 3] + [5.0, 6.0, 7.0]
    far = views._replace(cameras=views.cameras._replace(world_from_camera=pose))
    scene = pyramids(far, ball(), np.zeros(8, bool))
    assert np.isclose(np.median(np.linalg.norm(scene.apex, axis=1)), FURTHEST, rtol=1e-6)
    assert scene.nearer > 10.0
    assert f"divided by {scene.nearer:.2g}" in flattened(scene, "side", 0.0, 0.3).title


def test_a_drawing_keeps_left_right_and_up(seen):
    views, _ = seen
    scene = pyramids(views, None, np.zeros(8, bool))
    scene = scene._replace(apex=np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [5.0, 0.0, 0.0]]), corner=scene.corner[:3])
    drawing = flattened(scene, "from the x axis", 0.0, 0.0)
    assert np.allclose(drawing.apex, [[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]], atol=1e-12)
    assert drawing.order[-1] == 2 and drawing.nearness[2] == 1.0
    assert drawing.title == "from the x axis"


@pytest.mark.parametrize("without", [False, True])
def test_the_picture_is_written(seen, tmp_path, without):
    views, report = seen
    if without:
        report = report._replace(hull=None)
    drawings = camera_drawings(views, report)
    assert np.array_equal(np.flatnonzero(drawings[0].marked), [2])
    path = draw_frusta(tmp_path / "cameras.png", drawings, "Cameras", report.verdict)
    draw.draw_sheet(tmp_path / "masks.png", agreement_sheet(report))
    from PIL import Image

    with Image.open(path) as image:
        colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    orange = np.array([int(ORANGE[i : i + 2], 16) for i in (1, 3, 5)])
    assert np.any(np.all(np.abs(colors.astype(int) - orange) < 12, axis=1))
