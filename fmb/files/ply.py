"""PLY files as tables of numbers: text or binary in either byte order, with whatever elements and lists they hold."""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fmb.files.safe import Broken

LONGEST_HEADER = 65_536  # bytes
TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2"},
    **{"uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "int64": "i8", "uint64": "u8"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8", "float16": "f2", "half": "f2"},
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


class Lists(NamedTuple):
    """A list of numbers for every row, one after the other."""

    length: Int[np.ndarray, " row"]
    value: np.ndarray  # [entry]


class Table(NamedTuple):
    """The rows of an element by the names of their properties."""

    count: int
    column: dict[str, np.ndarray]  # [row], of the type that the file gives
    lists: dict[str, Lists]


class Property(NamedTuple):
    """A number of a row, or with `length` a list of them, whose number of entries is of that type."""

    name: str
    kind: np.dtype
    length: np.dtype | None = None


class Element(NamedTuple):
    """What the header says of an element."""

    name: str
    count: int
    properties: tuple[Property, ...]


class Header(NamedTuple):
    """What a PLY file says of itself; `order` is that of NumPy, empty for text."""

    comments: tuple[str, ...]
    order: str
    elements: tuple[Element, ...]
    start: int  # of the first row, in bytes


def parse_header(data: bytes) -> Header:
    """The header of a PLY file.  Raises Broken for what is none."""
    text = data[: LONGEST_HEADER + 20]
    first = re.match(rb"(?:\xef\xbb\xbf)?ply[ \t]*(\r\n|\n|\r)", text)
    # a binary body may begin with any byte, also with that of a line's end
    end = first and re.search(rb"(?:^|[\r\n])end_header[ \t]*" + first[1], text)
    if not first or not end:
        raise Broken("not a PLY file")
    lines = text[first.end() : end.start()].decode(errors="backslashreplace").splitlines()
    order, comments, elements = None, [], []
    for line in filter(None, map(str.strip, lines)):
        word, *rest = line.split()
        if word in ("comment", "obj_info"):
            comments.append(line.partition(word)[2].strip())
        elif word == "format" and rest[:1] and rest[0] in ORDERS:
            order = ORDERS[rest[0]]
        elif word == "element" and len(rest) >= 2 and rest[-1].isdecimal():
            elements.append(Element(" ".join(rest[:-1]), int(rest[-1]), ()))
        elif word == "property" and elements:
            last = elements.pop()
            elements.append(last._replace(properties=(*last.properties, _property(rest, order or "<"))))
        else:
            raise Broken(f"header line {line[:60]!r} is not known")
    if order is None:
        raise Broken(f"no format; must be {', '.join(ORDERS)}")
    for element in elements:
        names = [entry.name for entry in element.properties]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise Broken(f"element {element.name} has property {twice[0]!r} twice")
    return Header(tuple(comments), order, tuple(elements), end.end())


def _property(words: Sequence[str], order: str) -> Property:
    kinds = words[1:3] if words[:1] == ["list"] else words[:1]
    name = " ".join(words[3:] if words[:1] == ["list"] else words[1:])
    if not name or any(kind not in TYPES for kind in kinds):
        raise Broken(f"property {' '.join(words)[:60]!r} is not known; types are {', '.join(TYPES)}")
    types = [np.dtype(order + TYPES[kind]) for kind in kinds]
    return Property(name, types[-1], types[0] if len(types) > 1 else None)


def parse_ply(data: bytes, wanted: Sequence[str]) -> dict[str, Table]:
    """The tables of the wanted elements that the file has; what comes after the last of them is not looked at.

    Raises Broken for what is no PLY file, and where rows are missing.
    """
    header = parse_header(data)
    names = [element.name for element in header.elements]
    last = max((place for place, name in enumerate(names) if name in wanted), default=-1)
    elements, place, word = header.elements[: last + 1], header.start, ""
    if header.order == "":  # text is read as numbers, then like a binary file of nothing else
        number, word = parse_numbers(_without_spare(data[place:], elements))
        data, place = number.tobytes(), 0
    tables = {}
    for element in elements:
        try:
            rows = element if header.order else _in_double(element)
            table, place = _read_table(data, place, rows)
        except Broken as error:
            raise Broken(f"{error}; {word!r} is no number") if word else error from None
        tables[element.name] = table if header.order else _as_declared(table, element)
    return {name: table for name, table in tables.items() if name in wanted}


