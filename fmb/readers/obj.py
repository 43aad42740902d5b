"""Triangles of a Wavefront OBJ file: positions, colours and faces; opens no other file.

Normals and texture coordinates are passed over, so that seams in them do not cut the surface open.
"""

from typing import NamedTuple

import numpy as np


class BrokenMesh(ValueError):
    """What a reader of this project found wrong in a file, in words for its user."""


class ObjText(NamedTuple):
    """What an OBJ file says about its surface; colour is None unless every vertex has one, 0 to 1."""

    position: np.ndarray  # [vertex, 3]
    color: np.ndarray | None  # [vertex, 3]
    face: np.ndarray  # [face, 3]


def parse_obj(data: bytes) -> ObjText:
    """Vertices and triangles of an OBJ file; polygons become fans.

    Raises BrokenMesh, a ValueError, naming the line, for a face that is no list of three or more vertices that exist.
    """
    text = data.decode("utf-8-sig", errors="replace").replace("\\\r\n", " ").replace("\\\n", " ")
    vertices, triangles, lines = [], [], []
    for number, line in enumerate(text.splitlines(), start=1):
        kind, rest = [*line.split(maxsplit=1), "", ""][:2]
        if kind == "v":
            vertices.append(_numbers(rest, number))
        elif kind == "f":
            polygon = _polygon(rest, number, len(vertices))
            triangles.extend((polygon[0], *pair) for pair in zip(polygon[1:], polygon[2:], strict=False))
            lines.extend([number] * (len(polygon) - 2))
    face = np.array(triangles, np.int64).reshape(-1, 3)
    _check_faces(face, lines, len(vertices))
    position = np.array([vertex[:3] for vertex in vertices], float).reshape(-1, 3)
    colored = len(vertices) > 0 and all(len(vertex) == 6 for vertex in vertices)
    return ObjText(position, np.array([vertex[3:] for vertex in vertices]) if colored else None, face)


def _numbers(rest: str, number: int) -> list[float]:
    try:
        vertex = [float(word) for word in rest.partition("#")[0].split()]
    except ValueError:
        raise BrokenMesh(f"line {number}: vertex {rest.strip()[:40]!r} is not made of numbers") from None
    if len(vertex) < 3:
        raise BrokenMesh(f"line {number}: vertex with {len(vertex)} coordinates, needs 3")
    return vertex


def _polygon(rest: str, number: int, count: int) -> list[int]:
    try:
        index = [int(word.split("/")[0]) for word in rest.partition("#")[0].split()]
    except ValueError:
        raise BrokenMesh(f"line {number}: face {rest.strip()[:40]!r} is not made of vertex numbers") from None
    if len(index) < 3:
        raise BrokenMesh(f"line {number}: face with {len(index)} vertices, needs 3")
    if min(index) < -count:
        raise BrokenMesh(f"line {number}: face refers to vertex {min(index)}, {count} stand above it")
    # 1 is the first vertex of the file, -1 the latest one above this line; 0 is left for the check at the end
    return [i - 1 if i >= 0 else count + i for i in index]


def _check_faces(face: np.ndarray, lines: list[int], count: int) -> None:
    # only at the end of the file is it known how many vertices there are
    wrong = (face < 0) | (face >= count)
    if np.any(wrong):
        first = np.flatnonzero(np.any(wrong, axis=1))[0]
        vertex = face[first][wrong[first]][0] + 1
        raise BrokenMesh(f"line {lines[first]}: face refers to vertex {vertex}, the file has {count}")
