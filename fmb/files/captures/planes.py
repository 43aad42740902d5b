"""How each file of a view is brought to the pixels of its camera: turned, scaled, undistorted, reduced."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from fmb.files import images
from fmb.files.images import (
    BACK,
    SIDEWAYS,
    TURNS,
    DepthFile,
    Pixels,
    header_of,
    opened,
    orientation_of,
    read_depth,
    resized,
    same_image,
)
from fmb.geometry.lenses import Lens, bends
from fmb.geometry.undistortion import Canvas, canvas, seen_by, undistorted
from fmb.geometry.views import foreground

Source = Path | Pixels
Size = tuple[int, int]  # width, height


class Shot(NamedTuple):
    """One view: OpenCV axes, intrinsics of the image as stored, with the centre of pixel (0, 0) at (0.5, 0.5)."""

    name: str
    world_from_camera: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    mask: Source | None = None  # None: the alpha of the image, if it has one
    image: Source | None = None
    ignore: Path | None = None
    depth: DepthFile | None = None
    size: Size | None = None  # that the intrinsics are for; None: of the image, or of the mask where there is none
    held_out: bool = False
    lens: Lens | None = None  # None: a pinhole
    inverted: bool = False  # the object is black in its mask


class Plan(NamedTuple):
    """A view and what becomes of its pixels: `size` of them, reduced `side` x `side` to one, seen through `view`."""

    shot: Shot
    source: Source  # what the silhouette comes from
    size: Size
    turn: Image.Transpose | None  # of the silhouette, so that it lies as its camera has it
    side: int
    intrinsics: Float[np.ndarray, "3 3"]  # of what comes out
    shape: tuple[int, int]  # height and width of what comes out
    view: Canvas | None  # where the reduced pixels must be undistorted


def plan_of(shot: Shot, longest_side: int) -> Plan:
    """How the view is read.  Raises ValueError where its mask does not fit its camera, or nothing would be left."""
    source = shot.mask or shot.image
    photograph = shot.image if pictured(shot) else None
    wanted = shot.size or header_of(photograph or source).size
    if min(wanted) < 1:
        raise ValueError(f"{source}: its camera is for {wanted[0]} x {wanted[1]} pixels; must be at least 1 x 1")
    size, turn = _lying(source, photograph, wanted)
    intrinsics = np.diag([size[0] / wanted[0], size[1] / wanted[1], 1.0]) @ shot.intrinsics
    lens = shot.lens if bends(shot.lens) else None
    side = images.block_side(max(size), longest_side)
    if min(size) < side:
        what = f"{source}: {size[0]} x {size[1]} pixels"
        raise ValueError(f"{what} leave nothing at a longest side of {longest_side}")
    small, reduced = images.shrunk_intrinsics(intrinsics, side), (size[0] // side, size[1] // side)
    if lens is None:
        return Plan(shot, source, size, turn, side, small, reduced[::-1], None)
    view = canvas(lens, small, reduced)  # after the reduction, which makes it cheap
    return Plan(shot, source, size, turn, side, view.intrinsics, view.size[::-1], view)


def pictured(shot: Shot) -> bool:
    """Whether the view's photograph is there."""
    return isinstance(shot.image, Pixels) or (shot.image is not None and shot.image.is_file())


def _lying(source: Source, photograph: Source | None, wanted: Size) -> tuple[Size, Image.Transpose | None]:
    # the size of a file as its camera has it, and how it must be turned for that
    size = header_of(source).size
    if same_image(size, wanted):
        return size, None
    if same_image(size[::-1], wanted):
        turn = orientation_of(source)
        if turn in SIDEWAYS:
            return size[::-1], TURNS[turn]
        turn = 1 if photograph is None else orientation_of(photograph)
        if turn in SIDEWAYS:
            upright = same_image(header_of(photograph).size, wanted)  # the camera is not, its mask is
            return size[::-1], (BACK if upright else TURNS)[turn]
    turned = ", turned by 90 degrees" if same_image(size[::-1], wanted) else ""
    raise ValueError(f"{source}: {size[0]} x {size[1]} pixels, its camera is for {wanted[0]} x {wanted[1]}{turned}")


