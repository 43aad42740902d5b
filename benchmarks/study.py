"""What all tables share: rows that are resumed, choice of meshes and methods, their places in docs/results.

A table is a list of jobs. Each makes one row, a line of JSON in OUTPUT/results.jsonl, and has a key of all that the row
depends on: a study that was stopped goes on where it was, and a changed mesh, setting or source makes a new row.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import trimesh
from tqdm import tqdm

from benchmarks.measure import machine
from fmb.files.meshes import read_mesh
from fmb.geometry.frames import canonical_frame
from fmb.machine import plain, prepare_output_dir, write_text

ROOT = Path(__file__).resolve().parents[1]
KINDS = (".ply", ".obj", ".stl", ".off", ".glb")
Rows = Sequence[Mapping[str, Any]]


class Job(NamedTuple):
    """One row: its key, and what makes it."""

    key: str
    make: Callable[[], Mapping[str, Any]]


def key(name: str, settings: Any, sources: Iterable[str], files: Iterable[Path] = ()) -> str:
    """The name, and a digest of the settings, of our sources and of the files that a row depends on."""
    parts = [settings, *(digest(ROOT / source) for source in sources), *map(digest, files)]
    mark = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9-]+', '_', name)}-{mark}"


@lru_cache(maxsize=256)
def digest(path: Path) -> str:
    """Of the file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by key; a last line that was cut off, as by a kill, does not count."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["key"]] = row
    return rows


def study(jobs: Sequence[Job], folder: Path, title: str, minutes: float | None = None) -> list[dict[str, Any]]:
    """The rows of all jobs: those in folder/results.jsonl are read, each other one is made and added to it at once.

    After so many minutes no further job is begun, and the rows are those of the first jobs.
    """
    path = prepare_output_dir(folder) / "results.jsonl"
    known, rows = read_rows(path), []
    end = None if minutes is None else time.monotonic() + 60.0 * minutes
    with tqdm(jobs, desc=title, unit="row", leave=False) as bar:
        for job in bar:
            bar.set_postfix_str(job.key, refresh=False)
            if job.key not in known:
                known[job.key] = plain({"key": job.key, **job.make()})
                with path.open("a", encoding="utf-8") as file:
                    # a line that a kill cut off ends here
                    file.write(f"\n{json.dumps(known[job.key])}")
            rows.append(known[job.key])
            if end is not None and time.monotonic() > end:
                break
    return rows


def chosen(rows: Rows, **fields: Any) -> list[Mapping[str, Any]]:
    """Rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def methods_of(rows: Rows, methods: Iterable[str]) -> list[str]:
    """Those of the methods that have rows."""
    return [name for name in methods if chosen(rows, method=name)]


def runnable(methods: Mapping[str, Any], names: Sequence[str]) -> tuple[list[str], str]:
    """Those of the names whose `package` can be imported, and a sentence about the others, empty where there are none.

    Raises ValueError where none is left.
    """
    missing = {}
    for package in sorted({methods[name].package for name in names if methods[name].package}):
        try:
            importlib.import_module(package)
        except ImportError as error:
            missing[package] = str(error)
    skipped = [name for name in names if methods[name].package in missing]
    said = f"Skipped, for want of a package ({'; '.join(missing.values())}): {', '.join(skipped)}." if skipped else ""
    if len(skipped) == len(names):
        raise ValueError(said + " No method is left")
    return [name for name in names if name not in skipped], said


def find_meshes(folder: Path, names: Sequence[str], usual: Sequence[str] = ()) -> list[Path]:
    """The meshes of these names; without names the usual ones where all are there, else every mesh of the folder.

    Raises ValueError for a folder without meshes and for a name that has none.
    """
    found = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in KINDS}
    if not found:
        raise ValueError(f"{folder}: no mesh in this folder ({', '.join(KINDS)})")
    names = names or (usual if usual and set(usual) <= found.keys() else tuple(found))
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{folder}: no mesh named {', '.join(missing)}; there are {', '.join(found)}")
    return [found[name] for name in names]


@lru_cache(maxsize=4)
def canonical(mesh: Path) -> trimesh.Trimesh:
    """The mesh in its canonical frame."""
    found = read_mesh(mesh)
    return canonical_frame(found).mesh_to_canonical(found)


def flags(
    description: str, name: str, numbers: Mapping[str, int | float], seeds: Sequence[int] = (), data: str = "models"
) -> argparse.ArgumentParser:
    """The options that tables share: which data, seeds (none without usual ones), where to, numbers with defaults."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description, formatter_class=style)
    parser.add_argument(f"--{data}", type=Path, required=True, help="folder of the data")
    parser.add_argument("--names", nargs="+", default=[], help="which of them; default: the usual ones, or all")
    if seeds:
        parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds), help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("output") / name, help="folder of rows and pictures")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    for option, value in numbers.items():
        parser.add_argument(f"--{option}", type=type(value), default=value, help="default: %(default)s")
    return parser


def drawing_flags(parser: argparse.ArgumentParser) -> None:
    """The options of what can be drawn again from rows that were kept, see `rows_of`."""
    parser.add_argument("--json", type=Path, help="file that gets the rows")
    parser.add_argument("--redraw", type=Path, help="file of rows, from --json, to draw without measuring")
    parser.add_argument("--picture", type=Path, help="PNG that is drawn")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")


def rows_of(options: argparse.Namespace, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, or what --redraw kept of that, which --json keeps."""
    found = json.loads(options.redraw.read_text(encoding="utf-8")) if options.redraw else measure()
    if options.json:
        write_text(options.json, json.dumps(plain(found), indent=1) + "\n")
    return found


def picture_link(title: str, options: argparse.Namespace) -> str:
    """The picture as named from the file that the section goes into; "" where there is none of both."""
    if not (options.picture and options.results):
        return ""
    return f"![{title}]({os.path.relpath(options.picture, options.results.parent)})"


def provenance(script: str, argv: Sequence[str]) -> str:
    """The command that made a table, the day and the machine."""
    return f"Command: `python -m benchmarks.{script} {shlex.join(argv)}`. {date.today().isoformat()}. {machine()}."


def write_section(path: Path, section: str, name: str) -> Path:
    """Puts the section between the marks of its name, at the end where there are none; the rest of the file stays."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = (
        path.read_text(encoding="utf-8") if path.exists() else "# Results\n\nEach section is written by its command.\n"
    )
    before, mark, rest = text.partition(begin)
    after = rest.partition(end)[2] if mark else "\n"
    before = before if mark else before.rstrip("\n") + "\n\n"
    return write_text(path, f"{before}{begin}\n{section.strip()}\n{end}{after}")


def told(work: Callable[[], str | None], results: Path | None, name: str) -> int:
    """Prints what `work` returns, and puts it into `results` as section `name` if there is such a file.

    The exit code: 2, and one line on stderr, for what the user can mend.
    """
    try:
        text = work()
        if text is not None and results:
            write_section(results, text, name)
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if text is not None:
        print(text)
    return 0
