"""Reconstructs real sequences with known cameras and masks; every fifth view is left out of the fit and measured.

    python -m benchmarks.real --data ../shared/data/real --results docs/results/real.md --figures docs/figures

What was measured before with the same settings and sources is read from the output folder and not repeated.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.real.pictures import draw_sequence
from benchmarks.real.runs import SOURCES, Settings, fit_sequence, hull_agreement, read_sequence
from benchmarks.study import Job, Rows, key, provenance, study, told
from benchmarks.study import flags as common_flags
from fmb import machine
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


@lru_cache(maxsize=1)
def checked(folder: Path, settings: Settings) -> tuple:
    """The sequence, and how far its cameras and masks agree."""
    sequence = read_sequence(folder, settings)
    facts = {"hull_iou": hull_agreement(sequence), "agreement": check_cameras(sequence.train).agreement}
    return sequence, facts


def measured(folder: Path, components: int, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """One row; the model goes to the output folder, and of the most components there is a picture."""
    sequence, facts = checked(folder, settings)
    result = fit_sequence(sequence, components, settings)
    model = in_double(sequence.frame.mixture_to_world(in_double(result.mixture)))
    write_model(options.output / f"{sequence.name}_{components}.npz", *model, result.row)
    if options.figures and components == max(options.components):
        draw_sequence(options.figures / f"real_{sequence.name}.png", sequence, result)
    return {**result.row, **facts}


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    return (
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


def section(rows: Rows, command: list[str]) -> str:
    """The section of the results."""
    head = ("", "components", "views: fit, left out", "pixels", "IoU left out", "worst view", "outlines off, pixels")
    head += ("IoU if moved", "IoU fitted", "hull's IoU left out", "agreement", "steps", "seconds (load)")
    lines = [cells(row) for row in sorted(rows, key=lambda row: (row["name"], row["components"]))]
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
    numbers = {name: getattr(usual, name) for name in ("side", "epochs", "batch", "seed")}
    parser = common_flags(__doc__, "real", numbers, data="data")
    parser.add_argument("--components", nargs="+", type=int, default=list(GOALS))
    parser.add_argument("--start", choices=("sphere", "hull"), default=usual.start, help="default: %(default)s")
    parser.add_argument("--figures", type=Path, help="folder of the pictures real_NAME.png")
    return parser


def main(argv: list[str]) -> int:
    """Runs what is missing, then writes the section; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(options.side, options.epochs, options.batch, options.start, options.seed)

    def work() -> str:
        machine.prepare_output_dir(options.output)
        if options.figures:
            machine.prepare_output_dir(options.figures)
        jobs = []
        for folder in find_sequences(options.data, options.names):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            for components in options.components:
                mark = key(f"{folder.name}-{components}", asdict(settings), SOURCES, files)
                jobs.append(Job(mark, partial(measured, folder, components, settings, options)))
        return section(study(jobs, options.output, "real"), [provenance("real", argv)])

    return told(work, options.results, "real")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
