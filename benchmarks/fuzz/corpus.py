"""A small good file of every kind that the program reads, and the reader of it."""

import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from PIL import Image

from benchmarks.fuzz.folders import packed_splats, row_splats, write_llff, write_ners, write_stack
from fmb.command.load import load_config
from fmb.config import DEFAULT_FILE
from fmb.fields.points import Cloud
from fmb.files.bop import (
    BopResult,
    bop_targets,
    read_bop_model,
    read_bop_records,
    read_bop_results,
    read_bop_view,
    write_bop_results,
)
from fmb.files.captures.read import read_capture
from fmb.files.clouds import read_cloud
from fmb.files.meshes import read_mesh
from fmb.files.models import read_mixture, write_model
from fmb.files.points import read_points, write_points
from fmb.files.poses import read_depth_map, read_intrinsics, read_mask, read_pose
from tests.datasets import MAKERS, make_scene, write_bop
from tests.files.damage import mixture_arrays, released_arrays, splat_file


class Target(NamedTuple):
    """A kind of file: what writes a good one into a folder and names it, and what reads it."""

    write: Callable[[Path], Path]
    read: Callable[[Path], object]


def file_of(name: str, content: bytes, read: Callable[[Path], object]) -> Target:
    """A kind whose good file has that content."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return Target(write, read)


def mesh(kind: str) -> Target:
    """A box, as trimesh or we write it."""
    box = trimesh.creation.box()
    if kind == "ascii.ply":
        return file_of("a.ply", trimesh.exchange.ply.export_ply(box, encoding="ascii"), read_mesh)
    if kind == "ascii.stl":
        return file_of("a.stl", trimesh.exchange.stl.export_stl_ascii(box).encode(), read_mesh)
    if kind == "gltf":
        return Target(write_gltf, read_mesh)
    data = box.export(file_type=kind)
    return file_of(f"a.{kind}", data.encode() if isinstance(data, str) else data, read_mesh)


def write_gltf(folder: Path) -> Path:
    """A box as text with buffers beside it."""
    for name, content in trimesh.Scene(trimesh.creation.box()).export(file_type="gltf").items():
        (folder / ("a.gltf" if name == "model.gltf" else name)).write_bytes(content)
    return folder / "a.gltf"


def picture(kind: str, mode: str, read: Callable[[Path], object], **options: Any) -> Target:
    """Some pixels in a format of images."""

    def write(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 2, (18, 24)).astype(np.uint8) * 255
        image = Image.fromarray(pixels.astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(pixels)
        (image if mode == "I;16" else image.convert(mode)).save(folder / f"a.{kind}", **options)
        return folder / f"a.{kind}"

    return Target(write, read)


def array(name: str, values: np.ndarray, read: Callable[[Path], object]) -> Target:
    """One array."""

    def write(folder: Path) -> Path:
        np.save(folder / name, values)
        return folder / name

    return Target(write, read)


def write_a_model(folder: Path) -> Path:
    """A model of ours, with colours."""
    return write_model(
        folder / "a.npz", **mixture_arrays(), metadata={"scale": 1.5}, more={"color": np.full((3, 3), 0.5)}
    )


def write_cloud(folder: Path) -> Path:
    """Points with normals and colours."""
    values = np.random.default_rng(0).uniform(size=(3, 5, 3))
    return write_points(folder / "a.ply", Cloud(*values))


def write_results(folder: Path) -> Path:
    """Two lines of BOP's results."""
    return write_bop_results(folder / "a.csv", [BopResult(1, number, 3, 0.5, np.eye(4)) for number in range(2)])


def write_config(folder: Path) -> Path:
    """The options as they are shipped."""
    (folder / "a.yaml").write_bytes(DEFAULT_FILE.read_bytes())
    return folder / "a.yaml"


def write_capture(make: Callable, folder: Path) -> Path:
    """A folder of two views."""
    make(folder, make_scene(2))
    return folder


