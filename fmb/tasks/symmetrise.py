"""The part of task `symmetry` that makes a mesh symmetric: by the plane found or given, written, measured, drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from fmb.files.mesh_output import write_mesh
from fmb.geometry.comparison import THRESHOLD, compared, worst_pairs
from fmb.geometry.mesh_symmetry import (
    Mirrored,
    SymmetryError,
    geometric_error,
    index_error,
    opposite_vertices,
    symmetrised,
)
from fmb.geometry.options import ReflectionOptions
from fmb.geometry.refinement import refined
from fmb.geometry.symmetry import Plane, frame_of
from fmb.machine import tell
from fmb.options import NONE
from fmb.pictures import comparison as drawn
from fmb.pictures.draw import draw_sheet

FOUND = "found"
SAMPLES = 10_000
PERCENT = 100.0


def symmetrise(options: ReflectionOptions, mesh: trimesh.Trimesh, plane: Plane, folder: Path) -> dict[str, Any]:
    """Writes symmetric.ply and a picture of what changed into the folder; what metrics.json tells of it.

    Raises ValueError for unknown modes and a plane that misses the mesh.
    """
    made = symmetrised(mesh, plane, [mode.strip() for mode in options.symmetrise.split(",")])
    if options.refinement != NONE:
        made = refined(made, options.refinement)
    result = made.mesh()
    write_mesh(folder / "symmetric.ply", result)
    found = compared(result, mesh, SAMPLES, 0, None, THRESHOLD)
    ball, worst = drawn.ball_of((result, mesh)), worst_pairs(found, result, mesh)
    parts = [drawn.painted(*both, ball, found.record["unit"]) for both in ((result, mesh), (mesh, result))]
    sheet = drawn.compared_sheet(parts, worst, ("symmetric", "given"), ball)
    draw_sheet(folder / "10_symmetrised.png", sheet._replace(title="The mesh made symmetric, and as it was given"))
    facts = facts_of(made, result, mesh, plane) | {"modes": options.symmetrise, "refinement": options.refinement}
    tell(told(facts, found.record["exact"]["chamfer"]))
    return {"symmetrised": facts | {"change": found.record["exact"]}}


def plane_of(options: ReflectionOptions, found: Plane | None, name: str, nearest: str) -> Plane:
    """The plane that is given, else the one found. Raises ValueError where there is none."""
    if options.mirror_plane != FOUND:
        return parse_plane(options.mirror_plane)
    if found is None:
        raise ValueError(f"{name}: no plane of symmetry ({nearest}); --mirror-plane nx,ny,nz,d gives one")
    return found


def parse_plane(text: str) -> Plane:
    """The plane whose normal and offset a text tells: nx,ny,nz,d with n . x = d. Raises ValueError for another."""
    try:
        numbers = np.array([float(word) for word in text.split(",")])
    except ValueError:
        numbers = np.zeros(0)
    if numbers.shape != (4,) or not np.isfinite(numbers).all():
        raise ValueError(f"--mirror-plane is {text!r}; must be found, or four numbers nx,ny,nz,d")
    normal = frame_of(numbers[:3], "--mirror-plane: the normal", 0)[:, 0]
    return Plane(normal, np.asarray(numbers[3] / np.linalg.norm(numbers[:3])))


def facts_of(made: Mirrored, result: trimesh.Trimesh, mesh: trimesh.Trimesh, plane: Plane) -> dict[str, Any]:
    """How symmetric the mesh was and is, and what it now consists of."""
    before = {"geometric": geometric_error(mesh, plane)}
    opposite = opposite_vertices(np.asarray(mesh.vertices, float), plane)
    if opposite is not None:
        before["index"] = index_error(np.asarray(mesh.vertices, float), opposite, plane)
    vertices = np.asarray(result.vertices, float)
    after = {"geometric": geometric_error(result, plane), "index": index_error(vertices, made.opposite, plane)}
    return {
        "normal": plane.normal,
        "offset": float(plane.offset),
        "error_before": {name: error._asdict() for name, error in before.items()},
        "error_after": {name: error._asdict() for name, error in after.items()},
        "vertices": len(vertices),
        "free_numbers": made.parameters,
        "share_of_all_numbers": made.parameters / vertices.size,
        "faces": len(result.faces),
        "euler": int(result.euler_number),
        "watertight": bool(result.is_watertight),
    }


def told(facts: dict[str, Any], change: float) -> str:
    """What happened, in a line."""
    errors = [SymmetryError(**facts[name]["geometric"]).largest for name in ("error_before", "error_after")]
    closed = "watertight" if facts["watertight"] else "not watertight, as the mesh was or the plane touches it"
    words = (
        f"made symmetric: error {PERCENT * errors[0]:.3g} % of the width before, {PERCENT * errors[1]:.2g} % after; "
    )
    words += (
        f"{facts['vertices']} vertices from {facts['free_numbers']} numbers ({facts['share_of_all_numbers']:.0%}), "
    )
    return words + f"{closed}; moved by {PERCENT * change:.3g} % of the longest side on average"
