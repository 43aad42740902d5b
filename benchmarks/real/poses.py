"""Real poses: all objects of a scene in BOP's format, from several starts beside the truth.

    python -m benchmarks.real.poses --data DATASET/test/000001 --results docs/results/real_poses.md

Models are made once; each seed draws other starts, turned by up to --degrees and moved by up to --shift scales.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.markdown import table
from benchmarks.study import provenance, told
from fmb.config import Config
from fmb.files.bop import bop_targets, read_bop_records, read_bop_view
from fmb.tasks.bop import program_for, read_known, solved

GOAL = 5.0  # millimetres of ADD-S


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each object and seed."""
    usual, rows = Config(), []
    pose = replace(usual.pose, perturb_degrees=options.degrees, perturb_size=options.shift)
    config = replace(usual, pose=pose)
    records, known, programs = read_bop_records(options.data), {}, {}
    for target in bop_targets(options.data):
        view = read_bop_view(records, target)
        if target.object not in known:
            known[target.object] = read_known(options.data, target.object, config)
        program = program_for(programs, known[target.object].mixture, view, config)
        for seed in options.seeds:
            _, row = solved(program, known[target.object], view, np.random.default_rng([seed, target.instance]), config)
            rows.append({"seed": seed, **row})
    return rows


def section(rows: Sequence[Mapping[str, Any]], run: str, options: argparse.Namespace) -> str:
    """The section's text."""
    lines = []
    for image, number in dict.fromkeys((row["image"], row["object"]) for row in rows):
        some = [row for row in rows if (row["image"], row["object"]) == (image, number)]
        found = [row for row in some if "skipped" not in row]
        near = np.array([row["adds"] for row in found])
        cells = [f"{np.mean(near):.2f} ± {np.std(near):.2f}", f"{near.max():.2f}"]
        cells += [f"{np.median([row[name] for row in found]):.2f}" for name in ("add", "mssd", "degrees", "percent")]
        good, said = np.count_nonzero(near <= GOAL), sum(row["success"] for row in found)
        seconds = f"{np.median([row['seconds'] for row in found]):.2f}"
        lines.append(
            (f"{image}", f"{number}", *cells, f"{good} of {len(some)}", f"{said}", found[0]["symmetry"], seconds)
        )
    good = sum(row.get("adds", np.inf) <= GOAL for row in rows)
    head = ("image", "object", "ADD-S, mm", "worst", "ADD", "MSSD", "degrees", "% of diameter")
    head += (f"ADD-S <= {GOAL:g}", "claimed", "symmetry found", "seconds")
    text = (
        f"Starts turned by up to {options.degrees:g} degrees and moved by up to {options.shift:g} scales, seeds "
        f"{', '.join(map(str, options.seeds))}. ADD-S: mean ± standard deviation over the seeds; ADD, MSSD, degrees "
        f"and percent: medians. {good} of {len(rows)} poses have an ADD-S of at most {GOAL:g} mm."
    )
    return "\n\n".join(("## Real poses", run, text, table(head, lines)))


def main(argv: Sequence[str]) -> int:
    """Measures, then writes the section; 2 and one line for what the user can mend."""
    parser = argparse.ArgumentParser("python -m benchmarks.real.poses", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of one scene")
    parser.add_argument("--degrees", type=float, default=30.0, help="default: %(default)s")
    parser.add_argument("--shift", type=float, default=0.2, help="scales; default: %(default)s")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)), help="default: %(default)s")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv)
    return told(
        lambda: section(measured(options), provenance("real.poses", list(argv)), options), options.results, "real_poses"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
