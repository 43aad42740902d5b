"""Conventions that cameras and masks come in by mistake: each a change that would undo it, and what to do about it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fmb.views import Views

FACTORS = (0.25, 0.5, 2.0, 4.0)  # of intrinsics that belong to images of another size


class Convention(NamedTuple):
    """`change` makes views given in this convention ours; `advice` follows "the" in a sentence that names the cause."""

    change: Callable[[Views], Views]
    advice: str


def turned_axes(signs: tuple[float, float, float], inverted: bool) -> Callable[[Views], Views]:
    """A change of cameras whose axes are ours times `signs`, after inverting the poses if asked to."""

    def change(views: Views) -> Views:
        pose = np.asarray(views.cameras.world_from_camera, float)
        pose = (np.linalg.inv(pose) if inverted else pose) @ np.diag([*signs, 1.0])
        return views._replace(cameras=views.cameras._replace(world_from_camera=pose))

    return change


def reindexed(index: tuple[slice, ...]) -> Callable[[Views], Views]:
    """A change of what was seen, by an index into [view, height, width]; cameras stay."""

    def change(views: Views) -> Views:
        images = (None if image is None else np.asarray(image)[index] for image in views[1:])
        return Views(views.cameras, *images)

    return change


def rolled(step: int) -> Callable[[Views], Views]:
    """A change that gives each camera the images `step` places further on."""

    def change(views: Views) -> Views:
        return Views(
            views.cameras, *(None if image is None else np.roll(np.asarray(image), -step, 0) for image in views[1:])
        )

    return change


def complemented(views: Views) -> Views:
    """Object and background exchanged."""
    return views._replace(silhouette=1.0 - np.asarray(views.silhouette))


def rescaled(factor: float) -> Callable[[Views], Views]:
    """A change of intrinsics that belong to images 1 / factor times as large."""

    def change(views: Views) -> Views:
        intrinsics = np.diag([factor, factor, 1.0]) @ np.asarray(views.cameras.intrinsics, float)
        return views._replace(cameras=views.cameras._replace(intrinsics=intrinsics))

    return change


def intrinsics_of_size(views: Views) -> dict[str, Convention]:
    """Intrinsics of images of other sizes: FACTORS, and what would put the principal point into the middle."""
    height, width = views.silhouette.shape[1:]
    centre = float(np.median(np.asarray(views.cameras.intrinsics)[:, 0, 2]))
    factors = list(FACTORS)
    if centre > 0.0 and all(abs(np.log(0.5 * width / centre / known)) > 0.1 for known in (1.0, *FACTORS)):
        factors.append(0.5 * width / centre)
    return {
        f"intrinsics x {factor:.3g}": Convention(
            rescaled(factor), f"intrinsics are those of images of {width / factor:.0f} x {height / factor:.0f} pixels"
        )
        for factor in factors
    }


ALL = slice(None)
EXCHANGED = "object and background exchanged"
BACK = slice(None, None, -1)
GL, UPSIDE = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
CONVENTIONS: dict[str, Convention] = {
    "OpenGL axes": Convention(turned_axes(GL, False), "poses have OpenGL's axes (y up, z backward), not OpenCV's"),
    "inverted poses": Convention(
        turned_axes((1.0, 1.0, 1.0), True), "poses are camera_from_world, not world_from_camera"
    ),
    "inverted poses, OpenGL axes": Convention(
        turned_axes(GL, True), "poses are camera_from_world and have OpenGL's axes (y up, z backward)"
    ),
    "axes x left, y up": Convention(
        turned_axes(UPSIDE, False), "cameras have x left and y up (PyTorch3D), or the images stand upside down"
    ),
    "images flipped top to bottom": Convention(reindexed((ALL, BACK)), "images are flipped top to bottom"),
    "images flipped left to right": Convention(reindexed((ALL, ALL, BACK)), "images are flipped left to right"),
    EXCHANGED: Convention(complemented, "masks are white where the background is"),
    "images one place later": Convention(rolled(1), "images belong to the cameras one place before"),
    "images one place earlier": Convention(rolled(-1), "images belong to the cameras one place after"),
    "images in reverse order": Convention(reindexed((BACK,)), "images are in the reverse order of the cameras"),
}
