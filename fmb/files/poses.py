"""One image of an object to be found in it: depth, mask, intrinsics and a first guess of the pose, from files.

Depth     PNG or TIFF of 16 bits, or .npy: whole numbers times `depth_scale` are in the model's unit; floating ones, of
          .npy and TIFF, are so as they are. 0 and NaN: not measured. EXR is refused.
Mask      any picture (white or coloured: object), soft where it is grey, or .npy of 0 to 1 or true and false.
Unknown   a picture or .npy as a mask: where it is white nobody knows whether the object is there, behind other things.
Intrinsics  .json {"fx", "fy", "cx", "cy", optionally "width", "height"}, or 3 x 3 numbers in .json, .txt or .npy; more
          in fmb/files/intrinsics.py. Images of lenses that bend are undistorted, intrinsics of another size are scaled.
Pose      .json {"world_from_camera": 4 x 4} or {"camera_from_world": 4 x 4}, or world_from_camera alone in .json,
          .txt or .npy; OpenCV axes, the model's unit.

The centre of pixel (0, 0) is (0.5, 0.5), the middle of the image (width / 2, height / 2). OpenCV's calibration and
many data sets put that centre at (0, 0): `pixel_centre` "integer", as an argument or a key of the file, adds a half.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.cameras import rigid
from fmb.files.images import WIDE_MODES, DepthFile, read_depth, same_image, silhouette_of, size_of
from fmb.files.intrinsics import fitting_intrinsics, numbers_of_file, read_intrinsics
from fmb.files.safe import entry, image_header, read_image, read_npy
from fmb.geometry.images import foreground
from fmb.geometry.lenses import bends
from fmb.geometry.poses import PoseEstimate
from fmb.geometry.undistortion import canvas, seen_by, undistorted
from fmb.machine import write_text


class ObservationFiles(NamedTuple):
    """Where an image's parts are; depth or mask may be None, not both; unknown: pixels that say nothing."""

    intrinsics: Path
    depth: Path | None = None
    mask: Path | None = None
    depth_scale: float = 1.0
    mask_threshold: float | None = None  # None: the mask stays soft
    pixel_centre: str = "half"
    may_be_empty: bool = False  # nothing to see is no error, as in a frame of a sequence
    unknown: Path | None = None


class Measurement(NamedTuple):
    """What the files say, in the order in which an observation wants it; None: no such file."""

    intrinsics: Float[np.ndarray, "3 3"]
    depth: Float[np.ndarray, "height width"] | None
    silhouette: Float[np.ndarray, "height width"] | None
    valid: Bool[np.ndarray, "height width"] | None = None  # None: every pixel was seen
    notices: tuple[str, ...] = ()  # what was done to the files, a line each


def read_observation(files: ObservationFiles) -> Measurement:
    """The image, its parts of one size and, unless it may be empty, something to see in it.

    Raises ValueError, one line that names the file.
    """
    if files.depth is None and files.mask is None:
        raise ValueError("neither a depth map nor a mask: a pose needs one of them")
    depth = None if files.depth is None else read_depth_map(files.depth, files.depth_scale, files.may_be_empty)
    mask = None if files.mask is None else read_mask(files.mask, files.mask_threshold, files.may_be_empty)
    told = ()
    if depth is not None and mask is not None and depth.shape != mask.shape:
        if not same_image(depth.shape, mask.shape):
            raise ValueError(f"{files.mask}: mask of {size_of(mask)} pixels, {files.depth.name} has {size_of(depth)}")
        told += (f"mask of {size_of(mask)} pixels brought to the {size_of(depth)} of the depth map",)
        mask = _averaged(mask, depth.shape)
    pixels, path = (mask, files.mask) if depth is None else (depth, files.depth)
    seen = None if files.unknown is None else ~_unknown(files.unknown, pixels.shape, path)
    camera = read_intrinsics(files.intrinsics, files.pixel_centre)
    matrix = fitting_intrinsics(camera, pixels.shape, files.intrinsics, path)
    if camera.size not in (None, pixels.shape[::-1]):
        told += (f"intrinsics for {camera.size[0]} x {camera.size[1]} pixels scaled to {size_of(pixels)}",)
    if not bends(camera.lens):
        return Measurement(matrix, depth, mask, seen, told)
    view = canvas(camera.lens, matrix, pixels.shape[::-1])
    told += (f"undistorted on reading (camera model {camera.lens.model})",)
    depth = None if depth is None else undistorted(view, depth, nearest=True)
    mask = None if mask is None else undistorted(view, mask)
    valid = seen_by(view, pixels.shape)
    valid = valid if seen is None else valid & (undistorted(view, seen.astype(float), nearest=True) > 0.5)
    return Measurement(view.intrinsics, depth, mask, valid, told)


