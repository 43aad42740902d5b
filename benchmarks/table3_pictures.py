"""Pictures of table 3: bars, curves, reconstructions side by side, the worst models, the kinds of noise."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import util
from benchmarks.table3_methods import OURS
from benchmarks.table3_report import DAMAGED, PAPER, WORST, Rows, chosen, methods_of, order_of_merit, spread
from benchmarks.table3_runs import CLEAN, KEPT_VIEWS
from fmb.cameras import Cameras
from fmb.noise import NOISES
from fmb.sheets import BLUE, OPACITY, ORANGE, SEAM, Sheet, depth_scale, fit_tiles, overlay_sheet, paint
from fmb.views import Views, select_views

NOISE_VIEWS = 4  # in the picture of the kinds of noise
CAMERA_SHOWN = 5.0  # there; degrees, and percent of the scale
PANEL = 180  # least pixels on the side of a reconstruction


def draw_bars(path: Path, rows: Rows) -> Path:
    """Cross-entropy of every method beside the paper's, on a logarithmic axis, with deviations over models."""
    from matplotlib.figure import Figure

    methods = methods_of(rows)
    names = [*methods, *PAPER]
    figure = Figure(figsize=(9, 1.6 + 0.5 * len(names)), dpi=util.DOTS_PER_INCH)
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
            style = {"ecolor": util.FAINT, "capsize": 2, "error_kw": {"linewidth": 0.8}}
            axes.barh(place + offset, mean, 0.38, color=color, alpha=fade, xerr=[[low], [deviation]], **style)
            axes.text(mean * 1.05, place + offset - 0.24, f"{mean:.3f}", size=6, color=util.INK)
        axes.barh(np.nan, np.nan, color=color, label=noise)
    axes.set_yticks(range(len(names)), names, size=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("cross-entropy on unseen views (nats per pixel), ± standard deviation over models", size=8)
    _plain(axes)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.tight_layout()
    return util.write_picture(path, util.pixels_of(figure))


def draw_curves(path: Path, curves: Mapping[str, Sequence[tuple[float, Rows]]]) -> Path:
    """Error against each quantity, and, beside it, the seconds that it takes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(curves), 3.4), dpi=util.DOTS_PER_INCH)
    for axes, (name, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for noise, color in ((CLEAN, BLUE), (DAMAGED, ORANGE)):
            known = [(x, spread(chosen(rows, noise=noise), "cross_entropy").mean) for x, rows in points]
            known = [(x, y) for x, y in known if np.isfinite(y)]
            if known:
                axes.plot(*zip(*known, strict=True), color=color, marker="o", markersize=3.5, label=noise)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([x for x, _ in points], [f"{x:.3g}" for x, _ in points], size=7)
        axes.minorticks_off()
        axes.set_xlabel(name, size=8)
        axes.set_ylabel("cross-entropy (nats per pixel)", size=8)
        _plain(axes)
        axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return util.write_picture(path, util.pixels_of(figure))


def draw_reconstructions(path: Path, folder: Path, rows: Rows, noise: str) -> Path:
    """One unseen view of each model: reference, then every method, all by depth (Figs. 6 and 8).

    With noise, a training mask comes first.
    """
    methods, tiles, labels = methods_of(rows), [], []
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
    return util.draw_sheet(path, Sheet(title, note, np.stack(tiles), labels, (), {}, names))


def draw_worst(path: Path, folder: Path, rows: Rows) -> Path:
    """Unseen masks of the worst models against the fit."""
    worst = order_of_merit(rows, OURS)[::-1][:WORST]
    kept = [_kept(folder, chosen(rows, method=OURS, noise=CLEAN, model=model)) for model in worst]
    reference = np.concatenate([np.isfinite(entry["reference"]).astype(float) for entry in kept])
    sheet = overlay_sheet(reference, np.concatenate([entry["alpha"] for entry in kept]).astype(float))
    labels = [f"{worst[i // KEPT_VIEWS]}  {label.split()[-1]}" for i, label in enumerate(sheet.labels)]
    note = f"{KEPT_VIEWS} unseen views of each, IoU of the view"
    return util.draw_sheet(path, sheet._replace(title="The worst models", note=note, labels=labels))


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
    return util.draw_sheet(path, Sheet("Noise of silhouettes", note, np.stack(tiles), labels, (OPACITY,)))


def _kept(folder: Path, rows: Rows) -> dict[str, np.ndarray]:
    """Pictures of the first seed."""
    first = min(rows, key=lambda row: row["seed"])
    with np.load(folder / f"{first['key']}.npz") as arrays:
        return dict(arrays)


def _depth(entry: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.where(entry["alpha"] >= 0.5, entry["depth"], np.nan)


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


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, color=util.FAINT, labelcolor=util.INK)
