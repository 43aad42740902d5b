"""Masks alone, in the order of their names, numbers by their value: cameras have to be found."""

import re
from pathlib import Path

import numpy as np

from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import MASK_FOLDERS, ignored_of, masks_of, pictures_of
from fmb.files.captures.planes import Shot

UNKNOWN = np.eye(4), np.eye(3)  # pose and intrinsics that nobody may use


def read(folder: Path) -> Listing:
    """All masks, or all photographs where there are no masks. Raises ValueError where there is neither."""
    masks, pictures, ignored = masks_of(folder), pictures_of(folder), ignored_of(folder)
    named = masks.files or pictures.files
    if not named:
        raise ValueError(f"{folder}: no masks; expected images in {', '.join(MASK_FOLDERS[:3])}, or images with alpha")
    shots = [
        Shot(name, *UNKNOWN, mask=masks.of(name), image=pictures.of(name), ignore=ignored.of(name))
        for name in sorted(named, key=by_number)
    ]
    return Listing(tuple(shots))


def by_number(name: str) -> list[tuple[int, str]]:
    """A key that puts 2.png before 10.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