def _unknown(path: Path, shape: tuple[int, int], other: Path) -> Bool[np.ndarray, "height width"]:
    unknown = read_mask(path, may_be_empty=True)
    if not same_image(unknown.shape, shape):
        raise ValueError(f"{path}: {size_of(unknown)} pixels, {other.name} has {shape[1]} x {shape[0]}")
    return foreground(unknown if unknown.shape == shape else _averaged(unknown, shape))


def _averaged(mask: Float[np.ndarray, "height width"], shape: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    image = Image.fromarray(mask.astype(np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BOX), float)


def read_depth_map(
    path: Path, depth_scale: float = 1.0, may_be_empty: bool = False
) -> Float[np.ndarray, "height width"]:
    """Depth along the optical axis in the model's unit; NaN where nothing was measured.

    `depth_scale` is the length of 1 in images of whole numbers; floating ones are taken as they are. Raises ValueError
    where nothing was measured at all, unless it may be empty.
    """
    if not (np.isfinite(depth_scale) and depth_scale > 0.0):
        raise ValueError(f"depth_scale {depth_scale}; must be a positive number")
    if path.suffix.lower() not in (".exr", ".npy"):
        with image_header(path) as image:
            if image.mode not in (*WIDE_MODES, "F"):
                raise ValueError(f"{path}: pixels of mode {image.mode}; depth needs 16 bits in one channel")
    depth = read_depth(DepthFile(path, depth_scale, floating=1.0)).astype(float)
    known = np.isfinite(depth) & (depth > 0.0)
    if not (known.any() or may_be_empty):
        raise ValueError(f"{path}: no depth above 0 in {size_of(depth)} pixels")
    return np.where(known, depth, np.nan)


def read_mask(
    path: Path, threshold: float | None = None, may_be_empty: bool = False
) -> Float[np.ndarray, "height width"]:
    """Share of each pixel that the object covers, or, with a threshold, 1 from there on and else 0.

    Raises ValueError for a mask without object, unless it may be empty.
    """
    if path.suffix.lower() == ".npy":
        stored = read_npy(path)
        if stored.ndim != 2 or stored.dtype.kind not in "bfiu":
            raise ValueError(f"{path}: {stored.dtype} of shape {stored.shape}; a mask is (height, width) numbers")
        mask = stored.astype(float) / (255.0 if stored.dtype == np.uint8 and stored.max(initial=0) > 1 else 1.0)
        if not np.all((mask >= 0.0) & (mask <= 1.0)):
            raise ValueError(f"{path}: values {mask.min():.3g} to {mask.max():.3g}; a mask lies between 0 and 1")
    else:
        mask = silhouette_of(read_image(path)).astype(float)
    if threshold is not None:
        mask = (mask >= threshold).astype(float)
    if not (mask.any() or may_be_empty):
        raise ValueError(f"{path}: the mask is empty: no object in {size_of(mask)} pixels")
    return mask


def read_pose(path: Path) -> Float[np.ndarray, "4 4"]:
    """World from camera, its rotation the nearest one to what the file says.

    Raises ValueError for a matrix that does more than turn and move.
    """
    given = numbers_of_file(path, (4, 4))
    if not isinstance(given, dict):
        return rigid(given, f"{path}")
    if "world_from_camera" in given:
        return rigid(given["world_from_camera"], f"{path}: world_from_camera")
    matrix = entry(given, "camera_from_world", f"{path}: no 'world_from_camera', and")
    return np.linalg.inv(rigid(matrix, f"{path}: camera_from_world"))


COVARIANCE_TEXT = (
    "6 x 6, of xi = (rotation vector in radians, translation in the model's unit), both in the camera's axes (x right, "
    "y down, z forward): camera_from_world = exp(xi) estimate, so that the last three are the error of the camera's "
    "position with its sign turned; rows and columns in that order"
)
POSE_TEXT = (
    "4 x 4, maps points in the camera's axes (OpenCV: x right, y down, z forward) to the model's frame, in its unit; "
    "camera_from_world is its inverse"
)


class Track(NamedTuple):
    """Poses of a sequence, frame by frame; errors where the truth is known, the last three in the poses' unit."""

    world_from_camera: Float[np.ndarray, "frame 4 4"]
    residual: Float[np.ndarray, " frame"]
    success: Bool[np.ndarray, " frame"]
    iterations: Int[np.ndarray, " frame"]
    seconds: Float[np.ndarray, " frame"]
    rotation_error_degrees: Float[np.ndarray, " frame"] | None = None
    translation_error_percent: Float[np.ndarray, " frame"] | None = None
    add: Float[np.ndarray, " frame"] | None = None
    adds: Float[np.ndarray, " frame"] | None = None
    mssd: Float[np.ndarray, " frame"] | None = None


def write_pose(path: Path, found: PoseEstimate, more: Mapping[str, Any] = {}) -> Path:
    """Writes the pose as JSON, with its conventions in words and whatever `more` there is to tell."""
    pose = np.asarray(found.world_from_camera, float)
    record = {
        "world_from_camera": pose,
        "camera_from_world": np.linalg.inv(pose),
        "convention": POSE_TEXT,
        "covariance": found.covariance,
        "covariance_convention": COVARIANCE_TEXT,
        "standard_deviation": standard_deviation(found.covariance),
        "residual": {
            "cross_entropy": found.cross_entropy,
            "depth_rms": found.depth_rms,
            "disagreement": found.disagreement,
        },
        "success": bool(found.success),
        "iterations": int(found.iterations),
        **more,
    }
    return write_text(path, json.dumps(exact(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def standard_deviation(covariance: Float[np.ndarray, "6 6"]) -> dict[str, float]:
    """Of the turn in degrees and of the camera's position in the model's unit: roots of sums of three variances."""
    variance = np.diagonal(np.asarray(covariance, float))
    return {
        "rotation_degrees": float(np.rad2deg(np.sqrt(variance[:3].sum()))),
        "camera_position": float(np.sqrt(variance[3:].sum())),
    }


def write_track(path: Path, track: Track) -> Path:
    """Writes the track, a row a frame: as JSON where the name ends so, else as CSV with quaternions wxyz.

    Raises ValueError for fields of unequal length.
    """
    lengths = {name: len(values) for name, values in track._asdict().items() if values is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path.name}: fields of unequal length: {lengths}")
    pose = np.asarray(track.world_from_camera, float)
    turn = np.roll(Rotation.from_matrix(pose[:, :3, :3]).as_quat(canonical=True), 1, axis=1)
    columns = dict(zip(("x", "y", "z"), pose[:, :3, 3].T, strict=True))
    columns |= dict(zip(("qw", "qx", "qy", "qz"), turn.T, strict=True))
    columns |= {name: values for name, values in list(track._asdict().items())[1:] if values is not None}
    if path.suffix.lower() == ".json":
        rows = [{"world_from_camera": matrix} for matrix in pose]
        for name in list(columns)[7:]:
            rows = [{**row, name: value} for row, value in zip(rows, columns[name], strict=True)]
        return write_text(path, json.dumps(exact({"convention": POSE_TEXT, "frames": rows}), allow_nan=False) + "\n")
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("frame", *columns))
    for frame, row in enumerate(zip(*columns.values(), strict=True)):
        table.writerow((frame, *("" if value is None else value for value in exact(row))))
    return write_text(path, text.getvalue())


def exact(value: Any) -> Any:
    """The value in JSON's own types, every digit kept: a rotation must stay one; not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): exact(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return exact(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
