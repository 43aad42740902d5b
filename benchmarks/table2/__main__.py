"""Table 2 of the paper: the camera's pose from one depth image and mask, clean and noisy, by every method.

    uv run python -m benchmarks.table2 --models ../shared/data/models [--names arma ...] [--trials 20]
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

from tqdm import tqdm

import util
from benchmarks.render import table1
from benchmarks.study import provenance, table, told
from benchmarks.table2 import pictures
from benchmarks.table2.methods import COMPONENTS, FIDELITY, OURS
from benchmarks.table2.report import Rows, section, spread, summary
from benchmarks.table2.runs import METHODS, Run, perform_all, plan
from benchmarks.table2.scenes import CLEAN, NOISY, Settings, trial
from benchmarks.table3.__main__ import KINDS, find_meshes
from benchmarks.table3.optional import missing_packages

PAPER_NAMES = ("arma", "buddha", "dragon", "lucy", "bunny", "yoga", "plane")
FIDELITY_TRIALS = 5  # of each model at each point of a curve
NUMBERS_PER_COMPONENT = 10


def chosen_meshes(folder: Path, names: Sequence[str]) -> list[Path]:
    """The meshes of these names; without names the paper's seven where all are there, else every mesh of the folder.

    Raises ValueError for a folder without meshes and for a name that has none.
    """
    there = {path.stem for path in folder.glob("*") if path.suffix.lower() in KINDS}
    return find_meshes(folder, names or (PAPER_NAMES if set(PAPER_NAMES) <= there else sorted(there)))


def runnable(methods: Sequence[str]) -> tuple[list[str], str]:
    """Those of the methods whose packages are there, and a sentence about the others, empty where there are none."""
    absent = missing_packages([METHODS[name] for name in methods])
    skipped = [name for name in methods if METHODS[name].package in absent]
    said = f"Skipped, for want of a package ({'; '.join(absent.values())}): {', '.join(skipped)}." if skipped else ""
    return [name for name in methods if name not in skipped], said


def rows_of(runs: Sequence[Run], folder: Path, title: str) -> list[Mapping]:
    """Their rows, with a bar."""
    with tqdm(desc=title, total=len(runs), unit="pose", leave=False) as bar:

        def name(run: Run) -> None:
            bar.set_postfix_str(f"{run.mesh.stem} {run.noise} {run.method}", refresh=False)
            bar.update()

        return list(perform_all(runs, folder, name))


def fidelity(meshes: Sequence[Path], trials: int, folder: Path, settings: Settings) -> dict[str, list]:
    """For each kind of object its points: how many numbers describe it, and rows of clean trials from the truth."""
    settings, curves = replace(settings, perturbation=0.0), {}
    for kind, methods in FIDELITY.items():
        rows = rows_of(plan(meshes, trials, [CLEAN], list(methods), settings), folder, kind)
        curves[kind] = [
            (method.numbers, [row for row in rows if row["method"] == name]) for name, method in methods.items()
        ]
    if OURS in METHODS:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of meshes")
    parser.add_argument("--names", nargs="+", default=[], help="default: the paper's seven if all are there, else all")
    parser.add_argument("--trials", type=int, default=20, help="of each model; default: %(default)s")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--noises", nargs="+", choices=(CLEAN, NOISY), default=[CLEAN, NOISY])
    for name in ("width", "height", "components"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name), help="default: %(default)s")
    parser.add_argument("--strength", type=float, default=usual.strength, help="of the noise; default: %(default)s")
    parser.add_argument("--fidelity", action="store_true", help="error against the object's fidelity, Fig. 4 (slow)")
    parser.add_argument("--timing", action="store_true", help="milliseconds forward and backward, table 1")
    parser.add_argument("--output", type=Path, default=Path("output/table2"))
    parser.add_argument("--results", type=Path, help="Markdown file whose section table2 is replaced")
    parser.add_argument("--sensor-figure", type=Path, help="draw the sensor's noise on the first mesh there, and stop")
    return parser


def main(argv: list[str]) -> int:
    """Runs what is missing, then writes the table and the pictures; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(options.width, options.height, components=options.components, strength=options.strength)

    def work() -> str | None:
        meshes = chosen_meshes(options.models, options.names)
        if options.sensor_figure:
            util.prepare_output_dir(options.sensor_figure.parent)
            larger = replace(settings, width=4 * settings.width, height=4 * settings.height)
            pictures.draw_sensor(options.sensor_figure, trial(meshes[0], 0, CLEAN, larger).exposure, settings.strength)
            return None
        methods, skipped = runnable(options.methods)
        folder = util.prepare_output_dir(options.output)
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
        util.write_text(folder / "table2.md", text + "\n")
        return text

    return told(work, options.results, "table2")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
