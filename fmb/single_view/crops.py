"""The square around an object that the encoder sees, and the camera of that square."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from fmb.geometry.images import foreground

MARGIN = 1.1  # sides of the square over the longer side of the object's box


class Square(NamedTuple):
    """A square in image coordinates, in pixels; it may reach out of the image."""

    left: float
    top: float
    side: float


def square_around(silhouette: Float[np.ndarray, "height width"], margin: float = MARGIN) -> Square:
    """The square around what the silhouette shows. Raises ValueError where it shows nothing."""
    rows, columns = (np.flatnonzero(foreground(silhouette).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("shows no object; its silhouette must have a pixel of one half or more")
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1.0
    side = margin * float(np.max(high - low))
    left, top = (low + high - side) / 2.0
    return Square(float(left), float(top), side)


def cropped(
    pixels: Shaped[np.ndarray, "height width *channel"], square: Square, size: int, nearest: bool = False
) -> Shaped[np.ndarray, "size size *channel"]:
    """The square as size x size pixels, the mean of what each covers, or the nearest; 0 out of the image."""
    room = int(np.ceil(max(-square.left, -square.top, square.left + square.side - pixels.shape[1], 0.0)))
    room = max(room, int(np.ceil(max(0.0, square.top + square.side - pixels.shape[0]))))
    padded = np.pad(pixels, [(room, room)] * 2 + [(0, 0)] * (pixels.ndim - 2))
    corner = square.left + room, square.top + room
    box = (*corner, *(x + square.side for x in corner))
    way = Image.Resampling.NEAREST if nearest else Image.Resampling.BOX
    channels = padded.reshape(*padded.shape[:2], -1).astype(np.float32)
    parts = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channels[..., number])).resize((size, size), way, box))
        for number in range(channels.shape[2])
    ]
    return np.stack(parts, axis=-1).reshape(size, size, *pixels.shape[2:]).astype(pixels.dtype)


def cropped_within(
    color: Float[np.ndarray, "height width 3"], weight: Float[np.ndarray, "height width"], square: Square, size: int
) -> Float[np.ndarray, "size size 3"]:
    """The square of an image, each pixel the mean of the colours it covers, weighted: of the object alone by its mask.

    0 where nothing has weight.  The plain mean would mix what lies around the object into its rim.
    """
    share = cropped(weight, square, size)[..., None]
    return np.where(
        share > 0.0, cropped(color * weight[..., None], square, size) / np.where(share > 0.0, share, 1.0), 0.0
    )


def cropped_intrinsics(intrinsics: Float[np.ndarray, "3 3"], square: Square, size: int) -> Float[np.ndarray, "3 3"]:
    """The same camera for the square as size x size pixels."""
    scale = size / square.side
    shift = np.array([[1.0, 0.0, -square.left], [0.0, 1.0, -square.top], [0.0, 0.0, 1.0]])
    return np.diag([scale, scale, 1.0]) @ shift @ intrinsics


def fitting_intrinsics(
    pose: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "point 3"], size: int, margin: float = MARGIN
) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of size x size pixels in which the points fill the square as `square_around` puts it.

    Raises ValueError where a point lies beside or behind the camera.
    """
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    if not np.all(seen[:, 2] > 0.0):
        raise ValueError("a camera stands inside the object; it must stand away from it")
    place = seen[:, :2] / seen[:, 2:]
    low, high = place.min(axis=0), place.max(axis=0)
    side = margin * float(np.max(high - low))
    focal, corner = size / side, (low + high - side) / 2.0
    return np.array([[focal, 0.0, -focal * corner[0]], [0.0, focal, -focal * corner[1]], [0.0, 0.0, 1.0]])
