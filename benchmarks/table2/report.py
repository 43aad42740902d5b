"""Table 2 as Markdown: means, interquartile ranges, medians and successes, the paper's rows beside them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.markdown import number, table
from benchmarks.study import Rows, chosen, methods_of
from benchmarks.table2.methods import METHODS, OURS
from benchmarks.table2.runs import SUCCESS
from benchmarks.table2.scenes import CLEAN, NOISY

NOISES = (CLEAN, NOISY)


class Published(NamedTuple):
    """A row of the paper: numbers that describe the object, mean and interquartile range."""

    numbers: int | None
    clean: tuple[float, float]
    noisy: tuple[float, float]


# Keselman & Hebert, "Approximate Differentiable Rendering with Algebraic Surfaces", ECCV 2022, table 2.
PAPER: dict[str, Published] = {
    "paper: start": Published(None, (20.2, 18.0), (20.2, 18.0)),
    "paper: Pulsar": Published(1200, (20.2, 18.0), (20.2, 18.0)),
    "paper: PyTorch3D points": Published(1200, (18.5, 16.0), (18.4, 16.0)),
    "paper: SoftRas mesh": Published(750, (14.9, 15.0), (17.0, 17.0)),
    "paper: ICP, plane, equal fidelity": Published(1200, (10.8, 12.0), (8.2, 3.3)),
    "paper: ICP, point, equal fidelity": Published(1200, (7.6, 9.9), (8.7, 6.6)),
    "paper: ICP, plane, high fidelity": Published(120_000, (8.2, 0.8), (8.0, 3.6)),
    "paper: ICP, point, high fidelity": Published(120_000, (6.2, 3.7), (6.8, 3.3)),
    "paper: fuzzy metaballs": Published(400, (4.0, 1.5), (4.2, 2.1)),
}


class Summary(NamedTuple):
    """Of the errors of some trials; NaN and 0 where there are none."""

    mean: float
    quartiles: float
    median: float
    success: float
    seconds: float
    count: int


def summary(rows: Rows) -> Summary:
    """Of rows of one method and noise; seconds are the median's."""
    if not rows:
        return Summary(*[np.nan] * 5, 0)
    error, seconds = (np.array([row[name] for row in rows], float) for name in ("error", "seconds"))
    low, median, high = np.percentile(error, [25, 50, 75])
    return Summary(error.mean(), high - low, median, np.mean(error <= SUCCESS), np.median(seconds), len(rows))


def models_of(rows: Rows) -> list[str]:
    """Models that have rows, in their order."""
    return list(dict.fromkeys(row["model"] for row in rows))


def summary_table(rows: Rows) -> str:
    """Every method, ours and published."""
    head = ("", "numbers")
    for noise in NOISES:
        head += (f"{noise}: mean ± IQR", "median", f"within {SUCCESS:g}")
    lines = []
    for method in methods_of(rows, METHODS):
        found = [summary(chosen(rows, method=method, noise=noise)) for noise in NOISES]
        cells = (cell for part in found for cell in (spread(part.mean, part.quartiles), *details(part)))
        numbers = METHODS[method].numbers
        lines.append((method, f"{numbers:,}" if numbers else "", *cells, seconds_of(found)))
    for name, row in PAPER.items():
        cells = (cell for pair in (row.clean, row.noisy) for cell in (f"{pair[0]:.1f} ± {pair[1]:g}", "-", "-"))
        lines.append((name, f"{row.numbers:,}" if row.numbers else "", *cells, "-"))
    return table((*head, "ms a pose"), lines)


def spread(mean: float, quartiles: float) -> str:
    """Mean ± interquartile range."""
    return "-" if np.isnan(mean) else f"{mean:.2f} ± {quartiles:.2f}"


def details(part: Summary) -> tuple[str, str]:
    """Median and share of successes."""
    return ("-", "-") if not part.count else (f"{part.median:.2f}", f"{100.0 * part.success:.1f} %")


def seconds_of(parts: Sequence[Summary]) -> str:
    """Milliseconds, mean over noises of the medians; what takes no time at all has none."""
    milliseconds = 1e3 * np.nanmean([part.seconds for part in parts])
    return "-" if milliseconds < 0.01 else number(milliseconds)


def model_table(rows: Rows, method: str) -> str:
    """One method, model by model."""
    head = ("model", *(f"{noise}: {name}" for noise in NOISES for name in ("mean", "median", f"within {SUCCESS:g}")))
    lines = []
    for model in models_of(rows):
        found = (summary(chosen(rows, method=method, model=model, noise=noise)) for noise in NOISES)
        lines.append(
            (model, *(cell for part in found for cell in (spread(part.mean, np.nan).split()[0], *details(part))))
        )
    return table(head, lines)


def worst(rows: Rows, method: str, count: int = 5) -> str:
    """The trials of largest error."""
    order = sorted(chosen(rows, method=method), key=lambda row: -row["error"])[:count]
    return "; ".join(
        f"{row['model']} {row['number']} {row['noise']}: {row['degrees']:.1f} degrees, {row['percent']:.1f} %"
        for row in order
    )


def claims(rows: Rows, method: str) -> str:
    """How far the method's own word for success can be trusted, in one sentence."""
    told = [row for row in chosen(rows, method=method) if row["claimed"] is not None]
    right, wrong = (
        sum(row["claimed"] == row["success"] for row in told if row["claimed"] is side) for side in (True, False)
    )
    said = sum(row["claimed"] for row in told)
    doubted = len(told) - said
    return (
        f"It calls {said} of {len(told)} poses found, of which {right} are within {SUCCESS:g}; of the {doubted} "
        f"that it doubts, {wrong} are not."
    )


def section(rows: Rows, run: Sequence[str], more: str = "") -> str:
    """The section's text; `run` says with what, when and where."""
    count = len({row["number"] for row in rows})
    parts = [
        "## Pose: table 2",
        *run,
        "Error: geometric mean of rotation (degrees) and translation (% of the object's scale) of the object's pose in "
        f"the camera; mean ± interquartile range over {len(models_of(rows))} models x {count} trials, the same for "
        f"all methods, and the share of trials within {SUCCESS:g}. Starts are turned by up to 45 degrees about a "
        "random axis and moved by up to half a scale. Noisy: fmb/pose/simulation.py, an eighth of the mask missing. "
        "ICP of Open3D and small_gicp matches measured points to points sampled from the mesh, in at most 100 steps. "
        "Milliseconds: median, after compilation. Rows marked paper are from its table 2: other models, noise and "
        "hardware.",
        summary_table(rows),
    ]
    if chosen(rows, method=OURS):
        parts += [
            f"Model by model, {OURS}:",
            model_table(rows, OURS),
            f"{claims(rows, OURS)} Largest errors: {worst(rows, OURS)}.",
        ]
    return "\n\n".join([*parts, *filter(None, [more])])
