"""Pixels of masks, photographs and depth maps; their reduction by whole blocks, which keeps the pixel rule exact."""

import itertools
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from PIL import Image

from fmb.files.safe import read_image

GREY_SPREAD = 8  # of 255: colours whose channels differ by no more are grey that went through JPEG
THREADS = 4  # decoders of images run beside each other
DECODED_AT_ONCE = 2**25  # pixels of images that are decoded beside each other: 16 bytes each at the worst
PIXELS_AT_ONCE = 2**20  # whose colours are reduced at a time
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names for more than 8 bits


class DepthFile(NamedTuple):
    """A depth map: z-depth = stored value times `scale`; 0 and what `mask` does not show are unknown."""

    path: Path
    scale: float
    half: bool = False  # the 16 bits of a pixel are a half-precision float, as in CO3D
    mask: Path | None = None


def has_alpha(image: Image.Image) -> bool:
    """True where the image says how opaque its pixels are."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def silhouette_of(image: Image.Image) -> Float[np.ndarray, "height width"]:
    """Share of each pixel that the object covers, soft where the mask is.

    Alpha where it varies; grey as it is, of 8 or 16 bits; masks of 0 and 1 as 0 and 1; in masks with colours, black is
    background and everything else object.
    """
    if image.mode in WIDE_MODES:
        return _share(np.asarray(image), 65535)
    if image.mode == "F":
        return np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0.0, 1.0)
    if has_alpha(image):
        alpha = _alpha_bytes(image)
        if alpha.min() < 255:
            return _divided(alpha, 255)
    if image.mode in ("1", "L"):
        return _share(np.asarray(image.convert("L")), 255)
    # a channel at a time: over the last axis of three the same takes ten times as long, and more memory
    first, *others = (
        np.asarray(channel) for channel in (image if image.mode == "RGB" else image.convert("RGB")).split()
    )
    largest, smallest = reduce(np.maximum, others, first), reduce(np.minimum, others, first)
    if np.max(largest - smallest) <= GREY_SPREAD:
        return _share(largest, 255)
    return (largest > GREY_SPREAD).astype(np.float32)


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
    """Depth along the optical axis; NaN where it is unknown."""
    image = read_image(file.path)
    if file.half:
        if image.mode not in WIDE_MODES:
            raise ValueError(f"{file.path}: pixels of mode {image.mode}; a depth map of CO3D has 16 bits")
        stored = np.asarray(image).astype(np.uint16).view(np.float16).astype(np.float32)
    elif image.mode in (*WIDE_MODES, "L", "F"):
        stored = np.asarray(image).astype(np.float32)
    else:
        raise ValueError(f"{file.path}: pixels of mode {image.mode}; a depth map has one channel")
    with np.errstate(over="ignore", invalid="ignore"):
        depth = stored * np.float32(file.scale)
        known = np.isfinite(depth) & (depth > 0.0)
    if file.mask is not None:
        shown = silhouette_of(read_image(file.mask)) > 0.0
        if shown.shape != known.shape:
            raise ValueError(f"{file.mask}: {size_of(shown)} pixels, its depth map has {size_of(known)}")
        known &= shown
    return np.where(known, depth, np.float32(np.nan))


def size_of(pixels: Shaped[np.ndarray, "height width ..."]) -> str:
    """Width x height, in words."""
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


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


def _share(values: np.ndarray, full: int) -> np.ndarray:
    # a mask of 0 and 1 is one that was never scaled up
    return _divided(values, 1 if values.max() == 1 else full)


def _divided(values: np.ndarray, full: int) -> np.ndarray:
    share = values.astype(np.float32)
    share /= np.float32(full)  # in place: a large image has no room for two
    return share
