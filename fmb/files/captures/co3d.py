"""CO3Dv2: one sequence of a category, from frame_annotations.jgz.

The folder is CATEGORY/SEQUENCE, or CATEGORY where one sequence alone has its files there.  PyTorch3D's cameras
(x left, y up, z forward, x_cam = x R + T) are turned to OpenCV's; their normalised coordinates end at the border of
the image, so the centre of the first pixel becomes (0.5, 0.5).  Masks are probabilities and stay soft.  Depth maps are
half-precision floats in 16 bits times `scale_adjustment`, known where the depth mask is set.  The points are those of
pointcloud.ply.  Frames that a `manyview` set list has under "val" or "test" are held out.
"""

import gzip
import json
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fmb.files.cameras import OPENCV_FROM_PYTORCH3D, camera_to_world, focal_intrinsics
from fmb.files.captures.assembly import Listing
from fmb.files.captures.planes import Shot
from fmb.files.images import DepthFile
from fmb.files.names import existing
from fmb.files.points import read_points
from fmb.files.safe import entry, numbers, path_inside, positive, read_json
from fmb.geometry.views import Views
from fmb.machine import prepare_output_dir, replacing, write_picture

FILE, CLOUD = "frame_annotations.jgz", "pointcloud.ply"
HELD_OUT = ("val", "test")


def recognise(folder: Path) -> bool:
    """True for a category's folder and for a sequence's in it."""
    return (_category(folder) / FILE).is_file()


def read(folder: Path) -> Listing:
    """The frames of the sequence."""
    category = _category(folder)
    path = path_inside(category, FILE, category)
    frames = read_json(path, list)
    by_sequence: dict[str, list[dict]] = {}
    for index, frame in enumerate(frames):
        name = entry(frame, "sequence_name", f"{path}: frame {index}")
        by_sequence.setdefault(str(name), []).append(frame)
    sequence = _sequence(folder, category, path, by_sequence)
    shots = [_shot(category, frame, f"{path}: {sequence}") for frame in by_sequence[sequence]]
    known = [shot for shot in shots if shot is not None]
    if not known:
        raise ValueError(f"{path}: {sequence}: none of its {len(shots)} frames has a viewpoint")
    notices = [f"sequence {sequence}"]
    if len(known) < len(shots):
        notices.append(f"{len(shots) - len(known)} of {len(shots)} frames have no viewpoint: left out")
    held_out, notice = _held_out(category, sequence)
    known = [shot._replace(held_out=shot.name in held_out) for shot in known]
    cloud = path_inside(category, f"{sequence}/{CLOUD}", path)
    points = partial(read_points, cloud) if cloud.is_file() else None
    return Listing(tuple(known), points, tuple(notices + notice))


def _category(folder: Path) -> Path:
    return folder if (folder / FILE).is_file() else folder.resolve().parent


def _sequence(folder: Path, category: Path, path: Path, by_sequence: dict[str, list[dict]]) -> str:
    if category != folder:
        if folder.resolve().name not in by_sequence:
            raise ValueError(f"{path}: no sequence {folder.resolve().name!r}")
        return folder.resolve().name
    present = [name for name in by_sequence if path_inside(category, name, path).is_dir()]
    if len(present) != 1:
        some = ", ".join(present[:3]) + (", ..." if len(present) > 3 else "")
        what = f"{len(present)} sequences have files here ({some})" if present else "no sequence has files here"
        raise ValueError(f"{path}: {what}; expected one, or the folder of the sequence itself")
    return present[0]


def _file(category: Path, record: Any, key: str, where: str) -> Path | None:
    if record is None or record.get(key) is None:
        return None
    name = record[key]
    path_inside(category, name, where)
    # paths begin with the name of the category
    path = existing(category, "/".join(PurePosixPath(name).parts[1:]), where)
    return path if path.is_file() else None


def _shot(category: Path, frame: dict, where: str) -> Shot | None:
    where = f"{where}: frame {frame.get('frame_number')}"
    picture, view = entry(frame, "image", where), frame.get("viewpoint")
    records = {key: frame.get(key) for key in ("mask", "depth")}
    for key, record in {**records, "image": picture, "viewpoint": view or {}}.items():
        if record is not None and not isinstance(record, dict):
            raise ValueError(f"{where}: {key} must be a JSON object")
    if view is None:
        return None
    height, width = numbers(entry(picture, "size", where), (2,), f"{where}: size")
    turn = numbers(entry(view, "R", where), (3, 3), f"{where}: R")
    shift = numbers(entry(view, "T", where), (3,), f"{where}: T")
    flip = OPENCV_FROM_PYTORCH3D
    pose = camera_to_world(flip @ turn.T, flip @ shift, f"{where}: R")
    depth, depth_file = None, _file(category, records["depth"], "path", where)
    if depth_file is not None:
        scale = positive(entry(records["depth"], "scale_adjustment", where), f"{where}: scale_adjustment")
        depth = DepthFile(depth_file, scale, True, _file(category, records["depth"], "mask_path", where))
    return Shot(
        str(entry(picture, "path", where)),
        pose,
        _intrinsics(view, width, height, where),
        _file(category, records["mask"], "path", where),
        _file(category, picture, "path", where),
        depth=depth,
        size=(int(width), int(height)),
    )


