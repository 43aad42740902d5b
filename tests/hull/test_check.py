"""Whether cameras and masks agree: on a scene that is known, with every mistake made on purpose."""

import numpy as np
import pytest
import trimesh

from fmb.geometry.cameras import Cameras, look_at, random_cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.noise import damaged, flipped, over_segmented
from fmb.geometry.views import Views, select_views
from fmb.hull.check import (
    AS_GIVEN,
    CONVENTIONS,
    EXCHANGED,
    FINE_SIDE,
    check_cameras,
    intrinsics_of_size,
    overlap,
    thinned,
)
from fmb.hull.frame import frame_from_views
from fmb.hull.votes import cast_votes, hull, hull_box, sighted_frame

SIZE = (80, 104)
INTRINSICS = np.array([[104.0, 0.0, 56.0], [0.0, 100.0, 37.0], [0.0, 0.0, 1.0]])
GL, UPSIDE = np.diag([1.0, -1.0, -1.0, 1.0]), np.diag([-1.0, -1.0, 1.0, 1.0])


def odd_shape() -> trimesh.Trimesh:
    """A solid that is like itself in no mirror and under no rotation."""
    parts = [
        trimesh.creation.box((1.0, 0.3, 0.4)),
        trimesh.creation.icosphere(3, 0.3),
        trimesh.creation.box((0.2, 0.7, 0.2)),
    ]
    for part, place in zip(parts, ((0.0, 0.0, 0.0), (0.45, 0.3, 0.1), (-0.4, 0.3, 0.2)), strict=True):
        part.apply_translation(place)
    return trimesh.util.concatenate(parts)


@pytest.fixture(scope="module")
def scene() -> Views:
    """Ten views from all sides, around and above, in a world that is large and far away."""
    cameras = random_cameras(np.random.default_rng(3), 14, 3.0, INTRINSICS)
    views = render_ground_truth(odd_shape(), cameras, SIZE, "raycast").views
    return views._replace(depth=None, cameras=far_away(views.cameras))


def far_away(cameras: Cameras) -> Cameras:
    """The same in a unit 1/40 as large and far from the origin."""
    pose = cameras.world_from_camera.copy()
    pose[:, :3, 3] = 40.0 * pose[:, :3, 3] + np.array([1000.0, -500.0, 200.0])
    return cameras._replace(world_from_camera=pose)


def with_poses(views: Views, pose: np.ndarray) -> Views:
    return views._replace(cameras=views.cameras._replace(world_from_camera=pose))


def with_intrinsics(views: Views, factor: float) -> Views:
    intrinsics = np.diag([factor, factor, 1.0]) @ views.cameras.intrinsics
    return views._replace(cameras=views.cameras._replace(intrinsics=intrinsics))


MISTAKES = {
    "OpenGL axes": lambda views: with_poses(views, views.cameras.world_from_camera @ GL),
    "inverted poses": lambda views: with_poses(views, np.linalg.inv(views.cameras.world_from_camera)),
    "inverted poses, OpenGL axes": lambda views: with_poses(views, np.linalg.inv(views.cameras.world_from_camera @ GL)),
    "axes x left, y up": lambda views: with_poses(views, views.cameras.world_from_camera @ UPSIDE),
    "images flipped top to bottom": lambda views: views._replace(silhouette=views.silhouette[:, ::-1]),
    "images flipped left to right": lambda views: views._replace(silhouette=views.silhouette[:, :, ::-1]),
    EXCHANGED: lambda views: views._replace(silhouette=1.0 - views.silhouette),
    "images one place later": lambda views: views._replace(silhouette=np.roll(views.silhouette, 1, 0)),
    "images one place earlier": lambda views: views._replace(silhouette=np.roll(views.silhouette, -1, 0)),
    "images in reverse order": lambda views: views._replace(silhouette=views.silhouette[::-1]),
    "intrinsics x 0.5": lambda views: with_intrinsics(views, 2.0),
    "intrinsics x 2": lambda views: with_intrinsics(views, 0.5),
    "intrinsics x 0.155": lambda views: with_intrinsics(views, 6.0),
}


def test_good_cameras_agree(scene):
    report = check_cameras(scene)
    assert report.fine and not report.faults and not report.trials
    assert report.agreement > 0.9
    assert np.all(report.explained > 0.97) and np.all(report.iou > 0.6)
    assert report.verdict == f"cameras and masks agree {100 * report.agreement:.0f} % in 14 of 14 views"
    # the hull is where the object is, in the world's own unit
    index = np.argwhere(report.hull.occupied) + 0.5
    middle = report.hull.box.lower + report.hull.box.edge / len(report.hull.occupied) * index.mean(0)
    assert np.allclose(middle, [1000.0, -500.0, 200.0], atol=15.0)


SOME = ("images in reverse order", "images one place later", "intrinsics x 0.5", "intrinsics x 0.155")  # as others


@pytest.mark.parametrize("mistake", [pytest.param(m, marks=[pytest.mark.slow] * (m in SOME)) for m in MISTAKES])
def test_a_wrong_convention_is_named(scene, mistake):
    report = check_cameras(MISTAKES[mistake](scene))
    assert not report.fine
    assert report.trials[0].name == mistake
    assert mistake in report.verdict and report.trials[0].advice in report.verdict
    assert AS_GIVEN in [trial.name for trial in report.trials] or report.agreement == 0.0


def test_every_convention_has_its_mistake(scene):
    assert set(CONVENTIONS) <= set(MISTAKES)
    assert set(MISTAKES) - set(CONVENTIONS) <= {*intrinsics_of_size(scene), "intrinsics x 0.155"}


