"""Data sets that lie, reach outside their folder or are larger than they look: refused before harm is done."""

import gzip
import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from capture_makers import (
    Scene,
    bytes_of,
    make_scene,
    refusal,
    save,
    write_co3d,
    write_idr,
    write_krt,
    write_plain,
    write_transforms,
)
from PIL import Image

from fmb.files import safe as safe_files
from fmb.files.captures import assembly
from fmb.files.captures.read import read_capture
from fmb.files.safe import lacks_rows


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2)


def test_arguments(folder, scene):
    assert "no data set that is known. Expected one of: plain: cameras.json as this program" in refusal(folder)
    assert refusal(folder / "nothing").endswith("no such folder; expected the folder of a data set")
    write_plain(folder, scene)
    assert "is a file; expected the folder of a data set" in refusal(folder / "cameras.json")
    assert refusal(folder, "nerf").startswith("format 'nerf' is not known, allowed are auto, plain, transforms, colmap")
    assert refusal(folder, "auto", -1) == "longest side -1: must be 0 or more"
    assert refusal(folder, "idr") == "cameras_sphere.npz: no such file"
    assert refusal(folder, "transforms") == "DATA: none of transforms.json, transforms_train.json, transforms_test.json"
    assert refusal(folder, "krt") == "cameras.json: 'frames' missing"
    assert refusal(folder, "co3d").endswith("frame_annotations.jgz: no such file")


def test_links_may_not_leave_the_folder(folder, scene, tmp_path):
    write_transforms(folder, scene)
    (folder / "masks").rename(tmp_path / "masks")
    (folder / "masks").symlink_to(tmp_path / "masks")
    assert "path 'masks/000.png' leaves the data set; paths must stay inside DATA" in refusal(folder)
    (folder / "masks").unlink()
    (tmp_path / "masks").rename(folder / "real")
    (folder / "masks").symlink_to(folder / "real")  # inside it they may
    assert len(read_capture(folder).names) == 2
    (folder / "transforms.json").rename(tmp_path / "transforms.json")
    (folder / "transforms.json").symlink_to(tmp_path / "transforms.json")
    assert "path 'transforms.json' leaves the data set" in refusal(folder)
    (folder / "loop").symlink_to(folder / "loop")
    write_plain(folder, scene)
    content = json.loads((folder / "cameras.json").read_text())
    content["views"][0]["mask"] = "loop/x.png"
    (folder / "cameras.json").write_text(json.dumps(content))
    assert "loop/x.png" in refusal(folder)


def test_pipes_and_folders_are_no_files(folder, scene):
    write_plain(folder, scene)
    (folder / "masks" / "000.png").unlink()
    os.mkfifo(folder / "masks" / "000.png")
    assert "masks/000.png: no such image" in refusal(folder)
    (folder / "masks" / "000.png").unlink()
    (folder / "masks" / "000.png").mkdir()
    assert "masks/000.png: no such image" in refusal(folder)


def test_bombs(folder, scene, monkeypatch):
    """What is small on disk and large in memory is refused before it is unpacked."""
    write_co3d(folder, scene)
    monkeypatch.setattr(safe_files, "LARGEST_JSON", 2**20)
    (folder / "frame_annotations.jgz").write_bytes(gzip.compress(b" " * 2**21))
    assert "frame_annotations.jgz: more than 1 MiB, at most that is read" in refusal(folder)
    (folder / "frame_annotations.jgz").unlink()
    monkeypatch.setattr(safe_files, "LARGEST_ARRAYS", 2**20)
    np.savez_compressed(folder / "cameras_sphere.npz", world_mat_0=np.zeros((512, 1024)))
    assert "cameras_sphere.npz: 4 MiB of arrays; at most 1 MiB are read" in refusal(folder)
    (folder / "cameras_sphere.npz").write_bytes(bytes(2**20 + 1))
    assert "cameras_sphere.npz: more than 1 MiB" in refusal(folder, "idr")


def test_brackets_are_counted_before_they_become_objects(folder, scene, monkeypatch):
    write_transforms(folder, scene)
    monkeypatch.setattr(safe_files, "MOST_BRACKETS", 1000)
    (folder / "transforms.json").write_text('{"frames": [' + ",".join(["{}"] * 999) + "]}")
    assert refusal(folder) == "transforms.json: 1001 lists and objects; at most 1000 are read"


