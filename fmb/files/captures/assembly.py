"""From the list of a data set's views to arrays: masks, colours and depth, reduced and brought to one size."""

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.ndimage import binary_erosion

from fmb.files import images
from fmb.files.captures.companions import short_names
from fmb.files.captures.planes import (
    Plan,
    Shot,
    depth_of,
    ignored,
    in_sight,
    lens_notice,
    mask_of,
    photograph_of,
    pictured,
    plan_of,
    scaled_notice,
    seen,
)
from fmb.files.door import Refusal
from fmb.files.images import LABELS, SATURATED, WIDE_MODES, header_of, opened, peak_of
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views, check_views, foreground, select_views

DEPTH, POINTS = "depth", "points"  # what is read only where it can be, unless it is needed
LARGEST_CAPTURE = 500_000_000  # pixels of all views together: 8 GB with their colours
INVERTED = 0.9  # of the border of a view inside the object: the mask may be the background's


class Listing(NamedTuple):
    """All views of a data set, its points, and a line for each thing worth telling."""

    shots: tuple[Shot, ...]
    points: Callable[[], Float[np.ndarray, "point 3"] | None] | None = None  # reads them, where there are some
    notices: tuple[str, ...] = ()


class Lost(NamedTuple):
    """Why parts of a view are not read, "" for those that are."""

    mask: str = ""  # and with it the view
    color: str = ""
    depth: str = ""


class Capture(NamedTuple):
    """A data set read: views in its own world frame, in our conventions.

    Views of several sizes share one array: smaller ones are continued at the right and the bottom by pixels that are
    not `valid`, which leaves their intrinsics as they are.  Where every pixel counts, `views.valid` is None.
    """

    views: Views
    names: tuple[str, ...]  # of the views
    held_out: Bool[np.ndarray, " view"]  # the data's own test views, not to be fitted to
    points: Float[np.ndarray, "point 3"] | None  # on or near the surface, in the world frame
    notices: tuple[str, ...]  # what was found and what was left out, a line each
    kind: str  # the format, a name in SOURCES


def assemble(folder: Path, kind: str, listing: Listing, longest_side: int, needed: Collection[str]) -> Capture:
    """The capture of everything that the listing names.

    `longest_side` is the largest side wanted, 0 for images as they are; each view is reduced by the least whole number
    of pixels that gets there, its remainder at the right and the bottom cut off; undistorted, it may grow again.  Depth
    and points that cannot be read are left out with a notice, unless they are `needed`; so are views whose masks, and
    colours where photographs cannot be read, but not all of them.
    Raises ValueError for views without masks, images of the wrong size, and masks that show nothing.
    """
    with warnings.catch_warnings(action="ignore"):  # Pillow's, about what is checked here
        plans, notices = _plans(folder, listing.shots, longest_side)
        views, plans, unread = _views(folder, plans, DEPTH in needed)
        shown = _shown(plans, views)
        views, inverted = _of_the_object(views, shown)
    shots = [plan.shot for plan in plans]
    held_out = np.array([shot.held_out for shot in shots])
    if np.all(held_out):
        held_out[:] = False
        notices.append(f"all {len(shots)} views are held out by the data: none is")
    points, lost = _points(listing, POINTS in needed)
    told = (*notices, *scaled_notice(plans), *lens_notice(plans), *inverted, *unread, *lost)
    notices = [_found(plans, views, held_out), *listing.notices, *told, *_warnings(plans, views, shown)]
    names = short_names([shot.name for shot in shots])
    check_views(views, str(folder))
    return Capture(views, names, held_out, points, tuple(notices), kind)


def _points(listing: Listing, needed: bool) -> tuple[Float[np.ndarray, "point 3"] | None, list[str]]:
    try:
        return (None if listing.points is None else listing.points()), []
    except ValueError as error:
        if needed:
            raise
        return None, [f"points are not read: {error}"]


def _plans(folder: Path, shots: Sequence[Shot], longest_side: int) -> tuple[list[Plan], list[str]]:
    named = next((shot.mask for shot in shots if shot.mask is not None), None)
    shots = [_without_missing_mask(shot) for shot in shots]
    masked = [shot.mask is not None or (pictured(shot) and header_of(shot.image).alpha) for shot in shots]
    plans = [plan_of(shot, longest_side) for shot, has_mask in zip(shots, masked, strict=True) if has_mask]
    if not plans:
        expected = "a white object on black in masks/ under the name of its image, or images with alpha"
        gone = f"; the first that is named, {named}, is not there" if named is not None else ""
        raise ValueError(f"{folder}: none of the {len(shots)} views has a mask; expected {expected}{gone}")
    twice = [path for path, count in Counter(str(plan.source) for plan in plans).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]}: the mask of several views; each needs its own")
    lacking = [shot.name for shot, has_mask in zip(shots, masked, strict=True) if not has_mask]
    some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    notices = [f"{len(lacking)} of {len(shots)} frames have no mask: left out ({some})"] if lacking else []
    bare = sum(not pictured(plan.shot) for plan in plans)
    if 0 < bare < len(plans):
        notices.append(f"{bare} of {len(plans)} views have no image: no colours are read")
    return plans, notices


