"""Pixels of masks, photographs and depth maps; their reduction by whole blocks, which keeps the pixel rule exact."""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from PIL import Image

from fmb.files.safe import read_image

GREY_SPREAD = 8  # of 255: colours whose channels differ by no more are grey that went through JPEG
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
        return _share(np.asarray(image).astype(np.int64), 65535)
    if image.mode == "F":
        return np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0.0, 1.0)
    if has_alpha(image):
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            return alpha.astype(np.float32) / 255.0
    if image.mode in ("1", "L"):
        return _share(np.asarray(image.convert("L")), 255)
    color = np.asarray(image.convert("RGB")).astype(np.int16)
    if np.max(color.max(axis=-1) - color.min(axis=-1)) <= GREY_SPREAD:
        return _share(color.max(axis=-1), 255)
    return np.any(color > GREY_SPREAD, axis=-1).astype(np.float32)


def alpha_of(image: Image.Image) -> Float[np.ndarray, "height width"]:
    """The opacity of the pixels of an image that has one."""
    return np.asarray(image.convert("RGBA"))[..., 3].astype(np.float32) / 255.0


def color_of(image: Image.Image) -> Float[np.ndarray, "height width 3"]:
    """Colours from 0 to 1, as encoded in the file (sRGB), not multiplied with alpha."""
    if image.mode in WIDE_MODES:
        grey = np.asarray(image).astype(np.float32) / 65535.0
        return np.repeat(np.clip(grey, 0.0, 1.0)[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB")).astype(np.float32) / 255.0


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
    return values.astype(np.float32) / np.float32(1 if values.max() == 1 else full)
