"""Pictures and films of a pose: what was seen against what the mixture shows, at the start, on the way and at the end.

Arrays of pixels come out; who calls writes them, sheets with `draw.draw_sheets`, pages with `machine.write_picture`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import binary_erosion, zoom

from fmb.geometry.views import Images, foreground
from fmb.pictures.draw import DOTS_PER_INCH, FAINT, FRAME, INK, MARGIN, pixels_of, plain_style, scale_up
from fmb.pictures.sheets import (
    AGREE,
    BLUE,
    NOTHING,
    OPACITY,
    ORANGE,
    SEAM,
    Scale,
    Sheet,
    depth_scale,
    fit_tiles,
    overlay_sheet,
    paint,
    sheet_note,
)

GREEN, RED = "#009e73", "#d55e00"  # more of Okabe and Ito's palette
LEGEND = {"in both": AGREE, "seen, not rendered": ORANGE, "rendered, not seen": BLUE, "in neither": NOTHING}
FILM_TILE, FILM_GAP, FILM_HEAD, FILM_TRACE = 420, 24, 128, 180  # pixels: width of a tile, between, above, the trace
FILM_BELOW, FILM_LEFT = 92, 78  # pixels: below the tiles, for the legend; left of the trace, for its label
UNSHOWN = "; the last steps, on the model's surface, are not shown"
FEW_STEPS = 60  # of a trace whose steps get dots
DOT = 5  # pixels, radius of the mark on a trace


class PoseCourse(NamedTuple):
    """The course of a descent; errors are None where the truth is not known."""

    loss: Float[np.ndarray, " row"]
    steps: int  # from the first row to the last
    degrees: Float[np.ndarray, " row"] | None = None
    percent: Float[np.ndarray, " row"] | None = None
    ended: bool = False  # whether steps on the model's surface followed, which belong to no trial


class Trace(NamedTuple):
    """One curve below a film, with a value for each frame."""

    name: str
    values: Float[np.ndarray, " frame"]
    color: str = BLUE


class FilmText(NamedTuple):
    """The words of a film: `across` and `up` name what the axes of the traces show."""

    title: str
    note: str
    across: str
    up: str
    last: int | None = None  # where the axis across ends; None: at the number of the last frame


def as_images(depth: np.ndarray | None, silhouette: np.ndarray | None) -> Images:
    """An observation [height, width] as one view; without a mask, the object is where depth was measured."""
    if depth is not None:
        depth = np.where(np.nan_to_num(depth) > 0.0, depth, np.nan)[None]
    alpha = np.isfinite(depth).astype(float) if silhouette is None else np.asarray(silhouette, float)[None]
    return Images(alpha, depth)


def pose_sheets(observed: Images, start: Images, end: Images, unit: str) -> dict[str, Sheet]:
    """Sheets by name of file that compare the image with start and end: masks and, if known, depths."""
    rendered = Images(*(np.concatenate(pair) for pair in zip(start[:2], end[:2], strict=True)))
    seen = Images(*(None if field is None else np.repeat(field, 2, axis=0) for field in observed[:2]))
    masks = overlay_sheet(seen.alpha, rendered.alpha)
    overlap = [label.split()[-1] for label in masks.labels]
    size = sheet_note(observed.alpha)
    note = f"{size}; intersection over union {overlap[0]} at the start, {overlap[1]} at the end"
    labels = ["start", "end"]
    made = {"pose_masks": masks._replace(title="Mask seen and rendered", note=note, labels=labels, legend=LEGEND)}
    if seen.depth is not None:
        shown = np.where(foreground(rendered.alpha), rendered.depth, np.nan)
        depth, difference = depth_scale([seen.depth, shown], unit), shown - seen.depth
        signed = signed_scale(difference[1], depth, unit)
        pairs = ((seen.depth, depth), (shown, depth), (difference, signed))
        tiles = joined([fit_tiles(paint(*pair), len(pairs)) for pair in pairs])
        sizes = [typical(part) for part in difference]
        note = f"{size}; median size of the difference {sizes[0]:.3g} {unit} at the start, {sizes[1]:.3g} at the end"
        names = ("seen", "rendered", "rendered minus seen")
        made["pose_depths"] = Sheet("Depth seen and rendered", note, tiles, labels, (depth, signed), {}, names)
    return made


@plain_style
def convergence_page(course: PoseCourse) -> UInt8[np.ndarray, "tall wide 3"]:
    """Loss over the steps of the descent that won and, where the truth is known, both errors of the pose.

    A descent never takes a step up: where the loss rises a finer stage begins, which counts more pixels.
    """
    from matplotlib.figure import Figure

    rows = 1 if course.degrees is None else 2
    height = 2.2 + 2.0 * rows
    figure = Figure(figsize=(8.4, height), dpi=DOTS_PER_INCH)
    loss, *errors = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.1, right=0.97, top=1.0 - 0.8 / height, bottom=0.55 / height, hspace=0.12)
    begins = 1 + np.flatnonzero(np.diff(course.loss) > 1e-6 * np.abs(course.loss[:-1]))
    stages = f" in {len(begins) + 1} stages, each with a loss of its own" if len(begins) else ""
    words = f"{course.steps} steps{stages}; loss {course.loss[-1]:.4g} at the end{UNSHOWN if course.ended else ''}"
    figure.text(0.032, 1.0 - 0.35 / height, "Descent to the pose", size=12, weight="bold", color=INK)
    figure.text(0.032, 1.0 - 0.6 / height, words, size=8, color=FAINT)
    step = np.linspace(0, course.steps, len(course.loss))
    for part in np.split(np.arange(len(step)), begins):
        draw_traces(loss, step[part], [Trace("loss", course.loss[part], INK)], "loss")
    mark_range(loss, course.loss, course.steps)
    if errors:
        traces = [Trace("rotation (degrees)", course.degrees, BLUE)]
        traces.append(Trace("translation (% of the model's size)", course.percent, ORANGE))
        draw_traces(errors[0], step, traces, "error of the pose")
        mark_range(errors[0], np.concatenate([course.degrees, course.percent]), course.steps)
        errors[0].legend(frameon=False, fontsize=8)
    for axes in (loss, *errors):
        for begin in begins:
            axes.axvline((step[begin - 1] + step[begin]) / 2, color=FAINT, linewidth=0.8, linestyle=":")
    (errors or [loss])[-1].set_xlabel("step", size=9, color=INK)
    figure.align_ylabels()
    return pixels_of(figure)


def film(
    observed: Images, rendered: Images, traces: Sequence[Trace], text: FilmText
) -> UInt8[np.ndarray, "frame tall wide 3"]:
    """Frames that show the image with the outline of what is rendered, where masks agree, and traces up to there.

    `observed` has one view for all frames, or one for each.
    """
    count = len(rendered.alpha)
    fields = (None if field is None else np.broadcast_to(field, (count, *field.shape[1:])) for field in observed[:2])
    seen = Images(*fields)
    factor = max(1, FILM_TILE // seen.alpha.shape[2])
    ground = paint(seen.alpha, OPACITY) if seen.depth is None else paint(seen.depth, depth_scale([seen.depth], ""))
    left, right = (enlarged(tiles, factor) for tiles in (ground, agreement(seen.alpha, rendered.alpha)))
    left[outlines(rendered.alpha, factor)] = rgb(RED)
    tall, wide = left.shape[1:3]
    size = (FILM_HEAD + tall + FILM_BELOW + FILM_TRACE + MARGIN, 2 * MARGIN + 2 * wide + FILM_GAP)
    ahead, done, places = film_pages(size, (tall, wide), traces, text)
    frames = np.repeat(ahead[None], count, axis=0)
    for frame, page in enumerate(frames):
        until = int(places[frame, 0, 1]) + 1
        page[FILM_HEAD + tall + FILM_BELOW :, :until] = done[FILM_HEAD + tall + FILM_BELOW :, :until]
        for trace, place in zip(traces, places[frame], strict=True):
            mark(page, place, rgb(trace.color))
        for tile, start in ((left[frame], MARGIN), (right[frame], MARGIN + wide + FILM_GAP)):
            page[FILM_HEAD - 1 : FILM_HEAD + tall + 1, start - 1 : start + wide + 1] = FRAME
            page[FILM_HEAD : FILM_HEAD + tall, start : start + wide] = tile
    return frames


@plain_style
def film_pages(
    size: tuple[int, int], tile: tuple[int, int], traces: Sequence[Trace], text: FilmText
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The page of a film with pale traces, the same with full ones, and the (row, column) [frame, trace, 2] of each."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    (height, width), (tall, wide) = size, tile
    count = len(traces[0].values)
    last = count - 1 if text.last is None else text.last
    step, pages = np.linspace(0, last, count), []
    for strength in (0.18, 1.0):
        figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
        figure.text(MARGIN / width, 1 - 46 / height, text.title, size=12, weight="bold", color=INK)
        figure.text(MARGIN / width, 1 - 76 / height, text.note, size=8, color=FAINT)
        names = ("seen, and the outline of what is rendered", "masks")
        for place, name in enumerate(names):
            across = (MARGIN + place * (wide + FILM_GAP)) / width
            figure.text(across, 1 - (FILM_HEAD - 8) / height, name, size=7, color=FAINT)
        patches = [Patch(facecolor=color, edgecolor="#bbbbbb", label=name) for name, color in LEGEND.items()]
        corner = (MARGIN / width, 1 - (FILM_HEAD + tall + 10) / height)
        style = {"frameon": False, "fontsize": 7, "ncol": len(patches), "borderpad": 0.0, "handlelength": 1.2}
        figure.legend(handles=patches, loc="upper left", bbox_to_anchor=corner, **style)
        box = (FILM_LEFT + MARGIN, MARGIN + 14, width - 2 * MARGIN - FILM_LEFT, FILM_TRACE - 14)
        axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        draw_traces(axes, step, traces, text.up, strength)
        mark_range(axes, np.concatenate([trace.values for trace in traces]), last)
        axes.set_xlabel(text.across, size=8, color=INK)
        if len(traces) > 1:
            style = {"frameon": False, "fontsize": 7, "ncol": len(traces)}
            lines = axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), **style)
            for line in lines.get_lines():
                line.set_alpha(1.0)
        pages.append(pixels_of(figure))
    # values that are not finite get their mark at the left end of the axis, outside its frame
    ends = [np.column_stack([step, np.nan_to_num(trace.values, nan=0.0)]) for trace in traces]
    places = np.stack([axes.transData.transform(points) for points in ends], axis=1)
    return pages[0], pages[1], np.stack([height - places[..., 1], places[..., 0]], axis=-1)


def draw_traces(axes: Any, step: np.ndarray, traces: Sequence[Trace], up: str, strength: float = 1.0) -> None:
    """Draws the curves, with dots where they are short, and the usual frame and grid."""
    for trace in traces:
        style = {"color": trace.color, "linewidth": 1.6, "alpha": strength, "label": trace.name}
        axes.plot(step, trace.values, marker="." if len(step) < FEW_STEPS else "", markersize=4, **style)
    axes.set_ylabel(up, size=8, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK)


def mark_range(axes: Any, values: np.ndarray, last: int) -> None:
    """Sets limits across, and scales the axis up by the values."""
    scale_up(axes, values)
    axes.set_xlim(0, max(last, 1))


def agreement(
    seen: Float[np.ndarray, "view height width"], drawn: Float[np.ndarray, "view height width"]
) -> UInt8[np.ndarray, "view height width 3"]:
    """The pixels of both masks in the colours of LEGEND."""
    here, there = foreground(seen), foreground(drawn)
    palette = np.stack([rgb(color) for color in LEGEND.values()])
    return palette[np.select([here & there, here, there], [0, 1, 2], 3)]


def signed_scale(difference: np.ndarray, depth: Scale, unit: str) -> Scale:
    """A range about 0 that contains 99 % of the differences and is never empty."""
    size = np.abs(difference[np.isfinite(difference)])
    limit = max(float(np.percentile(size, 99)) if size.size else 0.0, 1e-2 * (depth.limits[1] - depth.limits[0]))
    return Scale("RdBu_r", (-limit, limit), f"rendered minus seen ({unit})", "both")


def typical(values: np.ndarray) -> float:
    """Median absolute value of the finite numbers; NaN if there are none."""
    known = np.abs(values[np.isfinite(values)])
    return float(np.median(known)) if known.size else float("nan")


def outlines(alpha: Float[np.ndarray, "view height width"], factor: int) -> np.ndarray:
    """Pixels on the outline of the opaque part, in images enlarged by the factor with interpolated alpha."""
    fine = np.stack(
        [zoom(image, factor, order=1, mode="nearest", grid_mode=True) for image in np.asarray(alpha, float)]
    )
    inside = foreground(fine)
    return inside & ~binary_erosion(inside, np.ones((1, 3, 3), bool), iterations=max(1, factor // 2))


def mark(page: np.ndarray, place: np.ndarray, color: np.ndarray) -> None:
    """Draws a dot with a white rim into the page."""
    top, left = (max(int(x) - 2 * DOT, 0) for x in place)
    part = page[top : top + 4 * DOT, left : left + 4 * DOT]
    row, column = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    away = np.hypot(row - place[0], column - place[1])
    part[away <= DOT + 2] = 255
    part[away <= DOT] = color


def enlarged(tiles: UInt8[np.ndarray, "view height width 3"], factor: int) -> UInt8[np.ndarray, "view tall wide 3"]:
    """The image with each pixel enlarged to a block of `factor` x `factor`."""
    return tiles.repeat(factor, axis=1).repeat(factor, axis=2)


def joined(panels: Sequence[UInt8[np.ndarray, "view tall wide 3"]]) -> UInt8[np.ndarray, "view tall all 3"]:
    """The panels side by side with white seams between them."""
    seam = np.full((*panels[0].shape[:2], SEAM, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (seam, panel)][1:], axis=2)


def rgb(color: str) -> UInt8[np.ndarray, "3"]:
    """The three bytes of a colour #rrggbb."""
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
