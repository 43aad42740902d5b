"""Depth, mask, intrinsics and pose from files of every kind, and what is wrong with broken ones."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.poses import (
    Measurement,
    ObservationFiles,
    Track,
    read_depth_map,
    read_intrinsics,
    read_mask,
    read_observation,
    read_pose,
    write_pose,
    write_track,
)
from fmb.geometry.lenses import Lens
from fmb.geometry.poses import PoseEstimate, scaled_covariance

K = np.array([[70.0, 0.0, 6.5], [0.0, 71.0, 4.5], [0.0, 0.0, 1.0]])


@pytest.fixture
def folder(tmp_path):
    """A depth map in millimetres, a mask and intrinsics of 12 x 8 pixels."""
    depth = np.zeros((8, 12), np.uint16)
    depth[2:6, 3:9] = 900 + np.arange(24).reshape(4, 6)
    Image.fromarray(depth).save(tmp_path / "depth.png")
    Image.fromarray(np.where(depth > 0, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "camera.json").write_text(json.dumps({"fx": 70, "fy": 71, "cx": 6.5, "cy": 4.5}))
    return tmp_path


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_the_whole_observation(folder):
    files = ObservationFiles(folder / "camera.json", folder / "depth.png", folder / "mask.png", 0.001)
    found = read_observation(files)
    assert isinstance(found, Measurement)
    np.testing.assert_array_equal(found.intrinsics, K)
    assert found.depth.shape == found.silhouette.shape == (8, 12)
    assert np.isfinite(found.depth).sum() == found.silhouette.sum() == 24
    # the file's reader is in single precision
    assert found.depth[2, 3] == pytest.approx(0.9, rel=1e-6) and found.depth[5, 8] == pytest.approx(0.923, rel=1e-6)
    assert read_observation(files._replace(mask=None)).silhouette is None
    assert read_observation(files._replace(depth=None)).depth is None


def test_depth_as_array(tmp_path):
    depth = np.array([[1.0, np.nan], [0.0, 3.0]])
    np.save(tmp_path / "depth.npy", depth)
    Image.fromarray(depth.astype(np.float32)).save(tmp_path / "depth.tiff")
    for name in ("depth.npy", "depth.tiff"):  # floating numbers are in the model's unit
        np.testing.assert_array_equal(read_depth_map(tmp_path / name, 2.0), [[1.0, np.nan], [np.nan, 3.0]])
    np.save(tmp_path / "counts.npy", np.array([[1000, 0]], np.uint16))
    np.testing.assert_array_equal(read_depth_map(tmp_path / "counts.npy", 0.001), [[1.0, np.nan]])


def test_masks_of_every_kind(tmp_path):
    soft = np.array([[0.0, 0.2, 0.6, 1.0]])
    np.save(tmp_path / "soft.npy", soft)
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.npy"), soft)
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.npy", 0.5), [[0.0, 0.0, 1.0, 1.0]])
    np.save(tmp_path / "bytes.npy", np.array([[0, 51, 255]], np.uint8))
    np.testing.assert_allclose(read_mask(tmp_path / "bytes.npy"), [[0.0, 0.2, 1.0]])
    np.save(tmp_path / "bits.npy", np.array([[True, False]]))
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.npy"), [[1.0, 0.0]])
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(tmp_path / "grey.png")
    np.testing.assert_allclose(read_mask(tmp_path / "grey.png"), [[0.0, 0.2, 1.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("matrix.txt", "70 0 6.5\n0 71 4.5\n0 0 1\n"),
        ("commas.txt", "70, 0, 6.5, 0, 71, 4.5, 0, 0, 1"),
        ("matrix.json", K.tolist()),
        ("flat.json", K.ravel().tolist()),
        ("named.json", {"matrix": K.tolist(), "width": 12, "height": 8}),
        ("opencv.json", {"fx": 70, "fy": 71, "cx": 6.0, "cy": 4.0, "pixel_centre": "integer"}),
    ],
)
def test_intrinsics_of_every_kind(tmp_path, name, value):
    found = read_intrinsics(write(tmp_path / name, value))
    np.testing.assert_allclose(found.matrix, K, rtol=1e-15)
    assert found.size == ((12, 8) if name == "named.json" else None)


@pytest.mark.parametrize(
    "value",
    [
        {"width": 24, "height": 16, "fx": 140, "fy": 142, "ppx": 13, "ppy": 9, "model": "none", "coeffs": [0] * 5},
        {"width": 12, "height": 8, "intrinsic_matrix": K.T.ravel().tolist()},
        {"cam_K": K.ravel().tolist()},
        {"fl_x": 70, "fl_y": 71, "cx": 6.5, "cy": 4.5, "w": 12, "h": 8, "k1": 0},
        {"K": K.ravel().tolist(), "D": [0.0] * 5, "distortion_model": "plumb_bob"},
        {
            "camera_matrix": {"rows": 3, "cols": 3, "data": K.ravel().tolist()},
            "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.0] * 5},
        },
    ],
)
def test_intrinsics_as_other_programs_write_them(folder, value):
    write(folder / "camera.json", value)
    found = read_observation(ObservationFiles(folder / "camera.json", folder / "depth.png", folder / "mask.png"))
    np.testing.assert_allclose(found.intrinsics, K, rtol=1e-12)
    assert found.valid is None
    assert len(found.notices) == (value.get("width") == 24)  # scaled


def test_an_image_of_a_lens_is_undistorted(folder):
    camera = {"fx": 70, "fy": 71, "cx": 6.5, "cy": 4.5, "model": "Brown Conrady", "coeffs": [-9.0, 0, 0, 0, 0]}
    write(folder / "camera.json", camera)
    found = read_observation(ObservationFiles(folder / "camera.json", folder / "depth.png", folder / "mask.png"))
    assert found.depth.shape == found.silhouette.shape == found.valid.shape
    assert not found.valid.all() and np.isnan(found.depth[~found.valid]).all()
    assert found.notices == ("undistorted on reading (camera model FULL_OPENCV)",)


def test_coefficients_of_a_lens_in_rows(tmp_path):
    camera = {"fx": 70, "fy": 71, "cx": 6.5, "cy": 4.5}
    write(tmp_path / "camera.json", {**camera, "dist_coeffs": [[0.1], [0.2], [0], [0], [0]]})
    assert read_intrinsics(tmp_path / "camera.json").lens.parameters[:2] == (0.1, 0.2)
    write(tmp_path / "camera.json", {**camera, "D": {"rows": 1, "cols": 5, "data": [0.1, 0.2, 0, 0, 0]}})
    assert read_intrinsics(tmp_path / "camera.json").lens.parameters[:2] == (0.1, 0.2)
    write(tmp_path / "camera.json", {**camera, "dist": [0.1, 0.2, *[0] * 12]})  # OpenCV's longest
    assert read_intrinsics(tmp_path / "camera.json").lens.parameters == (0.1, 0.2, 0, 0, 0, 0, 0, 0)
    write(tmp_path / "camera.json", {**camera, "model": "FISHEYE", "k1": 0.1, "k4": 0.2, "p1": 9})
    assert read_intrinsics(tmp_path / "camera.json").lens == Lens("OPENCV_FISHEYE", (0.1, 0.0, 0.0, 0.2))
    write(tmp_path / "camera.json", {**camera, "dist_coeffs": [[0.1, 0.2], [0]]})
    with pytest.raises(ValueError, match=r"camera\.json: lens '' with 3 parameters"):
        read_intrinsics(tmp_path / "camera.json")


def test_integer_pixel_centres(tmp_path):
    path = write(tmp_path / "camera.json", {"fx": 70, "fy": 71, "cx": 6.0, "cy": 4.0})
    np.testing.assert_allclose(read_intrinsics(path, "integer").matrix, K)
    np.save(tmp_path / "camera.npy", K)
    np.testing.assert_array_equal(read_intrinsics(tmp_path / "camera.npy").matrix, K)


def test_poses_of_every_kind(tmp_path):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec([0.2, -1.0, 0.4]).as_matrix(), [1.0, -2.0, 3.0]
    np.save(tmp_path / "pose.npy", pose)
    np.savetxt(tmp_path / "pose.txt", pose, fmt="%.17g")
    given = [tmp_path / "pose.npy", tmp_path / "pose.txt", write(tmp_path / "a.json", pose.tolist())]
    given += [write(tmp_path / "b.json", {"world_from_camera": pose.tolist()})]
    given += [write(tmp_path / "c.json", {"camera_from_world": np.linalg.inv(pose).tolist()})]
    for path in given:
        np.testing.assert_allclose(read_pose(path), pose, atol=1e-14)


def test_what_is_wrong_with_an_observation(folder):
    files = ObservationFiles(folder / "camera.json", folder / "depth.png", folder / "mask.png")
    with pytest.raises(ValueError, match="neither a depth map nor a mask: a pose needs one of them"):
        read_observation(ObservationFiles(folder / "camera.json"))
    Image.fromarray(np.full((5, 6), 255, np.uint8)).save(folder / "small.png")
    with pytest.raises(ValueError, match="small.png: mask of 6 x 5 pixels, depth.png has 12 x 8"):
        read_observation(files._replace(mask=folder / "small.png"))
    write(folder / "camera.json", {"fx": 70, "fy": 71, "cx": 6.5, "cy": 4.5, "width": 640, "height": 480})
    with pytest.raises(ValueError, match="camera.json: intrinsics for 640 x 480 pixels, depth.png has 12 x 8"):
        read_observation(files)


def test_a_frame_of_a_sequence_may_be_empty(folder):
    Image.fromarray(np.zeros((8, 12), np.uint16)).save(folder / "depth.png")
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(folder / "mask.png")
    files = ObservationFiles(folder / "camera.json", folder / "depth.png", folder / "mask.png", may_be_empty=True)
    found = read_observation(files)
    assert np.isnan(found.depth).all() and not found.silhouette.any()
    with pytest.raises(ValueError, match="no depth above 0"):
        read_observation(files._replace(may_be_empty=False))


def poses(count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = Rotation.from_quat(generator.normal(size=(count, 4))).as_matrix()
    found[:, :3, 3] = 1e3 * generator.normal(size=(count, 3))
    return found


def test_a_pose_comes_back_digit_by_digit(tmp_path):
    pose, covariance = poses(1)[0], np.diag([1e-4, 1e-4, 2e-4, 0.01, 0.01, 0.02])
    result = PoseEstimate(pose, covariance, pose[None], np.zeros(1), 0.25, np.nan, True, 12)
    more = {"seconds": 0.125, "scale": 2.0, "truth": {"combined": float("nan")}}
    path = write_pose(tmp_path / "pose.json", result, more)
    # reading makes a rotation of it once more
    np.testing.assert_allclose(read_pose(path), pose, rtol=1e-14, atol=1e-12)
    record = json.loads(path.read_text())
    assert record["world_from_camera"] == pose.tolist()
    np.testing.assert_allclose(np.array(record["camera_from_world"]) @ pose, np.eye(4), atol=1e-12)
    assert record["covariance"] == covariance.tolist() and "radians" in record["covariance_convention"]
    assert record["residual"] == {"cross_entropy": 0.25, "depth_rms": None, "disagreement": None}
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
