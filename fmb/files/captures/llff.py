"""LLFF: poses_bounds.npy beside images/, a row a view in the order of their names; masks in masks/ or as alpha.

The first 15 numbers of a row are 3 x 5: world from camera with the axes down, right and backwards, the camera's place,
and height, width and focal length of the images as they were for COLMAP; two bounds of the depth follow.
"""

from pathlib import Path

import numpy as np

from fmb.files.cameras import focal_intrinsics, rigid
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import files_in, ignored_of, masks_of
from fmb.files.captures.planes import Shot
from fmb.files.safe import numbers, path_inside, read_npy

FILE = "poses_bounds.npy"
PICTURES = ("images", "images_4", "images_8", "images_2")
NUMBERS = 17  # in a row
OPENCV_FROM_LLFF = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # its columns: right, down, forward


def recognise(folder: Path) -> bool:
    """True where there is the file."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Listing:
    """The views of the file."""
    path = path_inside(folder, FILE, folder)
    rows = read_npy(path)
    if rows.ndim != 2 or rows.shape[1] != NUMBERS or not len(rows):
        raise ValueError(f"{path}: array of shape {rows.shape}; expected (views, {NUMBERS})")
    rows = numbers(rows, rows.shape, str(path))
    pictures = next(filter(None, (files_in(folder, name) for name in PICTURES)), {})
    if len(pictures) != len(rows):
        raise ValueError(f"{path}: {len(rows)} poses, {len(pictures)} images; must be as many")
    masks, ignored, shots = masks_of(folder), ignored_of(folder), []
    for (name, image), row in zip(pictures.items(), rows, strict=True):
        where = f"{path}: view {len(shots)}"
        matrix, (height, width, focal) = row[:15].reshape(3, 5)[:, :4], row[4:15:5]
        if not min(height, width) >= 1.0:
            raise ValueError(f"{where}: image of {width:g} x {height:g} pixels; must be at least 1 x 1")
        turned = np.column_stack([matrix[:, :3] @ OPENCV_FROM_LLFF, matrix[:, 3]])
        intrinsics = focal_intrinsics((focal, focal), (0.5 * width, 0.5 * height), where)
        shot = Shot(name, rigid(turned, where), intrinsics, masks.of(name), image, ignored.of(name))
        shots.append(shot._replace(size=(int(width), int(height))))
    return Listing(tuple(shots))
