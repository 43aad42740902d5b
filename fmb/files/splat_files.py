"""Files of Gaussian splats: PLY as 3DGS, 2DGS and SuperSplat write it, and .splat; the few bad rows they have."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.merging import merge_mixture
from fmb.files.door import read_bytes
from fmb.files.mesh_output import float32_offset, offset_notice, offset_words
from fmb.files.ply import Table, encode_ply, parse_header, parse_numbers, parse_ply
from fmb.files.safe import Broken, parsing
from fmb.files.splats import HARMONIC, Splats, mixture_from_splats
from fmb.machine import replacing, warn

MARK = "fuzzy metaballs, opaque components as widened splats"  # comment of our files, for `widened` on the way back
OFFSET = "offset "  # comment of our files: what is to be added to x, y and z
COLUMNS = {
    "mean": ("x", "y", "z"),
    "harmonic": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity": ("opacity",),
    "log_scale": ("scale_0", "scale_1", "scale_2"),
    "quaternion": ("rot_0", "rot_1", "rot_2", "rot_3"),
}
MOST_COMPONENTS = 500  # of a mixture from splats: silhouettes of 2,000 keep an IoU of 0.993, a mesh takes a minute
OPAQUE_LOGIT = 16.0  # in place of infinity: float32 tells no larger opacity from 1
THINNEST = 1e-8  # axis of a splat, in its longest: double precision inverts no thinner ones
FLATNESS = 0.01  # thickness of a splat that has none, in its smaller axis
LEAST_LOG, MOST_LOG = -300.0, 300.0  # of scales: beyond them squares leave double precision
HUGE, ALIKE = 10.0, 1000.0  # largest scale: of the size of the cloud, and of the scale of most splats, together
FAR = 1e4  # largest distance from the middle, in the same
CORE = (1, 99)  # percent of the splats between which the cloud's size is measured
OTHERS = {".spz": "Niantic's SPZ", ".ksplat": "GaussianSplats3D's KSPLAT", ".sog": "PlayCanvas' SOG"}


class SplatModel(NamedTuple):
    """A mixture in the frame and unit of the file, and its components' colours from 0 to 1."""

    mixture: Mixture
    color: Float[np.ndarray, "mixture 3"]


class Found(NamedTuple):
    """What a file holds, bad rows and all; `ours` where `splats_from_mixture` made it."""

    splats: Splats
    ours: bool = False


