"""Points of a PLY file: the clouds that data sets keep beside their views."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from fmb.fields.points import Cloud
from fmb.files.door import read_bytes, refusing
from fmb.machine import replacing


def read_points(path: Path) -> Float[np.ndarray, "point 3"]:
    """The vertices, those that are not finite left out.  Raises ValueError for what is no PLY file with points."""
    data = read_bytes(path)
    with refusing(path, "not a readable ply file of points"), warnings.catch_warnings(action="ignore"):
        loaded = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
        points = np.asarray(loaded.vertices, float)
    points = points[np.all(np.isfinite(points), axis=1)] if points.ndim == 2 and points.shape[1] == 3 else points[:0]
    if len(points) == 0:
        raise ValueError(f"{path}: no points")
    return points


COORDINATE = "<f8"  # of points; normals and colours need less


def write_points(path: str | Path, cloud: Cloud) -> Path:
    """Writes a cloud in the format of the suffix, one of POINT_FORMATS.

    Raises ValueError for another suffix, and where the file cannot be written.
    """
    path = Path(path)
    write = POINT_FORMATS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"{path}: point format '{path.suffix}' is not known, allowed are {', '.join(POINT_FORMATS)}")
    with replacing(path) as partial:
        write(partial, cloud)
    return path


def write_ply(path: Path, cloud: Cloud) -> None:
    """Binary PLY: x y z, and nx ny nz, red green blue where the cloud has them."""
    columns = [(name, COORDINATE, "double", cloud.point[:, axis]) for axis, name in enumerate(("x", "y", "z"))]
    if cloud.normal is not None:
        columns += [(name, "<f4", "float", cloud.normal[:, axis]) for axis, name in enumerate(("nx", "ny", "nz"))]
    if cloud.color is not None:
        level = np.rint(255.0 * np.clip(cloud.color, 0.0, 1.0))
        columns += [(name, "u1", "uchar", level[:, axis]) for axis, name in enumerate(("red", "green", "blue"))]
    rows = np.empty(len(cloud.point), [(name, kind) for name, kind, _, _ in columns])
    for name, _, _, values in columns:
        rows[name] = values
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    lines += [*(f"property {word} {name}" for name, _, word, _ in columns), "end_header", ""]
    path.write_bytes("\n".join(lines).encode() + rows.tobytes())


def write_npy(path: Path, cloud: Cloud) -> None:
    """One array [point, 3], [point, 6] or [point, 9]: points, normals, colours, as far as the cloud has them."""
    with path.open("wb") as file:
        np.save(file, np.column_stack([field for field in cloud if field is not None]), allow_pickle=False)


POINT_FORMATS: dict[str, Callable[[Path, Cloud], None]] = {".ply": write_ply, ".npy": write_npy}
