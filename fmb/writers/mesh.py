"""Meshes as files, in the frame and unit that they are given in."""

from pathlib import Path

import trimesh

from util import replacing

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