def _without_spare(text: bytes, elements: Sequence[Element]) -> bytes:
    """The rows, a line each, without numbers behind them that the header does not name."""
    first = re.match(rb"\s*([^\r\n]*)", text)[1].split()
    plain = [all(entry.length is None for entry in element.properties) for element in elements]
    if not elements or not plain[0] or len(first) <= len(elements[0].properties):
        return text
    lines = [line for line in map(bytes.split, text.splitlines()) if line]
    if len(lines) < sum(element.count for element in elements):
        return text  # several rows share a line
    place = 0
    for element, cut in zip(elements, plain, strict=True):
        for row in range(place, place + element.count) if cut else ():
            lines[row] = lines[row][: len(element.properties)]
        place += element.count
    return b"\n".join(map(b" ".join, lines))


def parse_numbers(text: bytes) -> tuple[Float[np.ndarray, " number"], str]:
    """The numbers of a text up to the first word that is none, and that word."""
    text = text.strip()
    try:
        with warnings.catch_warnings(action="error", category=DeprecationWarning):  # NumPy before 2.4 only warns
            return np.fromstring(text, float, sep=" ") if text else np.zeros(0), ""
    except (ValueError, DeprecationWarning):
        words = text.split()
        first = next((place for place, word in enumerate(words) if not is_number(word)), len(words))
        word = words[first][:40].decode(errors="backslashreplace") if first < len(words) else ""
        return np.array([float(word) for word in words[:first]]), word


