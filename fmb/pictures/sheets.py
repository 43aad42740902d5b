"""Sheets: the pictures of a fit as arrays of pixels. `fmb/pictures/draw.py` adds words and writes them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from fmb.geometry.images import Images, foreground, view_ious

SHEET_WIDTH, LARGEST_TILE, SMALLEST_TILE = 1340, 512, 112  # pixels that the tiles of a row share; width of a tile
SEAM = 3  # pixels between the panels of one view
LETTER, BLACK = 15, (26, 26, 26)  # pixels, and the colour, of words in films
NO_DATA = "#e4e4e4"
# Okabe and Ito's palette, which people with any kind of colour vision can tell apart.
BLUE, ORANGE, AGREE, NOTHING = "#0072b2", "#e69f00", "#8c8c8c", "#f4f4f4"


class Scale(NamedTuple):
    """A colour map with its range and label; panels that are compared share one."""

    color_map: str
    limits: tuple[float, float]
    label: str
    extend: str = "neither"  # ends of the range beyond which there are values: neither, min, max or both


OPACITY = Scale("gray", (0.0, 1.0), "opacity")


class Sheet(NamedTuple):
    """A page of tiles, one a view, under a title."""

    title: str
    note: str
    tiles: UInt8[np.ndarray, "view height width 3"]
    labels: Sequence[str]
    scales: Sequence[Scale] = ()
    legend: Mapping[str, str] = {}
    panels: Sequence[str] = ("",)  # names of the panels side by side in a tile


def sheets_before(reference: Images, initial: Images, depth: Scale) -> dict[str, Sheet]:
    """Sheets of what is known before the fit, by name of file; colour and depth only where there are any."""
    made = {
        "03_reference_masks": value_sheet("Reference masks", reference.alpha, OPACITY),
        "04_initial_masks": value_sheet("Masks before the fit", initial.alpha, OPACITY),
    }
    if reference.color is not None:
        made["01_reference_colors"] = color_sheet("Reference colours", reference.color)
    if reference.depth is not None:
        made["02_reference_depths"] = value_sheet("Reference depths", reference.depth, depth)
    if initial.depth is not None:
        made["05_initial_depths"] = value_sheet("Depths before the fit", initial.depth, depth)
    return made


def sheets_after(reference: Images, final: Images, depth: Scale) -> dict[str, Sheet]:
    """Sheets of the result, by name of file; depth only where there is any."""
    made = {
        "07_mask_overlay": overlay_sheet(reference.alpha, final.alpha),
        "08_final_masks": value_sheet("Masks after the fit", final.alpha, OPACITY),
    }
    if final.depth is not None:
        made["10_final_depths"] = value_sheet("Depths after the fit", final.depth, depth)
    return made


def depth_scale(depths: Sequence[Float[np.ndarray, "view height width"] | None], unit: str) -> Scale:
    """One scale for all depths: the range, never empty, of the first that has finite values."""
    known = [depth[np.isfinite(depth)] for depth in depths if depth is not None]
    known = [values for values in known if values.size] or [np.array([0.0, 1.0])]
    low, high = float(known[0].min()), float(known[0].max())
    if high == low:
        low, high = low - (0.01 * abs(low) or 1.0), high + (0.01 * abs(high) or 1.0)
    below, above = min(v.min() for v in known) < low, max(v.max() for v in known) > high
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    return Scale("viridis", (low, high), f"depth ({unit})", extend[below, above])


def sheet_note(values: np.ndarray) -> str:
    """The number of views and their size in words."""
    count, height, width = values.shape[:3]
    return f"{count} view{'s' if count > 1 else ''} of {width} \N{MULTIPLICATION SIGN} {height} pixels"


def color_sheet(title: str, color: Float[np.ndarray, "view height width 3"]) -> Sheet:
    """A sheet of colour pictures."""
    tiles = np.round(255.0 * np.clip(color, 0.0, 1.0)).astype(np.uint8)
    return Sheet(title, sheet_note(color), fit_tiles(tiles), view_labels(len(tiles)))


def value_sheet(title: str, values: Float[np.ndarray, "view height width"], scale: Scale) -> Sheet:
    """A sheet of numbers, in the colours of the scale."""
    note = sheet_note(values) + ("" if np.isfinite(values).any() else "; nothing opaque enough to have a depth")
    return Sheet(title, note, fit_tiles(paint(values, scale)), view_labels(len(values)), (scale,))


def overlay_sheet(
    reference: Float[np.ndarray, "view height width"], final: Float[np.ndarray, "view height width"]
) -> Sheet:
    """A sheet that shows where the masks agree at opacity 1/2, with the intersection over union of each view."""
    seen, drawn = foreground(reference), foreground(final)
    legend = {"in both": AGREE, "missing from the fit": ORANGE, "extra in the fit": BLUE, "in neither": NOTHING}
    names = np.select([seen & drawn, seen, drawn], [0, 1, 2], 3)
    palette = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in legend.values()], np.uint8)
    labels = [f"{view}   {value:.3f}" for view, value in enumerate(view_ious(final, reference))]
    # no mean of the views: the IoU that a run tells is that of all pixels together, which is another number
    note = f"{sheet_note(reference)}; above each its number and intersection over union (IoU)"
    return Sheet("Reference masks against the fit", note, fit_tiles(palette[names]), labels, (), legend)


def depth_sheet(
    reference: Float[np.ndarray, "view height width"],
    final: Float[np.ndarray, "view height width"],
    scale: Scale,
    unit: str,
    what: str = "the fit",
) -> Sheet:
    """A sheet with reference, `what` and their difference side by side for each view."""
    difference = final - reference
    size = np.abs(difference[np.isfinite(difference)])
    mean = f"mean size {size.mean():.3g} {unit}" if size.size else "no pixel in common"
    # the largest hundredth, at the edges of silhouettes, would make all others pale
    limit = max(float(np.percentile(size, 99)) if size.size else 0.0, 1e-3 * (scale.limits[1] - scale.limits[0]))
    signed = Scale("RdBu_r", (-limit, limit), f"{what.removeprefix('the ')} minus reference ({unit})", "both")
    panels = [fit_tiles(paint(v, s), 3) for v, s in ((reference, scale), (final, scale), (difference, signed))]
    seam = np.full((*panels[0].shape[:2], SEAM, 3), 255, np.uint8)
    tiles = np.concatenate([panels[0], seam, panels[1], seam, panels[2]], axis=2)
    note = f"{sheet_note(reference)}; difference where both see the object: {mean}"
    names = ("reference", what.removeprefix("the "), "difference")
    return Sheet(f"Reference depths against {what}", note, tiles, view_labels(len(tiles)), (scale, signed), {}, names)


def view_labels(count: int) -> list[str]:
    """The number of each view."""
    return [str(view) for view in range(count)]


def paint(values: Float[np.ndarray, "*shape"], scale: Scale) -> UInt8[np.ndarray, "*shape 3"]:
    """The values in the scale's colours; NaN becomes a light grey."""
    from matplotlib import colormaps

    low, high = scale.limits
    colors = colormaps[scale.color_map].with_extremes(bad=NO_DATA)
    return colors(np.ma.masked_invalid((values - low) / (high - low)), bytes=True)[..., :3]


