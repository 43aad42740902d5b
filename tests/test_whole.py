"""A folder is one run: old and whole or new and whole, whatever ends the run and whenever."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmb import whole
from fmb.machine import write_text
from fmb.whole import METRICS, whole_folder

ROOT = Path(__file__).resolve().parents[1]
NAMES = tuple(f"{number:02d}.txt" for number in range(12))
# Writes run after run into the folder argv[1]; with argv[2], the last write finds the disk full.
RUNS = """
import json, sys
import signal
from pathlib import Path
from run_fmb import stoppable
from fmb.whole import whole_folder
first = json.loads((Path(sys.argv[1]) / "metrics.json").read_text())["run"]
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
print("ready", flush=True)
with stoppable():
    for run in range(first + 1, first + 10**6):
        with whole_folder(sys.argv[1]) as folder:
            for name in sys.argv[2].split():
                (folder / name).write_text(str(run))
            (folder / f"only-{run}.txt").write_text(str(run))
            (folder / "metrics.json").write_text(json.dumps({"run": run}))
"""


def write_run(folder: Path, run: int, names: tuple[str, ...] = NAMES) -> None:
    """A run's files, which all hold its number."""
    with whole_folder(folder) as hidden:
        for name in names:
            (hidden / name).write_text(str(run))
        (hidden / METRICS).write_text(json.dumps({"run": run}))


