"""A run as one page of HTML that needs no other file: numbers, pictures, convergence, an interactive view."""

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fmb.fit.history import History
from fmb.machine import KINDS, SETS, SURFACE, TRAINING, changed, error_names, write_text
from fmb.pictures.page_pictures import Picture
from fmb.pictures.report_scene import PageScene, scene_data
from fmb.pictures.report_tables import error_table, fact_tables, made_table
from fmb.pictures.sheets import Scale, moving_mean, paint

MOST_POINTS = 600  # of a curve
CROSS_ENTROPY = KINDS["cross_entropy"]
ARROW = "\N{RIGHTWARDS ARROW}"
LOG_RATIO = 6.0  # the axis is logarithmic if the largest loss is more than this times the smallest
TOGGLES = {  # what the view can show: label, whether it is shown at first
    "components": ("Components", True),
    "mesh": ("Surface", False),
    "reference": ("Reference", False),
    "cameras": ("Cameras and masks", True),
}
# The two halves of three.js import one another by a path, and a single page has none.
CORE_PATH, CORE_NAME = '"./three.core.min.js"', '"three-core"'


class Highlight(NamedTuple):
    """A number that stands out at the top; `note` is the smaller line under it."""

    label: str
    value: str
    note: str = ""


class Report(NamedTuple):
    """Content of the page; `errors` maps rows to columns to texts, `facts` (nested, JSON's types) come last."""

    title: str
    note: str
    scene: PageScene
    highlights: Sequence[Highlight] = ()
    errors: Mapping[str, Mapping[str, str]] = {}
    history: History | None = None
    pictures: Sequence[Picture] = ()
    facts: Mapping[str, Any] = {}
    loss: str = CROSS_ENTROPY  # what the history shows
    made: Mapping[str, str] = {}  # how the run was made, in words


def report_page(report: Report, assets: Mapping[str, str]) -> str:
    """The page; `assets` are the texts in fmb/pictures/page by name of file."""
    data = scene_data(report.scene)
    fields = {
        "title": html.escape(report.title),
        "note": html.escape(report.note),
        "style": assets["page.css"],
        "license": assets["three-LICENSE"].replace("--", "- -"),
        "highlights": highlight_list(report.highlights),
        "toggles": toggle_list(data),
        "slider": slider(data),
        "scales": "".join(color_bar(number, layer) for number, layer in enumerate(data.get("layers", ()))),
        "made": made_table(report.made),
        "table": error_table(report.errors),
        "convergence": "" if report.history is None else convergence(report.history, report.loss),
        "pictures": picture_grid(report.pictures),
        "details": fact_tables(report.facts),
        "scene": script_json(data),
        "importmap": script_json({"imports": modules(assets)}),
        "viewer": assets["viewer.js"],
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], assets["page.html"])


def modules(assets: Mapping[str, str]) -> dict[str, str]:
    """The modules of the viewer as data URIs, by the names under which they are imported."""
    texts = {
        "three": assets["three.module.min.js"].replace(CORE_PATH, CORE_NAME),
        "three-core": assets["three.core.min.js"],
        "orbit-controls": assets["OrbitControls.js"],
    }
    coded = {name: base64.b64encode(text.encode()).decode("ascii") for name, text in texts.items()}
    return {name: f"data:text/javascript;base64,{text}" for name, text in coded.items()}


