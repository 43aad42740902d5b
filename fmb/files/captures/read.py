"""Data sets of masks and cameras, in any of the formats in SOURCES, as one Capture in our conventions."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmb.files.captures import alone, co3d, colmap, idr, krt, llff, ners, plain, projections, stacks, transforms
from fmb.files.captures.assembly import Capture, Listing, Planned, planned, whole
from fmb.files.door import naming

__all__ = [
    "AUTO",
    "SOURCES",
    "Capture",
    "Source",
    "is_capture",
    "plan_capture",
    "read_capture",
    "read_masks",
    "read_whole",
]
AUTO = "auto"


class Source(NamedTuple):
    """A format: how its folders are told from others, what lists their views, and what a folder must hold."""

    recognise: Callable[[Path], bool]
    read: Callable[[Path], Listing]
    needs: str


# the first that recognises a folder reads it
SOURCES: dict[str, Source] = {
    "plain": Source(plain.recognise, plain.read, "cameras.json as this program writes it"),
    "transforms": Source(transforms.recognise, transforms.read, "transforms.json or transforms_train.json"),
    "colmap": Source(colmap.recognise, colmap.read, "cameras and images, .bin or .txt, in sparse/0"),
    "co3d": Source(co3d.recognise, co3d.read, "frame_annotations.jgz, and the folder of a sequence"),
    "idr": Source(idr.recognise, idr.read, "cameras_sphere.npz with world_mat_0 ..., and mask/"),
    "krt": Source(krt.recognise, krt.read, "cameras.json or cameras.npz with K, R, t, and masks/"),
    "npz": Source(stacks.recognise, stacks.read, "one .npz of masks, poses, K"),
    "llff": Source(llff.recognise, llff.read, "poses_bounds.npy"),
    "ners": Source(ners.recognise, ners.read, "annotations.json or metadata.json"),
    "projections": Source(projections.recognise, projections.read, "NAME_par.txt or *.P, and masks/"),
}


def read_capture(
    folder: str | Path, format: str = AUTO, longest_side: int = 0, needed: Collection[str] = ()
) -> Capture:
    """The data set in a folder, each image reduced to at most `longest_side` pixels (0: as it is).

    `format` is a name in SOURCES, or "auto" for the first whose files are there.  What is `needed` of "depth" and
    "points" must be readable where the data set names it; else it is left out with a notice.
    Raises ValueError, one line that names the file, for what is missing, broken, unsafe or makes no views.
    """
    return read_whole(plan_capture(folder, format, longest_side, needed))


def plan_capture(
    folder: str | Path, format: str = AUTO, longest_side: int = 0, needed: Collection[str] = ()
) -> Planned:
    """The data set in a folder before its pixels are read; see `read_capture`."""
    folder = Path(folder)
    if longest_side < 0:
        raise ValueError(f"longest side {longest_side}: must be 0 or more")
    if format != AUTO and format not in SOURCES:
        raise ValueError(f"format {format!r} is not known, allowed are {', '.join((AUTO, *SOURCES))}")
    _check_folder(folder)
    with reading(folder):
        kind, notice = (format, "") if format != AUTO else _recognised(folder)
        found = planned(folder, kind, SOURCES[kind].read(folder), longest_side, needed)
    return found._replace(remark=notice)


def read_whole(found: Planned) -> Capture:
    """All views of a data set that was planned.  Raises ValueError as `read_capture` does."""
    with reading(found.folder):
        return whole(found)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Numbers too large to reckon with come out as not finite and are refused; files that fail are named."""
    with np.errstate(all="ignore"), naming(folder):
        yield


def is_capture(folder: Path) -> bool:
    """Whether some format recognises the folder."""
    return any(source.recognise(folder) for source in SOURCES.values())


def read_masks(folder: str | Path, longest_side: int = 0) -> Capture:
    """The masks in a folder, in the order of their names, as `read_capture` reads them; their cameras mean nothing."""
    folder = Path(folder)
    _check_folder(folder)
    with naming(folder):
        return whole(planned(folder, "masks", alone.read(folder), longest_side, ()))


def _check_folder(folder: Path) -> None:
    if not os.path.isdir(folder) and not stacks.recognise(folder):  # unlike Path.is_dir it takes names of any length
        what = "is a file" if os.path.lexists(folder) else "no such folder"
        other = ", or an .npz of masks and cameras" if folder.suffix == ".npz" else ""
        raise ValueError(f"{folder}: {what}; expected the folder of a data set{other}")


def _recognised(folder: Path) -> tuple[str, str]:
    if folder.is_file():
        return "npz", ""
    kinds = [name for name, source in SOURCES.items() if source.recognise(folder)]
    if not kinds and (folder / plain.FILE).is_file():
        kinds = ["plain"]  # which says what is wrong with it
    if not kinds:
        needs = "; ".join(f"{name}: {source.needs}" for name, source in SOURCES.items())
        raise ValueError(f"{folder}: no data set that is known. Expected one of: {needs}")
    others = ", ".join(kinds[1:])
    return kinds[0], f"read as {kinds[0]}; its files would also do for the format {others}" if others else ""
