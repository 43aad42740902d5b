"""Table 3 as Markdown: means and deviations, the paper's rows beside them, model by model, the worst explained."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.markdown import table
from benchmarks.study import Rows, chosen, methods_of
from benchmarks.table3.methods import METHODS, OURS
from benchmarks.table3.runs import CLEAN

DAMAGED = "damaged"
WORST = 3
QUIET = 1.0  # load below which nothing else of weight ran


class Published(NamedTuple):
    """A row that is not of this run: seconds per model and cross-entropy (mean, deviation or None over models)."""

    seconds: float
    clean: tuple[float, float | None]
    damaged: tuple[float, float | None]


# Keselman & Hebert, "Approximate Differentiable Rendering with Algebraic Surfaces", ECCV 2022, table 3, on their CPU
# and their ten models, of which eiffel, gear, yoga and rebel are not the same files as here.
PAPER: dict[str, Published] = {
    "paper: voxel carving, 384^3": Published(82, (0.31, 0.100), (1.119, 0.367)),
    "paper: PyTorch3D points": Published(185, (0.075, 0.066), (0.100, 0.079)),
    "paper: PyTorch3D mesh (SoftRas)": Published(3008, (0.062, 0.049), (0.072, 0.051)),
    "paper: NeRF": Published(7406, (0.032, 0.022), (0.062, 0.063)),
    "paper: fuzzy metaballs": Published(68, (0.040, 0.015), (0.055, 0.016)),
}
# Measured when this project began, on 2 cores, with the released code and the same ten files as here.
RELEASED = {"released code, same files, 2 cores": Published(3, (0.038, None), (0.057, None))}


class Spread(NamedTuple):
    """Mean over models and seeds; deviation over models, each the mean of its seeds; over seeds of the mean."""

    mean: float
    over_models: float
    over_seeds: float

    def __str__(self) -> str:
        seeds = f" ({self.over_seeds:.4f})" if np.isfinite(self.over_seeds) else ""
        return f"{self.mean:.4f} ± {self.over_models:.4f}{seeds}"


def spread(rows: Rows, field: str) -> Spread:
    """Of a field over rows of one method and noise; where only some runs of a seed are there, over what there is."""
    models, seeds = (sorted({row[key] for row in rows}) for key in ("model", "seed"))
    values = np.full((len(models), len(seeds)), np.nan)
    for row in rows:
        value = row[field]
        values[models.index(row["model"]), seeds.index(row["seed"])] = np.nan if value is None else value
    values = values[np.isfinite(values).any(axis=1)]
    if not values.size:
        return Spread(np.nan, np.nan, np.nan)
    by_model = np.nanmean(values, axis=1)
    whole = values[:, np.isfinite(values).all(axis=0)]
    over_seeds = float(np.std(whole.mean(axis=0), ddof=1)) if whole.shape[1] > 1 else np.nan
    return Spread(float(by_model.mean()), float(by_model.std()), over_seeds)


def summary_table(rows: Rows) -> str:
    """Every method, ours and published."""
    noises = [noise for noise in (CLEAN, DAMAGED) if chosen(rows, noise=noise)]
    head = ("", "seconds", *(f"{noise}: cross-entropy" for noise in noises))
    head += tuple(f"{noise}: {name}" for noise in noises for name in ("IoU", "depth error, %"))
    lines = []
    for method in methods_of(rows, METHODS):
        parts = [chosen(rows, method=method, noise=noise) for noise in noises]
        errors = tuple(str(spread(part, "cross_entropy")) for part in parts)
        details = (
            f"{spread(part, field).mean:.{digits}f}"
            for part in parts
            for field, digits in (("iou", 4), ("depth_percent", 2))
        )
        seconds = spread(chosen(rows, method=method), "seconds").mean
        lines.append((method, f"{seconds:.2f}", *errors, *details))
    for name, row in {**PAPER, **RELEASED}.items():
        errors = tuple(published(getattr(row, noise)) for noise in noises)
        lines.append((name, f"{row.seconds:,.0f}", *errors, *("-" for _ in range(2 * len(noises)))))
    return table(head, lines)


def load_line(rows: Rows) -> str:
    """How busy the machine was while the seconds were taken, and each method's seconds where it was quiet."""
    loads = [row["load"] for row in rows if "load" in row]
    if not loads:
        return ""
    text = f"Meanwhile {min(loads):.1f} to {max(loads):.1f} processes wanted to run (mean {np.mean(loads):.1f})"
    quiet = [row for row in rows if row.get("load", np.inf) < QUIET]
    parts = []
    for method in methods_of(quiet, METHODS):
        seconds = [row["seconds"] for row in chosen(quiet, method=method)]
        parts.append(f"{method} {np.mean(seconds):.2f} s ({len(seconds)} of {len(chosen(rows, method=method))} fits)")
    return f"{text}; below {QUIET:g}: {', '.join(parts)}." if parts else f"{text}, never fewer than {QUIET:g}."


