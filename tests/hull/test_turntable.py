"""Cameras of a turntable from masks alone: rendered turntables of known cameras, folders of masks, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose
from PIL import Image

from fmb.files.captures.alone import by_number
from fmb.files.options import CaptureOptions
from fmb.geometry.cameras import project
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.metrics import pose_error
from fmb.geometry.views import Views, select_views
from fmb.hull import turntable
from fmb.hull.turntable import Turntable, solve_turntable, turntable_cameras
from fmb.tasks.scenes import read_placed

SIZE, COUNT, DEGREES = (48, 64), 12, 30.0
TRUE = Turntable(math.radians(24.0), 1.4, 0.03, 0.05, -1, -0.02)
QUICK = ((20, 24, 12, 0, 2), (36, 48, 12, 80, 1))
ANGLE = np.deg2rad(DEGREES) * np.arange(COUNT)


@pytest.fixture(scope="module")
def views() -> Views:
    """Masks of three boxes that nothing maps onto themselves, off the axis."""
    sides, places = ([0.3, 0.12, 0.12], [0.1, 0.4, 0.12], [0.08, 0.08, 0.4]), ([0.1, 0, 0], [0, 0.15, 0], [0, 0.3, 0.1])
    boxes = [trimesh.creation.box(side) for side in sides]
    for box, place in zip(boxes, places, strict=True):
        box.apply_translation(place)
    cameras = turntable_cameras(TRUE, ANGLE, SIZE)
    seen = cast_silhouettes(trimesh.util.concatenate(boxes), cameras, SIZE)
    return Views(cameras, seen)


def test_the_axis_stays_where_it_is_and_the_object_turns():
    cameras = turntable_cameras(TRUE, ANGLE, SIZE)
    place = np.asarray(project(cameras, np.array([[0.0, 0.0, 0.0], [0.0, 0.3, 0.0]]))[0])
    assert_allclose(place, np.broadcast_to(place[:1], place.shape), atol=1e-9)
    focal = 1.4 * SIZE[1]
    assert_allclose(place[0, 0], [SIZE[1] / 2 + 0.03 * focal, SIZE[0] / 2 - 0.02 * focal], atol=1e-9)
    assert place[0, 1, 1] < place[0, 0, 1]  # y goes up in the image
    position = cameras.world_from_camera[:, :3, 3]
    assert_allclose(np.linalg.norm(position, axis=1), np.linalg.norm([1.0, 0.03, 0.02]), rtol=1e-9)
    assert position[0, 1] > 0  # it looks down
    assert pose_error(*cameras.world_from_camera[:2], 1.0).rotation_degrees == pytest.approx(DEGREES)


def check(found: turntable.Solution, cameras, degrees: float) -> None:
    """That the first camera is as high above and rolled as the true one, and that all turn the same way."""
    pose, true = (np.asarray(x.world_from_camera) for x in (found.cameras, cameras))
    forward = [math.degrees(math.asin(-x[0, 1, 2])) for x in (pose, true)]
    assert abs(forward[0] - forward[1]) < degrees
    assert_allclose(
        pose[0, :3, :3].T @ pose[1, :3, :3], true[0, :3, :3].T @ true[1, :3, :3], atol=math.radians(degrees)
    )


def test_masks_tell_the_turntable(views, monkeypatch):
    monkeypatch.setattr(turntable, "STAGES", QUICK)
    used = np.flatnonzero(np.arange(COUNT) % 5 != 4)
    found = solve_turntable(views._replace(cameras=None), DEGREES, used)
    check(found, views.cameras, 6.0)
    assert found.turntable.sense == -1 and len(found.cameras.intrinsics) == COUNT and found.covered > 0.85
    assert "turns clockwise" in found.words and "down" in found.words


@pytest.mark.slow
def test_masks_tell_the_turntable_to_two_degrees(views):
    check(solve_turntable(views._replace(cameras=None), DEGREES), views.cameras, 2.0)
    backwards = select_views(views, np.arange(COUNT)[::-1])
    assert solve_turntable(backwards._replace(cameras=None), DEGREES).turntable.sense == 1


def test_what_is_no_turntable_is_refused(views, monkeypatch):
    monkeypatch.setattr(turntable, "STAGES", QUICK)
    with pytest.raises(ValueError, match=r"with 3 images to fit to; a turntable needs 4"):
        solve_turntable(views, DEGREES, np.arange(3))
    empty = views.silhouette.copy()
    empty[2] = 0.0
    with pytest.raises(ValueError, match=r"mask 2 \(from 0\) is empty"):
        solve_turntable(views._replace(silhouette=empty), DEGREES)
    thin = np.zeros((COUNT, 160, 160))
    thin[:, 40:120, 81] = 1.0
    with pytest.raises(ValueError, match="the object is too thin for the search, which shrinks masks to 24 pixels"):
        solve_turntable(Views(None, thin), DEGREES)
    shuffled = select_views(views, np.array([0, 7, 2, 9, 4, 11, 1, 6, 3, 8, 5, 10]))
    with pytest.raises(ValueError, match=r"explains \d+ % of the masks, less than 80 %"):
        solve_turntable(shuffled, DEGREES)


def test_a_folder_of_masks_is_enough(views, tmp_path, monkeypatch):
    monkeypatch.setattr(turntable, "STAGES", QUICK)
    (tmp_path / "masks").mkdir()
    for number, mask in enumerate(views.silhouette):
        Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / "masks" / f"frame{number}.png")
    options = CaptureOptions(data=str(tmp_path), turntable_degrees=DEGREES)
    capture = read_placed(options)
    assert capture.names == tuple(f"frame{number}" for number in range(COUNT))
    assert "turntable: turns clockwise" in capture.notices[-1]
    np.testing.assert_array_equal(capture.views.silhouette, views.silhouette)
    turn = pose_error(*capture.views.cameras.world_from_camera[-2:], 1.0).rotation_degrees
    assert turn == pytest.approx(DEGREES)  # also of views that take no part
    with pytest.raises(ValueError, match="turntable_degrees is 30 and format is krt"):
        read_placed(replace(options, format="krt"))
    with pytest.raises(ValueError, match="turntable_degrees is 30 and depth is asked for"):
        read_placed(options, ["depth"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no masks; expected images in masks"):
        read_placed(replace(options, data=str(tmp_path / "empty")))


def test_numbers_in_names_count_by_their_value():
    assert sorted(["b1.png", "a10.png", "a2.png", "3.png"], key=by_number) == ["3.png", "a2.png", "a10.png", "b1.png"]
