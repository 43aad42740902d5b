"""What the encoder learns from: squares around objects, with cameras, several of each object, in a frame of its own.

The frame has the object in the unit ball, y up and the mirror plane at x = 0. Images are kept as bytes and half floats,
so that ten thousand of 64 x 64 take 300 MB.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int, UInt8

from fmb.geometry.cameras import ANY_ARRAY, Cameras, look_at
from fmb.geometry.frames import Frame, box_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.images import foreground
from fmb.geometry.views import Views
from fmb.hull.frame import framed_hull, hull_points
from fmb.single_view.crops import MARGIN, cropped, cropped_intrinsics, cropped_within, fitting_intrinsics, square_around
from fmb.single_view.families import FAMILIES, shape_mesh

ELEVATIONS = (-10.0, 50.0)  # degrees between which the cameras of made shapes stand
ROLL = 4.0  # degrees; standard deviation
DISTANCES = (2.8, 6.0)  # radii
MARGINS = (1.04, 1.2)  # of squares: what a user's mask gives is not exact
HELD_OUT = 10**6  # number of the first shape of a family that no training sees
BYTE = 255.0
HULL_GRID, HULL_POINTS = 64, 4000


class Sights(NamedTuple):
    """Squares of one size, those of a shape beside one another; depth along the optical axis in radii, NaN: unknown."""

    color: UInt8[ANY_ARRAY, "sight size size 3"]
    silhouette: Bool[ANY_ARRAY, "sight size size"]
    valid: Bool[ANY_ARRAY, "sight size size"]
    depth: Float[ANY_ARRAY, "sight size size"]
    world_from_camera: Float[ANY_ARRAY, "sight 4 4"]
    intrinsics: Float[ANY_ARRAY, "sight 3 3"]
    shape: Int[ANY_ARRAY, " sight"]


class Collection(NamedTuple):
    """Sights, and a name for each shape."""

    sights: Sights
    names: tuple[str, ...]


def random_poses(generator: np.random.Generator, count: int) -> Float[np.ndarray, "view 4 4"]:
    """Cameras that look at the origin, upright but for a little roll."""
    azimuth = generator.uniform(0.0, 2 * np.pi, count)
    elevation = np.deg2rad(generator.uniform(*ELEVATIONS, count))
    roll, distance = np.deg2rad(ROLL) * generator.normal(size=count), generator.uniform(*DISTANCES, count)
    flat = np.cos(elevation)
    away = np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], axis=1)
    pose = look_at(distance[:, None] * away, np.zeros(3), (0.0, 1.0, 0.0))
    turn = np.tile(np.eye(4), (count, 1, 1))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(roll)
    turn[:, 0, 1], turn[:, 1, 0] = -np.sin(roll), np.sin(roll)
    return pose @ turn


def mesh_sights(mesh: trimesh.Trimesh, count: int, size: int, number: int, generator: np.random.Generator) -> Sights:
    """Views of a mesh in the unit ball from random sides."""
    pose, points = random_poses(generator, count), np.asarray(mesh.vertices)
    margins = generator.uniform(*MARGINS, count)
    lens = np.stack([fitting_intrinsics(one, points, size, wide) for one, wide in zip(pose, margins, strict=True)])
    views = render_ground_truth(mesh, Cameras(pose, lens), (size, size), "raycast").views
    silhouette = foreground(views.silhouette)
    return Sights(
        np.rint(BYTE * views.color).astype(np.uint8),
        silhouette,
        np.ones_like(silhouette),
        views.depth.astype(np.float16),
        pose.astype(np.float32),
        lens.astype(np.float32),
        np.full(count, number, np.int32),
    )


def family_mesh(family: str, seed: int, number: int) -> trimesh.Trimesh:
    """Shape number `number` of a family, always the same for a seed."""
    return shape_mesh(family, np.random.default_rng([seed, sorted(FAMILIES).index(family), number]))


def family_sights(
    families: Sequence[str],
    numbers: range,
    views: int,
    size: int,
    seed: int,
    on_progress: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> Collection:
    """Sights of the shapes with these numbers of each family.  Raises ValueError where there is one shape alone."""
    if len(numbers) < 2:
        raise ValueError(f"family_shapes is {len(numbers)}; must be at least 2, one shape has nothing to be told from")
    parts, names = [], []
    for family in families:
        for number in numbers:
            mesh = family_mesh(family, seed, number)
            generator = np.random.default_rng([seed, sorted(FAMILIES).index(family), number, 1])
            parts.append(mesh_sights(mesh, views, size, len(names), generator))
            names.append(f"{family}-{number}")
            on_progress(len(names), len(families) * len(numbers), np.nan)
    return Collection(stacked(parts), tuple(names))


def view_sights(views: Views, size: int, number: int) -> Sights:
    """Squares of a capture whose object stands upright, in the frame of its hull's box.

    Views that show nothing are left out; what lies out of the image, or says nothing, is not valid.
    Raises ValueError for silhouettes without a common volume, and for fewer than two views that show the object.
    """
    frame, volume = framed_hull(views, HULL_GRID)
    inside = frame.to_world(hull_points(volume, HULL_POINTS, np.random.default_rng(0)))
    reach = np.linalg.norm(np.ptp(inside, axis=0)) / 2.0
    ball = Frame(box_frame(inside).centre, np.asarray(reach))
    views = views._replace(cameras=ball.cameras_to_canonical(views.cameras))
    shown = np.flatnonzero(foreground(np.asarray(views.silhouette)).any(axis=(1, 2)))
    if len(shown) < 2:
        raise ValueError(f"{len(shown)} view shows the object; the encoder learns from two or more")
    return stacked([_view_sight(views, view, float(reach), size, number) for view in shown])


def _view_sight(views: Views, view: int, unit: float, size: int, number: int) -> Sights:
    silhouette = np.asarray(views.silhouette[view])
    square = square_around(silhouette, MARGIN)
    valid = np.ones(silhouette.shape, bool) if views.valid is None else np.asarray(views.valid[view])
    color = np.repeat(silhouette[..., None], 3, axis=-1) if views.color is None else np.asarray(views.color[view])
    weight = np.where(foreground(silhouette), silhouette, 0.0).astype(np.float32)
    depth = np.full((size, size), np.nan)
    if views.depth is not None:
        depth = cropped(np.nan_to_num(np.asarray(views.depth[view])) / unit, square, size, nearest=True)
    return Sights(
        np.rint(BYTE * cropped_within(color, weight, square, size)).astype(np.uint8)[None],
        foreground(cropped(silhouette, square, size))[None],
        foreground(cropped(valid.astype(np.float32), square, size))[None],
        np.where(depth > 0.0, depth, np.nan).astype(np.float16)[None],
        np.asarray(views.cameras.world_from_camera[view], np.float32)[None],
        cropped_intrinsics(np.asarray(views.cameras.intrinsics[view], float), square, size).astype(np.float32)[None],
        np.full(1, number, np.int32),
    )


def stacked(parts: Sequence[Sights]) -> Sights:
    """All sights, in order."""
    return jax.tree.map(lambda *fields: np.concatenate(fields), *parts)


def joined(parts: Sequence[Collection]) -> Collection:
    """The collections as one, their shapes counted on."""
    sights, names = [], []
    for part in parts:
        sights.append(part.sights._replace(shape=part.sights.shape + np.int32(len(names))))
        names += part.names
    return Collection(stacked(sights), tuple(names))


def chosen(sights: Sights, index: Int[np.ndarray, " chosen"]) -> Sights:
    """The sights at `index`."""
    return jax.tree.map(lambda field: field[index], sights)


def subset(collection: Collection, shapes: Sequence[int]) -> Collection:
    """The shapes of those numbers, which count up, with all their sights, counted anew."""
    index = np.flatnonzero(np.isin(collection.sights.shape, shapes))
    sights = chosen(collection.sights, index)
    shape = np.searchsorted(np.asarray(shapes), sights.shape).astype(np.int32)
    return Collection(sights._replace(shape=shape), tuple(collection.names[number] for number in shapes))


def first_views(collection: Collection) -> Int[np.ndarray, " shape"]:
    """The number of each shape's first sight."""
    return np.unique(collection.sights.shape, return_index=True)[1]


def family_of(name: str) -> tuple[str, int] | None:
    """Family and number of a shape that was made, by its name; None for another."""
    family, _, number = name.rpartition("-")
    return (family, int(number)) if family in FAMILIES and number.isdecimal() else None
