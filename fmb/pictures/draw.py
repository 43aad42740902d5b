"""Writes sheets and curves as PNG files."""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fmb.fit.history import History
from fmb.geometry.images import Images
from fmb.machine import DOTS_PER_INCH, KINDS, SETS, TRAINING, write_picture
from fmb.pictures.sheets import BLUE, ORANGE, SEAM, Scale, Sheet, grid_columns, moving_mean, sheets_after, sheets_before

MARGIN, GAP, BAND, HEAD = 42, 12, 26, 104  # pixels around the sheet, between tiles, for a label, for the title
SIDE = 150  # pixels for one colour bar or legend
INK, FAINT = "#1a1a1a", "#6b6b6b"
FRAME = 208  # grey of the line around a tile, 0 to 255


def draw_before(folder: Path, reference: Images, initial: Images, depth: Scale) -> list[Path]:
    """Draws the first five pictures, of reference and start; they can be drawn while the fit runs."""
    return draw_sheets(folder, sheets_before(reference, initial, depth))


def draw_after(
    folder: Path, reference: Images, final: Images, history: History, depth: Scale, note: str = ""
) -> list[Path]:
    """Draws convergence, masks and depths of the fit; depths have the range of the first five."""
    drawn = draw_sheets(folder, sheets_after(reference, final, depth))
    return [draw_convergence(folder / "06_convergence.png", history, note), *drawn]


def draw_uncertainty(folder: Path, sheet: Sheet) -> Path:
    """Draws the picture of how sure the fit is."""
    return draw_sheet(folder / "11_uncertainty.png", sheet)


def draw_sheets(folder: Path, named: Mapping[str, Sheet]) -> list[Path]:
    """Writes every sheet under its name, in the order of names."""
    return [draw_sheet(folder / f"{name}.png", named[name]) for name in sorted(named)]


def plain_style(function: Callable) -> Callable:
    """The same function, drawing in matplotlib's own style whatever the user's matplotlibrc says (`text.usetex`)."""

    @wraps(function)
    def drawn(*arguments: Any, **more: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            return function(*arguments, **more)

    return drawn


@plain_style
def draw_sheet(path: Path, sheet: Sheet) -> Path:
    """Writes the sheet as PNG.

    Matplotlib draws only words and bars. Tiles are copied over them, which halves the time.
    """
    from matplotlib.figure import Figure

    count, tall, wide = sheet.tiles.shape[:3]
    columns = grid_columns(count, tall, wide)
    rows = math.ceil(count / columns)
    across, down = columns * (wide + GAP) - GAP, rows * (tall + BAND + GAP) - GAP
    sides = len(sheet.scales) + (2 if sheet.legend else 0)
    width, height = max(across + 2 * MARGIN + sides * SIDE, 900), down + HEAD + MARGIN
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    figure.text(MARGIN / width, 1 - 50 / height, sheet.title, size=12, weight="bold", color=INK)
    figure.text(MARGIN / width, 1 - 64 / height, sheet.note, size=8, color=FAINT, va="top", wrap=True)
    corners = [
        (HEAD + BAND + (view // columns) * (tall + BAND + GAP), MARGIN + (view % columns) * (wide + GAP))
        for view in range(count)
    ]
    for view, (top, left) in enumerate(corners):
        for panel, name in enumerate(sheet.panels if view < columns else ("",)):
            words = "   ".join(filter(None, (sheet.labels[view] if panel == 0 else "", name)))
            start = left + panel * (wide + SEAM) // len(sheet.panels)
            figure.text(start / width, 1 - (top - 7) / height, words, size=7, color=FAINT)
    draw_sides(figure, sheet, MARGIN + across, min(down - BAND, 480))
    page = pixels_of(figure)
    for tile, (top, left) in zip(sheet.tiles, corners, strict=True):
        page[top - 1 : top + tall + 1, left - 1 : left + wide + 1] = FRAME
        page[top : top + tall, left : left + wide] = tile
    return write_picture(path, page, sheet.title)


def draw_sides(figure: Any, sheet: Sheet, left: int, tall: int) -> None:
    """Draws colour bars and legend to the right of the tiles, all from the same height."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch

    width, height = figure.get_size_inches() * DOTS_PER_INCH
    for place, scale in enumerate(sheet.scales):
        box = (left + place * SIDE + 36, height - HEAD - BAND - tall, 20, tall)
        axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        colors = ScalarMappable(Normalize(*scale.limits), scale.color_map)
        bar = figure.colorbar(colors, cax=axes, extend=scale.extend, extendfrac=0.03)
        bar.set_label(scale.label, size=8, color=INK)
        bar.ax.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
        bar.outline.set_visible(False)
    if sheet.legend:
        patches = [Patch(facecolor=color, edgecolor="#bbbbbb", label=name) for name, color in sheet.legend.items()]
        corner = ((left + 28) / width, 1 - (HEAD + BAND - 8) / height)
        figure.legend(handles=patches, loc="upper left", bbox_to_anchor=corner, frameon=False, fontsize=8)


@plain_style
def draw_convergence(path: Path, history: History, remark: str = "") -> Path:
    """Loss and learning rate over the steps; the remark comes last in the line under the title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.6), dpi=DOTS_PER_INCH)
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.subplots_adjust(left=0.1, right=0.97, top=0.865, bottom=0.09, hspace=0.1)
    smooth = moving_mean(history.loss)
    note = f"{len(history.step)} steps; training loss {smooth[0]:.4f} at the start, {smooth[-1]:.4f} at the end"
    note = "; ".join(filter(None, (note, remark)))
    figure.text(0.032, 0.94, "Convergence of the fit", size=12, weight="bold", color=INK)
    figure.text(0.032, 0.9, note, size=8, color=FAINT)
    loss.plot(history.step, history.loss, color="#c4c4c4", linewidth=0.6, label=TRAINING[0])
    loss.plot(history.step, smooth, color=BLUE, linewidth=1.6, label=TRAINING[1])
    if history.novel_loss is not None:
        known = np.isfinite(history.novel_loss)
        style = {"color": ORANGE, "marker": "o", "markersize": 3.5, "linewidth": 1.2}
        loss.plot(history.step[known], history.novel_loss[known], **style, label=SETS["novel"])
    scale_up(loss, history.loss)
    loss.set_ylabel(KINDS["cross_entropy"], size=9, color=INK)
    loss.legend(frameon=False, fontsize=8)
    rate.plot(history.step, history.learning_rate, color=INK, linewidth=1.4)
    rate.set_ylabel("learning rate", size=9, color=INK)
    rate.set_xlabel("step", size=9, color=INK)
    rate.set_ylim(0.0, 1.1 * float(np.nanmax(history.learning_rate)))
    rate.margins(x=0.01)
    for axes in (loss, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#ececec", linewidth=0.7)
        axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    figure.align_ylabels()
    return write_picture(path, pixels_of(figure), "Convergence of the fit")


def scale_up(axes: Any, values: np.ndarray) -> None:
    """The axis up becomes logarithmic, with plain numbers, where the values span more than a factor of six.

    Below that, ticks at 1, 2 and 5 could all fall outside.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    known = values[np.isfinite(values)]
    if known.size and known.max() > 6.0 * known.min() > 0.0:
        axes.set_yscale("log")
        few = known.max() < 1000.0 * known.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def pixels_of(figure: Any) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
