"""ICP on motions that are known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.table2.icp import IcpOptions, back_projected, icp, icp_target, plane_step, point_step
from fmb.geometry.cameras import pinhole_intrinsics


@pytest.fixture(scope="module")
def blob():
    """Points and normals of an ellipsoid with a dent, far from the origin, and a motion of 15 degrees."""
    direction = np.random.default_rng(0).normal(size=(4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    axes = np.array([1.0, 0.7, 0.4])
    normal = direction / axes
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.deg2rad([10.0, -8.0, 7.0])).as_matrix()
    motion[:3, 3] = [0.1, -0.05, 0.08]
    return direction * axes, normal, motion


def moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return points @ motion[:3, :3].T + motion[:3, 3]


@pytest.mark.parametrize("rule", ["point", "plane"])
def test_a_part_of_the_cloud_finds_its_place(blob, rule):
    points, normal, motion = blob
    part = points[points[:, 2] > 0.1]
    found = icp(moved(part, np.linalg.inv(motion)), icp_target(points, normal), np.eye(4), rule)
    assert found.success and found.iterations < 100
    assert found.residual < 1e-9
    np.testing.assert_allclose(found.target_from_source, motion, atol=1e-9)


def test_planes_take_fewer_steps(blob):
    points, normal, motion = blob
    source, target = moved(points[:500], np.linalg.inv(motion)), icp_target(points[500:], normal[500:])
    point, plane = (icp(source, target, np.eye(4), rule) for rule in ("point", "plane"))
    assert plane.iterations < point.iterations
    # no point is in both clouds: the planes forgive that, to second order in the spacing
    far, near = (np.linalg.norm(fit.target_from_source - motion) for fit in (point, plane))
    assert near < far / 3 and far < 0.2


def test_point_step_is_the_rotation_of_scipy(blob):
    points, _, motion = blob
    cloud = points[:50]
    step, residual = point_step(cloud, icp_target(moved(points, motion)), np.arange(50))
    np.testing.assert_allclose(step, motion, atol=1e-13)
    assert residual == pytest.approx(np.sqrt(np.mean(np.sum((moved(cloud, motion) - cloud) ** 2, axis=1))), rel=1e-12)
    noisy = moved(cloud, motion) + 0.1 * np.random.default_rng(1).normal(size=cloud.shape)
    step, _ = point_step(cloud, icp_target(noisy), np.arange(50))
    expected = Rotation.align_vectors(noisy - noisy.mean(axis=0), cloud - cloud.mean(axis=0))[0]
    np.testing.assert_allclose(step[:3, :3], expected.as_matrix(), atol=1e-12)
    # a flat cloud and its mirror image: still a rotation
    flat = np.random.default_rng(2).normal(size=(10, 3)) * [1.0, 1.0, 0.0]
    step, _ = point_step(flat, icp_target(flat * [-1.0, 1.0, 1.0]), np.arange(10))
    assert np.linalg.det(step[:3, :3]) == pytest.approx(1.0)


def test_plane_step_leaves_what_planes_do_not_determine():
    # all normals along z: the motion within the plane stays 0
    generator = np.random.default_rng(0)
    ground = np.c_[generator.uniform(-1, 1, (200, 2)), np.zeros(200)]
    target = icp_target(ground, np.tile([0.0, 0.0, 1.0], (200, 1)))
    step, residual = plane_step(ground + [0.3, 0.2, 0.25], target, np.arange(200))
    np.testing.assert_allclose(step[:3, 3], [0.0, 0.0, -0.25], atol=1e-12)
    np.testing.assert_allclose(step[:3, :3], np.eye(3), atol=1e-12)
    assert residual == pytest.approx(0.25)


def test_trimming_and_the_furthest_pair_leave_out_strays(blob):
    points, normal, motion = blob
    source = moved(points[:1000], np.linalg.inv(motion))
    strays = np.concatenate([source, source[:150] + [0.0, 0.0, 3.0]])
    target = icp_target(points, normal)
    misled = icp(strays, target, np.eye(4))
    assert np.linalg.norm(misled.target_from_source - motion) > 0.05
    for options in (IcpOptions(kept=0.8), IcpOptions(furthest=0.4)):
        found = icp(strays, target, np.eye(4), "point", options)
        np.testing.assert_allclose(found.target_from_source, motion, atol=1e-6)


def test_it_stops_where_nothing_is_near_or_steps_run_out(blob):
    points, normal, motion = blob
    target, away = icp_target(points, normal), np.eye(4)
    away[:3, 3] = 100.0
    lost = icp(points, target, away, "point", IcpOptions(furthest=0.1))
    assert not lost.success and lost.iterations == 1 and np.isnan(lost.residual)
    np.testing.assert_array_equal(lost.target_from_source, away)
    short = icp(moved(points, np.linalg.inv(motion)), target, np.eye(4), "point", IcpOptions(most_steps=2))
    assert not short.success and short.iterations == 2


def test_pixels_become_points():
    intrinsics = pinhole_intrinsics(4, 6, 45.0)
    depth = np.full((4, 6), np.nan)
    depth[1, 4], depth[3, 0], depth[0, 0] = 2.0, 3.0, 0.0
    points = back_projected(depth, intrinsics)
    seen = points @ intrinsics.T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], [[4.5, 1.5], [0.5, 3.5]])
    np.testing.assert_allclose(points[:, 2], [2.0, 3.0])


def test_messages(blob):
    points, normal, _ = blob
    with pytest.raises(ValueError, match="target of 2 points; must be at least 3"):
        icp_target(points[:2])
    with pytest.raises(ValueError, match="3 normals of 4000 points"):
        icp_target(points, normal[:3])
    target = icp_target(points)
    with pytest.raises(ValueError, match="source of 1 points; must be at least 3"):
        icp(points[:1], target, np.eye(4))
    with pytest.raises(ValueError, match="icp rule 'line' is not one of point, plane"):
        icp(points, target, np.eye(4), "line")
    with pytest.raises(ValueError, match="icp rule 'plane' needs the target's normals"):
        icp(points, target, np.eye(4), "plane")
    with pytest.raises(ValueError, match="kept 0.0 of the pairs; must be above 0 and at most 1"):
        icp(points, target, np.eye(4), "point", IcpOptions(kept=0.0))
