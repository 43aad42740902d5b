"""Poses as files: one image's as JSON, a track as CSV or JSON, results of the BOP challenge as its CSV.

All in the input's own frame and unit; see `Frame.cameras_to_world` and `covariance_to_world` for the way there.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from fmb.readers.bop import CSV_HEAD, BopResult
from util import write_text

COVARIANCE_TEXT = (
    "6 x 6, of xi = (rotation vector in radians, translation in the model's unit), both in the camera's axes (x right, "
    "y down, z forward): camera_from_world = exp(xi) estimate, so that the last three are the error of the camera's "
    "position with its sign turned; rows and columns in that order"
)
POSE_TEXT = (
    "4 x 4, maps points in the camera's axes (OpenCV: x right, y down, z forward) to the model's frame, in its unit; "
    "camera_from_world is its inverse"
)


class PoseResult(NamedTuple):
    """One image's pose in the model's frame and unit; `residual`: its parts by name."""

    world_from_camera: Float[np.ndarray, "4 4"]
    covariance: Float[np.ndarray, "6 6"] | None
    residual: Mapping[str, float]
    success: bool
    iterations: int
    seconds: float


class Track(NamedTuple):
    """Poses of a sequence, frame by frame; errors where the truth is known."""

    world_from_camera: Float[np.ndarray, "frame 4 4"]
    residual: Float[np.ndarray, " frame"]
    success: Bool[np.ndarray, " frame"]
    iterations: Int[np.ndarray, " frame"]
    seconds: Float[np.ndarray, " frame"]
    rotation_error_degrees: Float[np.ndarray, " frame"] | None = None
    translation_error_percent: Float[np.ndarray, " frame"] | None = None


def covariance_to_world(
    covariance: Float[np.ndarray, "6 6"], scale: Float[np.ndarray, ""] | float
) -> Float[np.ndarray, "6 6"]:
    """The covariance of xi (see COVARIANCE_TEXT) where lengths are `scale` times those of the canonical frame."""
    unit = np.repeat([1.0, float(scale)], 3)
    return np.asarray(covariance, float) * unit[:, None] * unit


def write_pose(path: Path, result: PoseResult, more: Mapping[str, Any] = {}) -> Path:
    """Writes the pose as JSON, with its conventions in words and whatever `more` there is to tell."""
    pose = np.asarray(result.world_from_camera, float)
    record = {
        "world_from_camera": pose,
        "camera_from_world": np.linalg.inv(pose),
        "convention": POSE_TEXT,
        "covariance": result.covariance,
        "covariance_convention": None if result.covariance is None else COVARIANCE_TEXT,
        "standard_deviation": None if result.covariance is None else standard_deviation(result.covariance),
        "residual": result.residual,
        "success": bool(result.success),
        "iterations": int(result.iterations),
        "seconds": float(result.seconds),
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


def write_bop_results(path: Path, results: Iterable[BopResult]) -> Path:
    """Writes a results file of the BOP challenge: R row by row, t in millimetres."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_HEAD)
    for result in results:
        pose = np.asarray(result.camera_from_object, float)
        matrix, shift = (" ".join(repr(float(x)) for x in part.ravel()) for part in (pose[:3, :3], pose[:3, 3]))
        table.writerow((*result[:3], float(result.score), matrix, shift, float(result.seconds)))
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
