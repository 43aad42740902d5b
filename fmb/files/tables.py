"""Tables of records, one a row: CSV always, Parquet where pyarrow is installed."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmb.machine import replacing

Rows = Sequence[Mapping[str, Any]]


def columns_of_rows(rows: Rows) -> list[str]:
    """Names of all columns, in the order in which they first come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Numbers and texts of a nested record, by names such as novel_iou; lists are left out."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}_")
        elif value is None or isinstance(value, (str, bool, int, float)):
            found[prefix + name] = value
    return found


def write_csv(path: Path, rows: Rows) -> Path:
    """Writes the rows as CSV; what a row lacks, None and not-a-number are empty cells."""
    names = columns_of_rows(rows)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([cell(row.get(name)) for name in names])
    return path


def cell(value: Any) -> str:
    """The value as text, numbers to nine digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return format(value, ".9g") if isinstance(value, float) else str(value)


def write_parquet(path: Path, rows: Rows) -> Path | None:
    """Writes the rows as Parquet, a column of one type each; None, and nothing, where pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    names = columns_of_rows(rows)
    columns = {name: alike([row.get(name) for row in rows]) for name in names}
    with replacing(path) as partial:
        parquet.write_table(pyarrow.table(columns), partial)
    return path


def alike(values: list[Any]) -> list[Any]:
    """The values in one type: texts where texts and numbers are mixed, floats where some numbers are not whole."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else [None if value is None else cell(value) for value in values]
