"""Names of files as disks have them: other Unicode forms, spaces and capitals, folders of another machine."""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fmb.files.safe import is_name, path_inside


def alike(name: str) -> str:
    """What names of one file have in common: composed letters, single spaces, no capitals, slashes."""
    composed = unicodedata.normalize("NFC", name.replace("\\", "/"))
    return " ".join(composed.split()).casefold()


def existing(folder: Path, name: Any, source: str | Path) -> Path:
    """The path `name`, relative to `folder`, under the name that the disk has for it; it need not exist.

    Raises ValueError that begins with `source` for what `path_inside` refuses.
    """
    path = path_inside(folder, name, source)
    if os.path.exists(path):  # not Path.exists, which raises for a name that is too long
        return path
    found = folder
    for part in PurePosixPath(name.replace("\\", "/")).parts:
        if not found.is_dir():
            return path
        others = _children(found, found.stat().st_mtime_ns).get(alike(part), ())
        if not others and part not in (".", ".."):
            return path
        found /= others[0] if others and not (found / part).exists() else part
    return path_inside(folder, found.relative_to(folder).as_posix(), source)


@lru_cache(maxsize=32)
def _children(folder: Path, changed: int) -> dict[str, list[str]]:
    # what lies in the folder by what its names have in common; `changed` is when that last was another
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        found.setdefault(alike(name), []).append(name)
    return found


def moved_here(folder: Path, name: Any, source: str | Path) -> Path | None:
    """The file whose path is the longest end of `name` that is there, for lists written in another place.

    None where no end of it is there, and for what is no name.
    """
    if not is_name(name):
        return None
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    parts = [part for part in parts if not PureWindowsPath(part).drive]
    for start in range(len(parts)):
        path = existing(folder, "/".join(parts[start:]), source)
        if os.path.isfile(path):
            return path
    return None
