"""Points of a PLY file: the clouds that data sets keep beside their views."""

import io
import warnings
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from fmb.readers.safe_files import read_bytes


def read_points(path: Path) -> Float[np.ndarray, "point 3"]:
    """The vertices, those that are not finite left out.  Raises ValueError for what is no PLY file with points."""
    data = read_bytes(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
        points = np.asarray(loaded.vertices, float)
    except Exception as error:  # whatever a loader meets in a broken file
        raise ValueError(f"{path}: not a readable ply file of points") from error
    points = points[np.all(np.isfinite(points), axis=1)] if points.ndim == 2 and points.shape[1] == 3 else points[:0]
    if len(points) == 0:
        raise ValueError(f"{path}: no points")
    return points
