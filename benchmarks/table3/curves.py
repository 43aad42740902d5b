"""Error of our method against what it is given: components, views, pixels, and the seconds it may take.

One setting is changed, all others are those of the table. The epochs stay the same: half as many views or a quarter of
the pixels are also half or a quarter of the steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.markdown import table
from benchmarks.study import Rows, chosen
from benchmarks.table3.methods import OURS, Settings
from benchmarks.table3.report import spread
from benchmarks.table3.runs import Run

CURVES: dict[str, tuple[str, tuple[float, ...]]] = {  # name on the axis: (setting, its values)
    "components": ("components", (10, 20, 40, 80, 160, 320, 640)),
    "views": ("views", (4, 8, 16, 32, 64)),
    "side of an image (pixels)": ("size", (32, 64, 128, 256)),
    "seconds": ("effort", (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)),
}


class Point(NamedTuple):
    """A place on a curve's axis, the setting that it stands for, and the rows there."""

    place: float
    value: float
    rows: list[Mapping[str, Any]]

    def mean(self, field: str) -> float:
        """Of what does not depend on the masks, over the first kind of noise, all of which is run in one go."""
        return spread(chosen(self.rows, noise=self.rows[0]["noise"]), field).mean


def curve_runs(meshes: Sequence[Path], seeds: Sequence[int], noises: Sequence[str], settings: Settings) -> list[Run]:
    """The runs of all curves, each once: one kind of noise after the other, the quickest first.

    Whoever stops early has the left part of every curve.
    """
    changed = {replace(settings, **{field: value}) for field, values in CURVES.values() for value in values}
    return [
        Run(mesh, noise, OURS, seed, one)
        for noise in noises
        for one in sorted(changed, key=_cost)
        for mesh in meshes
        for seed in seeds
    ]


def curves_of(runs: Sequence[Run], rows: Rows, settings: Settings) -> dict[str, list[Point]]:
    """For each curve its points, from left to right; kinds of noise of which a model or a seed is missing are left out.

    `rows` are those of the first runs, in their order. The curve of seconds has its points where they were measured.
    """
    curves = {}
    for name, (field, values) in CURVES.items():
        points = []
        for value in values:
            here = [i for i, run in enumerate(runs) if run.settings == replace(settings, **{field: value})]
            noises = {runs[i].noise for i in here}
            ended = {noise for noise in noises if all(i < len(rows) for i in here if runs[i].noise == noise)}
            found = [rows[i] for i in here if runs[i].noise in ended]
            if found:
                point = Point(float(value), float(value), found)
                points.append(point._replace(place=point.mean("seconds")) if name == "seconds" else point)
        if points:
            curves[name] = sorted(points, key=lambda point: point.place)
    return curves


def curve_table(curves: Mapping[str, Sequence[Point]], noises: Sequence[str]) -> str:
    """Error, time and load at each point of each curve."""
    lines = []
    for name, points in curves.items():
        for point in points:
            what = f"{point.value:g} x the epochs" if name == "seconds" else f"{name} {point.value:g}"
            errors = (spread(chosen(point.rows, noise=noise), "cross_entropy").mean for noise in noises)
            words = (f"{error:.4f}" if np.isfinite(error) else "-" for error in errors)
            lines.append((what, *words, *(f"{point.mean(field):.2f}" for field in ("seconds", "load"))))
    return table(("", *noises, "seconds", "load"), lines)


def curve_section(curves: Mapping[str, Sequence[Point]], run: Sequence[str], noises: Sequence[str]) -> str:
    """The section's text; `run` says with what, when and where."""
    models = sorted({row["model"] for points in curves.values() for point in points for row in point.rows})
    return "\n\n".join(
        (
            "## Shape from silhouette: curves",
            *run,
            f"Cross-entropy of {OURS} on the unseen views of 64 x 64, mean over {', '.join(models)}: one setting "
            "changed, all others as in the table. Epochs are as many everywhere but in the last rows, so fewer views "
            "or pixels are also fewer steps. Seconds of one fit, after compilation, at the given load (processes that "
            "wanted to run) on this machine. Picture: docs/figures/curves.png.",
            curve_table(curves, noises),
        )
    )


def _cost(settings: Settings) -> float:
    return settings.components * settings.views * settings.size**2 * settings.effort
