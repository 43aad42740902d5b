"""The one way into a file that somebody else made: regular files alone, none above its limit, one line where it fails.

Pipes, sockets, devices and folders in the place of a file are refused, and never waited for.
"""

import csv
import logging
import os
import pickle
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from fmb.machine import reason

MEBIBYTE = 2**20
LARGEST_FILE = 2**30  # bytes: splats of a large scene; meshes of 500 MB fit
LONGEST_NAME = 400  # characters of a name in a message
OTHERS = {  # what may lie in the place of a file
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# What Python's and the libraries' readers raise about a broken file. MemoryError has words of its own.
BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, NameError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError),
    *(csv.Error, pickle.UnpicklingError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


# Without a handler Python prints their warnings, tracebacks among them, about files that are read all the same.
for library in ("trimesh", "PIL"):
    logging.getLogger(library).addHandler(logging.NullHandler())


class Refusal(ValueError):
    """A line that begins with the name of a file and says what is wrong with it."""


@contextmanager
def refusing(path: str | Path, what: str, errors: tuple[type[Exception], ...] = BROKEN) -> Iterator[None]:
    """Whatever a library raises within about a broken file becomes `PATH: WHAT (ITS WORDS)`; a Refusal stays itself."""
    try:
        yield
    except Refusal:
        raise
    except MemoryError as error:
        raise Refusal(f"{path}: needs more memory than there is") from error
    except errors as error:
        raise Refusal(f"{path}: {what} ({reason(error)})") from error


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """What the system refuses within, a name too long or a folder without permission, becomes a line with the name."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or path)
        name = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
        raise Refusal(f"{name}: cannot be read ({reason(error)})") from error


def open_file(path: Path, what: str = "file") -> BufferedReader:
    """The file, open for reading; `what` it should be, in the words of its user.

    Raises Refusal for what is missing, is no regular file, or cannot be read.
    """
    try:
        _check_regular(path, os.stat(path).st_mode, what)
        # the name may mean another thing by now: open without waiting, and look again
        descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY")))
    except (FileNotFoundError, NotADirectoryError):
        raise Refusal(f"{path}: no such {what}") from None
    except Refusal:
        raise
    except (OSError, ValueError) as error:  # the second for a name with a zero byte
        raise Refusal(f"{path}: cannot be read ({reason(error)})") from None
    file = os.fdopen(descriptor, "rb")
    try:
        _check_regular(path, os.fstat(descriptor).st_mode, what)
    except Refusal:
        file.close()
        raise
    return file


def _check_regular(path: Path, mode: int, what: str) -> None:
    if not stat.S_ISREG(mode):
        expected = f"{'an' if what[0] in 'aeiou' else 'a'} {what}".replace("a file", "a regular file")
        raise Refusal(f"{path}: is {OTHERS.get(stat.S_IFMT(mode), 'no file')}, expected {expected}")


def read_bytes(path: Path, limit: int = 0, what: str = "file") -> bytes:
    """What the file holds, at most `limit` bytes, 0: LARGEST_FILE; its size is looked at before memory is taken."""
    limit = limit or LARGEST_FILE
    with open_file(path, what) as file, refusing(path, "cannot be read", (OSError,)):
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise Refusal(f"{path}: more than {limit / MEBIBYTE:.4g} MiB, at most that is read")
        data = file.read(size + 1)
    if len(data) > size:
        raise Refusal(f"{path}: grew while it was read")
    return data
