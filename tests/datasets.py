"""Data sets made of one known scene, in every format: what a reader finds in them must be the scene.

The scene is two balls before cameras whose images are oblong.  Principal points lie off the middle; silhouettes are
soft and, like the colours, made of multiples of 1/255, so that 8 bits hold them exactly.
"""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.captures.plain import write_cameras
from fmb.files.captures.read import read_capture
from fmb.geometry.cameras import Cameras, look_at, pixel_rays
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.lenses import Lens, distort
from fmb.geometry.views import Views
from fmb.machine import write_columns, write_metrics

HEIGHT, WIDTH, COUNT = 18, 24, 5
BALLS = ((np.array([0.1, 0.0, -0.1]), 0.45), (np.array([-0.3, 0.35, 0.2]), 0.3))  # centre and radius
HALF_PIXEL = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
BOP_SIZE = (24, 32)
BOP_K = np.array([[40.0, 0.0, 15.5], [0.0, 40.0, 11.5], [0.0, 0.0, 1.0]])  # centre of pixel (0, 0) at (0, 0)
POINTS = np.array([[0.1, 0.0, 0.35], [0.55, 0.0, -0.1], [-0.3, 0.65, 0.2]])


class Scene(NamedTuple):
    """What is written: views, their names, and which of them are for testing."""

    views: Views
    names: tuple[str, ...]
    held_out: np.ndarray

    def camera_from_world(self, view: int) -> np.ndarray:
        """The inverse pose."""
        return np.linalg.inv(self.views.cameras.world_from_camera[view])


def make_scene(count: int = COUNT, height: int = HEIGHT, width: int = WIDTH) -> Scene:
    """The balls from cameras around them, the last view held out."""
    generator = np.random.default_rng(7)
    direction = generator.normal(size=(count, 3))
    position = 3.0 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    pose = look_at(position, generator.normal(scale=0.05, size=(count, 3)), [0.0, 1.0, 0.0])
    intrinsics = np.zeros((count, 3, 3))
    intrinsics[:, 0, 0] = 1.3 * width + generator.uniform(size=count)
    intrinsics[:, 1, 1] = 1.3 * width + generator.uniform(size=count)
    intrinsics[:, 0, 2] = 0.5 * width + generator.uniform(-1.0, 1.0, count)
    intrinsics[:, 1, 2] = 0.5 * height + generator.uniform(-1.0, 1.0, count)
    intrinsics[:, 2, 2] = 1.0
    cameras = Cameras(pose, intrinsics)
    silhouette, depth = zip(*(see(pose[view], intrinsics[view], (height, width)) for view in range(count)), strict=True)
    color = generator.integers(0, 256, (count, height, width, 3)).astype(np.float32) / np.float32(255.0)
    names = tuple(f"{view:03d}" for view in range(count))
    views = Views(cameras, np.stack(silhouette), np.stack(depth), color=color)
    return Scene(views, names, np.arange(count) == count - 1)


