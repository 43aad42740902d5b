"""Files of data sets that are missing, cut off or hold other things: one line each."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from capture_makers import (
    Scene,
    make_scene,
    refusal,
    save,
    write_annotations,
    write_co3d,
    write_colmap,
    write_colmap_text,
    write_idr,
    write_krt_arrays,
    write_middlebury,
    write_oxford,
    write_plain,
    write_transforms,
)

from fmb.files.safe import read_json

NAN = float("nan")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2)


def text_case(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replaces text in a file, once."""

    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def bytes_case(name: str, content: bytes) -> Callable[[Path], None]:
    """Another content for a file."""
    return lambda folder: (folder / name).write_bytes(content)


def cut_case(name: str, length: int) -> Callable[[Path], None]:
    """The beginning of a file alone."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def arrays_case(name: str, changes: dict) -> Callable[[Path], None]:
    """Other arrays in an archive; None removes one."""

    def damage(folder: Path) -> None:
        with np.load(folder / name) as archive:
            arrays = {**dict(archive), **changes}
        np.savez(folder / name, **{key: value for key, value in arrays.items() if value is not None})

    return damage


def annotation_case(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Other annotations of the first frame."""

    def damage(folder: Path) -> None:
        frames = read_json(folder / "frame_annotations.jgz", list)
        change(frames[0])
        write_annotations(folder, frames)

    return damage


def remove(*names: str) -> Callable[[Path], None]:
    """Files that are gone."""
    return lambda folder: [path.unlink() for name in names for path in folder.glob(name)]


