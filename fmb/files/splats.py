"""A mixture as Gaussian splats and back: what 3DGS viewers (Kerbl et al. 2023) draw as this renderer would.

A splat's opacity at its middle is below 1 and falls like a Gaussian; a component, of alpha 1 - exp(-w exp(-d^2 / 2)),
w its weight, is flat-topped. So a component becomes n = w / 0.1 equal splats in one place, each so faint that together
they are opaque as it is, exactly where that is 1/2. One splat each gave IoU 0.65 of silhouettes. Fitted components have
w of up to 15,000, a nearly hard edge, which would need as many splats: at most MOST_COPIES are made, which can hold a
weight of that number; larger ones are counted in less, and the splats widened to be half opaque where they were.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from scipy.special import expit, logit

from fm_render import Mixture
from fmb.fields.metaballs import HALF_DENSITY
from fmb.files.safe import read_bytes
from fmb.geometry.cameras import ANY_ARRAY
from fmb.machine import replacing

WEIGHT_PER_COPY = 0.1  # of a component: so faint that the product of copies is the exponential to 5 % in the tails
MOST_COPIES = 32  # of fits' silhouettes 16, 32, 64 give IoU 0.97, 0.98, 0.985 with the renderer's
ROUNDING = 1e-9  # so that a weight that is a whole number of copies gets no further one
OPAQUE = MOST_COPIES / 2  # the weight beyond which splats are widened
HARMONIC = 0.28209479177387814  # of degree 0, 1 / (2 sqrt(pi)): colour = 1/2 + HARMONIC f_dc
GREY = 0.75
MARK = "comment fuzzy metaballs, opaque components as widened splats"  # in files, for `widened` on the way back


class Splats(NamedTuple):
    """Gaussians as 3DGS stores them, in the unit of the world."""

    mean: Float[np.ndarray, "splat 3"]
    harmonic: Float[np.ndarray, "splat 3"]  # f_dc, colour of degree 0
    opacity: Float[np.ndarray, " splat"]  # logit
    log_scale: Float[np.ndarray, "splat 3"]  # logarithms of the standard deviations along the axes
    quaternion: Float[np.ndarray, "splat 4"]  # wxyz, turns the axes into the world


def splats_from_mixture(mixture: Mixture, color: Float[ANY_ARRAY, "mixture 3"] | None = None) -> Splats:
    """Splats that look like the mixture from every side, 1 to MOST_COPIES for each component, one after the other.

    `color` from 0 to 1; None: grey. Components of weight 0 are left out. Raises ValueError where none is left.
    """
    weight = np.exp(np.asarray(mixture.log_weight, float))
    seen = weight > 0.0
    if not seen.any():
        raise ValueError("splats of a mixture: all its components have weight 0")
    weight, factor = weight[seen], np.asarray(mixture.precision_cholesky, float)[seen]
    color = np.full((len(seen), 3), GREY) if color is None else np.asarray(color, float)
    count = copies(weight)
    axes, inverse_scale, _ = np.linalg.svd(factor)
    axes = axes * np.linalg.det(axes)[:, None, None]  # a rotation, no mirror
    log_scale = -np.log(inverse_scale) + np.log(widening(weight))[:, None]
    splats = Splats(
        np.asarray(mixture.mean, float)[seen],
        (color[seen] - 0.5) / HARMONIC,
        logit(copy_opacity(held_weight(weight), count)),
        log_scale,
        Rotation.from_matrix(axes).as_quat(canonical=True, scalar_first=True),
    )
    return Splats(*(np.repeat(field, count, axis=0) for field in splats))


def mixture_from_splats(splats: Splats, widened: bool = False) -> tuple[Mixture, Float[np.ndarray, "mixture 3"]]:
    """Mixture and colours of splats, equal ones merged, in float64.

    `widened` says that they come from `splats_from_mixture`, which this then inverts; splats of other origin are taken
    as they are.
    """
    first, count = _distinct(splats)
    mean, harmonic, opacity, log_scale, quaternion = (np.asarray(field, float)[first] for field in splats)
    if widened:
        weight = original_weight(copied_weight(expit(opacity), count))
        log_scale = log_scale - np.log(widening(weight))[:, None]
    else:
        weight = count * np.logaddexp(0.0, opacity)  # -log(1 - opacity) of each
    axes = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
    # rows of R of the transposed factor: keeps the digits of thin components, which squares would lose
    upper = np.linalg.qr(np.exp(-log_scale)[:, :, None] * np.swapaxes(axes, 1, 2), mode="r")
    upper = upper * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, :, None]
    mixture = Mixture(mean, np.swapaxes(upper, 1, 2), np.log(weight))
    return mixture, np.clip(0.5 + HARMONIC * harmonic, 0.0, 1.0)


def copies(weight: Float[np.ndarray, " mixture"]) -> Int[np.ndarray, " mixture"]:
    """How many equal splats stand for a component."""
    return np.clip(np.ceil(weight / WEIGHT_PER_COPY - ROUNDING), 1, MOST_COPIES).astype(int)


def copy_opacity(weight: Float[np.ndarray, " mixture"], count: Int[np.ndarray, " mixture"]) -> np.ndarray:
    """Opacity of each copy: together they are half opaque where a component of that weight is, or match its middle."""
    matched = np.minimum(weight, HALF_DENSITY)
    return -np.expm1(-matched / count) * weight / matched


def copied_weight(opacity: Float[np.ndarray, " mixture"], count: Int[np.ndarray, " mixture"]) -> np.ndarray:
    """The inverse of `copy_opacity`."""
    half = -np.expm1(-HALF_DENSITY / count)
    return np.where(opacity < half, -count * np.log1p(-np.minimum(opacity, half)), opacity / half * HALF_DENSITY)


def held_weight(weight: Float[np.ndarray, " mixture"]) -> Float[np.ndarray, " mixture"]:
    """The weight that the splats of a component stand for: its own, beyond OPAQUE one that stays below twice that."""
    excess = np.log(np.maximum(weight, OPAQUE) / OPAQUE)
    return np.where(weight <= OPAQUE, weight, OPAQUE * (1.0 + excess / (1.0 + excess)))


def original_weight(held: Float[np.ndarray, " mixture"]) -> Float[np.ndarray, " mixture"]:
    """The inverse of `held_weight`; of what no mixture gives, the nearest that one gives."""
    part = np.clip(held / OPAQUE - 1.0, 0.0, 0.99)
    return np.where(held <= OPAQUE, held, OPAQUE * np.exp(part / (1.0 - part)))


def widening(weight: Float[np.ndarray, " mixture"]) -> Float[np.ndarray, " mixture"]:
    """Factor on the standard deviations that keeps a component half opaque where it was; 1 up to OPAQUE."""
    opaque = np.maximum(weight, OPAQUE)
    return np.sqrt(np.log(opaque / HALF_DENSITY) / np.log(held_weight(opaque) / HALF_DENSITY))


def _distinct(splats: Splats) -> tuple[np.ndarray, np.ndarray]:
    """Place of the first of each set of equal splats, in their order, and how many there are."""
    row = np.ascontiguousarray(np.column_stack([np.asarray(field) for field in splats]))
    row = row.view(np.dtype((np.void, row.dtype.itemsize * row.shape[1]))).ravel()
    _, first, count = np.unique(row, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], count[order]


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


PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def write_splats(path: str | Path, splats: Splats) -> Path:
    """Writes the splats, in float32; normals, which 3DGS has but does not use, are 0.

    Raises ValueError for another suffix than .ply, and where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: splats are written as .ply")
    columns = np.column_stack(
        [
            splats.mean,
            np.zeros_like(splats.mean),
            splats.harmonic,
            splats.opacity,
            splats.log_scale,
            splats.quaternion,
        ]
    ).astype("<f4")
    lines = ["ply", "format binary_little_endian 1.0", MARK, f"element vertex {len(columns)}"]
    lines += [*(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    with replacing(path) as partial:
        partial.write_bytes("\n".join(lines).encode() + columns.tobytes())
    return path
