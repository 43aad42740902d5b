"""The shell's hand: pictures and written files, nothing else.

Everything takes NumPy arrays. A file is written beside its name and then moved there: nobody meets half of one.
"""

import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fmb.sheets import (
    BLUE,
    ORANGE,
    SEAM,
    History,
    Images,
    Scale,
    Sheet,
    grid_columns,
    moving_mean,
    sheets_after,
    sheets_before,
)

DOTS_PER_INCH = 150
UNIT = "input units"  # of depths: those of the mesh
MARGIN, GAP, BAND, HEAD = 42, 12, 26, 104  # pixels: around the sheet, between tiles, for a label, for the title
SIDE = 150  # pixels for one colour bar or legend
INK, FAINT = "#1a1a1a", "#6b6b6b"
FRAME = 208  # grey of the line around a tile, 0 to 255


def draw_before(folder: Path, reference: Images, initial: Images, depth: Scale) -> list[Path]:
    """The first five pictures: reference and start. They can be drawn while the fit runs."""
    return draw_sheets(folder, sheets_before(reference, initial, depth))


def draw_after(
    folder: Path, reference: Images, final: Images, history: History, depth: Scale, unit: str = UNIT
) -> list[Path]:
    """The last five pictures: convergence and fit, depths in the scale of the first five."""
    drawn = draw_sheets(folder, sheets_after(reference, final, depth, unit))
    return [draw_convergence(folder / "06_convergence.png", history), *drawn]


def draw_sheets(folder: Path, named: Mapping[str, Sheet]) -> list[Path]:
    """Writes every sheet under its name, in the order of names."""
    return [draw_sheet(folder / f"{name}.png", named[name]) for name in sorted(named)]


def draw_sheet(path: Path, sheet: Sheet) -> Path:
    """Writes the sheet as PNG.

    Only the words and bars are drawn; the tiles are copied over, which takes half the time of drawing them too.
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
    figure.text(MARGIN / width, 1 - 82 / height, sheet.note, size=8, color=FAINT)
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
    return write_picture(path, page)


def draw_sides(figure: Any, sheet: Sheet, left: int, tall: int) -> None:
    """Colour bars and legend to the right of the tiles, their tops level."""
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


def draw_convergence(path: Path, history: History) -> Path:
    """Loss and learning rate over the steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(8.4, 5.6), dpi=DOTS_PER_INCH)
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.subplots_adjust(left=0.1, right=0.97, top=0.865, bottom=0.09, hspace=0.1)
    smooth = moving_mean(history.loss)
    note = f"{len(history.step)} steps; training loss {smooth[0]:.4f} at the start, {smooth[-1]:.4f} at the end"
    figure.text(0.032, 0.94, "Convergence of the fit", size=12, weight="bold", color=INK)
    figure.text(0.032, 0.9, note, size=8, color=FAINT)
    loss.plot(history.step, history.loss, color="#c4c4c4", linewidth=0.6, label="each batch of rays")
    loss.plot(history.step, smooth, color=BLUE, linewidth=1.6, label="training views, smoothed")
    if history.novel_loss is not None:
        known = np.isfinite(history.novel_loss)
        style = {"color": ORANGE, "marker": "o", "markersize": 3.5, "linewidth": 1.2}
        loss.plot(history.step[known], history.novel_loss[known], **style, label="unseen views")
    # Below a factor of six, ticks at 1, 2 and 5 could all fall outside.
    if np.nanmax(history.loss) > 6.0 * np.nanmin(history.loss) > 0.0:
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        loss.yaxis.set_minor_formatter(NullFormatter())
    loss.set_ylabel("cross-entropy (nats per ray)", size=9, color=INK)
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
    return write_picture(path, pixels_of(figure))


def pixels_of(figure: Any) -> UInt8[np.ndarray, "height width 3"]:
    """The figure, drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def write_picture(path: Path, pixels: UInt8[np.ndarray, "height width 3"]) -> Path:
    """Writes pixels as PNG."""
    from PIL import Image

    with replacing(path) as partial:
        # Levels 1 to 3 take the same time; 6 takes twice as long and makes the ten files a quarter smaller.
        Image.fromarray(pixels).save(partial, format="png", compress_level=3, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what was written replaces `path` if nothing went wrong.

    Raises ValueError where the system refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({(error.strerror or 'input/output error').lower()})") from error
    finally:
        partial.unlink(missing_ok=True)


def prepare_output_dir(folder: str | Path) -> Path:
    """The folder, made where it is missing and tried by writing to it.

    Raises ValueError where it is a file or cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise ValueError(f"{folder}: is a file; the output folder must be a folder") from None
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot write to the output folder ({(error.strerror or 'error').lower()})"
        ) from None
    return folder


def write_text(path: Path, text: str) -> Path:
    """Writes text as UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return path


def write_model(
    path: Path,
    mean: Float[np.ndarray, "mixture 3"],
    precision_cholesky: Float[np.ndarray, "mixture 3 3"],
    log_weight: Float[np.ndarray, " mixture"],
    metadata: Mapping[str, Any],
    color: Float[np.ndarray, "mixture 3"] | None = None,
) -> Path:
    """Writes a mixture, with its colours if it has some, as npz, its metadata as a text of JSON: no pickle."""
    arrays = {"mean": mean, "precision_cholesky": precision_cholesky, "log_weight": log_weight}
    arrays |= {} if color is None else {"color": color}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays, metadata=np.array(json.dumps(plain(metadata), allow_nan=False)), allow_pickle=False)
    return path


def write_history(path: Path, history: History) -> Path:
    """Writes what was measured at each step as CSV; NaN is an empty cell."""
    columns = {name: values for name, values in history._asdict().items() if values is not None}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path.name}: columns of unequal length: {lengths}")
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        for row in zip(*(values.tolist() for values in columns.values()), strict=True):
            rows.writerow(["" if isinstance(v, float) and math.isnan(v) else format(v, ".9g") for v in row])
    return path


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> Path:
    """Writes nested numbers as JSON in their order, to six digits; what is not finite becomes null."""
    return write_text(path, json.dumps(plain(metrics), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The value in JSON's own types: arrays become lists, numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int, float], None]]:
    """A bar on stderr for as long as the context lasts; gives what to call with (step, all steps, loss)."""
    from tqdm import tqdm

    with tqdm(desc=name, unit="step", leave=False) as bar:

        def move(step: int, total: int, loss: float) -> None:
            bar.total = total
            if math.isfinite(loss):
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update(step - bar.n)

        yield move


def summary(metrics: Mapping[str, Any], folder: Path) -> str:
    """What a run says at its end: errors before and after, where the time went, where the files are."""
    lines = []
    for part, name in (("train", "training views"), ("novel", "unseen views  ")):
        old, new = metrics["initial"].get(part), metrics.get(part)
        if new is None:
            continue
        errors = f"cross-entropy {old['cross_entropy']:.4f} -> {new['cross_entropy']:.4f}, "
        errors += f"IoU {old['iou']:.3f} -> {new['iou']:.3f}"
        if "depth_mae" in new:
            errors += f", depth error {old['depth_mae']:.4g} -> {new['depth_mae']:.4g} {UNIT}"
        lines.append(f"{name}  {errors}")
    seconds = ", ".join(f"{part} {value:.1f}" for part, value in metrics["seconds"].items() if part != "total")
    where = f"{metrics['seconds']['total']:.1f} s on {metrics['device']}: {seconds}"
    return "\n".join([*lines, where, f"pictures, model and numbers in {folder}/"])
