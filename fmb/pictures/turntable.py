"""Frames of a turning mixture as arrays of pixels: its colours, depth, normals and components."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from fm_render import BLENDINGS, Mixture, Rendering, Settings, render_views
from fmb.geometry.cameras import ANY_ARRAY, UP, Cameras, orbit_cameras, pinhole_intrinsics
from fmb.geometry.views import FOREGROUND
from fmb.pictures.ellipsoids import Ball, component_colors, enclosing_ball
from fmb.pictures.sheets import Scale, depth_scale, lettered, paint
from fmb.ready import ready

FIELD_OF_VIEW = 35.0  # degrees
ELEVATION = 0.25  # radians above the plane of the turntable
ROOM = 1.06  # times the distance at which the object just fills the frame
SMALLEST_SIDE = 8  # pixels
LIGHT = np.array([-0.45, 0.7, 0.55]) / np.linalg.norm([-0.45, 0.7, 0.55])  # right, up, towards the camera
AMBIENT = 0.4
SHARPNESS = 10.0  # factor on both betas; the component of largest weight then has almost all of it
LEVEL = 1e-3  # of the x axes' second singular value: a smaller third one means that none of them is tilted
AGREEMENT = 0.5  # cameras have a common up if the mean of their up axes is longer than this


class Look(NamedTuple):
    """How to show a mixture: colours of components, 0 to 1 (None: one each), lit; the direction up, the blend."""

    color: Float[ANY_ARRAY, "mixture 3"] | None = None
    up: Sequence[float] | ANY_ARRAY = UP
    settings: Settings = Settings()


class Turntable(NamedTuple):
    """The same turn in four kinds of pictures, on white."""

    color: UInt8[np.ndarray, "frame height width 3"]
    depth: UInt8[np.ndarray, "frame height width 3"]  # viridis, one range for all frames, dark is near
    normal: UInt8[np.ndarray, "frame height width 3"]  # red to the right, green up, blue towards the camera
    component: UInt8[np.ndarray, "frame height width 3"]  # that of largest weight


class Shading(NamedTuple):
    """The images of one camera, and the colour of the component of largest weight."""

    rendering: Rendering
    first: Float[ANY_ARRAY, "height width 3"]


def turntable(
    mixture: Mixture,
    count: int = 60,
    side: int = 256,
    look: Look = Look(),
    on_progress: Callable[[int, int], None] = lambda frame, total: None,
) -> Turntable:
    """`count` square frames of one turn, in a frame in which the object's scale is 1, wherever it lies.

    Raises ValueError for a side of fewer than SMALLEST_SIDE pixels, and as `orbit_cameras`.
    """
    if side < SMALLEST_SIDE:
        raise ValueError(f"turntable of {side} pixels: must have at least {SMALLEST_SIDE}")
    ball = enclosing_ball(mixture)
    cameras = turn_cameras(Ball(np.zeros(3), ball.radius), count, side, look.up)
    palette = component_colors(len(mixture.log_weight))
    centred = mixture._replace(mean=np.asarray(mixture.mean, float) - ball.centre)
    centred, cameras, palette, shown = single(
        (centred, cameras, palette, palette if look.color is None else look.color)
    )
    frames = []
    for frame in range(count):
        camera = jax.tree.map(lambda array, frame=frame: array[frame : frame + 1], cameras)
        frames.append(_seen(centred, camera, shown, palette, (side, look.settings)))
        on_progress(frame + 1, count)
    colored, depth, alpha, normal, component = (np.stack(kind) for kind in zip(*frames, strict=True))
    known = np.where(alpha >= min(FOREGROUND, float(alpha.max())), depth, np.nan)
    return Turntable(colored, _painted(depth, alpha, depth_scale([known], "object scales")), normal, component)


class CameraPictures(NamedTuple):
    """What one camera sees: pictures on white, and depth and alpha as numbers."""

    color: UInt8[np.ndarray, "side side 3"]
    depth: Float[ANY_ARRAY, "side side"]
    alpha: Float[ANY_ARRAY, "side side"]
    normal: UInt8[np.ndarray, "side side 3"]


def camera_pictures(
    mixture: Mixture, camera: Cameras, side: int, color: Float[ANY_ARRAY, "mixture 3"] | None = None
) -> CameraPictures:
    """What one camera sees of the mixture in a square image, lit; the components' own colours without `color`."""
    palette = component_colors(len(mixture.log_weight)) if color is None else color
    mixture, camera, palette = single((mixture, camera, palette))
    seen = jax.tree.map(lambda array: np.asarray(array[0]), _lit(mixture, camera, palette, side))
    facing = seen.normal @ (camera.world_from_camera[0, :3, :3] * np.array([1.0, -1.0, -1.0], np.float32))
    lit = on_white(brightness(facing)[..., None] * seen.color, seen.alpha)
    return CameraPictures(lit, seen.depth, seen.alpha, on_white(0.5 + 0.5 * facing, seen.alpha))


@ready(3)
def _lit(mixture: Mixture, camera: Cameras, palette: ANY_ARRAY, side: int) -> Rendering:
    outputs = ("alpha", "depth", "normal", "color")
    return render_views(mixture, camera, (side, side), outputs=outputs, color=palette)