def _without_missing_mask(shot: Shot) -> Shot:
    return shot._replace(mask=None) if isinstance(shot.mask, Path) and not shot.mask.exists() else shot


def _views(folder: Path, plans: Sequence[Plan], depth_needed: bool) -> tuple[Views, list[Plan], list[str]]:
    height, width = (max(plan.shape[axis] for plan in plans) for axis in (0, 1))
    if len(plans) * height * width > LARGEST_CAPTURE:
        what = f"{len(plans)} views of {width} x {height} pixels"
        raise ValueError(f"{folder}: {what} are more than {LARGEST_CAPTURE:,}; ask for a smaller longest side")
    shape = (len(plans), height, width)
    colored = all(pictured(plan.shot) for plan in plans)
    cameras = Cameras(
        np.stack([plan.shot.world_from_camera for plan in plans]), np.stack([plan.intrinsics for plan in plans])
    )
    deep = sum(plan.shot.depth is not None for plan in plans)
    views = Views(
        cameras,
        silhouette=np.zeros(shape, np.float32),
        depth=np.full(shape, np.nan, np.float32) if deep else None,
        valid=np.zeros(shape, bool),
        color=np.zeros((*shape, 3), np.float32) if colored else None,
    )
    peak, told = _numbers(plans)
    largest = max(plan.size[0] * plan.size[1] for plan in plans)
    with ThreadPoolExecutor(images.decoders(largest)) as pool:
        lost = list(pool.map(lambda index: _fill(views, index, plans[index], peak, depth_needed), range(len(plans))))
    views, plans, unread = _without_lost(views, plans, lost)
    return views._replace(valid=None) if views.valid.all() else views, plans, [*unread, *told]


def _without_lost(views: Views, plans: Sequence[Plan], lost: Sequence[Lost]) -> tuple[Views, list[Plan], list[str]]:
    # without what could not be read; raises where that is all masks, or all photographs
    told = []
    kept = [index for index, parts in enumerate(lost) if not parts.mask]
    if len(kept) < len(plans):
        first = next(parts.mask for parts in lost if parts.mask)
        if not kept:
            raise ValueError(first)
        told.append(f"{len(plans) - len(kept)} of {len(plans)} masks are not read, nor their views, the first: {first}")
        views = select_views(views, np.array(kept))
        plans, lost = ([parts[index] for index in kept] for parts in (plans, lost))
    color, depth = ([parts[part] for parts in lost if parts[part]] for part in (1, 2))
    if color:
        if len(color) == len(plans):
            raise ValueError(color[0])
        told.append(f"{len(color)} of {len(plans)} images are not read, so no colours are, the first: {color[0]}")
        views = views._replace(color=None)
    deep = sum(plan.shot.depth is not None for plan in plans)
    if depth:
        told.append(f"{len(depth)} of {deep} depth maps are not read, the first: {depth[0]}")
    return views._replace(depth=None) if len(depth) == deep else views, list(plans), told


def _numbers(plans: Sequence[Plan]) -> tuple[int, list[str]]:
    # the largest number that the masks hold, as far as it matters to how they are read, 1 where it is the only one
    # beside 0; and a line where that is not as usual
    peaks, flat = {0}, True
    for plan in plans:
        if plan.shot.mask is not None:
            image, _ = _tried(opened, plan.shot.mask)
            if image is None:
                continue
            peak, alone = peak_of(image)
            peaks.add(peak)
            flat = flat and alone and len(peaks) <= 2
            wide = image.mode in WIDE_MODES
            if peak == (SATURATED if wide else 255) or (not flat and max(peaks) > (255 if wide else LABELS)):
                return max(peaks), []
    peak = max(peaks)
    if flat and peak not in (0, 1, 255):
        return 1, [f"the masks hold no number but 0 and {peak}: {peak} is taken for the object"]
    if 1 < peak <= LABELS:
        return peak, [f"the masks hold numbers up to {peak}: 0 is taken for the background, the others for the object"]
    return peak, []


def _tried(read: Callable[..., Image.Image], source: object) -> tuple[Image.Image | None, str]:
    # the image, or why it cannot be read
    try:
        return read(source), ""
    except Refusal as error:
        if isinstance(error.__cause__, MemoryError):  # results must not depend on the machine
            raise
        return None, str(error)


