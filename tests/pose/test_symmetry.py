"""Poses that look the same: found once for a model, the nearest kept; a lost object is found again."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.metaballs import HALF_OPAQUE, mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.geometry.metrics import largest_symmetric_distance, pose_error
from fmb.geometry.poses import PoseEstimate
from fmb.pose.refinement import surface_of
from fmb.pose.symmetry import all_maps, closed, nearest, turns_of
from fmb.pose.tracking import Tracker, track, turned_poses
from tests.pose_scene import camera_at, lopsided_mixture, observe, search_program, tracking_program


def ellipsoid(*radii: float) -> Mixture:
    sharp = 4.0
    lower = np.diag(np.sqrt(2.0 * sharp) / np.array(radii))[None]
    return Mixture(np.array([[0.1, -0.2, 0.05]]), lower, np.array([sharp + HALF_OPAQUE]))


def test_turns_of_solids():
    brick, disc = turns_of(ellipsoid(0.7, 0.45, 0.25)), turns_of(ellipsoid(0.5, 0.5, 0.2))
    assert len(brick.maps) == 4 and brick.axis is None
    assert brick.words == "4 poses look the same"
    np.testing.assert_allclose(np.abs(disc.axis), [0, 0, 1], atol=1e-2)
    assert len(disc.maps) == 2 and disc.words == "revolution, and end over end"
    assert turns_of(lopsided_mixture()).words == "none"
    for one in brick.maps:  # each is rigid and leaves the middle where it is
        assert np.linalg.det(one[:3, :3]) == pytest.approx(1.0)
        np.testing.assert_allclose(one @ [0.1, -0.2, 0.05, 1.0], [0.1, -0.2, 0.05, 1.0], atol=1e-2)
    steps = Rotation.from_rotvec([0.0, 0.0, 1.0]).as_matrix()
    endless = np.tile(np.eye(4), (2, 1, 1))
    endless[1, :3, :3] = steps
    assert len(closed([endless])) == 1  # a turn by a radian is of no finite group


@pytest.mark.slow
def test_a_mesh_decides_where_there_is_one():
    mesh = trimesh.creation.box((1.2, 0.8, 0.5))
    mesh.apply_translation([0.1, -0.2, 0.05])
    assert len(turns_of(ellipsoid(0.7, 0.45, 0.25), mesh).maps) == 4
    peg = trimesh.creation.box((0.2, 0.2, 0.6), trimesh.transformations.translation_matrix([0.5, 0.0, 0.3]))
    assert turns_of(ellipsoid(0.7, 0.45, 0.25), trimesh.util.concatenate([mesh, peg])).words == "none"


@pytest.mark.parametrize("radii", [(0.7, 0.45, 0.25), (0.5, 0.5, 0.2)])
def test_the_nearest_of_like_poses(radii):
    turns, pose = turns_of(ellipsoid(*radii)), camera_at(np.array([0.3, -0.6, 0.2]))
    last = pose @ np.linalg.inv(camera_at(np.zeros(3))) @ camera_at(np.array([0.02, 0.0, 0.01]))
    for one in all_maps(turns, 7):
        found = nearest(turns, one @ pose, last)
        away = pose_error(found, last, 1.0).rotation_degrees
        assert away <= pose_error(pose, last, 1.0).rotation_degrees + 0.5
        point = np.random.default_rng(0).normal(size=(20, 3))
        like = largest_symmetric_distance(np.linalg.inv(one @ pose), np.linalg.inv(pose), point, all_maps(turns, 7))
        assert like < 1e-6
    moved = pose.copy()
    moved[:3, 3] += [0.0, 0.3, 0.4]
    assert largest_symmetric_distance(
        np.linalg.inv(moved), np.linalg.inv(pose), np.zeros((1, 3)), np.eye(4)[None]
    ) == pytest.approx(0.5)


def test_turned_poses_are_those_of_a_cube():
    pose, middle = camera_at(np.array([0.1, 0.2, 0.3])), np.array([0.1, 0.0, -0.1])
    poses = turned_poses(pose, middle)
    np.testing.assert_allclose(poses[0], pose)
    assert len({tuple(np.round(one[:3, :3].ravel(), 6)) for one in poses}) == 24
    seen = [np.linalg.inv(one) @ [*middle, 1.0] for one in (pose, *poses)]
    np.testing.assert_allclose(seen, np.tile(seen[0], (25, 1)))


def test_a_lost_object_is_found_again():
    mixture = lopsided_mixture()
    mesh = mesh_mixture(mixture, MeshOptions(mesh_resolution=40)).mesh
    point, face = trimesh.sample.sample_surface(mesh, 10_000, seed=0)
    own = surface_of(np.asarray(point), np.asarray(mesh.face_normals)[face])._replace(exact=False)
    cameras = [
        camera_at(np.array([0.0, angle, 0.0])) for angle in (0.0, 0.05, 0.95, 0.95, 0.95)
    ]  # a jump of 52 degrees
    frames = [observe(mixture, camera, np.random.default_rng(0)) for camera in cameras]
    for finder in (None, search_program()):
        fits = list(track(Tracker(tracking_program(), mixture, surface=own, search=finder), frames, cameras[0]))
        pairs = list(zip(fits, cameras, strict=True))
        away = [pose_error(fit.world_from_camera, camera, 1.0).rotation_degrees for fit, camera in pairs]
        assert all(degrees < 2.5 for fit, degrees in zip(fits, away, strict=True) if fit.success)
    assert all(fit.success for fit in fits)


def test_a_track_keeps_the_nearest_of_like_poses(monkeypatch):
    turns, seen = turns_of(ellipsoid(0.7, 0.45, 0.25)), observe(lopsided_mixture(), camera_at(np.zeros(3)))
    cameras = [camera_at(np.array([0.0, angle, 0.1])) for angle in (0.0, 0.1, 0.2, 0.3)]
    found = iter([turns.maps[number] @ camera for number, camera in enumerate(cameras)])  # each another of the four

    def flips(*_):
        unknown = np.zeros(1)
        return PoseEstimate(next(found), np.eye(6), np.eye(4)[None], unknown, 0.0, 0.0, True, 1)

    monkeypatch.setattr("fmb.pose.tracking.found_in", flips)
    followed = track(Tracker(tracking_program(), lopsided_mixture(), turns=turns), [seen] * 4, cameras[0])
    for fit, camera in zip(followed, cameras, strict=True):
        assert pose_error(fit.world_from_camera, camera, 1.0).rotation_degrees < 1.0
