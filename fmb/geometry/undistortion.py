"""Images of a lens as a pinhole would have taken them: where their pixels lie, and their resampling.

The pinhole has the lens' focal lengths and axis.  Its image is as large as what the lens shows needs, but at most
LARGEST times the sides of the image; pixels of it that the lens never saw are not valid.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from fmb.geometry.lenses import Lens, distort, reach

LARGEST = 2.0  # sides of the pinhole's image, in sides of the lens': a fisheye would need more without end
DIRECTIONS, HALVINGS = 512, 30  # towards the border of the image, and of the way there
AT_ONCE = 2**20  # pixels whose places are kept at a time
KEPT = 8  # strips of so many pixels, 17 bytes each: twice as many as images are read beside each other
SAME = 1e-3  # pixels by which a border may lie outside before the image grows


class Canvas(NamedTuple):
    """The pinhole's image: its intrinsics and size, and what belongs to it of the lens' image."""

    intrinsics: Float[np.ndarray, "3 3"]
    size: tuple[int, int]  # width and height
    lens: Lens
    source: Float[np.ndarray, "3 3"]  # intrinsics of the lens' image
    reach: float  # largest distance from the axis that is shown, at depth 1


def canvas(lens: Lens, intrinsics: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> Canvas:
    """The pinhole's image of a lens' image of `size`, (width, height)."""
    radius = reach(lens)
    sides, centre = np.array(size, float), intrinsics[:2, 2]
    lower, upper = np.zeros(2), sides
    if np.all((centre > 0.0) & (centre < sides)):  # else there is no way outwards from it to every border
        border = _border(lens, intrinsics, size, radius)
        middle, room = 0.5 * sides, 0.5 * LARGEST * sides
        lower = np.maximum(np.floor(border.min(axis=0) + SAME), np.floor(middle - room))
        upper = np.minimum(np.ceil(border.max(axis=0) - SAME), np.ceil(middle + room))
        upper = np.maximum(upper, lower + 1.0)
    moved = intrinsics.copy()
    moved[:2, 2] -= lower
    width, height = (upper - lower).astype(int)
    return Canvas(moved, (int(width), int(height)), lens, intrinsics, radius)


def undistorted(
    view: Canvas, pixels: Float[np.ndarray, "height width ..."], nearest: bool = False
) -> Float[np.ndarray, "rows columns ..."]:
    """The pinhole's image, interpolated linearly, or the nearest pixel's for what must not be mixed; 0 where unseen.

    Unseen pixels of a nearest one, of a depth map, are NaN.
    """
    width, height = view.size
    planes = pixels.reshape(*pixels.shape[:2], -1)
    made = np.empty((height, width, planes.shape[2]), pixels.dtype)
    for rows, places, seen in _strips(view, pixels.shape[:2]):
        for plane in range(planes.shape[2]):
            values = ndimage.map_coordinates(planes[..., plane], places, order=0 if nearest else 1, mode="nearest")
            made[rows, :, plane] = np.where(seen, values, np.nan if nearest else 0.0)
    return made.reshape(height, width, *pixels.shape[2:])


def seen_by(view: Canvas, shape: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Which pixels of the pinhole's image the lens' image of `shape`, (height, width), shows."""
    return np.concatenate([seen for _, _, seen in _strips(view, shape)])


def _border(lens: Lens, intrinsics: np.ndarray, size: tuple[int, int], radius: float) -> Float[np.ndarray, "place 2"]:
    # where the pinhole sees the border of the lens' image, found by halving the way out to it
    turn = 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    outwards = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    inner, outer = np.zeros(DIRECTIONS), np.full(DIRECTIONS, radius)
    for _ in range(HALVINGS):
        half = 0.5 * (inner + outer)
        place = _pixels(intrinsics, distort(lens, half[:, None] * outwards))
        inside = np.all((place >= 0.0) & (place <= np.array(size)), axis=-1)
        inner, outer = np.where(inside, half, inner), np.where(inside, outer, half)
    return _pixels(intrinsics, inner[:, None] * outwards)


def _pixels(intrinsics: np.ndarray, plane: np.ndarray) -> np.ndarray:
    return plane @ intrinsics[:2, :2].T + intrinsics[:2, 2]


def _strips(view: Canvas, shape: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    # rows of the pinhole's image, where they lie in the lens' as row and column of pixel centres, and whether they do
    width, height = view.size
    step = max(1, AT_ONCE // width)
    matrices = (tuple(matrix.ravel().tolist()) for matrix in (view.intrinsics, view.source))
    camera = (view.lens, view.reach, *matrices)
    for first in range(0, height, step):
        rows = slice(first, min(first + step, height))
        yield rows, *_strip(camera, (rows.start, rows.stop, width), shape)


@lru_cache(maxsize=KEPT)
def _strip(
    camera: tuple, pixels: tuple[int, int, int], shape: tuple[int, int]
) -> tuple[Float[np.ndarray, "2 rows columns"], Bool[np.ndarray, "rows columns"]]:
    # made once for all images of a view, and for all views of one camera: it takes longer than what is done with it
    lens, radius, pinhole, source = camera
    pinhole, source = (np.array(matrix).reshape(3, 3) for matrix in (pinhole, source))
    first, last, width = pixels
    down, across = np.mgrid[first:last, :width] + 0.5
    plane = _pixels(np.linalg.inv(pinhole), np.stack([across, down], axis=-1))
    near = np.sum(plane**2, axis=-1) < radius**2
    place = _pixels(source, distort(lens, plane))
    seen = near & np.all((place >= 0.0) & (place <= np.array(shape[::-1])), axis=-1)
    places = np.ascontiguousarray(np.where(seen[..., None], place - 0.5, 0.0)[..., ::-1].transpose(2, 0, 1))
    for array in (places, seen):
        array.flags.writeable = False
    return places, seen
