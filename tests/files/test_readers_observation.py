"""Depth, mask, intrinsics and pose from files of every kind, and what is wrong with broken ones."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.poses import (
    Measurement,
    ObservationFiles,
    read_depth_map,
    read_intrinsics,
    read_mask,
    read_observation,
    read_pose,
)

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
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(folder / "small.png")
    with pytest.raises(ValueError, match="small.png: mask of 6 x 4 pixels, depth.png has 12 x 8"):
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


def test_what_is_wrong_with_depth(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "zero.png")
    Image.fromarray(np.ones((2, 3), np.uint8)).save(tmp_path / "bytes.png")
    np.save(tmp_path / "cube.npy", np.ones((2, 2, 2)))
    np.savez(tmp_path / "archive.npz", depth=np.ones((2, 2)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01")
    for name, words in (
        ("zero.png", "zero.png: no depth above 0 in 3 x 2 pixels"),
        ("bytes.png", "bytes.png: pixels of mode L; depth needs 16 bits in one channel"),
        ("cube.npy", r"cube.npy: float64 of shape \(2, 2, 2\); a depth map is \(height, width\) numbers"),
        ("archive.npy", "archive.npy: an archive; must be one array"),
        ("broken.npy", "broken.npy: not a readable .npy file"),
        ("gone.npy", "gone.npy: no such file"),
        ("gone.png", "gone.png: no such image"),
        ("depth.exr", "depth.exr: .exr is not read here; store the depth as .npy or as 16-bit PNG"),
    ):
        with pytest.raises(ValueError, match=words):
            read_depth_map(tmp_path / name)
    with pytest.raises(ValueError, match="depth_scale 0.0; must be a positive number"):
        read_depth_map(tmp_path / "zero.png", 0.0)


def test_what_is_wrong_with_masks(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "empty.png")
    np.save(tmp_path / "large.npy", np.array([[0.0, 2.0]]))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    for name, words in (
        ("empty.png", "empty.png: the mask is empty: no object in 3 x 2 pixels"),
        ("large.npy", "large.npy: values 0 to 2; a mask lies between 0 and 1"),
        ("words.npy", r"words.npy: <U1 of shape \(1, 1\); a mask is \(height, width\) numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            read_mask(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a.json", {"fx": 70}, "a.json: 'fy' missing"),
        ("b.json", {}, "b.json: no fx, fy, cx, cy, and: 'matrix' missing"),
        ("c.json", {"fx": 1, "fy": 1, "cx": "wide", "cy": 0}, "c.json: cx: must be a number"),
        ("d.json", {"fx": -1, "fy": 1, "cx": 0, "cy": 0}, "d.json: focal lengths -1 and 1; must be positive"),
        ("e.json", "{", "e.json: not readable as JSON"),
        ("f.txt", "1 2 3", "f.txt: 3 numbers; must be 3 x 3"),
        ("g.yaml", "", "g.yaml: must be a .json, .txt or .npy file"),
        ("h.json", {"fx": 1, "fy": 1, "cx": 0, "cy": 0, "pixel_centre": "corner"}, "'corner'; must be half or integer"),
        ("i.json", {"fx": 1, "fy": 1, "cx": 0, "cy": 0, "width": 5}, "i.json: 'height' missing"),
        ("j.txt", "1 0 0 0 1 0 0 0 x", "j.txt: must be 9 numbers"),
    ],
)
def test_what_is_wrong_with_intrinsics(tmp_path, name, value, words):
    with pytest.raises(ValueError, match=words):
        read_intrinsics(write(tmp_path / name, value))


def test_what_is_wrong_with_poses(tmp_path):
    mirror = np.diag([1.0, 1.0, -1.0, 1.0]).tolist()
    for value, words in (
        ({"pose": mirror}, "pose.json: no 'world_from_camera', and: 'camera_from_world' missing"),
        ({"world_from_camera": mirror}, "pose.json: world_from_camera: a reflection"),
        ((2.0 * np.eye(4)).tolist(), "pose.json: last row"),
        (np.diag([2.0, 2.0, 2.0, 1.0]).tolist(), "pose.json: not a rotation"),
    ):
        with pytest.raises(ValueError, match=words):
            read_pose(write(tmp_path / "pose.json", value))
