"""Colours of the vertices of a mesh from the views that see them, and how well the views agree about them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from fmb.fit.losses import weighted_mean
from fmb.geometry.cameras import ANY_ARRAY, project
from fmb.geometry.ground_truth import visible_points
from fmb.geometry.views import Views, foreground
from fmb.shape.template_outline import sampled

LEAST = 1e-6  # weight below which a vertex counts as never seen
PLAIN = 0.01  # deviation of a hue's shares over an object, below which it has one colour
DARK = 0.05  # added to each channel before shares are taken: black has no hue


class Sighting(NamedTuple):
    """What each view shows of each point: its colour there, and how much that counts (0: not seen)."""

    color: Float[np.ndarray, "view point channel"]
    share: Float[np.ndarray, "view point"]


class Paint(NamedTuple):
    """The hue of each vertex, and how much each view says of it."""

    hue: Float[ANY_ARRAY, "vertex 3"]
    share: Float[ANY_ARRAY, "view vertex"]


def vertices_and_normals(mesh: trimesh.Trimesh) -> tuple[Float[np.ndarray, "vertex 3"], Float[np.ndarray, "vertex 3"]]:
    """The vertices as places to colour."""
    return np.asarray(mesh.vertices, float), np.asarray(mesh.vertex_normals, float)


def sighting(
    mesh: trimesh.Trimesh,
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"],
    views: Views,
    color: Float[ANY_ARRAY, "view height width channel"],
) -> Sighting:
    """Images at points of the mesh, weighted by how much these face the cameras; 0 where hidden or off the mask."""
    place = np.asarray(project(views.cameras, points)[0], float)
    toward = np.asarray(views.cameras.world_from_camera, float)[:, None, :3, 3] - points
    facing = np.sum(normals * toward, axis=2) / np.linalg.norm(toward, axis=2)
    share = np.maximum(facing, 0.0) * visible_points(mesh, points, views.cameras)
    colors = []
    for view, index in enumerate(place[..., ::-1].swapaxes(1, 2) - 0.5):
        share[view] *= map_coordinates(foreground(views.silhouette[view]).astype(float), index, order=0, cval=0.0)
        channels = np.moveaxis(np.asarray(color[view], float), -1, 0)
        colors.append(np.stack([map_coordinates(one, index, order=1, mode="nearest") for one in channels], axis=1))
    return Sighting(np.stack(colors), share)


def agreed(seen: Sighting, opposite: np.ndarray | None = None) -> Float[np.ndarray, "point channel"]:
    """The mean over the views that see a point; those that no view sees take the value of none, NaN.

    With `opposite`, the indices of mirror images, both sides share what is seen of either.
    """
    total, weight = np.einsum("vp,vpc->pc", seen.share, seen.color), seen.share.sum(axis=0)
    if opposite is not None:
        total, weight = total + total[opposite], weight + weight[opposite]
    return np.where(weight[:, None] > LEAST, total / np.maximum(weight, LEAST)[:, None], np.nan)


def vertex_colors(
    mesh: trimesh.Trimesh, views: Views, opposite: np.ndarray | None = None
) -> Float[np.ndarray, "vertex 3"]:
    """Colours, 0 to 1, see `agreed`. Vertices that no view sees take the colour of the nearest that one does.

    Raises ValueError for views without colour.
    """
    if views.color is None:
        raise ValueError("colours of vertices: the views have no colour")
    color = agreed(sighting(mesh, *vertices_and_normals(mesh), views, views.color), opposite)
    seen = np.isfinite(color).all(axis=1)
    if not seen.any():
        raise ValueError("colours of vertices: no view sees the mesh")
    vertices = np.asarray(mesh.vertices, float)
    return np.clip(color[seen][cKDTree(vertices[seen]).query(vertices)[1]], 0.0, 1.0)


def hues(color: Float[ANY_ARRAY, "view height width 3"], blur: float) -> Float[np.ndarray, "view height width 3"]:
    """Shares of red, green and blue, which light and shade leave as they are; blurred by so many pixels."""
    share = np.asarray(color, float) + DARK
    share /= share.sum(axis=-1, keepdims=True)
    return gaussian_filter(share, (0.0, blur, blur, 0.0))


def has_hues(views: Views) -> bool:
    """Whether the views have colours that differ over the object by more than shade does."""
    if views.color is None:
        return False
    shown = hues(views.color, 0.0)[foreground(np.asarray(views.silhouette))]
    return bool(len(shown)) and float(shown.std(axis=0).max()) > PLAIN


def paint_of(
    mesh: trimesh.Trimesh, views: Views, hue: Float[ANY_ARRAY, "view height width 3"], opposite: np.ndarray | None
) -> Paint:
    """The hues that the views agree about as the mesh stands now."""
    seen = sighting(mesh, *vertices_and_normals(mesh), views, hue)
    found = agreed(seen, opposite)
    known = np.isfinite(found).all(axis=1)
    return Paint(np.where(known[:, None], found, 0.0), seen.share * known)


def hue_loss(
    place: Float[Array, "view vertex 2"], hue: Float[Array, "view height width 3"], paint: Paint
) -> Float[Array, ""]:
    """Mean square difference of what the views show at the vertices from the vertices' own hues."""
    apart = jax.vmap(sampled)(hue, place) - paint.hue[None]
    return weighted_mean(jnp.sum(apart * apart, axis=2), paint.share)
