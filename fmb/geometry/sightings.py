"""What single views say of places in space: whether they see them, and whether they see the background there."""

import numpy as np
from jaxtyping import Bool, Float, Int

from fmb.geometry.views import Views, foreground


def projections(views: Views) -> Float[np.ndarray, "view 3 4"]:
    """Matrices from the world to pixels times depth."""
    camera_from_world = np.linalg.inv(np.asarray(views.cameras.world_from_camera, float))[:, :3]
    return np.asarray(views.cameras.intrinsics, float) @ camera_from_world


def vote(
    views: Views, view: int, x: np.ndarray, y: np.ndarray, depth: np.ndarray
) -> tuple[Bool[np.ndarray, "*place"], Bool[np.ndarray, "*place"]]:
    """Which places (given in pixels times depth) the view sees, and which of these it is against."""
    height, width = views.silhouette.shape[1:]
    seen = (depth > 0) & (x >= 0) & (x < width * depth) & (y >= 0) & (y < height * depth)
    row, column = ((value[seen] / depth[seen]).astype(np.intp) for value in (y, x))
    # rounding may put the quotient on the border
    row, column = np.minimum(row, height - 1), np.minimum(column, width - 1)
    if views.valid is not None:
        valid = np.asarray(views.valid[view])[row, column]
        seen[seen] = valid
        row, column = row[valid], column[valid]
    against = np.zeros(seen.shape, bool)
    against[seen] = ~foreground(np.asarray(views.silhouette[view])[row, column])
    return seen, against


def seen_against(views: Views, points: Float[np.ndarray, "point 3"]) -> Int[np.ndarray, " point"]:
    """The number of views that see the background where each point is."""
    against = np.zeros(len(points), int)
    for view, matrix in enumerate(projections(views)):
        against += vote(views, view, *(matrix[:, :3] @ points.T + matrix[:, 3:]))[1]
    return against
