"""Clouds of points: any file that holds points, or triangles to take points from."""

from pathlib import Path

import numpy as np

from fmb.fields.points import Cloud
from fmb.files.points import read_points
from fmb.files.safe import read_npy, read_text


def read_cloud(path: str | Path) -> Cloud:
    """The points of a file."""
    path = Path(path)
    if path.suffix == ".npy":
        return Cloud(read_npy(path).astype(float)[:, :3])
    if path.suffix == ".ply":
        return Cloud(read_points(path))
    return Cloud(np.array([line.split()[:3] for line in read_text(path).splitlines()], float))