def published(error: tuple[float, float | None]) -> str:
    """Mean and deviation as printed."""
    return f"{error[0]:.3f}" + ("" if error[1] is None else f" ± {error[1]:.3f}")


def order_of_merit(rows: Rows, method: str, noise: str = CLEAN) -> list[str]:
    """Models from the best to the worst cross-entropy, means over seeds."""
    part = chosen(rows, method=method, noise=noise)
    models = {row["model"] for row in part}
    return sorted(models, key=lambda model: (spread(chosen(part, model=model), "cross_entropy").mean, model))


def model_table(rows: Rows, method: str) -> str:
    """One method, model by model, from the best to the worst, and where its error lies."""
    head = ("model", "clean", "damaged", "IoU", "depth error, %", "outline, %", "error there, %", "error inside, %")
    lines = []
    for model in order_of_merit(rows, method):
        clean, damaged = (chosen(rows, method=method, model=model, noise=noise) for noise in (CLEAN, DAMAGED))

        def mean(field: str, part: Rows = clean) -> float:
            return spread(part, field).mean

        where = (f"{100 * mean(field):.1f}" for field in ("outline", "error_at_outline", "error_inside"))
        errors = f"{mean('cross_entropy'):.4f}", f"{mean('cross_entropy', damaged):.4f}"
        lines.append((model, *errors, f"{mean('iou'):.4f}", f"{mean('depth_percent'):.2f}", *where))
    return table(head, lines)


def explanation(rows: Rows, method: str) -> str:
    """What the numbers say about the worst models."""
    order = order_of_merit(rows, method)
    worst = order[::-1][:WORST]

    def of(models: list[str], field: str) -> float:
        return float(np.mean([spread(chosen(rows, method=method, noise=CLEAN, model=m), field).mean for m in models]))

    rest = [model for model in order if model not in worst]
    if not rest:
        return f"Worst: {', '.join(worst)}."
    parts = [
        f"Worst, clean: {', '.join(worst)}.",
        f"Their outlines take up {100 * of(worst, 'outline'):.1f} % of the pixels, those of the others "
        f"{100 * of(rest, 'outline'):.1f} %; of their error {100 * of(worst, 'error_at_outline'):.0f} % lies within "
        f"one pixel of the outline, of that of the others {100 * of(rest, 'error_at_outline'):.0f} %; "
        f"{100 * of(worst, 'error_inside'):.0f} % (others: {100 * of(rest, 'error_inside'):.0f} %) is missing rather "
        "than extra.",
    ]
    outline, error = ([of([m], field) for m in order] for field in ("outline", "cross_entropy"))
    if np.std(outline) > 0 and np.std(error) > 0:
        parts.append(
            f"Over all models, error and length of outline correlate by {np.corrcoef(outline, error)[0, 1]:.2f}."
        )
    return " ".join(parts)


def section(rows: Rows, run: Sequence[str]) -> str:
    """The section's text; `run` says with what, when and where."""
    parts = [
        "## Shape from silhouette: table 3",
        *run,
        "Cross-entropy (alpha clipped to [1e-6, 1 - 1e-6]), IoU and depth error (% of the object's scale, where both "
        "see it) on unseen views, the same for all. Mean ± standard deviation over models (in brackets: over seeds, "
        "of the mean over models). Damaged: in half of the training views one of 8 clusters of the silhouette is "
        "missing. The same settings for every model and both columns; rows marked paper are from its table 3, on other "
        "hardware. Seconds per model after compilation, mean. " + load_line(rows),
        summary_table(rows),
    ]
    if chosen(rows, method=OURS):
        parts += [
            f"Model by model, {OURS}, best first; where the error lies is told of clean.",
            model_table(rows, OURS),
        ]
        parts.append(explanation(rows, OURS))
    return "\n\n".join(parts)
