"""The picture of cameras around what they see."""

from pathlib import Path
from typing import Any

import numpy as np

import util
from fmb.captures.frusta import Drawing
from fmb.sheets import BLUE, ORANGE

SIDE, HEAD = 6.2, 1.0  # inches: of a panel, of the titles above it
NUMBERED = 40  # views; of more, every second, third, ... has its number, and those that are marked
COVER = 1.5  # edges of a voxel that a dot of the surface takes, so that there are no gaps between them
LEAST_HEIGHT = 0.5  # of a panel, in parts of its width


def draw_frusta(path: Path, drawings: tuple[Drawing, ...], title: str, note: str) -> Path:
    """Panels side by side; marked cameras are orange, the others blue, paler the further away."""
    from matplotlib.figure import Figure

    frames = [extent(drawing) for drawing in drawings]
    tall = SIDE * min(1.0, max(LEAST_HEIGHT, *(half[1] / half[0] for _, half in frames)))
    width, height = SIDE * len(drawings), tall + HEAD
    figure = Figure(figsize=(width, height), dpi=util.DOTS_PER_INCH)
    figure.text(0.3 / width, 1 - 0.34 / height, title, size=12, weight="bold", color=util.INK)
    figure.text(0.3 / width, 1 - 0.58 / height, note, size=8, color=util.FAINT)
    for place, (drawing, (middle, half)) in enumerate(zip(drawings, frames, strict=True)):
        axes = figure.add_axes((place / len(drawings), 0.0, 1.0 / len(drawings), tall / height))
        reach = max(half[0], half[1] * SIDE / tall)
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach * tall / SIDE, middle[1] + reach * tall / SIDE)
        axes.set_axis_off()
        figure.text((place * SIDE + 0.3) / width, tall / height, drawing.title, size=8, color=util.INK)
        draw_panel(axes, drawing, reach)
    return util.write_picture(path, util.pixels_of(figure))


def extent(drawing: Drawing) -> tuple[np.ndarray, np.ndarray]:
    """Middle of all that is drawn and half of its sides, with room for numbers."""
    everything = np.concatenate([drawing.apex, drawing.corner.reshape(-1, 2), drawing.points])
    low, high = everything.min(0), everything.max(0)
    half = 0.5 * (high - low)
    return 0.5 * (low + high), 1.02 * half + 0.07 * max(half.max(), 1e-9)


def draw_panel(axes: Any, drawing: Drawing, reach: float) -> None:
    """One drawing into axes `reach` wide on either side of the middle."""
    from matplotlib.collections import LineCollection, PolyCollection

    dot = (COVER * drawing.dot / (2.0 * reach) * SIDE * 72.0) ** 2
    axes.scatter(*drawing.points.T, c=drawing.shade, cmap="gray", vmin=0.0, vmax=1.05, s=dot, linewidths=0, zorder=2)
    numbered = -(-len(drawing.order) // NUMBERED)
    for place, view in enumerate(drawing.order):
        apex, corner = drawing.apex[view], drawing.corner[view]
        color = ORANGE if drawing.marked[view] else BLUE
        opacity = 1.0 if drawing.marked[view] else 0.35 + 0.6 * drawing.nearness[view]
        # what stands before the middle is drawn over the surface
        layer = 1 if place < len(drawing.order) // 2 else 3
        sides = [np.stack([apex, end]) for end in corner]
        # a roof on the upper edge tells which way the image stands
        roof = np.stack([corner[0], 0.5 * (corner[0] + corner[1]) + 0.25 * (corner[0] - corner[3]), corner[1]])
        axes.add_collection(LineCollection(sides, colors=color, alpha=opacity, linewidths=0.7, zorder=layer))
        axes.add_collection(PolyCollection([corner], facecolors=color, alpha=0.13 * opacity, zorder=layer))
        axes.add_collection(PolyCollection([corner], facecolors="none", edgecolors=color, alpha=opacity, zorder=layer))
        axes.add_collection(PolyCollection([roof], facecolors=color, alpha=0.8 * opacity, linewidths=0, zorder=layer))
        if view % numbered == 0 or drawing.marked[view]:
            away = apex - corner.mean(0)
            text = apex + 0.035 * reach * away / max(np.linalg.norm(away), 1e-9)
            ink = ORANGE if drawing.marked[view] else util.INK
            axes.text(*text, str(view), color=ink, size=7, ha="center", va="center", zorder=4)
