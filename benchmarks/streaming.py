"""Peak memory and time of fits to captures of more and more views, in memory and from disk; a process for each.

    python -m benchmarks.streaming [--side 512] [--views 50 200 800] [--in-memory 25 50 100] [--steps 500]
        [--json FILE] [--results docs/results/scaling.md] [--picture docs/figures/streaming.png]
    python -m benchmarks.streaming --redraw FILE [--picture ...]

The captures are folders of PNG masks, drawn by the renderer from a mixture in the volume of the default mesh. Each
fit takes the same number of steps, so that only the views differ. A process reads the capture, begins and fits, as task
`shape` does, and writes no pictures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.markdown import number, table
from benchmarks.measure import machine, peak_memory
from benchmarks.study import drawing_flags, picture_link, provenance, rows_of, told
from fmb.machine import prepare_output_dir, write_text
from fmb.pictures.draw import FAINT, INK, pixels_of, write_picture
from fmb.pictures.sheets import BLUE, ORANGE

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1200  # seconds after which a fit is given up
COMPONENTS = 40
KINDS = {"never": "in memory", "always": "from disk"}


class Cost(NamedTuple):
    """One fit: where its views were, MiB before and at the peak, processor seconds of reading and of the fit."""

    kind: str
    views: int
    side: int
    idle_mebibytes: float
    peak_mebibytes: float
    open_seconds: float
    fit_seconds: float
    view_iou: float


def write_capture(folder: Path, count: int, side: int) -> None:
    """Masks of a mixture that fills the default mesh, from cameras all around, as a capture of our own format."""
    from PIL import Image

    from benchmarks.render.scenes import DISTANCE, FIELD_OF_VIEW, SEED, default_mesh, fitted_mixture, single
    from fmb.fields.looks import look
    from fmb.files.captures.plain import write_cameras
    from fmb.geometry.cameras import pinhole_intrinsics, random_cameras
    from fmb.geometry.views import select_views

    mesh = default_mesh()
    mixture = fitted_mixture(mesh, COMPONENTS)
    intrinsics = pinhole_intrinsics(side, side, FIELD_OF_VIEW)
    cameras = random_cameras(np.random.default_rng(SEED), count, DISTANCE, intrinsics)
    names = [f"{view:05d}" for view in range(count)]
    (folder / "masks").mkdir(parents=True)
    for view, name in enumerate(names):
        seen = look(mixture, single(select_views(cameras, slice(view, view + 1))), (side, side))
        Image.fromarray(np.round(255 * seen.alpha[0]).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    write_cameras(folder / "cameras.json", cameras, (side, side), names)


def fit_once(folder: str, kind: str, steps: int) -> dict[str, float]:
    """What a fit to the capture costs; to be called in a process of its own."""
    from fmb.config import Config
    from fmb.shape.recipe import compile_shape_fit, fit_to_views
    from fmb.shape.sampling import sample_outlines
    from fmb.shape.start import start_mixture
    from fmb.shape.stream_fit import compile_stream_fit, fit_to_stream
    from fmb.tasks.streamed import open_views

    idle, began = peak_memory(), time.process_time()
    config = Config(task="shape")
    capture = replace(config.capture, data=folder, longest_side=0, hold_out=0, stream_views=kind)
    config = replace(config, capture=capture, optimization=replace(config.optimization, num_epochs=1))
    scene = open_views(config, np.random.default_rng(0))
    start = start_mixture(None, config.model, 0, "best", scene.inside).mixture
    opened, generator = time.process_time() - began, np.random.default_rng(1)
    began = time.process_time()
    if scene.stream is None:
        program, views = compile_shape_fit(start, scene.shape, config.optimization), scene.look().views["train"]
        rays = sample_outlines(views.silhouette, views.valid, 1).epoch
        fit = fit_to_views(shortened(program, steps, rays), start, views, generator)
    else:
        program = compile_stream_fit(start, scene.stream, config.optimization)
        fit = fit_to_stream(shortened(program, steps, scene.stream.epoch), start, scene.stream, generator)
    return {
        "idle_mebibytes": idle,
        "peak_mebibytes": peak_memory(),
        "open_seconds": opened,
        "fit_seconds": time.process_time() - began,
        "view_iou": float(np.mean(fit.view_iou)),
    }


def shortened(program: Any, steps: int, rays: int) -> Any:
    """The program of one epoch of so many rays, cut to that many steps."""
    return program._replace(effort=steps / (rays // program.fit.options.batch_size))


def part_of(folder: Path, place: Path, count: int, side: int) -> None:
    """The first `count` views of a capture as one of their own."""
    content = json.loads((folder / "cameras.json").read_text(encoding="utf-8"))
    (place / "masks").mkdir(parents=True)
    for view in content["views"][:count]:
        (place / "masks" / f"{view['name']}.png").hardlink_to(folder / "masks" / f"{view['name']}.png")
    write_text(place / "cameras.json", json.dumps({**content, "views": content["views"][:count]}))


def measure(side: int, sizes: Sequence[tuple[str, int]], steps: int) -> list[Cost]:
    """Every fit in a process of its own, on parts of one capture."""
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        write_capture(whole, max(count for _, count in sizes), side)
        rows = []
        for kind, count in tqdm(sizes, desc="fits", leave=False):
            place = Path(name) / f"{count}"
            if not place.is_dir():
                part_of(whole, place, count, side)
            rows.append(Cost(kind, count, side, **in_process(place, kind, steps)))
            print(rows[-1], file=sys.stderr, flush=True)  # what is known where the rest is stopped
    return rows


def in_process(place: Path, kind: str, steps: int) -> dict[str, float]:
    """`fit_once` in a process of its own.  Raises ValueError where it fails."""
    program = "import json, sys; from benchmarks.streaming import fit_once as f"
    program += "; print(json.dumps(f(sys.argv[1], sys.argv[2], int(sys.argv[3]))))"
    command = [sys.executable, "-c", program, str(place), kind, str(steps)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise ValueError(f"{place.name} views {KINDS[kind]}: exit code {done.returncode}; {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def cost_table(rows: Sequence[Cost]) -> str:
    """Memory and seconds by the number of views."""
    head = (
        "views are",
        "views",
        "pixels",
        "peak, MiB",
        "of it the fit, MiB",
        "bytes a pixel",
        "reading, s",
        "fit, s",
        "IoU",
    )
    lines = []
    for row in rows:
        grown, pixels = row.peak_mebibytes - row.idle_mebibytes, row.views * row.side**2
        numbers = f"{row.peak_mebibytes:,.0f}", f"{grown:,.0f}", f"{grown * 2**20 / pixels:,.1f}"
        seconds = number(row.open_seconds), number(row.fit_seconds)
        lines.append((KINDS[row.kind], f"{row.views:,}", f"{pixels:,}", *numbers, *seconds, f"{row.view_iou:.4f}"))
    return table(head, lines)


def draw_costs(path: Path, rows: Sequence[Cost], where: str) -> Path:
    """Peak memory and processor seconds over the number of views."""
    from matplotlib.figure import Figure

    prepare_output_dir(path.parent)
    figure = Figure(figsize=(9.6, 4.4), dpi=150)
    memory, seconds = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.8, bottom=0.13, wspace=0.22)
    side = rows[0].side
    figure.text(0.02, 0.93, f"Fits to views of {side} x {side} pixels", size=12, weight="bold", color=INK)
    figure.text(0.02, 0.88, where, size=6, color=FAINT)
    for kind, color in (("never", ORANGE), ("always", BLUE)):
        own = sorted((row for row in rows if row.kind == kind), key=attrgetter("views"))
        if own:
            views, style = [row.views for row in own], {"color": color, "marker": "o", "markersize": 5}
            memory.plot(views, [row.peak_mebibytes / 1024 for row in own], label=f"views {KINDS[kind]}", **style)
            spent = [row.open_seconds + row.fit_seconds for row in own]
            seconds.plot(views, spent, label=f"views {KINDS[kind]}", **style)
    for axes, words in ((memory, "peak memory of the process (GiB)"), (seconds, "processor time (s)")):
        axes.set(xscale="log", xlabel="views", ylabel=words)
        axes.set_ylim(0.0, None)
        ticks = sorted({row.views for row in rows})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#ececec", linewidth=0.7)
        axes.legend(frameon=False, fontsize=8)
    return write_picture(path, pixels_of(figure))


def section(rows: Sequence[Cost], run: str, link: str, steps: int) -> str:
    """The section's text."""
    words = (
        f"A fit of {COMPONENTS} components in {steps} steps to views of {rows[0].side} x {rows[0].side} pixels, a "
        "process each; peak: the most memory that it ever held; seconds are the processor's. Reading looks through all "
        "views once. IoU is the mean over all views fitted to; with so few steps it says only that both fits agree."
    )
    return "\n\n".join(filter(None, ("## Views in memory and from disk", run, words, link, cost_table(rows))))


def main(argv: list[str]) -> int:
    """Measures or reads, draws, prints and writes; 2 and one line for what the user can mend."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.streaming", description=__doc__, formatter_class=style)
    parser.add_argument("--side", type=int, default=512, help="pixels; default: %(default)s")
    parser.add_argument("--views", type=int, nargs="*", default=[50, 200, 800], help="counts that are streamed")
    parser.add_argument("--in-memory", type=int, nargs="*", default=[25, 50, 100], help="counts that are not")
    parser.add_argument("--steps", type=int, default=500, help="of each fit; default: %(default)s")
    drawing_flags(parser)
    options = parser.parse_args(argv)

    def measured() -> dict[str, Any]:
        sizes = [("never", count) for count in options.in_memory] + [("always", count) for count in options.views]
        rows = measure(options.side, sizes, options.steps)
        return {"machine": machine(), "steps": options.steps, "rows": [row._asdict() for row in rows]}

    def work() -> str:
        found = rows_of(options, measured)
        rows = [Cost(**row) for row in found["rows"]]
        if options.picture:
            draw_costs(options.picture, rows, found["machine"])
        link = picture_link("Memory and time against views", options)
        return section(rows, provenance("streaming", argv), link, found["steps"])

    return told(work, options.results, "streaming")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
