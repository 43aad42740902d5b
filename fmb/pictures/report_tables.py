"""Tables of the page: how a run was made, and all its numbers, none of them as raw arrays."""

import html
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

from fmb.machine import KINDS, SETS, error_names
from fmb.waiting import PARTS

FEW = 16  # numbers that a cell shows one by one
WORDS = {**PARTS, **KINDS, **SETS}  # of names in metrics.json
EACH = "view_"  # what the names of columns with a number for each view begin with


def made_table(made: Mapping[str, str]) -> str:
    """How the run was made, a row each."""
    if not made:
        return ""
    cells = {name: code(text) if name == "command" else html.escape(text) for name, text in made.items()}
    rows = "".join(f'<tr><th scope="row">{html.escape(name)}</th><td>{cell}</td></tr>' for name, cell in cells.items())
    return f'<section class="made"><h2>How it was made</h2><div class="scroll"><table>{rows}</table></div></section>'


def code(text: str) -> str:
    """Text as it is typed."""
    return f"<code>{html.escape(text)}</code>"


def error_table(errors: Mapping[str, Mapping[str, str]]) -> str:
    """A table with a row for each kind of error."""
    if not errors:
        return ""
    return f"<h2>Errors</h2>{grid(errors)}"


def grid(rows: Mapping[str, Mapping[str, str]]) -> str:
    """Rows of cells under the names of their columns."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = []
    for name, row in rows.items():
        cells = "".join(f"<td>{html.escape(row.get(column, ''))}</td>" for column in columns)
        body.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def fact_tables(facts: Mapping[str, Any]) -> str:
    """All facts, folded away: single numbers, then a table for each group of them and for the numbers of all views."""
    if not facts:
        return ""
    single = {words_of(name): cell(value) for name, value in facts.items() if not is_group(name, value)}
    parts = [pairs_table("", single)] if single else []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            parts.append(pairs_table(words_of(name), flat(value)))
        elif is_records(value):
            rows = {f"{number}": flat(row) for number, row in enumerate(value, 1)}
            parts.append(f"<h3>{html.escape(words_of(name))}</h3>{grid(rows)}")
    columns = {name: value for name, value in facts.items() if name.startswith(EACH) and is_sequence(value)}
    if columns:
        count = max(len(value) for value in columns.values())
        rows = {
            str(view): {words_of(name): cell(value[view]) for name, value in columns.items() if view < len(value)}
            for view in range(count)
        }
        parts.append(f"<h3>each training view</h3>{grid(rows)}")
    return f"<details><summary>All numbers</summary>{''.join(parts)}</details>"


def is_sequence(value: Any) -> bool:
    """Whether the value is an array or a list."""
    return hasattr(value, "__len__") and not isinstance(value, (str, Mapping))


def is_records(value: Any) -> bool:
    """Whether the value is a list of groups."""
    return is_sequence(value) and len(value) > 0 and all(isinstance(entry, Mapping) for entry in value)


def is_group(name: str, value: Any) -> bool:
    """Whether a table of its own shows the value."""
    return isinstance(value, Mapping) or is_records(value) or (name.startswith(EACH) and is_sequence(value))


def pairs_table(title: str, rows: Mapping[str, str]) -> str:
    """Names and texts, two columns."""
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(text)}</td></tr>' for name, text in rows.items()
    )
    head = f"<h3>{html.escape(title)}</h3>" if title else ""
    return f'{head}<div class="scroll"><table>{body}</table></div>'


def flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The nested facts as names and texts."""
    rows: dict[str, str] = {}
    errors = error_names(facts)
    for name, value in facts.items():
        words = errors.get(name, words_of(name))
        if isinstance(value, Mapping):
            rows |= flat(value, f"{prefix}{words}, ")
        else:
            rows[prefix + words] = cell(value)
    return rows


def words_of(name: str) -> str:
    """The name in metrics.json as words."""
    return WORDS.get(str(name), str(name).replace("_", " "))


def cell(value: Any) -> str:
    """A value in words: numbers to six digits; of many, how many and from where to where."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    if is_sequence(value):
        return many(list(value.tolist() if hasattr(value, "tolist") else value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def many(values: Sequence[Any]) -> str:
    """A list in words; the rows of a matrix are parted by semicolons."""
    rows = [list(row) for row in values if is_sequence(row)]
    if rows and len(rows) == len(values):
        inner = [entry for row in rows for entry in row]
        return "; ".join(map(many, rows)) if len(inner) <= FEW else f"{len(rows)} rows; {spread(inner)}"
    return " ".join(map(cell, values)) if len(values) <= FEW else spread(values)


def spread(values: Sequence[Any]) -> str:
    """How many values there are, and their range where they are numbers."""
    if values and all(isinstance(value, Number) for value in values):
        return f"{len(values)} numbers, {min(values):.4g} to {max(values):.4g}"
    return f"{len(values)} values"
