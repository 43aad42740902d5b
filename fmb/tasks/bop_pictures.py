"""What was found in a scene in BOP's format: masks and depths around each object against the model in its pose."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.looks import look, surface_depth
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Images, foreground
from fmb.pictures import draw
from fmb.pictures.pose import LEGEND
from fmb.pictures.sheets import depth_scale, depth_sheet, overlay_sheet

MOST_SHOWN = 12  # objects in the pictures, the first ones
PANELS = ("seen", "model", "difference")
SIDE, ROOM = 96, 1.5  # pixels of a picture's side; its width in the picture in widths of the object


class Found(NamedTuple):
    """An object in an image: what was seen, in scales of the object, and its pose in the camera, canonical."""

    name: str
    mixture: Mixture
    intrinsics: Float[np.ndarray, "3 3"]
    seen: Images
    camera_from_object: Float[np.ndarray, "4 4"]


def draw_found(folder: Path, found: Sequence[Found]) -> None:
    """Two sheets, of masks and, where there are any, of depths, a tile an object."""
    pairs = [compared(one) for one in found]
    # alphas and depths; none has colours
    seen, drawn = (
        Images(*map(np.concatenate, zip(*(image[:2] for image in images), strict=True)))
        for images in zip(*pairs, strict=True)
    )
    masks = overlay_sheet(seen.alpha, drawn.alpha)
    labels = [f"{one.name}, IoU {label.split()[-1]}" for one, label in zip(found, masks.labels, strict=True)]
    note = f"{len(found)} objects; what is rendered and not seen may be hidden by something else"
    masks = masks._replace(title="Visible mask and model in its pose", note=note, labels=labels, legend=LEGEND)
    sheets = {"bop_masks": masks}
    if np.isfinite(seen.depth).any():
        scale = depth_scale([seen.depth, drawn.depth], "object scales")
        depths = depth_sheet(seen.depth, drawn.depth, scale, "object scales")
        sheets["bop_depths"] = depths._replace(
            title="Depth seen and rendered", labels=[short(one.name) for one in found], panels=PANELS
        )
    draw.draw_sheets(folder, sheets)


def short(name: str) -> str:
    """The name in BOP's own short words, so that it ends before the title of the second panel."""
    return name.replace("image", "im").replace("object", "obj")


def compared(found: Found) -> tuple[Images, Images]:
    """The image around the object, and the model in its pose as the camera would see it there."""
    seen, lens = cropped(found.seen, found.intrinsics)
    cameras = Cameras(np.linalg.inv(found.camera_from_object)[None], lens[None])
    alpha = np.asarray(look(found.mixture, cameras, (SIDE, SIDE)).alpha)
    depth = np.where(foreground(alpha), surface_depth(found.mixture, cameras, (SIDE, SIDE)), np.nan)
    return seen, Images(alpha, depth)


def cropped(seen: Images, intrinsics: Float[np.ndarray, "3 3"]) -> tuple[Images, Float[np.ndarray, "3 3"]]:
    """The square around the mask of one view, in SIDE pixels along each side by the nearest one, and its intrinsics."""
    _, row, column = np.nonzero(foreground(seen.alpha))
    middle = np.array([column.min() + column.max() + 1.0, row.min() + row.max() + 1.0]) / 2.0
    width = ROOM * max(np.ptp(column), np.ptp(row), 1.0)
    step, corner = width / SIDE, middle - width / 2.0
    place = np.floor(corner[:, None] + step * (np.arange(SIDE) + 0.5)[None]).astype(int)
    inside = [(index >= 0) & (index < size) for index, size in zip(place, seen.alpha.shape[:0:-1], strict=True)]
    across, down = (np.clip(index, 0, size - 1) for index, size in zip(place, seen.alpha.shape[:0:-1], strict=True))
    there = inside[1][:, None] & inside[0][None]
    alpha = np.where(there, seen.alpha[0][np.ix_(down, across)], 0.0)[None]
    depth = np.where(foreground(alpha[0]), seen.depth[0][np.ix_(down, across)], np.nan)[None]
    lens = np.array(intrinsics, float)
    lens[:2, 2] -= corner
    lens[:2] /= step
    return Images(alpha, depth), lens
