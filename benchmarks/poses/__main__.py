"""Poses of bodies that are clean, noisy or hidden in part: errors, false claims, seconds, and e' C^-1 e.

    python -m benchmarks.poses --models FOLDER [--names spot ...] [--trials 10] [--results docs/results/poses.md]

The bodies are those of benchmarks/poses/shapes.py and the named meshes of the folder. Mixtures are kept in OUTPUT.
"""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.markdown import table
from benchmarks.poses.shapes import SHAPES, write_shapes
from benchmarks.poses.trials import CONDITIONS, INSIDE, SUCCESS, Setting, measured
from benchmarks.study import Job, Rows, chosen, find_meshes, flags, key, provenance, study, told
from benchmarks.table2.methods import POSE_SOURCES

SOURCES = (
    *POSE_SOURCES,
    "fmb/pose/occlusion.py",
    "fmb/pose/refinement.py",
    "fmb/pose/verification.py",
    "fmb/pose/noise.py",
    "fmb/pose/visibility.py",
    "fmb/pose/simulation.py",
    "benchmarks/poses/trials.py",
)
HEAD = ("", "trials", f"within {SUCCESS:g}", "median", "mean", "claimed", "false claims", "ms of processor")
HEAD += ("ADD-S, %", "MSSD, %", "mean of e'C⁻¹e", "median", "in the 95 % region")


def line(name: str, rows: Rows) -> tuple[str, ...]:
    """A line of the table; e'C⁻¹e is that of poses that are right and claimed."""
    error, claimed = np.array([row["error"] for row in rows]), np.array([row["claimed"] for row in rows])
    good = error <= SUCCESS
    square = np.array([row["square"] for row in rows])[good & claimed]
    return (
        name,
        f"{len(rows)}",
        f"{good.mean():.1%}",
        f"{np.median(error):.2f}",
        f"{error.mean():.2f}",
        f"{claimed.mean():.1%}",
        f"{(claimed & ~good).mean():.1%}",
        f"{1e3 * np.median([row['seconds'] for row in rows]):.0f}",
        *(f"{np.median([row[name] for row in rows]):.2f}" for name in ("adds", "mssd")),
        f"{square.mean():.1f}" if len(square) else "-",
        f"{np.median(square):.1f}" if len(square) else "-",
        f"{(square <= INSIDE).mean():.0%}" if len(square) else "-",
    )


def section(rows: Rows, run: Sequence[str], setting: Setting) -> str:
    """The section's text."""
    names = list(dict.fromkeys(row["model"] for row in rows))
    lines = [line(name, found) for name in CONDITIONS if (found := chosen(rows, condition=name))]
    each = [line(name, chosen(rows, model=name)) for name in names]
    head = (
        f"{setting.components} components, images of {setting.width} x {setting.height}, starts turned by up to "
        f"{setting.degrees:g} degrees and moved by up to {setting.shift:g} scales. Error: geometric mean of degrees "
        f"and percent of the size. Hidden: a board with one straight edge before the object, seen in the depth. Noisy: "
        f"fmb/pose/simulation.py, an eighth of the mask missing. Claimed: `success`; false claims are those of "
        f"poses not within {SUCCESS:g}, as a share of all. ADD-S and MSSD: medians, in % of the size, MSSD for the "
        f"symmetries that the body has. e'C⁻¹e is 6 in the mean where the covariance is right, and "
        f"at most {INSIDE:.1f} in 95 of 100; of the poses that are right and claimed."
    )
    return "\n\n".join(("## Poses, hidden and noisy", *run, head, table(HEAD, lines), "By body:", table(HEAD, each)))


def main(argv: Sequence[str]) -> int:
    """Runs what is missing, then writes the section; 2 and one line for what the user can mend."""
    usual = Setting()
    numbers = {name: getattr(usual, name) for name in ("width", "height", "components", "degrees", "shift")}
    parser = flags(__doc__, "poses", {"trials": 10, **numbers}, seeds=(0,))
    parser.add_argument("--conditions", nargs="+", choices=tuple(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--evidence", choices=("both", "mask", "depth"), default="both")
    parser.add_argument("--mixture-alone", action="store_true", help="do not end on points of the mesh")
    options = parser.parse_args(argv)
    given = {name: getattr(options, name) for name in numbers}

    def work() -> str:
        meshes = write_shapes(options.output / "shapes", SHAPES)
        meshes += find_meshes(options.models, options.names, ("spot", "bunny", "arma"))
        settings = [
            Setting(**given, evidence=options.evidence, refined=not options.mixture_alone, seed=seed)
            for seed in options.seeds
        ]
        jobs = [
            Job(
                key(f"{mesh.stem}-{condition}-{number}", setting, SOURCES, [mesh]),
                partial(measured, mesh, number, condition, setting, options.output / "mixtures"),
            )
            for mesh in meshes
            for setting in settings
            for condition in options.conditions
            for number in range(options.trials)
        ]
        return section(study(jobs, options.output, "poses"), [provenance("poses", list(argv))], settings[0])

    return told(work, options.results, "poses")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