def see(
    pose: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], lens: Lens | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Silhouette, soft over about a pixel and in steps of 1/255, and depth of the balls, NaN outside."""
    row, column = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5, indexing="ij")
    pixel = np.stack([column, row, np.ones(size)], axis=-1)
    ray = pixel @ np.linalg.inv(intrinsics).T
    if lens is not None:
        ray[..., :2] = straight(lens, ray[..., :2])
    direction = ray @ pose[:3, :3].T
    share, depth = np.zeros(size), np.full(size, np.inf)
    for centre, radius in BALLS:
        offset = centre - pose[:3, 3]
        closest = direction @ offset / np.sum(direction**2, axis=-1)
        miss = np.linalg.norm(closest[..., None] * direction - offset, axis=-1)
        share = np.maximum(share, np.clip(0.5 + 10.0 * (radius - miss), 0.0, 1.0))
        half = np.sqrt(np.maximum(radius**2 - miss**2, 0.0)) / np.linalg.norm(direction, axis=-1)
        depth = np.where(miss < radius, np.minimum(depth, closest - half), depth)
    share = np.rint(255.0 * share).astype(np.float32) / np.float32(255.0)
    return share, np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)


def straight(lens: Lens, seen: np.ndarray) -> np.ndarray:
    """The rays (x, y, 1) that a lens shows at places of the image plane, by fixed-point iteration."""
    found = seen
    for _ in range(60):
        found = found + 0.5 * (seen - distort(lens, found))
    return found


def sphere_depth(
    cameras: Cameras, size: tuple[int, int], centre: Any = (0.0, 0.0, 0.0), radius: float = 1.0
) -> np.ndarray:
    """Depth of a sphere along the rays through the pixel centres, NaN beside it, in closed form."""
    origin, direction = (np.asarray(field) for field in pixel_rays(cameras, *size))
    offset, square = origin - np.asarray(centre), np.sum(direction**2, axis=-1)
    along = np.sum(offset * direction, axis=-1)
    room = along**2 - square * (np.sum(offset**2, axis=-1) - radius**2)
    return np.where(room > 0.0, (-along - np.sqrt(np.maximum(room, 0.0))) / square, np.nan)


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as 8 bits."""
    return np.rint(255.0 * values).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Writes pixels as PNG, folders made on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def save_views(folder: Path, scene: Scene, masks: str = "masks", images: str = "images", suffix: str = ".png") -> None:
    """Writes the masks as NAME.png, or image.png.png with `suffix` .png.png, and the colours as NAME.png."""
    for view, name in enumerate(scene.names):
        save(folder / masks / f"{name}{suffix}", bytes_of(scene.views.silhouette[view]))
        save(folder / images / f"{name}.png", bytes_of(scene.views.color[view]))


def sixteen_bits(depth: np.ndarray, scale: float) -> np.ndarray:
    """Depth in units of `scale`, 0 where it is unknown."""
    return np.rint(np.nan_to_num(depth) / scale).astype(np.uint16)


def write_plain(folder: Path, scene: Scene) -> None:
    """Our own format."""
    save_views(folder, scene)
    write_cameras(folder / "cameras.json", scene.views.cameras, scene_size(scene), scene.names, scene.held_out)


def scene_size(scene: Scene) -> tuple[int, int]:
    """Height and width."""
    return scene.views.silhouette.shape[1:]


def write_transforms(folder: Path, scene: Scene) -> None:
    """As nerfstudio: one file, intrinsics a frame, masks and depth in millimetres."""
    save_views(folder, scene)
    height, width = scene_size(scene)
    frames = []
    for view, name in enumerate(scene.names):
        matrix = scene.views.cameras.intrinsics[view]
        save(folder / "depth" / f"{name}.png", sixteen_bits(scene.views.depth[view], 0.001))
        frames.append(
            {
                "file_path": f"images/{name}.png",
                "mask_path": f"masks/{name}.png",
                "depth_file_path": f"depth/{name}.png",
                "transform_matrix": (scene.views.cameras.world_from_camera[view] @ OPENGL).tolist(),
                "fl_x": matrix[0, 0],
                "fl_y": matrix[1, 1],
                "cx": matrix[0, 2],
                "cy": matrix[1, 2],
            }
        )
    tested = [f"images/{name}.png" for name, held_out in zip(scene.names, scene.held_out, strict=True) if held_out]
    content = {"camera_model": "OPENCV", "w": width, "h": height, "k1": 0.0, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps({**content, "test_filenames": tested}))