def script_json(data: Mapping[str, Any]) -> str:
    """JSON without anything that could end the script element around it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def highlight_list(highlights: Sequence[Highlight]) -> str:
    """The numbers at the top."""
    if not highlights:
        return ""
    cells = []
    for label, value, note in (map(html.escape, highlight) for highlight in highlights):
        small = f"<small>{note}</small>" if note else ""
        cells.append(f"<div><dt>{label}</dt><dd>{value}{small}</dd></div>")
    return f'<dl class="numbers">{"".join(cells)}</dl>'


def toggle_list(data: Mapping[str, Any]) -> str:
    """Check boxes for all that the view can show, and one that makes it turn."""
    names = [name for name in TOGGLES if name in data]
    # without components the first of what there is stands in for them
    boxes = [(name, TOGGLES[name][0], TOGGLES[name][1] or name == names[0]) for name in names]
    boxes += [(f"layer{number}", layer["label"], layer["shown"]) for number, layer in enumerate(data.get("layers", ()))]
    boxes.append(("spin", "Turn", False))
    return "".join(
        f'<label><input type="checkbox" name="{name}"{" checked" if shown else ""}>{html.escape(label)}</label>'
        for name, label, shown in boxes
    )


def slider(data: Mapping[str, Any]) -> str:
    """A slider that parts the view into the fit and the reference, where there are both."""
    if "reference" not in data or not {"mesh", "components"} & set(data):
        return ""
    words = "Part of the view that shows the fit"
    bar = f'<input type="range" name="split" min="0" max="100" value="100" aria-label="{words}">'
    sides = '<b class="fit">&#9666; Fit</b>', '<b class="truth">Reference &#9656;</b>'  # of the line between
    return f'<label class="split">{sides[0]}{bar}{sides[1]}</label>'


def color_bar(number: int, layer: Mapping[str, Any]) -> str:
    """The colours of a layer that shows numbers, with the range and their name; shown while the layer is."""
    if "scale" not in layer:
        return ""
    scale = Scale(*layer["scale"])
    colors = paint(np.linspace(*scale.limits, 9), scale)
    ramp = ",".join("#" + "".join(f"{part:02x}" for part in color) for color in colors)
    low, high = (f"{limit:.3g}" for limit in scale.limits)
    more = " or more" if scale.extend == "max" else ""
    hidden = "" if layer["shown"] else " hidden"
    return (
        f'<p class="scale" data-layer="layer{number}"{hidden}>{html.escape(scale.label)}: {low}'
        f'<i style="background:linear-gradient(90deg,{ramp})"></i>{high}{more}</p>'
    )


def convergence(history: History, what: str = CROSS_ENTROPY) -> str:
    """A plot of the loss over the steps: lines scale with the page, words do not; "" if no loss is known."""
    smooth = moving_mean(history.loss)
    curves = {"raw": history.loss, "smooth": smooth}
    names = {"raw": (TRAINING[0], "--grey"), "smooth": (TRAINING[1], "--blue")}
    if history.novel_loss is not None:
        curves["novel"], names["novel"] = history.novel_loss, (SETS["novel"], "--orange")
    last = max(float(history.step[-1]), 1.0)
    known = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    if not known.size:
        return ""
    axis = loss_axis(float(known.min()), float(known.max()))
    lines = [f'<path class="grid" d="M0 {y:.2f}H100"/>' for y, _ in axis.ticks]
    words = [f'<span class="y" style="top:{y:.2f}%">{label}</span>' for y, label in axis.ticks]
    for name, curve in curves.items():
        finite = np.isfinite(curve)
        lines.append(
            f'<path class="{name}" d="{path(100.0 * history.step[finite] / last, axis.place(curve[finite]))}"/>'
        )
    for step in round_steps(0.0, last, 5):
        words.append(f'<span class="x" style="left:{100.0 * step / last:.2f}%">{step:.0f}</span>')
    drawing = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{"".join(lines)}</svg>'
    legend = "".join(f'<li><i style="background:var({color})"></i>{text}</li>' for text, color in names.values())
    note = f"{what}, over {len(history.step)} steps; {TRAINING[1]}: from {smooth[0]:.4f} to {smooth[-1]:.4f}."
    return (
        f'<h2>Convergence</h2><div class="plot" role="img" aria-label="{note}"><ul class="legend">{legend}</ul>'
        f'<div class="area">{drawing}{"".join(words)}</div><p class="axis">{note}</p></div>'
    )


def shape_numbers(metrics: Mapping[str, Any]) -> tuple[list[Highlight], dict[str, dict[str, str]]]:
    """Highlights and errors of a fit, from the content of metrics.json."""
    seen = [part for part in SETS if part in metrics]
    last = seen[-1]
    names = error_names(metrics[last])
    errors = {
        words: {SETS[part]: changed(metrics, part, kind, ARROW) for part in seen if kind in metrics[part]}
        for kind, words in names.items()
    }
    highlights = [
        Highlight(words, f"{metrics[last][kind]:.4g}", f"{SETS[last]}; {metrics['initial'][last][kind]:.4g} before")
        for kind, words in names.items()
        if kind in metrics[last] and kind not in ("rendered_depth_mae", SURFACE)
    ]
    highlights.append(Highlight("components", str(metrics["num_mixtures"]), f"{10 * metrics['num_mixtures']} numbers"))
    if "seconds" in metrics:
        highlights.append(Highlight("seconds", f"{metrics['seconds']['total']:.1f}", f"on {metrics['device']}"))
    return highlights, {name: row for name, row in errors.items() if row}


class Axis(NamedTuple):
    """An axis: the place of a loss in percent from the top, and ticks with their labels."""

    limits: tuple[float, float]
    logarithmic: bool
    ticks: Sequence[tuple[float, str]]

    def place(self, loss: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Percent from the top."""
        return 100.0 - 100.0 * share(loss, self.limits, self.logarithmic)