def is_number(word: str | bytes) -> bool:
    """Whether Python reads the word as a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _in_double(element: Element) -> Element:
    double = np.dtype("<f8")
    kept = [entry._replace(kind=double, length=entry.length and double) for entry in element.properties]
    return element._replace(properties=tuple(kept))


def _as_declared(table: Table, element: Element) -> Table:
    """Numbers of a text in the types that its header gives; those of type float keep their digits."""
    column, lists = {}, {}
    for entry in element.properties:
        found = table.column.get(entry.name) if entry.length is None else table.lists[entry.name].value
        if entry.kind.kind != "f":
            bound = np.iinfo(entry.kind)
            wrong = ~((found >= bound.min) & (found <= bound.max))
            if wrong.any():
                raise Broken(f"element {element.name}: {entry.name} {found[wrong][0]:g} is no {entry.kind.name}")
            found = found.astype(entry.kind)
        if entry.length is None:
            column[entry.name] = found
        else:
            lists[entry.name] = table.lists[entry.name]._replace(value=found)
    return Table(table.count, column, lists)


def _read_table(data: bytes, place: int, element: Element) -> tuple[Table, int]:
    """The rows of an element that begin at a place, and where they end."""
    plain = sum(entry.kind.itemsize for entry in element.properties if entry.length is None)
    least = plain + sum(entry.length.itemsize for entry in element.properties if entry.length is not None)
    if least * element.count > len(data) - place:  # before memory is spent on what is only claimed
        raise _short(element, (len(data) - place) // least)
    if not element.count or not element.properties:
        lengths = {entry.name: 0 for entry in element.properties if entry.length is not None}
        return _even_table(element, np.zeros(element.count, _row_type(element, lengths)), lengths), place
    # most files have lists of one length, so all rows have the type of the first
    first = _walk(data, place, element, 1)[0]
    lengths = {entry.name: int(first[entry.name][1][0]) for entry in element.properties if entry.length is not None}
    row = _row_type(element, lengths)
    if row.itemsize * element.count <= len(data) - place:
        rows = np.frombuffer(data, row, element.count, place)
        if all(np.all(rows[_counter(name)] == length) for name, length in lengths.items()):
            return _even_table(element, rows, lengths), place + row.itemsize * element.count
    found, end = _walk(data, place, element, element.count)
    column, lists = {}, {}
    for entry in element.properties:
        start, count = found[entry.name]
        value = _gathered(data, start, count, entry.kind)
        if entry.length is None:
            column[entry.name] = value
        else:
            lists[entry.name] = Lists(count, value)
    return Table(element.count, column, lists), end


def _counter(name: str) -> str:
    return f"{name}\n"  # no property has a name with that


def _row_type(element: Element, lengths: dict[str, int]) -> np.dtype:
    fields: list[tuple] = []
    for entry in element.properties:
        if entry.length is None:
            fields.append((entry.name, entry.kind))
        else:
            fields += [(_counter(entry.name), entry.length), (entry.name, entry.kind, (lengths[entry.name],))]
    return np.dtype(fields)


def _even_table(element: Element, rows: np.ndarray, lengths: dict[str, int]) -> Table:
    column = {entry.name: rows[entry.name] for entry in element.properties if entry.length is None}
    lists = {name: Lists(np.full(len(rows), length), rows[name].ravel()) for name, length in lengths.items()}
    return Table(element.count, column, lists)


def _walk(data: bytes, place: int, element: Element, rows: int) -> tuple[dict[str, tuple], int]:
    """Where the entries of each property begin in each row, and how many there are; and where the rows end."""
    size = len(data)
    start = np.zeros((len(element.properties), rows), np.int64)
    count = np.ones_like(start)
    for row in range(rows):
        for k, entry in enumerate(element.properties):
            if entry.length is not None:
                if place + entry.length.itemsize > size:
                    raise _short(element, row)
                length = np.frombuffer(data, entry.length, 1, place)[0]
                if not 0 <= length <= size or length != int(length):
                    raise Broken(f"element {element.name}, row {row}: {entry.name} with {length:g} entries")
                count[k, row] = length
                place += entry.length.itemsize
            start[k, row] = place
            place += int(count[k, row]) * entry.kind.itemsize
        if place > size:
            raise _short(element, row)
    return {entry.name: (start[k], count[k]) for k, entry in enumerate(element.properties)}, place


def _short(element: Element, row: int) -> Broken:
    return Broken(f"{row} of {element.count} rows of element {element.name}; the file is cut short")


def _gathered(data: bytes, start: np.ndarray, count: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The entries that begin at some places, one after the other."""
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    place = np.repeat(start, count) + number * kind.itemsize
    source, found = np.frombuffer(data, np.uint8), np.empty((len(place), kind.itemsize), np.uint8)
    for byte in range(kind.itemsize):
        found[:, byte] = source[place + byte]
    return found.view(kind)[:, 0]


NAMES = {"f4": "float", "f8": "double", "u1": "uchar", "i4": "int"}  # of types that are written


def encode_ply(elements: Mapping[str, Mapping[str, np.ndarray]], comments: Sequence[str] = ()) -> bytes:
    """A binary PLY file of elements, each the columns of its rows; a column [row, n] is a list of n numbers."""
    lines, bodies = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)], []
    for name, columns in elements.items():
        count = len(next(iter(columns.values())))
        lines.append(f"element {name} {count}")
        fields: list[tuple] = []
        for key, values in columns.items():
            word = NAMES[values.dtype.str[1:]]
            lines.append(f"property {word} {key}" if values.ndim == 1 else f"property list uchar {word} {key}")
            kind = values.dtype.newbyteorder("<")
            fields += [(key, kind)] if values.ndim == 1 else [(_counter(key), "u1"), (key, kind, values.shape[1:])]
        rows = np.empty(count, fields)
        for key, values in columns.items():
            rows[key] = values
            if values.ndim > 1:
                rows[_counter(key)] = values.shape[1]
        bodies.append(rows.tobytes())
    return "\n".join([*lines, "end_header", ""]).encode() + b"".join(bodies)
