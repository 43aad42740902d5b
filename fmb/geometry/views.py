"""Views: cameras and what they saw. All data reach a fit in this form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fm_render import Rays
from fmb.geometry.cameras import ANY_ARRAY, UP, Cameras, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.images import FOREGROUND as FOREGROUND
from fmb.geometry.images import Images as Images
from fmb.geometry.images import foreground as foreground
from fmb.geometry.options import RenderingOptions


class Views(NamedTuple):
    """Images of one object from several cameras; None: not observed.

    Images of several sizes share one array. Each lies in the upper left corner; pixels right of it and below it are not
    valid (their silhouette is anything between 0 and 1, their depth NaN). Intrinsics need no change, since that corner
    is the origin of image coordinates.
    """

    cameras: Cameras
    silhouette: Float[ANY_ARRAY, "view height width"]  # share of the pixel that the object covers, 0 to 1
    depth: Float[ANY_ARRAY, "view height width"] | None = None  # along the optical axis; NaN is background
    valid: Bool[ANY_ARRAY, "view height width"] | None = None  # False: the pixel says nothing; None: all count
    color: Float[ANY_ARRAY, "view height width 3"] | None = None  # 0 to 1


class Pixels(NamedTuple):
    """Rays in one row and what was seen along each; None as in Views."""

    rays: Rays
    silhouette: Float[ANY_ARRAY, " ray"]
    depth: Float[ANY_ARRAY, " ray"] | None = None
    color: Float[ANY_ARRAY, "ray 3"] | None = None


def check_views(views: Views, name: str) -> Views:
    """The same views, after a check of their shapes and values.

    Raises ValueError that begins with `name`, the file or option that the views come from.
    """
    shape = views.silhouette.shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"{name}: silhouettes of shape {shape}, expected (views, height, width), none of them 0")
    expected = {
        "cameras.world_from_camera": (shape[0], 4, 4),
        "cameras.intrinsics": (shape[0], 3, 3),
        "depth": shape,
        "valid": shape,
        "color": (*shape, 3),
    }
    present = {**{f"cameras.{field}": array for field, array in views.cameras._asdict().items()}, **views._asdict()}
    for field, wanted in expected.items():
        if present[field] is not None and present[field].shape != wanted:
            raise ValueError(f"{name}: {field} of shape {present[field].shape}, expected {wanted}")
    for field in ("cameras.world_from_camera", "cameras.intrinsics"):
        if not np.all(np.isfinite(present[field])):
            raise ValueError(f"{name}: {field} is not finite")
    if not np.all((np.asarray(views.silhouette) >= 0.0) & (np.asarray(views.silhouette) <= 1.0)):
        raise ValueError(f"{name}: silhouettes must lie between 0 and 1")
    return views


def select_views(views: Views, index: slice | Int[ANY_ARRAY, " selected"]) -> Views:
    """The views at `index`, in that order."""
    return jax.tree.map(lambda array: array[index], views)


def flatten_views(views: Views) -> Pixels:
    """All valid pixels of all views, view by view, row by row.

    It cannot run under jit where there is a `valid`, since the number of rays depends on it.
    """
    rays = pixel_rays(views.cameras, *views.silhouette.shape[1:])
    pixels = Pixels(rays, views.silhouette, views.depth, views.color)
    if views.valid is None:
        return jax.tree.map(lambda array: jnp.asarray(array).reshape(-1, *array.shape[3:]), pixels)
    keep = np.asarray(views.valid)
    return jax.tree.map(lambda array: jnp.asarray(array)[keep], pixels)


def scene_cameras(generator: np.random.Generator, count: int, options: RenderingOptions) -> Cameras:
    """Cameras in random directions around an object in its canonical frame, as the options say."""
    intrinsics = pinhole_intrinsics(options.image_height, options.image_width, options.vfov_degrees)
    up = None if options.camera_roll else UP
    return random_cameras(generator, count, options.camera_distance, intrinsics, up)


def split_views(views: Views, count: int) -> dict[str, Views]:
    """The first `count` views, which are fitted to, as "train", and the others as "novel".

    Raises ValueError where no training view shows the object.
    """
    if not np.any(np.asarray(views.silhouette[:count]) > 0.0):
        raise ValueError(f"none of the {count} views to fit to shows the object; try a smaller camera_distance")
    return {"train": select_views(views, slice(count)), "novel": select_views(views, slice(count, None))}
