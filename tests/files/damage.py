"""The corpus of damaged files: for each format what is done to a good one, and words of the line that refuses it.

CAPTURES are damages of data sets in folders, FILES contents of single files.
"""

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmb.files.bop import CSV_HEAD
from fmb.files.safe import read_json
from fmb.files.splat_files import PROPERTIES
from tests.datasets import save, write_annotations, write_json

NAN = float("nan")
GONE = object()  # as a value: the entry is removed
Damage = Callable[[Path], object]


def content(name: str, data: bytes) -> Damage:
    """Another content for a file, or for all those of a pattern."""
    return lambda folder: [path.write_bytes(data) for path in list(folder.glob(name)) or [folder / name]]


def cut(name: str, length: int) -> Damage:
    """The beginning alone of a file, or of all those of a pattern."""
    return lambda folder: [path.write_bytes(path.read_bytes()[:length]) for path in folder.glob(name)]


def text(name: str, old: str, new: str) -> Damage:
    """Text replaced in a file, once."""

    def damage(folder: Path) -> None:
        found = (folder / name).read_text()
        assert old in found
        (folder / name).write_text(found.replace(old, new, 1))

    return damage


def gone(*names: str) -> Damage:
    """Files that are not there."""
    return lambda folder: [path.unlink() for name in names for path in folder.glob(name)]


def pixels(name: str, values: np.ndarray) -> Damage:
    """Other pixels in images."""
    return lambda folder: [save(path, values) for path in list(folder.glob(name)) or [folder / name]]


def arrays(name: str, **changes: Any) -> Damage:
    """Other arrays in an archive."""

    def damage(folder: Path) -> None:
        with np.load(folder / name) as archive:
            found = {**archive, **changes}
        np.savez(folder / name, **{key: value for key, value in found.items() if value is not GONE})

    return damage


def entries(name: str, prefix: str, /, **changes: Any) -> Damage:
    """Other entries in JSON, by the keys that lead there, joined by two underscores; a number is a place in a list."""

    def damage(folder: Path) -> None:
        value = read_json(folder / name, object)
        for path, new in changes.items():
            *outer, last = (int(key) if key.isdigit() else key for key in (prefix + path).split("__"))
            record = value
            for key in outer:
                record = record[key]
            if new is GONE:
                del record[last]
            else:
                record[last] = new
        if name.endswith(".jgz"):
            write_annotations(folder, value)
        else:
            write_json(folder / name, value)

    return damage


# other entries at the top of a file, and in its first view
cameras, plain, krt = (partial(entries, "cameras.json", prefix) for prefix in ("", "views__0__", "frames__0__"))
nerf, frame = (partial(entries, "transforms.json", prefix) for prefix in ("", "frames__0__"))
co3d = partial(entries, "frame_annotations.jgz", "0__")


def npz(**members: bytes) -> bytes:
    """An archive of files that may be no arrays."""
    path = io.BytesIO()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path.getvalue()


