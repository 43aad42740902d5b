"""Pictures of table 3: bars, curves, reconstructions side by side, the worst models, the kinds of noise."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import Rows, chosen, methods_of
from benchmarks.table3.curves import CURVES, Point
from benchmarks.table3.methods import METHODS, OURS, Settings
from benchmarks.table3.report import DAMAGED, PAPER, WORST, order_of_merit, spread
from benchmarks.table3.runs import CLEAN, KEPT_VIEWS
from fmb import machine
from fmb.geometry.cameras import Cameras
from fmb.geometry.noise import NOISES
from fmb.geometry.views import Views, foreground, select_views
from fmb.pictures import draw
from fmb.pictures.sheets import BLUE, OPACITY, ORANGE, SEAM, Sheet, depth_scale, fit_tiles, overlay_sheet, paint

NOISE_VIEWS = 4  # in the picture of the kinds of noise
CAMERA_SHOWN = 5.0  # there; degrees, and percent of the scale
THIN = {"color": draw.INK, "markersize": 3.5, "linewidth": 1.2}
PANEL = 180  # least pixels on the side of a reconstruction


def draw_bars(path: Path, rows: Rows) -> Path:
    """Cross-entropy of every method beside the paper's, on a logarithmic axis, with deviations over models."""
    from matplotlib.figure import Figure

    methods = methods_of(rows, METHODS)
    names = [*methods, *PAPER]
    figure = Figure(figsize=(9, 1.6 + 0.5 * len(names)), dpi=machine.DOTS_PER_INCH)
    axes = figure.subplots()
    for offset, noise, color in ((-0.2, CLEAN, BLUE), (0.2, DAMAGED, ORANGE)):
        found = [spread(chosen(rows, method=name, noise=noise), "cross_entropy") for name in methods]
        pairs = [(value.mean, value.over_models) for value in found]
        pairs += [(getattr(row, noise)[0], getattr(row, noise)[1] or 0.0) for row in PAPER.values()]
        for place, (mean, deviation) in enumerate(pairs):
            if not np.isfinite(mean):
                continue
            fade = 1.0 if place < len(methods) else 0.45
            # a bar to below zero has no place on a logarithmic axis
            low = min(deviation, 0.9 * mean)
            style = {"ecolor": draw.FAINT, "capsize": 2, "error_kw": {"linewidth": 0.8}}
            axes.barh(place + offset, mean, 0.38, color=color, alpha=fade, xerr=[[low], [deviation]], **style)
            words = {"size": 7, "color": draw.INK, "va": "center"}
            axes.text((mean + deviation) * 1.06, place + offset, f"{mean:.3f}", **words)
        axes.barh(np.nan, np.nan, color=color, label=noise)
    axes.set_yticks(range(len(names)), names, size=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("cross-entropy on unseen views (nats per pixel), ± standard deviation over models", size=8)
    _plain(axes)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.tight_layout()
    return machine.write_picture(path, draw.pixels_of(figure))


def draw_curves(path: Path, curves: Mapping[str, Sequence[Point]], settings: Settings) -> Path:
    """Error against each quantity, models faint, their mean strong; below, the seconds of a fit there.

    A dotted line marks the setting that the other curves have.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * max(len(curves), 2), 5.4), dpi=machine.DOTS_PER_INCH)
    grid = figure.subplots(2, len(curves), sharey="row", squeeze=False, height_ratios=(2, 1))
    for (upper, lower), (name, points) in zip(grid.T, curves.items(), strict=True):
        for noise, color in ((CLEAN, BLUE), (DAMAGED, ORANGE)):
            _draw_errors(upper, points, noise, color)
        places = [point.place for point in points]
        panels = [upper, lower]
        if name == "seconds":
            panels = [upper]  # seconds against seconds would say nothing
            lower.set_axis_off()
            words = "strong: mean over models\nfaint: each model\ndotted: as in the table"
            lower.text(0.05, 0.9, words, transform=lower.transAxes, size=8, color=draw.FAINT, va="top", linespacing=1.6)
        else:
            lower.plot(places, [point.mean("seconds") for point in points], "o-", **THIN)
        usual = [point.place for point in points if point.value == getattr(settings, CURVES[name][0])]
        for axes in panels:
            _logarithmic(axes, None if name == "seconds" else places)
            for place in usual:
                axes.axvline(place, color=draw.FAINT, linewidth=0.8, linestyle=":", zorder=0)
        panels[-1].set_xlabel(name, size=9, color=draw.INK)
    grid[0, 0].set_ylabel("cross-entropy (nats per pixel)", size=9, color=draw.INK)
    grid[1, 0].set_ylabel("a fit (seconds)", size=9, color=draw.INK)
    grid[0, 0].legend(frameon=False, fontsize=8)
    figure.align_ylabels()
    figure.tight_layout()
    return machine.write_picture(path, draw.pixels_of(figure))


def draw_reconstructions(path: Path, folder: Path, rows: Rows, noise: str) -> Path:
    """One unseen view of each model: reference, then every method, all by depth (Figs. 6 and 8).

    With noise, a training mask comes first.
    """
    methods, tiles, labels = methods_of(rows, METHODS), [], []
    for model in order_of_merit(rows, methods[0], noise):
        kept = [_kept(folder, chosen(rows, method=name, noise=noise, model=model)) for name in methods]
        scale = depth_scale([kept[0]["reference"]], "scales")
        panels = [kept[0]["reference"][:1], *(_depth(entry)[:1] for entry in kept)]
        panels = [paint(panel, scale) for panel in panels]
        if noise != CLEAN:
            panels.insert(0, paint(_as_large(kept[0]["train"][:1], panels[0].shape[1]), OPACITY))
        tiles.append(_row([_whole(panel)[0] for panel in panels]))
        labels.append(model)
    names = ["reference", *methods] if noise == CLEAN else ["mask", "reference", *methods]
    title = "Reconstructions from clean silhouettes" if noise == CLEAN else f"Reconstructions from {noise} silhouettes"
    note = "one unseen view of each model, best first, by depth" + ("" if noise == CLEAN else "; one training mask")
    return draw.draw_sheet(path, Sheet(title, note, np.stack(tiles), labels, (), {}, names))


def draw_worst(path: Path, folder: Path, rows: Rows) -> Path:
    """Unseen masks of the worst models against the fit."""
    worst = order_of_merit(rows, OURS)[::-1][:WORST]
    kept = [_kept(folder, chosen(rows, method=OURS, noise=CLEAN, model=model)) for model in worst]
    reference = np.concatenate([np.isfinite(entry["reference"]).astype(float) for entry in kept])
    sheet = overlay_sheet(reference, np.concatenate([entry["alpha"] for entry in kept]).astype(float))
    labels = [f"{worst[i // KEPT_VIEWS]}  {label.split()[-1]}" for i, label in enumerate(sheet.labels)]
    note = f"{KEPT_VIEWS} unseen views of each, IoU of the view"
    return draw.draw_sheet(path, sheet._replace(title="The worst models", note=note, labels=labels))


def draw_noises(path: Path, views: Views, seen_from: Callable[[Cameras], np.ndarray], seed: int = 0) -> Path:
    """The same views clean and with every kind of noise, at the strength that it has by default.

    Noise of the cameras does not show in masks: its row is what the cameras would have seen from where they are said to
    be, `seen_from(cameras)`, at CAMERA_SHOWN degrees and percent.
    """
    views = select_views(views, slice(NOISE_VIEWS))
    tiles, labels = [_row(_enlarged(np.asarray(views.silhouette)))], ["clean"]
    for name, noise in NOISES.items():
        generator = np.random.default_rng(seed)
        if name == "camera":
            silhouette = seen_from(noise(views, generator, CAMERA_SHOWN).cameras)
            name += f": as seen from where it is said to be, {CAMERA_SHOWN:g} degrees and {CAMERA_SHOWN:g} % off"
        else:
            silhouette = np.asarray(noise(views, generator).silhouette)
        tiles.append(_row(_enlarged(silhouette)))
        labels.append(name)
    note = f"the same {NOISE_VIEWS} views each time; damage and over-segmentation meet half of them"
    return draw.draw_sheet(path, Sheet("Noise of silhouettes", note, np.stack(tiles), labels, (OPACITY,)))


def _kept(folder: Path, rows: Rows) -> dict[str, np.ndarray]:
    """Pictures of the first seed."""
    first = min(rows, key=lambda row: row["seed"])
    with np.load(folder / f"{first['key']}.npz") as arrays:
        return dict(arrays)


def _depth(entry: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.where(foreground(entry["alpha"]), entry["depth"], np.nan)


def _as_large(image: np.ndarray, size: int) -> np.ndarray:
    """The image, by its nearest pixels, at another size."""
    index = np.arange(size) * image.shape[1] // size
    return image[:, index][:, :, index]


def _enlarged(silhouette: np.ndarray) -> list[np.ndarray]:
    return list(fit_tiles(paint(silhouette, OPACITY), 2))


def _whole(tiles: np.ndarray) -> np.ndarray:
    """The tiles, enlarged by a whole factor so that a name finds room above each."""
    factor = -(-PANEL // tiles.shape[1])
    return tiles.repeat(factor, axis=1).repeat(factor, axis=2)


def _row(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures side by side, a white seam between them."""
    seam = np.full((len(panels[0]), SEAM, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (seam, panel)][1:], axis=1)


def _draw_errors(axes: Any, points: Sequence[Point], noise: str, color: str) -> None:
    """One kind of noise: a faint line for each model, and their mean."""
    known = [(point.place, chosen(point.rows, noise=noise)) for point in points]
    known = [(place, rows) for place, rows in known if rows]
    for model in sorted({row["model"] for _, rows in known for row in rows}):
        errors = [spread(chosen(rows, model=model), "cross_entropy").mean for _, rows in known]
        axes.plot([place for place, _ in known], errors, color=color, linewidth=0.8, alpha=0.3)
    means = [spread(rows, "cross_entropy").mean for _, rows in known]
    if known:
        axes.plot([place for place, _ in known], means, "o-", color=color, markersize=4, linewidth=1.6, label=noise)


def _logarithmic(axes: Any, places: Sequence[float] | None) -> None:
    """Both axes, in plain numbers; a tick at each place where these are given."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", length=0)
    if places is not None:
        axes.set_xticks(places, [f"{place:g}" for place in places])
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, color=draw.FAINT, labelcolor=draw.INK)
