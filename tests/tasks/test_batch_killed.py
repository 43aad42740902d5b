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
    rows = csv.DictReader((folder / "table.csv").read_text().splitlines())
    return [{name: row[name] for name in row if "seconds" not in name} for row in rows]


def finished(folder: Path) -> dict[str, int]:
    """The shapes that are done, whole each, and when each was written."""
    shapes = folder / "shapes"
    paths = [path for path in shapes.iterdir() if not path.name.startswith(".")] if shapes.is_dir() else []
    for path in paths:
        assert {entry.name for entry in path.iterdir()} == {"metrics.json", "model.npz", "thumbnail.png"}
    return {path.name: (path / "model.npz").stat().st_mtime_ns for path in paths}


@pytest.mark.slow
def test_the_program_killed_at_twenty_moments_gives_the_same_table(tmp_path):
    """Where a batch ends before it is killed it must be whole, and the next kills are of another one."""
    (tmp_path / "in").mkdir()
    generator = np.random.default_rng(0)
    for number in range(SHAPES):
        trimesh.creation.box(generator.uniform(0.4, 1.0, 3)).export(tmp_path / "in" / f"{number:02}.ply")
    command = [sys.executable, str(PROGRAM), "batch", str(tmp_path / "in"), *FLAGS.split(), "--output-dir"]
    log, places, kills = (tmp_path / "log").open("w"), [tmp_path / "killed0"], []

    def begin(place: Path) -> subprocess.Popen:
        return subprocess.Popen([*command, str(place)], stdout=log, stderr=log, start_new_session=True)

    def check(child: subprocess.Popen, place: Path, before: dict[str, int]) -> None:
        assert child.wait() == 0, (tmp_path / "log").read_text()[-2000:]
        assert before.items() <= finished(place).items() and len(finished(place)) == SHAPES
        assert not [path for path in (place / "shapes").iterdir() if path.name.startswith(".")]
        assert table(place) == table(tmp_path / "whole")

    began = time.monotonic()
    assert begin(tmp_path / "whole").wait() == 0
    longest = time.monotonic() - began
    while len(kills) < KILLS:
        before, began = finished(places[-1]), time.monotonic()
        child = begin(places[-1])
        if len(kills) % 2:  # soon after another shape, else at any moment
            wait(lambda child=child, count=len(before): child.poll() is not None or len(finished(places[-1])) > count)
            time.sleep(generator.uniform(0.0, 0.1))
        else:
            time.sleep(generator.uniform(0.0, longest))
        if child.poll() is not None:
            longest = time.monotonic() - began  # the machine may be less busy by now
            check(child, places[-1], before)
            places.append(tmp_path / f"killed{len(places)}")
            continue
        child.kill()
        child.wait()
        wait(lambda pid=child.pid: not alive(pid))  # its workers end with it
        assert before.items() <= finished(places[-1]).items(), "what was done stays as it is"
        kills.append((len(before), len(finished(places[-1]))))
    print(f"shapes done before and after each kill: {kills}")
    assert sum(after > before for before, after in kills) > KILLS / 4, "some are killed among the shapes"
    before = finished(places[-1])
    check(begin(places[-1]), places[-1], before)
