"""Files that a task is given many of: by name, in folders, by patterns."""

import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path

MOST_FILES = 10_000


def files_of(words: Sequence[str], suffixes: tuple[str, ...], most: int = MOST_FILES) -> list[Path]:
    """The files that the words mean: files as they are, those of a folder with one of the suffixes, those of a pattern.

    A file that is meant twice comes once. Raises ValueError for a word that means no file, and for too many.
    """
    found: dict[str, Path] = {}
    for word in words:
        if os.path.isdir(word):
            paths = [path for path in sorted(Path(word).iterdir()) if path.suffix.lower() in suffixes]
        elif any(sign in word for sign in "*?[") and not os.path.exists(word):
            paths = [path for path in map(Path, sorted(glob(word, recursive=True))) if path.suffix.lower() in suffixes]
        else:
            paths = [Path(word)]
        if not paths:
            raise ValueError(f"{word}: no file in it that ends in {', '.join(suffixes)}")
        found |= {os.path.realpath(path): path for path in paths}
    if len(found) > most:
        raise ValueError(f"{len(found)} files; at most {most} are read")
    return list(found.values())
