"""Table 3 of the paper: shape from silhouette on a folder of meshes, clean and damaged, by every method.

    python -m benchmarks.table3 --models ../shared/data/models [--names arma ...] [--seeds 0 1 2]
        [--methods ...] [--views 32] [--size 64] [--components 40] [--output output/table3]
        [--results docs/results/shape.md] [--figures docs/figures] [--curves [--minutes 20]] [--noise-figure noise.png]

Each mesh NAME.ply (obj, stl, off, glb) is brought into the canonical frame and seen by random cameras, others for each
seed; damage hits half of these views. What a method makes of them is judged on 32 unseen views of 64 x 64, the same for
all. No method sees the mesh. Rows go to OUTPUT/results.jsonl one by one: a run that was stopped goes on where it was,
and one with other settings, another mesh or a changed source is made anew. OUTPUT also gets table3.md and pictures:
bars.png, clean.png and damaged.png (Figs. 6 and 8), worst.png. With --results the table goes into that file, between
two marks. With --curves it is curves.md and curves.png, a section of its own. Seconds are those after compilation, on
whatever else the machine does: leave it alone; each is kept with the load at its end. Methods of other people's
packages (Open3D) are skipped, and named, where the package is missing.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.study import Rows, chosen, find_meshes, provenance, runnable, study, told, write_section
from benchmarks.study import flags as common_flags
from benchmarks.table3 import pictures
from benchmarks.table3.curves import curve_runs, curve_section, curves_of
from benchmarks.table3.methods import METHODS, OURS, Settings
from benchmarks.table3.report import DAMAGED, section
from benchmarks.table3.runs import CLEAN, Run, clean_data, job, silhouettes
from fmb import machine

PAPER_NAMES = ("arma", "buddha", "dragon", "lucy", "bunny", "gear", "eiffel", "human", "yoga", "plane")


def plan(
    meshes: Iterable[Path], seeds: Sequence[int], noises: Sequence[str], methods: Sequence[str], settings: Settings
) -> list[Run]:
    """Runs of the table, model by model, so that views are drawn once."""
    return [
        Run(mesh, noise, method, seed, settings)
        for mesh in meshes
        for seed in seeds
        for noise in noises
        for method in methods
    ]


def draw(folder: Path, rows: Rows, noises: Sequence[str]) -> list[Path]:
    """All pictures of the table, in the folder where the runs left theirs."""
    drawn = [pictures.draw_bars(folder / "bars.png", rows)]
    drawn += [pictures.draw_reconstructions(folder / f"{noise}.png", folder, rows, noise) for noise in noises]
    if CLEAN in noises and chosen(rows, method=OURS):
        drawn.append(pictures.draw_worst(folder / "worst.png", folder, rows))
    return drawn


def copy(drawn: Sequence[Path], folder: Path | None, prefix: str = "") -> None:
    """Puts the pictures into the folder too, where one is given."""
    for picture in drawn if folder else ():
        with machine.replacing(machine.prepare_output_dir(folder) / f"{prefix}{picture.name}") as partial:
            shutil.copyfile(picture, partial)


def flags() -> argparse.ArgumentParser:
    """The command line."""
    usual = Settings()
    numbers = {name: getattr(usual, name) for name in ("views", "size", "components", "grid", "effort")}
    parser = common_flags(__doc__, "table3", numbers, seeds=(0, 1, 2))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--noises", nargs="+", choices=(CLEAN, DAMAGED), default=[CLEAN, DAMAGED])
    parser.add_argument(
        "--curves",
        action="store_true",
        help="in place of the table: error against components, views, "
        "size, seconds (slow: take few models and one seed)",
    )
    parser.add_argument("--minutes", type=float, help="begin no further point of the curves after so many minutes")
    parser.add_argument("--figures", type=Path, help="folder that gets the pictures too, as table3_*.png, curves.png")
    parser.add_argument("--noise-figure", type=Path, help="draw the kinds of noise on the first mesh there, and stop")
    return parser


def run_line(options: argparse.Namespace, settings: Settings, argv: list[str]) -> str:
    """With what, when and where it ran."""
    seeds, size = ", ".join(map(str, options.seeds)), f"{settings.size} x {settings.size}"
    data = f"Seeds {seeds}; {settings.views} views of {size}, {settings.components} components"
    return f"{provenance('table3', argv)} {data}."


def write_table(options: argparse.Namespace, meshes: Sequence[Path], settings: Settings, argv: list[str]) -> str:
    """Runs what is missing of the table, writes it and draws its pictures; the section's text comes back."""
    methods, skipped = runnable(METHODS, options.methods)
    if skipped:
        print(skipped, file=sys.stderr)
    folder = machine.prepare_output_dir(options.output)
    runs = plan(meshes, options.seeds, options.noises, methods, settings)
    rows = study([job(run, folder) for run in runs], folder, "table 3")
    copy(draw(folder, rows, options.noises), options.figures, "table3_")
    text = section(rows, list(filter(None, (run_line(options, settings, argv), skipped))))
    machine.write_text(folder / "table3.md", text + "\n")
    if options.results:
        write_section(options.results, text, "table3")
    return text


def write_curves(options: argparse.Namespace, meshes: Sequence[Path], settings: Settings, argv: list[str]) -> str:
    """Runs what is missing of the curves, writes and draws them; the section's text comes back."""
    folder = machine.prepare_output_dir(options.output)
    runs = curve_runs(meshes, options.seeds, options.noises, settings)
    rows = study([job(run, folder) for run in runs], folder, "curves", options.minutes)
    curves = curves_of(runs, rows, settings)
    if not curves:
        raise ValueError(f"curves: no point was ready after {options.minutes:g} minutes; the same command goes on")
    copy([pictures.draw_curves(folder / "curves.png", curves, settings)], options.figures)
    text = curve_section(curves, [run_line(options, settings, argv)], options.noises)
    machine.write_text(folder / "curves.md", text + "\n")
    if options.results:
        write_section(options.results, text, "table3_curves")
    return text


def main(argv: list[str]) -> int:
    """The table, or what is asked for instead; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(options.views, options.size, options.components, options.grid, options.effort)

    def work() -> str | None:
        meshes = find_meshes(options.models, options.names, PAPER_NAMES)
        if options.noise_figure:
            machine.prepare_output_dir(options.noise_figure.parent)
            train = clean_data(meshes[0], options.seeds[0], settings).train
            pictures.draw_noises(options.noise_figure, train, lambda cameras: silhouettes(meshes[0], cameras, settings))
            return None
        return (write_curves if options.curves else write_table)(options, meshes, settings, argv)

    return told(work, None, "table3")  # both write their sections themselves


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
