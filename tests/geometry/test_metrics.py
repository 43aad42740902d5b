import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff
from scipy.spatial.transform import Rotation
from sklearn.metrics import jaccard_score, log_loss

from fmb.geometry.metrics import (
    average_distance,
    average_nearest_distance,
    chamfer_distance,
    cross_entropy,
    depth_mae,
    hausdorff_distance,
    iou,
    object_pose_error,
    pose_error,
    view_ious,
)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An alpha, a binary silhouette and a mask of valid pixels."""
    generator = np.random.default_rng(0)
    alpha, chance = generator.uniform(size=(2, 2, 5, 6))
    return alpha, chance > 0.4, np.arange(60).reshape(2, 5, 6) > 20


def test_cross_entropy_against_scikit_learn(images):
    alpha, silhouette, valid = images
    both = np.stack([1.0 - alpha.ravel(), alpha.ravel()], axis=-1)
    expected = log_loss(silhouette.ravel(), both)
    assert cross_entropy(alpha, silhouette.astype(float)) == pytest.approx(expected, rel=1e-13)
    keep = valid.ravel()
    expected = log_loss(silhouette.ravel()[keep], both[keep])
    assert cross_entropy(jnp.array(alpha), silhouette.astype(float), valid) == pytest.approx(expected, rel=1e-13)


def test_cross_entropy_clips_alpha():
    wrong, right = cross_entropy(np.zeros(1), np.ones(1)), cross_entropy(np.ones(1), np.ones(1))
    assert wrong == pytest.approx(-np.log(1e-6), rel=1e-14)
    assert right == pytest.approx(1e-6, rel=1e-5)
    assert cross_entropy(np.ones(1), np.zeros(1)) == pytest.approx(-np.log(1e-6), rel=1e-9)
    soft = cross_entropy(np.array([0.3]), np.array([0.25]))
    assert soft == pytest.approx(-0.25 * np.log(0.3) - 0.75 * np.log(0.7), rel=1e-14)
    # float32 images are measured in float64: 1 - 1e-8 is clipped, not rounded to 1
    assert cross_entropy(np.float32([1.0]), np.zeros(1)) == pytest.approx(-np.log(1e-6), rel=1e-9)


def test_iou_against_scikit_learn(images):
    alpha, silhouette, valid = images
    expected = jaccard_score(silhouette.ravel(), alpha.ravel() >= 0.5)
    assert iou(alpha, silhouette.astype(float)) == pytest.approx(expected, rel=1e-15)
    assert iou(alpha, np.where(silhouette, 0.5, 0.49)) == pytest.approx(expected, rel=1e-15)  # soft references
    expected = jaccard_score(silhouette[valid], alpha[valid] > 0.5)
    assert iou(alpha, silhouette.astype(float), valid) == pytest.approx(expected, rel=1e-15)
    assert iou(np.zeros((2, 2)), np.zeros((2, 2))) == 1.0
    assert iou(np.ones((2, 2)), np.zeros((2, 2))) == 0.0


def test_depth_error_counts_where_both_see_the_object():
    depth, observed = np.array([2.0, 5.0, 9.0, 1.0]), np.array([2.5, 4.0, np.nan, 3.0])
    alpha = np.array([0.9, 0.6, 0.9, 0.1])
    assert depth_mae(depth, observed, alpha) == pytest.approx(0.75, rel=1e-15)
    assert depth_mae(depth, observed, alpha, np.array([True, False, True, True])) == pytest.approx(0.5, rel=1e-15)
    assert np.isnan(depth_mae(depth, observed, np.zeros(4)))


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 30.0, 179.9999999, 180.0])
def test_pose_error(degrees):
    reference, pose = np.eye(4), np.eye(4)
    reference[:3, :3] = Rotation.from_rotvec([0.5, -0.2, 2.0]).as_matrix()
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.0, 0.8]))
    pose[:3, :3] = reference[:3, :3] @ turn.as_matrix()
    pose[:3, 3], reference[:3, 3] = [1.0, 2.0, 3.0], [1.0, 2.3, 3.4]
    error = pose_error(pose, reference, size=2.0)
    assert error.rotation_degrees == pytest.approx(degrees, abs=1e-13)
    assert error.translation_percent == pytest.approx(25.0, rel=1e-14)
    assert error.combined == pytest.approx(np.sqrt(25.0 * error.rotation_degrees), rel=1e-13)


def moved(rotation: list[float], shift: list[float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(rotation).as_matrix(), shift
    return pose


def test_object_pose_error_is_measured_at_the_centre():
    reference, centre = moved([0.3, -1.0, 0.4], [0.1, 0.2, 3.0]), np.array([0.5, -0.2, 0.1])
    to, back = moved([0.0, 0.0, 0.0], centre), moved([0.0, 0.0, 0.0], -centre)
    turned = reference @ to @ moved([0.0, 0.2, 0.0], [0.0, 0.0, 0.0]) @ back  # about the centre: it stays in place
    error = object_pose_error(turned, reference, 2.0, centre)
    assert error.rotation_degrees == pytest.approx(np.rad2deg(0.2), rel=1e-12)
    assert error.translation_percent == pytest.approx(0.0, abs=1e-12)
    turned[:3, 3] += [0.0, 0.03, 0.04]
    error = object_pose_error(turned, reference, 2.0, centre)
    assert error.translation_percent == pytest.approx(2.5, rel=1e-12)
    assert error.combined == pytest.approx(np.sqrt(2.5 * np.rad2deg(0.2)), rel=1e-12)
    assert object_pose_error(reference, reference, 2.0).combined == 0.0


def test_average_distances():
    points = np.random.default_rng(0).normal(size=(200, 3))
    reference, shifted = moved([0.0, 0.5, 0.0], [0.0, 0.0, 3.0]), moved([0.0, 0.5, 0.0], [0.3, 0.4, 3.0])
    assert average_distance(shifted, reference, points) == pytest.approx(0.5, rel=1e-12)
    far, pose = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 7.0, 0.0]]), moved([0.1, 0.2, 0.3], [1.0, 0.0, 0.0])
    there, here = far, far @ pose[:3, :3].T + pose[:3, 3]
    table = np.linalg.norm(there[:, None] - here, axis=-1)
    assert average_distance(pose, np.eye(4), far) == pytest.approx(np.diag(table).mean(), rel=1e-12)
    assert average_nearest_distance(pose, np.eye(4), far) == pytest.approx(table.min(axis=1).mean(), rel=1e-12)
    # a square turned by a right angle is the same square to ADD-S, and another one to ADD
    square = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    quarter = moved([0.0, 0.0, np.pi / 2], [0.0, 0.0, 0.0])
    assert average_nearest_distance(quarter, np.eye(4), square) == pytest.approx(0.0, abs=1e-15)
    assert average_distance(quarter, np.eye(4), square) == pytest.approx(np.sqrt(2.0), rel=1e-12)


def test_cloud_distances_against_scipy():
    generator = np.random.default_rng(0)
    points, reference = generator.normal(size=(50, 3)), generator.normal(size=(70, 3))
    expected = max(directed_hausdorff(points, reference)[0], directed_hausdorff(reference, points)[0])
    assert hausdorff_distance(points, reference) == pytest.approx(expected, rel=1e-14)
    table = np.linalg.norm(points[:, None] - reference, axis=-1)
    expected = 0.5 * (table.min(axis=0).mean() + table.min(axis=1).mean())
    assert chamfer_distance(points, reference) == pytest.approx(expected, rel=1e-14)
    assert chamfer_distance(points, points) == hausdorff_distance(points, points) == 0.0


def test_nothing_to_measure_is_an_error():
    nothing = np.zeros((2, 2), bool)
    for metric in (cross_entropy, iou):
        with pytest.raises(ValueError, match="no valid pixel to measure"):
            metric(np.zeros((2, 2)), np.zeros((2, 2)), nothing)
    with pytest.raises(ValueError, match="no valid pixel to measure"):
        depth_mae(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)), nothing)
    for distance in (chamfer_distance, hausdorff_distance):
        with pytest.raises(ValueError, match="clouds of 0 and 4 points: neither may be empty"):
            distance(np.zeros((0, 3)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="model size 0.0: must be positive"):
        pose_error(np.eye(4), np.eye(4), 0.0)
    with pytest.raises(ValueError, match="no points of the object to measure with"):
        average_distance(np.eye(4), np.eye(4), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="no points of the object to measure with"):
        average_nearest_distance(np.eye(4), np.eye(4), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="model size -1.0: must be positive"):
        object_pose_error(np.eye(4), np.eye(4), -1.0)


def test_each_view_by_the_same_rule(images):
    alpha, silhouette, valid = (np.array(image) for image in images)
    alpha[0, 0] = 0.5  # half covered is covered
    soft = silhouette.astype(float)
    expected = [iou(alpha[view], soft[view], valid[view]) for view in range(2)]
    assert view_ious(alpha, soft, valid) == pytest.approx(expected, rel=1e-15)
    assert view_ious(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))) == [1.0]
