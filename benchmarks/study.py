"""What all tables share: rows that are resumed, digests of settings, tables, their places in docs/results."""

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import util
from benchmarks.measure import machine
from util import write_text


def remembered(path: Path) -> list[dict[str, Any]]:
    """The rows in a file, none if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def remember(path: Path, row: Mapping[str, Any]) -> None:
    """Puts a row into the file, in the place of the one of the same sequence, components and settings."""
    kept = [old for old in remembered(path) if identity(old) != identity(row)]
    util.write_text(path, json.dumps([*kept, dict(row)], indent=1) + "\n")


def identity(row: Mapping[str, Any]) -> tuple:
    """What tells a row from others."""
    return row["name"], row["components"], json.dumps(row["settings"], sort_keys=True)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table that also reads well as it is; words to the left, numbers to the right."""
    lines = [head, *rows]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * wide[0], *("-" * (width - 1) + ":" for width in wide[1:])]
    cells = (
        [line[0].ljust(wide[0]), *(cell.rjust(width) for cell, width in zip(line[1:], wide[1:], strict=True))]
        for line in (head, rule, *lines[1:])
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def number(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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
