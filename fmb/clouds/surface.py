"""The closed surface of any field around a normalised cloud, whose box has its middle at 0 and a longest side of 1."""

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.graph import connected_component_labels

from fmb.fields.contour import Grid, contour, sample_field
from fmb.fields.field import Field, OnProgress, polish, unwatched

REACH = 0.6  # half the side of the box in which surfaces are looked for: a tenth of the cloud beyond its own


def extract(
    field: Field, resolution: int, on_progress: OnProgress = unwatched, polished: bool = True
) -> trimesh.Trimesh:
    """Closed mesh, outward, of the field's zero within REACH; where it goes on beyond, it is cut off flat.

    All pieces and cavities are kept, see `supported`. Without `polished` vertices lie on the edges
    of cells, where linear interpolation puts them. Raises ValueError where there is no surface.
    """
    corner = np.full(3, REACH)
    grid = sample_field(field, -corner, corner, round(2 * REACH * resolution), on_progress=on_progress)
    mesh = contour(_closed(grid))
    if polished:
        mesh.vertices = polish(field, np.asarray(mesh.vertices), grid.spacing / 2, on_progress)
    return mesh


def supported(mesh: trimesh.Trimesh, points: Float[np.ndarray, "point 3"], reach: float) -> tuple[trimesh.Trimesh, int]:
    """The mesh without pieces and cavities of which no vertex is within `reach` of a point, and how many these are.

    Nothing vouches for them: they are what is left where a fit has ended too early. One that has none else stays whole.
    """
    piece = connected_component_labels(mesh.edges_unique, node_count=len(mesh.vertices))
    near = np.isfinite(cKDTree(points).query(mesh.vertices, distance_upper_bound=reach, workers=-1)[0])
    kept = np.bincount(piece, near) > 0
    left_out = int(np.count_nonzero(~kept))
    if not left_out or not kept.any():
        return mesh, 0
    return mesh.submesh([np.flatnonzero(kept[piece[mesh.faces[:, 0]]])], append=True), left_out


def _closed(grid: Grid) -> Grid:
    """The grid with positive values on its border."""
    value = np.pad(grid.value[1:-1, 1:-1, 1:-1], 1, constant_values=np.inf)
    border = np.isinf(value)
    value[border] = np.maximum(grid.value[border], grid.spacing / 2)
    return grid._replace(value=value)
