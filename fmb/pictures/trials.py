"""Trials of a search: error against seconds, with the front of those that no other trial beats in both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fmb.machine import DOTS_PER_INCH, write_picture
from fmb.pictures.draw import FAINT, INK, pixels_of, plain_style
from fmb.pictures.sheets import BLUE, ORANGE

LABELS = {
    "cross_entropy": "cross-entropy on unseen views (nats per ray)",
    "iou": "1 - IoU on unseen views",
    "depth_mae": "mean depth error on unseen views (object scales)",
}


def front(error: Float[np.ndarray, " trial"], seconds: Float[np.ndarray, " trial"]) -> Bool[np.ndarray, " trial"]:
    """Which trials no other beats in one value without losing in the other."""
    better = (error[:, None] <= error[None]) & (seconds[:, None] <= seconds[None])
    strictly = better & ((error[:, None] < error[None]) | (seconds[:, None] < seconds[None]))
    return ~strictly.any(axis=0)


@plain_style
def draw_trials(path: Path, rows: Sequence[Mapping[str, Any]], error_name: str) -> Path:
    """Every trial that did not fail, by its number, and the front."""
    from matplotlib.figure import Figure

    good = [row for row in rows if np.isfinite(row["error"])]
    error, seconds = (np.array([row[name] for row in good], float) for name in ("error", "seconds"))
    figure = Figure(figsize=(7.6, 5.2), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0.12, 0.11, 0.84, 0.74))
    figure.text(0.032, 0.94, "Trials of the search", size=12, weight="bold", color=INK)
    note = f"{len(good)} trials, {len(rows) - len(good)} failed; orange: no other is both better and faster"
    figure.text(0.032, 0.895, note, size=8, color=FAINT)
    axes.scatter(seconds, error, s=28, color=BLUE, label="trial", zorder=3)
    if len(good):
        chosen = np.flatnonzero(front(error, seconds))
        order = chosen[np.argsort(seconds[chosen])]
        axes.step(seconds[order], error[order], where="post", color=ORANGE, linewidth=1.4, zorder=2)
        axes.scatter(seconds[order], error[order], s=44, color=ORANGE, label="front", zorder=4)
        for number in order:
            axes.annotate(
                str(good[number]["trial"]), (seconds[number], error[number]), (5, 5), textcoords="offset points", size=7
            )
    axes.set_xlabel("seconds of a fit", size=9, color=INK)
    axes.set_ylabel(LABELS[error_name], size=9, color=INK)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    return write_picture(path, pixels_of(figure))
