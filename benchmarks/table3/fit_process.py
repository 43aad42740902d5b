"""Fits of one checkout for a comparison of two; started by pairs.py, with that checkout as the place of all imports.

    python -P FILE MESH_FOLDER SETTINGS_AS_JSON

Reads [mesh, noise, seed] as a line of JSON, answers with the row of that fit as one, and so on until its input ends.
Only names that table 3 has had since it exists are used here: the other checkout may be an old one.
"""

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.table3.methods import OURS, Settings
from benchmarks.table3.runs import Run, data, prepared
from fmb.fields.looks import measure


def fit(run: Run, repeats: int = 1) -> dict[str, float | str]:
    """The row of the last of so many fits: errors on unseen views, seconds by the clock and of all cores."""
    train, unseen = data(run)
    for _ in range(repeats):
        begin = time.process_time()
        outcome = prepared(run.method, run.settings)(train, run.seed)
        cores = time.process_time() - begin
    errors = measure(outcome.look(unseen.cameras, unseen.silhouette.shape[1:]), unseen, 1.0)
    return {
        "model": run.mesh.stem,
        "noise": run.noise,
        "seed": run.seed,
        "cross_entropy": float(errors["cross_entropy"]),
        "iou": float(errors["iou"]),
        "depth_percent": 100.0 * float(errors["depth_mae"]),
        "seconds": outcome.seconds,
        "cpu_seconds": cores,
        "load": os.getloadavg()[0],
    }


def main(folder: Path, settings: Settings) -> None:
    """Answers line by line."""
    repeats = 2  # the first fit compiles; what it took does not count
    for line in sys.stdin:
        mesh, noise, seed = json.loads(line)
        row = fit(Run(folder / mesh, noise, OURS, seed, settings), repeats)
        print(json.dumps(row), flush=True)
        repeats = 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Settings(**json.loads(sys.argv[2])))