def run_of(folder: Path) -> int:
    """The number of the run that the folder holds whole, and nothing of another."""
    record = json.loads((folder / METRICS).read_text())
    texts = {name: (folder / name).read_text() for name in record["files"] if name != METRICS}
    assert set(texts.values()) == {str(record["run"])}, texts
    mine = {"notes.md", "pose"}
    assert {path.name for path in folder.iterdir()} - mine == set(record["files"])
    return record["run"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder that holds run 1, notes of the user's and another task's results."""
    folder = tmp_path / "output"
    write_run(folder, 1, (*NAMES, "only-1.txt"))
    (folder / "notes.md").write_text("mine")
    (folder / "pose").mkdir()
    (folder / "pose" / "pose.json").write_text("{}")
    return folder


def check_kept(folder: Path) -> None:
    """What is not of a run is still there, and nothing hidden beside it."""
    assert (folder / "notes.md").read_text() == "mine" and (folder / "pose" / "pose.json").read_text() == "{}"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_run_takes_the_place_of_the_last_one(output: Path) -> None:
    write_run(output, 2, NAMES[:5])
    assert run_of(output) == 2
    assert not (output / "only-1.txt").exists()
    check_kept(output)


def test_without_a_swap_files_are_moved(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for prepare in (
        lambda: monkeypatch.setattr(whole, "exchanged", lambda one, other: False),
        lambda: monkeypatch.chdir(output / "pose"),
        lambda: monkeypatch.setattr(os.path, "ismount", lambda path: True),
    ):
        inode = output.stat().st_ino
        prepare()
        write_run(output, 2, NAMES[:5])
        assert run_of(output) == 2 and output.stat().st_ino == inode
        check_kept(output)
        monkeypatch.undo()


def test_a_failed_run_leaves_the_last_one_and_names_the_folder(output: Path) -> None:
    before = output.stat().st_mtime_ns
    with (
        pytest.raises(ValueError, match=rf"^{output}/a/00.txt: cannot be written \(no such"),
        whole_folder(output) as to,
    ):
        write_text(to / "a" / "00.txt", "2")
    assert run_of(output) == 1 and output.stat().st_mtime_ns == before
    check_kept(output)
    with pytest.raises(KeyError), whole_folder(output.parent / "a" / "b"):
        raise KeyError
    check_kept(output)


def test_of_two_runs_at_once_the_last_one_stays(output: Path) -> None:
    with whole_folder(output) as hidden:
        write_run(output, 3)
        (hidden / "01.txt").write_text("2")
        (hidden / METRICS).write_text('{"run": 2}')
    assert run_of(output) == 2 and not (output / "00.txt").exists()
    check_kept(output)


def test_a_file_does_not_hide_a_folder(output: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{output}/pose: cannot be written \(is a directory\)$"):
        write_run(output, 2, ("pose",))
    assert run_of(output) == 1
    check_kept(output)


def write_meshes(output: Path, run: int, *names: str) -> None:
    with whole_folder(output) as hidden:
        (hidden / "meshes").mkdir()
        for name in names:
            (hidden / "meshes" / name).write_text(str(run))
        (hidden / METRICS).write_text(json.dumps({"run": run}))


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_of_a_run_is_dropped_unless_it_holds_files_of_the_users(
    output: Path, swaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(whole, "exchanged", lambda one, other: False)
    write_meshes(output, 2, "a", "b")
    assert json.loads((output / METRICS).read_text())["files"] == ["meshes/a", "meshes/b", METRICS]
    write_meshes(output, 3, "b", "c")
    assert sorted(path.name for path in (output / "meshes").iterdir()) == ["b", "c"]
    (output / "meshes" / "mine").write_text("mine")
    write_meshes(output, 4, "d")
    assert [path.name for path in (output / "meshes").iterdir()] == ["d"]
    assert (output / "meshes.1" / "mine").read_text() == "mine"
    write_run(output, 5)
    assert not (output / "meshes").exists() and (output / "meshes.1" / "mine").exists()
    assert run_of_all(output) == 5


def run_of_all(output: Path) -> int:
    return json.loads((output / METRICS).read_text())["run"]


def test_a_link_stays_a_link(output: Path) -> None:
    link = output.parent / "link"
    link.symlink_to("output")
    write_run(link, 2)
    assert link.is_symlink() and run_of(output) == 2
    output.chmod(0o750)
    write_run(link, 3)
    assert output.stat().st_mode & 0o777 == 0o750


def test_names_that_are_long_or_odd(tmp_path: Path) -> None:
    for name in ("-y", "n" * 255, "\u00e9" * 127, "a\nb.partial"):
        write_run(tmp_path / name, 1)
        write_run(tmp_path / name, 2)
        assert run_of(tmp_path / name) == 2
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(ValueError, match=r"n: cannot write to the output folder \(file name too long\)$"):
        write_run(tmp_path / ("n" * 256), 1)
    with pytest.raises(ValueError, match=r"txt: is a file; the output folder must be a folder$"):
        write_run(tmp_path / "-y" / "00.txt", 1)


def test_a_list_names_no_files_elsewhere(output: Path) -> None:
    (output.parent / "other").write_text("mine")
    (output / METRICS).write_text(json.dumps({"files": ["../other", "pose", "", ".", 3, str(output.parent / "other")]}))
    write_run(output, 2)
    assert (output.parent / "other").read_text() == "mine" and (output / "pose" / "pose.json").exists()


def test_an_export_joins_the_run_beside_it(output: Path) -> None:
    with whole_folder(output, records=()) as hidden:
        (hidden / "mesh.glb").write_text("1")
    assert run_of(output) == 1 and (output / "mesh.glb").exists()
    write_run(output, 2)
    assert run_of(output) == 2 and not (output / "mesh.glb").exists()
    check_kept(output)


def test_a_folder_of_other_things_is_not_swapped(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "notes.md").write_text("mine")
    inode = (tmp_path / "home").stat().st_ino
    write_run(tmp_path / "home", 1)
    assert run_of(tmp_path / "home") == 1 and (tmp_path / "home").stat().st_ino == inode


def test_what_killed_runs_have_left_is_put_back_or_removed(output: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    early, late = (output.parent / f".output.{gone.pid}.{inode}.partial" for inode in ("0", "1"))
    early.mkdir()
    early.rename(early := early.with_name(f".output.{gone.pid}.{early.stat().st_ino}.partial"))
    (early / "00.txt").write_text("2")
    late.mkdir()  # an old run, as its name has another number: its folder of the user's was not yet put back
    (late / "photos").mkdir()
    (late / "00.txt").write_text("0")
    (output.parent / f".output.{gone.pid}.newab.partial").mkdir()
    pose = output / f".pose.{gone.pid}.1.partial"  # another task's
    pose.mkdir()
    pose.rename(pose.with_name(f".pose.{gone.pid}.{pose.stat().st_ino}.partial"))
    write_run(output, 2)
    assert (output / "photos").is_dir()
    (output / "photos").rmdir()
    assert run_of(output) == 2
    check_kept(output)


def test_what_is_the_users_outlives_a_removed_folder(output: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    output.rename(output.parent / f".output.{gone.pid}.1.partial")
    with pytest.raises(KeyError), whole_folder(output):
        raise KeyError
    check_kept(output)
    assert {path.name for path in output.iterdir()} == {"notes.md", "pose"}


def attack(folder: Path, number: int, seconds: float, names: tuple[str, ...] = NAMES) -> int:
    """Has runs written one after the other, ends them by the signal after so long, and gives the run that is there."""
    words = [sys.executable, "-c", RUNS, str(folder), " ".join(names)]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(number)
    child.communicate(timeout=60)
    if number == signal.SIGKILL:  # what is left is cleared by the next run, even one that fails
        with pytest.raises(KeyError), whole_folder(folder):
            raise KeyError
    found = run_of(folder)
    check_kept(folder)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_old_or_new_whatever_the_moment(output: Path, number: int) -> None:
    assert attack(output, number, 0.05) > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_forty_moments(output: Path, number: int) -> None:
    moments = random.Random(0)
    found = [attack(output, number, moments.uniform(0.0, 0.1)) for _ in range(40)]
    assert found == sorted(found) and found[-1] > 40


@pytest.mark.parametrize("limit", [0, 700, 1000])
def test_a_full_disk_leaves_the_last_run(output: Path, limit: int) -> None:
    resource = pytest.importorskip("resource")
    before, no_room = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises((OSError, ValueError), match="(?i)file too large"):
            write_run(output, 10**900)  # a file has 901 bytes, the record with its list 1,100
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, no_room)
    assert run_of(output) == 1
    check_kept(output)
