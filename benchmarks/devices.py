"""What spreading costs: the same work on 1, 2, 4 and 8 simulated devices of one CPU, a process for each number.

    python -m benchmarks.devices [--devices 1 2 4 8] [--chunks 3] [--results docs/results/scaling.md]

Simulated devices share the cores, so no more is done in a second. What can be measured is how much processor time the
same work takes in all, and how it is shared out: real devices would divide the work of each, but not the overhead.

slots: sixteen fits of the default size at once, 16 / n on each device; nothing is communicated. rays: one fit whose
steps of 8,192 rays are spread over the devices; loss and slope are averaged after each.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.markdown import number, table
from benchmarks.study import provenance, told

ROOT = Path(__file__).resolve().parents[1]
FITS, RAYS, VIEWS, SIDE, COMPONENTS = 16, 8192, 20, 64, 40
KINDS = {"slots": f"{FITS} fits at once", "rays": f"one fit, {RAYS:,} rays a step"}


class Cost(NamedTuple):
    """One number of devices: processor and clock milliseconds of a step of all work, and the loss reached."""

    kind: str
    devices: int
    processor: float
    wall: float
    loss: float


def measured(kind: str, devices: int, chunks: int) -> Cost:
    """The cost in this process, which must have that many devices."""
    from benchmarks.render.scenes import default_mesh, fitted_mixture
    from fmb.geometry.options import RenderingOptions
    from fmb.shape.options import OptimizationOptions
    from fmb.shape.recipe import conversion_views

    mesh = default_mesh()
    small = RenderingOptions(num_views=VIEWS, image_width=SIDE, image_height=SIDE)
    views = conversion_views(mesh, np.random.default_rng(1), small)._replace(depth=None)
    options = OptimizationOptions(early_stop=False)
    advance = MEASURES[kind](fitted_mixture(mesh, COMPONENTS), views, options, devices)
    advance()  # compiles
    processor, wall = time.process_time(), time.perf_counter()
    for _ in range(chunks):
        steps, loss = advance()
    spent = time.process_time() - processor, time.perf_counter() - wall
    return Cost(kind, devices, *(1000.0 * seconds / (chunks * steps) for seconds in spent), loss)


def in_slots(start, views, options, devices: int) -> Callable[[], tuple[int, float]]:
    """Takes a chunk of steps of all fits; how many, and the mean loss."""
    from fmb.shape.batch import Fits
    from fmb.shape.recipe import begin_work, plan_shape_fit

    plan = plan_shape_fit(start, views.silhouette.shape, options)
    plan = plan._replace(recipe=plan.recipe._replace(attends=False))  # the steps alone
    works = [begin_work(plan, start, views, np.random.default_rng(seed)) for seed in range(FITS)]
    fits = Fits(plan, works[0], devices, FITS // devices)
    for ticket, work in enumerate(works):
        fits.put(ticket, work)

    def advance() -> tuple[int, float]:
        fits.advance()
        return plan.fit.chunk, float(np.mean([np.mean(tenant.loss[-1]) for tenant in fits.tenants]))

    return advance


def over_devices(start, views, options, devices: int) -> Callable[[], tuple[int, float]]:
    """Takes a chunk of steps of one fit; how many, and the mean loss."""
    from fmb.fit.loop import begin
    from fmb.shape.recipe import begin_work, compile_shape_fit

    options = replace(options, batch_size=RAYS, fit_devices=devices)
    program = compile_shape_fit(start, views.silhouette.shape, options)
    work = begin_work(program, start, views, np.random.default_rng(2))
    batches, state = work.batches(program.fit.options), [begin(work.start), program.fit.pace(work.steps_per_epoch)]

    def advance() -> tuple[int, float]:
        index = np.stack([next(batches) for _ in range(program.fit.chunk)])
        state[0], state[1], steps = program.fit.run(*state, work.sample, jax.numpy.asarray(index))
        return program.fit.chunk, float(np.mean(steps.loss))

    return advance


MEASURES = {"slots": in_slots, "rays": over_devices}


def in_process(kind: str, devices: int, chunks: int) -> Cost:
    """`measured` in a process with so many devices.  Raises ValueError where it fails."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    environment["JAX_PLATFORMS"] = "cpu"
    program = "import json, sys; from benchmarks.devices import measured as f"
    program += "; print(json.dumps(f(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))"
    command = [sys.executable, "-c", program, kind, str(devices), str(chunks)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{kind} on {devices} devices: exit code {done.returncode}; {done.stderr[-500:]}")
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def section(rows: Sequence[Cost], run: str) -> str:
    """The section's text."""
    head = ("", "devices", "of the work on each", "processor, ms a step", "of one device's", "clock, ms a step", "loss")
    lines = []
    for row in rows:
        first = next(other for other in rows if other.kind == row.kind)
        share, over = f"1/{row.devices}", f"{row.processor / first.processor:.2f}"
        times = number(row.processor), over, number(row.wall)
        lines.append((KINDS[row.kind], str(row.devices), share, *times, f"{row.loss:.6f}"))
    words = (
        f"The same work on simulated devices, which share the cores of one machine: {COMPONENTS} components, {VIEWS} "
        f"views of {SIDE} x {SIDE}. What a column says beyond 1 is what spreading itself costs; the clock would "
        "fall only on devices of their own."
    )
    return "\n\n".join(("## Simulated devices", run, words, table(head, lines)))


def main(argv: list[str]) -> int:
    """Measures, prints and writes; 2 and one line for what the user can mend."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.devices", description=__doc__, formatter_class=style)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8], help="default: %(default)s")
    parser.add_argument("--chunks", type=int, default=3, help="chunks of steps that are timed; default: %(default)s")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv)

    def work() -> str:
        rows = [in_process(kind, devices, options.chunks) for kind in MEASURES for devices in options.devices]
        return section(rows, provenance("devices", argv))

    return told(work, options.results, "devices")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
