"""What a depth image says beside the mixture: hidden pixels, points on the surface, and which pose they favour."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from fmb.fields.metaballs import mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.geometry.metrics import object_pose_error
from fmb.pose.estimate import find_pose
from fmb.pose.observation import Observation, observed_pixels
from fmb.pose.occlusion import BEFORE, hidden_pixels
from fmb.pose.refinement import about_middle, matched, measured_points, motion, refined, surface_of, twist
from fmb.pose.simulation import Exposure, occluded
from fmb.pose.symmetry import Turns
from fmb.pose.verification import agreement, best_rival, evidence_of, loose, settled, sure
from tests.pose_scene import INTRINSICS, camera_at, lopsided_mixture, observe, shifted, tracking_program

TRUTH = camera_at(np.array([0.2, 0.5, -0.3]))
NOISE_FREE = observe(lopsided_mixture(), TRUTH)


def sampled(mesh: trimesh.Trimesh, count: int = 20_000):
    point, face = trimesh.sample.sample_surface(mesh, count, seed=0)
    return surface_of(np.asarray(point), np.asarray(mesh.face_normals)[face])


@pytest.fixture(scope="module")
def balls():
    """Points on the surface of the mixture that images are drawn of."""
    return sampled(mesh_mixture(lopsided_mixture(), MeshOptions(mesh_resolution=64)).mesh)


def test_what_stands_before_the_object_hides_it():
    silhouette = np.zeros((20, 30))
    silhouette[5:15, 10:20] = 1
    depth = np.where(silhouette > 0, 3.0, 5.0)
    depth[:, 20:] = 2.0  # a board beside it
    depth[15:, :20] = 3.0 - BEFORE / 2  # the table that it stands on
    depth[:, :4] = np.nan
    hidden = hidden_pixels(depth, silhouette, 1.0)
    np.testing.assert_array_equal(hidden, np.arange(30)[None] >= np.where(np.ones((20, 1)) > 0, 20, 0))
    np.testing.assert_array_equal(hidden_pixels(7 * depth, silhouette, 7.0), hidden)
    depth[:, 20] = np.nan  # a camera measures nothing beside an edge: the nearest pixel tells
    depth[:, 15:20] = np.where(silhouette[:, 15:20] > 0, np.nan, depth[:, 15:20])
    assert hidden_pixels(depth, silhouette, 1.0)[8, 20]
    for nothing in (np.where(silhouette > 0, np.nan, depth), np.where(silhouette > 0, depth, np.nan)):
        assert not hidden_pixels(nothing, silhouette, 1.0).any()
    weight = observed_pixels(Observation(INTRINSICS, depth, silhouette), 1.0).mask_weight
    assert not weight[:, 21:].any() and weight[:, 4:10].all()


def test_a_board_hides_the_share_that_is_asked_for():
    exposure = Exposure(NOISE_FREE.depth, NOISE_FREE.silhouette, INTRINSICS)
    seen = occluded(exposure, np.random.default_rng(0), 0.4)
    assert seen.silhouette.sum() == pytest.approx(0.6 * exposure.silhouette.sum(), rel=0.1)
    board = (seen.silhouette == 0) & (exposure.silhouette > 0)
    assert (seen.depth[board] < np.nanmin(exposure.depth) - 0.09).all()
    np.testing.assert_array_equal(occluded(exposure, np.random.default_rng(0), 0.0).depth, exposure.depth)
    for wrong, share in ((exposure, 1.0), (exposure._replace(depth=np.full((30, 40), np.nan)), 0.3)):
        with pytest.raises(ValueError, match="hidden share 1.0|no pixel of the object has a depth"):
            occluded(wrong, np.random.default_rng(0), share)


def test_slopes_of_pairs_are_those_of_finite_differences(balls):
    points, step = measured_points(NOISE_FREE), 1e-7
    pairs = matched(balls, points, TRUTH, 0.1)
    for axis, unit in enumerate(np.eye(6)):
        moved = matched(balls, points, TRUTH @ np.linalg.inv(motion(step * unit)), 0.1)
        same = np.abs(moved.distance - pairs.distance) < 1e-4  # a few find another partner
        found = (moved.distance - pairs.distance)[same] / step
        np.testing.assert_allclose(found, pairs.slope[same, axis], atol=1e-4)
    xi = np.array([0.1, -0.2, 0.05, 0.3, 0.1, -0.2])
    np.testing.assert_allclose(twist(TRUTH, TRUTH @ np.linalg.inv(motion(xi))), xi, atol=1e-12)


def test_points_on_the_surface_end_nearer_than_the_mixture(balls):
    held, points = loose(1.0), measured_points(NOISE_FREE)
    start = shifted(TRUTH, np.array([0.03, -0.04, 0.05]), np.array([0.01, -0.02, 0.02]))
    found = refined(balls, points, start, held, 1.0)
    error = object_pose_error(np.linalg.inv(found.world_from_camera), np.linalg.inv(TRUTH), 1.0)
    assert error.combined < 0.1
    assert sure(found, balls, 1.0)
    unit = np.repeat([1.0, 50.0], 3)  # in another unit the same
    large = surface_of(50 * balls.point, balls.normal)
    far = start.copy()
    far[:3, 3] *= 50
    again = refined(large, 50 * points, far, held / np.outer(unit, unit), 50.0)
    np.testing.assert_allclose(again.world_from_camera[:3, 3], 50 * found.world_from_camera[:3, 3], atol=1e-3)
    spread = np.sqrt(np.diagonal(again.covariance) / np.diagonal(found.covariance)) / unit
    np.testing.assert_allclose(spread, 1.0, atol=0.1)  # rounding gives some points another partner
    assert refined(balls, points[:5], start, held, 1.0) is None


def test_what_points_leave_open_stays_and_is_said():
    can = sampled(trimesh.creation.cylinder(0.4, 1.2, sections=256))
    inside = can.normal @ TRUTH[:3, 2] < -0.2  # about what a camera sees
    points = (can.point[inside][::7] - TRUTH[:3, 3]) @ TRUTH[:3, :3]
    start = shifted(TRUTH, 0.05 * TRUTH[:3, :3].T[:, 2], np.zeros(3))  # turned about its own axis
    found = refined(can, points, start, loose(1.0), 1.0)
    turn = np.linalg.inv(start)[:3, :3].T @ np.linalg.inv(found.world_from_camera)[:3, :3]
    assert np.linalg.norm(Rotation.from_matrix(turn).as_rotvec()) < 0.01
    change = about_middle(found.world_from_camera, can, 1.0)
    turns = (change @ found.covariance @ change.T)[:3, :3]
    axis = TRUTH[:3, :3].T[:, 2]
    assert axis @ turns @ axis > 0.1 > 100 * (np.trace(turns) - axis @ turns @ axis)
    assert not sure(found, can, 1.0)


def test_the_surface_tells_a_right_pose_from_a_wrong_one(balls):
    pixels = observed_pixels(NOISE_FREE, 1.0)
    evidence = evidence_of(NOISE_FREE, pixels, 1.0)
    right = agreement(balls, evidence, TRUTH, 1.0)
    assert right.total < 0.05
    turned, aside = shifted(TRUTH, np.array([0.0, 0.9, 0.0]), np.zeros(3)), shifted(TRUTH, np.zeros(3), np.full(3, 0.3))
    nearer = shifted(TRUTH, np.zeros(3), np.array([0.0, 0.0, -0.3]))
    assert agreement(balls, evidence, turned, 1.0).off > 0.3
    assert agreement(balls, evidence, aside, 1.0).spilt > 0.1
    assert agreement(balls, evidence, nearer, 1.0).ahead > 0.3
    close = shifted(TRUTH, np.full(3, 0.05), np.full(3, 0.01))
    best, against = best_rival(balls, evidence, np.stack([nearer, turned, close]), turned, 1.0)
    assert against.total < 0.05
    ending, agrees, alone = settled(balls, evidence, np.stack([turned, nearer, close]), np.full((6, 6), np.nan), 1.0)
    assert agrees.total < 0.05 and alone
    assert object_pose_error(np.linalg.inv(ending.world_from_camera), np.linalg.inv(TRUTH), 1.0).combined < 0.2
    assert np.isfinite(best).all()


def test_a_pose_is_found_behind_a_board(balls):
    exposure = Exposure(NOISE_FREE.depth, NOISE_FREE.silhouette, INTRINSICS)
    seen = occluded(exposure, np.random.default_rng(1), 0.4)
    observation, mixture = Observation(INTRINSICS, seen.depth, seen.silhouette), lopsided_mixture()
    start = shifted(TRUTH, np.full(3, 0.08), np.full(3, 0.04))
    for surface, least in ((None, 2.0), (balls, 0.3)):
        fit = find_pose(tracking_program(), mixture, observation, start, 1.0, surface)
        assert object_pose_error(np.linalg.inv(fit.world_from_camera), np.linalg.inv(TRUTH), 1.0).combined < least
        assert fit.success
    assert fit.disagreement < 0.05
    own, evidence = balls._replace(exact=False), evidence_of(observation, observed_pixels(observation, 1.0), 1.0)
    fit = find_pose(tracking_program(), mixture, observation, start, 1.0, own)  # what it tells is of its own pose
    assert fit.disagreement == pytest.approx(agreement(own, evidence, fit.world_from_camera, 1.0).total, rel=1e-6)
    blind = observation._replace(depth=np.where(seen.silhouette > 0, seen.depth, np.nan))  # the board is not seen
    fit = find_pose(tracking_program(), mixture, blind._replace(valid=~(seen.depth < 2.3)), start, 1.0)
    assert object_pose_error(np.linalg.inv(fit.world_from_camera), np.linalg.inv(TRUTH), 1.0).combined < 2.0


def test_a_pose_that_is_not_the_only_one_is_doubted():
    brick = sampled(trimesh.creation.box((1.0, 0.6, 0.4)))
    hit = brick.normal @ TRUTH[:3, 2] < -0.3
    place = (brick.point[hit] - TRUTH[:3, 3]) @ TRUTH[:3, :3]
    pixel = (place @ INTRINSICS.T)[:, :2] / place[:, 2:]
    depth = np.full((30, 40), np.nan)
    depth[tuple(np.floor(pixel.T[::-1]).astype(int))] = place[:, 2]
    seen = Observation(INTRINSICS, depth, np.isfinite(depth).astype(float))
    evidence = evidence_of(seen, observed_pixels(seen, 1.0), 1.0)
    over = np.diag([-1.0, -1.0, 1.0, 1.0]) @ TRUTH
    poses = np.stack([TRUTH, over])
    assert not settled(brick, evidence, poses, np.full((6, 6), np.nan), 1.0).alone
    turns = Turns(np.stack([np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])]), None, np.zeros(3))
    verdict = settled(brick._replace(turns=turns), evidence, poses, np.full((6, 6), np.nan), 1.0)
    assert verdict.alone and verdict.agrees.total < 0.1
