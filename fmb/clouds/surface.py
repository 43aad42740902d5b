"""The closed surface of any field around a normalised cloud, whose box has its middle at 0 and a longest side of 1."""

import numpy as np
import trimesh

from fmb.fields.contour import Grid, contour, sample_field
from fmb.fields.field import Field, OnProgress, polish, unwatched

REACH = 0.6  # half the side of the box in which surfaces are looked for: a tenth of the cloud beyond its own


def extract(
    field: Field, resolution: int, on_progress: OnProgress = unwatched, polished: bool = True
) -> trimesh.Trimesh:
    """Closed mesh, outward, of the field's zero within REACH; where it goes on beyond, it is cut off flat.

    All pieces and cavities are kept: fewer would hide what a method does. Without `polished` vertices lie on the edges
    of cells, where linear interpolation puts them. Raises ValueError where there is no surface.
    """
    corner = np.full(3, REACH)
    grid = sample_field(field, -corner, corner, round(2 * REACH * resolution), on_progress=on_progress)
    mesh = contour(_closed(grid))
    if polished:
        mesh.vertices = polish(field, np.asarray(mesh.vertices), grid.spacing / 2, on_progress)
    return mesh


def _closed(grid: Grid) -> Grid:
    """The grid with positive values on its border."""
    value = np.pad(grid.value[1:-1, 1:-1, 1:-1], 1, constant_values=np.inf)
    border = np.isinf(value)
    value[border] = np.maximum(grid.value[border], grid.spacing / 2)
    return grid._replace(value=value)
