"""Polygons from the bytes of OBJ, PLY, OFF and STL files, as the programs that people use write them."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fmb.files.ply import Table, is_number, parse_numbers, parse_ply
from fmb.files.safe import Broken

STL_HEADER, STL_FACE = 80, 50  # bytes of a binary STL file, with the number of faces in 4 bytes between
STL_OFFSET = b"fmb offset "  # begins the header where coordinates are to be added to what follows it
STL_ATTRIBUTE = 2  # bytes at the end of each face, which some programs leave out of the last
UNIT = 1.01  # longest normal of a binary STL file; others tell of bytes that are no faces


class Surface(NamedTuple):
    """Polygons, one after the other as `length` corners each; colours from 0 to 255 where every row has one."""

    position: Float[np.ndarray, "vertex 3"]
    corner: Int[np.ndarray, " corner"]
    length: Int[np.ndarray, " polygon"]
    vertex_color: np.ndarray | None = None  # [vertex, 3 or 4]
    face_color: np.ndarray | None = None  # [polygon, 3 or 4]
    notice: str = ""  # what was odd about the file and did no harm


def in_utf8(data: bytes) -> bytes:
    """A text in UTF-16 as UTF-8; everything else as it is."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace").encode()
    head = data[:64]
    for odd, kind in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 8 and not any(head[odd::2]) and all(head[1 - odd :: 2]):
            return data.decode(kind, errors="replace").encode()
    return data


