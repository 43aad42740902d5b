"""How time and memory grow with pixels and components: a process for each size, a table and a log-log picture.

    python -m benchmarks.render.growth [--names render ...] [--largest] [--seconds 1] [--json FILE]
        [--results docs/results/render.md] [--picture docs/results/render_growth.png]
    python -m benchmarks.render.growth --redraw FILE [--picture ...]

The loss is that of one square view of the default mesh. Components other than 40 are as those of the GMM, smaller,
scattered in the volume. With --json the rows are kept, and --redraw draws them again without measuring.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from tqdm import tqdm

from benchmarks.markdown import number, table
from benchmarks.measure import machine
from benchmarks.render.methods import METHODS
from benchmarks.render.scenes import default_mesh, fitted_mixture, scattered_mixture, scene
from benchmarks.study import drawing_flags, picture_link, provenance, rows_of, told
from fm_render import Mixture
from fmb.machine import prepare_output_dir
from fmb.pictures.draw import FAINT, INK, pixels_of, write_picture
from fmb.pictures.sheets import BLUE, ORANGE

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600  # seconds after which a size is given up
COMPONENTS, SIDE = 40, 256  # what stays while the other grows
SIDES = (32, 64, 128, 256, 512, 1024)
COUNTS = (10, 40, 160, 640, 2_500, 10_000)
LARGEST = (1000, 1024)
COLORS = (ORANGE, BLUE, "#009e73", "#cc79a7", "#56b4e9")


class Growth(NamedTuple):
    """One size: milliseconds and MiB of the silhouette loss, alone and with its gradient, and MiB before it."""

    name: str
    components: int
    side: int
    forward_milliseconds: float
    both_milliseconds: float
    forward_mebibytes: float
    both_mebibytes: float
    idle_mebibytes: float

    @property
    def pixels(self) -> int:
        """Of the image."""
        return self.side**2

    @property
    def nanoseconds(self) -> float:
        """Loss and gradient, for each pair of a component and a pixel."""
        return 1e6 * self.both_milliseconds / (self.components * self.pixels)


def sizes_of(name: str, largest: bool) -> list[tuple[int, int]]:
    """(components, side) that a method is asked for, as far as it takes them."""
    sizes = [(COMPONENTS, side) for side in SIDES] + [(count, SIDE) for count in COUNTS if count != COMPONENTS]
    sizes += [LARGEST] if largest else []
    return [(count, side) for count, side in sizes if count * side**2 <= METHODS[name].most]


def write_scenes(path: Path, mesh: trimesh.Trimesh, fitted: Mixture, sizes: Sequence[tuple[int, int]]) -> None:
    """What the processes read."""
    arrays: dict[str, Any] = {}
    for side in {side for _, side in sizes}:
        cameras, _, silhouette, _ = scene(mesh, side, side)
        arrays |= {f"intrinsics_{side}": cameras.intrinsics, f"silhouette_{side}": silhouette}
        arrays["world_from_camera"] = cameras.world_from_camera
    for count in {count for count, _ in sizes}:
        mixture = fitted if count == len(fitted.mean) else scattered_mixture(mesh, fitted, count)
        arrays |= {f"{field}_{count}": value for field, value in mixture._asdict().items()}
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()}, allow_pickle=False)


def measure_growth(names: Sequence[str], largest: bool, seconds: float) -> list[Growth]:
    """Every size of every method, timed for about `seconds`."""
    mesh = default_mesh()
    jobs = [(name, *size) for name in names for size in sizes_of(name, largest)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scenes.npz"
        write_scenes(file, mesh, fitted_mixture(mesh, COMPONENTS), [job[1:] for job in jobs])
        return [_measure(file, job, seconds) for job in tqdm(jobs, desc="growth", leave=False)]


def _measure(file: Path, job: tuple[str, int, int], seconds: float) -> Growth:
    words = ["-m", "benchmarks.render.growth_process", str(file), *map(str, job), str(seconds)]
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(map(str, job))}: exit code {done.returncode}; {done.stderr[-500:]}")
    return Growth(*job, **json.loads(done.stdout.splitlines()[-1]))


def draw_growth(path: Path, rows: Sequence[Growth], where: str) -> Path:
    """Time and memory over pixels at one number of components, and over components at one number of pixels."""
    from matplotlib.figure import Figure

    prepare_output_dir(path.parent)
    figure = Figure(figsize=(9.6, 6.6), dpi=150)
    panels = figure.subplots(2, 2, sharey="row", sharex="col")
    figure.subplots_adjust(left=0.09, right=0.97, top=0.84, bottom=0.09, hspace=0.12, wspace=0.07)
    title = "Cost of the silhouette loss of one image, and of the loss with its gradient"
    figure.text(0.03, 0.945, title, size=12, weight="bold", color=INK)
    figure.text(0.03, 0.912, where, size=7, color=FAINT)
    for name, color in zip(dict.fromkeys(row.name for row in rows), COLORS, strict=False):
        own = [row for row in rows if row.name == name]
        _draw_curve(panels[:, 0], [row for row in own if row.components == COMPONENTS], "pixels", color)
        _draw_curve(panels[:, 1], [row for row in own if row.side == SIDE], "components", color)
    panels[0, 0].set_title(f"{COMPONENTS} components", size=9, color=INK)
    panels[0, 1].set_title(f"{SIDE} x {SIDE} pixels", size=9, color=INK)
    for axes, words in zip(panels[1], ("pixels", "components"), strict=True):
        axes.set_xlabel(words, size=9, color=INK)
    panels[0, 0].set_ylabel("time (ms)", size=9, color=INK)
    panels[1, 0].set_ylabel("peak memory of the process (MiB)", size=9, color=INK)
    for axes in panels.flat:
        _finish(axes)
    panels[1, 0].set_ylim(100.0, max(1000.0, 1.5 * max(row.both_mebibytes for row in rows)))
    panels[0, 0].legend(frameon=False, fontsize=8)
    return write_picture(path, pixels_of(figure))


def _draw_curve(panels: np.ndarray, rows: Sequence[Growth], axis: str, color: str) -> None:
    """Loss and gradient solid, the loss alone dashed."""
    rows = sorted(rows, key=attrgetter(axis))
    for kind, line, words in (("both", "-", "loss and gradient"), ("forward", "--", "loss")):
        for axes, unit in zip(panels, ("milliseconds", "mebibytes"), strict=True):
            found = [getattr(row, f"{kind}_{unit}") for row in rows]
            style = {"color": color, "marker": "o", "markersize": 4, "label": f"{rows[0].name}: {words}"}
            axes.plot([getattr(row, axis) for row in rows], found, line, **style)


def _finish(axes: Any) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.9g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)


def growth_table(rows: Sequence[Growth]) -> str:
    """Times and peaks by size."""
    head = ("", "components", "pixels", "loss, ms", "and gradient, ms", "ns per pair", "peak, MiB", "before, MiB")
    lines = (
        (
            row.name,
            f"{row.components:,}",
            f"{row.side}²",
            number(row.forward_milliseconds),
            number(row.both_milliseconds),
            f"{row.nanoseconds:.3f}",
            *(f"{x:,.0f}" for x in (row.both_mebibytes, row.idle_mebibytes)),
        )
        for row in rows
    )
    return table(head, lines)


def section(rows: Sequence[Growth], run: str, link: str) -> str:
    """The section's text."""
    words = (
        "Silhouette loss of one square image, a process for each size: the fastest call, and the most memory the "
        "process ever held; before: Python, JAX and the scene. A pair is a component and a pixel of all, met or not."
    )
    return "\n\n".join(filter(None, ("## Renderer: growth", run, words, link, growth_table(rows))))


def main(argv: list[str]) -> int:
    """Measures or reads, draws, prints and writes; 2 and one line for what the user can mend."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.render.growth", description=__doc__, formatter_class=style)
    parser.add_argument("--names", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--largest", action="store_true", help="also 1,000 components x 1024²")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each size; default: %(default)s")
    drawing_flags(parser)
    options = parser.parse_args(argv)

    def measure() -> dict[str, Any]:
        rows = measure_growth(options.names, options.largest, options.seconds)
        return {"machine": machine(), "rows": [row._asdict() for row in rows]}

    def work() -> str:
        found = rows_of(options, measure)
        rows = [Growth(**row) for row in found["rows"]]
        if options.picture:
            draw_growth(options.picture, rows, found["machine"])
        link = picture_link("Cost against pixels and components", options)
        return section(rows, provenance("render.growth", argv), link)

    return told(work, options.results, "render_growth")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