def _intrinsics(view: dict, width: float, height: float, where: str) -> np.ndarray:
    focal = numbers(entry(view, "focal_length", where), (2,), f"{where}: focal_length")
    centre = numbers(entry(view, "principal_point", where), (2,), f"{where}: principal_point")
    half = 0.5 * np.array([width, height])
    # how many pixels a unit of the normalised coordinates is long
    units = {"ndc_norm_image_bounds": half, "ndc_isotropic": np.full(2, half.min())}
    kind = view.get("intrinsics_format", "ndc_norm_image_bounds")
    if str(kind) not in units:
        raise ValueError(f"{where}: intrinsics_format {kind!r}; must be one of {', '.join(units)}")
    focal, centre = focal * units[kind], half - centre * units[kind]
    return focal_intrinsics(tuple(focal), tuple(centre), where)


def _held_out(category: Path, sequence: str) -> tuple[set[str], list[str]]:
    # paths of the frames that the first set list with this sequence keeps for testing
    for path in sorted((category / "set_lists").glob("*manyview*.json")):
        sets = read_json(path_inside(category, f"set_lists/{path.name}", category))
        lines = [line for name in HELD_OUT if isinstance(sets.get(name), list) for line in sets[name]]
        listed = [line for line in lines if isinstance(line, list) and len(line) == 3]
        found = {str(line[2]) for line in listed if line[0] == sequence}
        if found:
            return found, [f"held out: as in set_lists/{path.name}"]
    return set(), []


def write_co3d(folder: Path, views: Views, sequence: str = "made") -> Path:
    """Writes the views' cameras, masks and, where there are some, colours; returns the folder, that of a category.

    Raises ValueError for images smaller than 2 pixels a side, whose normalised coordinates mean nothing.
    """
    count, height, width = views.silhouette.shape
    if min(height, width) < 2:
        raise ValueError(f"{folder}: images of {width} x {height} pixels; both sides must be at least 2")
    frames, category = [], folder.resolve().name
    for view in range(count):
        name = f"frame{view + 1:06d}"
        paths = {"mask": f"{sequence}/masks/{name}.png", "image": f"{sequence}/images/{name}.png"}
        for path in paths.values():
            prepare_output_dir((folder / path).parent)
        grey = as_bytes(np.asarray(views.silhouette[view]))
        write_picture(folder / paths["mask"], np.repeat(grey[..., None], 3, axis=-1))
        if views.color is not None:
            write_picture(folder / paths["image"], as_bytes(np.asarray(views.color[view])))
        frames.append(
            {
                "sequence_name": sequence,
                "frame_number": view,
                "image": {"path": f"{category}/{paths['image']}", "size": [height, width]},
                "mask": {"path": f"{category}/{paths['mask']}"},
                "viewpoint": viewpoint(views, view),
            }
        )
    with replacing(folder / FILE) as partial:
        partial.write_bytes(gzip.compress(json.dumps(frames).encode("utf-8"), mtime=0))
    return folder


def viewpoint(views: Views, view: int) -> dict[str, Any]:
    """PyTorch3D's camera: x_camera = x R + T, image coordinates in halves of the shorter side from the middle."""
    half = 0.5 * np.array(views.silhouette.shape[:0:-1])
    camera_from_world = np.linalg.inv(np.asarray(views.cameras.world_from_camera[view], float))
    matrix = np.asarray(views.cameras.intrinsics[view], float)
    return {
        "R": (OPENCV_FROM_PYTORCH3D.T @ camera_from_world[:3, :3]).T.tolist(),
        "T": (OPENCV_FROM_PYTORCH3D.T @ camera_from_world[:3, 3]).tolist(),
        "focal_length": (matrix[[0, 1], [0, 1]] / half.min()).tolist(),
        "principal_point": ((half - matrix[:2, 2]) / half.min()).tolist(),
        "intrinsics_format": "ndc_isotropic",
    }


def as_bytes(values: np.ndarray) -> np.ndarray:
    """0 to 1 as 0 to 255."""
    return np.round(255.0 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
