"""The pixels of planned views: masks, colours and depth in arrays of one size, all views or a few of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image

from fmb.files import images
from fmb.files.captures.planes import Plan, depth_of, ignored, in_sight, mask_of, photograph_of, pictured, seen
from fmb.files.door import Refusal
from fmb.files.images import LABELS, SATURATED, WIDE_MODES, opened, peak_of
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views, select_views


class Layout(NamedTuple):
    """What all views of a data set share: height and width, what is read of them, and how their masks are read."""

    size: tuple[int, int]
    colored: bool
    deep: bool
    peak: int  # the largest number in the masks, 1 where it is the only one beside 0
    depth_needed: bool
    inverted: bool = False  # the masks are the background's


class Lost(NamedTuple):
    """Why parts of a view are not read, "" for those that are."""

    mask: str = ""  # and with it the view
    color: str = ""
    depth: str = ""


def layout_of(plans: Sequence[Plan], depth_needed: bool) -> tuple[Layout, list[str]]:
    """The layout that has room for every view, and a line where masks hold unusual numbers."""
    height, width = (max(plan.shape[axis] for plan in plans) for axis in (0, 1))
    colored = all(pictured(plan.shot) for plan in plans)
    deep = any(plan.shot.depth is not None for plan in plans)
    peak, told = _numbers(plans)
    return Layout((height, width), colored, deep, peak, depth_needed), told


def cameras_of(plans: Sequence[Plan]) -> Cameras:
    """The cameras of the views, as their pixels are read."""
    poses, intrinsics = ([getattr(plan, name) for plan in plans] for name in ("shot", "intrinsics"))
    return Cameras(np.stack([shot.world_from_camera for shot in poses]), np.stack(intrinsics))


def read_views(plans: Sequence[Plan], layout: Layout) -> tuple[Views, list[Lost]]:
    """The views, and what of each could not be read; a mask that is lost shows nothing, and no pixel of it is valid."""
    shape = (len(plans), *layout.size)
    views = Views(
        cameras_of(plans),
        silhouette=np.zeros(shape, np.float32),
        depth=np.full(shape, np.nan, np.float32) if layout.deep else None,
        valid=np.zeros(shape, bool),
        color=np.zeros((*shape, 3), np.float32) if layout.colored else None,
    )
    largest = max(plan.size[0] * plan.size[1] for plan in plans)
    with ThreadPoolExecutor(images.decoders(largest)) as pool:
        lost = list(pool.map(lambda index: _fill(views, index, plans[index], layout), range(len(plans))))
    if layout.inverted:
        views = inverted(views, shown_in(plans, layout.size))
    return views, lost


def shown_in(plans: Sequence[Plan], size: tuple[int, int]) -> Bool[np.ndarray, "view height width"]:
    """Which pixels of an array of that height and width each view shows, whether they say something or not."""
    shown = np.zeros((len(plans), *size), bool)
    for view, plan in zip(shown, plans, strict=True):
        view[: plan.shape[0], : plan.shape[1]] = in_sight(plan)
    return shown


def inverted(views: Views, shown: Bool[np.ndarray, "view height width"]) -> Views:
    """The views with object and background exchanged where they show something."""
    return views._replace(silhouette=np.where(shown, np.float32(1.0) - views.silhouette, np.float32(0.0)))


def without_lost(views: Views, lost: Sequence[Lost], plans: Sequence[Plan]) -> tuple[Views, list[Plan], list[str]]:
    """The views without what could not be read, their plans, and a line for each kind of loss.

    Raises ValueError where all masks, or all photographs, are lost.
    """
    kept, told = masks_left(lost)
    if len(kept) < len(plans):
        views = select_views(views, kept)
        plans, lost = ([parts[index] for index in kept] for parts in (plans, lost))
    color = [parts.color for parts in lost if parts.color]
    if color:
        if len(color) == len(plans):
            raise ValueError(color[0])
        told.append(f"{len(color)} of {len(plans)} images are not read, so no colours are, the first: {color[0]}")
        views = views._replace(color=None)
    deep, lines = depths_left(lost, plans)
    return views if deep else views._replace(depth=None), list(plans), told + lines


def depths_left(lost: Sequence[Lost], plans: Sequence[Plan]) -> tuple[int, list[str]]:
    """How many views have a depth that could be read, and a line for the others."""
    gone = [parts.depth for parts in lost if parts.depth]
    deep = sum(plan.shot.depth is not None for plan in plans)
    lines = [f"{len(gone)} of {deep} depth maps are not read, the first: {gone[0]}"] if gone else []
    return deep - len(gone), lines


def masks_left(lost: Sequence[Lost]) -> tuple[np.ndarray, list[str]]:
    """The numbers of the views whose masks could be read, and a line for the others.  Raises ValueError for none."""
    kept = np.array([index for index, parts in enumerate(lost) if not parts.mask], int)
    if len(kept) == len(lost):
        return kept, []
    first = next(parts.mask for parts in lost if parts.mask)
    if not len(kept):
        raise ValueError(first)
    gone = len(lost) - len(kept)
    return kept, [f"{gone} of {len(lost)} masks are not read, nor their views, the first: {first}"]


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


def _fill(views: Views, index: int, plan: Plan, layout: Layout) -> Lost:
    # writes one view into the arrays of all; comes back with what of it is not read
    shot, side = plan.shot, plan.side
    place = (index, slice(plan.shape[0]), slice(plan.shape[1]))
    pictures = views.color is not None or shot.mask is None
    photograph, no_color = _tried(photograph_of, plan) if pictures else (None, "")
    image, no_mask = (photograph, no_color) if shot.mask is None else _tried(opened, shot.mask)
    if image is None:
        return Lost(mask=no_mask)
    silhouette = mask_of(plan, image, layout.peak)
    views.silhouette[place] = seen(plan, images.mean_blocks(silhouette, side))
    views.valid[place] = in_sight(plan)
    if shot.ignore is not None:
        unknown = ~images.all_blocks(~ignored(plan), side)
        views.valid[place] &= seen(plan, unknown.astype(np.float32)) <= 0.0
    if photograph is not None and views.color is not None:
        weight = silhouette if shot.mask is None else None
        views.color[place] = seen(plan, images.reduced_color(photograph, side, weight))
    if views.depth is not None and shot.depth is not None:
        try:
            views.depth[place] = seen(plan, images.median_blocks(depth_of(plan), side), nearest=True)
        except ValueError as error:
            if layout.depth_needed:
                raise
            return Lost("", no_color, str(error))
    return Lost("", no_color)
