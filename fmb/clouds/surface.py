"""The closed surface of any field around a normalised cloud, whose box has its middle at 0 and a longest side of 1."""

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.graph import connected_component_labels

from fmb.fields.contour import Grid, contour, sample_field
from fmb.fields.field import Field, OnProgress, first_order_distance, polish, unwatched, usual_slope
from fmb.fields.topology import without_thin_handles
from fmb.fields.tunnels import changed_nodes, polish_beyond

REACH = 0.6  # half the side of the box in which surfaces are looked for: a tenth of the cloud beyond its own

LOOKS = 4_000  # about so many points tell how far the surface is from all
LEAST_SHARE = 0.1  # of the points that a piece should have, see `supported`


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


def certain_surface(
    field: Field, resolution: int, points: Float[np.ndarray, "point 3"], reach: float
) -> tuple[trimesh.Trimesh, int]:
    """The field's surface, see `extract`, without handles and holes that are gone where it moves by `reach`.

    That is a length; how steep the field is at the points of the cloud turns it into levels. Beside the mesh stands how
    many nodes of the grid have changed sides: there vertices are not moved to the field's zero.
    """
    corner, level = np.full(3, REACH), reach * usual_slope(field, points)
    grid = _closed(sample_field(field, -corner, corner, round(2 * REACH * resolution), (-level, level)))
    sure = without_thin_handles(grid, level, grid.spacing * level / reach / 4) if reach else grid
    mesh, changed = contour(sure), changed_nodes(grid, sure)
    polish_beyond(field, mesh, changed, grid.spacing)
    return mesh, len(changed)


def uncertainty(field: Field, points: Float[np.ndarray, "point 3"]) -> float:
    """How far the field's surface may be from the true one: root of the mean square of its distance from the points.

    Of a surface through the middle of noisy points that is their noise. The noise that the points tell of themselves is
    not asked: where they are few it is too large, and true rings would be cut.
    """
    away = first_order_distance(field, points[:: max(1, len(points) // LOOKS)], points)
    return float(np.sqrt(np.mean(away**2)))


def supported(
    mesh: trimesh.Trimesh, points: Float[np.ndarray, "point 3"], spacing: float
) -> tuple[trimesh.Trimesh, int]:
    """The mesh without pieces and cavities that the points do not lie on, and how many these are.

    A piece is kept where it is the nearest one to a LEAST_SHARE of the points that its area calls for, one for the
    square of the spacing, and to one at least. The others are what is left where a fit has ended too early, or hollows
    that no point has ever touched. A mesh of which nothing would be kept stays whole.
    """
    piece = connected_component_labels(mesh.edges_unique, node_count=len(mesh.vertices))
    of_face = piece[mesh.faces[:, 0]]
    if piece.max() == 0:
        return mesh, 0
    nearest = piece[cKDTree(mesh.vertices).query(points, workers=-1)[1]]
    own = np.bincount(nearest, minlength=piece.max() + 1)
    kept = own >= np.maximum(LEAST_SHARE * np.bincount(of_face, mesh.area_faces) / spacing**2, 1.0)
    left_out = int(np.count_nonzero(~kept))
    if not left_out or not kept.any():
        return mesh, 0
    return mesh.submesh([np.flatnonzero(kept[of_face])], append=True), left_out


def _closed(grid: Grid) -> Grid:
    """The grid with positive values on its border."""
    value = np.pad(grid.value[1:-1, 1:-1, 1:-1], 1, constant_values=np.inf)
    border = np.isinf(value)
    value[border] = np.maximum(grid.value[border], grid.spacing / 2)
    return grid._replace(value=value)
