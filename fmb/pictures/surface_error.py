"""The error of a surface as colours: how far each vertex is from the reference."""

import numpy as np
import trimesh

from fmb.geometry.distances import distance_to
from fmb.pictures.sheets import Scale, paint

PERCENT = 100.0
TOP = 99.0  # percentile of the errors at which their colours end
COLORS = "inferno"
LABEL = "distance (% of the reference's longest side)"


def error_scale(errors: np.ndarray) -> Scale:
    """One scale for all errors."""
    return Scale(COLORS, (0.0, max(float(np.percentile(errors, TOP)), 1e-6)), LABEL, "max")


def colored_by_error(mesh: trimesh.Trimesh, reference: trimesh.Trimesh) -> tuple[trimesh.Trimesh, Scale]:
    """The mesh with each vertex in the colour of its exact distance from the reference, and the colours' scale."""
    errors = PERCENT * distance_to(reference, np.asarray(mesh.vertices, float)) / float(max(reference.extents))
    scale = error_scale(errors)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=paint(errors, scale), process=False), scale