def write_colmap(folder: Path, scene: Scene, binary: bool = True) -> None:
    """A model in sparse/0: a PINHOLE camera an image, features, three points."""
    save_views(folder, scene, suffix=".png.png")
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    height, width = scene_size(scene)
    lines = {"cameras": ["# cameras"], "images": ["# images"], "points3D": ["# points"]}
    data = {name: struct.pack("<Q", len(scene.names)) for name in ("cameras", "images")}
    data["points3D"] = struct.pack("<Q", len(POINTS))
    for view, name in enumerate(scene.names):
        matrix, pose = scene.views.cameras.intrinsics[view], scene.camera_from_world(view)
        values = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()[[3, 0, 1, 2]].tolist()
        shift = pose[:3, 3].tolist()
        lines["cameras"].append(" ".join(map(repr, [view + 3, width, height, *map(float, values)])))
        lines["cameras"][-1] = lines["cameras"][-1].replace(" ", " PINHOLE ", 1)
        lines["images"] += [
            f"{view + 1} {' '.join(map(repr, quaternion + shift))} {view + 3} {name}.png",
            "1.0 2.0 -1" if view % 2 else "",
        ]
        data["cameras"] += struct.pack("<IiQQ4d", view + 3, 1, width, height, *values)
        data["images"] += struct.pack("<I7dI", view + 1, *quaternion, *shift, view + 3) + f"{name}.png\0".encode()
        data["images"] += struct.pack("<Q", view % 2) + struct.pack("<ddq", 1.0, 2.0, -1) * (view % 2)
    for index, point in enumerate(POINTS.tolist()):
        lines["points3D"].append(f"{index} {' '.join(map(repr, point))} 1 2 3 0.5 1 0")
        data["points3D"] += struct.pack("<Q3d3BdQII", index, *point, 1, 2, 3, 0.5, 1, 1, 0)
    for name in lines:
        if binary:
            (model / f"{name}.bin").write_bytes(data[name])
        else:
            (model / f"{name}.txt").write_text("\n".join(lines[name]) + "\n")


def write_colmap_text(folder: Path, scene: Scene) -> None:
    """The same model as text."""
    write_colmap(folder, scene, binary=False)


def write_co3d(folder: Path, scene: Scene, intrinsics_format: str = "ndc_isotropic") -> None:
    """The only sequence of a category that is `folder`; another one is listed, but has no files."""
    height, width = scene_size(scene)
    half = 0.5 * np.array([width, height])
    unit = half.min() if intrinsics_format == "ndc_isotropic" else half
    flip, frames = np.diag([-1.0, -1.0, 1.0]), []
    for view, name in enumerate(scene.names):
        matrix, pose = scene.views.cameras.intrinsics[view], scene.camera_from_world(view)
        path = f"{folder.name}/seq_1/{{}}/{name}.png"
        save(folder / "seq_1" / "masks" / f"{name}.png", bytes_of(scene.views.silhouette[view]))
        save(folder / "seq_1" / "images" / f"{name}.png", bytes_of(scene.views.color[view]))
        depth = np.nan_to_num(scene.views.depth[view] / 2.0).astype(np.float16)
        save(folder / "seq_1" / "depths" / f"{name}.png", depth.view(np.uint16))
        save(folder / "seq_1" / "depth_masks" / f"{name}.png", bytes_of(np.isfinite(scene.views.depth[view])))
        frames.append(
            {
                "sequence_name": "seq_1",
                "frame_number": view,
                "image": {"path": path.format("images"), "size": [height, width]},
                "mask": {"path": path.format("masks"), "mass": 1.0},
                "depth": {
                    "path": path.format("depths"),
                    "scale_adjustment": 2.0,
                    "mask_path": path.format("depth_masks"),
                },
                "viewpoint": {
                    "R": (flip @ pose[:3, :3]).T.tolist(),
                    "T": (flip @ pose[:3, 3]).tolist(),
                    "focal_length": (matrix[[0, 1], [0, 1]] / unit).tolist(),
                    "principal_point": ((half - matrix[:2, 2]) / unit).tolist(),
                    "intrinsics_format": intrinsics_format,
                },
            }
        )
    write_annotations(folder, [*frames, {**frames[0], "sequence_name": "seq_2"}])
    (folder / "set_lists").mkdir()
    tested = [["seq_1", f["frame_number"], f["image"]["path"]] for f in frames if scene.held_out[f["frame_number"]]]
    sets = {"train": [], "val": [], "test": tested}
    (folder / "set_lists" / "set_lists_manyview_dev_0.json").write_text(json.dumps(sets))
    write_ply(folder / "seq_1" / "pointcloud.ply")


def write_annotations(folder: Path, frames: list) -> None:
    """frame_annotations.jgz."""
    (folder / "frame_annotations.jgz").write_bytes(gzip.compress(json.dumps(frames).encode()))


