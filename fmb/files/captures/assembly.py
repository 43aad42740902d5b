"""From the list of a data set's views to arrays: masks, colours and depth, reduced and brought to one size."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fmb.files import images
from fmb.files.images import DepthFile
from fmb.files.safe import SUFFIXES, files_below, image_header, read_image
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views, check_views, foreground

LARGEST_CAPTURE = 500_000_000  # pixels of all views together: 8 GB with their colours
INVERTED = 0.9  # of the border of a view inside the object: the mask may be the background's


class Shot(NamedTuple):
    """One view: OpenCV axes, intrinsics of the image as stored, with the centre of pixel (0, 0) at (0.5, 0.5)."""

    name: str
    world_from_camera: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    mask: Path | None = None  # None: the alpha of the image, if it has one
    image: Path | None = None
    ignore: Path | None = None
    depth: DepthFile | None = None
    size: tuple[int, int] | None = None  # width and height that the intrinsics are for
    held_out: bool = False


class Listing(NamedTuple):
    """All views of a data set, its points, and a line for each thing worth telling."""

    shots: tuple[Shot, ...]
    points: Float[np.ndarray, "point 3"] | None = None
    notices: tuple[str, ...] = ()


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


class _Plan(NamedTuple):
    # a view and how it is reduced: `side` x `side` pixels become one, `width` x `height` of them
    shot: Shot
    side: int
    width: int
    height: int


def assemble(folder: Path, kind: str, listing: Listing, longest_side: int = 0) -> Capture:
    """The capture of everything that the listing names.

    `longest_side` is the largest side wanted, 0 for images as they are; each view is reduced by the least whole number
    of pixels that gets there, its remainder at the right and the bottom cut off.
    Raises ValueError for views without masks, images of the wrong size, and masks that show nothing.
    """
    with warnings.catch_warnings(action="ignore"):  # Pillow's, about what is checked here
        plans, notices = _plans(folder, listing.shots, longest_side)
        views = _views(folder, plans)
    shots = [plan.shot for plan in plans]
    held_out = np.array([shot.held_out for shot in shots])
    if np.all(held_out):
        held_out[:] = False
        notices.append(f"all {len(shots)} views are held out by the data: none is")
    notices = [_found(plans, views, held_out), *listing.notices, *notices, *_warnings(plans, views)]
    names = short_names([shot.name for shot in shots])
    check_views(views, str(folder))
    return Capture(views, names, held_out, listing.points, tuple(notices), kind)


def _plans(folder: Path, shots: Sequence[Shot], longest_side: int) -> tuple[list[_Plan], list[str]]:
    masked = [shot.mask is not None or _transparent(shot.image) for shot in shots]
    plans = [_plan(shot, longest_side) for shot, has_mask in zip(shots, masked, strict=True) if has_mask]
    if not plans:
        expected = "a white object on black in masks/ under the name of its image, or images with alpha"
        raise ValueError(f"{folder}: none of the {len(shots)} views has a mask; expected {expected}")
    twice = [path for path, count in Counter(p.shot.mask or p.shot.image for p in plans).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]}: the mask of several views; each needs its own")
    lacking = [shot.name for shot, has_mask in zip(shots, masked, strict=True) if not has_mask]
    some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    notices = [f"{len(lacking)} of {len(shots)} frames have no mask: left out ({some})"] if lacking else []
    bare = sum(not _pictured(plan.shot) for plan in plans)
    if 0 < bare < len(plans):
        notices.append(f"{bare} of {len(plans)} views have no image: no colours are read")
    return plans, notices


def _plan(shot: Shot, longest_side: int) -> _Plan:
    source = shot.mask or shot.image
    with image_header(source) as image:
        width, height = image.size
    if shot.size not in (None, (width, height)):
        expected = f"{shot.size[0]} x {shot.size[1]}"
        raise ValueError(f"{source}: {width} x {height} pixels, its camera is for {expected}")
    side = images.block_side(max(width, height), longest_side)
    if min(width, height) < side:
        raise ValueError(f"{source}: {width} x {height} pixels leave nothing at a longest side of {longest_side}")
    return _Plan(shot, side, width // side, height // side)


def _pictured(shot: Shot) -> bool:
    return shot.image is not None and shot.image.is_file()


def _transparent(path: Path | None) -> bool:
    if path is None or not path.is_file():
        return False
    with image_header(path) as image:
        return images.has_alpha(image)


def _views(folder: Path, plans: Sequence[_Plan]) -> Views:
    height, width = max(plan.height for plan in plans), max(plan.width for plan in plans)
    if len(plans) * height * width > LARGEST_CAPTURE:
        what = f"{len(plans)} views of {width} x {height} pixels"
        raise ValueError(f"{folder}: {what} are more than {LARGEST_CAPTURE:,}; ask for a smaller longest side")
    shape = (len(plans), height, width)
    colored = all(_pictured(plan.shot) for plan in plans)
    cameras = Cameras(
        np.stack([plan.shot.world_from_camera for plan in plans]),
        np.stack([images.shrunk_intrinsics(plan.shot.intrinsics, plan.side) for plan in plans]),
    )
    views = Views(
        cameras,
        silhouette=np.zeros(shape, np.float32),
        depth=np.full(shape, np.nan, np.float32) if any(plan.shot.depth for plan in plans) else None,
        valid=np.zeros(shape, bool),
        color=np.zeros((*shape, 3), np.float32) if colored else None,
    )
    largest = max(plan.side**2 * plan.width * plan.height for plan in plans)
    with ThreadPoolExecutor(images.decoders(largest)) as pool:
        for _ in pool.map(lambda index: _fill(views, index, plans[index]), range(len(plans))):
            pass
    return views._replace(valid=None) if views.valid.all() else views


def _fill(views: Views, index: int, plan: _Plan) -> None:
    # writes one view into the arrays of all
    shot, side = plan.shot, plan.side
    place = (index, slice(plan.height), slice(plan.width))
    photograph = read_image(shot.image) if shot.mask is None or views.color is not None else None
    weight = None
    if shot.mask is None:
        silhouette = weight = images.alpha_of(photograph)
    else:
        silhouette = images.silhouette_of(read_image(shot.mask))
    views.silhouette[place] = images.mean_blocks(silhouette, side)
    views.valid[place] = True
    if shot.ignore is not None:
        known = ~foreground(images.silhouette_of(_of_size(shot.ignore, silhouette)))
        views.valid[place] = images.all_blocks(known, side)
    if views.color is not None:
        _check_size(shot.image, photograph.size, silhouette)
        views.color[place] = images.reduced_color(photograph, side, weight)
    if shot.depth is not None:
        depth = images.read_depth(shot.depth)
        _check_size(shot.depth.path, depth.shape[::-1], silhouette)
        views.depth[place] = images.median_blocks(depth, side)


def _of_size(path: Path, silhouette: np.ndarray) -> images.Image.Image:
    image = read_image(path)
    _check_size(path, image.size, silhouette)
    return image


def _check_size(path: Path, size: tuple[int, int], silhouette: np.ndarray) -> None:
    if size != silhouette.shape[::-1]:
        raise ValueError(f"{path}: {size[0]} x {size[1]} pixels, its mask has {images.size_of(silhouette)}")


def _found(plans: Sequence[_Plan], views: Views, held_out: np.ndarray) -> str:
    sizes = Counter(f"{plan.width} x {plan.height}" for plan in plans)
    size = next(iter(sizes)) if len(sizes) == 1 else f"{len(sizes)} sizes up to {images.size_of(views.silhouette[0])}"
    sides = sorted({plan.side for plan in plans})
    reduced = f" (reduced {' to '.join(map(str, {sides[0], sides[-1]}))} times)" if sides[-1] > 1 else ""
    kinds = [name for name in ("color", "depth") if getattr(views, name) is not None]
    source = "alpha of the images" if plans[0].shot.mask is None else f"{plans[0].shot.mask.parent.name}/"
    count = f"{len(plans)} views" + (f", {np.sum(held_out)} of them held out" if held_out.any() else "")
    return f"{count}, {size} pixels{reduced}; masks from {source}" + "".join(f", {kind}" for kind in kinds)


def _warnings(plans: Sequence[_Plan], views: Views) -> list[str]:
    # what the silhouettes themselves give away; raises where they show nothing
    inside, touching, bordered = foreground(views.silhouette), 0, 0
    for view, plan in zip(inside, plans, strict=True):
        seen = view[: plan.height, : plan.width]
        border = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
        touching += bool(border.any())
        bordered += bool(border.mean() >= INVERTED)
    count, empty = len(plans), int(np.sum(~inside.any(axis=(1, 2))))
    full = sum(bool(view[: plan.height, : plan.width].all()) for view, plan in zip(inside, plans, strict=True))
    first = plans[0].shot.mask or plans[0].shot.image
    if empty == count:
        what = f"none of the {count} masks shows the object, their largest value is {views.silhouette.max():.2g} of 1"
        raise ValueError(f"{first}: {what}; expected it white on black")
    if full == count:
        raise ValueError(f"{first}: all {count} masks are white everywhere; expected the object white on black")
    told = {
        "masks show no object": empty,
        "masks are white everywhere": full,
        "masks are white along the border: are they the background's?": bordered - full,
        "silhouettes touch the border: what lies outside the image is unknown, not empty": touching - bordered,
    }
    notices = [f"{number} of {count} {words}" for words, number in told.items() if number]
    return notices + ["one view only: a shape needs several"] * (count == 1)


MASK_FOLDERS = ("masks", "mask", "silhouettes")
IGNORE_FOLDER = "ignore"  # white there: unknown, the pixel says nothing


class Companions(NamedTuple):
    """Files that go with images by name: NAME.png, image.jpg.png or the same path, below one folder."""

    files: Mapping[str, Path]

    def of(self, image: str) -> Path | None:
        """The file for an image's path in the data set, or None."""
        path = PurePosixPath(image.replace("\\", "/"))
        for name in (path, PurePosixPath(*path.parts[1:]), PurePosixPath(path.name)):
            for key in (f"{name}.png", str(name), *(str(name.with_suffix(suffix)) for suffix in SUFFIXES if name.name)):
                if key in self.files:
                    return self.files[key]
        return None


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of images without folders and suffix; with folders, then whole, where they would not be distinct."""
    paths = [PurePosixPath(name) for name in names]
    bare = [path.with_suffix("") if path.suffix in SUFFIXES else path for path in paths]
    shorter = ([path.name for path in bare], [str(path) for path in bare], [str(path) for path in paths])
    return tuple(next((found for found in shorter if len(set(found)) == len(found)), names))


def masks_of(folder: Path) -> Companions:
    """The masks in the first of MASK_FOLDERS that holds any."""
    return Companions(next(filter(None, (files_below(folder, name) for name in MASK_FOLDERS)), {}))


def ignored_of(folder: Path) -> Companions:
    """The masks in `ignore/` that say where nothing is known."""
    return Companions(files_below(folder, IGNORE_FOLDER))