def turn_cameras(ball: Ball, count: int, side: int, up: Sequence[float] | ANY_ARRAY) -> Cameras:
    """Cameras around the ball, which fills their square images; raises ValueError as `orbit_cameras`."""
    distance = ROOM * ball.radius / np.sin(np.deg2rad(FIELD_OF_VIEW) / 2.0)
    cameras = orbit_cameras(count, distance, pinhole_intrinsics(side, side, FIELD_OF_VIEW), ELEVATION, tuple(up))
    cameras.world_from_camera[:, :3, 3] += ball.centre
    return cameras


TITLES = Turntable("shaded", "depth", "normals", "components")  # of the panels
HEAD = 24  # pixels for the title of a panel


def titled(frames: UInt8[np.ndarray, "frame height width 3"], title: str) -> UInt8[np.ndarray, "frame tall width 3"]:
    """The frames under their title."""
    head = np.full((HEAD, frames.shape[2], 3), 255, np.uint8)
    head = lettered(head, title, (8, 4))
    return np.concatenate([np.broadcast_to(head, (len(frames), *head.shape)), frames], axis=1)


def side_by_side(turn: Turntable, columns: int = 2) -> UInt8[np.ndarray, "frame tall wide 3"]:
    """All four kinds of pictures in one, in rows, each under its title."""
    turn = Turntable(*map(titled, turn, TITLES))
    rows = [np.concatenate(turn[start : start + columns], axis=2) for start in range(0, len(turn), columns)]
    widest = max(row.shape[2] for row in rows)
    rows = [np.pad(r, ((0, 0), (0, 0), (0, widest - r.shape[2]), (0, 0)), constant_values=255) for r in rows]
    return np.concatenate(rows, axis=1)


def common_up(cameras: Cameras) -> Float[np.ndarray, "3"]:
    """Unit direction that is up in the images on average; y where the cameras have no common one.

    Cameras without roll agree on it exactly: it is across all their x axes.
    """
    pose = np.asarray(cameras.world_from_camera, float)
    mean = -pose[:, :3, 1].mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < AGREEMENT:
        return np.array(UP)
    _, size, axes = np.linalg.svd(pose[:, :3, 0])
    level = len(pose) > 2 and size[2] < LEVEL * size[1]
    return axes[2] * np.sign(axes[2] @ mean) if level else mean / length


def single(arrays: tuple) -> tuple:
    """The same numbers in float32."""
    return jax.tree.map(partial(np.asarray, dtype=np.float32), arrays)


def sharpened(settings: Settings) -> Settings:
    """Settings with the same order of weights, but almost all weight on the first, if the blend has betas."""
    betas = BLENDINGS[settings.blending][2] if settings.betas is None else settings.betas
    if betas:
        betas = betas._replace(near=SHARPNESS * betas.near, fit=SHARPNESS * betas.fit)
    return dataclasses.replace(settings, betas=betas)


@ready(4)
def _sight(
    mixture: Mixture, camera: Cameras, color: ANY_ARRAY, palette: ANY_ARRAY, side: int, settings: Settings
) -> Shading:
    size, outputs = (side, side), ("alpha", "depth", "normal", "color")
    rendering = render_views(mixture, camera, size, outputs=outputs, settings=settings, color=color)
    first = render_views(mixture, camera, size, outputs=("color",), settings=sharpened(settings), color=palette)
    return Shading(rendering, first.color)


def _seen(
    mixture: Mixture, camera: Cameras, color: ANY_ARRAY, palette: ANY_ARRAY, how: tuple[int, Settings]
) -> tuple[np.ndarray, ...]:
    """Colour, depth, alpha, normal and component of one frame."""
    sight = jax.tree.map(lambda array: np.asarray(array[0]), _sight(mixture, camera, color, palette, *how))
    alpha, axes = sight.rendering.alpha, camera.world_from_camera[0, :3, :3] * np.array([1.0, -1.0, -1.0], np.float32)
    facing = sight.rendering.normal @ axes
    light = brightness(facing)[..., None]
    color, component, normal = (
        on_white(part, alpha) for part in (light * sight.rendering.color, sight.first, 0.5 + 0.5 * facing)
    )
    return color, sight.rendering.depth, alpha, normal, component


def brightness(facing: Float[np.ndarray, "*pixel 3"]) -> Float[np.ndarray, "*pixel"]:
    """Brightness of a matt surface under LIGHT, 0 to 1, from normals (right, up, towards the camera)."""
    return AMBIENT + (1.0 - AMBIENT) * np.clip(0.5 + 0.5 * facing @ LIGHT, 0.0, 1.0) ** 1.5


def _painted(depth: np.ndarray, alpha: np.ndarray, scale: Scale) -> np.ndarray:
    return on_white(paint(np.clip(depth, *scale.limits), scale) / 255.0, alpha)


def on_white(color: np.ndarray, alpha: np.ndarray) -> UInt8[np.ndarray, "*pixel 3"]:
    """The colours (0 to 1) on a white background, as bytes."""
    return np.round(255.0 * np.clip(color * alpha[..., None] + 1.0 - alpha[..., None], 0.0, 1.0)).astype(np.uint8)