def write_co3d_bounds(folder: Path, scene: Scene) -> None:
    """The same with the intrinsics of the first release."""
    write_co3d(folder, scene, "ndc_norm_image_bounds")


def write_ply(path: Path) -> None:
    """POINTS as text."""
    head = ["ply", "format ascii 1.0", f"element vertex {len(POINTS)}", *(f"property double {axis}" for axis in "xyz")]
    path.write_text("\n".join([*head, "end_header", *(" ".join(map(repr, point)) for point in POINTS.tolist())]) + "\n")


def projection(scene: Scene, view: int) -> np.ndarray:
    """P, 3 x 4, for pixels counted from the centre of the first one."""
    return (scene.views.cameras.intrinsics[view] - HALF_PIXEL) @ scene.camera_from_world(view)[:3]


def write_idr(folder: Path, scene: Scene) -> None:
    """As NeuS: matrices of 4 x 4, images and masks numbered with unlike widths, as DTU's are."""
    arrays = {}
    for view in range(len(scene.names)):
        arrays[f"world_mat_{view}"] = np.vstack([projection(scene, view), [0.0, 0.0, 0.0, 1.0]])
        arrays[f"scale_mat_{view}"] = np.diag([2.0, 2.0, 2.0, 1.0])
        save(folder / "mask" / f"{view:03d}.png", np.repeat(bytes_of(scene.views.silhouette[view])[..., None], 3, -1))
        save(folder / "image" / f"{view:06d}.png", bytes_of(scene.views.color[view]))
    np.savez(folder / "cameras_sphere.npz", **arrays)


def krt_of(scene: Scene, view: int) -> dict[str, np.ndarray]:
    """K, R and t for pixels counted from the centre of the first one."""
    pose = scene.camera_from_world(view)
    return {"K": scene.views.cameras.intrinsics[view] - HALF_PIXEL, "R": pose[:3, :3], "t": pose[:3, 3]}


def write_krt(folder: Path, scene: Scene) -> None:
    """cameras.json with frames."""
    save_views(folder, scene)
    frames = []
    for view, name in enumerate(scene.names):
        camera = {key: value.tolist() for key, value in krt_of(scene, view).items()}
        split = "test" if scene.held_out[view] else "train"
        frames.append({"image": f"images/{name}.png", "mask": f"masks/{name}.png", "split": split, **camera})
    size = list(scene_size(scene)[::-1])
    content = {"size": size, "bbox": [[-1, -1, -1], [1, 1, 1]], "frames": frames}
    (folder / "cameras.json").write_text(json.dumps(content))


def write_krt_arrays(folder: Path, scene: Scene) -> None:
    """cameras.npz with arrays."""
    save_views(folder, scene)
    cameras = [krt_of(scene, view) for view in range(len(scene.names))]
    arrays = {key: np.stack([camera[key] for camera in cameras]) for key in ("K", "R", "t")}
    splits = np.where(scene.held_out, "test", "train")
    np.savez(folder / "cameras.npz", **arrays, split=splits, size=np.array(scene_size(scene)[::-1]))


def write_middlebury(folder: Path, scene: Scene) -> None:
    """scene_par.txt with K, R, t, images beside it."""
    save_views(folder, scene, images="")
    lines = [str(len(scene.names))]
    for view, name in enumerate(scene.names):
        values = np.concatenate([value.ravel() for value in krt_of(scene, view).values()])
        lines.append(" ".join([f"{name}.png", *map(repr, values.tolist())]))
    (folder / "scene_par.txt").write_text("\n".join(lines) + "\n")


def write_oxford(folder: Path, scene: Scene) -> None:
    """A matrix a view, each of another scale and sign."""
    save_views(folder, scene)
    for view, name in enumerate(scene.names):
        np.savetxt(folder / f"{name}.P", (-2.0) ** view * projection(scene, view))


def write_json(path: Path, value: Any) -> Path:
    """The value as JSON."""
    path.write_text(json.dumps(value))
    return path