def read_splats(path: str | Path) -> SplatModel:
    """The mixture that a file of Gaussian splats shows, equal splats merged; of the colour only what is even.

    Files that we wrote give the mixture they were written from, unless it has more than MOST_COMPONENTS: those are
    merged with their neighbours. Harmonics of higher degree are not read. Rows that are not finite, without rotation,
    far away or far too large are left out and counted, as are empty ones. What was done is told on stderr.
    Raises ValueError that names the file: missing, no such file, or with more bad rows than good ones.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind in OTHERS:
        raise ValueError(f"{path}: {OTHERS[kind]} is not read; save the splats as .ply, as SuperSplat does")
    data = read_bytes(path)
    # a NaN is a bad row
    with parsing(path, f"not a readable {kind} file of splats"), np.errstate(invalid="ignore"):
        found = SPLAT_FORMATS[kind](data)
    splats = _usable(path, found.splats)
    mixture, color = mixture_from_splats(splats, found.ours)
    merged, merged_color = merge_mixture(mixture, color, MOST_COMPONENTS)
    if len(merged.mean) < len(mixture.mean):
        warn(
            f"{path}: {len(mixture.mean)} splats are merged into {len(merged.mean)} components, each of its group's "
            "mass, middle and spread"
        )
    return SplatModel(merged, merged_color)


def _usable(path: Path, splats: Splats) -> Splats:
    """The splats that can be seen, with finite numbers; what was left out is told.  Raises ValueError for few."""
    total = len(splats.mean)
    with np.errstate(all="ignore"):
        splats = _flat_ones(splats)
        broken = {
            "not finite": ~_finite(splats),
            "without a rotation": ~(np.linalg.norm(splats.quaternion, axis=1) > 0.0),
            "far away or far too large": _misplaced(splats),
        }
    bad = np.any([*broken.values()], axis=0)
    empty = ~bad & (np.logaddexp(0.0, np.where(bad, 0.0, splats.opacity)) == 0.0)
    counts = {words: int(np.count_nonzero(rows)) for words, rows in broken.items() if rows.any()}
    words = ", ".join(f"{count} {what}" for what, count in counts.items())
    if 2 * np.count_nonzero(bad) > total or not np.any(~bad & ~empty):
        words = ", ".join(filter(None, [words, empty.any() and f"{np.count_nonzero(empty)} empty"]))
        raise ValueError(f"{path}: too few of its {total} splats can be used: {words}")
    if bad.any():
        warn(f"{path}: {np.count_nonzero(bad)} of {total} splats are left out: {words}")
    opacity = np.minimum(splats.opacity, np.where(np.isinf(splats.opacity), OPAQUE_LOGIT, np.inf))
    log_scale = np.maximum(splats.log_scale, splats.log_scale.max(axis=1, keepdims=True) + np.log(THINNEST))
    return Splats(*(field[~bad & ~empty] for field in splats._replace(opacity=opacity, log_scale=log_scale)))


def _flat_ones(splats: Splats) -> Splats:
    """Splats without a thickness, as 2DGS has them, with a small one."""
    order = np.sort(splats.log_scale, axis=1)
    least = (order[:, 1] + np.log(FLATNESS))[:, None]
    flat = (splats.log_scale < LEAST_LOG) & (least > LEAST_LOG)
    return splats._replace(log_scale=np.where(flat, least, splats.log_scale))


def _finite(splats: Splats) -> np.ndarray:
    rows = [np.isfinite(field).all(axis=1) for field in (splats.mean, splats.harmonic, splats.quaternion)]
    scale = np.all((splats.log_scale >= LEAST_LOG) & (splats.log_scale <= MOST_LOG), axis=1)
    return np.all([*rows, scale, ~np.isnan(splats.opacity)], axis=0)


def _misplaced(splats: Splats) -> np.ndarray:
    """Which finite splats would alone decide how large everything is."""
    good = _finite(splats)
    if not good.any():
        return np.zeros(len(good), bool)
    low, high = np.percentile(splats.mean[good], CORE, axis=0)
    largest = np.exp(splats.log_scale.max(axis=1))
    size = np.max(high - low) + ALIKE / HUGE * np.median(largest[good])
    distance = np.linalg.norm(splats.mean - np.median(splats.mean[good], axis=0), axis=1)
    return good & ((largest > HUGE * size) | (distance > FAR * size))


def parse_splat_ply(data: bytes) -> Found:
    """Splats of a PLY file: 3DGS, 2DGS, or packed by SuperSplat."""
    tables = parse_ply(data, ("chunk", "vertex"))
    comments = parse_header(data).comments
    if "vertex" not in tables or not tables["vertex"].count:
        raise Broken("no vertices, so no Gaussian splats")
    vertex = tables["vertex"]
    if "packed_position" in vertex.column and "chunk" in tables:
        return Found(unpacked(tables["chunk"], vertex))
    columns = {**vertex.column}
    if "scale_1" in columns:
        columns.setdefault("scale_2", np.full(vertex.count, -np.inf))
    missing = [name for group in COLUMNS.values() for name in group if name not in columns]
    if missing:
        raise Broken(f"no Gaussian splats: {', '.join(missing)} missing")
    fields = {
        field: np.stack([columns[name].astype(float) for name in names], axis=1) for field, names in COLUMNS.items()
    }
    splats = Splats(**{**fields, "opacity": fields["opacity"][:, 0]})
    for text in comments:
        offset, word = parse_numbers(text.removeprefix(OFFSET).encode())
        if MARK in comments and text.startswith(OFFSET) and offset.shape == (3,) and not word:
            splats = splats._replace(mean=splats.mean + offset)
    return Found(splats, MARK in comments)


CHUNK = 256  # splats of one range in SuperSplat's packed files


def unpacked(chunk: Table, vertex: Table) -> Splats:
    """Splats that SuperSplat packed into four 32-bit numbers each, in the ranges of their chunk.

    Positions and logarithms of scales have 11, 10 and 11 bits; colours and opacity 8 each; of the quaternion the three
    components that are not the largest 10 each, up to sqrt(1/2), after 2 bits that tell which that is.
    """
    place = np.arange(vertex.count) // CHUNK
    if place[-1] >= chunk.count:
        raise Broken(f"{chunk.count} chunks for {vertex.count} packed splats")

    def ranged(field: str, names: tuple[str, ...]) -> np.ndarray:
        packed = vertex.column[f"packed_{field}"].astype(np.int64)
        parts = [(packed >> 21) / 2047.0, ((packed >> 11) & 1023) / 1023.0, (packed & 2047) / 2047.0]
        low = [chunk.column[f"min_{name}"].astype(float)[place] for name in names]
        high = [chunk.column[f"max_{name}"].astype(float)[place] for name in names]
        return np.stack([a + part * (b - a) for part, a, b in zip(parts, low, high, strict=True)], axis=1)

    try:
        mean, log_scale = ranged("position", ("x", "y", "z")), ranged("scale", ("scale_x", "scale_y", "scale_z"))
        color, turn = (vertex.column[f"packed_{field}"].astype(np.int64) for field in ("color", "rotation"))
    except KeyError as error:
        raise Broken(f"packed splats without {error.args[0]}") from None
    level = np.stack([(color >> shift & 255) / 255.0 for shift in (24, 16, 8, 0)], axis=1)
    for k, name in enumerate("rgb"):
        if f"min_{name}" in chunk.column:  # colours have a range in newer files
            low, high = (chunk.column[f"{end}_{name}"].astype(float)[place] for end in ("min", "max"))
            level[:, k] = low + level[:, k] * (high - low)
    small = np.stack([((turn >> shift & 1023) / 1023.0 - 0.5) * np.sqrt(2.0) for shift in (20, 10, 0)], axis=1)
    quaternion = _with_largest(small, turn >> 30)
    return Splats(mean, (level[:, :3] - 0.5) / HARMONIC, _logit(level[:, 3]), log_scale, quaternion)


def _logit(opacity: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # 0 and 1 are empty and opaque
        return np.log(opacity) - np.log1p(-opacity)


def _with_largest(small: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Unit quaternions from the three components that are not the largest, which is positive."""
    quaternion = np.empty((len(small), 4))
    rest = np.sqrt(np.maximum(0.0, 1.0 - np.sum(small**2, axis=1)))
    for k in range(4):
        rows = largest == k
        quaternion[rows] = np.insert(small[rows], k, rest[rows], axis=1)
    return quaternion


ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("turn", "u1", 4)])  # of .splat


