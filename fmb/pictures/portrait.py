"""The fitted mixture from one side, upright, as in the paper's Fig. 1: its components, and how it is rendered."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fm_render import Mixture
from fmb.geometry.cameras import ANY_ARRAY, Cameras, look_at, pinhole_intrinsics, pixel_rays
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.views import FOREGROUND
from fmb.pictures.ellipsoids import Ball, component_colors, component_ellipsoids, enclosing_ball
from fmb.pictures.report_scene import first_direction
from fmb.pictures.sheets import Scale, Sheet, depth_scale, paint
from fmb.pictures.turntable import FIELD_OF_VIEW, ROOM, brightness, camera_pictures, on_white

SIDE = 330  # pixels of a panel
CLAY = np.array([0.80, 0.72, 0.62])  # of what is shaded by its normals alone
GREY = Scale("gray_r", (0.0, 1.0), "opacity")


class Sitting(NamedTuple):
    """One camera before the ball, and the turn from the world to right, up, towards the camera."""

    camera: Cameras
    shown_from_world: Float[np.ndarray, "3 3"]


def sitting(ball: Ball, up: Float[ANY_ARRAY, "3"], side: int) -> Sitting:
    """The camera from which the page shows the object first, `up` upwards."""
    distance = ROOM * ball.radius / np.sin(np.deg2rad(FIELD_OF_VIEW) / 2.0)
    pose = look_at(ball.centre + distance * first_direction(np.asarray(up, float)), ball.centre, up)
    camera = Cameras(pose[None], pinhole_intrinsics(side, side, FIELD_OF_VIEW)[None])
    return Sitting(camera, np.diag([1.0, -1.0, -1.0]) @ pose[:3, :3].T)


def portrait_sheet(
    mixture: Mixture,
    up: Float[ANY_ARRAY, "3"],
    color: Float[ANY_ARRAY, "mixture 3"] | None = None,
    surface: trimesh.Trimesh | None = None,
    reference: trimesh.Trimesh | None = None,
) -> Sheet:
    """Components at one standard deviation, depth, opacity, normals and the shaded surface, from one side.

    Last come the mixture's colours and the reference, where there are some. All is in the canonical frame.
    """
    place = sitting(visible_ball(mixture, surface), up, SIDE)
    count, shapes = len(mixture.log_weight), component_ellipsoids(mixture)
    seen = camera_pictures(mixture, place.camera, SIDE, color)
    known = np.where(seen.alpha >= min(FOREGROUND, float(seen.alpha.max())), seen.depth, np.nan)
    scale = depth_scale([known[None]], "object scales")
    shaded = CLAY * brightness(2.0 * seen.normal / 255.0 - 1.0)[..., None]
    panels = {
        "components at one standard deviation": components_picture(mixture, place, np.ones(count)),
        "components, each where it is half opaque": components_picture(mixture, place, shapes.reach),
        "depth as rendered, where half opaque": on_white(paint(known, scale) / 255.0, np.isfinite(known).astype(float)),
        "opacity (alpha)": paint(seen.alpha, GREY),
        "normals: red right, green up, blue near": seen.normal,
        "shaded by the normals": on_white(shaded, seen.alpha),
    }
    if color is not None:
        panels["colours"] = seen.color
    if reference is not None:
        panels["reference"] = mesh_picture(reference, place)
    title = f"The fit: {count} Gaussian{'s' * (count > 1)}, {10 * count} numbers"
    note = "the fitted mixture from one side, upright"
    return Sheet(title, note, np.stack(list(panels.values())), list(panels), (scale, GREY))


def visible_ball(mixture: Mixture, surface: trimesh.Trimesh | None) -> Ball:
    """A ball around the surface or, without one, around the components: their faint tips reach further."""
    if surface is None or not len(surface.vertices):
        return enclosing_ball(mixture)
    centre = surface.bounds.mean(axis=0)
    return Ball(centre, float(np.linalg.norm(np.asarray(surface.vertices) - centre, axis=1).max()))


def components_picture(
    mixture: Mixture, place: Sitting, reach: Float[np.ndarray, " mixture"]
) -> UInt8[np.ndarray, "side side 3"]:
    """The nearest of the components' ellipsoids of `reach` standard deviations on each ray, lit; none of reach 0."""
    origin, direction = (np.asarray(x[0], float) for x in pixel_rays(place.camera, SIDE, SIDE))
    nearest, color = np.full((SIDE, SIDE), np.inf), np.ones((SIDE, SIDE, 3))
    shapes = (np.asarray(mixture.mean, float), np.asarray(mixture.precision_cholesky, float))
    for mean, factor, size, hue in zip(*shapes, reach, component_colors(len(shapes[0])), strict=True):
        box = outline_box(place.camera, mean, size * np.linalg.inv(factor), SIDE)
        u, q = direction[box] @ factor, (mean - origin[0, 0]) @ factor
        square, along = np.sum(u * u, axis=-1), u @ q
        inside = along**2 - square * (q @ q - size**2)
        distance = np.where(inside > 0.0, (along - np.sqrt(np.maximum(inside, 0.0))) / square, np.inf)
        first = distance < nearest[box]
        outward = (distance[first, None] * u[first] - q) @ factor.T
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        nearest[box][first] = distance[first]
        color[box][first] = hue * brightness(outward @ place.shown_from_world.T)[:, None]
    return on_white(color, np.isfinite(nearest).astype(float))


