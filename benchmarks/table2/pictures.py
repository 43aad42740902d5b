"""Pictures of table 2: errors model by model (Fig. 5), sensitivity to fidelity (Fig. 4), the sensor's noise."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import Rows, chosen, methods_of
from benchmarks.table2.methods import METHODS, START
from benchmarks.table2.report import NOISES, models_of, summary
from benchmarks.table2.runs import SUCCESS
from fmb import machine
from fmb.pictures import draw
from fmb.pictures.pose import joined
from fmb.pictures.sheets import OPACITY, Scale, Sheet, depth_scale, fit_tiles, paint
from fmb.pose.simulation import SENSOR_NOISES, Exposure, simulate_sensor

# Okabe and Ito's, and two more
COLORS = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#56b4e9", "#cc79a7", "#8c8c8c", "#6f4e37", "#b8b000")
RIM = 6  # pixels around the object in the picture of the sensor's noise
FLOOR = 1e-2  # errors below are drawn there: ICP on clean data reaches the last digit


def draw_models(path: Path, rows: Rows) -> Path:
    """Errors of every trial by model and method; diamonds: means of a model, dashed lines: of a method (Fig. 5)."""
    from matplotlib.figure import Figure

    methods, models = [name for name in methods_of(rows, METHODS) if name != START], models_of(rows)
    noises = [noise for noise in NOISES if chosen(rows, noise=noise)]
    figure = Figure(figsize=(max(9.0, 2.4 + 1.5 * len(models)), 1.0 + 3.5 * len(noises)), dpi=machine.DOTS_PER_INCH)
    panels = figure.subplots(len(noises), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    width = 0.8 / len(methods)
    for axes, noise in zip(panels, noises, strict=True):
        for place, (method, color) in enumerate(zip(methods, cycle(COLORS), strict=False)):
            axes.axhline(
                max(summary(chosen(rows, method=method, noise=noise)).mean, FLOOR), color=color, ls="--", lw=0.9
            )
            for column, model in enumerate(models):
                part = chosen(rows, method=method, noise=noise, model=model)
                error = np.maximum([row["error"] for row in part], FLOOR)
                middle = column + (place - (len(methods) - 1) / 2) * width
                aside = middle + 0.6 * width * (np.linspace(0, 1, len(error)) - 0.5)
                axes.plot(aside, error, "o", color=color, ms=2.8, alpha=0.7, mew=0, label=None if column else method)
                axes.plot([middle], [max(error.mean(), FLOOR)], "D", color="black", ms=3.2)
        for column in range(1, len(models)):
            axes.axvline(column - 0.5, color="#e2e2e2", linewidth=0.8, zorder=0)
        axes.axhspan(SUCCESS, 200.0, color="#f4f4f4", zorder=0)
        axes.text(-0.48, 60.0, f"failed: above {SUCCESS:g}", size=7, color=draw.FAINT)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0.8 * FLOOR, 100.0)
        axes.set_ylabel(f"error, {noise}\n(geometric mean of degrees and %)", size=8, color=draw.INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, color=draw.FAINT, labelcolor=draw.INK)
    panels[-1].set_xticks(range(len(models)), models)
    panels[-1].set_xlim(-0.5, len(models) - 0.5)
    style = {"frameon": False, "fontsize": 7.5, "ncol": min(len(methods), 4), "markerscale": 2.5}
    panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **style)
    figure.align_ylabels()
    figure.tight_layout()
    return machine.write_picture(path, draw.pixels_of(figure))


def draw_fidelity(path: Path, curves: Mapping[str, Sequence[tuple[float, Rows]]]) -> Path:
    """Error of registrations that begin at the truth, against the numbers that describe the object (Fig. 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 4.8), dpi=machine.DOTS_PER_INCH)
    axes = figure.subplots()
    for (name, points), color in zip(curves.items(), cycle(COLORS), strict=False):
        found = [(numbers, summary(rows)) for numbers, rows in points]
        axes.plot(
            [numbers for numbers, _ in found],
            [max(part.mean, FLOOR) for _, part in found],
            color=color,
            marker="o",
            ms=4,
            lw=1.6,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_xlabel("numbers that describe the object", size=8, color=draw.INK)
    axes.set_ylabel("error from a perfect start (geometric mean of degrees and %)", size=8, color=draw.INK)
    plain(axes)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return machine.write_picture(path, draw.pixels_of(figure))


def draw_sensor(path: Path, exposure: Exposure, strength: float = 1.0, seed: int = 0) -> Path:
    """One image clean, with each kind of the sensor's noise alone, and with all: depth, its error, mask."""
    kinds = {"clean": lambda clean, generator: clean}
    kinds |= {
        name: lambda clean, generator, kind=kind: kind(clean, generator, strength)
        for name, kind in SENSOR_NOISES.items()
    }
    kinds["all of them"] = lambda clean, generator: simulate_sensor(clean, generator, strength)
    found = {name: kind(exposure, np.random.default_rng(seed)) for name, kind in kinds.items()}
    depth = depth_scale([exposure.depth[None]], "scales")
    limit = float(np.nanpercentile(np.abs(found["all of them"].depth - exposure.depth), 98))
    error = Scale("RdBu_r", (-limit, limit), "measured minus true (scales)", "both")
    rows, columns = (slice(max(index.min() - RIM, 0), index.max() + RIM) for index in np.nonzero(exposure.silhouette))

    def panel(values: np.ndarray, scale: Scale) -> np.ndarray:
        return paint(np.stack(values)[:, rows, columns], scale)

    depths, masks = [one.depth for one in found.values()], [one.silhouette for one in found.values()]
    panels = [panel(depths, depth), panel([one - exposure.depth for one in depths], error), panel(masks, OPACITY)]
    tiles = joined([fit_tiles(part, len(panels)) for part in panels])
    height, width = exposure.depth.shape
    measured = np.isfinite(found["all of them"].depth).sum() / np.isfinite(exposure.depth).sum()
    note = f"{width} x {height} pixels; with all kinds {100 * measured:.0f} % of the object's pixels have a depth"
    names = ("depth", "error", "mask")
    sheet = Sheet("A depth camera's noise", note, tiles, list(found), (depth, error), {}, names)
    return draw.draw_sheet(path, sheet)


def plain(axes: Any) -> None:
    """The usual frame and grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7, which="major")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=draw.FAINT, labelcolor=draw.INK)
