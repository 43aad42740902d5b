"""Reconstructs real sequences with known cameras and masks; every fifth view is left out of the fit and measured.

    python -m benchmarks.real --data ../shared/data/real --results docs/results/real.md --figures docs/figures

What was measured before with the same settings is read from the output folder and not repeated.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import util
from benchmarks.real.pictures import draw_sequence
from benchmarks.real.runs import Settings, fit_sequence, hull_agreement, read_sequence
from benchmarks.study import identity, provenance, remember, remembered, table, told
from fmb.fields.mixtures import in_double
from fmb.files.models import write_model
from fmb.hull.check import check_cameras

GOALS = {40: 0.95, 160: 0.97}  # IoU on views left out of the fit, of photographs
# What is known of each sequence beside what is measured.
LIMITS = {
    "oxford_dino": "Proportions rest on a prior of the cameras; all views from one height, so nothing carves the top.",
    "middlebury_temple": (
        "Cameras: 16 views of the sparse ring beside 24 of the full set, which are off against each other by some "
        "pixels of the photograph; whole outlines of single views are moved to one side."
    ),
    "dtu_scan24": (
        "Cameras on one side only, and the object is cut by the border in all views: IoU is high because masks are "
        "large, but nothing bounds the far side, and components stray to where no view looks (turntable)."
    ),
    "nerf_lego": "Rendered, cameras and masks exact: thin rods and holes that few components cannot follow.",
}


def find_sequences(folder: Path, names: Sequence[str]) -> list[Path]:
    """The sequences' folders. Raises ValueError for a folder without any and for names that are not there."""
    found = {path.name: path for path in sorted(folder.glob("*")) if path.is_dir()}
    if not found:
        raise ValueError(f"{folder}: no sequence in this folder")
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{folder}: no sequence named {', '.join(missing)}; there are {', '.join(found)}")
    return [found[name] for name in names or found]


def run(options: argparse.Namespace, settings: Settings, rows_file: Path) -> None:
    """Everything that is not remembered yet, with a line each."""
    for folder in find_sequences(options.data, options.names):
        known = {identity(row) for row in remembered(rows_file)}
        wanted = [{"name": folder.name, "components": n, "settings": vars(settings)} for n in options.components]
        wanted = [row["components"] for row in wanted if identity(row) not in known]
        if not wanted:
            continue
        sequence = read_sequence(folder, settings)
        checked = {"hull_iou": hull_agreement(sequence), "agreement": check_cameras(sequence.train).agreement}
        for components in wanted:
            result = fit_sequence(sequence, components, settings)
            remember(rows_file, {**result.row, **checked})
            model = in_double(sequence.frame.mixture_to_world(in_double(result.mixture)))
            write_model(options.output / f"{sequence.name}_{components}.npz", *model, result.row)
            print(line_of(result.row), flush=True)
            if options.figures and components == max(options.components):
                draw_sequence(options.figures / f"real_{sequence.name}.png", sequence, result)


def line_of(row: dict) -> str:
    """A result in one line."""
    return f"{row['name']}, {row['components']} components: IoU {row['iou']:.4f} in {row['seconds']:.1f} s"


def section(rows: list[dict], command: list[str]) -> str:
    """The section of the results."""
    head = ("", "components", "views: fit, left out", "pixels", "IoU left out", "worst view", "outlines off, pixels")
    head += ("IoU if moved", "IoU fitted", "hull's IoU left out", "agreement", "steps", "seconds (load)")
    lines = [
        (
            row["name"],
            f"{row['components']}",
            "{}, {}".format(*row["views"]),
            "{} x {}".format(*row["size"]),
            f"{row['iou']:.4f}",
            f"{row['worst']:.3f}",
            f"{row['off']:.2f}",
            f"{row['moved_iou']:.4f}",
            f"{row['train_iou']:.4f}",
            f"{row['hull_iou']:.4f}",
            f"{row['agreement']:.2f}",
            f"{row['steps']:,}",
            f"{row['seconds']:.0f} ({row['load']:.0f})",
        )
        for row in sorted(rows, key=lambda row: (row["name"], row["components"]))
    ]
    names = sorted({row["name"] for row in rows})
    pictures = [f"![{name}](docs/figures/real_{name}.png)" for name in names]
    return "\n\n".join(
        (
            "## Real sequences",
            *command,
            "Every fifth view is left out of the fit and of the frame. IoU over all pixels of the views left out, the "
            "worst of these views, how far its outlines are from the mask's in the mean (wrong pixels per length of "
            "outline), the IoU if each of them may first be moved as suits it best, in steps of half a pixel (what "
            "that gains is the cameras' error, not the shape's), and IoU over the views fitted to. Hull: voxel carving "
            "of the fitted views, 192^3, a yardstick of how far cameras and masks agree. Agreement: median IoU of "
            "`--check-cameras`. Seconds of the fit after compilation, beside them how many processes wanted to run on "
            f"the machine then. Goals for photographs: {goals()}.",
            table(head, lines),
            "What limits each:",
            "\n".join(f"- {name}: {LIMITS[name]}" for name in names if name in LIMITS),
            *pictures,
        )
    )


def goals() -> str:
    """The goals in words."""
    return ", ".join(f"{value} with {components} components" for components, value in GOALS.items())


def flags() -> argparse.ArgumentParser:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences")
    parser.add_argument("--names", nargs="+", default=[], help="sequences; default: all of the folder")
    parser.add_argument("--components", nargs="+", type=int, default=list(GOALS))
    for name in ("side", "epochs", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name), help="default: %(default)s")
    parser.add_argument("--start", choices=("sphere", "hull"), default=usual.start, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("output/real"))
    parser.add_argument("--results", type=Path, help="Markdown file whose section real is replaced")
    parser.add_argument("--figures", type=Path, help="folder of the pictures real_NAME.png")
    return parser


def main(argv: list[str]) -> int:
    """Runs what is missing, then writes the section; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(options.side, options.epochs, options.batch, options.start, options.seed)

    def work() -> str:
        rows_file = util.prepare_output_dir(options.output) / "rows.json"
        if options.figures:
            util.prepare_output_dir(options.figures)
        run(options, settings, rows_file)
        rows = [row for row in remembered(rows_file) if row["settings"] == vars(settings)]
        return section(rows, [provenance("real", argv)])

    return told(work, options.results, "real")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