def _fill(views: Views, index: int, plan: Plan, peak: int, depth_needed: bool) -> Lost:
    # writes one view into the arrays of all; comes back with what of it is not read
    shot, side = plan.shot, plan.side
    place = (index, slice(plan.shape[0]), slice(plan.shape[1]))
    pictures = views.color is not None or shot.mask is None
    photograph, no_color = _tried(photograph_of, plan) if pictures else (None, "")
    image, no_mask = (photograph, no_color) if shot.mask is None else _tried(opened, shot.mask)
    if image is None:
        return Lost(mask=no_mask)
    silhouette = mask_of(plan, image, peak)
    views.silhouette[place] = seen(plan, images.mean_blocks(silhouette, side))
    views.valid[place] = in_sight(plan)
    if shot.ignore is not None:
        unknown = ~images.all_blocks(~ignored(plan), side)
        views.valid[place] &= seen(plan, unknown.astype(np.float32)) <= 0.0
    if photograph is not None and views.color is not None:
        weight = silhouette if shot.mask is None else None
        views.color[place] = seen(plan, images.reduced_color(photograph, side, weight))
    if shot.depth is not None:
        try:
            views.depth[place] = seen(plan, images.median_blocks(depth_of(plan), side), nearest=True)
        except ValueError as error:
            if depth_needed:
                raise
            return Lost("", no_color, str(error))
    return Lost("", no_color)


def _found(plans: Sequence[Plan], views: Views, held_out: np.ndarray) -> str:
    sizes = Counter(f"{plan.shape[1]} x {plan.shape[0]}" for plan in plans)
    size = next(iter(sizes)) if len(sizes) == 1 else f"{len(sizes)} sizes up to {images.size_of(views.silhouette[0])}"
    sides = sorted({plan.side for plan in plans})
    reduced = f" (reduced {' to '.join(map(str, {sides[0], sides[-1]}))} times)" if sides[-1] > 1 else ""
    kinds = [name for name in ("color", "depth") if getattr(views, name) is not None]
    mask = plans[0].shot.mask
    source = f"{mask.parent.name}/" if isinstance(mask, Path) else "alpha of the images" if mask is None else "its file"
    count = f"{len(plans)} views" + (f", {np.sum(held_out)} of them held out" if held_out.any() else "")
    return f"{count}, {size} pixels{reduced}; masks from {source}" + "".join(f", {kind}" for kind in kinds)


def _shown(plans: Sequence[Plan], views: Views) -> np.ndarray:
    # which pixels of the array each view shows, whether they say something or not
    shown = np.zeros(views.silhouette.shape, bool)
    for view, plan in zip(shown, plans, strict=True):
        view[: plan.shape[0], : plan.shape[1]] = in_sight(plan)
    return shown


def _borders(views: Views, shown: np.ndarray) -> list[np.ndarray]:
    # whether the object is at the pixels along the border of what each view shows
    pairs = zip(foreground(views.silhouette), shown, strict=True)
    return [view[known & ~binary_erosion(known)] for view, known in pairs]


def _of_the_object(views: Views, shown: np.ndarray) -> tuple[Views, list[str]]:
    # masks that are white along the whole border, all of them, and black somewhere inside are the background's
    white = all(len(border) and border.mean() >= INVERTED for border in _borders(views, shown))
    black = np.any(~foreground(views.silhouette) & shown, axis=(1, 2))
    count = len(shown)
    if not (white and black.all() and count > 1):
        return views, []
    silhouette = np.where(shown, np.float32(1.0) - views.silhouette, np.float32(0.0))
    told = f"all {count} masks are white along the border: taken for the background's, and inverted"
    return views._replace(silhouette=silhouette), [told]


def _warnings(plans: Sequence[Plan], views: Views, shown: np.ndarray) -> list[str]:
    # what the silhouettes themselves give away; raises where they show nothing
    inside, touching, bordered, full = foreground(views.silhouette), 0, 0, 0
    for view, known, border in zip(inside, shown, _borders(views, shown), strict=True):
        touching += bool(border.any())
        bordered += bool(len(border) and border.mean() >= INVERTED)
        full += bool(view[known].all())
    count, empty = len(plans), int(np.sum(~inside.any(axis=(1, 2))))
    first = plans[0].source
    if empty == count:
        what = f"none of the {count} masks shows the object, their largest value is {views.silhouette.max():.2g} of 1"
        raise ValueError(f"{first}: {what}; expected it white on black")
    if full == count:
        what = "masks are white everywhere" if plans[0].shot.mask is not None else "images are opaque everywhere"
        raise ValueError(f"{first}: all {count} {what}; expected the object white on black, in masks/ or as alpha")
    told = {
        "masks show no object": empty,
        "masks are white everywhere": full,
        "masks are white along the border: are they the background's?": bordered - full,
        "silhouettes touch the border: what lies outside the image is unknown, not empty": touching - bordered,
    }
    notices = [f"{number} of {count} {words}" for words, number in told.items() if number]
    return notices + ["one view only: a shape needs several"] * (count == 1)
