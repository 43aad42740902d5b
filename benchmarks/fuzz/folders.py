"""Small good data sets in the formats that tests.datasets has no writer for, and packed splats."""

import json
from pathlib import Path

import numpy as np

from tests.datasets import Scene, bytes_of, krt_of, save, save_views

PYTORCH3D_FROM_OPENCV = np.diag([-1.0, -1.0, 1.0])


def write_llff(folder: Path, scene: Scene) -> None:
    """poses_bounds.npy beside images and masks."""
    save_views(folder, scene)
    rows = []
    for pose in scene.views.cameras.world_from_camera:
        right, down, forward, place = pose[:3].T
        matrix = np.column_stack([down, right, -forward, place, [18.0, 24.0, 32.0]])
        rows.append([*matrix.ravel(), 1.0, 5.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))


def write_ners(folder: Path, scene: Scene) -> None:
    """annotations.json with run lengths."""
    views = []
    for view, name in enumerate(scene.names):
        turn, shift = scene.camera_from_world(view)[:3, :3], scene.camera_from_world(view)[:3, 3]
        camera = {"R": (PYTORCH3D_FROM_OPENCV @ turn).T.tolist(), "T": (PYTORCH3D_FROM_OPENCV @ shift).tolist()}
        save(folder / "images" / f"{name}.png", bytes_of(scene.views.color[view]))
        mask = {"counts": "100 40 60 32 200", "size": [18, 24]}
        views.append({"filename": f"{name}.png", "mask": mask, "camera_optimized": {**camera, "fov": 41.0}})
    (folder / "annotations.json").write_text(json.dumps({"annotations": views}))


def write_stack(folder: Path, scene: Scene) -> None:
    """All arrays in one file."""
    cameras = {key: np.stack([krt_of(scene, view)[key] for view in range(len(scene.names))]) for key in ("K", "R", "t")}
    views = scene.views
    np.savez(folder / "all.npz", masks=bytes_of(views.silhouette), images=bytes_of(views.color), **cameras)


def packed_splats() -> bytes:
    """Three splats as SuperSplat packs them."""
    ends = [f"{end}_{part}{axis}" for part in ("", "scale_") for axis in "xyz" for end in ("min", "max")]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 1", *(f"property float {n}" for n in ends)]
    kinds = ("position", "rotation", "scale", "color")
    lines += ["element vertex 3", *(f"property uint packed_{kind}" for kind in kinds), "end_header", ""]
    chunk = np.array([-1, 1] * 3 + [-5, -3] * 3, "<f4")
    values = np.random.default_rng(0).integers(0, 2**32, (3, 4)).astype("<u4")
    return "\n".join(lines).encode() + chunk.tobytes() + values.tobytes()


def row_splats() -> bytes:
    """Three splats as antimatter15's viewer has them: place, size, colour, rotation."""
    generator = np.random.default_rng(0)
    floats = generator.uniform(0.1, 1.0, (3, 6)).astype("<f4")
    levels = generator.integers(1, 255, (3, 8)).astype(np.uint8)
    return b"".join(f.tobytes() + c.tobytes() for f, c in zip(floats, levels, strict=True))
