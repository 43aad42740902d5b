"""Every format, written from one known scene and read back; what the real sequences are found to be."""

import json
from pathlib import Path

import numpy as np
import pytest
from capture_makers import (
    MAKERS,
    POINTS,
    Scene,
    bytes_of,
    make_scene,
    save,
    write_krt,
    write_plain,
    write_transforms,
)

from fmb.files.captures.plain import write_cameras
from fmb.files.captures.read import SOURCES, Capture, read_capture

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
SPLIT = ("plain", "transforms", "co3d", "krt")  # formats that know held-out views
WITH_DEPTH = {"transforms": 5e-4, "co3d": 2e-3}  # half a millimetre; half precision near 3
WITH_POINTS = ("colmap", "co3d")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()


@pytest.mark.parametrize("maker", MAKERS)
def test_every_format_gives_the_scene_back(folder, scene, maker):
    kind, write = MAKERS[maker]
    write(folder, scene)
    capture = read_capture(folder)
    views = capture.views
    assert capture.kind == kind
    assert capture.names == scene.names
    np.testing.assert_allclose(views.cameras.world_from_camera, scene.views.cameras.world_from_camera, atol=1e-9)
    np.testing.assert_allclose(views.cameras.intrinsics, scene.views.cameras.intrinsics, atol=1e-9)
    np.testing.assert_array_equal(views.silhouette, scene.views.silhouette)
    np.testing.assert_array_equal(views.color, scene.views.color)
    assert views.valid is None
    np.testing.assert_array_equal(capture.held_out, scene.held_out if kind in SPLIT else np.zeros(5, bool))
    if kind in WITH_DEPTH:
        np.testing.assert_allclose(views.depth, scene.views.depth, atol=WITH_DEPTH[kind] + 1e-6)
    else:
        assert views.depth is None
    if kind in WITH_POINTS:
        np.testing.assert_array_equal(capture.points, POINTS)
    else:
        assert capture.points is None
    assert "5 views" in capture.notices[0] and "24 x 18 pixels" in capture.notices[0]


@pytest.mark.parametrize("maker", MAKERS)
def test_every_format_by_name(folder, scene, maker):
    kind, write = MAKERS[maker]
    write(folder, scene)
    assert read_capture(folder, kind).names == scene.names
    for other in set(SOURCES) - {kind}:  # no other format is content with it
        with pytest.raises(ValueError, match=r"^\S") as error:
            read_capture(folder, other)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("maker", ["plain", "co3d_isotropic", "idr", "middlebury"])
def test_halved_images_are_seen_by_the_halved_cameras(folder, maker):
    scene = make_scene(3, 37, 51)  # odd: a row and a column are cut off
    MAKERS[maker][1](folder, scene)
    capture = read_capture(folder, longest_side=25)
    assert capture.views.silhouette.shape == (3, 18, 25)
    blocks = scene.views.silhouette[:, :36, :50].reshape(3, 18, 2, 25, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(capture.views.silhouette, blocks, atol=1e-6)
    expected = scene.views.cameras.intrinsics * np.array([[0.5], [0.5], [1.0]])
    np.testing.assert_allclose(capture.views.cameras.intrinsics, expected, atol=1e-9)
    assert "reduced 2 times" in capture.notices[0]


def test_views_of_several_sizes_are_padded(folder, scene):
    other = make_scene(2, 30, 20)
    write_plain(folder, scene)
    content = json.loads((folder / "cameras.json").read_text())
    names = ("tall_0", "tall_1")
    write_cameras(folder / "cameras.json", other.views.cameras, (30, 20), names)
    content["views"] += json.loads((folder / "cameras.json").read_text())["views"]
    (folder / "cameras.json").write_text(json.dumps(content))
    for name, silhouette, color in zip(names, other.views.silhouette, other.views.color, strict=True):
        save(folder / "masks" / f"{name}.png", bytes_of(silhouette))
        save(folder / "images" / f"{name}.png", bytes_of(color))
    views = read_capture(folder).views
    assert views.silhouette.shape == (7, 30, 24)
    np.testing.assert_array_equal(views.silhouette[:5, :18], scene.views.silhouette)
    np.testing.assert_array_equal(views.silhouette[5:, :, :20], other.views.silhouette)
    assert views.valid[:5, :18].all() and not views.valid[:5, 18:].any()
    assert views.valid[5:, :, :20].all() and not views.valid[5:, :, 20:].any()
    np.testing.assert_array_equal(views.cameras.intrinsics[5:], other.views.cameras.intrinsics)
    assert "2 sizes up to 24 x 30" in read_capture(folder).notices[0]
    # each view is reduced by what it needs itself: 24 and 30 pixels to 12 at most
    smaller = read_capture(folder, longest_side=12).views
    assert smaller.silhouette.shape == (7, 10, 12)
    assert smaller.valid.sum() == 5 * 9 * 12 + 2 * 10 * 6


def test_ignore_masks_make_pixels_say_nothing(folder, scene):
    write_plain(folder, scene)
    unknown = np.zeros((18, 24), np.uint8)
    unknown[3:5, 6:9] = 255
    save(folder / "ignore" / "001.png", unknown)
    views = read_capture(folder).views
    np.testing.assert_array_equal(views.valid[1], unknown == 0)
    assert views.valid[[0, 2, 3, 4]].all()
    halved = read_capture(folder, longest_side=12).views.valid[1]
    assert np.argwhere(~halved).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]  # blocks with any unknown pixel


