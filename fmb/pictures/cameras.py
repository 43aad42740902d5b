"""Drawings of cameras as pyramids around the hull of what they see: their geometry, then their pages."""

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from fmb import machine
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views
from fmb.hull.check import CameraReport
from fmb.hull.votes import Volume
from fmb.pictures import draw
from fmb.pictures.sheets import AGREE, BLUE, NOTHING, ORANGE, Sheet, overlay_sheet

MOST_POINTS = 20_000  # of the hull's surface
FURTHEST = 4.0  # radii of the surface; cameras whose median distance is larger are drawn nearer
LENGTH, CROWD = 0.3, 12  # of a pyramid, as a part of the median distance; number of views from which it shrinks
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
    """The same seen from far away: x to the right, y up, all in the order of drawing."""

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
    """The cameras of the views as pyramids around the hull or, without a hull, around their own middle."""
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
    """A rotation of the world after which z is up in most images."""
    up = -rotation[:, :, 1].mean(0)
    if np.linalg.norm(up) < 0.1:  # images have no common up: the world's own z is as good as any
        return np.eye(3)
    up = up / np.linalg.norm(up)
    right = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def surface_points(hull: Volume) -> tuple[Float[np.ndarray, "point 3"], Float[np.ndarray, "point 3"]]:
    """Middles of at most MOST_POINTS voxels on the surface of the hull, and normals there."""
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
    """The pyramids seen from far away, in the direction of two angles in radians."""
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


RIM = 3  # pixels of the rim around a view that is at fault
LONGEST = 150  # letters of a verdict that fit above a sheet
OBLIQUE, ABOVE = (-1.1, 0.35), (-1.5707963, 1.5707963)  # radians: directions from which the cameras are drawn


