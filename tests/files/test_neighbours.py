"""What people really have: captures as other programs and other disks leave them give the scene, or one clear line."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmb.files.captures.read import Capture, read_capture
from fmb.geometry.cameras import Cameras
from fmb.geometry.lenses import Lens
from fmb.geometry.views import foreground
from tests.datasets import (
    OPENGL,
    Scene,
    bytes_of,
    krt_of,
    make_scene,
    refusal,
    save,
    save_views,
    see,
    write_colmap,
    write_colmap_text,
    write_idr,
    write_krt,
    write_krt_arrays,
    write_transforms,
)

FLIP = np.diag([-1.0, -1.0, 1.0])  # PyTorch3D's axes


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="module")
def centred(scene) -> Scene:
    """The same with one focal length and the principal point in the middle, for formats that know no others."""
    matrix = np.array([[32.0, 0.0, 12.0], [0.0, 32.0, 9.0], [0.0, 0.0, 1.0]])
    pose = scene.views.cameras.world_from_camera
    silhouette = np.stack([see(one, matrix, (18, 24))[0] for one in pose])
    cameras = Cameras(pose, np.tile(matrix, (len(pose), 1, 1)))
    return scene._replace(views=scene.views._replace(cameras=cameras, silhouette=silhouette, depth=None))


def edit(path: Path, change) -> None:
    """Rewrites a JSON file; `change` alters what it holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def check(capture: Capture, scene: Scene, notice: str = "") -> None:
    """The scene came back, and the notice was given."""
    views = capture.views
    np.testing.assert_allclose(views.cameras.world_from_camera, scene.views.cameras.world_from_camera, atol=1e-6)
    np.testing.assert_allclose(views.cameras.intrinsics, scene.views.cameras.intrinsics, atol=1e-9)
    np.testing.assert_array_equal(views.silhouette, scene.views.silhouette)
    assert any(notice in line for line in capture.notices), capture.notices


def bend(folder: Path, scene: Scene, lens: Lens) -> None:
    """The masks as a lens would have taken them."""
    for path in sorted((folder / "masks").iterdir()):
        view = int(path.name[:3])
        pose, matrix = (field[view] for field in scene.views.cameras)
        save(path, bytes_of(see(pose, matrix, (18, 24), lens)[0]))


def check_straight(capture: Capture, lens: str) -> None:
    """Every view shows what a pinhole of its cameras would see."""
    assert f"5 of 5 views undistorted on reading (camera model {lens})" in capture.notices
    for view, name in enumerate(capture.names):
        pose, matrix = (field[view] for field in capture.views.cameras)
        expected = see(pose, matrix, capture.views.silhouette.shape[1:])[0]
        known = capture.views.valid[view]
        inside, wanted = foreground(capture.views.silhouette[view]) & known, foreground(expected) & known
        assert np.sum(inside & wanted) >= 0.96 * np.sum(inside | wanted), name


def test_lenses_of_nerfstudio_and_instant_ngp(folder, scene):
    write_transforms(folder, scene)
    bend(folder, scene, Lens("OPENCV", (-0.3, 0.05, 0.002, -0.003)))
    edit(folder / "transforms.json", lambda content: content.update(k1=-0.3, k2=0.05, p1=0.002, p2=-0.003))
    check_straight(read_capture(folder), "OPENCV")
    bend(folder, scene, Lens("OPENCV_FISHEYE", (0.05, 0.0, 0.0, 0.0)))
    change = {"is_fisheye": True, "k1": 0.05, "k2": 0, "p1": 0, "p2": 0, "camera_model": None}
    edit(folder / "transforms.json", lambda content: content.update(change))
    check_straight(read_capture(folder), "OPENCV_FISHEYE")
    depth = read_capture(folder, needed=("depth",)).views.depth
    assert set(np.unique(np.isfinite(depth))) == {False, True}


def test_lenses_of_colmap(folder, scene):
    write_colmap_text(folder, scene)
    bend(folder, scene, Lens("DIVISION", (-0.25,)))
    path = folder / "sparse" / "0" / "cameras.txt"
    lines = path.read_text().replace("PINHOLE", "DIVISION").splitlines()
    path.write_text("\n".join(line + (" -0.25" if "DIVISION" in line else "") for line in lines))
    check_straight(read_capture(folder), "DIVISION")


def test_images_of_another_size_than_their_cameras(folder, scene):
    write_transforms(folder, scene)
    larger = {"w": 120, "h": 90}

    def change(content):
        content.update(larger)
        for frame in content["frames"]:
            frame.update({key: 5.0 * frame[key] for key in ("fl_x", "fl_y", "cx", "cy")})

    edit(folder / "transforms.json", change)
    check(read_capture(folder), scene, "cameras are for 120 x 90 pixels, their masks have 24 x 18: cameras scaled")
    for path in (folder / "masks").iterdir():  # masks twice the size of the images
        save(path, np.kron(np.asarray(Image.open(path)), np.ones((2, 2), np.uint8)))
    check(read_capture(folder, longest_side=24), scene, "their masks have 48 x 36: cameras scaled")


