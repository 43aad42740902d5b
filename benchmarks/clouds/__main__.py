"""Surfaces from points: every method on samples of meshes, with and without noise, and on scans.

    python -m benchmarks.clouds --models ../shared/data/models [--names spot ...] [--noises none medium strong]
        [--scans ../shared/data/pointclouds] [--seeds 0 1 2] [--methods "metaballs 40" ...] [--points 20000]
        [--minutes 60] [--made] [--results docs/results/clouds.md] [--output output/clouds]

A mesh NAME_hi is taken in place of NAME where there is one. Errors are exact distances between 30,000 samples of each
surface and the other surface, in % of the longest side of the points' box. Rows go to OUTPUT/results.jsonl one by one:
a run that was stopped goes on where it was. Seconds are those of processors, all threads together, since other work
shares the machine; they contain compilation in the first row of a method. Methods of packages that are missing are
skipped and named: pymeshlab and Open3D are in dependency group `bench`.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clouds.cases import NOISES, Case, given, scans
from benchmarks.clouds.methods import METHODS
from benchmarks.markdown import table
from benchmarks.study import (
    Job,
    Rows,
    chosen,
    find_meshes,
    key,
    methods_of,
    provenance,
    read_rows,
    runnable,
    study,
    told,
)
from benchmarks.study import flags as common_flags
from fmb.geometry.comparison import compare

USUAL = ("spot", "bob", "bunny", "dragon")
SOURCES = ("fmb/geometry/comparison.py", "benchmarks/clouds/methods.py", "benchmarks/clouds/cases.py")  # of all rows
OURS = (
    *(f"fmb/clouds/{name}.py" for name in ("enclosure", "evidence", "losses", "patches", "smoothing", "surface")),
    *(f"fmb/fields/{name}.py" for name in ("contour", "topology")),
)
BLOBS = (*OURS, "fmb/clouds/blobs.py")
NETWORKS = (
    *OURS,
    "fmb/fields/networks.py",
    *(f"fmb/clouds/{name}.py" for name in ("methods", "recipe", "sampling")),
)


def job(case: Case, method: str, seed: int, count: int) -> Job:
    """The row of a method on a case."""

    def make() -> dict[str, Any]:
        points, truth = given(case, count, seed)
        start = time.process_time()
        try:
            mesh = METHODS[method].make(points, case.noise, seed)
            seconds, record = time.process_time() - start, None
            record = compare(mesh, truth, seed=seed, unit=1.0)
        except (ValueError, FloatingPointError, RuntimeError) as error:
            seconds, record = time.process_time() - start, {"failed": str(error)}
        return {"case": case.name, "method": method, "seed": seed, "seconds": seconds, "points": len(points), **record}

    ours = () if METHODS[method].package else BLOBS if "metaballs" in method else NETWORKS
    files = [path for path in (case.mesh, case.scan) if path]
    return Job(key(f"{case.name}_{method}_{seed}", [count], [*SOURCES, *ours], files), make)


def section(rows: Rows, lines: Sequence[str]) -> str:
    """The tables, and what they were made with."""
    methods = methods_of(rows, METHODS)
    names = list(dict.fromkeys(row["case"] for row in rows))
    true = {row["case"]: str(row["reference"]["euler"]) for row in rows if "reference" in row}
    parts = ["## Surfaces from points", *lines]
    parts += ["Chamfer distance, exact, in % of the longest side: mean of the seeds, and half of their range."]
    parts.append(_grid(rows, names, methods, lambda found: _spread([100 * row["exact"]["chamfer"] for row in found])))
    parts += ["Hausdorff distance in %, mean angle of normals in degrees, Euler number of each seed (the true one)."]
    head = [f"{name} ({true.get(name, '?')})" for name in names]
    parts.append(_grid(rows, names, methods, _shape, head))
    parts += ["Processor seconds, all threads together."]
    parts.append(_grid(rows, names, methods, lambda found: f"{np.median([row['seconds'] for row in found]):.0f}"))
    floors = [100 * row["floor"]["chamfer"] for row in rows if "floor" in row]
    if floors:
        parts.append(f"Chamfer distance between two samplings of one surface, for comparison: {np.mean(floors):.2f} %.")
    failed = [f"{row['method']} on {row['case']} ({row['failed']})" for row in rows if "failed" in row]
    return "\n\n".join(parts + [f"No surface: {'; '.join(failed)}."] * bool(failed))


def _grid(rows: Rows, names: Sequence[str], methods: Sequence[str], cell, head: Sequence[str] = ()) -> str:
    lines = []
    for method in methods:
        found = [[row for row in chosen(rows, method=method, case=name) if "exact" in row] for name in names]
        lines.append((method, *(cell(part) if part else "-" for part in found)))
    return table(("", *(head or names)), lines)


def _spread(values: Sequence[float]) -> str:
    middle = f"{np.mean(values):.3f}" if np.mean(values) < 1.0 else f"{np.mean(values):.2f}"
    return middle if len(values) < 2 else f"{middle} ± {np.ptp(values) / 2:.3f}"


def _shape(found: Rows) -> str:
    hausdorff, degrees = (np.mean([row["exact"][name] for row in found]) for name in ("hausdorff", "normal_degrees"))
    return f"{100 * hausdorff:.1f} / {degrees:.0f} / {', '.join(str(row['euler']) for row in found)}"


def flags() -> argparse.ArgumentParser:
    """The command line."""
    parser = common_flags(__doc__, "clouds", {"points": 20_000}, seeds=(0, 1, 2))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--noises", nargs="*", choices=tuple(NOISES), default=list(NOISES))
    parser.add_argument("--scans", type=Path, help="folder of scans with their true surfaces NAME_gt.ply")
    parser.add_argument("--minutes", type=float, help="begin no further row after so many minutes")
    parser.add_argument("--made", action="store_true", help="the table of the rows that there are; none is made")
    return parser


def cases(folder: Path, names: Sequence[str], noises: Iterable[str], scanned: Path | None) -> list[Case]:
    """The cases asked for."""
    meshes = {path.stem: path for path in find_meshes(folder, ())}
    wanted = [meshes.get(f"{path.stem}_hi", path) for path in find_meshes(folder, names, USUAL)]
    return [Case(mesh, noise) for noise in noises for mesh in wanted] + (scans(scanned) if scanned else [])


def main(argv: list[str]) -> int:
    """The tables; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)

    def work() -> str:
        methods, skipped = runnable(METHODS, options.methods)
        found = cases(options.models, options.names, options.noises, options.scans)
        # all methods on a case before the next, so that a table that was cut short compares them
        jobs = [
            job(case, method, seed, options.points) for seed in options.seeds for case in found for method in methods
        ]
        if options.made:
            known = read_rows(options.output / "results.jsonl")
            jobs = [job for job in jobs if job.key in known]
        if not jobs:
            raise ValueError(f"{options.output}: no row of these methods and cases, as the program is now")
        rows = study(jobs, options.output, "clouds", options.minutes)
        seeds = ", ".join(map(str, options.seeds))
        lines = [f"{provenance('clouds', argv)} Seeds {seeds}; {options.points:,} points of a mesh, 30,000 samples."]
        return section(rows, [*lines, *filter(None, [skipped])])

    return told(work, options.results, "clouds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
