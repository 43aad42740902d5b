"""Meshes as files: coordinates as exactly as each format holds them, and a look at what was written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from fmb.files.gltf import parse_gltf
from fmb.files.ply import encode_ply
from fmb.files.surfaces import PARSERS, STL_OFFSET, Surface
from fmb.geometry.polygons import triangulate
from fmb.machine import replacing, warn

FINEST = 2.0**-24  # of a coordinate: what float32 rounds it by
ROUNDED = 1e-6  # of the size of an object: rounding that nobody sees
DIGITS = 9  # of coordinates in OBJ: those of the object's size after its first
DIFFERS = 1e-4  # of size, area or volume: more than rounding


def float32_offset(points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "3"]:
    """What to take off points that float32 would round visibly, as far as they lie from the origin; else zeros.

    A round number of the unit, so that it is written in few digits.
    """
    lower, upper = points.min(axis=0), points.max(axis=0)
    size = float(np.max(upper - lower))
    if not FINEST * max(np.abs(lower).max(), np.abs(upper).max()) > ROUNDED * size > 0.0:
        return np.zeros(3)
    unit = 10.0 ** np.floor(np.log10(size))
    return np.array([float(f"{unit * number:.15g}") for number in np.rint((lower + upper) / 2.0 / unit)])


def offset_words(offset: Float[np.ndarray, "3"]) -> str:
    """The offset in as many digits as it has."""
    return " ".join(map(repr, offset.tolist()))


def offset_notice(path: Path, offset: Float[np.ndarray, "3"]) -> str:
    """A line about coordinates that are written without the offset; empty for none."""
    words = f"{path.name}: holds float32 alone, so coordinates are written without the offset {offset_words(offset)}"
    return words if offset.any() else ""


def write_mesh(path: str | Path, mesh: trimesh.Trimesh) -> Path:
    """Writes a mesh in the format of the suffix, one of MESH_FORMATS; colours of vertices where the format has them.

    PLY and OBJ hold coordinates in double. GLB and STL round to float32: where that would show, as it does far from the
    origin, the coordinates are written without an offset, which GLB's node adds again, and STL's header tells.
    What was written is read once, and a difference in size, area or volume is told on stderr.
    Raises ValueError for another suffix, a mesh without triangles, and where the file cannot be written.
    """
    path = Path(path)
    encode = MESH_FORMATS.get(path.suffix.lower())
    if encode is None:
        raise ValueError(f"{path}: mesh format '{path.suffix}' is not known, allowed are {', '.join(MESH_FORMATS)}")
    if not len(mesh.faces):
        raise ValueError(f"{path}: no triangles to write")
    offset = float32_offset(np.asarray(mesh.vertices))
    data = encode(mesh, offset)
    with replacing(path) as partial:
        partial.write_bytes(data)
    if path.suffix.lower() == ".stl":
        warn(offset_notice(path, offset))
    warn(*(f"{path.name}: {words}" for words in differences(mesh, surfaces(data, path))))
    return path


def surfaces(data: bytes, path: Path) -> list[Surface]:
    """What a mesh file says."""
    kind = path.suffix.lower().removeprefix(".")
    return parse_gltf(data, path.parent) if kind == "glb" else [PARSERS[kind](data)]


def differences(mesh: trimesh.Trimesh, written: list[Surface]) -> list[str]:
    """In which of size, area and volume a file differs from its mesh, a text each; all in double."""
    corners = [part.position[triangulate(part.position, part.corner, part.length).face] for part in written]
    meant, found = _facts(np.asarray(mesh.triangles)), _facts(np.concatenate([np.zeros((0, 3, 3)), *corners]))
    size = max(np.ptp(np.asarray(mesh.triangles), axis=(0, 1)).max(initial=0.0), np.finfo(float).tiny)
    scales = {"lowest corner": size, "highest corner": size, "area": size**2, "volume": size**3}
    return [
        f"the {name} is {found[name]} in the file and {meant[name]} in the mesh"
        for name, scale in scales.items()
        if not np.all(np.abs(found[name] - meant[name]) <= DIFFERS * scale)
    ]


def _facts(corner: Float[np.ndarray, "face 3 3"]) -> dict[str, np.ndarray]:
    if not len(corner):
        return dict.fromkeys(("lowest corner", "highest corner", "area", "volume"), np.zeros(3))
    lower = corner.min(axis=(0, 1))
    inner = corner - lower  # far from the origin products lose all digits
    across = np.cross(inner[:, 1] - inner[:, 0], inner[:, 2] - inner[:, 0])
    volume = np.einsum("fi,fi->", inner[:, 0], across) / 6.0
    area = np.linalg.norm(across, axis=1).sum() / 2.0
    return {"lowest corner": lower, "highest corner": corner.max(axis=(0, 1)), "area": area, "volume": volume}


def _colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    return np.asarray(mesh.visual.vertex_colors) if mesh.visual.kind == "vertex" else None


def encode_mesh_ply(mesh: trimesh.Trimesh, offset: np.ndarray) -> bytes:
    """Binary PLY: coordinates in double, normals, colours."""
    vertices, color = np.asarray(mesh.vertices, float), _colors(mesh)
    normals = np.asarray(mesh.vertex_normals, np.float32)
    columns = {name: vertices[:, axis] for axis, name in enumerate(("x", "y", "z"))}
    columns |= {name: normals[:, axis] for axis, name in enumerate(("nx", "ny", "nz"))}
    if color is not None:
        columns |= {name: color[:, k] for k, name in enumerate(("red", "green", "blue", "alpha"))}
    return encode_ply({"vertex": columns, "face": {"vertex_indices": np.asarray(mesh.faces, np.int32)}})


def encode_obj(mesh: trimesh.Trimesh, offset: np.ndarray) -> bytes:
    """OBJ text: coordinates to a billionth of the size, colours from 0 to 1 after them, normals."""
    size = float(np.max(mesh.extents))
    rounded = np.round(np.asarray(mesh.vertices, float), int(np.ceil(DIGITS - np.log10(size))) if size > 0.0 else 17)
    color = _colors(mesh)
    if color is not None:
        rounded = np.column_stack([rounded, np.round(color[:, :3] / 255.0, 4)])
    lines = ["v " + " ".join(map(repr, row)) for row in rounded.tolist()]
    lines += ["vn {:.6g} {:.6g} {:.6g}".format(*row) for row in np.asarray(mesh.vertex_normals).tolist()]
    lines += ["f {0}//{0} {1}//{1} {2}//{2}".format(*row) for row in (np.asarray(mesh.faces) + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def encode_glb(mesh: trimesh.Trimesh, offset: np.ndarray) -> bytes:
    """GLB, float32; the offset stands in the node, in double."""
    if not offset.any():
        return mesh.export(file_type="glb")
    scene = trimesh.Scene()
    scene.add_geometry(_moved(mesh, offset), transform=trimesh.transformations.translation_matrix(offset))
    return scene.export(file_type="glb")


def encode_stl(mesh: trimesh.Trimesh, offset: np.ndarray) -> bytes:
    """Binary STL, float32; the offset stands in the header, where `read_mesh` finds it."""
    data = _moved(mesh, offset).export(file_type="stl")
    if not offset.any():
        return data
    header = STL_OFFSET + offset_words(offset).encode()
    return header.ljust(80)[:80] + data[80:]


def _moved(mesh: trimesh.Trimesh, offset: np.ndarray) -> trimesh.Trimesh:
    moved = mesh.copy()
    moved.vertices = np.asarray(mesh.vertices) - offset
    return moved


MESH_FORMATS: dict[str, Callable[[trimesh.Trimesh, np.ndarray], bytes]] = {
    ".ply": encode_mesh_ply,
    ".obj": encode_obj,
    ".glb": encode_glb,
    ".stl": encode_stl,
}
