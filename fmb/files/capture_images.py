"""Images of a capture as files: masks, pictures, depths, what is not known. Imports little, for processes that draw."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fmb.machine import replacing

DEEPEST = 60_000  # of 16 bits, for the largest depth; 0 is unknown, and readers take the largest number for that, too
FOLDERS = {"mask": "masks", "image": "images", "ignore": "ignore", "depth": "depth"}  # by the keys in cameras.json


class CaptureImages(NamedTuple):
    """Images of all views as `Views` has them, depths in the input's unit; None: there are none."""

    silhouette: Float[np.ndarray, "view height width"]
    color: Float[np.ndarray, "view height width 3"] | None = None
    depth: Float[np.ndarray, "view height width"] | None = None
    valid: Bool[np.ndarray, "view height width"] | None = None


def depth_step(depth: Float[np.ndarray, "view height width"] | None) -> float:
    """The depth that one step of a 16-bit image stands for; 1 where nothing was measured."""
    known = np.zeros(0) if depth is None else depth[np.isfinite(depth)]
    return float(known.max()) / DEEPEST if known.size else 1.0


def file_stems(names: Sequence[str]) -> list[str]:
    """A name for the files of each view: that of the view, or its number where some are no names of files."""
    plain = all(name == Path(name).name and not name.startswith(".") and "\\" not in name for name in names)
    distinct = len({name.lower() for name in names}) == len(names)
    return list(names) if plain and distinct else [f"{view:05d}" for view in range(len(names))]


def write_capture_images(folder: Path, stems: Sequence[str], images: CaptureImages) -> list[Path]:
    """Writes masks/STEM.png and what else there is beside it; depths in units of `depth_step`, 0 where unknown."""
    kinds = {"mask": eight_bits(images.silhouette)}
    if images.color is not None:
        kinds["image"] = eight_bits(images.color)
    if images.valid is not None and not np.all(images.valid):
        kinds["ignore"] = eight_bits(~np.asarray(images.valid))
    if images.depth is not None:
        kinds["depth"] = np.rint(np.nan_to_num(images.depth / depth_step(images.depth))).astype(np.uint16)
    return [
        write_png(folder / FOLDERS[kind] / f"{stem}.png", pixels)
        for kind, pictures in kinds.items()
        for stem, pixels in zip(stems, pictures, strict=True)
    ]


def eight_bits(shares: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 as bytes."""
    return np.rint(255.0 * np.clip(np.asarray(shares, float), 0.0, 1.0)).astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Writes pixels of 8 or 16 bits as PNG, in a folder that is made where it is missing."""
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial, format="png", compress_level=3)
    return path