def loss_axis(low: float, high: float) -> Axis:
    """An axis from one value to the other, logarithmic where they differ much."""
    if logarithmic := high > LOG_RATIO * low > 0.0:
        limits = low / 1.1, high * 1.1
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        values = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    else:
        room = 0.05 * ((high - low) or abs(high) or 1.0)
        limits = low - room, high + room
        values = round_steps(*limits, 4)
    places = [(value, float(share(np.array([value]), limits, logarithmic)[0])) for value in values]
    return Axis(
        limits, logarithmic, [(100.0 - 100.0 * place, f"{value:g}") for value, place in places if 0 <= place <= 1]
    )


def share(values: Float[np.ndarray, " point"], limits: tuple[float, float], logarithmic: bool) -> np.ndarray:
    """Places of the values between the limits, 0 to 1."""
    low, high = limits
    return np.log(values / low) / math.log(high / low) if logarithmic else (values - low) / (high - low)


def round_steps(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers, evenly spaced, from `low` to `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= most)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def path(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> str:
    """A line through the points, or through every n-th where there are more than MOST_POINTS."""
    step = math.ceil(len(x) / MOST_POINTS)
    kept = np.unique(np.append(np.arange(0, len(x), step), len(x) - 1)) if len(x) else []
    return "M" + "L".join(f"{x[point]:.2f} {y[point]:.2f}" for point in kept) if len(kept) else ""


def picture_grid(pictures: Sequence[Picture]) -> str:
    """All pictures with their captions, each a button that opens it in its full size."""
    if not pictures:
        return ""
    figures = []
    for caption, source, width, height in pictures:
        words = html.escape(caption)
        image = f'<img src="{source}" width="{width}" height="{height}" alt="{words}">'
        button = f'<button type="button" class="zoom" aria-label="Open: {words}">{image}</button>'
        figures.append(f"<figure>{button}<figcaption>{words}</figcaption></figure>")
    hint = '<p class="hint">Click, or Enter, opens a picture in its full size; arrow keys turn the pages.</p>'
    return f'<h2>Pictures</h2>{hint}<div class="pictures">{"".join(figures)}</div>'


ASSETS = Path(__file__).with_name("page")


def write_report(path: Path, report: Report) -> Path:
    """Writes the report as a page of HTML."""
    return write_text(path, report_page(report, read_assets()))


def read_assets() -> dict[str, str]:
    """The texts in fmb/pictures/page by name of file."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(ASSETS.iterdir()) if file.is_file()}
