"""NeRS: the cars of its data set MVMC, annotations.json with a camera and a mask an image, photographs in images/.

Cameras are PyTorch3D's (x left, y up, z forward, x_cam = x R + T); `fov` in degrees is that of the longer side.  The
first of `camera_optimized`, `camera_pretrained` and `camera_initial` that all views have is read.  Masks are COCO's
run lengths, uncompressed, down the columns.  Photographs of one's own have metadata.json in place of that file, see
`angles`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fmb.files.cameras import OPENCV_FROM_PYTORCH3D, camera_to_world, focal_intrinsics
from fmb.files.captures import angles
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import masks_of
from fmb.files.captures.planes import Shot
from fmb.files.images import Pixels, header_of
from fmb.files.names import existing
from fmb.files.safe import LARGEST_IMAGE, entry, numbers, path_inside, read_json

FILE = "annotations.json"
CAMERAS = ("camera_optimized", "camera_pretrained", "camera_initial")  # the first that all views have
MOST_PIXELS = 2**28  # of all masks in the file, a byte each: sixty of its photographs
WIDEST = 180.0  # degrees


def recognise(folder: Path) -> bool:
    """True where annotations.json has views with cameras, or metadata.json angles."""
    if angles.recognise(folder):
        return True
    try:
        views = read_json(folder / FILE).get("annotations")
    except ValueError:  # the reader of that file says what is wrong with it
        return False
    return isinstance(views, list) and bool(views) and isinstance(views[0], dict) and bool(set(CAMERAS) & set(views[0]))


def read(folder: Path) -> Listing:
    """The views of annotations.json, or of metadata.json where there is no other."""
    if not (folder / FILE).is_file() and angles.recognise(folder):
        return angles.read(folder)
    path = path_inside(folder, FILE, folder)
    views = entry(read_json(path), "annotations", str(path))
    if not isinstance(views, list) or not views or not all(isinstance(view, dict) for view in views):
        raise ValueError(f"{path}: 'annotations' must be a list of views")
    kind = next((name for name in CAMERAS if all(name in view for view in views)), None)
    if kind is None:
        raise ValueError(f"{path}: no camera that all {len(views)} views have; expected one of {', '.join(CAMERAS)}")
    shots, pixels = [], 0
    for index, view in enumerate(views):
        shots.append(_shot(folder, view, kind, f"{path}: view {index}"))
        pixels += np.prod(shots[-1].mask.image.size) if isinstance(shots[-1].mask, Pixels) else 0
        if pixels > MOST_PIXELS:  # a few bytes may say that all of a large mask is empty
            raise ValueError(f"{path}: more than {MOST_PIXELS} pixels of masks; at most that many are read")
    return Listing(tuple(shots), notices=(f"cameras: {kind} of {FILE}",))


def _shot(folder: Path, view: dict, kind: str, where: str) -> Shot:
    name = entry(view, "filename", where)
    path_inside(folder, name, where)
    image = existing(folder, f"images/{name}", where)
    mask = _mask(view["mask"], f"{where}: mask ({str(name)[:80]})") if view.get("mask") else masks_of(folder).of(name)
    if mask is None and not image.is_file():
        raise ValueError(f"{where}: neither a mask nor {image}")
    width, height = header_of(mask or image).size
    camera = view[kind]
    turn = numbers(entry(camera, "R", where), (3, 3), f"{where}: R")
    shift = numbers(entry(camera, "T", where), (3,), f"{where}: T")
    pose = camera_to_world(OPENCV_FROM_PYTORCH3D @ turn.T, OPENCV_FROM_PYTORCH3D @ shift, f"{where}: R")
    angle = float(numbers(entry(camera, "fov", where), (), f"{where}: fov"))
    if not 0.0 < angle < WIDEST:
        raise ValueError(f"{where}: fov {angle:g} degrees; must lie between 0 and {WIDEST:g}")
    focal = 0.5 * max(width, height) / np.tan(0.5 * np.deg2rad(angle))
    intrinsics = focal_intrinsics((focal, focal), (0.5 * width, 0.5 * height), where)
    return Shot(str(name), pose, intrinsics, mask, image, size=(width, height))


def _mask(record: Any, where: str) -> Pixels:
    size = numbers(entry(record, "size", where), (2,), f"{where}: size")
    height, width = (int(side) for side in size)
    if min(height, width) < 1 or height * width > LARGEST_IMAGE:
        raise ValueError(f"{where}: {width} x {height} pixels; 1 to {LARGEST_IMAGE} are read")
    counts = entry(record, "counts", where)
    counts = counts.split() if isinstance(counts, str) else counts
    lengths = numbers(counts, (len(counts) if isinstance(counts, list) else 0,), f"{where}: counts")
    if np.any(lengths < 0.0) or lengths.sum() > height * width:
        raise ValueError(f"{where}: run lengths sum up to {lengths.sum():g}; must not be more than {height * width}")
    lengths = lengths.astype(np.int64)
    pixels = np.zeros(height * width, np.uint8)
    runs = np.repeat(np.arange(len(lengths)) % 2, lengths)
    pixels[: len(runs)] = 255 * runs
    return Pixels(where, Image.fromarray(pixels.reshape(width, height).T.copy()))
