"""How far batches and big fits go: a simulation from measured constants, which writes the figures of docs/SCALING.md.

    python -m benchmarks.scaling [--document docs/SCALING.md]

Measured constants name their table. Those of networks and disks are from data sheets, since no cluster was at hand.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.markdown import number, table

BEGIN, END = "<!-- figures: python -m benchmarks.scaling -->", "<!-- end of figures -->"
STEPS, RAYS, COMPONENTS = 1_733, 2_048, 40  # of a default fit: docs/results/batch.md
BETWEEN = 1.2  # what moving components and doubting masks add to the steps, where devices take slots together
NUMBERS = 13  # of a component, as they are averaged: mean, 3 x 3, sharpness
BYTES_OF_RAY = 36  # origin, direction, silhouette, weight, and what is believed


class Constants(NamedTuple):
    """What was measured, or, of networks and disks, is promised."""

    prepare: float = 0.6  # seconds of a core to read a mesh, draw 52 views, start: docs/results/batch.md
    finish: float = 2.1  # and to measure, extract the surface, write
    pair_of_many: float = 0.41e-9  # seconds of an H200 for loss and slope, 40 components: docs/results/gpu.md
    pair_of_large: float = 0.045e-9  # 10,000 components: there
    result_bytes: float = 1.2e6  # of a shape, almost all of its mesh: twelve models at default options
    input_bytes: float = 1.0e6  # assumed
    files: int = 4
    link: float = 50e9  # bytes a second of a device's network (400 Gbit/s)
    latency: float = 5e-6  # seconds of a message between hosts
    disk: float = 10e9  # bytes a second of a shared file system
    opened: float = 20e3  # files a second that it creates
    jitter: float = 0.05  # deviation of a device's step, of its mean


class Batch(NamedTuple):
    """A batch on some devices: shapes a second that each part could do."""

    devices: int
    cores: int
    fits: float
    workers: float
    disk: float
    files: float

    @property
    def pace(self) -> float:
        """Shapes a second of the slowest part."""
        return min(self[2:])

    @property
    def wall(self) -> str:
        """What that is."""
        return self._fields[2 + int(np.argmin(self[2:]))]


def batch(devices: int, cores: int, known: Constants) -> Batch:
    """A batch on GPUs with so many cores beside each; parts work at the same time."""
    fit = BETWEEN * STEPS * RAYS * COMPONENTS * known.pair_of_many
    workers = devices * cores / (known.prepare + known.finish)
    disk = known.disk / (known.result_bytes + known.input_bytes)
    return Batch(devices, cores, devices / fit, workers, disk, known.opened / known.files)


class Step(NamedTuple):
    """A step of one large fit, in seconds: computing, averaging the slope, waiting for the slowest device."""

    compute: float
    average: float
    wait: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.average + self.wait


def step(devices: int, rays: int, components: int, known: Constants, seed: int = 0) -> Step:
    """A step of so many rays; the slope goes round a ring, or up and down a tree where that is faster."""
    compute = rays / devices * components * known.pair_of_large
    size = 4 * NUMBERS * components
    ring = 2 * (devices - 1) * known.latency + 2 * (devices - 1) / devices * size / known.link
    tree = 2 * math.ceil(math.log2(devices)) * (known.latency + size / known.link) if devices > 1 else 0.0
    slowest = np.random.default_rng(seed).normal(0.0, known.jitter, (1000, devices)).max(axis=1).mean()
    return Step(compute, min(ring, tree), compute * float(slowest) if devices > 1 else 0.0)


def figures(known: Constants) -> str:
    """Both tables."""
    rows = []
    for devices, cores in ((1, 16), (8, 16), (100, 16), (100, 64)):
        found = batch(devices, cores, known)
        hours = 1e6 / found.pace / 3600
        rows.append(
            (
                f"{devices} x {cores} cores",
                *(number(value) for value in found[2:]),
                number(found.pace),
                found.wall,
                number(hours),
            )
        )
    shapes = table(("GPUs", "fits", "workers", "disk", "files", "shapes a second", "wall", "hours for 10⁶"), rows)
    rows = []
    for rays in (65_536, 1_048_576, 16_777_216):
        alone = step(1, rays, 10_000, known).total
        for devices in (1, 8, 100):
            now = step(devices, rays, 10_000, known)
            share = alone / now.total / devices
            times = (number(1e3 * value) for value in (*now, now.total))
            rows.append(
                (f"{rays:,} rays, {devices} GPUs", *times, f"{100 * share:.0f} %", number(1e9 / rays * now.total))
            )
    head = (
        "a step of 10,000 components",
        "compute, ms",
        "average, ms",
        "wait, ms",
        "all, ms",
        "of ideal",
        "s for 10⁹ rays",
    )
    moved = 1e6 * (known.result_bytes + known.input_bytes) / 1e12
    words = (
        f"10⁶ shapes move {moved:.1f} TB to and from disk, in {known.files * 1e6:,.0f} files. A step of a large fit "
        f"sends {4 * NUMBERS * 10_000 / 1e6:.2f} MB from each device. 10⁹ rays are {BYTES_OF_RAY} GB, on each device."
    )
    return "\n\n".join((shapes, words, table(head, rows)))


def main(argv: Sequence[str]) -> int:
    """Prints the figures, or puts them into the document."""
    parser = argparse.ArgumentParser("python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--document", type=Path)
    options = parser.parse_args(argv)
    text = figures(Constants())
    print(text)
    if options.document:
        before, _, rest = options.document.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        options.document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
