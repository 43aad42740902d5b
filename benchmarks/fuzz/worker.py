"""A process that reads damaged files one after another, with little memory to spare; and what watches it."""

import multiprocessing
import os
import resource
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.fuzz.corpus import TARGETS
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.fuzz.worker"])  # importing takes longer than a thousand files
    place = seeds.start
    while place < seeds.stop:
        here, there = context.Pipe()
        arguments = (name, range(place, seeds.stop), kept, there)
        process = context.Process(target=work, args=arguments, daemon=True)
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
        folder = Path(place) / "data"
        folder.mkdir()
        path = TARGETS[name].write(folder)
        read = partial(TARGETS[name].read, path)
        read()
        limit_memory(MEMORY)
        for seed in seeds:
            with one_damaged(folder, seed) as changed:
                end = End(seed, *outcome(read, str(folder)))
                if end.kind in ENDS[2:]:
                    kept.mkdir(parents=True, exist_ok=True)
                    shutil.copy(changed, kept / f"{name.replace(' ', '_')}-{seed}-{changed.name}")
            there.send(end)


def limit_memory(more: int) -> None:
    """Lets this process take that many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more,) * 2)


@contextmanager
def one_damaged(folder: Path, seed: int) -> Iterator[Path]:
    """A file in the folder, damaged as the seed says for as long as the context lasts."""
    chance = Random(seed)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    tables = [file for file in files if file.suffix != ".png"] or files
    changed = chance.choice(tables if chance.random() < 0.7 else files)
    good = changed.read_bytes()
    changed.write_bytes(damaged(good, chance))
    yield changed
    changed.write_bytes(good)


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
