"""A capture of arrays in one .npz, the file itself or the only such one in a folder: masks or RGBA, and cameras.

masks     masks, mask, silhouettes or alpha [view, height, width], 0 to 1, true and false, or 0 to 255
images    images, rgba or rgb [view, height, width, 3 or 4]; a fourth channel is the mask where there is none apart
cameras   K, R, t as in cameras.npz; or world_from_camera, c2w, cam2world, camtoworlds or poses, or camera_from_world,
          w2c, world2cam or extrinsics [view, 3 or 4, 4], with K, intrinsics or focal

Intrinsics have the centre of the first pixel at (0.5, 0.5), but K beside R and t at (0, 0).  Axes are OpenCV's unless
all cameras so understood turn their backs on the object: then they are OpenGL's.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from fmb.files.cameras import (
    CENTRE_OF_FIRST_PIXEL,
    OPENCV_FROM_OPENGL,
    camera_to_world,
    focal_intrinsics,
    pinhole,
    rigid,
)
from fmb.files.captures.assembly import Listing
from fmb.files.captures.planes import Shot
from fmb.files.images import Pixels
from fmb.files.safe import array_names, path_inside, read_arrays
from fmb.geometry.cameras import nearest_to_rays

MASKS = ("masks", "mask", "silhouettes", "silhouette", "alpha", "alphas")
IMAGES = ("images", "rgba", "rgb", "image", "colors")
OUT = ("world_from_camera", "c2w", "cam2world", "camtoworlds", "camera_to_world", "poses")  # into the world
IN = ("camera_from_world", "w2c", "world2cam", "world_to_camera", "extrinsics")
LENSES = ("K", "intrinsics", "focal", "focal_length")


def recognise(folder: Path) -> bool:
    """True for such a file, and for a folder that holds one."""
    return _archive(folder) is not None


def read(folder: Path) -> Listing:
    """The views of the archive."""
    path = _archive(folder)
    if path is None:
        raise ValueError(f"{folder}: no .npz with masks or images and with cameras")
    arrays = read_arrays(path)
    masks, images = (_first(arrays, names) for names in (MASKS, IMAGES))
    count = len(masks if masks is not None else images)
    if masks is None and (images.ndim != 4 or images.shape[3] != 4):
        what = f"images of shape {images.shape} and no masks"
        raise ValueError(f"{path}: {what}; expected masks (view, height, width), or images with a fourth channel")
    poses, told = _poses(arrays, count, str(path))
    planes = {"masks": _pictures(masks, count, f"{path}: masks"), "images": _pictures(images, count, f"{path}: images")}
    shots = []
    for view in range(count):
        mask, image = (plane[view] if plane else None for plane in planes.values())
        size = (image or mask).image.size
        intrinsics = _intrinsics(arrays, view, count, size, str(path))
        shots.append(Shot(f"{view:03d}", poses[view], intrinsics, mask, image, size=size))
    return Listing(tuple(shots), notices=told)


def _archive(place: Path) -> Path | None:
    if os.path.isfile(place):  # unlike Path.is_file it takes names of any length
        return place if place.suffix.lower() == ".npz" and _complete(place) else None
    files = [path for path in sorted(place.glob("*.npz")) if _complete(path)] if os.path.isdir(place) else []
    return path_inside(place, files[0].name, place) if len(files) == 1 else None


def _complete(path: Path) -> bool:
    names = set(array_names(path))
    cameras = bool(names & {*OUT, *IN}) and bool(names & set(LENSES)) or {"K", "R", "t"} <= names
    return cameras and bool(names & {*MASKS, *IMAGES})


def _first(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    found = next((arrays[name] for name in names if name in arrays), None)
    return found if found is None or found.ndim else found.reshape(1)


def _poses(arrays: dict, count: int, path: str) -> tuple[Float[np.ndarray, "view 4 4"], tuple[str, ...]]:
    name = next((name for name in (*OUT, *IN) if name in arrays), "R")
    given = arrays[name]
    if given.ndim != 3 or len(given) != count:
        raise ValueError(f"{path}: {name} of shape {given.shape}, {count} views; must be one matrix a view")
    if name == "R":
        shift = arrays["t"].reshape(count, -1) if arrays["t"].size == 3 * count else arrays["t"]
        if shift.shape != (count, 3):
            raise ValueError(f"{path}: t of shape {arrays['t'].shape}; must be {count} x 3")
        pairs = zip(given, shift, strict=True)
        return np.stack([camera_to_world(*pair, f"{path}: R", scaled=True) for pair in pairs]), ()
    poses = np.stack([rigid(matrix, f"{path}: {name}", scaled=True) for matrix in given])
    poses = np.linalg.inv(poses) if name in IN else poses
    if not _turned_away(poses):
        return poses, ()
    # the camera's axes stand at the right of a motion into the world, whichever way it was given
    return poses @ OPENCV_FROM_OPENGL, (
        f"{name}: axes are taken to be OpenGL's (y up, z backwards), else all cameras would look away from the object",
    )


def _turned_away(poses: Float[np.ndarray, "view 4 4"]) -> bool:
    # whether what the axes come nearest to lies behind most cameras
    forward, place = poses[:, :3, 2], poses[:, :3, 3]
    return bool(np.mean(np.sum((nearest_to_rays(place, forward) - place) * forward, axis=1) < 0.0) > 0.5)


def _intrinsics(arrays: dict, view: int, count: int, size: tuple[int, int], path: str) -> Float[np.ndarray, "3 3"]:
    name = next(name for name in LENSES if name in arrays)
    given = arrays[name]
    if name in ("K", "intrinsics"):
        matrix = pinhole(given if given.ndim == 2 else given[view] if len(given) == count else given, f"{path}: {name}")
        return matrix + CENTRE_OF_FIRST_PIXEL if name == "K" and "R" in arrays else matrix
    if given.size not in (1, count):
        raise ValueError(f"{path}: {name} of shape {given.shape}; must be one number, or one a view")
    try:
        focal = float(given.ravel()[view if given.size == count else 0])
    except (TypeError, ValueError):
        raise ValueError(f"{path}: {name} must be numbers") from None
    return focal_intrinsics((focal, focal), (0.5 * size[0], 0.5 * size[1]), f"{path}: {name}")


def _pictures(array: np.ndarray | None, count: int, where: str) -> list[Pixels]:
    # one image a view; floating values go from 0 to 1
    if array is None:
        return []
    array = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    fits = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (3, 4))
    if not fits or len(array) != count or 0 in array.shape or array.dtype.kind not in "bfiu":
        what = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"{where}: {what}; expected {count} views of (height, width) numbers, or with 3 or 4 channels")
    if array.dtype.kind == "f":
        top = 1.0 if np.nanmax(array) <= 1.0 else 255.0
        array = np.rint(255.0 * np.clip(np.nan_to_num(array) / top, 0.0, 1.0))
    elif array.dtype.kind == "b":
        array = 255 * array.astype(np.uint8)
    pixels = np.clip(array, 0, 255).astype(np.uint8)
    return [Pixels(f"{where} of view {view}", Image.fromarray(pixels[view])) for view in range(count)]