@pytest.mark.parametrize("content", ["[]", '[{"id": 0, "img_name": "000"}]', '{"views": []}', "broken", "{}"])
def test_another_cameras_json_beside_a_good_data_set(folder, scene, content):
    """The released splatting code writes a list of that name; alone, it is told what is wrong with it."""
    (folder / "cameras.json").write_text(content)
    assert refusal(folder).startswith("cameras.json: ")
    write_transforms(folder, scene)
    assert read_capture(folder).kind == "transforms"


def npy(shape: str, data: bytes = b"", version: int = 1) -> bytes:
    """An array whose header claims a shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy("(4000000, 4000000)"), "world_mat_0.npy is not of the size that it claims"),
        (npy("(4, 4)", bytes(64)), "world_mat_0.npy is not of the size that it claims"),
        (npy("(4, 4)", bytes(128), version=3), "world_mat_0.npy has version (3, 0)"),
        (b"nothing", "not readable as an npz archive"),
    ],
)
def test_arrays_that_lie(folder, scene, content, words):
    write_idr(folder, scene)
    with zipfile.ZipFile(folder / "cameras_sphere.npz", "w") as archive:
        archive.writestr("world_mat_0.npy", content)
    assert words in refusal(folder)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((24, 18), "masks/000.png: not a readable image (fewer rows than the 18"),
        ((9000, 9000), "masks/000.png: 9000 x 9000 pixels; at most 67108864 pixels are read"),
        ((40_000, 40_000), "masks/000.png: not a readable image (Image size (1600000000 pixels) exceeds limit"),
        ((0, 18), "masks/000.png: "),
    ],
)
def test_images_that_lie_about_their_size(folder, scene, size, words):
    write_krt(folder, scene)
    (folder / "masks" / "000.png").write_bytes(png(*size, b"\0" * 25))
    assert words in refusal(folder)


def test_images_that_unpack_to_more_than_their_size(folder):
    """One pixel, and 64 MiB of what the header does not speak of."""
    content = png(1, 1, b"\0" * 2**26)
    (folder / "x.png").write_bytes(content)
    assert safe_files.read_image(folder / "x.png").size == (1, 1)
    tracemalloc.start()
    assert not lacks_rows(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_wide_masks_of_narrow_values_tell_how_dark_they_are(folder, scene):
    write_plain(folder, scene)
    for view, name in enumerate(scene.names):
        wide = 255 * (scene.views.silhouette[view] > 0.5).astype(np.uint16)
        save(folder / "masks" / f"{name}.png", wide)
    words = "none of the 2 masks shows the object, their largest value is 0.0039 of 1; expected it white on black"
    assert refusal(folder) == f"masks/000.png: {words}"


def test_too_many_pixels(folder, scene, monkeypatch):
    write_plain(folder, scene)
    monkeypatch.setattr(assembly, "LARGEST_CAPTURE", 800)
    assert refusal(folder) == "DATA: 2 views of 24 x 18 pixels are more than 800; ask for a smaller longest side"
    assert len(read_capture(folder, longest_side=12).names) == 2


def test_a_strip_cannot_be_reduced(folder):
    scene = make_scene(1, 4, 40)
    write_plain(folder, scene)
    assert refusal(folder, "auto", 5) == "masks/000.png: 40 x 4 pixels leave nothing at a longest side of 5"


def test_opaque_images_have_no_masks(folder, scene):
    write_transforms(folder, scene)
    content = json.loads((folder / "transforms.json").read_text())
    for frame in content["frames"]:
        del frame["mask_path"]
    (folder / "transforms.json").write_text(json.dumps(content))
    for view, name in enumerate(scene.names):
        (folder / "masks" / f"{name}.png").unlink()
        opaque = np.concatenate([scene.views.color[view], np.ones((18, 24, 1))], axis=-1)
        save(folder / "images" / f"{name}.png", bytes_of(opaque))
    assert refusal(folder).startswith("images/000.png: all 2 masks are white everywhere; expected the object")


def test_a_damaged_photograph(folder, scene):
    write_plain(folder, scene)
    file = io.BytesIO()
    Image.fromarray(bytes_of(scene.views.color[0])).save(file, format="jpeg")
    (folder / "images" / "000.png").write_bytes(file.getvalue()[:-200])
    assert "images/000.png: not a readable image (image file is truncated" in refusal(folder)