def test_colour_needs_every_image(folder, scene):
    write_plain(folder, scene)
    (folder / "images" / "002.png").unlink()
    capture = read_capture(folder)
    assert capture.views.color is None
    assert "1 of 5 views have no image: no colours are read" in capture.notices


def test_the_first_format_that_knows_the_folder_reads_it(folder, scene):
    write_krt(folder, scene)
    write_transforms(folder, scene)
    capture = read_capture(folder)
    assert capture.kind == "transforms"
    assert capture.notices[-1] == "read as transforms; its files would also do for the format krt"
    assert read_capture(folder, "krt").kind == "krt"


def test_notices_about_the_masks(folder, scene):
    write_plain(folder, scene)
    masks = [folder / "masks" / f"{name}.png" for name in scene.names]
    cut = np.zeros((18, 24), np.uint8)
    cut[10:, 5:9] = 255
    save(masks[0], cut)
    save(masks[1], np.zeros((18, 24), np.uint8))
    save(masks[2], np.full((18, 24), 255, np.uint8))
    inverted = np.full((18, 24), 255, np.uint8)
    inverted[5:9, 5:9] = 0
    save(masks[3], inverted)
    notices = read_capture(folder).notices
    assert "1 of 5 masks show no object" in notices
    assert "1 of 5 masks are white everywhere" in notices
    assert "1 of 5 masks are white along the border: are they the background's?" in notices
    assert "1 of 5 silhouettes touch the border: what lies outside the image is unknown, not empty" in notices


def test_one_view_can_be_read(folder):
    write_plain(folder, make_scene(1))
    capture = read_capture(folder)
    assert capture.views.silhouette.shape == (1, 18, 24)
    assert "one view only: a shape needs several" in capture.notices


REAL_FINDS = {
    "dtu_scan24": ("krt", (49, 300, 400), 7, "49 of 49 silhouettes touch the border"),
    "middlebury_temple": ("krt", (40, 480, 640), 24, "gives a box around the object"),
    "nerf_lego": ("transforms", (125, 200, 200), 25, "masks from alpha of the images"),
    "oxford_dino": ("krt", (36, 576, 720), 6, "gives a box around the object"),
}


@pytest.mark.parametrize("name", REAL_FINDS)
def test_real_sequences(name):
    if not REAL.is_dir():
        pytest.skip(f"no shared sequences at {REAL.parent}")
    kind, shape, held_out, words = REAL_FINDS[name]
    capture: Capture = read_capture(REAL / name, longest_side=100)
    side = -(-shape[2] // 100) if shape[2] % 100 == 0 else shape[2] // 101 + 1
    assert capture.kind == kind
    assert capture.views.silhouette.shape == (shape[0], shape[1] // side, shape[2] // side)
    assert capture.held_out.sum() == held_out
    assert capture.views.color is not None
    assert any(words in notice for notice in capture.notices)
    # the cameras of both files of a sequence are the same ones: half a pixel is added to K alone
    given = np.load(REAL / name / "cameras.npz")
    centre = -np.einsum("vji,vj->vi", given["R"], given["t"])
    np.testing.assert_allclose(
        capture.views.cameras.world_from_camera[:, :3, 3], centre, atol=2e-5 * np.abs(centre).max()
    )
    turn = np.swapaxes(given["R"], 1, 2)
    np.testing.assert_allclose(capture.views.cameras.world_from_camera[:, :3, :3], turn, atol=1e-5)
    middle = (given["K"][:, :2, 2] + 0.5) / side
    np.testing.assert_allclose(capture.views.cameras.intrinsics[:, :2, 2], middle, atol=1e-3)
