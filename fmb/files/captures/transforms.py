"""NeRF, instant-ngp and nerfstudio: transforms.json, or transforms_train.json with transforms_test.json.

World from camera in OpenGL axes (y up, z backward), turned to OpenCV's here; pixels are counted from the corner, so
that the centre of the first one is (0.5, 0.5) already.  The mask of a frame is the first of: its `mask_path`, the file
of its name in masks/, the alpha of its image.  White is the object (nerfstudio itself ignores what is black there).
`depth_file_path` is z-depth in whole numbers times `integer_depth_scale` or `depth_unit_scale_factor`, 0.001 if neither
is given; floating values are then taken as they are.  Frames of transforms_test.json, and those listed in
`test_filenames` or `val_filenames`, are held out.  Images of OpenCV's lenses and fisheyes are undistorted on reading.
instant-ngp's dynamic_mask_NAME.png hides what is white in it: without other masks its black is the object.
"""

import math
import os
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fmb.files.cameras import OPENCV_FROM_OPENGL, focal_intrinsics, rigid, scale_of
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import Companions, ignored_of, masks_of
from fmb.files.captures.planes import Shot
from fmb.files.images import DepthFile, header_of
from fmb.files.intrinsics import LENS_NAMES
from fmb.files.names import existing, moved_here
from fmb.files.points import read_points
from fmb.files.safe import SUFFIXES, entry, image_header, is_name, numbers, path_inside, positive, read_json
from fmb.geometry.lenses import Lens

WHOLE, TRAIN, TEST, OTHER = "transforms.json", "transforms_train.json", "transforms_test.json", "transforms_val.json"
LIST, IN_LIST = "distortion_params", ("k1", "k2", "k3", "k4", "p1", "p2")  # nerfstudio's other way to give them
FISHEYE_624 = "FISHEYE624"  # nerfstudio's name of Project Aria's, whose list has 12
DYNAMIC_MASK = "dynamic_mask_"
MILLIMETRE = 0.001  # nerfstudio's unit of depth


def recognise(folder: Path) -> bool:
    """True where there is one of the files."""
    return any((folder / name).is_file() for name in (WHOLE, TRAIN, TEST))


def read(folder: Path) -> Listing:
    """The views of transforms.json, or of the training and test files together."""
    names = [WHOLE] if (folder / WHOLE).is_file() else [name for name in (TRAIN, TEST) if (folder / name).is_file()]
    if not names:
        raise ValueError(f"{folder}: none of {WHOLE}, {TRAIN}, {TEST}")
    beside = (masks_of(folder), ignored_of(folder))
    shots, points, notices = [], None, []
    for name in names:
        path = path_inside(folder, name, folder)
        content = _content(path)
        shots += _shots(folder, path, content, beside)
        if content.get("ply_file_path") is not None:
            points = partial(read_points, existing(folder, content["ply_file_path"], path))
        notices += _notices(folder, path, content)
    found = [shot for shot in shots if shot is not None]
    if not found:
        raise ValueError(f"{path}: none of the images of its {len(shots)} frames is there")
    absent = len(shots) - len(found)
    notices += [f"{absent} of {len(shots)} frames have neither image nor mask: left out"] if absent else []
    if WHOLE not in names and (folder / OTHER).is_file():
        notices.append(f"{OTHER} is not read")
    inverted = sum(shot.inverted for shot in found)
    if inverted:
        notices.append(f"{inverted} masks are {DYNAMIC_MASK}*.png, white where hidden: their black is the object")
    return Listing(tuple(found), points, tuple(notices))


def _content(path: Path) -> dict:
    content = read_json(path, (dict, list))
    if isinstance(content, list):
        what = "a list of poses, as `ns-export cameras` writes it, tells neither focal length nor image size"
        raise ValueError(f"{path}: {what}; take the transforms.json that the images were processed to")
    return content


def _notices(folder: Path, path: Path, content: dict) -> list[str]:
    # what was understood rather than read
    frames = content["frames"]
    scales = [scale_of(frame["transform_matrix"], str(path)) for frame in frames if "transform_matrix" in frame]
    stretched = [scale for scale in scales if scale != 1.0]
    told = []
    if stretched:
        told.append(
            f"{len(stretched)} of {len(frames)} poses are scaled, the first by {stretched[0]:.4g}: left out of them"
        )
    moved = sum(_elsewhere(folder, frame["file_path"], str(path)) for frame in frames)
    if moved:
        told.append(f"{moved} of {len(frames)} paths lead out of the folder: their ends are taken, which lie in it")
    return told


def _elsewhere(folder: Path, name: Any, where: str) -> bool:
    try:
        return not path_inside(folder, name, where) and False
    except ValueError:
        return True


def _shots(folder: Path, path: Path, content: dict, beside: tuple[Companions, Companions]) -> list[Shot | None]:
    # one a frame, None where its files are missing
    masks, ignored = beside
    frames = entry(content, "frames", str(path))
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{path}: 'frames' must be a list of frames")
    apart, shots = _held_out(content, path), []
    for index, frame in enumerate(frames):
        shot = _shot(folder, frame, content, f"{path}: frame {index}", masks)
        if shot is not None:
            held_out = path.name == TEST or shot.name in apart
            shot = shot._replace(held_out=held_out, ignore=ignored.of(shot.name))
        shots.append(shot)
    return shots


def _held_out(content: dict, path: Path) -> set[str]:
    listed = [content.get(key, []) for key in ("test_filenames", "val_filenames")]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in listed):
        raise ValueError(f"{path}: 'test_filenames' and 'val_filenames' must be lists of paths")
    return {_plain_name(name) for names in listed for name in names}


