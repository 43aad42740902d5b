"""A process that reads damaged files one after another, with little memory to spare; and what watches it."""

import multiprocessing
import os
import resource
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.fuzz.corpus import TARGETS, Target
from benchmarks.fuzz.mutations import damaged

MEMORY = 2**30  # bytes above what the process takes after it has read a good file
SECONDS = 30.0  # for one file: the machine may be busy
LONGEST_LINE = 700  # characters
ENDS = ("read", "refused", "traceback", "memory", "hang")


class End(NamedTuple):
    """What came of reading a damaged file, one of ENDS, and what was said."""

    seed: int
    kind: str
    said: str = ""


def read_all(name: str, seeds: range, kept: Path) -> Iterator[End]:
    """The ends of reading the target with the damages of the seeds; files of bad ends are kept in that folder.

    A process that dies or does not answer is an end, too, and another one goes on.
    """
    place = seeds.start
    while place < seeds.stop:
        here, there = multiprocessing.get_context("spawn").Pipe()
        arguments = (name, range(place, seeds.stop), kept, there)
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
        process.start()
        there.close()
        for end in answers(here, place, seeds.stop):
            yield end
            place = end.seed + 1
        process.kill()
        process.join()


def answers(here: Connection, place: int, stop: int) -> Iterator[End]:
    """What a process tells, until it has done all, has died, or says nothing for too long."""
    patience = 10 * SECONDS  # it must begin, too
    while place < stop:
        if not here.poll(patience):
            yield End(place, "hang", f"no answer after {patience:.0f} s")
            return
        try:
            end = here.recv()
        except EOFError:
            yield End(place, "memory", "the process died")
            return
        yield end
        place, patience = end.seed + 1, SECONDS


def work(name: str, seeds: range, kept: Path, there: Connection) -> None:
    """Reads what each seed makes of the target's good file, and tells each end."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        TARGETS[name].read(written(TARGETS[name], Path(place) / "good"))
        limit_memory(MEMORY)
        for seed in seeds:
            folder = Path(place) / "bad"
            path, changed = damaged_file(TARGETS[name], folder, seed)
            end = End(seed, *outcome(lambda path=path: TARGETS[name].read(path), str(folder)))
            if end.kind in ENDS[2:]:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(changed, kept / f"{name.replace(' ', '_')}-{seed}-{changed.name}")
            there.send(end)
            shutil.rmtree(folder)


def limit_memory(more: int) -> None:
    """Lets this process take that many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more,) * 2)


def written(target: Target, folder: Path) -> Path:
    """The target's good file, in that new folder."""
    folder.mkdir(parents=True)
    return target.write(folder)


def damaged_file(target: Target, folder: Path, seed: int) -> tuple[Path, Path]:
    """What is to be read, and the file in it that the seed has damaged."""
    path = written(target, folder)
    chance = Random(seed)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    tables = [file for file in files if file.suffix != ".png"] or files
    changed = chance.choice(tables if chance.random() < 0.7 else files)
    changed.write_bytes(damaged(changed.read_bytes(), chance))
    return path, changed


def outcome(read: Callable[[], object], folder: str) -> tuple[str, str]:
    """What comes of it, one of ENDS, and what is said: a refusal is one line that names a file in the folder."""
    try:
        read()
    except ValueError as error:
        line = str(error)
        if "more memory than there is" in line:
            return "memory", line
        if folder in line and line.isprintable() and len(line) <= LONGEST_LINE:
            return "refused", line
        return "traceback", f"no line that names the file: {line!r}\n{traceback.format_exc()}"
    except MemoryError:
        return "memory", traceback.format_exc()
    except Exception:  # noqa: BLE001 what this is to find
        return "traceback", traceback.format_exc()
    return "read", ""