def outline_box(
    camera: Cameras, mean: Float[np.ndarray, "3"], axes: Float[np.ndarray, "3 3"], side: int
) -> tuple[slice, slice]:
    """Rows and columns of the square image that hold the ellipsoid mean + axes^T v, |v| <= 1.

    Its outline's dual conic is P Q P^T with Q that of the ellipsoid (Hartley & Zisserman 2004, 8.3). All of the image
    where the ellipsoid reaches the camera's plane.
    """
    pose, intrinsics = np.asarray(camera.world_from_camera[0], float), np.asarray(camera.intrinsics[0], float)
    turn = intrinsics @ pose[:3, :3].T
    middle, spread = turn @ (mean - pose[:3, 3]), turn @ axes.T
    conic = np.outer(middle, middle) - spread @ spread.T
    if conic[2, 2] <= 0.0:
        return slice(0, side), slice(0, side)
    centre = conic[:2, 2] / conic[2, 2]
    half = np.sqrt(np.maximum(centre**2 - np.diag(conic)[:2] / conic[2, 2], 0.0))
    low, high = (np.clip(edge, 0, side).astype(int) for edge in (np.floor(centre - half), np.ceil(centre + half)))
    return slice(low[1], high[1]), slice(low[0], high[0])


def mesh_picture(mesh: trimesh.Trimesh, place: Sitting) -> UInt8[np.ndarray, "side side 3"]:
    """The mesh from the same camera under the same light, by its depth's slopes."""
    seen = render_ground_truth(mesh, place.camera, (SIDE, SIDE), "raycast").views
    facing = depth_normals(seen.depth[0], place.camera.intrinsics[0])
    return on_white(CLAY * brightness(facing)[..., None], seen.silhouette[0])


def depth_normals(
    depth: Float[np.ndarray, "height width"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "height width 3"]:
    """Normals (right, up, towards the camera) of a depth map; straight towards the camera where they are not known."""
    row, column = np.meshgrid(*(np.arange(size) + 0.5 for size in depth.shape), indexing="ij")
    x = (column - intrinsics[0, 2]) / intrinsics[0, 0] * depth
    y = (row - intrinsics[1, 2]) / intrinsics[1, 1] * depth
    point = np.stack([x, -y, -depth], axis=-1)
    down, right = np.gradient(point, axis=(0, 1))
    normal = np.cross(right, -down)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    known = np.isfinite(length) & (length > 0.0)
    return np.where(known, normal / np.where(known, length, 1.0), np.array([0.0, 0.0, 1.0]))