def write_bop(folder: Path) -> Path:
    """Two models, one scene of one image with both in it; masks for the first alone."""
    models, scene = folder / "models", folder / "test" / "000003"
    for made in (models, scene / "depth", scene / "mask_visib"):
        made.mkdir(parents=True)
    meshes = {1: trimesh.creation.box((60.0, 40.0, 30.0)), 2: trimesh.creation.icosphere(2, 20.0)}
    info, truth, depths = {}, [], []
    for number, mesh in meshes.items():
        mesh.export(models / f"obj_{number:06d}.ply")
        info[number] = {"diameter": float(np.linalg.norm(mesh.extents))}
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec([0.3, 0.4 * number, 0.1]).as_matrix()
        pose[:3, 3] = [60.0 * number - 90.0, 5.0, 300.0]
        turn, shift = pose[:3, :3].ravel().tolist(), pose[:3, 3].tolist()
        truth.append({"cam_R_m2c": turn, "cam_t_m2c": shift, "obj_id": number})
        matrix = BOP_K + HALF_PIXEL
        cameras = Cameras(np.linalg.inv(pose)[None], matrix[None])
        depths.append(np.nan_to_num(render_ground_truth(mesh, cameras, BOP_SIZE, "raycast").views.depth[0]))
    info[2]["symmetries_continuous"] = [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]
    write_json(models / "models_info.json", info)
    write_json(scene / "scene_gt.json", {"5": truth})
    write_json(scene / "scene_camera.json", {"5": {"cam_K": BOP_K.ravel().tolist(), "depth_scale": 0.1}})
    Image.fromarray(np.rint(10.0 * sum(depths)).astype(np.uint16)).save(scene / "depth" / "000005.png")
    visible = np.where(depths[0] > 0, 255, 0).astype(np.uint8)
    Image.fromarray(visible).save(scene / "mask_visib" / "000005_000000.png")
    return scene


def refusal(folder: Path, *arguments) -> str:
    """The line that reading the folder gives, without the folder's own path."""
    with pytest.raises(ValueError, match=r"\S") as error:
        read_capture(folder, *arguments, needed=("depth", "points"))
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text.replace(f"{folder}/", "").replace(str(folder), "DATA")


MAKERS: dict[str, tuple[str, Callable[[Path, Scene], None]]] = {
    "plain": ("plain", write_plain),
    "transforms": ("transforms", write_transforms),
    "colmap_binary": ("colmap", write_colmap),
    "colmap_text": ("colmap", write_colmap_text),
    "co3d_isotropic": ("co3d", write_co3d),
    "co3d_bounds": ("co3d", write_co3d_bounds),
    "idr": ("idr", write_idr),
    "krt": ("krt", write_krt),
    "krt_arrays": ("krt", write_krt_arrays),
    "middlebury": ("projections", write_middlebury),
    "oxford": ("projections", write_oxford),
}


def write_point_runs(folder: Path) -> Path:
    """Two runs of task `points`, metaballs with a reference and a network without, as far as their tables go."""
    errors = {"points_to_surface": 0.001, "unit": 2.0}
    exact = {"chamfer": 0.0025, "hausdorff": 0.03, "normal_degrees": 4.0}
    kinds = {"blobs/points": ("metaballs", {"exact": exact}), "net": ("diff_cd", {})}
    for name, (method, found) in kinds.items():
        (place := folder / name).mkdir(parents=True)
        facts = {"task": "points", "method": method, "preset": "fast", "points": 20_000, "euler": 2, "components": 1}
        write_metrics(place / "metrics.json", facts | {"errors": errors | found, "seconds": {"optimize": 5.25}})
        steps = np.arange(1, 41)
        write_columns(place / "train_metrics.csv", {"step": steps, "loss": 1.0 / steps, "learning_rate": 0.1 / steps})
        chamfer = {"chamfer_distance": np.array([np.nan, 0.2, 0.1])} if found else {}
        write_columns(place / "eval_metrics.csv", {"step": np.array([0, 20, 40]), **chamfer})
    write_metrics(folder / "metrics.json", {"task": "shape"})
    return folder
