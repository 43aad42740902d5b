"""Points of a PLY file: the clouds that data sets keep beside their views."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fmb.fields.points import Cloud
from fmb.files.door import read_bytes, refusing
from fmb.files.ply import encode_ply, parse_ply
from fmb.machine import replacing


def read_points(path: Path) -> Float[np.ndarray, "point 3"]:
    """The vertices, those that are not finite left out.  Raises ValueError for what is no PLY file with points."""
    data = read_bytes(path)
    with refusing(path, "not a readable ply file of points"), np.errstate(invalid="ignore"):
        vertex = parse_ply(data, ("vertex",)).get("vertex")
        axes = [] if vertex is None else [vertex.column[axis].astype(float) for axis in "xyz" if axis in vertex.column]
    points = np.stack(axes, axis=1) if len(axes) == 3 else np.zeros((0, 3))
    points = points[np.all(np.isfinite(points), axis=1)]
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
    columns = {name: cloud.point[:, axis].astype(COORDINATE) for axis, name in enumerate(("x", "y", "z"))}
    if cloud.normal is not None:
        columns |= {name: cloud.normal[:, axis].astype(np.float32) for axis, name in enumerate(("nx", "ny", "nz"))}
    if cloud.color is not None:
        level = np.rint(255.0 * np.clip(cloud.color, 0.0, 1.0)).astype(np.uint8)
        columns |= {name: level[:, axis] for axis, name in enumerate(("red", "green", "blue"))}
    path.write_bytes(encode_ply({"vertex": columns}))


def write_npy(path: Path, cloud: Cloud) -> None:
    """One array [point, 3], [point, 6] or [point, 9]: points, normals, colours, as far as the cloud has them."""
    with path.open("wb") as file:
        np.save(file, np.column_stack([field for field in cloud if field is not None]), allow_pickle=False)


POINT_FORMATS: dict[str, Callable[[Path, Cloud], None]] = {".ply": write_ply, ".npy": write_npy}
