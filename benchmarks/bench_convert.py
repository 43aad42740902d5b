"""How well a mixture looks like the mesh it was made of: against the number of components, and seconds.

    python -m benchmarks.bench_convert --models ../shared/data/models [--names bunny ...] [--components 10 20 ...]
        [--results docs/results/convert.md]

As task `convert` does it: EM on points of the volume, then a fit to 20 silhouettes and depths of 64 x 64.
"""

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.markdown import table
from benchmarks.study import Job, Rows, canonical, chosen, find_meshes, flags, key, provenance, study, told
from fmb.fields.looks import evaluate
from fmb.geometry.options import RenderingOptions
from fmb.shape.options import ModelOptions
from fmb.shape.recipe import conversion_views, refine_mixture
from fmb.shape.start import start_mixture
from fmb.shape.supervision import DEPTH_SETTINGS

USUAL = ("arma", "bunny", "dragon", "plane", "spot")
SOURCES = ("benchmarks/bench_convert.py", "fm_render.py", "fmb/shape/recipe.py", "fmb/shape/start.py")
UNSEEN = RenderingOptions(num_views=32, camera_roll=True)
HEAD = ("components", "IoU: EM", "IoU: fitted", "depth error: EM, %", "fitted, %", "s: EM", "s: fit", "with compiling")


def converted(path: Path, components: int, seed: int) -> dict[str, Any]:
    """One row: EM, and the fit twice, the first time with compiling; errors before and after, seconds."""
    mesh = canonical(path)
    unseen = {"unseen": conversion_views(mesh, np.random.default_rng([seed, 1]), UNSEEN)}
    times = [time.perf_counter()]
    start = start_mixture(mesh, ModelOptions(num_mixtures=components), seed).mixture
    times.append(time.perf_counter())
    for _ in range(2):
        fit = refine_mixture(mesh, start, np.random.default_rng(seed))
        jax.block_until_ready(fit.mixture)
        times.append(time.perf_counter())
    before, after = (evaluate(mixture, unseen, 100.0, DEPTH_SETTINGS)[1]["unseen"] for mixture in (start, fit.mixture))
    em, first, again = np.diff(times)
    return {"components": components, "before": before, "after": after, "em": em, "fit": again, "first": first}


def rows_table(rows: Rows) -> str:
    """Means over models; medians of the seconds."""
    lines = []
    for count in sorted({row["components"] for row in rows}):
        some = chosen(rows, components=count)
        overlap, depth = ([mean(some, when, what) for when in ("before", "after")] for what in ("iou", "depth_mae"))
        seconds = [np.median([row[name] for row in some]) for name in ("em", "fit", "first")]
        lines.append((f"{count}", *(f"{x:.4f}" for x in overlap), *(f"{x:.1f}" for x in [*depth, *seconds])))
    return table(HEAD, lines)


def mean(rows: list[Mapping[str, Any]], when: str, what: str) -> float:
    """Of an error before or after the fit, over the rows."""
    return float(np.mean([row[when][what] for row in rows]))


def main(argv: list[str]) -> int:
    """Converts and prints the table."""
    parser = flags(__doc__, "bench_convert", {}, seeds=(0,))
    parser.add_argument("--components", nargs="+", type=int, default=[5, 10, 20, 40, 80, 160, 320])
    options = parser.parse_args(argv)

    def work() -> str:
        meshes = find_meshes(options.models, options.names, USUAL)
        wanted = [(mesh, count, seed) for count in options.components for mesh in meshes for seed in options.seeds]
        jobs = [
            Job(key(f"{mesh.stem}-{count}-{seed}", [], SOURCES, [mesh]), partial(converted, mesh, count, seed))
            for mesh, count, seed in wanted
        ]
        return (
            f"## Meshes as mixtures\n\n{provenance('bench_convert', argv)}\n\nMeans over "
            f"{', '.join(mesh.stem for mesh in meshes)} on 32 unseen views, depth errors in % of the object's scale, "
            f"where both see it; medians of seconds.\n\n{rows_table(study(jobs, options.output, 'convert'))}"
        )

    return told(work, options.results, "convert")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
