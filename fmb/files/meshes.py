"""Meshes: any file that holds triangles becomes one clean mesh, in the file's own frame and unit."""

import io
import json
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh

from fmb.files.door import LARGEST_FILE, Refusal, read_bytes
from fmb.machine import replacing

LARGEST_MESH = LARGEST_FILE
MERGE_TOLERANCE = 1e-8  # vertices closer than this, in units of the longest box side, are one vertex
FEWEST_FACES = 4  # of a body: a tetrahedron
EXTENTS = (1e-30, 1e30)  # of the longest box side: float32 holds it and its inverse, float64 its cube
STL_HEADER, STL_FACE = 80, 50  # bytes of a binary STL file, with the number of faces in 4 bytes between
FORMATS = ("obj", "ply", "stl", "off", "glb", "gltf")


def read_mesh(path: str | Path) -> trimesh.Trimesh:
    """One triangle mesh, in the frame and unit of the file, outward where it is closed.

    Scenes are joined with their transforms, seams are welded and faces without three distinct corners dropped;
    colours of vertices or faces are kept, materials and textures are not read.

    Raises ValueError that names the file: missing, empty, unreadable, of a format not in FORMATS, without
    triangles, or with vertices or faces that make no body.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: mesh format '{path.suffix}' is not known, allowed are {', '.join(FORMATS)}")
    data = _file_bytes(path)
    try:
        # whatever a loader meets in a broken file: IndexError, KeyError, struct.error, ...
        with warnings.catch_warnings(action="ignore"):
            parts = [_part_obj(data)] if kind == "obj" else _parts(data, kind, path.parent)
    except Exception as error:
        # the words of a library about its own inside would mislead
        reason = f": {error}" if isinstance(error, BrokenMesh) else ""
        raise ValueError(f"{path}: not a readable {kind} file{reason}") from error
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise ValueError(f"{path}: no triangles")
    for part in parts:
        _check(path, np.asarray(part.vertices), np.asarray(part.faces))
    return _clean(path, _joined(parts))


def _file_bytes(path: Path) -> bytes:
    data = read_bytes(path, LARGEST_MESH, "mesh file")
    if not data:
        raise ValueError(f"{path}: the mesh file is empty")
    return data


class _Buffers(trimesh.resolvers.Resolver):
    """Gives a .gltf file the buffers it lists, from its own folder, and nothing else."""

    def __init__(self, data: bytes, folder: Path):
        self.folder = folder.resolve()
        self.allowed = {buffer.get("uri") for buffer in json.loads(data).get("buffers", [])}

    def get(self, key: str) -> bytes:
        path = (self.folder / key).resolve()
        if key not in self.allowed or not path.is_relative_to(self.folder):
            raise BrokenMesh(f"refers to {key!r}, which is not a buffer beside it")
        try:
            return read_bytes(path, LARGEST_MESH)
        except Refusal:
            raise BrokenMesh(f"its buffer {key!r} cannot be read") from None

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def namespaced(self, namespace: str) -> None:
        raise NotImplementedError

    def keys(self) -> list[str]:
        return []


def _parts(data: bytes, kind: str, folder: Path) -> list[trimesh.Trimesh]:
    # process=False: the loader must not drop NaN or merge vertices before they were looked at
    resolver = _Buffers(data, folder) if kind == "gltf" else None
    stream = io.BytesIO(_without_stray_bytes(data, kind))
    scene = trimesh.load_scene(stream, file_type=kind, resolver=resolver, process=False, skip_materials=True)
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh):
            part = geometry.copy()
            part.vertices = trimesh.transform_points(part.vertices, transform)
            if np.linalg.det(transform[:3, :3]) < 0.0:  # a mirror turns the surface inside out
                part.faces = part.faces[:, ::-1]
            parts.append(part)
    return parts


def _without_stray_bytes(data: bytes, kind: str) -> bytes:
    """The file with text in UTF-8 throughout: trimesh refuses a name or a comment in another encoding."""
    if kind == "stl":
        if len(data) == STL_HEADER + 4 + STL_FACE * int.from_bytes(data[STL_HEADER : STL_HEADER + 4], "little"):
            return data
        if b"solid" not in data.lower():
            raise BrokenMesh("neither text nor of the length that a binary file would have")
    elif kind == "ply":
        header, end, body = data.partition(b"end_header")
        if b"ascii" not in header:
            return _utf8(header) + end + body
    elif kind != "off":
        return data
    return _utf8(data)


def _utf8(data: bytes) -> bytes:
    # escapes, not one sign for all: two names that differ must not become the same
    return data.decode(errors="backslashreplace").encode()


def _part_obj(data: bytes) -> trimesh.Trimesh:
    text = parse_obj(data)
    color = None if text.color is None else np.rint(255.0 * np.clip(text.color, 0.0, 1.0)).astype(np.uint8)
    return trimesh.Trimesh(text.position, text.face, vertex_colors=color, process=False)


def _check(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = faces.min() if faces.min() < 0 else faces.max()
        raise ValueError(f"{path}: a face refers to vertex {wrong}, allowed are 0 to {len(vertices) - 1}")
    bad = np.count_nonzero(~np.all(np.isfinite(vertices), axis=1))
    if bad:
        raise ValueError(f"{path}: {bad} of {len(vertices)} vertices are not finite")


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    offset = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + first for part, first in zip(parts, offset, strict=True)])
    kinds = {part.visual.kind for part in parts}
    if kinds == {"face"}:
        colors = {"face_colors": np.concatenate([part.visual.face_colors for part in parts])}
    elif kinds & {"face", "vertex"}:  # parts without colour get trimesh's grey
        colors = {"vertex_colors": np.concatenate([part.visual.vertex_colors for part in parts])}
    else:
        colors = {}
    return trimesh.Trimesh(vertices, faces, process=False, **colors)


def _clean(path: Path, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    used = mesh.vertices[np.unique(mesh.faces)]
    lower, upper = used.min(axis=0), used.max(axis=0)
    with np.errstate(over="ignore"):
        extent = np.max(upper - lower)
    if not extent > 0.0:
        raise ValueError(f"{path}: all {len(mesh.faces)} triangles lie in one point")
    if not EXTENTS[0] <= extent <= EXTENTS[1]:
        raise ValueError(f"{path}: the mesh is {extent:.3g} long; must be from {EXTENTS[0]:g} to {EXTENTS[1]:g}")
    lattice = np.rint((mesh.vertices - lower) / (MERGE_TOLERANCE * extent))
    _, first, same = np.unique(lattice, axis=0, return_index=True, return_inverse=True)
    faces = first[same.ravel()][mesh.faces]
    distinct = np.all(faces != np.roll(faces, 1, axis=1), axis=1)
    count = np.count_nonzero(distinct)
    if count < FEWEST_FACES:
        raise ValueError(f"{path}: {count} triangles with three distinct corners, a body has at least {FEWEST_FACES}")
    mesh.faces = faces
    mesh.update_faces(distinct)
    mesh.remove_unreferenced_vertices()
    if not mesh.is_watertight:  # surfaces stored twice, once for each side, cancel in every inside test
        mesh.update_faces(mesh.unique_faces())
    if not mesh.is_winding_consistent:
        trimesh.repair.fix_winding(mesh)
    if mesh.is_watertight and _signed_volume(mesh.triangles - lower) < 0.0:
        mesh.invert()
    if not mesh.area > 0.0:
        raise ValueError(f"{path}: {len(mesh.faces)} triangles, none with an area")
    return mesh


def _signed_volume(corner: np.ndarray) -> float:
    return float(np.sum(corner[:, 0] * np.cross(corner[:, 1], corner[:, 2])) / 6.0)


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


MESH_FORMATS = {".ply": "ply", ".obj": "obj", ".glb": "glb", ".stl": "stl"}  # suffix: trimesh's name
TEXT_DIGITS = 9  # of coordinates in OBJ: those of a float32
OPTIONS = {"ply": {"vertex_normal": True}, "obj": {"digits": TEXT_DIGITS, "include_normals": True}}


def write_mesh(path: str | Path, mesh: trimesh.Trimesh) -> Path:
    """Writes a mesh in the format of the suffix, one of MESH_FORMATS; colours of vertices where the format has them.

    Coordinates are rounded to float32. Raises ValueError for another suffix, and where the file cannot be written.
    """
    path = Path(path)
    kind = MESH_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: mesh format '{path.suffix}' is not known, allowed are {', '.join(MESH_FORMATS)}")
    data = mesh.export(file_type=kind, **OPTIONS.get(kind, {}))
    with replacing(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
