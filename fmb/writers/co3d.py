"""Views as a sequence of CO3Dv2: frame_annotations.jgz, masks and images, as fmb/readers/co3d.py reads them back."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from fmb.views import Views
from util import prepare_output_dir, replacing, write_picture

FILE = "frame_annotations.jgz"
PYTORCH3D_FROM_OPENCV = np.diag([-1.0, -1.0, 1.0])  # x left, y up, z forward


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
        "R": (PYTORCH3D_FROM_OPENCV @ camera_from_world[:3, :3]).T.tolist(),
        "T": (PYTORCH3D_FROM_OPENCV @ camera_from_world[:3, 3]).tolist(),
        "focal_length": (matrix[[0, 1], [0, 1]] / half.min()).tolist(),
        "principal_point": ((half - matrix[:2, 2]) / half.min()).tolist(),
        "intrinsics_format": "ndc_isotropic",
    }


def as_bytes(values: np.ndarray) -> np.ndarray:
    """0 to 1 as 0 to 255."""
    return np.round(255.0 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