def agreement_sheet(report: CameraReport) -> Sheet:
    """Mask and hull of the others in each view, with their IoU and the share of the mask that is explained."""
    sheet = overlay_sheet(report.silhouette, report.others)
    legend = {"in both": AGREE, "in the mask alone": ORANGE, "in the hull alone": BLUE, "in neither": NOTHING}
    at_fault, tiles = grave_views(report), sheet.tiles.copy()
    rim = np.array([int(ORANGE[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    for view in np.flatnonzero(at_fault):
        for side in (tiles[view, :RIM], tiles[view, -RIM:], tiles[view, :, :RIM], tiles[view, :, -RIM:]):
            side[...] = rim
    labels = [
        f"{view}   {number(report.iou[view])}   {number(report.explained[view])}" + ("   !" if at_fault[view] else "")
        for view in range(len(tiles))
    ]
    note = textwrap.shorten(report.verdict, LONGEST, placeholder=" ...")
    title = "Masks and the hull of all other views: number, IoU, share of the mask inside that hull"
    return Sheet(title, note, tiles, labels, (), legend)


def camera_drawings(views: Views, report: CameraReport) -> tuple[Drawing, Drawing]:
    """The cameras around the hull of all views, from the side and from above; faulty ones are marked."""
    scene = pyramids(views, report.hull, grave_views(report))
    return flattened(scene, "from the side", *OBLIQUE), flattened(scene, "from above", *ABOVE)


def grave_views(report: CameraReport) -> Bool[np.ndarray, " view"]:
    """Views that are certainly wrong."""
    marked = np.zeros(len(report.iou), bool)
    marked[[fault.view for fault in report.faults if fault.kind != "missing"]] = True
    return marked


def number(share: float) -> str:
    """The share with two digits, or a dash for NaN."""
    return "-" if np.isnan(share) else f"{share:.2f}"


SIDE, HEAD = 6.2, 1.0  # inches: of a panel, of the titles above it
NUMBERED = 40  # views; with more, only every second, third, ... view and marked ones have their number
COVER = 1.5  # size of a dot of the surface in edges of a voxel, so that there are no gaps
LEAST_HEIGHT = 0.5  # of a panel, in parts of its width


@draw.plain_style
def draw_frusta(path: Path, drawings: tuple[Drawing, ...], title: str, note: str) -> Path:
    """Panels side by side; marked cameras are orange, others blue, and paler the further away they are."""
    from matplotlib.figure import Figure

    frames = [extent(drawing) for drawing in drawings]
    tall = SIDE * min(1.0, max(LEAST_HEIGHT, *(half[1] / half[0] for _, half in frames)))
    width, height = SIDE * len(drawings), tall + HEAD
    figure = Figure(figsize=(width, height), dpi=machine.DOTS_PER_INCH)
    figure.text(0.3 / width, 1 - 0.34 / height, title, size=12, weight="bold", color=draw.INK)
    figure.text(0.3 / width, 1 - 0.58 / height, note, size=8, color=draw.FAINT)
    for place, (drawing, (middle, half)) in enumerate(zip(drawings, frames, strict=True)):
        axes = figure.add_axes((place / len(drawings), 0.0, 1.0 / len(drawings), tall / height))
        reach = max(half[0], half[1] * SIDE / tall)
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach * tall / SIDE, middle[1] + reach * tall / SIDE)
        axes.set_axis_off()
        figure.text((place * SIDE + 0.3) / width, tall / height, drawing.title, size=8, color=draw.INK)
        draw_panel(axes, drawing, reach)
    return machine.write_picture(path, draw.pixels_of(figure))


def extent(drawing: Drawing) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half sides of all that is drawn, with room for numbers."""
    everything = np.concatenate([drawing.apex, drawing.corner.reshape(-1, 2), drawing.points])
    low, high = everything.min(0), everything.max(0)
    half = 0.5 * (high - low)
    return 0.5 * (low + high), 1.02 * half + 0.07 * max(half.max(), 1e-9)


def draw_panel(axes: Any, drawing: Drawing, reach: float) -> None:
    """Draws one panel into axes that reach `reach` to either side of the middle."""
    from matplotlib.collections import LineCollection, PolyCollection

    dot = (COVER * drawing.dot / (2.0 * reach) * SIDE * 72.0) ** 2
    axes.scatter(*drawing.points.T, c=drawing.shade, cmap="gray", vmin=0.0, vmax=1.05, s=dot, linewidths=0, zorder=2)
    numbered = -(-len(drawing.order) // NUMBERED)
    for place, view in enumerate(drawing.order):
        apex, corner = drawing.apex[view], drawing.corner[view]
        color = ORANGE if drawing.marked[view] else BLUE
        opacity = 1.0 if drawing.marked[view] else 0.35 + 0.6 * drawing.nearness[view]
        # cameras nearer than the middle are drawn over the surface
        layer = 1 if place < len(drawing.order) // 2 else 3
        sides = [np.stack([apex, end]) for end in corner]
        # a roof on the upper edge shows which way is up in the image
        roof = np.stack([corner[0], 0.5 * (corner[0] + corner[1]) + 0.25 * (corner[0] - corner[3]), corner[1]])
        axes.add_collection(LineCollection(sides, colors=color, alpha=opacity, linewidths=0.7, zorder=layer))
        axes.add_collection(PolyCollection([corner], facecolors=color, alpha=0.13 * opacity, zorder=layer))
        axes.add_collection(PolyCollection([corner], facecolors="none", edgecolors=color, alpha=opacity, zorder=layer))
        axes.add_collection(PolyCollection([roof], facecolors=color, alpha=0.8 * opacity, linewidths=0, zorder=layer))
        if view % numbered == 0 or drawing.marked[view]:
            away = apex - corner.mean(0)
            text = apex + 0.035 * reach * away / max(np.linalg.norm(away), 1e-9)
            ink = ORANGE if drawing.marked[view] else draw.INK
            axes.text(*text, str(view), color=ink, size=7, ha="center", va="center", zorder=4)
