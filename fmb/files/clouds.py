"""Clouds of points: any file that holds points, or triangles to take points from."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fmb.fields.points import Cloud
from fmb.files.door import read_bytes
from fmb.files.meshes import FORMATS, read_mesh
from fmb.files.ply import is_number, parse_header, parse_numbers, parse_ply
from fmb.files.safe import Broken, parsing, read_npy
from fmb.files.surfaces import PARSERS, in_utf8
from fmb.geometry.interior import sample_surface
from fmb.machine import warn

UNIT = 0.02  # by which the lengths of three numbers beside a point may differ from 1, if these are its normal
COMMENTS = (b"#", b"//", b"%")
PCD_TYPES = {"F": "f", "I": "i", "U": "u"}
NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))


def read_cloud(path: str | Path, count: int, generator: np.random.Generator) -> Cloud:
    """The points of a file, with normals where it has them; `count` points of the surface where it is a mesh.

    Raises ValueError that names the file, and what is wrong with it.
    """
    cloud = read_points(path)
    if cloud is None:
        warn(f"note: {path}: a mesh; {count} points of its surface are taken")
        cloud = Cloud(sample_surface(read_mesh(path), count, generator))
    return cloud


def read_points(path: str | Path) -> Cloud | None:
    """The points of a file, with normals where it has them; None where it is a mesh.

    Raises ValueError that names the file, and what is wrong with it.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in (allowed := ("npy", *CLOUDS, *FORMATS)):
        known = ", ".join(allowed)
        raise ValueError(f"{path}: point format '{path.suffix}' is not known, allowed are {known}")
    if kind == "npy":
        return from_rows(path, read_npy(path))
    data = in_utf8(read_bytes(path, what="file of points"))
    if not data:
        raise ValueError(f"{path}: the file is empty")
    what = f"not a readable {kind} file"
    with parsing(path, what, f"{what}: "), np.errstate(all="ignore"):
        return bare_vertices(kind, data) if kind in PARSERS else CLOUDS[kind](data) if kind in CLOUDS else None


def from_rows(path: Path, rows: np.ndarray) -> Cloud:
    """The points of an array [point, 3 or more]."""
    if rows.ndim != 2 or rows.shape[1] < 3 or rows.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: an array of shape {rows.shape} and type {rows.dtype}; must be numbers [point, 3], or more columns"
        )
    return _cloud(rows.astype(float))


def _cloud(rows: Float[np.ndarray, "point column"]) -> Cloud:
    """Columns 0 to 2 as points, 3 to 5 as normals if they have the length 1: else they are colours or others."""
    normal = rows[:, 3:6]
    unit = normal.shape[1] == 3 and bool(np.all(np.abs(np.linalg.norm(normal, axis=1) - 1.0) < UNIT))
    return Cloud(rows[:, :3], normal if unit else None)


def bare_vertices(kind: str, data: bytes) -> Cloud | None:
    """The vertices of a mesh format as points where the file has no faces, else None."""
    if kind == "ply":
        if any(element.name in ("face", "tristrips") and element.count for element in parse_header(data).elements):
            return None
        return parse_ply_points(data)
    surface = PARSERS[kind](data)
    return None if len(surface.corner) else Cloud(surface.position)


def parse_ply_points(data: bytes) -> Cloud:
    """The vertices of a PLY file."""
    vertex = parse_ply(data, ("vertex",)).get("vertex")
    return _named({} if vertex is None else vertex.column)


def _named(column: dict[str, np.ndarray]) -> Cloud:
    """Points, and normals, from columns with names."""
    missing = [axis for axis in "xyz" if axis not in column]
    if missing:
        raise Broken(f"points without {', '.join(missing)}")
    names = next((names for names in NORMALS if all(name in column for name in names)), ())
    point, *normal = (np.stack([column[x].astype(float) for x in axes], axis=1) for axes in ("xyz", names) if axes)
    return Cloud(point, *normal)