def read_bop(scene: Path) -> None:
    """Everything of a scene and its models."""
    records = read_bop_records(scene)
    for target in bop_targets(scene):
        read_bop_view(records, target)
        read_bop_model(scene.parent.parent / "models", target.object)


def read_a_cloud(path: Path) -> Cloud:
    """Its points, or some of its surface."""
    return read_cloud(path, 10, np.random.default_rng(0))


PCD = b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 3\nHEIGHT 1\nPOINTS 3\nDATA binary\n"
CAMERA = {"fx": 40.0, "fy": 40.0, "cx": 12.0, "cy": 9.0, "width": 24, "height": 18}
POSE = np.eye(4) + np.eye(4, k=3)
MIXTURE = dict(zip(("mean", "precision_cholesky", "log_weight"), released_arrays(), strict=True))
MATRIX = b"40 0 12\n0 40 9\n0 0 1\n"
FILES: dict[str, Target] = {
    "model.npz": Target(write_a_model, read_mixture),
    "model.pkl": file_of("a.pkl", pickle.dumps(released_arrays(), 2), read_mixture),
    "model.pkl, a dict": file_of("a.pkl", pickle.dumps(MIXTURE, 5), read_mixture),
    "splats .ply": file_of("a.ply", splat_file(), read_mixture),
    "splats .ply, packed": file_of("a.compressed.ply", packed_splats(), read_mixture),
    "splats .splat": file_of("a.splat", row_splats(), read_mixture),
    **{f"mesh .{kind}": mesh(kind) for kind in ("obj", "ply", "ascii.ply", "stl", "ascii.stl", "off", "glb", "gltf")},
    "points .ply": Target(write_cloud, read_points),
    "cloud .ply": Target(write_cloud, read_a_cloud),
    "cloud .xyz": file_of("a.xyz", b"# x y z\n" + b"0.5 1 -2e-3\n" * 5, read_a_cloud),
    "cloud .pcd": file_of("a.pcd", PCD + np.arange(9, dtype="<f4").tobytes(), read_a_cloud),
    "cloud .npy": array("a.npy", np.ones((4, 6)), read_a_cloud),
    "mask .png": picture("png", "L", read_mask),
    "mask .png, colours": picture("png", "RGBA", read_mask),
    "mask .jpg": picture("jpg", "RGB", read_mask),
    "mask .webp": picture("webp", "RGBA", read_mask, lossless=True),
    "mask .tif": picture("tif", "L", read_mask, compression="tiff_lzw"),
    "mask .bmp": picture("bmp", "P", read_mask),
    "mask .ppm": picture("ppm", "RGB", read_mask),
    "mask .npy": array("a.npy", np.eye(18, 24), read_mask),
    "depth .png": picture("png", "I;16", read_depth_map),
    "depth .tif": picture("tif", "F", read_depth_map),
    "depth .npy": array("a.npy", np.eye(18, 24), read_depth_map),
    "intrinsics .json": file_of("a.json", json.dumps(CAMERA).encode(), read_intrinsics),
    "intrinsics .txt": file_of("a.txt", MATRIX, read_intrinsics),
    "intrinsics .npy": array("a.npy", np.diag([40.0, 40.0, 1.0]), read_intrinsics),
    "pose .json": file_of("a.json", json.dumps({"world_from_camera": POSE.tolist()}).encode(), read_pose),
    "BOP results .csv": Target(write_results, read_bop_results),
    "config.yaml": Target(write_config, lambda path: load_config(["shape", "--config", str(path)], ("shape",))),
}
FOLDERS: dict[str, Target] = {
    **{f"capture {name}": Target(partial(write_capture, make), read_capture) for name, (_, make) in MAKERS.items()},
    "capture llff": Target(partial(write_capture, write_llff), read_capture),
    "capture ners": Target(partial(write_capture, write_ners), read_capture),
    "capture npz": Target(partial(write_capture, write_stack), read_capture),
    "BOP scene": Target(write_bop, read_bop),
}
TARGETS = {**FILES, **FOLDERS}
