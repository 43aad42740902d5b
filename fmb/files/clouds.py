"""Clouds of points: any file that holds points, or triangles to take points from."""

from pathlib import Path

import numpy as np

from fmb.fields.points import Cloud
from fmb.files.meshes import FORMATS, read_mesh
from fmb.files.points import read_points
from fmb.files.safe import read_npy, read_text
from fmb.geometry.interior import sample_surface
from fmb.machine import warn


def read_cloud(path: str | Path, count: int, generator: np.random.Generator) -> Cloud:
    """The points of a file; `count` of its surface where it is a mesh."""
    path = Path(path)
    if path.suffix == ".npy":
        return Cloud(read_npy(path).astype(float)[:, :3])
    if path.suffix == ".ply":
        return Cloud(read_points(path))
    if path.suffix.removeprefix(".") in FORMATS:
        warn(f"note: {path}: a mesh; {count} points of its surface are taken")
        return Cloud(sample_surface(read_mesh(path), count, generator))
    return Cloud(np.array([line.split()[:3] for line in read_text(path).splitlines()], float))
