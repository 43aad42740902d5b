"""Data sets of masks and cameras, in any of the formats in SOURCES, as one Capture in our conventions."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmb.files.captures import co3d, colmap, idr, krt, plain, projections, transforms
from fmb.files.captures.assembly import Capture, Listing, assemble
from fmb.files.door import naming

__all__ = ["AUTO", "SOURCES", "Capture", "Source", "read_capture"]
AUTO = "auto"


class Source(NamedTuple):
    """A format: how its folders are told from others, what lists their views, and what a folder must hold."""

    recognise: Callable[[Path], bool]
    read: Callable[[Path], Listing]
    needs: str


# the first that recognises a folder reads it
SOURCES: dict[str, Source] = {
    "plain": Source(plain.recognise, plain.read, "cameras.json as this program writes it, and masks/"),
    "transforms": Source(transforms.recognise, transforms.read, "transforms.json or transforms_train.json"),
    "colmap": Source(colmap.recognise, colmap.read, "cameras and images, .bin or .txt, in sparse/0, and masks/"),
    "co3d": Source(co3d.recognise, co3d.read, "frame_annotations.jgz, and the folder of a sequence"),
    "idr": Source(idr.recognise, idr.read, "cameras_sphere.npz with world_mat_0 ..., and mask/"),
    "krt": Source(krt.recognise, krt.read, "cameras.json or cameras.npz with K, R, t, and masks/"),
    "projections": Source(projections.recognise, projections.read, "NAME_par.txt or *.P, and masks/"),
}


def read_capture(folder: str | Path, format: str = AUTO, longest_side: int = 0) -> Capture:
    """The data set in a folder, each image reduced to at most `longest_side` pixels (0: as it is).

    `format` is a name in SOURCES, or "auto" for the first whose files are there.
    Raises ValueError, one line that names the file, for what is missing, broken, unsafe or makes no views.
    """
    folder = Path(folder)
    if longest_side < 0:
        raise ValueError(f"longest side {longest_side}: must be 0 or more")
    if format != AUTO and format not in SOURCES:
        raise ValueError(f"format {format!r} is not known, allowed are {', '.join((AUTO, *SOURCES))}")
    if not os.path.isdir(folder):  # unlike Path.is_dir it takes names of any length
        what = "is a file" if os.path.lexists(folder) else "no such folder"
        raise ValueError(f"{folder}: {what}; expected the folder of a data set")
    # numbers too large to reckon with come out as not finite and are refused
    with np.errstate(all="ignore"), naming(folder):
        kind, notice = (format, "") if format != AUTO else _recognised(folder)
        capture = assemble(folder, kind, SOURCES[kind].read(folder), longest_side)
    return capture._replace(notices=(*capture.notices, notice)) if notice else capture


def _recognised(folder: Path) -> tuple[str, str]:
    kinds = [name for name, source in SOURCES.items() if source.recognise(folder)]
    if not kinds and (folder / plain.FILE).is_file():
        kinds = ["plain"]  # which says what is wrong with it
    if not kinds:
        needs = "; ".join(f"{name}: {source.needs}" for name, source in SOURCES.items())
        raise ValueError(f"{folder}: no data set that is known. Expected one of: {needs}")
    others = ", ".join(kinds[1:])
    return kinds[0], f"read as {kinds[0]}; its files would also do for the format {others}" if others else ""
