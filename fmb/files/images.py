"""Pixels of masks, photographs and depth maps; their reduction by whole blocks, which keeps the pixel rule exact."""

import itertools
import struct
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from PIL import Image

from fmb.files.safe import image_header, read_image, read_npy

GREY_SPREAD = 8  # of 255: colours whose channels differ by no more are grey that went through JPEG
THREADS = 4  # decoders of images run beside each other
DECODED_AT_ONCE = 2**25  # pixels of images that are decoded beside each other: 16 bytes each at the worst
PIXELS_AT_ONCE = 2**20  # whose colours are reduced at a time
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names for more than 8 bits


SATURATED = 65535  # of 16 bits
ASPECT = 0.01  # by which the aspects of two sizes of one image may differ, and rounding to whole pixels besides
LABELS = 20  # largest number in masks that are taken for labels, where no pixel of any mask is brighter
ORIENTATION = 0x0112  # EXIF's: how the stored pixels are turned for looking at
TURNS = {  # what makes an image upright, by that number
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACK = {**TURNS, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # and what undoes it
SIDEWAYS = (5, 6, 7, 8)  # those that exchange width and height


class DepthFile(NamedTuple):
    """A depth map: z-depth = stored value times `scale`; 0, 65535 and what `mask` does not show are unknown."""

    path: Path
    scale: float
    half: bool = False  # the 16 bits of a pixel are a half-precision float, as in CO3D
    mask: Path | None = None
    floating: float | None = None  # the scale of values that are no whole numbers, None: the same


class Pixels(NamedTuple):
    """An image that a file of many holds; `place` names it as a path would."""

    place: str
    image: Image.Image

    def __str__(self) -> str:
        return self.place


class Header(NamedTuple):
    """What is known of an image before its pixels are read."""

    size: tuple[int, int]  # width and height as stored
    alpha: bool


def header_of(source: Path | Pixels) -> Header:
    """Size and transparency.  Raises ValueError for what is no image."""
    if isinstance(source, Pixels):
        return Header(source.image.size, has_alpha(source.image))
    with image_header(source) as image:
        return Header(image.size, has_alpha(image))


def orientation_of(source: Path | Pixels) -> int:
    """How EXIF says that the image is turned, 1: upright; a number in TURNS."""
    if isinstance(source, Pixels):
        return 1
    with image_header(source) as image:
        if image.format == "PNG" and "exif" not in image.info:
            return 1  # Pillow would decode all pixels to look for it behind them
        try:
            orientation = image.getexif().get(ORIENTATION, 1)
        except (OSError, SyntaxError, ValueError, LookupError, TypeError, OverflowError, struct.error):
            return 1  # damaged EXIF: the pixels are as they are stored
        return orientation if orientation in TURNS else 1


FILM_FOCAL, EXIF_PART, FILM_WIDTH = 41989, 0x8769, 36.0  # the tag, where it stands, and millimetres
FARTHEST = 10_000.0  # millimetres: longer lenses are mistakes


def focal_of(source: Path | Pixels) -> float | None:
    """The focal length of a photograph in units of its longer side, as its EXIF entry tells; None where none does."""
    if isinstance(source, Pixels):
        return None
    with image_header(source) as image:
        if image.format == "PNG" and "exif" not in image.info:
            return None
        try:
            length = float(image.getexif().get_ifd(EXIF_PART).get(FILM_FOCAL, 0.0))
        except (OSError, SyntaxError, ValueError, LookupError, TypeError, OverflowError, struct.error):
            return None
    return length / FILM_WIDTH if 0.0 < length < FARTHEST else None


def opened(source: Path | Pixels) -> Image.Image:
    """The image with its pixels."""
    return source.image if isinstance(source, Pixels) else read_image(source)


def has_alpha(image: Image.Image) -> bool:
    """True where the image says how opaque its pixels are."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def peak_of(image: Image.Image) -> tuple[int, bool]:
    """The largest number stored in a mask, where numbers are its greys, and whether all others are 0.

    The number is 0 where something else says what is object.
    """
    if image.mode == "F" or _alpha(image) is not None:
        return 0, True
    grey, colored = _grey(image)
    peak = int(grey.max())
    return (0, True) if colored else (peak, not np.any((grey > 0) & (grey < peak)))


def silhouette_of(image: Image.Image, peak: int | None = None) -> Float[np.ndarray, "height width"]:
    """Share of each pixel that the object covers, soft where the mask is.

    Alpha where it varies; grey as it is, of 8 or 16 bits; masks of 0 and 1 as 0 and 1; in masks with colours, black is
    background and everything else object.  `peak` is the largest number in all masks of the set, which tells how they
    are to be read; None: the mask is alone.  Masks of 0 and other numbers up to LABELS are labels, 0 the background; a
    `peak` of 1 says so of any others.
    """
    if image.mode == "F":
        return np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0.0, 1.0)
    alpha = _alpha(image)
    if alpha is not None:
        return _divided(alpha, 255)
    grey, colored = _grey(image)
    return (grey > GREY_SPREAD).astype(np.float32) if colored else _share(grey, peak, image.mode in WIDE_MODES)


def _alpha(image: Image.Image) -> np.ndarray | None:
    # of an image that has some that varies
    if image.mode in WIDE_MODES or not has_alpha(image):
        return None
    alpha = _alpha_bytes(image)
    return alpha if alpha.min() < 255 else None


def _grey(image: Image.Image) -> tuple[np.ndarray, bool]:
    # the brightest channel, in whole numbers, and whether it differs from the others
    if image.mode in WIDE_MODES:
        return np.asarray(image), False
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), False
    # a channel at a time: over the last axis of three the same takes ten times as long, and more memory
    first, *others = (
        np.asarray(channel) for channel in (image if image.mode == "RGB" else image.convert("RGB")).split()
    )
    largest, smallest = reduce(np.maximum, others, first), reduce(np.minimum, others, first)
    return largest, bool(np.max(largest - smallest) > GREY_SPREAD)


def _share(values: np.ndarray, peak: int | None, wide: bool) -> np.ndarray:
    # 16 bits may hold what 8 would, and a mask of 0 and 1 is one that was never scaled up
    largest = int(values.max()) if peak is None else max(peak, int(values.max()))
    if peak is not None and 0 < peak <= LABELS or largest == 1:
        return np.clip(values, 0, 1).astype(np.float32)
    return _divided(values, 65535 if wide and largest > 255 else 255)


def alpha_of(image: Image.Image) -> Float[np.ndarray, "height width"]:
    """The opacity of the pixels of an image that has one."""
    return _divided(_alpha_bytes(image), 255)


def _alpha_bytes(image: Image.Image) -> np.ndarray:
    return np.asarray((image if image.mode in ("RGBA", "LA") else image.convert("RGBA")).getchannel("A"))


def color_of(image: Image.Image) -> Float[np.ndarray, "height width 3"]:
    """Colours from 0 to 1, as encoded in the file (sRGB), not multiplied with alpha."""
    if image.mode in WIDE_MODES:
        grey = _divided(np.asarray(image), 65535)
        return np.repeat(np.clip(grey, 0.0, 1.0)[..., None], 3, axis=-1)
    return _divided(np.asarray(image.convert("RGB")), 255)


def reduced_color(
    image: Image.Image, side: int, weight: Float[np.ndarray, "height width"] | None = None
) -> Float[np.ndarray, "rows columns 3"]:
    """`color_of` by `mean_blocks`, some rows at a time: full colours of a large photograph take a gigabyte."""
    width, height = image.size
    step = side * max(1, PIXELS_AT_ONCE // (side * width))
    parts = []
    for top in range(0, height // side * side, step):
        bottom = min(top + step, height)
        part = None if weight is None else weight[top:bottom]
        parts.append(mean_blocks(color_of(image.crop((0, top, width, bottom))), side, part))
    return np.concatenate(parts)


def decoders(pixels: int) -> int:
    """How many images of so many pixels, or fewer, are decoded at a time."""
    return max(1, min(THREADS, DECODED_AT_ONCE // max(1, pixels)))


def read_depth(file: DepthFile) -> Float[np.ndarray, "height width"]:
    """Depth along the optical axis, of an image or of .npy; NaN where it is unknown."""
    stored = _stored_depth(file)
    scale = file.scale if file.floating is None or stored.dtype.kind != "f" else file.floating
    with np.errstate(over="ignore", invalid="ignore"):
        depth = stored.astype(np.float32) * np.float32(scale)
        known = np.isfinite(depth) & (depth > 0.0)
    if file.mask is not None:
        shown = silhouette_of(read_image(file.mask)) > 0.0
        if shown.shape != known.shape:
            raise ValueError(f"{file.mask}: {size_of(shown)} pixels, its depth map has {size_of(known)}")
        known &= shown
    return np.where(known, depth, np.float32(np.nan))


def _stored_depth(file: DepthFile) -> np.ndarray:
    suffix = file.path.suffix.lower()
    if suffix == ".exr":
        raise ValueError(f"{file.path}: .exr is not read here; store the depth as .npy or as 16-bit PNG")
    if suffix == ".npy":
        stored = read_npy(file.path)
        stored = stored[..., 0] if stored.ndim == 3 and stored.shape[2] == 1 else stored
        if stored.ndim != 2 or stored.dtype.kind not in "fiu" or 0 in stored.shape:
            what = f"{stored.dtype} of shape {stored.shape}"
            raise ValueError(f"{file.path}: {what}; a depth map is (height, width) numbers")
        return _unsaturated(stored)
    image = read_image(file.path)
    if file.half:
        if image.mode not in WIDE_MODES:
            raise ValueError(f"{file.path}: pixels of mode {image.mode}; a depth map of CO3D has 16 bits")
        return np.asarray(image).astype(np.uint16).view(np.float16).astype(np.float32)
    if image.mode not in (*WIDE_MODES, "L", "F"):
        raise ValueError(f"{file.path}: pixels of mode {image.mode}; a depth map has one channel")
    return _unsaturated(np.asarray(image))


def _unsaturated(stored: np.ndarray) -> np.ndarray:
    # the largest number of 16 bits is what sensors write where they measured nothing, or too far away
    wide = stored.dtype.kind in "iu" and stored.dtype.itemsize > 1
    return np.where(stored == SATURATED, 0, stored) if wide else stored


def size_of(pixels: Shaped[np.ndarray, "height width ..."]) -> str:
    """Width x height, in words."""
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def same_image(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether both are sizes of one image, up to their scale and the rounding to whole pixels."""
    larger, smaller = (first, second) if first[0] * first[1] > second[0] * second[1] else (second, first)
    # a scale that brings each side of the larger to within a pixel of the smaller's
    lowest = max((side - 1.0) / whole for side, whole in zip(smaller, larger, strict=True))
    highest = min((side + 1.0) / whole for side, whole in zip(smaller, larger, strict=True))
    stretch = first[0] * second[1] / (first[1] * second[0])
    return lowest < highest and abs(stretch - 1.0) < ASPECT


def resized(pixels: Shaped[np.ndarray, "height width"], shape: tuple[int, int]) -> Shaped[np.ndarray, "rows columns"]:
    """The nearest pixel at each place of an image of another size."""
    if pixels.shape == shape:
        return pixels
    places = [((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(shape, pixels.shape, strict=True)]
    return pixels[places[0][:, None], places[1]]


def block_side(longest: int, wanted: int) -> int:
    """Least whole number of pixels that must become one for `longest` to be at most `wanted`; 0 wants all."""
    return longest // (wanted + 1) + 1 if wanted else 1


def _blocks(pixels: np.ndarray, side: int) -> np.ndarray:
    # [height, width, side * side, ...]; what is left over at the right and the bottom is cut off
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    cut = pixels[: height * side, : width * side]
    split = cut.reshape(height, side, width, side, *pixels.shape[2:]).swapaxes(1, 2)
    return split.reshape(height, width, side * side, *pixels.shape[2:])


def _block_sums(pixels: np.ndarray, side: int) -> np.ndarray:
    # adding every side-th row and column takes a third of the time of a sum over the axes of `_blocks`
    height, width = pixels.shape[0] // side * side, pixels.shape[1] // side * side
    places = itertools.product(range(side), repeat=2)
    return sum(pixels[row:height:side, column:width:side] for row, column in places)


def mean_blocks(
    pixels: Float[np.ndarray, "height width ..."],
    side: int,
    weight: Float[np.ndarray, "height width"] | None = None,
) -> Float[np.ndarray, "rows columns ..."]:
    """Mean of each block of side x side pixels, weighted where there is a weight and it is not all 0."""
    if side == 1:
        return pixels
    plain = _block_sums(pixels, side) / np.float32(side * side)
    if weight is None:
        return plain
    total = _block_sums(weight, side)[..., None]
    weighted = _block_sums(pixels * weight[..., None], side)
    return np.where(total > 0.0, weighted / np.where(total > 0.0, total, 1.0), plain)


def all_blocks(pixels: Bool[np.ndarray, "height width"], side: int) -> Bool[np.ndarray, "rows columns"]:
    """True for blocks whose pixels all are."""
    return pixels if side == 1 else _blocks(pixels, side).all(axis=2)


def median_blocks(depth: Float[np.ndarray, "height width"], side: int) -> Float[np.ndarray, "rows columns"]:
    """One of the depths of each block, the lower median of those that are known: surfaces are never mixed."""
    if side == 1:
        return depth
    ordered = np.sort(_blocks(depth, side), axis=2)  # NaN comes last
    known = np.count_nonzero(np.isfinite(ordered), axis=2)
    return np.take_along_axis(ordered, np.maximum(known - 1, 0)[..., None] // 2, axis=2)[..., 0]


def shrunk_intrinsics(intrinsics: Float[np.ndarray, "3 3"], side: int) -> Float[np.ndarray, "3 3"]:
    """The same camera for an image of blocks: with pixel centres at half integers every entry is divided."""
    return np.diag([1.0 / side, 1.0 / side, 1.0]) @ intrinsics


def _divided(values: np.ndarray, full: int) -> np.ndarray:
    share = values.astype(np.float32)
    share /= np.float32(full)  # in place: a large image has no room for two
    return share
