"""Table 3 of the paper: shape from silhouette on a folder of meshes, clean and damaged, by every method.

    uv run python benchmarks/table3.py --models ../shared/data/models [--names arma ...] [--seeds 0 1 2]
        [--methods ...] [--views 32] [--size 64] [--components 40] [--output output/table3] [--curves]
        [--results RESULTS.md] [--noise-figure docs/figures/noise.png]

Each mesh NAME.ply (obj, stl, off, glb) is brought into the canonical frame and seen by random cameras, others for each
seed; damage hits half of these views. What a method makes of them is judged on 32 unseen views of 64 x 64, the same for
all. No method sees the mesh. Rows go to OUTPUT/results.jsonl one by one: a run that was stopped goes on where it was,
and one with other settings, another mesh or a changed source is made anew. OUTPUT also gets table3.md and pictures:
bars.png, clean.png and damaged.png (Figs. 6 and 8), worst.png, curves.png. With --results the table goes into that
file, between two marks. Seconds are those after compilation, on whatever else the machine does: leave it alone.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

import util
from benchmarks import table3_pictures as pictures
from benchmarks.measure import machine
from benchmarks.report import table, write_section
from benchmarks.table3_methods import METHODS, OURS, Settings
from benchmarks.table3_report import DAMAGED, Rows, chosen, section, spread
from benchmarks.table3_runs import CLEAN, Run, clean_data, perform_all, silhouettes

PAPER_NAMES = ("arma", "buddha", "dragon", "lucy", "bunny", "gear", "eiffel", "human", "yoga", "plane")
KINDS = (".ply", ".obj", ".stl", ".off", ".glb")
CURVES: dict[str, tuple[str, tuple[float, ...]]] = {  # name on the axis: (setting, its values)
    "components": ("components", (10, 20, 40, 80, 160, 320, 640)),
    "views": ("views", (4, 8, 16, 32, 64)),
    "side of an image (pixels)": ("size", (32, 64, 128, 256)),
    "seconds": ("effort", (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)),
}


def find_meshes(folder: Path, names: Sequence[str]) -> list[Path]:
    """The meshes of these names; without names the paper's ten where all are there, else every mesh of the folder.

    Raises ValueError for a folder without meshes and for a name that has none.
    """
    found = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in KINDS}
    if not found:
        raise ValueError(f"{folder}: no mesh in this folder ({', '.join(KINDS)})")
    names = names or (PAPER_NAMES if set(PAPER_NAMES) <= found.keys() else tuple(found))
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{folder}: no mesh named {', '.join(missing)}; there are {', '.join(found)}")
    return [found[name] for name in names]


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


def rows_of(runs: Sequence[Run], folder: Path, title: str) -> list[Mapping]:
    """Their rows, with a bar."""
    with tqdm(desc=title, total=len(runs), unit="fit", leave=False) as bar:

        def name(run: Run) -> None:
            bar.set_postfix_str(f"{run.mesh.stem} {run.noise} {run.method}")

        rows = []
        for row in perform_all(runs, folder, name):
            rows.append(row)
            bar.update()
    return rows


def curve_rows(meshes: Sequence[Path], seeds: Sequence[int], noises: Sequence[str], folder: Path, settings: Settings):
    """For each curve its points: place on the axis, and rows of our method there. Seconds are measured."""
    curves = {}
    for name, (field, values) in CURVES.items():
        points = []
        for value in values:
            changed = replace(settings, **{field: value})
            rows = rows_of(plan(meshes, seeds, noises, [OURS], changed), folder, f"{name} {value:g}")
            points.append((spread(rows, "seconds").mean if name == "seconds" else value, rows))
        curves[name] = sorted(points, key=lambda point: point[0])
    return curves


def curve_table(curves: Mapping[str, Sequence[tuple[float, Rows]]], noises: Sequence[str]) -> str:
    """Error and time at each point of each curve."""
    lines = [
        (
            f"{name} {place:.3g}",
            *(f"{spread(chosen(rows, noise=noise), 'cross_entropy').mean:.4f}" for noise in noises),
            f"{spread(rows, 'seconds').mean:.2f}",
        )
        for name, points in curves.items()
        for place, rows in points
    ]
    return f"Curves, {OURS}: one setting changed, all others as in the table.\n\n" + table(
        ("", *noises, "seconds"), lines
    )


def draw(folder: Path, rows: Rows, noises: Sequence[str]) -> None:
    """All pictures of the table."""
    pictures.draw_bars(folder / "bars.png", rows)
    for noise in noises:
        pictures.draw_reconstructions(folder / f"{noise}.png", folder, rows, noise)
    if CLEAN in noises and chosen(rows, method=OURS):
        pictures.draw_worst(folder / "worst.png", folder, rows)


def flags() -> argparse.ArgumentParser:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of meshes")
    parser.add_argument("--names", nargs="+", default=[], help="default: the paper's ten if all are there, else all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--noises", nargs="+", choices=(CLEAN, DAMAGED), default=[CLEAN, DAMAGED])
    for name in ("views", "size", "components", "grid"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name), help="default: %(default)s")
    parser.add_argument("--effort", type=float, default=usual.effort, help="factor on our epochs; default: %(default)s")
    parser.add_argument("--curves", action="store_true", help="error against components, views, size, seconds (slow)")
    parser.add_argument("--output", type=Path, default=Path("output/table3"))
    parser.add_argument("--results", type=Path, help="Markdown file whose section table3 is replaced")
    parser.add_argument("--noise-figure", type=Path, help="draw the kinds of noise on the first mesh there, and stop")
    return parser


def main(argv: list[str]) -> int:
    """Runs what is missing, then writes the table and the pictures; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(options.views, options.size, options.components, options.grid, options.effort)
    try:
        meshes = find_meshes(options.models, options.names)
        if options.noise_figure:
            util.prepare_output_dir(options.noise_figure.parent)
            train = clean_data(meshes[0], options.seeds[0], settings).train
            pictures.draw_noises(options.noise_figure, train, lambda cameras: silhouettes(meshes[0], cameras, settings))
            return 0
        folder = util.prepare_output_dir(options.output)
        rows = rows_of(plan(meshes, options.seeds, options.noises, options.methods, settings), folder, "table 3")
        draw(folder, rows, options.noises)
        text = ""
        if options.curves:
            curves = curve_rows(meshes, options.seeds[:1], options.noises, folder, settings)
            pictures.draw_curves(folder / "curves.png", curves)
            text = curve_table(curves, options.noises)
        run = [
            f"Command: `python benchmarks/table3.py {shlex.join(argv)}`. Seeds {', '.join(map(str, options.seeds))}; "
            f"{settings.views} views of {settings.size} x {settings.size}, {settings.components} components. "
            f"{date.today().isoformat()}. {machine()}."
        ]
        text = section(rows, run, text)
        util.write_text(folder / "table3.md", text + "\n")
        if options.results:
            write_section(options.results, text, "table3")
    except (ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
