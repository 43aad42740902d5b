"""The real program with its workers, killed at twenty moments of a batch of thirty: nothing is lost or repeated."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

PROGRAM = Path(__file__).resolve().parents[2] / "run_fmb.py"
FLAGS = "--num-views 4 --image-width 12 --image-height 12 --num-mixtures 3 --batch-size 64 --num-epochs 40 --cpu"
FLAGS += " --gmm-points 200 --mesh none --batch-workers 2 --batch-devices 1 --batch-slots 1"
KILLS, SHAPES = 20, 30


def wait(until: Callable[[], bool], seconds: float = 400.0) -> None:
    """Until it is so; fails where that takes too long."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)


def alive(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def table(folder: Path) -> list[dict[str, str]]:
    """The rows without what is measured in seconds."""
    rows = csv.DictReader((folder / "batch" / "table.csv").read_text().splitlines())
    return [{name: row[name] for name in row if "seconds" not in name} for row in rows]


@pytest.mark.slow
def test_the_program_killed_at_twenty_moments_gives_the_same_table(tmp_path):
    (tmp_path / "in").mkdir()
    generator = np.random.default_rng(0)
    for number in range(SHAPES):
        trimesh.creation.box(generator.uniform(0.4, 1.0, 3)).export(tmp_path / "in" / f"{number:02}.ply")
    command = [sys.executable, str(PROGRAM), "batch", str(tmp_path / "in"), *FLAGS.split(), "--output-dir"]
    shapes, log = tmp_path / "killed" / "batch" / "shapes", (tmp_path / "log").open("w")

    def done() -> dict[str, int]:
        paths = [path for path in shapes.iterdir() if not path.name.startswith(".")] if shapes.is_dir() else []
        for path in paths:
            assert {entry.name for entry in path.iterdir()} == {"metrics.json", "model.npz", "thumbnail.png"}
        return {path.name: (path / "model.npz").stat().st_mtime_ns for path in paths}

    before, longest, passed = {}, 5.0, []
    for kill in range(KILLS):
        more, began = int(generator.integers(0, 2)) if len(before) < SHAPES - 4 else 0, time.monotonic()
        child = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=log, stderr=log, start_new_session=True)
        if more:
            count = len(before) + more
            wait(lambda child=child, count=count: child.poll() is not None or len(done()) >= count)
            longest = time.monotonic() - began
            time.sleep(generator.uniform(0.0, 0.1))
        else:  # while it starts, or before its first shape
            time.sleep(generator.uniform(0.0, longest))
        assert child.poll() is None, f"it was over before it was killed: {(tmp_path / 'log').read_text()[-2000:]}"
        child.kill()
        child.wait()
        wait(lambda pid=child.pid: not alive(pid))
        now = done()
        assert before.items() <= now.items(), "what was done stays as it is"
        before = now
        passed.append((kill, more, len(now), round(time.monotonic() - began, 1)))
    print(passed)
    assert 10 < len(before) < SHAPES
    for place in ("killed", "whole"):
        assert subprocess.run([*command, str(tmp_path / place)], stdout=log, stderr=log, check=False).returncode == 0
    assert before.items() <= done().items() and len(done()) == SHAPES
    assert not [path for path in shapes.iterdir() if path.name.startswith(".")]
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
