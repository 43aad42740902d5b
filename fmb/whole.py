"""A folder is one run: a run writes into a hidden folder, which takes the place of the old one in one step at the end.

A run that fails or is stopped leaves the old folder as it was. What a run has written is listed in its record, one of
its files, under "files"; the next run of the same task drops what is listed and keeps everything else. A folder in it
is listed by its files and dropped only where it holds no others.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from fmb.ends import held
from fmb.machine import LONGEST, Unwritable, reason, write_text

METRICS = "metrics.json"
HIDDEN = re.compile(r"\.(?P<label>.*)\.(?P<process>[0-9]{1,7})\.(?P<inode>[0-9]+|new[0-9a-f]+)\.partial", re.DOTALL)
INSIDE = "run"  # label of a hidden folder that stands in the folder itself
LARGEST_RECORD = 2**26  # bytes
AT_CWD, EXCHANGE = -100, 2  # of Linux's renameat2


class Place(NamedTuple):
    """A folder of results, links resolved; `fixed`: it cannot be swapped; `records`: names of the files that list."""

    path: Path
    fixed: bool
    records: tuple[str, ...]

    @property
    def beside(self) -> Path:
        """Where its hidden folder stands."""
        return self.path if self.fixed else self.path.parent

    @property
    def label(self) -> str:
        """What its hidden folders begin with."""
        name = self.path.name
        return INSIDE if self.fixed else name if len(os.fsencode(name)) <= LONGEST else digest(name)


@contextmanager
def whole_folder(path: str | Path, records: Sequence[str] = (METRICS,)) -> Iterator[Path]:
    """A hidden folder to write to; what stands in it becomes the folder `path` if nothing goes wrong.

    Of what `path` held before, all is kept but what an earlier record lists. Without `records` nothing is dropped: what
    is written is added to the run whose metrics.json stands there.

    Raises ValueError, before anything is written, where `path` is a file or cannot be written to; what is raised within
    names `path` where it named the hidden folder.
    """
    shown, hidden, made, lock = Path(path), None, [], None
    try:
        with held(), refusals(shown):
            place = find_place(shown, tuple(records))
            made = make_folders(place.beside)
            clear_dead(place)
            hidden, lock = hide(place)
        yield hidden
        with held(), refusals(shown):
            commit(hidden, place)
    except ValueError as error:
        if hidden is None or str(hidden) not in str(error):
            raise
        kind = Unwritable if isinstance(error, Unwritable) else ValueError
        raise kind(str(error).replace(str(hidden), str(shown))) from error
    finally:
        with held(), suppress(OSError):  # what cannot be removed now is removed by the next run
            if hidden is not None:
                os.close(lock)
                discard(hidden, place)
            for folder in made:
                folder.rmdir()  # only where it is empty


@contextmanager
def refusals(shown: Path) -> Iterator[None]:
    """What the system refuses becomes one line that names the output folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        if os.path.exists(shown) and not os.path.isdir(shown):
            raise Unwritable(f"{shown}: is a file; the output folder must be a folder") from None
        words = "not a directory" if isinstance(error, FileExistsError) else reason(error)
        raise Unwritable(f"{shown}: cannot write to the output folder ({words})") from None


def find_place(shown: Path, records: tuple[str, ...]) -> Place:
    """The folder, and whether it can be swapped.

    It cannot where this process works in it (`--output-dir .`), where it or a folder in it is mounted (containers) or
    cannot be moved, and where somebody else owns it. It is not where it holds other things but no run of this task, as
    a home folder does.
    """
    path = shown.resolve()
    if not path.exists():
        return Place(path, False, records)
    if not path.is_dir():
        raise NotADirectoryError
    with suppress(OSError):  # there is no current folder
        if Path.cwd().is_relative_to(path):
            return Place(path, True, records)
    ours = not any(path.iterdir()) or any((path / record).is_file() for record in records)
    owned = not hasattr(os, "geteuid") or path.stat().st_uid == os.geteuid()
    folders = [path, *filter(is_folder, path.iterdir())]
    stuck = any(os.path.ismount(folder) or not os.access(folder, os.W_OK) for folder in folders)
    return Place(path, stuck or not (ours and owned and os.access(path.parent, os.W_OK | os.X_OK)), records)


def make_folders(path: Path) -> list[Path]:
    """Makes the folder and those above it; those that were missing, the innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def hide(place: Place) -> tuple[Path, int]:
    """Makes the hidden folder; it, and what holds a lock on it for as long as the run lives.

    Its name has its number on disk: once old and new are swapped, an old run stands under that name.
    """
    new = place.beside / f".{place.label}.{os.getpid()}.new{os.urandom(8).hex()}.partial"
    new.mkdir()
    try:
        if not place.fixed and place.path.exists():
            new.chmod(stat.S_IMODE(place.path.stat().st_mode) | stat.S_IRWXU)
        lock = os.open(new, os.O_RDONLY)
        is_free(lock)
        return new.rename(own_name(new)), lock
    except OSError:
        new.rmdir()
        raise


def is_free(lock: int, unknown: bool = True) -> bool:
    """Whether no other run has locked the folder, which is now locked; `unknown` where there are no locks."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # not a Unix, or a file system over the network
        return unknown
    return True


def clear_dead(place: Place) -> None:
    """Removes what runs that were killed have left of this folder, and puts back what they had not yet put back.

    Also what killed runs of other tasks have left in the folder.
    """
    for folder, label in ((place.path.parent, place._replace(fixed=False).label), (place.path, INSIDE)):
        for entry in os.scandir(folder) if folder.is_dir() else ():
            match, hidden = HIDDEN.fullmatch(entry.name), Path(entry.path)
            if not match or not is_mine(entry) or (folder != place.path and match["label"] != label):
                continue
            dead = not alive(int(match["process"]))
            with suppress(OSError):
                if match["inode"].startswith("new"):  # empty, and not yet locked
                    hidden.rmdir() if dead else None
                elif is_abandoned(hidden, dead) and (match["label"] == label or hidden == own_name(hidden)):
                    discard(hidden, place)


