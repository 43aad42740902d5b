"""Is the covariance right in images of every size? Bodies that nothing was calibrated with, clean, noisy and hidden.

    python -m benchmarks.poses.sizes --models FOLDER --output output/poses --results docs/results/poses.md

Mixtures are kept in OUTPUT. With --mixture-alone the search does not end on points of the mesh.
"""

import sys
from collections.abc import Sequence
from functools import partial
from itertools import product

from benchmarks.markdown import table
from benchmarks.poses.__main__ import HEAD, SOURCES, line
from benchmarks.poses.trials import INSIDE, Setting, measured
from benchmarks.study import Job, Rows, chosen, find_meshes, flags, key, provenance, study, told

SIZES = ((40, 30), (80, 60), (160, 120), (320, 240), (640, 480))  # width, height
SPOILT = ("clean", "noisy", "30 % hidden, noisy")
UNSEEN = ("cow", "lucy", "dragon", "blub")  # none looks the same from two poses, as a gear does


def measured_at(size: tuple[int, int], **given) -> dict:
    """A row of `measured`, and the size of its images."""
    return {"size": list(size), **measured(**given)}


def section(rows: Rows, run: str, alone: bool) -> str:
    """The section's text."""
    lines = []
    for size in SIZES:
        some = chosen(rows, size=list(size))
        lines += [line(f"{size[0]} x {size[1]}, {name}", chosen(some, condition=name)) for name in SPOILT if some]
    ends = "the mixture alone" if alone else "points of the mesh at the end"
    text = (
        f"Bodies: {', '.join(dict.fromkeys(row['model'] for row in rows))}, which no constant was chosen with; {ends}. "
        f"Columns as above: e'C⁻¹e is 6 in the mean where the covariance is right, and at most {INSIDE:.1f} in 95 of "
        f"100; of the poses that are right and claimed."
    )
    title = "Covariance by the size of the image" + (", mixture alone" if alone else "")
    return "\n\n".join((f"## {title}", run, text, table(HEAD, lines)))


def main(argv: Sequence[str]) -> int:
    """Runs what is missing, then writes the section; 2 and one line for what the user can mend."""
    parser = flags(__doc__, "poses.sizes", {"trials": 4}, seeds=(11,))
    parser.add_argument("--mixture-alone", action="store_true", help="do not end on points of the mesh")
    options = parser.parse_args(argv)

    def work() -> str:
        meshes = find_meshes(options.models, options.names, UNSEEN)
        jobs = []
        for size, seed, mesh, condition, number in product(SIZES, options.seeds, meshes, SPOILT, range(options.trials)):
            setting = Setting(*size, refined=not options.mixture_alone, seed=seed)
            row = {"mesh": mesh, "number": number, "condition": condition, "setting": setting}
            make = partial(measured_at, size, **row, cache=options.output / "mixtures")
            jobs.append(Job(key(f"size-{mesh.stem}-{condition}-{number}", setting, SOURCES, [mesh]), make))
        rows = study(jobs, options.output, "sizes")
        return section(rows, provenance("poses.sizes", list(argv)), options.mixture_alone)

    return told(work, options.results, "sizes_alone" if options.mixture_alone else "sizes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