def _plain_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _shot(folder: Path, frame: Any, content: dict, where: str, masks: Companions) -> Shot | None:
    name = entry(frame, "file_path", where)
    image = _image(folder, name, where)
    where = f"{where} ({str(name)[:80]})"
    mask = None if frame.get("mask_path") is None else _file(folder, frame["mask_path"], where)
    mask = mask if mask is not None and mask.is_file() else masks.of(name)
    inverted = mask is None and image is not None and not header_of(image).alpha
    if inverted:
        mask = _dynamic_mask(folder, image, where)
    if image is None and mask is None:
        return None
    matrix = entry(frame, "transform_matrix", where)
    pose = rigid(matrix, f"{where}: transform_matrix", scaled=True) @ OPENCV_FROM_OPENGL
    settings = {**content, **frame}
    size = _size(settings, image or mask, where)
    depth = None
    if frame.get("depth_file_path") is not None:
        given = settings.get("integer_depth_scale", settings.get("depth_unit_scale_factor"))
        scale = positive(MILLIMETRE if given is None else given, f"{where}: scale of depth")
        depth = _file(folder, frame["depth_file_path"], where)
        depth = DepthFile(depth, scale, floating=1.0 if given is None else None)
    shot = Shot(_plain_name(name), pose, _intrinsics(settings, size, where), mask, image, None, depth, size)
    return shot._replace(lens=_lens(settings, where), inverted=inverted and mask is not None)


def _file(folder: Path, name: Any, where: str) -> Path:
    # paths of another machine are followed from the longest end that is there
    try:
        path = existing(folder, name, where)
        return path if path.is_file() else moved_here(folder, name, where) or path
    except ValueError:
        path = moved_here(folder, name, where)
        if path is None:
            raise
        return path


def _image(folder: Path, name: Any, where: str) -> Path | None:
    # Blender's script leaves ".png" out
    suffixes = ("", *SUFFIXES)
    if is_name(name):
        near = name.replace("\\", "/")
        found = next((suffix for suffix in suffixes if os.path.isfile(f"{folder}/{near}{suffix}")), None)
        if found is not None and not near.startswith("/"):
            try:
                return path_inside(folder, name + found, where)
            except ValueError:  # there, but outside: maybe its end is inside
                return moved_here(folder, name + found, where) or path_inside(folder, name + found, where)
        suffixes = suffixes[:1] if PurePosixPath(near).suffix in SUFFIXES else suffixes
    candidates = (_file(folder, name + suffix if suffix else name, where) for suffix in suffixes)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _dynamic_mask(folder: Path, image: Path, where: str) -> Path | None:
    place = image.relative_to(folder).with_name(f"{DYNAMIC_MASK}{image.stem}.png")
    path = path_inside(folder, place.as_posix(), where)
    return path if path.is_file() else None


def _size(settings: dict, source: Path, where: str) -> tuple[int, int]:
    if "w" in settings and "h" in settings:
        width, height = (float(numbers(settings[key], (), f"{where}: {key}")) for key in "wh")
        if min(width, height) < 1.0:
            raise ValueError(f"{where}: w and h are {width:g} and {height:g}; must be at least 1")
        return int(width), int(height)
    with image_header(source) as image:
        return image.size


def _intrinsics(settings: dict, size: tuple[int, int], where: str) -> np.ndarray:
    width, height = size
    focal = [_focal(settings, key, where, side) for key, side in (("x", width), ("y", height))]
    if focal == [None, None]:
        raise ValueError(f"{where}: no focal length; expected fl_x, or camera_angle_x")
    across = focal[0] if focal[0] is not None else focal[1]
    down = focal[1] if focal[1] is not None else focal[0]
    centre = [settings.get("cx", 0.5 * width), settings.get("cy", 0.5 * height)]
    centre = tuple(float(numbers(c, (), f"{where}: {key}")) for c, key in zip(centre, ("cx", "cy"), strict=True))
    return focal_intrinsics((across, down), centre, where)


def _lens(settings: dict, where: str) -> Lens | None:
    model = settings.get("camera_model") or ""
    if model == FISHEYE_624:
        values = numbers(entry(settings, LIST, where), (12,), f"{where}: {LIST}")
        return Lens("RAD_TAN_THIN_PRISM_FISHEYE", tuple(map(float, values)))
    if settings.get(LIST) is not None:
        settings = settings | dict(zip(IN_LIST, numbers(settings[LIST], (6,), f"{where}: {LIST}"), strict=True))
    if not isinstance(model, str) or model.lower() not in LENS_NAMES:
        allowed = ", ".join(name.upper() for name in LENS_NAMES if name)
        raise ValueError(f"{where}: camera_model {str(model)[:40]!r} cannot be undistorted; allowed are {allowed}")
    if settings.get("is_fisheye") and "FISHEYE" not in model.upper():
        model = "OPENCV_FISHEYE"
    name, keys = LENS_NAMES[model.lower()]
    values = [settings.get(key) for key in keys]
    values = [0.0 if v is None else float(numbers(v, (), f"{where}: {k}")) for k, v in zip(keys, values, strict=True)]
    if name == "FULL_OPENCV" and not any(values[4:]):
        name, values = "OPENCV", values[:4]
    return Lens(name, tuple(values))


def _focal(settings: dict, axis: str, where: str, side: int) -> float | None:
    if f"fl_{axis}" in settings:
        return float(numbers(settings[f"fl_{axis}"], (), f"{where}: fl_{axis}"))
    if f"camera_angle_{axis}" not in settings:
        return None
    angle = float(numbers(settings[f"camera_angle_{axis}"], (), f"{where}: camera_angle_{axis}"))
    if not 0.0 < angle < math.pi:
        raise ValueError(f"{where}: camera_angle_{axis} {angle:g}; must lie between 0 and pi")
    return 0.5 * side / math.tan(0.5 * angle)
