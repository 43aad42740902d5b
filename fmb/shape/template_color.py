"""Colours of the vertices of a mesh from the views that see them."""

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from fmb.geometry.cameras import Cameras, project
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.views import Views, foreground

BEHIND = 0.03  # of the depth: a vertex that lies farther behind the surface is hidden
LEAST = 1e-6  # weight below which a vertex counts as never seen


def vertex_colors(
    mesh: trimesh.Trimesh, views: Views, opposite: np.ndarray | None = None
) -> Float[np.ndarray, "vertex 3"]:
    """Colours, 0 to 1: the mean over the views that see a vertex, weighted by how much it faces them.

    With `opposite`, the indices of mirror images, both sides share what is seen of either. Vertices that no view sees
    take the colour of the nearest that one does. Raises ValueError for views without colour, and where none sees any.
    """
    vertices, normals = np.asarray(mesh.vertices, float), np.asarray(mesh.vertex_normals, float)
    total, weight = seen_colors(mesh, vertices, normals, views)
    if opposite is not None:
        total, weight = total + total[opposite], weight + weight[opposite]
    seen = weight > LEAST
    if not seen.any():
        raise ValueError("colours of vertices: no view sees the mesh")
    color = total[seen] / weight[seen, None]
    near = cKDTree(vertices[seen]).query(vertices)[1]
    return np.clip(color[near], 0.0, 1.0)


def seen_colors(
    mesh: trimesh.Trimesh,
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"],
    views: Views,
) -> tuple[Float[np.ndarray, "point 3"], Float[np.ndarray, " point"]]:
    """Sums over the views that see points of a mesh of their colours, weighted by how much they face them, and weights.

    Raises ValueError for views without colour.
    """
    if views.color is None:
        raise ValueError("colours of vertices: the views have no colour")
    total, weight, size = np.zeros((len(points), 3)), np.zeros(len(points)), views.silhouette.shape[1:]
    for view in range(len(views.silhouette)):
        camera = Cameras(*(np.asarray(part, float)[view : view + 1] for part in views.cameras))
        depth = render_ground_truth(mesh, camera, size, "raycast").views.depth[0]
        place, far = (np.asarray(part, float)[0] for part in project(camera, points))
        index = place[:, ::-1].T - 0.5
        surface = map_coordinates(np.where(np.isfinite(depth), depth, np.inf), index, order=0, cval=np.inf)
        shown = map_coordinates(foreground(views.silhouette[view]).astype(float), index, order=0, cval=0.0)
        toward = camera.world_from_camera[0, :3, 3] - points
        facing = np.maximum(np.sum(normals * toward, axis=1) / np.linalg.norm(toward, axis=1), 0.0)
        share = facing * (far <= surface * (1.0 + BEHIND)) * np.isfinite(surface) * shown
        color = [
            map_coordinates(views.color[view, ..., channel], index, order=1, mode="nearest") for channel in range(3)
        ]
        total, weight = total + share[:, None] * np.stack(color, axis=1), weight + share
    return total, weight