def is_mine(entry: os.DirEntry) -> bool:
    """Whether it is a folder that this user made: where all may write, another's is not to be trusted."""
    try:
        made = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # another run beside this one has moved or removed it
        return False
    return stat.S_ISDIR(made.st_mode) and (not hasattr(os, "geteuid") or made.st_uid == os.geteuid())


def alive(process: int) -> bool:
    """Whether the process is there, as far as can be told."""
    try:
        if os.name == "posix":  # elsewhere this would end it
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def is_abandoned(folder: Path, dead: bool) -> bool:
    """Whether the run that made the folder is gone; where there are no locks, `dead` is believed."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        return is_free(lock, dead)
    finally:
        os.close(lock)


def discard(hidden: Path, place: Place) -> None:
    """Removes a hidden folder; from one that holds an old run, all that is not of that run is put back first."""
    if not hidden.is_dir():
        return
    own = own_name(hidden)
    if hidden != own:
        place.path.mkdir(exist_ok=True)
        for name in sorted(set(os.listdir(hidden)) - files_of_run(hidden, place.records)):
            if is_folder(hidden / name) or not os.path.lexists(place.path / name):
                with suppress(FileNotFoundError):  # another run has put it back
                    os.rename(hidden / name, free_name(place.path / name))
        hidden = hidden.rename(own)  # from now on nothing of it is to be kept
    shutil.rmtree(hidden)


def own_name(hidden: Path) -> Path:
    """The name of the hidden folder with its number on disk."""
    match = HIDDEN.fullmatch(hidden.name)
    return hidden.with_name(f".{match['label']}.{match['process']}.{hidden.stat().st_ino}.partial")


def free_name(path: Path) -> Path:
    """The path, or the first of path.1, path.2, ... that is free."""
    number, free = 0, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def files_of_run(folder: Path, records: Sequence[str]) -> set[str]:
    """Names of what in the folder its records list, and of these records; of a folder only if all in it is listed."""
    listed = set(records)
    for record in records:
        listed |= set(read_record(folder / record).get("files", ()))
    names = {name.partition("/")[0] for name in listed}
    return {name for name in names if not is_folder(folder / name) or set(files_in(folder, name)) <= listed}


def files_in(folder: Path, name: str) -> list[str]:
    """What `name` is in the folder: itself, or where it is a folder all in it, as paths with one slash."""
    inner = sorted(os.listdir(folder / name)) if is_folder(folder / name) else ()
    return [f"{name}/{entry}" for entry in inner] or [name]


def is_folder(path: Path) -> bool:
    """Whether it is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def read_record(path: Path) -> dict:
    """What the record holds, its list made of plain names only; empty for what is no record."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_RECORD:
            return {}
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict) or not isinstance(record.get("files", []), list):
        return {}
    # a list that names ../notes.txt was not made here
    texts = [name for name in record.get("files", []) if isinstance(name, str)]
    plain = [name for name in texts if re.fullmatch(r"[^/\\\0]+(/[^/\\\0]+)?", name)]
    return {**record, "files": [name for name in plain if not {".", ".."} & set(name.split("/"))]}


def commit(hidden: Path, place: Place) -> None:
    """Puts the hidden folder's files in their place. Raises ValueError where one would hide a folder of that name.

    A folder of that name in which there is more than an old run's is kept beside the new one, as name.1.
    """
    names = sorted(os.listdir(hidden))
    for name in names:
        if is_folder(place.path / name) and not is_folder(hidden / name):
            raise Unwritable(f"{hidden / name}: cannot be written (is a directory)")
    files = [file for name in names for file in files_in(hidden, name)]
    for record in set(place.records) & set(names):
        write_record(hidden / record, {**json.loads((hidden / record).read_text("utf-8")), "files": files})
    if not place.fixed and (moved(hidden, place.path) or exchanged(hidden, place.path)):
        return
    move_files(hidden, place, names)


def moved(hidden: Path, path: Path) -> bool:
    """Whether the folder could simply be renamed, as where there is none or an empty one."""
    try:
        os.rename(hidden, path)
    except OSError:
        return False
    return True


def exchanged(one: Path, other: Path) -> bool:
    """Whether the two folders could be swapped, in one step: Linux, and a file system that can."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # an old C library
        return False
    return rename(AT_CWD, os.fsencode(one), AT_CWD, os.fsencode(other), EXCHANGE) == 0


def move_files(hidden: Path, place: Place, names: list[str]) -> None:
    """File by file: the old record goes first and the new one comes last, so that it vouches for the whole."""
    path, records = place.path, place.records
    old = files_of_run(path, records)
    dropped = {name for name in old if name not in names or is_folder(path / name)} - set(records)
    for name in [*records, *sorted(dropped)]:
        drop(path / name)
    for name in sorted(names, key=lambda name: name in records):
        if is_folder(path / name):
            os.rename(path / name, free_name(path / name))
        os.replace(hidden / name, path / name)
    if not records and "files" in (record := read_record(path / METRICS)):
        write_record(path / METRICS, {**record, "files": sorted({*record["files"], *names})})


def drop(path: Path) -> None:
    """Removes a file or a folder of an old run, if it is there."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_record(path: Path, record: dict) -> None:
    """Writes the record again."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def digest(name: str) -> str:
    """A short name for a long one."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