def parse_dot_splat(data: bytes) -> Found:
    """Splats of a .splat file, rows of 32 bytes."""
    if not data or len(data) % ROW.itemsize:
        raise Broken(f"{len(data)} bytes; a .splat file has {ROW.itemsize} for each splat")
    rows = np.frombuffer(data, ROW)
    level = rows["color"] / 255.0
    with np.errstate(divide="ignore", invalid="ignore"):
        log_scale = np.log(rows["scale"].astype(float))
    quaternion = (rows["turn"].astype(float) - 128.0) / 128.0
    harmonic = (level[:, :3] - 0.5) / HARMONIC
    return Found(Splats(rows["mean"].astype(float), harmonic, _logit(level[:, 3]), log_scale, quaternion))


SPLAT_FORMATS: dict[str, Callable[[bytes], Found]] = {".ply": parse_splat_ply, ".splat": parse_dot_splat}


PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def write_splats(path: str | Path, splats: Splats) -> Path:
    """Writes the splats, in float32; normals, which 3DGS has but does not use, are 0.

    Viewers read float32 alone: means so far from the origin that this would show are written without an offset, which a
    comment in the file and a line tell.
    Raises ValueError for another suffix than .ply, and where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: splats are written as .ply")
    offset = float32_offset(splats.mean)
    fields = (splats.mean - offset, np.zeros_like(splats.mean), splats.harmonic, splats.opacity, splats.log_scale)
    columns = np.column_stack([*fields, splats.quaternion]).astype(np.float32)
    comments = [MARK, *([OFFSET + offset_words(offset)] if offset.any() else [])]
    data = encode_ply({"vertex": {name: columns[:, k] for k, name in enumerate(PROPERTIES)}}, comments)
    with replacing(path) as partial:
        partial.write_bytes(data)
    warn(offset_notice(path, offset))
    return path
