"""How time and memory grow with rays and components: one process for each size, a table and a log-log plot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from benchmarks.render.scenes import image, scattered_mixture, shuffled
from fm_render import Mixture
from fmb.machine import prepare_output_dir
from fmb.pictures.draw import FAINT, INK, pixels_of, write_picture
from fmb.pictures.sheets import BLUE, ORANGE

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600  # after which a size is given up


class Growth(NamedTuple):
    """One size: milliseconds and MiB of the silhouette loss, alone and with its gradient, and MiB before it."""

    components: int
    rays: int
    forward_milliseconds: float
    both_milliseconds: float
    forward_mebibytes: float
    both_mebibytes: float
    idle_mebibytes: float


def measure_growth(
    mesh: trimesh.Trimesh, fitted: Mixture, sizes: list[tuple[int, int]], seconds: float, folder: Path
) -> list[Growth]:
    """Every (components, rays) of `sizes`, timed for about `seconds`; `folder` holds what the processes read."""
    side = int(np.ceil(np.sqrt(max(rays for _, rays in sizes))))
    batch = shuffled(image(mesh, side, side), side * side)
    arrays = {"origin": batch.rays.origin, "direction": batch.rays.direction, "silhouette": batch.silhouette}
    for count in {components for components, _ in sizes}:
        mixture = fitted if count == len(fitted.mean) else scattered_mixture(mesh, fitted, count)
        arrays |= {f"{name}_{count}": value for name, value in mixture._asdict().items()}
    scene = folder / "scene.npz"
    np.savez(scene, **{name: np.asarray(value) for name, value in arrays.items()}, allow_pickle=False)
    return [_measure(scene, components, rays, seconds) for components, rays in sizes]


def _measure(scene: Path, components: int, rays: int, seconds: float) -> Growth:
    command = [
        sys.executable,
        "-m",
        "benchmarks.render.growth_process",
        str(scene),
        str(components),
        str(rays),
        str(seconds),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise ValueError(f"{components} components x {rays} rays: exit code {done.returncode}; {done.stderr[-500:]}")
    return Growth(components, rays, **json.loads(done.stdout.splitlines()[-1]))


def draw_growth(path: Path, rows: list[Growth], machine: str) -> Path:
    """Time and memory over rays at one number of components, and over components at one number of rays."""
    from matplotlib.figure import Figure

    prepare_output_dir(path.parent)
    figure = Figure(figsize=(9.6, 6.6), dpi=150)
    panels = figure.subplots(2, 2, sharey="row", sharex="col")
    figure.subplots_adjust(left=0.09, right=0.97, top=0.84, bottom=0.09, hspace=0.12, wspace=0.07)
    figure.text(
        0.03, 0.945, "Cost of the silhouette loss, with and without its gradient", size=12, weight="bold", color=INK
    )
    figure.text(0.03, 0.912, machine, size=7, color=FAINT)
    for column, (axis, fixed) in enumerate((("rays", "components"), ("components", "rays"))):
        same = most_common([getattr(row, fixed) for row in rows])
        part = sorted((row for row in rows if getattr(row, fixed) == same), key=lambda row: getattr(row, axis))
        size = np.array([getattr(row, axis) for row in part], float)
        panels[0, column].set_title(f"{same:,} {fixed}", size=9, color=INK)
        panels[1, column].set_xlabel(axis, size=9, color=INK)
        for name, color, words in (("both", ORANGE, "loss and gradient"), ("forward", BLUE, "loss")):
            style = {"color": color, "marker": "o", "markersize": 4, "linewidth": 1.6, "label": words}
            panels[0, column].plot(size, [getattr(row, f"{name}_milliseconds") for row in part], **style)
            panels[1, column].plot(size, [getattr(row, f"{name}_mebibytes") for row in part], **style)
        idle = [row.idle_mebibytes for row in part]
        panels[1, column].plot(size, idle, color=FAINT, linestyle=":", label="the same process before")
        slope = part[-1].both_milliseconds * size / size[-1]
        panels[0, column].plot(size, slope, color=FAINT, linestyle=":", label="proportional")
    panels[0, 0].set_ylabel("time (ms)", size=9, color=INK)
    panels[1, 0].set_ylabel("peak memory of the process (MiB)", size=9, color=INK)
    for axes in panels.flat:
        _finish(axes)
    panels[0, 0].legend(frameon=False, fontsize=8)
    panels[1, 0].legend(frameon=False, fontsize=8, loc="lower left")
    panels[1, 0].set_ylim(100.0, max(1000.0, 1.5 * max(row.both_mebibytes for row in rows)))
    return write_picture(path, pixels_of(figure))


def most_common(values: list[int]) -> int:
    """The value that occurs most often."""
    return max(set(values), key=values.count)


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