def parse_surface_ply(data: bytes) -> Surface:
    """Polygons, or strips of triangles, of a PLY file."""
    tables = parse_ply(data, ("vertex", "face", "tristrips"))
    if "vertex" not in tables:
        raise Broken("no element vertex")
    vertex = tables["vertex"]
    missing = [axis for axis in "xyz" if axis not in vertex.column]
    if missing:
        raise Broken(f"vertices without {', '.join(missing)}")
    position = np.stack([vertex.column[axis].astype(float) for axis in "xyz"], axis=1)
    corner, length, face_color = np.zeros(0, np.int64), np.zeros(0, np.int64), None
    if "face" in tables and tables["face"].count:
        length, corner = _indices(tables["face"])
        face_color = _color(tables["face"])
    elif "tristrips" in tables:
        length, strip = _indices(tables["tristrips"])
        begin = np.union1d(np.flatnonzero(strip < 0), np.cumsum(length) - length)
        parts = np.split(strip, begin)
        faces = [strip_triangles(part[part >= 0]) for part in parts]
        corner = np.concatenate(faces).ravel()
        length = np.full(len(corner) // 3, 3)
    return Surface(position, corner, length, _color(vertex), face_color)


def _indices(table: Table) -> tuple[np.ndarray, np.ndarray]:
    known = [name for name in ("vertex_indices", "vertex_index") if name in table.lists]
    whole = known or [name for name, entry in table.lists.items() if entry.value.dtype.kind in "iu"]
    if not whole:
        raise Broken("faces without vertex_indices")
    length, value = table.lists[whole[0]]
    if value.dtype.kind == "f" and not np.all(value == np.floor(value)):
        raise Broken(f"{whole[0]} that are not whole numbers")
    return length, value.astype(np.int64)


def _color(table: Table) -> np.ndarray | None:
    for prefix in ("", "diffuse_"):
        names = [f"{prefix}{name}" for name in ("red", "green", "blue")]
        if all(name in table.column for name in names) and table.count:
            names += [name for name in (f"{prefix}alpha",) if name in table.column]
            return levels(np.stack([table.column[name] for name in names], axis=1))
    return None


def levels(color: np.ndarray) -> np.ndarray:
    """Colours from 0 to 255: those of bytes as they are, of longer whole numbers and of numbers up to 1 rescaled."""
    if color.dtype.kind == "f":
        largest = color[np.isfinite(color)].max(initial=0.0)
        return np.rint(np.clip(np.nan_to_num(color), 0.0, 255.0) * (255.0 if largest <= 1.0 else 1.0)).astype(np.uint8)
    most = 255 if color.dtype.itemsize == 1 or color.max(initial=0) <= 255 else np.iinfo(color.dtype).max
    return np.rint(np.clip(color, 0, most) * (255.0 / most)).astype(np.uint8)


def strip_triangles(strip: np.ndarray) -> np.ndarray:
    """Triangles [face, 3] of a strip; every other one is turned so that all look the same way."""
    face = np.stack([strip[:-2], strip[1:-1], strip[2:]], axis=1) if len(strip) > 2 else np.zeros((0, 3), np.int64)
    face[1::2] = face[1::2, [1, 0, 2]]
    return face


Line = tuple[int, list[str]]  # its number and its words


class Rows(NamedTuple):
    """Rows of numbers, one after the other, as `length` numbers each from place `start` on."""

    value: Float[np.ndarray, " number"]
    length: Int[np.ndarray, " row"]
    start: Int[np.ndarray, " row"]

    def columns(self, first: int | np.ndarray, count: int) -> Float[np.ndarray, "row count"]:
        """So many numbers of each row, from the place `first` in it on."""
        return self.value[(self.start + first)[:, None] + np.arange(count)]


def number_rows(lines: Sequence[Line], what: str, least: int) -> Rows:
    """The words of lines as numbers, at least so many of them.  Raises Broken that names the line."""
    length = np.array([len(words) for _, words in lines], np.int64)
    try:
        value = np.array([word for _, words in lines for word in words], float)
    except ValueError:
        number, words = next(line for line in lines if not all(map(is_number, line[1])))
        raise Broken(f"line {number}: {not_numbers(what, ' '.join(words))}") from None
    short = np.flatnonzero(length < least)
    if len(short):
        raise Broken(f"line {lines[short[0]][0]}: {what} with {length[short[0]]} numbers, needs {least}")
    return Rows(value, length, np.cumsum(length) - length)


def not_numbers(what: str, text: str) -> str:
    """Why a text that should be numbers is none, in words."""
    decimal = re.fullmatch(r"[-+0-9eE.,\s]*\d,\d[-+0-9eE.,\s]*", text)
    return f"{what} {text[:40]!r} " + ("has decimal commas; write points" if decimal else "is not made of numbers")


def parse_off(data: bytes) -> Surface:
    """Polygons of an OFF file of any kind (COFF, NOFF, 4OFF, ...), in text."""
    text = data.decode("utf-8-sig", errors="backslashreplace")
    lines = enumerate(text.splitlines(), start=1)
    lines = [(n, words) for n, line in lines if (words := line.partition("#")[0].split())]
    kind = re.fullmatch(r"(ST)?(C)?(N)?(4)?(n)?OFF(.*)", lines[0][1][0]) if lines else None
    if not kind:
        raise Broken("does not begin with OFF")
    if kind[5] or "BINARY" in lines[0][1]:
        raise Broken(f"is {' '.join(lines[0][1])[:40]}; only OFF in text and three dimensions is read")
    head = [*filter(None, [kind[6]]), *lines[0][1][1:]]  # the counts may follow the word at once
    lines = [(lines[0][0], head), *lines[1:]] if head else lines[1:]
    counts = number_rows(lines[:1], "counts", 2).value[:2]
    if not len(counts) or not np.all((counts >= 0) & (counts == np.floor(counts)) & (counts <= len(data))):
        raise Broken("no number of vertices and faces")
    vertices, faces = counts.astype(int).tolist()
    if len(lines) < 1 + vertices + faces:
        raise Broken(f"{len(lines) - 1} lines for {vertices} vertices and {faces} faces; the file is cut short")
    axes = 4 if kind[4] else 3
    rows = number_rows(lines[1 : 1 + vertices], "vertex", axes)
    position = rows.columns(0, axes)
    with np.errstate(all="ignore"):  # what is not finite is refused later
        position = position[:, :3] / position[:, 3:] if kind[4] else position
    skipped = axes + (3 if kind[3] else 0)
    color = _off_colors(rows, skipped) if kind[2] else None
    return _off_faces(lines[1 + vertices : 1 + vertices + faces], position, color)


def _off_faces(lines: list[Line], position: np.ndarray, color: np.ndarray | None) -> Surface:
    rows = number_rows(lines, "face", 1)
    corners = rows.value[rows.start]
    place = np.arange(len(rows.value)) - np.repeat(rows.start, rows.length)  # in the row
    is_corner = (place > 0) & (place <= np.repeat(corners, rows.length))
    wrong = (corners < 0) | (corners != np.floor(corners)) | ~(corners < rows.length)
    odd = is_corner & (rows.value != np.floor(rows.value))
    wrong[np.repeat(np.arange(len(corners)), rows.length)[odd]] = True
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        words = f"face of {corners[row]:g} vertices with {rows.length[row] - 1} numbers after it"
        raise Broken(f"line {lines[row][0]}: {words}")
    length = corners.astype(np.int64)
    return Surface(position, rows.value[is_corner].astype(np.int64), length, color, _off_colors(rows, 1 + length))


def _off_colors(rows: Rows, first: int | np.ndarray) -> np.ndarray | None:
    # one number is the place in a map that is not in the file
    count = int((rows.length - first).min(initial=4))
    return levels(rows.columns(first, count)) if count >= 3 and len(rows.length) else None


def parse_stl(data: bytes) -> Surface:
    """Triangles of an STL file in text or binary; its solids together."""
    size = len(data) - STL_HEADER - 4
    count = int.from_bytes(data[STL_HEADER : STL_HEADER + 4], "little") if size >= 0 else 0
    if size == STL_FACE * count and count:
        return _binary_stl(data, count, "")
    # names of solids may hold any word, so a vertex is only what begins a line
    lines = re.findall(rb"^[ \t]*vertex[ \t]([^\r\n]*)", data, re.IGNORECASE | re.MULTILINE)
    if not lines and (b"\0" in data or not re.match(rb"\s*solid", data, re.IGNORECASE)):
        return _odd_binary_stl(data, size, count)
    number, word = parse_numbers(b" ".join(lines))
    if word:
        raise Broken(not_numbers("vertex with", word))
    if len(number) != 3 * len(lines) or len(lines) % 3:
        raise Broken(f"{len(lines)} vertices of {len(number)} numbers; must be three for each triangle, of three each")
    end = data[data.rfind(lines[-1]) :] if lines else b""
    if lines and not re.search(rb"end\s*(loop|facet|solid)", end, re.IGNORECASE):
        raise Broken("its last triangle does not end; the file is cut short")
    whole = re.search(rb"end\s*solid", end, re.IGNORECASE)
    notice = "" if whole else "it ends without endsolid, so it may be cut short"
    return _separate(number.reshape(-1, 3))._replace(notice=notice)


def _odd_binary_stl(data: bytes, size: int, count: int) -> Surface:
    present = (size + STL_ATTRIBUTE) // STL_FACE
    if 0 < count <= present:
        spare = size - STL_FACE * count
        return _binary_stl(data, count, f"{spare} bytes after its {count} triangles are not read" if spare > 0 else "")
    if present > 0 and (size % STL_FACE == 0 or count - present == 1):
        return _binary_stl(data, present, f"its header says {count} triangles, it holds {present}")
    if 0 < present < count < 2**31 and not _odd_normals(data, present):
        raise Broken(f"{present} of {count} triangles; the file is cut short")
    raise Broken("neither text nor of the length that a binary file would have")


def _faces_of(data: bytes, count: int) -> np.ndarray:
    padded = data[STL_HEADER + 4 : STL_HEADER + 4 + STL_FACE * count].ljust(STL_FACE * count, b"\0")
    return np.frombuffer(padded, [("normal", "<f4", 3), ("corner", "<f4", (3, 3)), ("attribute", "<u2")], count)


def _odd_normals(data: bytes, count: int) -> bool:
    normal = _faces_of(data, count)["normal"].astype(float)
    return not np.all(np.sum(normal**2, axis=1) <= UNIT**2)


def _binary_stl(data: bytes, count: int, notice: str) -> Surface:
    if notice and _odd_normals(data, count):
        raise Broken("neither text nor of the length that a binary file would have")
    corner = _faces_of(data, count)["corner"].reshape(-1, 3).astype(float)
    offset = np.zeros(3)
    if data.startswith(STL_OFFSET):
        found, word = parse_numbers(data[len(STL_OFFSET) : STL_HEADER].rstrip(b"\0"))
        offset = found if found.shape == (3,) and not word else offset
    return _separate(corner + offset)._replace(notice=notice)


def _separate(position: np.ndarray) -> Surface:
    return Surface(position, np.arange(len(position)), np.full(len(position) // 3, 3))


def parse_obj(data: bytes) -> Surface:
    """Polygons of an OBJ file.

    Raises Broken, naming the line, for a face that is no list of three or more vertices that exist.
    """
    text = data.decode("utf-8-sig", errors="replace").replace("\\\r\n", " ").replace("\\\n", " ")
    vertices: list[Line] = []
    corner, length, lines = [], [], []
    for number, line in enumerate(text.splitlines(), start=1):
        kind, *words = (line.partition("#")[0] if "#" in line else line).split() or [""]
        if kind == "v":
            vertices.append((number, words))
        elif kind == "f":
            polygon = _polygon(words, number, len(vertices))
            corner += polygon
            length.append(len(polygon))
            lines.append(number)
    corner, length = np.array(corner, np.int64), np.array(length, np.int64)
    _check_corners(corner, np.repeat(np.array(lines, np.int64), length), len(vertices))
    rows = number_rows(vertices, "vertex", 3)
    colored = len(vertices) > 0 and np.all(rows.length == 6)
    return Surface(rows.columns(0, 3), corner, length, levels(rows.columns(3, 3)) if colored else None)


def _polygon(words: list[str], number: int, count: int) -> list[int]:
    try:
        index = [int(word.partition("/")[0]) for word in words]
    except ValueError:
        raise Broken(f"line {number}: face {' '.join(words)[:40]!r} is not made of vertex numbers") from None
    if len(index) < 3:
        raise Broken(f"line {number}: face with {len(index)} vertices, needs 3")
    if min(index) < -count:
        raise Broken(f"line {number}: face refers to vertex {min(index)}, {count} stand above it")
    # 1 is the first vertex of the file, -1 the latest one above this line; 0 is left for the check at the end
    return [i - 1 if i >= 0 else count + i for i in index]


def _check_corners(corner: np.ndarray, lines: np.ndarray, count: int) -> None:
    # only at the end of the file is it known how many vertices there are
    wrong = np.flatnonzero((corner < 0) | (corner >= count))
    if len(wrong):
        vertex = corner[wrong[0]] + 1
        raise Broken(f"line {lines[wrong[0]]}: face refers to vertex {vertex}, the file has {count}")


PARSERS: dict[str, Callable[[bytes], Surface]] = {
    "obj": parse_obj,
    "ply": parse_surface_ply,
    "off": parse_off,
    "stl": parse_stl,
}