MODEL = "sparse/0/"
PINHOLE_LINE = "3 PINHOLE 24 18"
FISHEYE = struct.pack("<QIiQQ8d", 1, 3, 5, 24, 18, *[1.0] * 8)
CASES = [
    (write_plain, bytes_case("cameras.json", b'{"format": '), "cameras.json: not readable as JSON (Expecting value"),
    (write_plain, bytes_case("cameras.json", b"[" * 100_000), "cameras.json: not readable as JSON"),
    (write_plain, bytes_case("cameras.json", b"\xff\xfe\x00"), "cameras.json: not readable as JSON"),
    (write_plain, bytes_case("cameras.json", b"[1]"), "cameras.json: must hold a JSON object at the top"),
    (
        write_plain,
        remove("masks/*"),
        "DATA: none of the 2 views has a mask; expected a white object on black in masks/",
    ),
    (write_plain, cut_case("masks/001.png", 60), "masks/001.png: not a readable image"),
    (write_plain, bytes_case("masks/001.png", b"no image"), "masks/001.png: not a readable image (none of PNG, JPEG"),
    (
        write_plain,
        lambda folder: [save(path, np.zeros((18, 24), np.uint8)) for path in folder.glob("masks/*")],
        "masks/000.png: none of the 2 masks shows the object, their largest value is 0 of 1; expected it",
    ),
    (
        write_plain,
        lambda folder: [save(path, np.full((18, 24), 255, np.uint8)) for path in folder.glob("masks/*")],
        "masks/000.png: all 2 masks are white everywhere; expected the object white on black",
    ),
    (
        write_plain,
        lambda folder: save(folder / "images" / "001.png", np.zeros((9, 24, 3), np.uint8)),
        "images/001.png: 24 x 9 pixels, its mask has 24 x 18",
    ),
    (
        write_plain,
        lambda folder: save(folder / "ignore" / "001.png", np.zeros((18, 23), np.uint8)),
        "ignore/001.png: 23 x 18 pixels, its mask has 24 x 18",
    ),
    (write_transforms, remove("images/*", "masks/*"), "masks/000.png: no such image"),
    (write_colmap, remove("masks/*"), "DATA: none of the 2 views has a mask"),
    (write_colmap, remove(MODEL + "images.bin"), "DATA: no images.bin or images.txt; expected a COLMAP model"),
    (
        write_colmap,
        cut_case(MODEL + "cameras.bin", 40),
        "cameras.bin: ends in the middle of an entry; not a COLMAP file",
    ),
    (write_colmap, cut_case(MODEL + "images.bin", 71), "images.bin: ends in the middle of an entry"),
    (write_colmap, cut_case(MODEL + "images.bin", 84), "images.bin: ends in the middle of an entry"),
    (write_colmap, cut_case(MODEL + "points3D.bin", 60), "points3D.bin: ends in the middle of an entry"),
    (write_colmap, bytes_case(MODEL + "images.bin", b"\xff" * 8), "images.bin: ends in the middle of an entry"),
    (write_colmap, bytes_case(MODEL + "images.bin", bytes(8)), "images.bin: no images"),
    (write_colmap, bytes_case(MODEL + "cameras.bin", bytes(8)), "image '000.png' is of camera 3, which"),
    (write_colmap, bytes_case(MODEL + "cameras.bin", FISHEYE), "camera 3: model OPENCV_FISHEYE with distortion"),
    (write_colmap, bytes_case(MODEL + "cameras.bin", FISHEYE[:12] + b"\x63" + FISHEYE[13:]), "model 99 is not known"),
    (
        write_colmap_text,
        text_case(MODEL + "cameras.txt", PINHOLE_LINE, "3 SIMPLE_RADIAL 24 18"),
        "camera 3: model SIMPLE_RADIAL with distortion, but only pinhole cameras are read: undistort images and masks "
        "first with `colmap image_undistorter`",
    ),
    (
        write_colmap_text,
        text_case(MODEL + "cameras.txt", PINHOLE_LINE, "3 LENS 24 18"),
        "line 2: expected CAMERA_ID MODEL",
    ),
    (write_colmap_text, text_case(MODEL + "cameras.txt", PINHOLE_LINE, "3 OPENCV 24 18"), "OPENCV has 8"),
    (write_colmap_text, text_case(MODEL + "cameras.txt", PINHOLE_LINE, "3 PINHOLE 2.4 18"), "must be whole numbers"),
    (write_colmap_text, text_case(MODEL + "cameras.txt", PINHOLE_LINE, "3 PINHOLE 24 18 x"), "must be numbers"),
    (write_colmap_text, text_case(MODEL + "cameras.txt", PINHOLE_LINE, "3 PINHOLE 24 19"), "its camera is for 24 x 19"),
    (write_colmap_text, text_case(MODEL + "images.txt", "# images\n1 ", "# images\n1 9"), "is not of length 1"),
    (write_colmap_text, text_case(MODEL + "images.txt", "# images\n1 ", "# images\n1 nan "), "must be whole numbers"),
    (
        write_colmap_text,
        text_case(MODEL + "images.txt", "000.png", ""),
        "expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA",
    ),
    (write_colmap_text, text_case(MODEL + "images.txt", "000.png", "../../x.png"), "leaves the data set"),
    (
        write_colmap_text,
        text_case(MODEL + "images.txt", "000.png\n\n", "000.png\n"),
        "line 3: an image, expected the",
    ),
    (write_colmap_text, bytes_case(MODEL + "points3D.txt", b"1 2\n"), "line 1: expected POINT3D_ID X Y Z"),
    (write_co3d, cut_case("frame_annotations.jgz", 50), "frame_annotations.jgz: cannot be read (Compressed file ended"),
    (
        write_co3d,
        bytes_case("frame_annotations.jgz", b"[]"),
        "frame_annotations.jgz: cannot be read (Not a gzipped file",
    ),
    (write_co3d, bytes_case("frame_annotations.jgz", gzip.compress(b"{}")), "must hold a JSON list at the top"),
    (write_co3d, bytes_case("frame_annotations.jgz", gzip.compress(b"[]")), "no sequence has files here"),
    (write_co3d, annotation_case(lambda f: f.pop("sequence_name")), "frame 0: 'sequence_name' missing"),
    (write_co3d, annotation_case(lambda f: f.pop("image")), "seq_1: frame 0: 'image' missing"),
    (write_co3d, annotation_case(lambda f: f.update(mask=3)), "seq_1: frame 0: mask must be a JSON object"),
    (write_co3d, annotation_case(lambda f: f["viewpoint"].pop("R")), "seq_1: frame 0: 'R' missing"),
    (write_co3d, annotation_case(lambda f: f["viewpoint"].update(R=np.ones((3, 3)).tolist())), "R: not a rotation"),
    (write_co3d, annotation_case(lambda f: f["viewpoint"].update(T=[1, 2])), "seq_1: frame 0: T: must be 3 numbers"),
    (
        write_co3d,
        annotation_case(lambda f: f["viewpoint"].update(intrinsics_format="pixels")),
        "intrinsics_format 'pixels'; must be one of ndc_norm_image_bounds, ndc_isotropic",
    ),
    (
        write_co3d,
        annotation_case(lambda f: f["viewpoint"].update(intrinsics_format=[])),
        "intrinsics_format []; must be",
    ),
    (write_co3d, annotation_case(lambda f: f["image"].update(size=[18, 20])), "its camera is for 20 x 18"),
    (write_co3d, annotation_case(lambda f: f["mask"].update(path="/etc/hostname")), "path '/etc/hostname' leaves"),
    (write_co3d, annotation_case(lambda f: f["mask"].update(path="data/../../x.png")), "leaves the data set"),
    (write_co3d, annotation_case(lambda f: f["mask"].update(path=["x"])), "is no path"),
    (write_co3d, annotation_case(lambda f: f.update(sequence_name="../seq_1")), "path '../seq_1' leaves the data set"),
    (
        write_co3d,
        lambda folder: save(folder / "seq_1" / "depths" / "000.png", np.zeros((18, 24), np.uint8)),
        "depths/000.png: pixels of mode L; a depth map of CO3D has 16 bits",
    ),
    (
        write_co3d,
        lambda folder: save(folder / "seq_1" / "depth_masks" / "000.png", np.zeros((9, 9), np.uint8)),
        "depth_masks/000.png: 9 x 9 pixels, its depth map has 24 x 18",
    ),
    (
        write_co3d,
        bytes_case("seq_1/pointcloud.ply", b"ply\nformat"),
        "pointcloud.ply: not a readable ply file of points",
    ),
    (
        write_co3d,
        bytes_case(
            "seq_1/pointcloud.ply",
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\n"
            b"property float y\nproperty float z\nend_header\nnan 1 2\n",
        ),
        "pointcloud.ply: no points",
    ),
    (write_idr, arrays_case("cameras_sphere.npz", {"world_mat_1": None}), "1 matrices, 2 masks; must be as many"),
    (write_idr, arrays_case("cameras_sphere.npz", {"world_mat_0": None}), "world_mat_0 missing; expected world_mat_0"),
    (write_idr, arrays_case("cameras_sphere.npz", {"world_mat_0": np.zeros((4, 4))}), "world_mat_0: singular"),
    (write_idr, arrays_case("cameras_sphere.npz", {"world_mat_0": np.full((4, 4), NAN)}), "world_mat_0: not finite"),
    (write_idr, arrays_case("cameras_sphere.npz", {"world_mat_0": np.eye(3)}), "world_mat_0: must be 4 x 4 numbers"),
    (write_idr, arrays_case("cameras_sphere.npz", {"world_mat_0": np.array(["a"])}), "must be 4 x 4 numbers"),
    (write_idr, arrays_case("cameras_sphere.npz", {"x": np.array([None])}), "x.npy holds pickled objects"),
    (write_idr, cut_case("cameras_sphere.npz", 300), "DATA: no data set that is known. Expected one of: plain: "),
    (write_krt_arrays, arrays_case("cameras.npz", {"t": np.zeros((2, 2))}), "cameras.npz: t: must be 2 x 3 numbers"),
    (write_krt_arrays, arrays_case("cameras.npz", {"K": np.float64(3)}), "cameras.npz: K: must be 0 x 3 x 3 numbers"),
    (write_krt_arrays, remove("masks/001.png"), "cameras.npz: 2 cameras, 1 masks in masks/; must be as many"),
    (
        write_middlebury,
        text_case("scene_par.txt", "000.png", "000.png 1"),
        "line 2: 22 numbers after the name; expected 21",
    ),
    (write_middlebury, text_case("scene_par.txt", "000.png", "../000.png"), "leaves the data set"),
    (write_middlebury, bytes_case("scene_par.txt", b"2\n"), "DATA: no projection matrices; expected NAME_par.txt"),
    (write_middlebury, bytes_case("scene_par.txt", b"000.png" + b" x" * 21), "line 1: must be 21 numbers"),
    (write_middlebury, bytes_case("scene_par.txt", b"000.png" + b" 0" * 12), "line 1: singular, no finite camera"),
    (write_middlebury, bytes_case("scene_par.txt", b"000.png" + b" nan" * 12), "line 1: not finite"),
    (write_oxford, bytes_case("000.P", b"1 2 3"), "000.P: 3 numbers; expected 12"),
    (
        write_oxford,
        bytes_case("000.P", b"1 0 0 0 0 1 0 0 0 0 0 1"),
        "000.P: singular, no finite camera has this matrix",
    ),
    (write_oxford, remove("masks/*"), "DATA: none of the 2 views has a mask"),
]


@pytest.mark.parametrize(("write", "damage", "words"), CASES, ids=range(len(CASES)))
def test_damaged_files(folder, scene, write, damage, words):
    write(folder, scene)
    damage(folder)
    assert words in refusal(folder)
