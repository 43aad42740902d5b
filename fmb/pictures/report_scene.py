"""Content of the report's interactive view as JSON: components, meshes and cameras about the object's middle.

Lengths are in radii of the object; arrays of a mesh are base64 of little-endian bytes.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fm_render import Mixture
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views
from fmb.pictures.ellipsoids import Ball, component_colors, component_ellipsoids, enclosing_ball
from fmb.pictures.page_pictures import png_uri
from fmb.pictures.sheets import Scale
from fmb.pictures.surface_error import colored_by_error
from fmb.pictures.turntable import common_up

MOST_FACES = 20_000  # of a mesh; one with more is clustered
LARGEST_MASK, MOST_TILES = 64, 64  # pixels of a camera's mask; most cameras shown, evenly picked
PYRAMID = 0.16  # length of a camera's pyramid over its distance
NEAREST, FURTHEST = 3.4, 5.5  # radii: bounds of the first distance
FIELD_OF_VIEW = 35.0  # degrees, as in the viewer
ASIDE = np.array([0.55, 0.35, 0.75])  # direction of the first view: to the side, up, ahead
MASK_COLOR, MASK_FLOOR = (120, 190, 255), 26  # of a mask's picture; opacity of its background, of 255


class Layer(NamedTuple):
    """A mesh that the view can show under a name of its own, in its colours or one; from 0 to 1."""

    label: str
    mesh: trimesh.Trimesh
    shown: bool = True
    color: tuple[float, float, float] = (0.85, 0.78, 0.68)
    opacity: float = 1.0
    scale: Scale | None = None  # of the numbers that its colours stand for


class PageScene(NamedTuple):
    """The content of the view, all in one frame; None: not known."""

    mixture: Mixture | None
    color: Float[np.ndarray, "mixture 3"] | None = None  # 0 to 1
    views: Views | None = None  # of which cameras and silhouettes are shown
    mesh: trimesh.Trimesh | None = None  # made from the mixture
    reference: trimesh.Trimesh | None = None  # what the views show
    layers: Sequence[Layer] = ()  # whatever else there is to see


def scene_data(scene: PageScene) -> dict[str, Any]:
    """The scene in JSON's own types."""
    ball = ball_of_scene(scene)
    up = np.array([0.0, 1.0, 0.0]) if scene.views is None else common_up(scene.views.cameras)
    made = {} if scene.mixture is None else {"components": component_data(scene.mixture, scene.color, ball)}
    made["up"] = rounded(up)
    meshes = {"mesh": scene.mesh, "reference": scene.reference}
    made |= {name: mesh_data(mesh, ball) for name, mesh in meshes.items() if mesh is not None and len(mesh.faces)}
    layers = [*scene.layers, *error_layers(scene)]
    if layers:
        made["layers"] = [layer_data(layer, ball) for layer in layers]
    distance = NEAREST
    if scene.views is not None:
        made["cameras"] = camera_data(scene.views, ball)
        ring = float(np.median(np.linalg.norm(np.array(made["cameras"]["position"]), axis=1)))
        # far enough to show most cameras
        distance = min(max(NEAREST, 1.1 * ring / math.tan(math.radians(FIELD_OF_VIEW / 2.0))), FURTHEST)
    return made | {"home": rounded(distance * first_direction(up))}


def ball_of_scene(scene: PageScene) -> Ball:
    """A ball around the components, or around the mesh, or all layers, where there are none."""
    if scene.mixture is not None:
        return enclosing_ball(scene.mixture)
    meshes = [layer.mesh for layer in scene.layers] if scene.mesh is None else [scene.mesh]
    lower, upper = (turn([mesh.bounds[n] for mesh in meshes], axis=0) for n, turn in enumerate((np.min, np.max)))
    return Ball((lower + upper) / 2.0, float(np.linalg.norm(upper - lower)) / 2.0)


