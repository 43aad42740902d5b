"""How much of each mask the strict visual hull of all masks covers: all of it, where cameras and masks agree."""

import numpy as np
from jaxtyping import Float

from fmb.geometry.sightings import projections
from fmb.geometry.views import Views
from fmb.hull.votes import object_pixels


def coverage(views: Views, edge: float, grid: int) -> Float[np.ndarray, " view"]:
    """The share of each mask onto whose pixels a voxel of the hull falls.

    The cube of the voxels has its middle at the origin; `edge` is half of its edge. The hull are those of grid^3 voxels
    that no view sees before the background; what lies outside an image, or where a pixel is not valid, may be there.
    """
    height, width = views.silhouette.shape[1:]
    inside = object_pixels(views)
    maybe = inside if views.valid is None else inside | ~np.asarray(views.valid)
    ticks = edge * (2 * (np.arange(grid) + 0.5) / grid - 1)
    points = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    places: list[np.ndarray] = []
    for mask, matrix in zip(maybe, projections(views), strict=True):
        x, y, depth = matrix[:, :3] @ points.T + matrix[:, 3:]
        seen = depth > 0.0
        column, row = (np.floor(value / np.where(seen, depth, 1.0)).astype(np.int32) for value in (x, y))
        outside = (column < 0) | (row < 0) | (column >= width) | (row >= height)
        place = np.where(outside, -1, row * width + column)
        kept = seen & (outside | mask.reshape(-1)[place])
        points, places = points[kept], [old[kept] for old in places] + [place[kept]]
    share = np.empty(len(inside))
    for view, (mask, place) in enumerate(zip(inside.reshape(len(inside), -1), places, strict=True)):
        met = np.zeros(mask.size, bool)
        met[place[place >= 0]] = True
        share[view] = np.count_nonzero(met & mask) / max(np.count_nonzero(mask), 1)
    return share
