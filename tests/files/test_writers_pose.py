"""Poses written and read again."""

import csv
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmb.files.bop import BopResult, read_bop_results, write_bop_results
from fmb.files.poses import Track, read_pose, write_pose, write_track
from fmb.geometry.poses import PoseEstimate, scaled_covariance


def poses(count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = Rotation.from_quat(generator.normal(size=(count, 4))).as_matrix()
    found[:, :3, 3] = 1e3 * generator.normal(size=(count, 3))
    return found


def test_a_pose_comes_back_digit_by_digit(tmp_path):
    pose, covariance = poses(1)[0], np.diag([1e-4, 1e-4, 2e-4, 0.01, 0.01, 0.02])
    result = PoseEstimate(pose, covariance, pose[None], np.zeros(1), 0.25, np.nan, True, 12)
    path = write_pose(
        tmp_path / "pose.json", result, {"seconds": 0.125, "scale": 2.0, "truth": {"combined": float("nan")}}
    )
    # reading makes a rotation of it once more
    np.testing.assert_allclose(read_pose(path), pose, rtol=1e-14, atol=1e-12)
    record = json.loads(path.read_text())
    assert record["world_from_camera"] == pose.tolist()
    np.testing.assert_allclose(np.array(record["camera_from_world"]) @ pose, np.eye(4), atol=1e-12)
    assert record["covariance"] == covariance.tolist() and "radians" in record["covariance_convention"]
    assert record["residual"] == {"cross_entropy": 0.25, "depth_rms": None}
    assert (record["success"], record["iterations"], record["seconds"]) == (True, 12, 0.125)
    assert record["standard_deviation"]["rotation_degrees"] == pytest.approx(np.rad2deg(0.02))
    assert record["standard_deviation"]["camera_position"] == pytest.approx(0.2)
    assert record["truth"] == {"combined": None} and record["scale"] == 2.0


def test_covariance_in_another_unit():
    factor = np.random.default_rng(0).normal(size=(6, 6))
    steps = np.random.default_rng(1).normal(size=(1000, 6)) @ factor.T
    moved = steps * [1, 1, 1, 250, 250, 250]
    np.testing.assert_allclose(scaled_covariance(np.cov(steps.T), 250.0), np.cov(moved.T), rtol=1e-12)


def test_a_track_as_csv_and_json(tmp_path):
    pose = poses(3)
    track = Track(
        pose,
        np.array([0.1, 0.2, np.nan]),
        np.array([True, True, False]),
        np.array([3, 4, 5]),
        np.array([0.01, 0.02, 0.03]),
        np.array([1.0, 2.0, 3.0]),
    )
    with write_track(tmp_path / "track.csv", track).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    for row, matrix in zip(rows, pose, strict=True):
        turn = Rotation.from_quat([float(row[name]) for name in ("qx", "qy", "qz", "qw")]).as_matrix()
        np.testing.assert_allclose(turn, matrix[:3, :3], atol=1e-14)
        assert [float(row[name]) for name in "xyz"] == matrix[:3, 3].tolist()
    assert rows[2]["residual"] == "" and rows[2]["success"] == "False" and rows[1]["iterations"] == "4"
    assert rows[1]["rotation_error_degrees"] == "2.0" and "translation_error_percent" not in rows[0]
    frames = json.loads(write_track(tmp_path / "track.json", track).read_text())["frames"]
    assert frames[1]["world_from_camera"] == pose[1].tolist() and frames[2]["residual"] is None
    with pytest.raises(ValueError, match="track.csv: fields of unequal length"):
        write_track(tmp_path / "track.csv", track._replace(seconds=np.zeros(2)))


def test_bop_results_come_back(tmp_path):
    results = [BopResult(1, image, 7, 0.5, pose, 0.25) for image, pose in enumerate(poses(3))]
    path = write_bop_results(tmp_path / "ours_set-test.csv", results)
    lines = path.read_text().splitlines()
    assert lines[0] == "scene_id,im_id,obj_id,score,R,t,time"
    numbers = lines[1].split(",")
    assert numbers[:4] == ["1", "0", "7", "0.5"] and len(numbers[4].split()) == 9 and numbers[6] == "0.25"
    assert float(numbers[4].split()[1]) == results[0].camera_from_object[0, 1]  # row by row
    for found, given in zip(read_bop_results(path), results, strict=True):
        assert found[:4] == given[:4] and found.seconds == given.seconds
        np.testing.assert_allclose(found.camera_from_object, given.camera_from_object, rtol=1e-12, atol=1e-12)
