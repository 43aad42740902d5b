"""Data sets that lie, reach outside their folder or are larger than they look: refused before harm is done."""

import gzip
import io
import os
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmb.files import safe as safe_files
from fmb.files.captures import assembly
from fmb.files.captures.read import read_capture
from fmb.files.safe import lacks_rows
from tests.datasets import (
    Scene,
    bytes_of,
    make_scene,
    refusal,
    save,
    write_co3d,
    write_plain,
    write_transforms,
)
from tests.files.damage import GONE, nerf, plain, png


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
    told = "path 'masks' leaves the data set; paths must stay inside DATA; it is a link: copy the data set with what"
    assert told in refusal(folder)
    (folder / "masks").unlink()
    (tmp_path / "masks").rename(folder / "real")
    (folder / "masks").symlink_to(folder / "real")  # inside it they may
    assert len(read_capture(folder).names) == 2
    (folder / "transforms.json").rename(tmp_path / "transforms.json")
    (folder / "transforms.json").symlink_to(tmp_path / "transforms.json")
    assert "path 'transforms.json' leaves the data set" in refusal(folder)
    (folder / "loop").symlink_to(folder / "loop")
    write_plain(folder, scene)
    plain(mask="loop/x.png")(folder)
    assert "loop/x.png" in refusal(folder)


def test_pipes_and_folders_are_no_files(folder, scene):
    write_plain(folder, scene)
    (folder / "masks" / "000.png").unlink()
    os.mkfifo(folder / "masks" / "000.png")
    assert refusal(folder) == "masks/000.png: is a pipe, expected an image"
    (folder / "masks" / "000.png").unlink()
    (folder / "masks" / "000.png").mkdir()
    assert refusal(folder) == "masks/000.png: is a folder, expected an image"


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


def test_json_is_weighed_before_it_becomes_objects(folder, scene, monkeypatch):
    write_transforms(folder, scene)
    monkeypatch.setattr(safe_files, "LARGEST_VALUES", 2**20)
    (folder / "transforms.json").write_text('{"frames": [' + ",".join(["{}"] * 9999) + "]}")
    words = "transforms.json: its values need about 1 MiB of memory; at most 1 MiB are taken"
    assert refusal(folder) == words


@pytest.mark.parametrize("content", ["[]", '[{"id": 0, "img_name": "000"}]', '{"views": []}', "broken", "{}"])
def test_another_cameras_json_beside_a_good_data_set(folder, scene, content):
    """The released splatting code writes a list of that name; alone, it is told what is wrong with it."""
    (folder / "cameras.json").write_text(content)
    assert refusal(folder).startswith("cameras.json: ")
    write_transforms(folder, scene)
    assert read_capture(folder).kind == "transforms"


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
    nerf(frames__0__mask_path=GONE, frames__1__mask_path=GONE)(folder)
    for view, name in enumerate(scene.names):
        (folder / "masks" / f"{name}.png").unlink()
        opaque = np.concatenate([scene.views.color[view], np.ones((18, 24, 1))], axis=-1)
        save(folder / "images" / f"{name}.png", bytes_of(opaque))
    assert refusal(folder).startswith("images/000.png: all 2 images are opaque everywhere; expected the object")


def test_a_damaged_photograph(folder, scene):
    write_plain(folder, scene)
    file = io.BytesIO()
    Image.fromarray(bytes_of(scene.views.color[0])).save(file, format="jpeg")
    (folder / "images" / "000.png").write_bytes(file.getvalue()[:-200])
    told = "\n".join(read_capture(folder).notices)
    assert "images/000.png: not a readable image (image file is truncated" in told


def packed(pixels: np.ndarray) -> bytes:
    """The pixels as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 1), np.uint8), ((9, 17, 3), np.uint8), ((8, 8, 4), np.uint8), ((5, 3), np.uint16), ((5, 9), bool)],
)
def test_whole_png_files(shape, kind):
    pixels = np.random.default_rng(0).integers(0, 2, shape).astype(kind)
    assert not lacks_rows(packed(pixels))
    data = packed(pixels)
    start = data.index(b"IDAT") + 4
    rows = zlib.decompress(data[start : start + int.from_bytes(data[start - 8 : start - 4])])
    short = zlib.compress(rows[:-1])
    assert lacks_rows(data[: start - 8] + len(short).to_bytes(4) + b"IDAT" + short + bytes(4))


def test_interlaced_png():
    # 3 x 2 pixels of 8 bits: passes 1, 4, 6 and 7 hold 1, 1, 2... pixels, each row led by its filter
    header = (
        b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + b"IHDR" + (3).to_bytes(4) + (2).to_bytes(4) + bytes([8, 0, 0, 0, 1])
    )
    rows = bytes(2) + bytes(2) + bytes(2) + bytes(4)  # (0, 0); (0, 2); (0, 1); the second row
    for data, short in ((rows, False), (rows[:-1], True)):
        rows_packed = zlib.compress(data)
        file = header + bytes(4) + len(rows_packed).to_bytes(4) + b"IDAT" + rows_packed + bytes(4)
        assert lacks_rows(file) is short


def test_what_is_no_png_lacks_nothing():
    assert not lacks_rows(b"")
    assert not lacks_rows(b"\x89PNG\r\n\x1a\n" + (1).to_bytes(4) + b"IHDR" + bytes(5))


def test_pictures_of_other_programs_are_whole():
    folder = Path(__file__).resolve().parents[2] / "docs"
    paths = [path for path in folder.rglob("*.png") if path.is_file()][:10]
    assert not any(lacks_rows(path.read_bytes()) for path in paths)