def test_masks_turned_by_exif(folder, scene):
    write_transforms(folder, scene)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (folder / "images").iterdir():
        Image.open(path).save(path, exif=exif)
        mask = folder / "masks" / path.name
        Image.open(mask).transpose(Image.Transpose.ROTATE_270).save(mask)
    check(read_capture(folder), scene, "5 of 5 masks were turned to lie as their images are stored (EXIF)")


def test_only_what_is_needed_is_read(folder, scene):
    write_transforms(folder, scene)
    for path in (folder / "depth").iterdir():
        path.unlink()
    (folder / "masks" / "002.png").unlink()
    edit(folder / "transforms.json", lambda content: content.update(ply_file_path="sparse_pc.ply"))
    capture = read_capture(folder)
    told = " ".join(capture.notices)
    assert capture.names == ("000", "001", "003", "004") and capture.views.depth is None and capture.points is None
    assert "1 of 5 frames have no mask: left out (images/002.png)" in capture.notices
    assert "4 of 4 depth maps are not read, the first: " in told and "points are not read: " in told
    for name, words in (("depth", "depth/000.png: no such image"), ("points", "sparse_pc.ply: no such file")):
        with pytest.raises(ValueError, match=words):
            read_capture(folder, needed=(name,))


def test_depth_in_arrays(folder, scene):
    write_transforms(folder, scene)
    for view, name in enumerate(scene.names):
        np.save(folder / "depth" / f"{name}.npy", scene.views.depth[view])
    change = [f"depth/{name}.npy" for name in scene.names]
    edit(
        folder / "transforms.json",
        lambda content: [f.update(depth_file_path=p) for f, p in zip(content["frames"], change, strict=True)],
    )
    np.testing.assert_array_equal(read_capture(folder, needed=("depth",)).views.depth, scene.views.depth)


def test_names_as_disks_have_them(folder, scene):
    write_colmap_text(folder, scene)
    path = folder / "sparse" / "0" / "images.txt"
    text = path.read_text()
    for name in scene.names:
        listed, stored = f"Bild  é {name}.JPG", unicodedata.normalize("NFD", f"bild é {name}")
        text = text.replace(f" {name}.png", f" {listed}")
        (folder / "masks" / f"{name}.png.png").rename(folder / "masks" / f"{stored}.jpg.png")
        (folder / "images" / f"{name}.png").rename(folder / "images" / f"{stored}.Png")
    path.write_text("\n".join(line for line in text.splitlines() if line))  # without the lines of no features
    (folder / "masks").rename(folder / "Masks")
    for junk in ("._Bild é 000.png", ".DS_Store", "Thumbs.db"):
        (folder / "Masks" / junk).write_bytes(b"junk")
    check(read_capture(folder), scene)
    assert read_capture(folder).views.color is not None


def test_paths_of_another_machine(folder, scene):
    write_transforms(folder, scene)

    def change(content):
        for frame in content["frames"]:
            frame["file_path"] = f"C:\\data\\horse\\{frame['file_path']}"
            frame["mask_path"] = f"/home/me/horse/{frame['mask_path']}"
            frame.pop("depth_file_path")

    edit(folder / "transforms.json", change)
    check(read_capture(folder), scene, "5 of 5 paths lead out of the folder: their ends are taken, which lie in it")


def test_scaled_poses_dynamic_masks_and_inverted_ones(folder, scene):
    write_transforms(folder, scene)

    def change(content):
        for frame in content["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, :3] *= 1.25
            frame["transform_matrix"] = matrix.tolist()
            frame.pop("mask_path")

    edit(folder / "transforms.json", change)
    check(read_capture(folder), scene, "5 of 5 poses are scaled, the first by 1.25: left out of them")
    for name in scene.names:
        mask = 255 - np.asarray(Image.open(folder / "masks" / f"{name}.png"))
        save(folder / "masks" / f"{name}.png", mask)
    inverted = read_capture(folder)
    assert "all 5 masks are white along the border: taken for the background's, and inverted" in inverted.notices
    np.testing.assert_allclose(inverted.views.silhouette, scene.views.silhouette, atol=1e-6)
    for name in scene.names:
        (folder / "masks" / f"{name}.png").rename(folder / "images" / f"dynamic_mask_{name}.png")
    dynamic = read_capture(folder)
    np.testing.assert_allclose(dynamic.views.silhouette, scene.views.silhouette, atol=1e-6)
    assert any("white where hidden: their black is the object" in line for line in dynamic.notices)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3)])
