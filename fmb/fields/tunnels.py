"""Tunnels and bridges of a surface that are thinner than a pixel: those that no mask shows are closed."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from fmb.fields.contour import Grid, contour, sample_field, tidy
from fmb.fields.field import Field, OnProgress, polish, unwatched, usual_slope
from fmb.fields.topology import without_thin_handles
from fmb.geometry.cameras import finest_pixel
from fmb.geometry.sightings import seen_against
from fmb.geometry.views import Views

UNMOVED = 1.8  # cells from a node that has changed sides, within which vertices stay where linear interpolation is
LEAST_GAP = 0.25  # cells that a node which has changed sides is away from the surface
NARROW = 2.0  # pixels: what is not wider may be an error of the masks
AGAINST = 0.1  # of the views, at least one, must see the background at a place before it is outside


class Closed(NamedTuple):
    """The mesh, and how many of its tunnels are gone where its surface moves by NARROW / 2 pixels."""

    mesh: trimesh.Trimesh
    narrow: int


def genus(mesh: trimesh.Trimesh) -> int:
    """The number of tunnels, over all pieces of a closed mesh without cavities."""
    return int(mesh.body_count) - int(mesh.euler_number) // 2


def closed_tunnels(
    field: Field,
    mesh: trimesh.Trimesh,
    grid_of: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], int],
    smallest: float,
    views: Views,
    on_progress: OnProgress = unwatched,
) -> Closed:
    """The field's mesh without tunnels and bridges that are thinner than the finest pixel of the views.

    `mesh` is its surface in the box and resolution `grid_of`; pieces below the share `smallest` of the volume are left
    out again. A tunnel is closed only where masks show no background through it, a bridge cut only where they do. One
    without tunnels comes back as it is.
    """
    if not genus(mesh):
        return Closed(mesh, 0)
    slope = usual_slope(field, np.asarray(mesh.vertices))
    pixel = float(finest_pixel(views.cameras)) * slope
    reach = NARROW / 2 * pixel
    grid = bordered(sample_field(field, *grid_of, (-reach, reach), on_progress))

    needed = max(1, round(AGAINST * len(views.silhouette)))

    def empty(points: Float[np.ndarray, "point 3"]) -> Bool[np.ndarray, " point"]:
        return seen_against(views, points) >= needed

    least = LEAST_GAP * grid.spacing * slope
    sure = without_thin_handles(grid, pixel / 2, least, empty)
    closed, changed = tidy(contour(sure), smallest), changed_nodes(grid, sure)
    polish_beyond(field, closed, changed, grid.spacing, on_progress)
    if not genus(closed):
        return Closed(closed, 0)
    wide = genus(tidy(contour(without_thin_handles(sure, reach, least)), smallest))
    return Closed(closed, max(genus(closed) - wide, 0))


def bordered(grid: Grid) -> Grid:
    """The grid, its border as positive as anything in it."""
    value = np.pad(grid.value[1:-1, 1:-1, 1:-1], 1, constant_values=float(np.abs(grid.value).max()))
    return grid._replace(value=value)


def changed_nodes(grid: Grid, other: Grid) -> Float[np.ndarray, "node 3"]:
    """The places of the nodes that have another sign there."""
    return grid.origin + grid.spacing * np.argwhere(np.sign(other.value) != np.sign(grid.value))


def polish_beyond(
    field: Field,
    mesh: trimesh.Trimesh,
    changed: Float[np.ndarray, "node 3"],
    spacing: float,
    on_progress: OnProgress = unwatched,
) -> None:
    """Moves the mesh's vertices to the field's zero, but not those near a node that has changed sides."""
    vertices = np.array(mesh.vertices)
    free = np.ones(len(vertices), bool)
    if len(changed):
        free = cKDTree(changed).query(vertices)[0] > UNMOVED * spacing
    vertices[free] = polish(field, vertices[free], spacing / 2, on_progress)
    mesh.vertices = vertices
