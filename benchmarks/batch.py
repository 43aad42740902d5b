"""Shapes per minute of `batch` against one program a shape, on the same meshes with the same views.

    python -m benchmarks.batch MESH [MESH ...] [--alone 3] [--results docs/results/batch.md] [--options "--mesh none"]

Processor time counts all processes that a command starts; on a machine that does other work it alone can be compared.
The alone runs take the first meshes, as a user would, one after the other; their views are ray cast, as in a batch.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.markdown import table
from benchmarks.measure import machine

ROOT = Path(__file__).resolve().parents[1]
BECOME_REAPER = 36  # of Linux's prctl: processes whose parent ends become ours, so that their time is counted


class Spent(NamedTuple):
    """Seconds of a command: on the clock, and of the processor in all its processes."""

    wall: float
    processor: float


def run(words: Sequence[str]) -> Spent:
    """The program with these words, until all of its processes have ended."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(ROOT / "run_fmb.py"), *words, "--cpu"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall, sum(getattr(after, part) - getattr(before, part) for part in ("ru_utime", "ru_stime")))


def compared(meshes: Sequence[str], alone: int, options: Sequence[str], folder: Path) -> dict[str, Any]:
    """Both ways, and how good what they make is."""
    run([meshes[0], "--output-dir", str(folder / "warm"), "--ground-truth", "raycast", *options])  # compiles
    run(["batch", *meshes[:1], "--output-dir", str(folder / "warm_batch"), *options])
    ones = []
    for mesh in meshes[:alone]:
        place = folder / "alone" / Path(mesh).stem
        ones.append(run([mesh, "--output-dir", str(place), "--ground-truth", "raycast", *options]))
    together = run(["batch", *meshes, "--output-dir", str(folder / "batch"), *options])
    rows = []
    for mesh in meshes[:alone]:
        name = Path(mesh).stem
        one, other = (
            json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            for place in (folder / "alone" / name, folder / "batch" / "shapes" / name)
        )
        rows.append({"name": name, "alone": one["novel"], "batch": other["novel"]})
    return {"alone": ones, "together": together, "count": len(meshes), "quality": rows}


def report(found: dict[str, Any], options: str) -> str:
    """The section's text."""
    count, together = found["count"], found["together"]
    wall, processor = (np.array([getattr(one, part) for one in found["alone"]]) for part in Spent._fields)
    each = Spent(together.wall / count, together.processor / count)
    lines = [
        ("one program a shape", f"{wall.mean():.2f}", f"{processor.mean():.2f}", f"{60 / wall.mean():.1f}", "1"),
        (
            f"batch of {count}",
            f"{each.wall:.2f}",
            f"{each.processor:.2f}",
            f"{60 / each.wall:.1f}",
            f"{wall.mean() / each.wall:.2f} ({processor.mean() / each.processor:.2f} by processor)",
        ),
    ]
    errors = [
        (row["name"], *(f"{row[way][value]:.4f}" for value in ("iou", "cross_entropy") for way in ("alone", "batch")))
        for row in found["quality"]
    ]
    differ = [row["batch"]["iou"] - row["alone"]["iou"] for row in found["quality"]]
    spread = f"{np.mean(differ):+.4f} in the mean, spread {np.std(differ):.4f}"
    given = f"{count} meshes{f' and {options}' if options else ''}"
    spreads = f"spread {wall.std():.2f} s, {processor.std():.2f} s of processor"
    return "\n\n".join(
        (
            "# Batches of shapes",
            f"Command: `python -m benchmarks.batch` with {given}. {machine()}.",
            f"Seconds a shape, mean of {len(wall)} runs alone ({spreads}).",
            table(("", "s", "s of processor", "a minute", "times as fast"), lines),
            f"Unseen views, alone and in the batch, same seed and views; IoU differs by {spread}.",
            table(("", "IoU alone", "IoU batch", "cross-entropy alone", "cross-entropy batch"), errors),
        )
    )


def main(argv: list[str]) -> int:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser("python -m benchmarks.batch", description=__doc__)
    parser.add_argument("meshes", nargs="+")
    parser.add_argument("--alone", type=int, default=3, help="meshes that are fitted alone, too")
    parser.add_argument("--options", default="", help="options of both ways")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args(argv)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(BECOME_REAPER, 1)
    with tempfile.TemporaryDirectory() as folder:
        words = report(compared(options.meshes, options.alone, options.options.split(), Path(folder)), options.options)
    print(words)
    if options.results:
        options.results.write_text(words + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