def npy(shape: str, data: bytes = b"", version: int = 1) -> bytes:
    """An array whose header claims a shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode() + data


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


REFLECTION = np.diag([-1.0, 1.0, 1.0, 1.0]).tolist()
SHEAR = (np.eye(4) + 0.3 * np.eye(4, k=1) * [[1], [0], [0], [0]]).tolist()
BLACK, WHITE = np.zeros((18, 24), np.uint8), np.full((18, 24), 255, np.uint8)
VIEW, FRAME, KRT = "cameras.json: view 0 (000)", "transforms.json: frame 0 (images/000.png)", "cameras.json: frame 0"
MODEL, LENS = "sparse/0/", "3 PINHOLE 24 18"
SPHERE = struct.pack("<QIiQQ2d", 1, 3, 17, 24, 18, 24.0, 18.0)
HEADER = b"ply\nformat ascii 1.0\nelement vertex 1\n" + b"".join(b"property float %c\n" % axis for axis in b"xyz")
NPZ = "cameras_sphere.npz"

# format: (damage, words of the refusal)
CAPTURES: dict[str, list[tuple[Damage, str]]] = {
    "plain": [
        (content("cameras.json", b'{"format": '), "cameras.json: not readable as JSON (Expecting value"),
        (content("cameras.json", b"[" * 100_000), "cameras.json: not readable as JSON"),
        (content("cameras.json", b"[1]"), "cameras.json: must hold a JSON object at the top"),
        (cameras(version=2), "format 'fmb-cameras' version 2; expected 'fmb-cameras' version 1"),
        (cameras(views=[]), "cameras.json: 'views' must be a list of views"),
        (cameras(views=GONE), "cameras.json: 'views' missing"),
        (cameras(views=[3]), "cameras.json: view 0: must be a JSON object"),
        (plain(name="a\nb"), "cameras.json: view 0: name 'a\\nb' must be a text"),
        (plain(intrinsics=GONE), f"{VIEW}: 'intrinsics' missing"),
        (plain(intrinsics=[[1, 2], [3, 4]]), f"{VIEW}: intrinsics: must be 3 x 3 numbers"),
        (plain(intrinsics=[[1, 0, 0], [0, -1, 0], [0, 0, 1]]), "focal lengths 1 and -1; must be positive"),
        (plain(intrinsics=np.zeros((3, 3)).tolist()), "must be upper triangular with 1 at the end"),
        (plain(world_from_camera=SHEAR), f"{VIEW}: world_from_camera: not a rotation (R Rᵀ is off by 0.3)"),
        (plain(world_from_camera=REFLECTION), "a reflection (determinant -1), expected a rotation"),
        (plain(world_from_camera=[[0.0] * 4] * 4), "last row [0.0, 0.0, 0.0, 0.0], expected 0 0 0 1"),
        (plain(world_from_camera=[[NAN] * 4] * 4), f"{VIEW}: world_from_camera: not finite"),
        (plain(world_from_camera=[[10**400] * 4] * 4), "world_from_camera: must be 4 x 4 numbers"),
        (plain(width=23), "masks/000.png: 24 x 18 pixels, its camera is for 23 x 18"),
        (plain(width=2.5), f"{VIEW}: 2.5 x 18 pixels; must be whole numbers from 1"),
        (plain(held_out="no"), f"{VIEW}: held_out 'no' must be true or false"),
        (plain(mask="/etc/hostname"), f"{VIEW}: path '/etc/hostname' leaves the data set; paths must stay inside DATA"),
        (plain(mask=7), f"{VIEW}: 7 is no path; expected one relative to DATA"),
        (plain(mask="masks/001.png"), "masks/001.png: the mask of several views; each needs its own"),
        (content("images/*", b"{}"), "images/000.png: not a readable image (none of PNG, JPEG"),
        (plain(depth="images/000.png"), "images/000.png: pixels of mode RGB; a depth map has one channel"),
        (plain(depth_scale=0), f"{VIEW}: depth_scale 0: must be above 0"),
        (gone("masks/*"), "DATA: none of the 2 views has a mask; expected a white object on black in masks/"),
        (cut("masks/*", 60), "masks/000.png: not a readable image"),
        (content("masks/*", png(24, 18, bytes(25))), "not a readable image (fewer rows than the 18"),
        (content("masks/000.png", png(9000, 9000, bytes(25))), "9000 x 9000 pixels; at most 67108864 pixels are read"),
        (content("masks/000.png", png(40_000, 40_000, bytes(25))), "not a readable image (Image size (1600000000 p"),
        (pixels("masks/*", BLACK), "masks/000.png: none of the 2 masks shows the object, their largest value is 0 of"),
        (pixels("masks/*", WHITE.astype(np.uint16)), "all 2 masks are white everywhere; exp"),  # 16 bits that hold 8
        (pixels("masks/*", WHITE), "masks/000.png: all 2 masks are white everywhere; expected the object white on"),
        (pixels("images/001.png", BLACK[:9]), "images/001.png: 24 x 9 pixels, its mask has 24 x 18"),
        (pixels("ignore/001.png", BLACK[:, :23]), "ignore/001.png: 23 x 18 pixels, its mask has 24 x 18"),
    ],
    "transforms": [
        (gone("images/*", "masks/*"), "transforms.json: none of the images of its 2 frames is there"),
        (gone("masks/*"), "none of the 2 views has a mask"),
        (content("transforms.json", b"[]"), "a list of poses, as `ns-export cameras` writes it, tells neither focal"),
        (nerf(frames=GONE), "transforms.json: 'frames' missing"),
        (nerf(frames={}), "transforms.json: 'frames' must be a list of frames"),
        (nerf(k1="bent"), f"{FRAME}: k1: must be a number"),
        (nerf(distortion_params=[0.1]), f"{FRAME}: distortion_params: must be 6 numbers"),
        (nerf(camera_model="EQUIRECTANGULAR"), f"{FRAME}: camera_model 'EQUIRECTANGULAR' cannot be undistorted"),
        (nerf(w=48), "masks/000.png: 24 x 18 pixels, its camera is for 48 x 18"),
        (nerf(w=0), f"{FRAME}: w and h are 0 and 18; must be at least 1"),
        (nerf(test_filenames=3), "'test_filenames' and 'val_filenames' must be lists of paths"),
        (nerf(ply_file_path="/x.ply"), "transforms.json: path '/x.ply' leaves the data set"),
        (nerf(ply_file_path="x.ply"), "x.ply: no such file"),
        (frame(file_path=GONE), "transforms.json: frame 0: 'file_path' missing"),
        (frame(file_path="../x.png"), "transforms.json: frame 0: path '../x.png' leaves the data set"),
        (frame(mask_path="/elsewhere/x.png"), f"{FRAME}: path '/elsewhere/x.png' leaves the data set"),
        (frame(depth_file_path="../x.png"), f"{FRAME}: path '../x.png' leaves the data set"),
        (frame(integer_depth_scale=-0.5), f"{FRAME}: scale of depth -0.5: must be above 0"),
        (frame(transform_matrix=GONE), f"{FRAME}: 'transform_matrix' missing"),
        (frame(transform_matrix=[[0.0] * 4] * 3), f"{FRAME}: transform_matrix: not a rotation"),
        (frame(transform_matrix=[[1.0] * 3] * 3), "transform_matrix: must be 3 x 4 numbers"),
        (frame(fl_x=GONE, fl_y=GONE), f"{FRAME}: no focal length; expected fl_x, or camera_angle_x"),
        (frame(fl_x=GONE, camera_angle_x=4), "camera_angle_x 4; must lie between 0 and pi"),
        (frame(fl_x="wide"), f"{FRAME}: fl_x: must be a number"),
        (frame(cx=[1]), f"{FRAME}: cx: must be a number"),
    ],
    "colmap_binary": [
        (gone(MODEL + "images.bin"), "DATA: no images.bin or images.txt; expected a COLMAP model"),
        (cut(MODEL + "cameras.bin", 40), "cameras.bin: ends in the middle of an entry; not a COLMAP file"),
        (cut(MODEL + "images.bin", 84), "images.bin: ends in the middle of an entry"),
        (cut(MODEL + "points3D.bin", 60), "points3D.bin: ends in the middle of an entry"),
        (content(MODEL + "images.bin", b"\xff" * 8), "images.bin: ends in the middle of an entry"),
        (content(MODEL + "images.bin", bytes(8)), "images.bin: no images"),
        (content(MODEL + "cameras.bin", bytes(8)), "image '000.png' is of camera 3, which"),
        (content(MODEL + "cameras.bin", SPHERE), "camera 3: EQUIRECTANGULAR sees the whole sphere; cut pinhole images"),
        (content(MODEL + "cameras.bin", SPHERE[:12] + b"\x63" + SPHERE[13:]), "model 99 is not known"),
    ],
    "colmap_text": [
        (text(MODEL + "cameras.txt", LENS, "3 LENS 24 18"), "line 2: expected CAMERA_ID MODEL"),
        (text(MODEL + "cameras.txt", LENS, "3 OPENCV 24 18"), "OPENCV has 8"),
        (text(MODEL + "cameras.txt", LENS, "3 PINHOLE 2.4 18"), "must be whole numbers"),
        (text(MODEL + "cameras.txt", LENS, "3 PINHOLE 24 18 x"), "must be numbers"),
        (text(MODEL + "cameras.txt", LENS, "3 PINHOLE 24 19"), "its camera is for 24 x 19"),
        (text(MODEL + "images.txt", "# images\n1 ", "# images\n1 9"), "is not of length 1"),
        (text(MODEL + "images.txt", "000.png", ""), "expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA"),
        (text(MODEL + "images.txt", "000.png", "../../x.png"), "leaves the data set"),
        (text(MODEL + "cameras.txt", LENS, "3 EUCM 24 18"), "4 parameters; EUCM has 6"),
        (content(MODEL + "points3D.txt", b"1 2\n"), "line 1: expected POINT3D_ID X Y Z"),
    ],
    "co3d_isotropic": [
        (cut("frame_annotations.jgz", 50), "frame_annotations.jgz: cannot be read (Compressed file ended"),
        (content("frame_annotations.jgz", b"[]"), "frame_annotations.jgz: cannot be read (Not a gzipped file"),
        (content("frame_annotations.jgz", gzip.compress(b"{}")), "must hold a JSON list at the top"),
        (content("frame_annotations.jgz", gzip.compress(b"[]")), "no sequence has files here"),
        (co3d(sequence_name=GONE), "frame 0: 'sequence_name' missing"),
        (co3d(sequence_name="../seq_1"), "path '../seq_1' leaves the data set"),
        (co3d(image=GONE), "seq_1: frame 0: 'image' missing"),
        (co3d(image__size=[18, 20]), "its camera is for 20 x 18"),
        (co3d(mask=3), "seq_1: frame 0: mask must be a JSON object"),
        (co3d(mask__path="/etc/hostname"), "path '/etc/hostname' leaves"),
        (co3d(mask__path="data/../../x.png"), "leaves the data set"),
        (co3d(depth__scale_adjustment=-1), "seq_1: frame 0: scale_adjustment -1: must be above 0"),
        (co3d(viewpoint__R=GONE), "seq_1: frame 0: 'R' missing"),
        (co3d(viewpoint__R=np.ones((3, 3)).tolist()), "R: not a rotation"),
        (co3d(viewpoint__T=[1, 2]), "seq_1: frame 0: T: must be 3 numbers"),
        (co3d(viewpoint__focal_length=[1]), "seq_1: frame 0: focal_length: must be 2 numbers"),
        (co3d(viewpoint__principal_point=3), "seq_1: frame 0: principal_point: must be 2 numbers"),
        (co3d(viewpoint__intrinsics_format=[]), "intrinsics_format []; must be one of ndc_norm_image_bounds, ndc_iso"),
        (pixels("seq_1/depths/000.png", BLACK), "depths/000.png: pixels of mode L; a depth map of CO3D has 16 bits"),
        (pixels("seq_1/depth_masks/000.png", BLACK[:9]), "depth_masks/000.png: 24 x 9 pixels, its depth map has 24 x"),
        (content("seq_1/pointcloud.ply", b"ply\nformat"), "pointcloud.ply: not a readable ply file of points"),
        (content("seq_1/pointcloud.ply", HEADER + b"end_header\nnan 1 2\n"), "pointcloud.ply: no points"),
    ],
    "idr": [
        (arrays(NPZ, world_mat_1=GONE), "1 matrices, 2 masks; must be as many"),
        (arrays(NPZ, world_mat_0=GONE), "world_mat_0 missing; expected world_mat_0"),
        (arrays(NPZ, world_mat_0=np.zeros((4, 4))), "world_mat_0: singular"),
        (arrays(NPZ, world_mat_0=np.full((4, 4), NAN)), "world_mat_0: not finite"),
        (arrays(NPZ, world_mat_0=np.array(["a"])), "world_mat_0: must be 4 x 4 numbers"),
        (arrays(NPZ, x=np.array([None])), "x.npy holds pickled objects"),
        (cut(NPZ, 300), "DATA: no data set that is known. Expected one of: plain: "),
        (content(NPZ, npz(world_mat_0=npy("(4000000, 4000000)"))), "world_mat_0.npy is not of the size that it claims"),
        (content(NPZ, npz(world_mat_0=npy("(4, 4)", bytes(64)))), "world_mat_0.npy is not of the size that it claims"),
        (content(NPZ, npz(world_mat_0=npy("(4, 4)", bytes(128), 3))), "world_mat_0.npy has version (3, 0)"),
        (content(NPZ, npz(world_mat_0=b"nothing")), "not readable as an npz archive"),
    ],
    "krt": [
        (krt(mask=GONE), f"{KRT}: 'mask' missing"),
        (krt(mask="../m.png"), f"{KRT}: path '../m.png' leaves the data set"),
        (krt(image="../m.png"), f"{KRT}: path '../m.png' leaves the data set"),
        (krt(R=GONE), f"{KRT}: 'R' missing"),
        (krt(R=np.ones((3, 3)).tolist()), f"{KRT}: R: not a rotation"),
        (krt(t=[NAN, 0, 0]), f"{KRT}: R: translation: not finite"),
        (krt(K=[[1]]), f"{KRT}: K: must be 3 x 3 numbers"),
        (cameras(size=[24]), "cameras.json: size: must be 2 numbers"),
        (cameras(size=[24, 19]), "masks/000.png: 24 x 18 pixels, its camera is for 24 x 19"),
        (cameras(bbox=1), "cameras.json: bbox: must be 2 x 3 numbers"),
    ],
    "krt_arrays": [
        (arrays("cameras.npz", t=np.zeros((2, 2))), "cameras.npz: t: must be 2 x 3 numbers"),
        (arrays("cameras.npz", K=np.float64(3)), "cameras.npz: K: must be 0 x 3 x 3 numbers"),
        (gone("masks/001.png"), "cameras.npz: 2 cameras, 1 masks in masks/; must be as many"),
    ],
    "middlebury": [
        (text("scene_par.txt", "000.png", "000.png 1"), "line 2: 22 numbers after the name; expected 21"),
        (text("scene_par.txt", "000.png", "../000.png"), "leaves the data set"),
        (content("scene_par.txt", b"2\n"), "DATA: no projection matrices; expected NAME_par.txt"),
        (content("scene_par.txt", b"000.png" + b" x" * 21), "line 1: must be 21 numbers"),
        (content("scene_par.txt", b"000.png" + b" 0" * 12), "line 1: singular, no finite camera"),
        (content("scene_par.txt", b"000.png" + b" nan" * 12), "line 1: not finite"),
    ],
    "oxford": [
        (content("000.P", b"1 2 3"), "000.P: 3 numbers; expected 12"),
        (content("000.P", b"1 0 0 0 0 1 0 0 0 0 0 1"), "000.P: singular, no finite camera has this matrix"),
    ],
}


def splat_file(degree: int = 0, count: int = 3, **changes: float) -> bytes:
    """Splats as the released 3DGS program writes them, without copies."""
    generator = np.random.default_rng(1)
    rest = [f"f_rest_{k}" for k in range(3 * (degree + 1) ** 2 - 3)]
    names = [*PROPERTIES[:9], *rest, *PROPERTIES[9:]]
    values = generator.normal(size=(count, len(names))).astype("<f4")
    for name, value in changes.items():
        values[:, names.index(name)] = value
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [*(f"property float {name}" for name in names), "end_header", ""]
    return "\n".join(lines).encode() + values.tobytes()


def mixture_arrays(count: int = 3) -> dict[str, np.ndarray]:
    """The arrays of a valid model.npz."""
    generator = np.random.default_rng(0)
    factors = np.tril(generator.normal(size=(count, 3, 3)))
    factors[:, range(3), range(3)] = 1.0 + generator.uniform(size=(count, 3))
    mean, log_weight = generator.normal(size=(count, 3)), generator.normal(size=count)
    return {"mean": mean, "precision_cholesky": factors, "log_weight": log_weight}


def model(**changes: np.ndarray) -> bytes:
    """A model.npz with other arrays."""
    file = io.BytesIO()
    found = {**mixture_arrays(), "metadata": np.array("{}"), **changes}
    np.savez(file, **{name: value for name, value in found.items() if value is not GONE})
    return file.getvalue()


def released_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, upper factors (some entries of the diagonal negative) and log weights."""
    generator = np.random.default_rng(0)
    factor = np.triu(generator.normal(size=(4, 3, 3)))
    return tuple(a.astype(np.float32) for a in (generator.normal(size=(4, 3)), factor, generator.normal(size=4)))