def parse_text_points(data: bytes) -> Cloud:
    """A point a line; numbers behind the third may be its normal. A line of titles or of a count may come first."""
    lines = re.sub(rb"[,;\t]", b" ", data.removeprefix(b"\xef\xbb\xbf")).splitlines()
    lines = [line for line in map(bytes.strip, lines) if line and not line.startswith(COMMENTS)]
    first = lines[0].split() if lines else []
    if len(first) == 1 or (first and not any(map(is_number, first))):
        if len(first) == 1 and not is_number(first[0]):
            word = first[0][:40].decode(errors="backslashreplace")
            raise Broken(f"begins with {word!r}; must be numbers, a point a line")
        lines = lines[1:]
    if not lines:
        raise Broken("no points")
    width = len(lines[0].split())
    if width < 3:
        raise Broken(f"{width} numbers a line; must be 3 or more")
    value, word = parse_numbers(b"\n".join(lines))
    if word:
        raise Broken(f"point {len(value) // width + 1}: {word!r} is no number")
    if len(value) != width * len(lines):
        raise Broken(f"{len(value)} numbers in {len(lines)} lines; each must have {width}, as the first")
    return _cloud(value.reshape(-1, width))


def parse_pcd(data: bytes) -> Cloud:
    """The points of a PCD file, text or binary; those that the scanner has marked as missing are left out."""
    end = re.search(rb"^DATA[ \t]+(\w+)[ \t]*\r?\n", data[:65_536], re.MULTILINE)
    if end is None:
        raise Broken("no line DATA ascii or DATA binary in its header")
    head = data[: end.start()].decode(errors="backslashreplace")
    words = [line.split() for line in head.splitlines() if line.strip() and not line.startswith("#")]
    entry = {line[0]: line[1:] for line in words}
    lacking = [name for name in ("FIELDS", "SIZE", "TYPE") if name not in entry]
    if lacking or not {"POINTS", "WIDTH"} & entry.keys():
        raise Broken(f"header without {', '.join(lacking or ['POINTS'])}")
    count = entry.get("COUNT", ["1"] * len(entry["FIELDS"]))
    fields = list(zip(entry["FIELDS"], entry["TYPE"], entry["SIZE"], count, strict=True))
    row = [(f"{n}", f"<{PCD_TYPES[kind]}{size}", (int(many),)) for n, (_, kind, size, many) in enumerate(fields)]
    number = int(entry["POINTS"][0]) if "POINTS" in entry else int(entry["WIDTH"][0]) * int(entry["HEIGHT"][0])
    rows = _pcd_rows(data[end.end() :], end[1].decode(), np.dtype(row), number)
    names = [name for name, *_ in fields]
    column = {name: rows[str(n)][:, 0] for n, name in enumerate(names) if rows[str(n)].shape[1] == 1}
    cloud = _named(column)
    there = np.isfinite(cloud.point).all(axis=1)
    return Cloud(*(None if part is None else part[there] for part in cloud))


def _pcd_rows(data: bytes, kind: str, row: np.dtype, count: int) -> np.ndarray:
    if kind == "binary":
        if len(data) < count * row.itemsize:
            raise Broken(f"{len(data) // row.itemsize} of {count} points are there")
        return np.frombuffer(data, row, count)
    if kind != "ascii":
        raise Broken(f"DATA {kind} is not read; save it as ascii or binary")
    value, word = parse_numbers(data)
    width = sum(row[name].shape[0] for name in row.names)
    if word or len(value) != count * width:
        found = f"{word!r} is no number" if word else f"{len(value)} numbers, {count} points need {count * width}"
        raise Broken(found)
    rows, place, value = np.empty(count, row), 0, value.reshape(count, width)
    for name in row.names:
        many = row[name].shape[0]
        rows[name] = value[:, place : place + many]
        place += many
    return rows


CLOUDS: dict[str, Callable[[bytes], Cloud]] = {
    "xyz": parse_text_points,
    "txt": parse_text_points,
    "pts": parse_text_points,
    "pcd": parse_pcd,
}
CLOUD_SUFFIXES = tuple(f".{kind}" for kind in ("npy", *CLOUDS, *FORMATS))