def test_translations_as_columns_and_rows(folder, scene, shape):
    write_krt(folder, scene)
    edit(
        folder / "cameras.json",
        lambda content: [f.update(t=np.reshape(f["t"], shape).tolist()) for f in content["frames"]],
    )
    check(read_capture(folder), scene)
    (folder / "cameras.json").unlink()
    write_krt_arrays(folder, scene)
    with np.load(folder / "cameras.npz") as archive:
        arrays = {**archive}
    np.savez(folder / "cameras.npz", **{**arrays, "t": arrays["t"].reshape(-1, *shape)})
    check(read_capture(folder), scene)


def test_numbers_without_zeros_in_front(folder, scene):
    """IDR: the order of numbers is not that of names; that one is taken in which the lines of sight meet."""
    scene = make_scene(12)
    write_idr(folder, scene)
    for view in range(12):
        (folder / "mask" / f"{view:03d}.png").rename(folder / "mask" / f"{view}.png")
        (folder / "image" / f"{view:06d}.png").rename(folder / "image" / f"{view}.png")
    check(read_capture(folder), scene, "masks go with the matrices by number (0, 1, 2, ...): so lines")
    (folder / "mask" / "7.png").unlink()
    assert "1 of 12 frames have no mask: left out" in " ".join(read_capture(folder).notices)


def test_llff(folder, centred):
    save_views(folder, centred)
    rows = []
    for pose in centred.views.cameras.world_from_camera:
        right, down, forward, place = pose[:3].T
        matrix = np.column_stack([down, right, -forward, place, [180.0, 240.0, 320.0]])  # ten times the images' size
        rows.append([*matrix.ravel(), 1.0, 5.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    check(read_capture(folder), centred, "cameras are for 240 x 180 pixels")
    assert read_capture(folder).kind == "llff"
    np.save(folder / "poses_bounds.npy", np.zeros((5, 17)))
    assert "view 0: image of 0 x 0 pixels; must be at least 1 x 1" in refusal(folder)


def run_lengths(mask: np.ndarray) -> str:
    """COCO's, down the columns, from background on."""
    flat = np.concatenate([[0], mask.T.ravel(), [0]])
    changes = np.flatnonzero(np.diff(flat)).tolist()
    return " ".join(map(str, np.diff([0, *changes, mask.size]).tolist()))


def test_ners(folder, centred):
    hard = foreground(centred.views.silhouette)
    views = []
    for view, name in enumerate(centred.names):
        pose = centred.camera_from_world(view)
        camera = {"R": (FLIP @ pose[:3, :3]).T.tolist(), "T": (FLIP @ pose[:3, 3]).tolist()}
        camera["fov"] = float(np.rad2deg(2.0 * np.arctan(12.0 / 32.0)))
        save(folder / "images" / f"{name}.png", bytes_of(centred.views.color[view]))
        mask = {"counts": run_lengths(hard[view].astype(int)), "size": [18, 24]}
        views.append({"filename": f"{name}.png", "mask": mask, "camera_optimized": camera, "bbox": [0, 0, 1, 1]})
    (folder / "annotations.json").write_text(json.dumps({"id": "1", "annotations": views}))
    expected = centred._replace(views=centred.views._replace(silhouette=hard.astype(np.float32)))
    check(read_capture(folder), expected, "cameras: camera_optimized of annotations.json")
    assert read_capture(folder).kind == "ners" and read_capture(folder).views.color is not None
    edit(folder / "annotations.json", lambda content: content["annotations"][0]["mask"].update(counts="500 3"))
    assert "run lengths sum up to 503; must not be more than 432" in refusal(folder)


def test_arrays_in_one_file(folder, scene, centred):
    cameras = {key: np.stack([krt_of(scene, view)[key] for view in range(5)]) for key in ("K", "R", "t")}
    path = folder / "all.npz"
    folder.mkdir(exist_ok=True)
    np.savez(path, masks=bytes_of(scene.views.silhouette), images=bytes_of(scene.views.color), **cameras)
    for place in (path, folder):
        capture = read_capture(place)
        check(capture, scene)
        np.testing.assert_array_equal(capture.views.color, scene.views.color)
    rgba = np.concatenate([centred.views.color, centred.views.silhouette[..., None]], axis=-1)
    poses = centred.views.cameras.world_from_camera @ OPENGL
    np.savez(path, images=rgba, poses=poses, focal=32.0)
    check(read_capture(path), centred, "axes are taken to be OpenGL's")
    np.savez(path, images=rgba[..., :3], poses=poses, focal=32.0)
    assert "images of shape (5, 18, 24, 3) and no masks; expected masks (view, height, width)" in refusal(path)


def test_cameras_far_from_the_origin_keep_their_digits(folder, scene):
    far = np.array([448123.4, 5411987.6, 233.1])
    poses = scene.views.cameras.world_from_camera.copy()
    poses[:, :3, 3] += far
    moved = scene._replace(views=scene.views._replace(cameras=scene.views.cameras._replace(world_from_camera=poses)))
    write_colmap(folder, moved)
    found = read_capture(folder).views.cameras.world_from_camera
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, poses, rtol=0.0, atol=1e-8)
