"""Table 2 of the paper: the camera's pose from one depth image and mask, clean and noisy, by every method.

    python -m benchmarks.table2 --models ../shared/data/models [--names arma ...] [--trials 20]
        [--methods ...] [--output output/table2] [--fidelity] [--timing] [--results docs/results/pose.md]
        [--sensor-figure docs/figures/sensor.png]

Each mesh NAME.ply (obj, stl, off, glb) is brought into the canonical frame; a trial is an image of it from a random
camera and a perturbed pose to start from, both the same for all methods. Mixtures come from the mesh: a GMM of its
volume, then a fit to views of it; they are kept in OUTPUT/mixtures. Rows go to OUTPUT/results.jsonl one by one: a run
that was stopped goes on where it was, and one with other settings, another mesh or a changed source is made anew.
OUTPUT also gets table2.md and pictures: models.png (Fig. 5) and, with --fidelity, fidelity.png (Fig. 4), for which all
begin at the true pose. --timing adds table 1. With --results the text goes into that file, between two marks.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.markdown import table
from benchmarks.render import table1
from benchmarks.study import Rows, find_meshes, provenance, runnable, study, told
from benchmarks.study import flags as common_flags
from benchmarks.table2 import pictures
from benchmarks.table2.methods import COMPONENTS, FIDELITY, METHODS, OURS
from benchmarks.table2.report import section, spread, summary
from benchmarks.table2.runs import Run, job, plan
from benchmarks.table2.scenes import CLEAN, NOISY, Settings, trial
from fmb import machine

PAPER_NAMES = ("arma", "buddha", "dragon", "lucy", "bunny", "yoga", "plane")
FIDELITY_TRIALS = 5  # of each model at each point of a curve
NUMBERS_PER_COMPONENT = 10


def rows_of(runs: Sequence[Run], folder: Path, title: str) -> Rows:
    """The rows of the runs, remembered in the folder."""
    return study([job(run, folder) for run in runs], folder, title)


def fidelity(meshes: Sequence[Path], trials: int, folder: Path, settings: Settings) -> dict[str, list]:
    """For each kind of object its points: how many numbers describe it, and rows of clean trials from the truth."""
    settings, curves = replace(settings, perturbation=0.0), {}
    for kind, methods in FIDELITY.items():
        rows = rows_of(plan(meshes, trials, [CLEAN], list(methods), settings), folder, kind)
        curves[kind] = [
            (method.numbers, [row for row in rows if row["method"] == name]) for name, method in methods.items()
        ]
    curves[OURS] = []
    for count in COMPONENTS:
        changed = replace(settings, components=count)
        rows = rows_of(plan(meshes, trials, [CLEAN], [OURS], changed), folder, f"{count} components")
        curves[OURS].append((NUMBERS_PER_COMPONENT * count, rows))
    return curves


def fidelity_table(curves: Mapping[str, Sequence[tuple[float, Rows]]]) -> str:
    """Errors from the true pose at each point of each curve."""
    lines, trials = [], set()
    for kind, points in curves.items():
        for numbers, rows in points:
            found = summary(rows)
            trials |= {(row["model"], row["number"]) for row in rows}
            lines.append((kind, f"{numbers:,}", spread(found.mean, found.quartiles), f"{found.median:.2f}"))
    return f"Sensitivity to fidelity (Fig. 4): {len(trials)} clean trials that begin at the true pose.\n\n" + table(
        ("", "numbers", "mean ± IQR", "median"), lines
    )


def flags() -> argparse.ArgumentParser:
    """The command line."""
    usual = Settings()
    numbers = {name: getattr(usual, name) for name in ("width", "height", "components", "strength")}
    parser = common_flags(__doc__, "table2", {"trials": 20, **numbers})
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--noises", nargs="+", choices=(CLEAN, NOISY), default=[CLEAN, NOISY])
    parser.add_argument("--fidelity", action="store_true", help="error against the object's fidelity, Fig. 4 (slow)")
    parser.add_argument("--timing", action="store_true", help="milliseconds forward and backward, table 1")
    parser.add_argument("--sensor-figure", type=Path, help="draw the sensor's noise on the first mesh there, and stop")
    return parser


def main(argv: list[str]) -> int:
    """Runs what is missing, then writes the table and the pictures; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(options.width, options.height, components=options.components, strength=options.strength)

    def work() -> str | None:
        meshes = find_meshes(options.models, options.names, PAPER_NAMES)
        if options.sensor_figure:
            machine.prepare_output_dir(options.sensor_figure.parent)
            larger = replace(settings, width=4 * settings.width, height=4 * settings.height)
            pictures.draw_sensor(options.sensor_figure, trial(meshes[0], 0, CLEAN, larger).exposure, settings.strength)
            return None
        methods, skipped = runnable(METHODS, options.methods)
        folder = machine.prepare_output_dir(options.output)
        rows = rows_of(plan(meshes, options.trials, options.noises, methods, settings), folder, "table 2")
        pictures.draw_models(folder / "models.png", rows)
        more = []
        if options.fidelity:
            curves = fidelity(meshes, min(options.trials, FIDELITY_TRIALS), folder, settings)
            pictures.draw_fidelity(folder / "fidelity.png", curves)
            more.append(fidelity_table(curves))
        if options.timing:
            more.append(table1.section())
        run = [provenance("table2", argv)]
        run += [skipped] if skipped else []
        text = section(rows, run, "\n\n".join(more))
        machine.write_text(folder / "table2.md", text + "\n")
        return text

    return told(work, options.results, "table2")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
