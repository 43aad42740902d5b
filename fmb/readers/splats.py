"""Mixtures from the PLY files of Gaussian splats, our own and those of others."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.assets.splats import MARK, Splats, mixture_from_splats
from fmb.readers.safe_files import read_bytes

TYPES = {
    **{"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8"},
    **{"char": "<i1", "int8": "<i1", "uchar": "<u1", "uint8": "<u1", "short": "<i2", "int16": "<i2"},
    **{"ushort": "<u2", "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4"},
}
COLUMNS = {
    "mean": ("x", "y", "z"),
    "harmonic": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity": ("opacity",),
    "log_scale": ("scale_0", "scale_1", "scale_2"),
    "quaternion": ("rot_0", "rot_1", "rot_2", "rot_3"),
}
LONGEST_HEADER = 65_536  # bytes


class Header(NamedTuple):
    """What a PLY file says of its vertices, which come first, and where they begin."""

    count: int
    row: np.dtype
    start: int
    ours: bool


class SplatModel(NamedTuple):
    """A mixture in the frame and unit of the file, and its components' colours from 0 to 1."""

    mixture: Mixture
    color: Float[np.ndarray, "mixture 3"]


def read_splats(path: str | Path) -> SplatModel:
    """The mixture that a PLY file of 3D Gaussian splats shows, equal splats merged; of the colour only what is even.

    Files that we wrote give the mixture they were written from. Harmonics of higher degree are not read.
    Raises ValueError that names the file where it is missing, is no such file, or holds numbers that make no mixture.
    """
    path = Path(path)
    data = read_bytes(path)
    header = read_header(path, data)
    present = len(data) - header.start
    if present < header.count * header.row.itemsize:
        raise ValueError(f"{path}: {present // header.row.itemsize} of {header.count} splats; the file is cut short")
    rows = np.frombuffer(data, header.row, header.count, header.start)
    columns = {field: np.column_stack([rows[name] for name in names]) for field, names in COLUMNS.items()}
    for field, values in columns.items():
        broken = np.count_nonzero(~np.isfinite(values).all(axis=1))
        if broken:
            raise ValueError(f"{path}: {broken} of {header.count} splats have a {field} that is not finite")
    if not np.all(np.any(columns["quaternion"] != 0.0, axis=1)):
        raise ValueError(f"{path}: a quaternion of length 0")
    splats = Splats(**{**columns, "opacity": columns["opacity"][:, 0]})
    with np.errstate(all="ignore"):  # what comes out as not finite is refused
        mixture, color = mixture_from_splats(splats, header.ours)
    if not all(np.isfinite(field).all() for field in mixture):
        raise ValueError(f"{path}: scales or opacities beyond what numbers hold")
    return SplatModel(mixture, color)


def read_header(path: Path, data: bytes) -> Header:
    """The header of a binary PLY file whose first element are vertices with the properties of splats.

    Raises ValueError that names the file and what is wrong.
    """
    text, end, _ = data[:LONGEST_HEADER].partition(b"end_header\n")
    lines = text.decode("ascii", errors="replace").split("\n")
    if not end or lines[0] != "ply":
        raise ValueError(f"{path}: not a PLY file")
    if "format binary_little_endian 1.0" not in lines:
        raise ValueError(f"{path}: a PLY file of another format than binary_little_endian 1.0")
    elements = [place for place, line in enumerate(lines) if line.startswith("element ")]
    words = lines[elements[0]].split() if elements else []
    if words[1:2] != ["vertex"] or len(words) != 3 or not words[2].isdecimal() or int(words[2]) == 0:
        raise ValueError(f"{path}: its first element must be vertices, at least one")
    last = elements[1] if len(elements) > 1 else len(lines)
    properties = [line.split() for line in lines[elements[0] : last] if line.startswith("property ")]
    if any(len(entry) != 3 or entry[1] not in TYPES for entry in properties):
        raise ValueError(f"{path}: vertices with properties that are not plain numbers")
    names = [name for _, _, name in properties]
    missing = [name for group in COLUMNS.values() for name in group if name not in names]
    if missing:
        raise ValueError(f"{path}: no Gaussian splats: {', '.join(missing)} missing")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: a property of vertices twice")
    row = np.dtype([(name, TYPES[kind]) for _, kind, name in properties])
    return Header(int(words[2]), row, len(text) + len(end), MARK in lines)
