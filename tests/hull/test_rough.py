"""Cameras by eye: how far a hull covers its masks, cameras moved until they agree, the layout of NeRS's photographs."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.captures.read import read_capture
from fmb.files.images import focal_of
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, project, random_cameras
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.metrics import pose_error
from fmb.geometry.views import Views, select_views
from fmb.hull import rough
from fmb.hull.coverage import coverage
from fmb.hull.rough import moved, settled

SIZE = (48, 64)


@pytest.fixture(scope="module")
def views() -> Views:
    """Six masks of two boxes, whose cameras are right."""
    boxes = [trimesh.creation.box([0.9, 0.4, 0.3]), trimesh.creation.box([0.3, 0.9, 0.4])]
    boxes[1].apply_translation([0.3, 0.2, 0.1])
    cameras = random_cameras(np.random.default_rng(5), 6, 3.0, pinhole_intrinsics(*SIZE, 40.0))
    return Views(cameras, cast_silhouettes(trimesh.util.concatenate(boxes), cameras, SIZE))


def shaken(views: Views, degrees: float) -> Views:
    """The views with cameras turned about the object by so many degrees, each about another axis."""
    axes = np.random.default_rng(0).normal(size=(len(views.silhouette), 3))
    turns = Rotation.from_rotvec(np.deg2rad(degrees) * axes / np.linalg.norm(axes, axis=1, keepdims=True)).as_matrix()
    pose = views.cameras.world_from_camera.copy()
    pose[:, :3] = turns @ pose[:, :3]
    return views._replace(cameras=Cameras(pose, views.cameras.intrinsics))


def test_coverage_is_whole_where_cameras_are_right_and_falls_where_they_are_not(views):
    right, wrong = (coverage(some, 1.0, 48) for some in (views, shaken(views, 12.0)))
    assert right.min() > 0.97 and wrong.mean() < 0.9
    # nobody knows what lies where a pixel is not valid: the other masks are covered as if it were object
    unknown = np.ones(views.silhouette.shape, bool)
    unknown[0] = False
    hidden = views._replace(silhouette=views.silhouette * unknown, valid=unknown)
    others = coverage(hidden, 1.0, 48)[1:]
    assert_allclose(others, coverage(select_views(views, slice(1, None)), 1.0, 48))


def test_a_move_turns_the_object_about_itself_and_shifts_it():
    pose = np.eye(4)
    pose[:3, 3] = 0.0, 0.0, 2.0
    assert_allclose(moved(pose, np.array([0.3, 0.1, -0.2, 0.0, 0.0, 0.0]))[:3, 3], pose[:3, 3])
    assert_allclose(moved(pose, np.array([0.0, 0.0, 0.0, 0.1, -0.2, np.log(1.5)]))[:3, 3], [0.2, -0.4, 3.0])


def test_cameras_by_eye_settle(views, monkeypatch):
    monkeypatch.setattr(rough, "GRID", 24)
    monkeypatch.setattr(rough, "ROUNDS", 2)
    monkeypatch.setattr(rough, "TRIALS", 40)
    start = shaken(views, 12.0)
    found = settled(start, 12.0)
    before, after = (coverage(some, 1.0, 40).mean() for some in (start, start._replace(cameras=found)))
    assert after > before + 0.5 * (1.0 - before)


def write_photographs(folder: Path, views: Views) -> None:
    """Masks and photographs of cameras at known angles, as NeRS has them, with the focal length in EXIF."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number, mask in enumerate(views.silhouette):
        pixels = Image.fromarray((255 * mask).astype(np.uint8))
        pixels.save(folder / "masks" / f"{number}.png")
        exif = Image.Exif()
        exif.get_ifd(0x8769)[41989] = 30
        pixels.convert("RGB").save(folder / "images" / f"{number}.jpg", exif=exif)
    angles = {"azimuths": [0, 90, 0][: len(views.silhouette)], "elevations": [0, 30, 90][: len(views.silhouette)]}
    (folder / "metadata.json").write_text(json.dumps(angles | {"extents": [1, 1, 1]}))


def test_photographs_with_angles_are_read(views, tmp_path):
    write_photographs(tmp_path, select_views(views, slice(3)))
    capture = read_capture(tmp_path)
    assert capture.kind == "ners" and "focal lengths from EXIF" in capture.notices[1]
    assert_allclose(capture.views.cameras.intrinsics[:, 0, 0], 30 / 36 * 64)
    assert focal_of(tmp_path / "masks" / "0.png") is None
    place, depth = (np.asarray(x) for x in project(capture.views.cameras, np.eye(3) * 0.1))
    middle = np.asarray(project(capture.views.cameras, np.zeros((1, 3)))[0])[:, 0]
    for view, mask in enumerate(capture.views.silhouette):
        row, column = np.nonzero(mask)
        assert_allclose(middle[view], [np.ptp(column) / 2 + column.min() + 0.5, np.ptp(row) / 2 + row.min() + 0.5])
    # in front: x to the right, y up, z nearer; from the right: z to the left; from above: z down in the image
    assert place[0, 0, 0] > middle[0, 0] and place[0, 1, 1] < middle[0, 1] and np.argmin(depth[0]) == 2
    assert place[1, 2, 0] < middle[1, 0] and np.argmin(depth[1]) == 0
    assert place[2, 2, 1] > middle[2, 1] and place[2, 0, 0] > middle[2, 0] and np.argmin(depth[2]) == 1
    turn = pose_error(*capture.views.cameras.world_from_camera[:2], 1.0).rotation_degrees
    assert 70.0 < turn < 120.0


@pytest.mark.parametrize(
    ("change", "message"),
    [({"azimuths": [0, 1]}, "azimuths: must be 3 numbers"), ({"extents": [1, 0, 1]}, "extents must be positive")],
)
def test_angles_that_do_not_fit_are_refused(views, tmp_path, change, message):
    write_photographs(tmp_path, select_views(views, slice(3)))
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_capture(tmp_path)


def test_a_photograph_without_a_mask_is_refused(views, tmp_path):
    write_photographs(tmp_path, select_views(views, slice(3)))
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"view 1 \(1.jpg\) has no mask"):
        read_capture(tmp_path)