def grid_columns(count: int, height: int, width: int) -> int:
    """Number of columns for which a sheet is about 1.5 times as wide as high and few places stay empty."""

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        empty = rows * columns - count
        return abs(math.log(columns * width / (rows * height) / 1.5)) + 2.0 * empty / count

    return min(range(1, count + 1), key=badness)


def fit_tiles(
    tiles: UInt8[np.ndarray, "view height width 3"], panels: int = 1
) -> UInt8[np.ndarray, "view tall wide 3"]:
    """The tiles enlarged or thinned by a whole factor, which keeps pixels crisp, so that a row fills the sheet.

    Each view has `panels` tiles side by side.
    """
    count, height, width = tiles.shape[:3]
    columns = panels * grid_columns(count, height, panels * width)
    room = min(SHEET_WIDTH / columns, LARGEST_TILE) / width
    factor = max(min(room, LARGEST_TILE / height), SMALLEST_TILE / width)
    if factor < 1.0:
        step = math.ceil(1.0 / factor)
        return tiles[:, ::step, ::step]
    # rounded up where the least width decides: labels need room
    whole = max(int(factor), math.ceil(SMALLEST_TILE / width))
    return tiles.repeat(whole, axis=1).repeat(whole, axis=2)


def moving_mean(values: Float[np.ndarray, " step"]) -> Float[np.ndarray, " step"]:
    """Running mean over a fiftieth of all values, over fewer near the ends."""
    count = len(values)
    total = np.concatenate([np.zeros(1), np.cumsum(values, dtype=np.float64)])
    start = np.maximum(np.arange(count) - count // 100, 0)
    end = np.minimum(np.arange(count) + count // 100 + 1, count)
    return (total[end] - total[start]) / (end - start)


def lettered(page: np.ndarray, text: str, corner: tuple[int, int]) -> np.ndarray:
    """The page with the text on it, its corner at (left, top)."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(page)
    ImageDraw.Draw(picture).text(corner, text, BLACK, font=ImageFont.load_default(LETTER))
    return np.asarray(picture)
