"""Every format, written from one known scene and read back."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmb.files.captures.plain import write_cameras
from fmb.files.captures.read import SOURCES, read_capture
from fmb.files.safe import read_json
from tests.datasets import (
    MAKERS,
    OPENGL,
    POINTS,
    Scene,
    bytes_of,
    make_scene,
    save,
    save_views,
    write_annotations,
    write_co3d,
    write_colmap,
    write_idr,
    write_krt,
    write_krt_arrays,
    write_oxford,
    write_plain,
    write_ply,
    write_transforms,
)

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
    assert read_capture(folder, kind).names == scene.names
    for other in set(SOURCES) - {kind}:  # no other format is content with it
        with pytest.raises(ValueError, match=r"^[^\n]+\Z"):
            read_capture(folder, other)


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


def test_what_is_cut_off_is_left_out(folder, scene):
    write_plain(folder, scene)
    mask, image = folder / "masks" / "001.png", folder / "images" / "002.png"
    for path in (mask, image):
        path.write_bytes(path.read_bytes()[:60])
    capture = read_capture(folder)
    assert capture.names == ("000", "002", "003", "004") and capture.held_out.tolist() == [False, False, False, True]
    np.testing.assert_allclose(capture.views.silhouette, scene.views.silhouette[[0, 2, 3, 4]], atol=1e-7)
    np.testing.assert_allclose(
        capture.views.cameras.world_from_camera, scene.views.cameras.world_from_camera[[0, 2, 3, 4]]
    )
    assert capture.views.color is None
    told = "\n".join(capture.notices)
    assert f"1 of 5 masks are not read, nor their views, the first: {mask}: not a readable image" in told
    assert f"1 of 4 images are not read, so no colours are, the first: {image}: not a readable image" in told


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


@pytest.mark.parametrize("number", [1, 21, 128, 255, 300, 65535])
def test_the_one_number_beside_0_in_all_masks_is_the_object(folder, scene, number):
    write_plain(folder, scene)
    object_shown = scene.views.silhouette > 0.5
    for name, shown in zip(scene.names, object_shown, strict=True):
        save(folder / "masks" / f"{name}.png", (number * shown).astype(np.uint8 if number < 256 else np.uint16))
    capture = read_capture(folder)
    np.testing.assert_array_equal(capture.views.silhouette, object_shown)
    told = f"the masks hold no number but 0 and {number}: {number} is taken for the object"
    assert (told in capture.notices) == (number not in (1, 255, 65535))
    if number == 128:  # of 255, in every mask, where another number is in one
        save(folder / "masks" / "004.png", np.where(object_shown[4], 255, 51).astype(np.uint8))
        assert np.unique(read_capture(folder).views.silhouette[0]).tolist() == [0.0, np.float32(128 / 255)]


def test_one_view_can_be_read(folder):
    write_plain(folder, make_scene(1))
    capture = read_capture(folder)
    assert capture.views.silhouette.shape == (1, 18, 24)
    assert "one view only: a shape needs several" in capture.notices


def edit(path: Path, change) -> None:
    """Rewrites a JSON file; `change` alters what it holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_nerf_synthetic(folder, scene):
    """Blender's files: one angle, no suffix, alpha, training and test frames of the same names."""
    frames = {"train": [], "val": [], "test": []}
    for view in range(5):
        split = "test" if view > 2 else "train"
        name = f"./{split}/r_{view % 3}"
        pixels = np.concatenate([scene.views.color[view], scene.views.silhouette[view][..., None]], axis=-1)
        save(folder / f"{name}.png", bytes_of(pixels))
        pose = scene.views.cameras.world_from_camera[view] @ OPENGL
        frames[split].append({"file_path": name, "rotation": 0.1, "transform_matrix": pose.tolist()})
    for split, listed in frames.items():
        content = {"camera_angle_x": 0.8, "frames": listed}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))
    capture = read_capture(folder)
    assert capture.names == ("train/r_0", "train/r_1", "train/r_2", "test/r_0", "test/r_1")
    np.testing.assert_array_equal(capture.held_out, [False, False, False, True, True])
    np.testing.assert_array_equal(capture.views.silhouette, scene.views.silhouette)
    np.testing.assert_array_equal(capture.views.color, scene.views.color)
    np.testing.assert_allclose(capture.views.cameras.world_from_camera, scene.views.cameras.world_from_camera)
    focal = 12.0 / np.tan(0.4)
    expected = np.array([[focal, 0.0, 12.0], [0.0, focal, 9.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(capture.views.cameras.intrinsics, np.tile(expected, (5, 1, 1)))
    assert "transforms_val.json is not read" in capture.notices
    # transparent pixels have no colour: those of the rest are averaged by their alpha
    halved = read_capture(folder, longest_side=12).views
    weight = scene.views.silhouette.reshape(5, 9, 2, 12, 2, 1)
    mixed = (scene.views.color.reshape(5, 9, 2, 12, 2, 3) * weight).sum(axis=(2, 4))
    total = weight.sum(axis=(2, 4))
    shown = total[..., 0] > 0.0
    np.testing.assert_allclose(halved.color[shown], mixed[shown] / total[shown], atol=1e-5)
    edit(folder / "transforms_test.json", lambda content: content.update(camera_angle_y=0.7))
    tall = read_capture(folder).views.cameras.intrinsics
    np.testing.assert_allclose(tall[3, [0, 1], [0, 1]], [focal, 9.0 / np.tan(0.35)])
    (folder / "transforms_train.json").unlink()
    alone = read_capture(folder)
    assert not alone.held_out.any() and "all 2 views are held out by the data: none is" in alone.notices


def test_transforms_with_points_masks_by_name_and_missing_frames(folder, scene):
    write_transforms(folder, scene)
    write_ply(folder / "sparse_pc.ply")

    def change(content):
        content["ply_file_path"] = "sparse_pc.ply"
        content["integer_depth_scale"] = 0.002
        for frame in content["frames"]:
            del frame["mask_path"]
            frame["file_path"] = frame["file_path"].replace("/", "\\")
        content["frames"].append({**content["frames"][0], "file_path": "images/gone.png"})

    edit(folder / "transforms.json", change)
    capture = read_capture(folder)
    np.testing.assert_array_equal(capture.points, POINTS)
    np.testing.assert_array_equal(capture.views.silhouette, scene.views.silhouette)
    np.testing.assert_allclose(capture.views.depth, 2.0 * scene.views.depth, atol=1.1e-3)
    assert "1 of 6 frames have neither image nor mask: left out" in capture.notices
    assert capture.held_out.tolist() == scene.held_out.tolist()


def test_frames_without_masks_are_left_out(folder, scene):
    write_transforms(folder, scene)
    edit(folder / "transforms.json", lambda content: [frame.pop("mask_path") for frame in content["frames"]])
    for name in ("001", "003"):
        (folder / "masks" / f"{name}.png").unlink()
    capture = read_capture(folder)
    assert capture.names == ("000", "002", "004")
    assert "2 of 5 frames have no mask: left out (images/001.png, images/003.png)" in capture.notices


def test_files_that_our_cameras_name(folder, scene):
    write_plain(folder, scene)
    (folder / "masks" / "000.png").rename(folder / "elsewhere.png")
    save(folder / "z.png", np.full((18, 24), 1500, np.uint16))
    extra = {"mask": "elsewhere.png", "depth": "z.png", "depth_scale": 0.001}
    edit(folder / "cameras.json", lambda content: content["views"][0].update(extra))
    views = read_capture(folder).views
    np.testing.assert_array_equal(views.silhouette, scene.views.silhouette)
    np.testing.assert_allclose(views.depth[0], 1.5)
    assert np.isnan(views.depth[1:]).all()


def test_colmap_model_beside_the_images_and_other_models(folder, scene):
    write_colmap(folder, scene)
    (folder / "sparse" / "0").rename(folder / "sparse" / "1")
    write_colmap(folder, make_scene(2))  # over the images of the first two views
    save_views(folder, scene, suffix=".png.png")
    told = "2 models in sparse/: sparse/1 is read, which has the most images (5)"
    assert told in read_capture(folder).notices
    cameras = (folder / "sparse" / "1" / "cameras.bin").rename(folder / "apart")
    with pytest.raises(ValueError, match=r"no cameras\.bin or cameras\.txt"):  # those of sparse/0 are others
        read_capture(folder)
    cameras.rename(folder / "sparse" / "1" / "cameras.bin")
    for path in (folder / "sparse" / "0").iterdir():
        path.unlink()
    (folder / "sparse" / "0").rmdir()
    (folder / "sparse" / "1").rename(folder / "sparse" / "0")
    for path in (folder / "sparse" / "0").iterdir():
        path.rename(folder / path.name)
    (folder / "points3D.bin").unlink()
    capture = read_capture(folder)
    assert capture.points is None
    np.testing.assert_array_equal(capture.views.silhouette, scene.views.silhouette)


def test_a_distorted_model_without_distortion_is_a_pinhole(folder, scene):
    write_colmap(folder, scene)
    model = folder / "sparse" / "0"
    for path in model.glob("cameras.*"):
        path.unlink()
    line = "{} SIMPLE_RADIAL 24 18 31.0 12.5 8.5 0\n"
    (model / "cameras.txt").write_text("".join(line.format(number) for number in range(3, 8)))
    expected = np.array([[31.0, 0.0, 12.5], [0.0, 31.0, 8.5], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(read_capture(folder).views.cameras.intrinsics[2], expected)


def test_co3d_by_the_folder_of_a_sequence(folder, scene):
    write_co3d(folder, scene)
    capture = read_capture(folder / "seq_1")
    np.testing.assert_array_equal(capture.views.silhouette, scene.views.silhouette)
    assert "held out: as in set_lists/set_lists_manyview_dev_0.json" in capture.notices
    (folder / "seq_2").mkdir()
    with pytest.raises(ValueError, match=r"2 sequences have files here \(seq_1, seq_2\); expected one, or the folder"):
        read_capture(folder)
    with pytest.raises(ValueError, match="no sequence 'set_lists'"):
        read_capture(folder / "set_lists")


def test_co3d_frames_without_viewpoint(folder, scene):
    write_co3d(folder, scene)
    frame = {"sequence_name": "seq_1", "frame_number": 9, "image": {"path": "data/seq_1/x.png", "size": [18, 24]}}
    frames = read_json(folder / "frame_annotations.jgz", list)
    write_annotations(folder, [*frames, {**frame, "viewpoint": None}])
    capture = read_capture(folder)
    assert len(capture.names) == 5 and "1 of 6 frames have no viewpoint: left out" in capture.notices
    write_annotations(folder, [frame])
    with pytest.raises(ValueError, match="seq_1: none of its 1 frames has a viewpoint"):
        read_capture(folder)


def test_idr_tells_of_its_sphere_and_its_order(folder, scene):
    write_idr(folder, scene)
    assert any("a ball of radius 2 around (0, 0, 0)" in notice for notice in read_capture(folder).notices)
    for view, name in enumerate((1, 10, 11, 12, 2)):  # in the order of names, not of numbers
        (folder / "mask" / f"{view:03d}.png").rename(folder / "mask" / f"{name}.png")
    capture = read_capture(folder)
    assert any("by name (1, 10, 11, ...): so lines of sight meet best" in notice for notice in capture.notices)
    np.testing.assert_array_equal(capture.views.silhouette, scene.views.silhouette)


def test_silhouettes_and_calib(folder, scene):
    """Furukawa and Ponce: calib/NNN.txt with the word CONTOUR, silhouettes/NNN.pgm."""
    write_oxford(folder, scene)
    for name in ("calib", "silhouettes"):
        (folder / name).mkdir()
    for name in scene.names:
        text = (folder / f"{name}.P").read_text()
        (folder / "calib" / f"{name}.txt").write_text(f"CONTOUR\n{text}")
        (folder / f"{name}.P").unlink()
        with Image.open(folder / "masks" / f"{name}.png") as mask:
            mask.save(folder / "silhouettes" / f"{name}.pgm")
        (folder / "masks" / f"{name}.png").unlink()
    capture = read_capture(folder)
    assert capture.kind == "projections"
    np.testing.assert_array_equal(capture.views.silhouette, scene.views.silhouette)
    np.testing.assert_allclose(capture.views.cameras.intrinsics, scene.views.cameras.intrinsics, atol=1e-9)
    (folder / "calib").rename(folder / "txt")
    assert read_capture(folder).names == scene.names


def test_a_box_in_the_data_is_told(folder, scene):
    write_krt(folder, scene)
    assert "the file gives a box around the object, (-1, -1, -1) to (1, 1, 1): not used" in read_capture(folder).notices
    (folder / "cameras.json").unlink()
    write_krt_arrays(folder, scene)
    assert len(read_capture(folder).notices) == 1 + sum("border" in n for n in read_capture(folder).notices)