def first_direction(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Unit direction from the object to the first camera: ASIDE, turned so that `up` is up."""
    side = np.cross(up, np.eye(3)[2 if abs(up[2]) < 0.9 else 0])
    side /= np.linalg.norm(side)
    return np.stack([side, up, np.cross(side, up)], axis=-1) @ (ASIDE / np.linalg.norm(ASIDE))


def component_data(mixture: Mixture, color: np.ndarray | None, ball: Ball) -> dict[str, Any]:
    """Ellipsoids by their centres, axes of one deviation (columns) and reach."""
    shapes = component_ellipsoids(mixture)
    color = component_colors(len(shapes.reach)) if color is None else np.clip(color, 0.0, 1.0)
    return {
        "centre": rounded((shapes.centre - ball.centre) / ball.radius),
        "axes": rounded(shapes.rotation * shapes.deviation[:, None] / ball.radius),
        "reach": rounded(shapes.reach),
        "color": rounded(color),
    }


def mesh_data(mesh: trimesh.Trimesh, ball: Ball) -> dict[str, str]:
    """Vertices, faces and, if there are any, colours of the vertices."""
    vertices, faces = np.asarray(mesh.vertices, float), np.asarray(mesh.faces)
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3] if mesh.visual.kind == "vertex" else None
    vertices, faces, colors = clustered(vertices, faces, colors)
    made = {
        "vertices": packed(((vertices - ball.centre) / ball.radius).astype("<f4")),
        "faces": packed(faces.astype("<u4")),
    }
    return made if colors is None else made | {"colors": packed(colors.astype("u1"))}


def layer_data(layer: Layer, ball: Ball) -> dict[str, Any]:
    """The mesh and how it is shown."""
    look = {"label": layer.label, "shown": layer.shown, "color": rounded(layer.color), "opacity": layer.opacity}
    return mesh_data(layer.mesh, ball) | look | ({} if layer.scale is None else {"scale": list(layer.scale)})


def error_layers(scene: PageScene) -> list[Layer]:
    """The surface in the colours of its distances from the reference, where there are both."""
    meshes = scene.mesh, scene.reference
    if any(mesh is None or not len(mesh.faces) for mesh in meshes):
        return []
    vertices, faces, _ = clustered(np.asarray(scene.mesh.vertices, float), np.asarray(scene.mesh.faces), None)
    mesh, scale = colored_by_error(trimesh.Trimesh(vertices, faces, process=False), scene.reference)
    return [Layer("Error of the surface", mesh, False, scale=scale)]


def clustered(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The mesh with the vertices of each cell merged; cells are just large enough for MOST_FACES."""
    cells = 128
    while len(faces) > MOST_FACES:
        lower, edge = vertices.min(axis=0), np.ptp(vertices, axis=0).max() / cells
        place = np.floor((vertices - lower) / edge).astype(int)
        _, index, count = np.unique(place, axis=0, return_inverse=True, return_counts=True)
        index = index.reshape(-1)
        vertices, colors = (
            None
            if field is None
            else np.stack([np.bincount(index, column) for column in field.T], axis=-1) / count[:, None]
            for field in (vertices, colors)
        )
        faces = index[faces]
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
        cells = cells * 3 // 4
    return vertices, faces, colors


def camera_data(views: Views, ball: Ball) -> dict[str, Any]:
    """Apex and corners of each camera's pyramid, and all masks in one picture, tile by tile."""
    count, height, width = views.silhouette.shape
    picked = np.unique(np.linspace(0, count - 1, min(count, MOST_TILES)).round().astype(int))
    cameras = Cameras(*(np.asarray(field, float)[picked] for field in views.cameras))
    position = (cameras.world_from_camera[:, :3, 3] - ball.centre) / ball.radius
    length = PYRAMID * float(np.median(np.linalg.norm(position, axis=1)))
    pixel = np.array([[0.0, 0.0, 1.0], [width, 0.0, 1.0], [width, height, 1.0], [0.0, height, 1.0]])
    ray = np.linalg.solve(cameras.intrinsics, np.broadcast_to(pixel.T, (len(picked), 3, 4)))
    corner = position[:, None] + length * np.swapaxes(cameras.world_from_camera[:, :3, :3] @ ray, 1, 2)
    columns = math.ceil(math.sqrt(len(picked)))
    masks = atlas(np.asarray(views.silhouette, float)[picked], columns)
    facts = {"masks": png_uri(masks), "columns": columns, "rows": math.ceil(len(picked) / columns)}
    return {"position": rounded(position), "corners": rounded(corner), **facts}


def atlas(silhouette: Float[np.ndarray, "view height width"], columns: int) -> UInt8[np.ndarray, "tall wide 4"]:
    """All masks in one picture, thinned where they are large, row by row; opacity tells the silhouette."""
    step = math.ceil(max(silhouette.shape[1:]) / LARGEST_MASK)
    thin = silhouette[:, ::step, ::step]
    count, height, width = thin.shape
    rows = math.ceil(count / columns)
    page = np.zeros((rows * height, columns * width, 4), np.uint8)
    for view, tile in enumerate(thin):
        top, left = view // columns * height, view % columns * width
        page[top : top + height, left : left + width, :3] = MASK_COLOR
        page[top : top + height, left : left + width, 3] = np.round(MASK_FLOOR + (230 - MASK_FLOOR) * tile)
    return page


def packed(array: np.ndarray) -> str:
    """The array's bytes in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def rounded(array: np.ndarray | Sequence[float]) -> list:
    """The array as nested lists, rounded to five decimals: a hundredth of a pixel."""
    return np.round(np.asarray(array, float), 5).tolist()
