"""Pictures of real sequences: photograph, mask, result and disagreement of views left out, and a turn around it."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from benchmarks.real.runs import Result, Sequence, overlaps
from fm_render import Mixture, render
from fmb.fields.looks import look, shown
from fmb.geometry.cameras import pixel_rays
from fmb.geometry.views import Views, foreground, select_views
from fmb.pictures import draw
from fmb.pictures.sheets import AGREE, BLUE, NOTHING, OPACITY, ORANGE, Sheet, depth_scale, paint
from fmb.pictures.turntable import Look, common_up, turntable

SHOWN_VIEWS, FRAMES = 3, 6  # rows of views, frames of a turn; a row has as many panels
SIDE = 200  # pixels of a panel
LEGEND = {"in both": AGREE, "missing from the fit": ORANGE, "extra in the fit": BLUE, "in neither": NOTHING}
MARGIN = 0.12  # around the object, in parts of its size
PANELS = ("", "reference mask", "opacity of the fit", "disagreement", "depth", "normals")


def draw_sequence(path: Path, sequence: Sequence, result: Result) -> Path:
    """Best, median and worst of the views left out, and two turntable rows, depth and normals."""
    mixture, views = result.mixture, sequence.shown
    image_size = views.silhouette.shape[1:]
    each = np.array(overlaps(look(mixture, views.cameras, image_size).alpha, views)["each"])
    order = np.argsort(-each)
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN_VIEWS, len(order))).round().astype(int))]
    rows = [view_row(mixture, select_views(views, np.array([view]))) for view in chosen]
    labels = [f"{sequence.shown_names[view]}   IoU {each[view]:.3f}" for view in chosen]
    turn = turntable(mixture, FRAMES, SIDE, Look(up=tuple(common_up(sequence.train.cameras))))
    rows += [side_by_side(turn.normal), side_by_side(turn.depth)]
    labels += ["turntable: normals", "turntable: depth"]
    row = result.row
    note = (
        f"{row['components']} components; {len(views.silhouette)} views left out, IoU {row['iou']:.4f}: "
        "the best, the median and the worst of them"
    )
    return draw.draw_sheet(path, Sheet(sequence.name, note, np.stack(rows), labels, (), LEGEND, PANELS))


def view_row(mixture: Mixture, views: Views) -> UInt8[np.ndarray, "tall wide 3"]:
    """One view in panels, as PANELS says."""
    image_size, mask = views.silhouette.shape[1:], np.asarray(views.silhouette)
    images = look(mixture, views.cameras, image_size)
    depth = shown(images, 1.0).depth
    seen, drawn = foreground(mask[0]), foreground(images.alpha[0])
    palette = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in LEGEND.values()], np.uint8)
    photograph = paint(mask, OPACITY)[0] if views.color is None else as_bytes(np.asarray(views.color[0]))
    panels = [
        photograph,
        paint(mask, OPACITY)[0],
        paint(images.alpha, OPACITY)[0],
        palette[np.select([seen & drawn, seen, drawn], [0, 1, 2], 3)],
        paint(depth, depth_scale([depth], "scales"))[0],
        normals(mixture, views),
    ]
    window = cropped(seen | drawn)
    return side_by_side([squared(panel[window]) for panel in panels])


def cropped(object_pixels: Bool[np.ndarray, "height width"]) -> tuple[slice, slice]:
    """The part of an image that shows an object, with a margin; all of it if there is none."""
    if not object_pixels.any():
        return slice(None), slice(None)
    ends = []
    for axis in (1, 0):
        place = np.flatnonzero(object_pixels.any(axis=axis))
        margin = round(MARGIN * (place[-1] - place[0] + 1)) + 1
        ends.append(slice(max(0, int(place[0]) - margin), int(place[-1]) + 1 + margin))
    return ends[0], ends[1]


def normals(mixture: Mixture, views: Views) -> UInt8[np.ndarray, "height width 3"]:
    """Normals of one view, red to the right, green up, blue towards the camera, before white."""
    cameras = jax.tree.map(lambda array: np.asarray(array, mixture.mean.dtype), views.cameras)
    seen = render(mixture, pixel_rays(cameras, *views.silhouette.shape[1:]), outputs=("alpha", "normal"))
    facing = np.asarray(seen.normal[0]) @ (cameras.world_from_camera[0, :3, :3] * np.array([1.0, -1.0, -1.0]))
    alpha = np.asarray(seen.alpha[0])[..., None]
    return as_bytes((0.5 + 0.5 * facing) * alpha + 1.0 - alpha)


def as_bytes(color: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Colours from 0 to 1 as bytes."""
    return np.round(255.0 * np.clip(color, 0.0, 1.0)).astype(np.uint8)


def squared(panel: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """The picture, SIDE pixels on its longer side by nearest pixels, in the middle of a white square."""
    height, width = panel.shape[:2]
    tall, wide = (max(1, round(SIDE * extent / max(height, width))) for extent in (height, width))
    row, column = (np.arange(new) * old // new for new, old in ((tall, height), (wide, width)))
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, left = (SIDE - tall) // 2, (SIDE - wide) // 2
    square[top : top + tall, left : left + wide] = panel[row][:, column]
    return square


def side_by_side(panels: list | np.ndarray) -> UInt8[np.ndarray, "tall wide 3"]:
    """Pictures in a row, without seams: all rows must be as wide as the names of panels expect."""
    return np.concatenate(list(panels), axis=1)
