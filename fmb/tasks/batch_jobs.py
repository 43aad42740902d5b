"""The inputs of a batch: what the words of a command line mean, what each is called, and whether it has changed."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from fmb.config import Config
from fmb.files.captures.read import is_capture
from fmb.files.clouds import CLOUD_SUFFIXES
from fmb.files.meshes import FORMATS
from fmb.files.several import files_of
from fmb.machine import reason
from fmb.options import ConfigError

MOST_INPUTS = 1_000_000
SHARD = re.compile(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,6})")
PATTERN = "*?["


class Job(NamedTuple):
    """An input: its name, where it lies, where its results go, and the digest of the options."""

    name: str
    path: Path
    place: Path
    digest: str = ""


class Outcome(NamedTuple):
    """What became of an input: in words why it failed, if it did, and whether nothing more can be written."""

    job: Job
    error: str = ""
    stops: bool = False


def shard_of(text: str) -> tuple[int, int]:
    """Number and count of a shard such as 3/8.  Raises ConfigError for another text."""
    match = SHARD.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"shard is {text!r}; must be such as 3/8, the third of eight parts")
    return int(match[1]), int(match[2])


def inputs_of(config: Config) -> list[Path]:
    """The meshes, captures or clouds that the words mean.

    Raises ValueError for a word that means none, and for too many.
    """
    suffixes = CLOUD_SUFFIXES if config.batch.batch_task == "points" else tuple(f".{kind}" for kind in FORMATS)
    captures, found = config.batch.batch_task == "shape", {}
    for word in config.several:
        here = captured(word) if captures else []
        if here != [Path(word)]:  # of a capture the files are its own
            with suppress(ValueError) if here else nullcontext():  # a folder of captures need not have meshes, too
                here += files_of([word], suffixes, MOST_INPUTS)
        found |= {os.path.realpath(path): path for path in here}
    return list(found.values())


def captured(word: str) -> list[Path]:
    """The captures that a word means: a folder that is one, those in a folder, or those of a pattern."""
    if os.path.isdir(word):
        return (
            [Path(word)] if is_capture(Path(word)) else [path for path in sorted(Path(word).iterdir()) if known(path)]
        )
    if any(sign in word for sign in PATTERN) and not os.path.exists(word):
        return [path for path in map(Path, sorted(glob(word, recursive=True))) if known(path)]
    return []


def known(path: Path) -> bool:
    """Whether it is a folder with a capture in it."""
    return path.is_dir() and is_capture(path)


def jobs_of(config: Config, place: Path) -> list[Job]:
    """All inputs, by name.  Raises ValueError where two would have one name."""
    paths = inputs_of(config)
    named: dict[str, Path] = {}
    for path, name in zip(paths, names_of(paths, config.batch.batch_names), strict=True):
        if name in named:
            hint = "; --names path tells them apart" if config.batch.batch_names == "stem" else ""
            raise ValueError(f"{path}: has the name of {named[name]}, {name}{hint}")
        named[name] = path
    return [Job(name, path, place / "shapes" / name) for name, path in named.items()]


def names_of(paths: Sequence[Path], kind: str) -> list[str]:
    """A name for each: its own without the suffix, or its path below the folder that all share."""
    if kind == "stem":
        return [path.resolve().name if path.is_dir() else path.stem for path in paths]
    whole = [Path(os.path.abspath(path)) for path in paths]
    above = os.path.commonpath([path.parent for path in whole])
    return ["_".join(path.relative_to(above).with_suffix("").parts) for path in whole]


def source_of(job: Job) -> dict[str, Any]:
    """Where an input lies, how large and how old it is, and what it holds; of a folder names, sizes and times.

    Raises ValueError where it cannot be read.
    """
    digest, path = hashlib.sha256(), job.path
    try:
        if path.is_dir():
            size, modified = digest_folder(path, digest), 0
        else:
            size, modified = digest_file(path, digest)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from None
    facts = {"input": str(path), "bytes": size, "modified": modified, "sha256": digest.hexdigest()}
    return {**facts, "options": job.digest}


def digest_file(path: Path, digest: Any) -> tuple[int, int]:
    """Adds what the file holds; its size, and its time in nanoseconds."""
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
        facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns


def digest_of_file(path: Path) -> str:
    """SHA-256 of what the file holds.  Raises ValueError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        digest_file(path, digest)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from None
    return digest.hexdigest()


def digest_folder(path: Path, digest: Any) -> int:
    """Adds names, sizes and times of all files in the folder; how large they are together."""
    total = 0
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        facts = file.stat()
        total += facts.st_size
        digest.update(f"{file.relative_to(path).as_posix()}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return total


def unchanged(job: Job, known: Mapping[str, Any]) -> bool:
    """Whether the input is the one of that record; it is read again only where its time is another."""
    facts = job.path.stat()
    if job.path.is_file() and (facts.st_size, facts.st_mtime_ns) == (known.get("bytes"), known.get("modified")):
        return True
    return source_of(job)["sha256"] == known.get("sha256")
