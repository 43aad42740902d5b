"""How well a mixture looks like the mesh it was made of: against the number of components, and seconds.

    python -m benchmarks.bench_convert --models ../shared/data/models [--names bunny ...] [--components 10 20 ...]
        [--results docs/results/convert.md]

As task `convert` does it: EM on points of the volume, then a fit to 20 silhouettes and depths of 64 x 64.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.study import provenance, table, told
from benchmarks.table3.runs import canonical
from fmb.fields.looks import evaluate
from fmb.geometry.options import RenderingOptions
from fmb.shape.options import ModelOptions
from fmb.shape.recipe import conversion_views, refine_mixture
from fmb.shape.start import start_mixture
from fmb.shape.supervision import DEPTH_SETTINGS

UNSEEN = RenderingOptions(num_views=32)
HEAD = ("components", "IoU: EM", "IoU: fitted", "depth error: EM, %", "fitted, %", "s: EM", "s: fit", "with compiling")


class Row(NamedTuple):
    """One model, one number of components: errors before and after the fit, seconds."""

    components: int
    before: dict[str, float]
    after: dict[str, float]
    em: float
    fit: float
    first: float


def converted(path: Path, components: int, seed: int) -> Row:
    """EM, and the fit twice: the first time with compiling."""
    mesh = canonical(path)
    unseen = {"unseen": conversion_views(mesh, np.random.default_rng([seed, 1]), UNSEEN)}
    times = [time.perf_counter()]
    start = start_mixture(mesh, ModelOptions(num_mixtures=components), seed).mixture
    times.append(time.perf_counter())
    for _ in range(2):
        fit = refine_mixture(mesh, start, np.random.default_rng(seed))
        jax.block_until_ready(fit.mixture)
        times.append(time.perf_counter())
    errors = [evaluate(mixture, unseen, 100.0, DEPTH_SETTINGS)[1]["unseen"] for mixture in (start, fit.mixture)]
    em, first, again = np.diff(times)
    return Row(components, *errors, em, again, first)


def rows_table(rows: list[Row]) -> str:
    """Means over models; medians of the seconds."""
    lines = []
    for count in sorted({row.components for row in rows}):
        some = [row for row in rows if row.components == count]
        overlap, depth = ([mean(some, when, what) for when in ("before", "after")] for what in ("iou", "depth_mae"))
        seconds = [np.median([getattr(row, name) for row in some]) for name in ("em", "fit", "first")]
        lines.append((f"{count}", *(f"{x:.4f}" for x in overlap), *(f"{x:.1f}" for x in [*depth, *seconds])))
    return table(HEAD, lines)


def mean(rows: list[Row], when: str, what: str) -> float:
    """Of an error before or after the fit, over the rows."""
    return float(np.mean([getattr(row, when)[what] for row in rows]))


def main(argv: list[str]) -> int:
    """Converts and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of meshes")
    parser.add_argument("--names", nargs="+", default=["arma", "bunny", "dragon", "plane", "spot"])
    parser.add_argument("--components", nargs="+", type=int, default=[5, 10, 20, 40, 80, 160, 320])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="Markdown file whose section convert is replaced")
    flags = parser.parse_args(argv)
    rows = []
    for count in flags.components:
        for name in flags.names:
            rows.append(converted(flags.models / f"{name}.ply", count, flags.seed))
            print(count, name, file=sys.stderr, flush=True)
    text = (
        f"## Meshes as mixtures\n\n{provenance('bench_convert', argv)}\n\nMeans over "
        f"{', '.join(flags.names)} on 32 unseen views, "
        "depth errors in % of the object's scale, where both see it; medians of seconds.\n\n" + rows_table(rows)
    )
    return told(lambda: text, flags.results, "convert")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
