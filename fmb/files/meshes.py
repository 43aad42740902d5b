"""Meshes: any file that holds triangles becomes one clean mesh, in the file's own frame and unit."""

import os
from pathlib import Path

import numpy as np
import trimesh

from fmb.files.door import LARGEST_FILE, read_bytes
from fmb.files.gltf import parse_gltf
from fmb.files.safe import parsing
from fmb.files.surfaces import PARSERS, Surface, in_utf8
from fmb.geometry.interior import capped
from fmb.geometry.polygons import triangulate
from fmb.machine import warn

LARGEST_MESH = LARGEST_FILE
MERGE_TOLERANCE = 1e-8  # vertices closer than this, in units of the longest box side, are one vertex
FEWEST_FACES = 4  # of a body: a tetrahedron
EXTENTS = (1e-30, 1e30)  # of the longest box side: float32 holds it and its inverse, float64 its cube
OVERLAP = 0.01  # of the area of polygons that may lie twofold: quadrangles are often not quite flat
HOLES = 1.0 / 3.0  # largest share of a body's surface that may be open, as that of a tetrahedron without a side
GLTF = ("glb", "gltf")
FORMATS = ("obj", "ply", "stl", "off", *GLTF)


def read_mesh(path: str | Path) -> trimesh.Trimesh:
    """One triangle mesh, in the frame and unit of the file, outward where it is a body.

    Scenes are joined with their transforms, seams are welded and faces without three distinct corners dropped;
    colours of vertices or faces are kept, materials and textures are not read.

    Raises ValueError that names the file: missing, empty, unreadable, of a format not in FORMATS, without
    triangles, or with vertices or faces that make no body.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if not path.suffix and not os.path.exists(path):
        raise ValueError(f"{path}: no such file or folder")
    if kind not in FORMATS:
        raise ValueError(f"{path}: mesh format '{path.suffix}' is not known, allowed are {', '.join(FORMATS)}")
    data = _file_bytes(path)
    what = f"not a readable {kind} file"
    # numbers of all kinds are read, and looked at later
    with parsing(path, what, f"{what}: "), np.errstate(all="ignore"):
        surfaces = parse_gltf(data, path.parent) if kind in GLTF else [PARSERS[kind](in_utf8(data))]
    parts = [_part(path, surface) for surface in surfaces]
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        points = sum(len(surface.position) for surface in surfaces)
        splats = kind == "ply" and b"property float f_dc_0" in data
        hint = "of Gaussian splats, which task `export` reads" if splats else "without faces"
        raise ValueError(f"{path}: no triangles" + (f", only {points} points {hint}" if points else ""))
    return _clean(path, _joined(parts))


def _part(path: Path, surface: Surface) -> trimesh.Trimesh:
    """The surface in triangles; what was odd about it is told on stderr."""
    _check(path, surface.position, surface.corner)
    with np.errstate(all="ignore"):  # numbers too large for areas are refused with the whole
        made = triangulate(surface.position, surface.corner, surface.length)
    notice = surface.notice and f"{path}: {surface.notice}"
    if made.excess > OVERLAP:
        notice += f"\n{path}: polygons that cross themselves or are not flat, {made.excess:.1%} of their area twofold"
    warn(notice.strip())
    by_face = surface.vertex_color is None and surface.face_color is not None
    colors = {"face_colors": surface.face_color[made.polygon]} if by_face else {"vertex_colors": surface.vertex_color}
    return trimesh.Trimesh(surface.position, made.face, process=False, **colors)


def _file_bytes(path: Path) -> bytes:
    data = read_bytes(path, LARGEST_MESH, "mesh file")
    if not data:
        raise ValueError(f"{path}: the mesh file is empty")
    return data


def _check(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
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
    if _inside_out(mesh):
        mesh.invert()
    if not mesh.area > 0.0:
        raise ValueError(f"{path}: {len(mesh.faces)} triangles, none with an area")
    return mesh


def _inside_out(mesh: trimesh.Trimesh) -> bool:
    """True for a body whose triangles look inwards; never for a sheet, whose holes are as large as it is."""
    lower = mesh.vertices.min(axis=0)
    vertices, caps = capped(np.asarray(mesh.vertices) - lower, np.asarray(mesh.faces))
    corner = vertices[np.concatenate([mesh.faces, caps])]
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(across, axis=1)
    if area[len(mesh.faces) :].sum() > HOLES * area.sum():
        return False
    return float(np.einsum("fi,fi->", corner[:, 0], across)) < 0.0