@pytest.mark.parametrize(("wrong", "shown"), [([4], [9]), ([1, 5, 8, 12], [3, 7, 10, 0])])
def test_wrong_poses_are_named(scene, wrong, shown):
    pose = scene.cameras.world_from_camera.copy()
    pose[wrong] = pose[shown]
    report = check_cameras(with_poses(scene, pose))
    assert sorted(fault.view for fault in report.faults if fault.kind == "camera") == wrong
    assert {fault.kind for fault in report.faults} <= {"camera", "missing"}
    assert not report.fine and report.agreement > 0.9 and f"in {14 - len(wrong)} of 14 views" in report.verdict
    assert f"view {wrong[0]}: its camera or its image is not that of the others" in report.verdict


@pytest.mark.parametrize("nothing", [[2], [2, 5, 9]])
def test_views_of_nothing_are_named_and_do_not_speak_for_the_others(scene, nothing):
    silhouette = scene.silhouette.copy()
    silhouette[nothing] = 0.0
    report = check_cameras(scene._replace(silhouette=silhouette))
    assert sorted((fault.view, fault.kind) for fault in report.faults) == [(view, "empty") for view in nothing]
    assert "explain nothing of its mask" in report.faults[0].text
    assert report.agreement > 0.85 and f"in {14 - len(nothing)} of 14 views" in report.verdict


@pytest.mark.parametrize("noise", [damaged, over_segmented, flipped])
def test_bad_masks_do_not_blame_cameras(scene, noise):
    report = check_cameras(noise(scene, np.random.default_rng(0)))
    assert report.agreement > 0.7
    assert not [fault for fault in report.faults if fault.kind in ("camera", "empty")]
    assert "agree" in report.verdict and "view" in report.verdict


def test_noise_is_no_convention(scene):
    generator = np.random.default_rng(0)
    silhouette = np.array([np.roll(mask, generator.integers(-30, 30, 2), (0, 1)) for mask in scene.silhouette])
    report = check_cameras(scene._replace(silhouette=silhouette))
    assert not report.fine
    assert "no known convention mends it" in report.verdict


def test_views_that_cannot_be_checked(scene):
    with pytest.raises(ValueError, match="1 of 1 views show the object; at least 2 must, to tell where it is"):
        check_cameras(select_views(scene, slice(1)))
    with pytest.raises(ValueError, match="0 of 14 views show the object"):
        check_cameras(scene._replace(silhouette=np.zeros_like(scene.silhouette)))
    pose = scene.cameras.world_from_camera.copy()
    pose[:, :3, 3] = 1000.0
    with pytest.raises(ValueError, match="all 14 cameras stand at one place; it takes several to tell where the obj"):
        sighted_frame(with_poses(scene, pose))
    assert "agree 0 %" in check_cameras(with_poses(scene, pose)).verdict
    pose[0, :3, 3] = 900.0
    with pytest.raises(ValueError, match="the lines of sight meet in the cameras themselves"):
        sighted_frame(with_poses(scene, pose))
    same = select_views(scene, np.array([0, 0, 0]))
    same.cameras.world_from_camera[:, 0, 3] += [0.0, 10.0, 20.0]
    with pytest.raises(ValueError, match="the lines of sight of 3 views are parallel"):
        sighted_frame(same)


def test_pixels_that_say_nothing_do_not_count(scene):
    silhouette, valid = scene.silhouette.copy(), np.ones(scene.silhouette.shape, bool)
    silhouette[:, :, 80:], valid[:, :, 80:] = 1.0, False
    report = check_cameras(scene._replace(silhouette=silhouette, valid=valid))
    assert report.agreement > 0.85 and not report.faults
    assert not report.silhouette[:, :, 41:].any() and not report.others[:, :, 41:].any()


def test_shares_of_masks_by_hand():
    mask = np.zeros((3, 4, 4))
    mask[0, :2], mask[1, :2] = 1.0, 1.0
    drawn = np.zeros((3, 4, 4))
    drawn[0, 1:3] = 1.0
    views = Views(Cameras(np.tile(np.eye(4), (3, 1, 1)), np.tile(INTRINSICS, (3, 1, 1))), mask)
    iou, explained, filled = overlap(views, drawn)
    assert np.allclose(iou, [1 / 3, 0.0, np.nan], equal_nan=True)
    assert np.allclose(explained, [0.5, 0.0, np.nan], equal_nan=True)
    assert np.allclose(filled, [0.5, np.nan, np.nan], equal_nan=True)


def test_thinned_views_see_the_same_points():
    pose = look_at([1.0, 2.0, -3.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])[None]
    silhouette = np.arange(30 * 70, dtype=float).reshape(1, 30, 70) / 2100.0
    views = Views(Cameras(pose, INTRINSICS[None]), silhouette)
    small = thinned(views, 16)
    step, first = 5, 2
    assert small.silhouette.shape == (1, 6, 14)
    assert np.array_equal(small.silhouette[0], silhouette[0, first::step, first::step])
    # the centre of pixel (row 3, column 4) of the small image is that of (17, 22)
    ray = np.linalg.solve(small.cameras.intrinsics[0], [4.5, 3.5, 1.0])
    assert np.allclose(ray, np.linalg.solve(INTRINSICS, [22.5, 17.5, 1.0]))
    assert thinned(views, FINE_SIDE).silhouette.shape == (1, 15, 35)


def test_the_hull_without_a_view_is_that_of_the_others(scene):
    frame = sighted_frame(scene)
    seen = scene._replace(cameras=frame.cameras_to_canonical(scene.cameras))
    box = hull_box(seen)
    votes = cast_votes(seen, box, 24)
    others = select_views(seen, np.array([v for v in range(14) if v != 5]))
    assert np.array_equal(hull(votes, 5).occupied, hull(cast_votes(others, box, 24)).occupied)
    assert hull(votes).occupied.any() and frame_from_views(scene).scale > 0.0