def mask_of(plan: Plan, image: Image.Image, peak: int | None) -> Float[np.ndarray, "height width"]:
    """The silhouette, full size, from the image of `plan.source`."""
    if plan.shot.mask is None:
        silhouette = images.alpha_of(_turned(image, plan.turn))
    else:
        silhouette = images.silhouette_of(_turned(image, plan.turn), peak)
    return np.float32(1.0) - silhouette if plan.shot.inverted else silhouette


def photograph_of(plan: Plan) -> Image.Image:
    """The image of the view, of the silhouette's size.  Raises ValueError where its aspect is another."""
    return _fitted(plan, plan.shot.image, Image.Resampling.BOX)


def ignored(plan: Plan) -> np.ndarray:
    """Where nothing is known of the silhouette's pixels."""
    return foreground(images.silhouette_of(_fitted(plan, plan.shot.ignore, Image.Resampling.NEAREST)))


def depth_of(plan: Plan) -> Float[np.ndarray, "height width"]:
    """Depth of the silhouette's pixels, NaN where not known.  Raises ValueError for what is unreadable or unfit."""
    depth = read_depth(plan.shot.depth)
    if not same_image(depth.shape[::-1], plan.size):
        what = f"{images.size_of(depth)} pixels, its mask has {plan.size[0]} x {plan.size[1]}"
        raise ValueError(f"{plan.shot.depth.path}: {what}")
    return resized(depth, plan.size[::-1])


def seen(plan: Plan, pixels: np.ndarray, nearest: bool = False) -> np.ndarray:
    """Reduced pixels as the pinhole camera of the view sees them."""
    return pixels if plan.view is None else undistorted(plan.view, pixels, nearest)


def in_sight(plan: Plan) -> np.ndarray:
    """Which pixels of the pinhole camera the view shows."""
    reduced = (plan.size[1] // plan.side, plan.size[0] // plan.side)
    return np.ones(plan.shape, bool) if plan.view is None else seen_by(plan.view, reduced)


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _fitted(plan: Plan, source: Source, resampling: Image.Resampling) -> Image.Image:
    image = opened(source)
    if image.size == plan.size:
        return image
    try:
        size, turn = _lying(source, plan.shot.image if pictured(plan.shot) else None, plan.size)
    except ValueError:
        what = f"{image.size[0]} x {image.size[1]} pixels, its mask has {plan.size[0]} x {plan.size[1]}"
        raise ValueError(f"{source}: {what}") from None
    image = _turned(image, turn)
    return image if size == plan.size else image.resize(plan.size, resampling)


def scaled_notice(plans: Sequence[Plan]) -> list[str]:
    """A line for cameras that are for images of another size, and one for masks that were turned."""
    told = []
    other = [plan for plan in plans if plan.shot.size not in (None, plan.size)]
    if other:
        (width, height), size = other[0].shot.size, other[0].size
        what = f"{len(other)} of {len(plans)} cameras are for {width} x {height} pixels, their masks have"
        told.append(f"{what} {size[0]} x {size[1]}: cameras scaled")
    turned = sum(plan.turn is not None for plan in plans)
    if turned:
        told.append(f"{turned} of {len(plans)} masks were turned to lie as their images are stored (EXIF)")
    return told


def lens_notice(plans: Sequence[Plan]) -> list[str]:
    """A line for what was undistorted, and how far it goes where that is not everything."""
    bent = [plan.shot.lens.model for plan in plans if plan.view is not None]
    models = ", ".join(sorted(set(bent)))
    return [f"{len(bent)} of {len(plans)} views undistorted on reading (camera model {models})"] if bent else []
