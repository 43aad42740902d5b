"""Cameras as pyramids around the hull of what they see, flattened for a drawing: arrays alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from fmb.cameras import Cameras
from fmb.carving import Volume
from fmb.views import Views

MOST_POINTS = 20_000  # of the hull's surface
FURTHEST = 4.0  # radii of the surface: where cameras stand further off in the median, they are drawn nearer
LENGTH, CROWD = 0.3, 12  # of a pyramid in parts of the median distance, and the number of views from which it shrinks
LIGHT = np.array([-0.4, 0.5, 0.77])  # from the left, above and before the picture
AMBIENT = 0.35


class Pyramids(NamedTuple):
    """Cameras around a surface in a frame where z is up, the middle of the surface is 0 and its radius about 1.

    Their distances from the middle are divided by `nearer`.
    """

    apex: Float[np.ndarray, "view 3"]
    corner: Float[np.ndarray, "view 4 3"]  # top left, top right, bottom right, bottom left of the image
    points: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"]
    marked: Bool[np.ndarray, " view"]
    dot: float  # edge of a voxel
    nearer: float


class Drawing(NamedTuple):
    """The same seen from afar: x to the right, y up, everything in the order in which it is to be drawn."""

    title: str
    order: np.ndarray  # of the views, furthest first
    apex: Float[np.ndarray, "view 2"]
    corner: Float[np.ndarray, "view 4 2"]
    nearness: Float[np.ndarray, " view"]  # 0: furthest, 1: nearest
    points: Float[np.ndarray, "point 2"]
    shade: Float[np.ndarray, " point"]  # 0: black, 1: white
    marked: Bool[np.ndarray, " view"]
    dot: float  # how large a point is


def pyramids(views: Views, hull: Volume | None, marked: Bool[np.ndarray, " view"]) -> Pyramids:
    """The cameras of the views as pyramids around the hull; without one around their own middle."""
    pose = np.asarray(views.cameras.world_from_camera, float)
    position = pose[:, :3, 3]
    points, normal = (np.zeros((0, 3)), np.zeros((0, 3))) if hull is None else surface_points(hull)
    middle = points.mean(0) if len(points) else position.mean(0)
    distance = float(np.median(np.linalg.norm(position - middle, axis=1))) or 1.0
    spread = np.linalg.norm(points - middle, axis=1)
    unit = float(np.percentile(spread, 95)) if len(points) else distance / 3.0
    nearer = max(1.0, distance / (FURTHEST * unit))
    position, distance = middle + (position - middle) / nearer, distance / nearer
    length = LENGTH * distance * min(1.0, np.sqrt(CROWD / len(position)))
    corner = position[:, None] + length * image_corners(views.cameras, *views.silhouette.shape[1:])
    turn = upright(pose[:, :3, :3])
    placed = ((x - middle) @ turn.T / unit for x in (position, corner, points))
    dot = 0.0 if hull is None else hull.box.edge / len(hull.occupied) / unit
    return Pyramids(*placed, normal @ turn.T, marked, dot, nearer)


def image_corners(cameras: Cameras, height: int, width: int) -> Float[np.ndarray, "view 4 3"]:
    """Directions of unit depth to the corners of the images, in world axes."""
    place = np.array([[0.0, 0.0, 1.0], [width, 0.0, 1.0], [width, height, 1.0], [0.0, height, 1.0]])
    inverse = np.linalg.inv(np.asarray(cameras.intrinsics, float))
    rotation = np.asarray(cameras.world_from_camera, float)[:, :3, :3]
    return np.einsum("vij,vjk,ck->vci", rotation, inverse, place)


def upright(rotation: Float[np.ndarray, "view 3 3"]) -> Float[np.ndarray, "3 3"]:
    """Turns the world so that what is up in most images is z."""
    up = -rotation[:, :, 1].mean(0)
    if np.linalg.norm(up) < 0.1:  # rolled in all directions: the world's own z is as good as any
        return np.eye(3)
    up = up / np.linalg.norm(up)
    right = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def surface_points(hull: Volume) -> tuple[Float[np.ndarray, "point 3"], Float[np.ndarray, "point 3"]]:
    """Middles of the voxels at the hull's surface and its normals there, at most MOST_POINTS."""
    padded = np.pad(hull.occupied, 2).astype(float)
    inside = padded > 0.0
    index = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    index = index[:: -(-len(index) // MOST_POINTS) or 1]
    slope = np.stack([ndimage.gaussian_filter1d(padded, 1.5, axis, order=1) for axis in range(3)], axis=-1)
    for axis in range(3):
        for other in {0, 1, 2} - {axis}:
            slope[..., axis] = ndimage.gaussian_filter1d(slope[..., axis], 1.5, other)
    normal = -slope[tuple(index.T)]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return hull.box.lower + hull.box.edge / len(hull.occupied) * (index - 2 + 0.5), normal


def flattened(scene: Pyramids, title: str, azimuth: float, elevation: float) -> Drawing:
    """The pyramids seen from afar, in the direction of two angles in radians."""
    ahead = -np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    screen = np.stack([right, np.cross(right, ahead), ahead])
    apex, corner, points, normal = (x @ screen.T for x in scene[:4])
    shade = AMBIENT + (1.0 - AMBIENT) * np.clip(normal @ (LIGHT * [1.0, 1.0, -1.0]), 0.0, 1.0)
    back = np.argsort(-points[:, 2])
    order = np.argsort(-apex[:, 2])
    nearness = np.empty(len(order))
    nearness[order] = np.linspace(0.0, 1.0, len(order))
    flat = (apex[:, :2], corner[..., :2], nearness, points[back, :2], shade[back])
    if scene.nearer > 1.0:
        title += f", camera distances divided by {scene.nearer:.2g}"
    return Drawing(title, order, *flat, scene.marked, scene.dot)