def tetrahedron(*more: str, one: str = "1") -> bytes:
    """Corners in an .obj file, and whatever lines follow."""
    return "\n".join(["v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1".replace("1", one), *more, ""]).encode()


PLY = HEADER.replace(b"vertex 1", b"vertex 3")
PLY_FACE = b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n"
SIDES = "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4"
MEAN, UPPER, LOG_WEIGHT = released_arrays()
CAMERA = {"fx": 1, "fy": 1, "cx": 0, "cy": 0}
LOWER = "precision_cholesky must be lower triangular with a positive diagonal"
HEAD = ",".join(CSV_HEAD)


def array_file(values: np.ndarray) -> bytes:
    """A .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def image_file(values: np.ndarray) -> bytes:
    """Grey pixels of 8 or 16 bits as PNG."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="png")
    return file.getvalue()


def camera(**changes: Any) -> bytes:
    """Intrinsics in JSON."""
    return json.dumps({key: value for key, value in {**CAMERA, **changes}.items() if value is not GONE}).encode()


# reader: (name, content or None for no file, words of the refusal)
FILES: dict[str, list[tuple[str, bytes | None, str]]] = {
    "mesh": [
        ("cow.obj", None, "no such mesh file"),
        ("empty.obj", b"", "the mesh file is empty"),
        ("text.obj", b"Dear diary,\nfine weather today\n", "no triangles"),
        ("binary.obj", bytes(range(256)), "no triangles"),
        ("words.obj", b"v one two three\n", "line 1: vertex 'one two three' is not made of numbers"),
        ("short.obj", b"v 1 2\n", "line 1: vertex with 2 numbers, needs 3"),
        ("word.obj", tetrahedron("f a b c"), "line 5: face 'a b c' is not made of vertex numbers"),
        ("line.obj", tetrahedron("f 1 2"), "line 5: face with 2 vertices, needs 3"),
        ("zero.obj", tetrahedron("f 0 1 2"), "line 5: face refers to vertex 0, the file has 4"),
        ("back.obj", tetrahedron("f -5 1 2"), "line 5: face refers to vertex -5, 4 stand above it"),
        ("high.obj", tetrahedron(SIDES, "f 1 2 5"), "line 9: face refers to vertex 5, the file has 4"),
        ("huge.obj", tetrahedron("f 1 2 99999999999999999999"), "not a readable obj file"),
        ("nan.obj", tetrahedron(SIDES, one="nan"), "3 of 4 vertices are not finite"),
        ("one.obj", tetrahedron("f 1 2 3"), "1 triangles with three distinct corners, a body has at least 4"),
        ("dot.obj", tetrahedron(SIDES, one="0"), "all 4 triangles lie in one point"),
        ("thread.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nv 3 0 0\n" + SIDES.encode(), "4 triangles, none with an area"),
        ("far.obj", tetrahedron(SIDES, one="1e100"), "the mesh is 1e+100 long; must be from 1e-30 to 1e+30"),
        ("near.obj", tetrahedron(SIDES, one="1e-100"), "the mesh is 1e-100 long; must be from 1e-30 to 1e+30"),
        ("over.obj", tetrahedron(SIDES, "v -1e308 0 0\nf 5 1 2", one="1e308"), "the mesh is inf long; must be from"),
        ("escape.obj", b"v \x1b[2J\n", r"line 1: vertex '\x1b[2J' is not made of numbers"),
        ("text.ply", b"Dear diary,\n", "not a readable ply file"),
        ("cloud.ply", PLY + b"end_header\n0 0 0\n1 0 0\n0 1 0\n", "no triangles"),
        ("range.ply", PLY + PLY_FACE + b"3 0 1 7\n", "a face refers to vertex 7, allowed are 0 to 2"),
        ("cut.ply", PLY.replace(b"ascii", b"binary_little_endian") + PLY_FACE, "not a readable ply file"),
        ("text.stl", b"Dear diary,\n", "not a readable stl file: neither text nor of the length that a binary"),
        ("empty.stl", b"solid\nendsolid\n", "no triangles"),
        ("text.off", b"Dear diary,\n", "not a readable off file"),
        ("range.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "a face refers to vertex 7, allowed are 0 to 2"),
        ("text.glb", b"Dear diary,\n", "not a readable glb file"),
        ("text.gltf", b"Dear diary,\n", "not a readable gltf file"),
        ("empty.gltf", b"{}", "no triangles"),
        ("cow.blend", b"x", "mesh format '.blend' is not known, allowed are obj, ply, stl, off, glb, gltf"),
    ],
    "splats": [
        ("a.ply", None, "no such file"),
        ("a.ply", b"solid", "not a PLY file"),
        ("a.ply", splat_file().replace(b"end_header", b"end"), "not a PLY file"),
        ("a.ply", splat_file().replace(b"y_little", b"y_big"), "too few of its 3 splats can be used: 3 not finite"),
        ("a.ply", splat_file().replace(b"ex 3", b"ex 0"), "no vertices, so no Gaussian splats"),
        ("a.ply", splat_file().replace(b"float op", b"list uchar int op"), "rows of element vertex; the file is cut"),
        ("a.ply", splat_file().replace(b"float opacity", b"float a"), "no Gaussian splats: opacity missing"),
        ("a.ply", splat_file().replace(b"float nx", b"float x"), "element vertex has property 'x' twice"),
        ("a.ply", splat_file()[:-1], "2 of 3 rows of element vertex; the file is cut short"),
        ("a.ply", splat_file(opacity=NAN), "too few of its 3 splats can be used: 3 not finite"),
        ("a.ply", splat_file(rot_0=0, rot_1=0, rot_2=0, rot_3=0), "splats can be used: 3 without a rotation"),
        ("a.ply", splat_file(scale_0=1e6), "too few of its 3 splats can be used: 3 not finite"),
        ("a.ply", splat_file(opacity=-1000.0), "too few of its 3 splats can be used: 3 empty"),
    ],
    "model": [
        ("model.npz", None, "no such file"),
        ("model.npz", b"", "not readable as an npz archive"),
        ("model.npz", b"PK\x03\x04 and then nothing", "not readable as an npz archive"),
        ("model.npz", model()[:300], "not readable as an npz archive"),
        ("model.npz", array_file(np.zeros(3)), "not readable as an npz archive (File is not a zip file)"),
        ("model.npz", model(metadata=GONE), "metadata missing; a model has mean, precision_cholesky, log_weight, met"),
        ("model.npz", model(mean=np.zeros((3, 2))), "mean has shape (3, 2); must be (n, 3) with the same n > 0"),
        ("model.npz", model(log_weight=np.zeros((3, 1))), "log_weight has shape (3, 1); must be (n,) with the same"),
        ("model.npz", model(precision_cholesky=np.eye(3)), "has shape (3, 3); must be (n, 3, 3) with the same n > 0"),
        ("model.npz", model(mean=np.zeros((3, 3), int)), "mean has type int64; must be floating point"),
        ("model.npz", model(mean=np.diag([NAN, 0.0, 0.0])), "mean has 1 values that are not finite"),
        ("model.npz", model(mean=np.full((3, 3), 1e39)), "mean has 9 values that are not finite, or beyond what flo"),
        ("model.npz", model(precision_cholesky=np.diag([1.0, 1.0, 1e-300]) + np.zeros((3, 1, 1))), "beyond what float"),
        ("model.npz", model(metadata=np.array('{"scale": 1e-300}')), "component 0 of 3 is beyond what float32 holds"),
        ("model.npz", model(precision_cholesky=np.ones((3, 3, 3))), LOWER),
        ("model.npz", model(precision_cholesky=np.zeros((3, 3, 3))), LOWER),
        ("model.npz", model(color=np.full((3, 3), 2.0)), "color must lie between 0 and 1"),
        ("model.npz", model(metadata=np.array("[1]")), "metadata must be a text of JSON, an object"),
        ("model.npz", model(metadata=np.array("{")), "metadata must be a text of JSON, an object"),
        ("model.npz", model(metadata=np.zeros(3)), "metadata must be a text of JSON, an object"),
        ("model.npz", model(mean=np.array([None])), "mean.npy holds pickled objects"),
    ],
    "released": [
        ("m.pkl", None, "no such file"),
        ("m.pkl", b"", "not a pickle of arrays, or a damaged one"),
        ("m.pkl", pickle.dumps([MEAN, UPPER, LOG_WEIGHT])[:-20], "not a pickle of arrays, or a damaged one"),
        ("m.pkl", b"cnumpy\ndtype\n.", "no model; must be means"),
        ("m.pkl", b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f", "not a pickle of arrays, or a damaged one"),
        ("m.pkl", pickle.dumps(3), "no model; must be means, precision factors and log weights"),
        ("m.pkl", pickle.dumps([1, 2, 3]), "no model; means, precision factors and log weights must be arrays"),
        ("m.pkl", pickle.dumps({"a\nb": MEAN, 3: 1}), r"log_weight missing in a dict of 'a\nb'"),
        ("m.pkl", pickle.dumps((MEAN, UPPER[:3], LOG_WEIGHT)), "precision factors of shape (3, 3, 3); must be (4, 3"),
        ("m.pkl", pickle.dumps((np.array(3.0, np.float32), UPPER, LOG_WEIGHT)), "means of shape (); must be (0, 3)"),
        ("m.pkl", pickle.dumps((MEAN, UPPER, LOG_WEIGHT * np.nan)), "log weights have 4 values that are not finite"),
        ("m.pkl", pickle.dumps((MEAN, 0 * UPPER, LOG_WEIGHT)), "precision factors with a zero on the diagonal"),
    ],
    "depth": [
        ("gone.npy", None, "no such file"),
        ("gone.png", None, "no such image"),
        ("zero.png", image_file(np.zeros((2, 3), np.uint16)), "no depth above 0 in 3 x 2 pixels"),
        ("bytes.png", image_file(np.ones((2, 3), np.uint8)), "pixels of mode L; depth needs 16 bits in one channel"),
        ("cube.npy", array_file(np.ones((2, 2, 2))), "float64 of shape (2, 2, 2); a depth map is (height, width) num"),
        ("archive.npy", model(), "an archive; must be one array"),
        ("broken.npy", b"\x93NUMPY\x01", "not a readable .npy file"),
        ("depth.exr", b"", ".exr is not read here; store the depth as .npy or as 16-bit PNG"),
    ],
    "mask": [
        ("empty.png", image_file(np.zeros((2, 3), np.uint8)), "the mask is empty: no object in 3 x 2 pixels"),
        ("large.npy", array_file(np.array([[0.0, 2.0]])), "values 0 to 2; a mask lies between 0 and 1"),
        ("words.npy", array_file(np.array([["a"]])), "<U1 of shape (1, 1); a mask is (height, width) numbers"),
    ],
    "intrinsics": [
        ("a.json", camera(fy=GONE), "'fy' missing"),
        ("b.json", b"{}", "no fx, fy, cx, cy, and: 'matrix' missing"),
        ("c.json", camera(cx="wide"), "cx: must be a number"),
        ("d.json", camera(fx=-1), "focal lengths -1 and 1; must be positive"),
        ("e.json", b"{", "not readable as JSON"),
        ("f.txt", b"1 2 3", "3 numbers; must be 3 x 3"),
        ("g.yaml", b"", "must be a .json, .txt or .npy file"),
        ("h.json", camera(pixel_centre="corner"), "'corner'; must be half or integer"),
        ("i.json", camera(width=5), "'height' missing"),
        ("j.txt", b"1 0 0 0 1 0 0 0 x", "must be 9 numbers"),
        ("k.json", camera(coeffs=[1, 2], model="brown_conrady"), "lens 'brown_conrady' with 2 parameters cannot be"),
        ("m.json", camera(coeffs="x"), "m.json: coeffs must be a list of numbers"),
        ("n.json", camera(D={"rows": 1}), "n.json: D must be a list of numbers"),
        ("o.json", b'{"camera_matrix": {"rows": 3, "cols": 3, "data": [1, 2]}}', "o.json: must be 3 x 3 numbers"),
        ("l.json", camera(coeffs=[0.1] * 5, model="inverse_brown_conrady"), "lens 'inverse_brown_conrady' with 5"),
    ],
    "pose": [
        ("a.json", b'{"pose": []}', "no 'world_from_camera', and: 'camera_from_world' missing"),
        ("b.json", json.dumps({"world_from_camera": REFLECTION}).encode(), "world_from_camera: a reflection"),
        ("c.json", json.dumps((2.0 * np.eye(4)).tolist()).encode(), "last row"),
        ("d.json", json.dumps(np.diag([2.0, 2.0, 2.0, 1.0]).tolist()).encode(), "not a rotation"),
    ],
    "bop_results": [
        ("a.csv", b"scene,image\n", "first line must be scene_id,im_id"),
        ("b.csv", f"{HEAD}\n1,2,3\n".encode(), "line 2: 3 fields, expected 7"),
        ("c.csv", f"{HEAD}\n1,2,3,0.5,1 0 0,0 0 1,0.1\n".encode(), "line 2: R: must be 9 numbers"),
        ("d.csv", f"{HEAD}\n1,2,x,0.5,1 0 0 0 1 0 0 0 1,0 0 1,0.1\n".encode(), "obj_id 'x': must be a whole number"),
        ("f.csv", f'{HEAD}\n1,2,3,"0.5,1 0 0\n'.encode(), "not readable as CSV (unexpected end of data)"),
        ("e.csv", f"{HEAD}\n1,2,3,0.5,1 0 0 0 1 0 0 0 2,0 0 1,0.1\n".encode(), "line 2: not a rotation"),
    ],
}
