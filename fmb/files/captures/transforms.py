"""NeRF, instant-ngp and nerfstudio: transforms.json, or transforms_train.json with transforms_test.json.

World from camera in OpenGL axes (y up, z backward), turned to OpenCV's here; pixels are counted from the corner, so
that the centre of the first one is (0.5, 0.5) already.  The mask of a frame is the first of: its `mask_path`, the file
of its name in masks/, the alpha of its image.  White is the object (nerfstudio itself ignores what is black there).
`depth_file_path` is z-depth in 16 bits times `integer_depth_scale` or `depth_unit_scale_factor`, 0.001 if neither is
given.  Frames of transforms_test.json, and those listed in `test_filenames` or `val_filenames`, are held out.
"""

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fmb.files.cameras import focal_intrinsics, rigid
from fmb.files.captures.assembly import Companions, Listing, Shot, ignored_of, masks_of
from fmb.files.images import DepthFile
from fmb.files.points import read_points
from fmb.files.safe import SUFFIXES, entry, image_header, numbers, path_inside, positive, read_json

WHOLE, TRAIN, TEST, OTHER = "transforms.json", "transforms_train.json", "transforms_test.json", "transforms_val.json"
DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "")  # OpenCV's is one where its distortion is 0
MILLIMETRE = 0.001  # nerfstudio's unit of depth
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def recognise(folder: Path) -> bool:
    """True where there is one of the files."""
    return any((folder / name).is_file() for name in (WHOLE, TRAIN, TEST))


def read(folder: Path) -> Listing:
    """The views of transforms.json, or of the training and test files together."""
    names = [WHOLE] if (folder / WHOLE).is_file() else [name for name in (TRAIN, TEST) if (folder / name).is_file()]
    if not names:
        raise ValueError(f"{folder}: none of {WHOLE}, {TRAIN}, {TEST}")
    beside = (masks_of(folder), ignored_of(folder))
    shots, points = [], None
    for name in names:
        path = path_inside(folder, name, folder)
        content = read_json(path)
        shots += _shots(folder, path, content, beside)
        if content.get("ply_file_path") is not None:
            points = read_points(path_inside(folder, content["ply_file_path"], path))
    found = [shot for shot in shots if shot is not None]
    if not found:
        raise ValueError(f"{path}: none of the images of its {len(shots)} frames is there")
    absent = len(shots) - len(found)
    notices = [f"{absent} of {len(shots)} frames have neither image nor mask: left out"] if absent else []
    if WHOLE not in names and (folder / OTHER).is_file():
        notices.append(f"{OTHER} is not read")
    return Listing(tuple(found), points, tuple(notices))


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
    given = frame.get("mask_path")
    mask = masks.of(name) if given is None else path_inside(folder, given, where)
    if image is None and mask is None:
        return None
    pose = rigid(entry(frame, "transform_matrix", where), f"{where}: transform_matrix") @ OPENCV_FROM_OPENGL
    settings = {**content, **frame}
    size = _size(settings, image or mask, where)
    depth = None
    if frame.get("depth_file_path") is not None:
        scale = settings.get("integer_depth_scale", settings.get("depth_unit_scale_factor", MILLIMETRE))
        scale = positive(scale, f"{where}: scale of depth")
        depth = DepthFile(path_inside(folder, frame["depth_file_path"], where), scale)
    return Shot(_plain_name(name), pose, _intrinsics(settings, size, where), mask, image, None, depth, size)


def _image(folder: Path, name: Any, where: str) -> Path | None:
    path = path_inside(folder, name, where)
    # Blender's script leaves ".png" out
    candidates = (path, *(path_inside(folder, name + suffix, where) for suffix in SUFFIXES))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _size(settings: dict, source: Path, where: str) -> tuple[int, int]:
    if "w" in settings and "h" in settings:
        width, height = (float(numbers(settings[key], (), f"{where}: {key}")) for key in "wh")
        if min(width, height) < 1.0:
            raise ValueError(f"{where}: w and h are {width:g} and {height:g}; must be at least 1")
        return int(width), int(height)
    with image_header(source) as image:
        return image.size


def _intrinsics(settings: dict, size: tuple[int, int], where: str) -> np.ndarray:
    model = settings.get("camera_model", "")
    bent = {key: settings[key] for key in DISTORTIONS if key in settings}
    bent = {key: float(numbers(value, (), f"{where}: {key}")) for key, value in bent.items()}
    bent = [f"{key} = {value:.4g}" for key, value in bent.items() if value != 0.0]
    if model not in PINHOLES or settings.get("is_fisheye"):
        bent.insert(0, f"camera_model {model!r}" if model not in PINHOLES else "is_fisheye")
    if bent:
        tool = "undistort the images first, e.g. with `colmap image_undistorter`"
        raise ValueError(f"{where}: {bent[0]}, but only pinhole cameras are read: {tool}")
    width, height = size
    focal = [_focal(settings, key, where, side) for key, side in (("x", width), ("y", height))]
    if focal == [None, None]:
        raise ValueError(f"{where}: no focal length; expected fl_x, or camera_angle_x")
    across = focal[0] if focal[0] is not None else focal[1]
    down = focal[1] if focal[1] is not None else focal[0]
    centre = [settings.get("cx", 0.5 * width), settings.get("cy", 0.5 * height)]
    centre = tuple(float(numbers(c, (), f"{where}: {key}")) for c, key in zip(centre, ("cx", "cy"), strict=True))
    return focal_intrinsics((across, down), centre, where)


def _focal(settings: dict, axis: str, where: str, side: int) -> float | None:
    if f"fl_{axis}" in settings:
        return float(numbers(settings[f"fl_{axis}"], (), f"{where}: fl_{axis}"))
    if f"camera_angle_{axis}" not in settings:
        return None
    angle = float(numbers(settings[f"camera_angle_{axis}"], (), f"{where}: camera_angle_{axis}"))
    if not 0.0 < angle < math.pi:
        raise ValueError(f"{where}: camera_angle_{axis} {angle:g}; must lie between 0 and pi")
    return 0.5 * side / math.tan(0.5 * angle)
