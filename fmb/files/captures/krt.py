"""Calibrations given as K, R, t: cameras.json with a list of frames, or cameras.npz with arrays K, R, t.

x_cam = R X + t, OpenCV axes, pixel = K x_cam / z with (0, 0) at the centre of the top left pixel (0.5 is added here).
cameras.json: {"size": [width, height], "frames": [{"K", "R", "t", "mask", "image", "split", "source"}, ...]}.
cameras.npz: K [view, 3, 3], R [view, 3, 3], t [view, 3], and optionally size, split, names of the images; without names
the masks are those of the masks folder in the order of theirs.  Views of the split "test" are held out.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fmb.files.cameras import CENTRE_OF_FIRST_PIXEL, camera_to_world, pinhole
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import MASK_FOLDERS, ignored_of, masks_of, pictures_of
from fmb.files.captures.planes import Shot
from fmb.files.names import existing
from fmb.files.safe import array_names, entry, numbers, path_inside, read_arrays, read_json

TEXT, ARRAYS = "cameras.json", "cameras.npz"
HELD_OUT = "test"
_SHAPES = {"K": (3, 3), "R": (3, 3), "t": (3,)}


def recognise(folder: Path) -> bool:
    """True where cameras.json or cameras.npz gives K, R and t."""
    if {"K", "R", "t"} <= set(array_names(folder / ARRAYS)) and any((folder / name).is_dir() for name in MASK_FOLDERS):
        return True
    try:
        frames = read_json(folder / TEXT).get("frames")
    except ValueError:  # the reader of that file says what is wrong with it
        return False
    return isinstance(frames, list) and bool(frames) and isinstance(frames[0], dict) and "K" in frames[0]


def read(folder: Path) -> Listing:
    """The views of cameras.json, or of cameras.npz where there is no other."""
    if not (folder / TEXT).is_file():
        return _read_arrays(folder, path_inside(folder, ARRAYS, folder))
    path = path_inside(folder, TEXT, folder)
    content = read_json(path)
    frames = entry(content, "frames", str(path))
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{path}: 'frames' must be a list of frames")
    size = _size(content.get("size"), str(path))
    ignored = ignored_of(folder)
    shots = []
    for index, frame in enumerate(frames):
        where = f"{path}: frame {index}"
        mask = existing(folder, entry(frame, "mask", where), where)
        image = existing(folder, frame["image"], where) if frame.get("image") is not None else None
        shot = _shot(mask.stem, tuple(entry(frame, key, where) for key in _SHAPES), where)
        held_out = frame.get("split") == HELD_OUT
        ignore = ignored.of(frame["mask"])
        shots.append(shot._replace(mask=mask, image=image, ignore=ignore, size=size, held_out=held_out))
    return Listing(tuple(shots), notices=_box(content.get("bbox"), str(path)))


def _read_arrays(folder: Path, path: Path) -> Listing:
    arrays = read_arrays(path)
    missing = [name for name in _SHAPES if name not in arrays]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing; expected arrays K, R, t")
    count = len(arrays["K"]) if arrays["K"].ndim else 0
    given = {name: arrays[name] for name in _SHAPES}
    if given["t"].ndim == 3 and given["t"].shape[1:] in ((3, 1), (1, 3)):
        given["t"] = given["t"].reshape(count, 3)
    given = {name: numbers(given[name], (count, *shape), f"{path}: {name}") for name, shape in _SHAPES.items()}
    masks, names = masks_of(folder), arrays.get("names", np.zeros(0))
    if names.shape == (count,) and names.dtype.kind in "US":
        files = {str(name): masks.of(str(name)) for name in names}
    else:
        files = masks.files
    if len(files) != count or not count:
        raise ValueError(f"{path}: {count} cameras, {len(files)} masks in masks/; must be as many")
    pictures, ignored = pictures_of(folder), ignored_of(folder)
    splits = arrays.get("split", np.full(count, "train"))
    size = _size(arrays.get("size"), str(path))
    shots = []
    for index, (key, mask) in enumerate(files.items()):
        shot = _shot(Path(key).stem, tuple(given[name][index] for name in _SHAPES), f"{path}: view {index}")
        held_out = splits.shape == (count,) and str(splits[index]) == HELD_OUT
        shot = shot._replace(mask=mask, image=pictures.of(key), ignore=ignored.of(key), size=size, held_out=held_out)
        shots.append(shot)
    return Listing(tuple(shots), notices=_box(arrays.get("bbox"), str(path)))


def _shot(name: str, camera: tuple[Any, Any, Any], where: str) -> Shot:
    intrinsics, turn, shift = camera
    pose = camera_to_world(turn, shift, f"{where}: R", scaled=True)
    return Shot(name, pose, pinhole(intrinsics, f"{where}: K") + CENTRE_OF_FIRST_PIXEL)


def _size(value: Any, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    width, height = numbers(value, (2,), f"{where}: size")
    return int(width), int(height)


def _box(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    lower, upper = numbers(value, (2, 3), f"{where}: bbox")
    corners = " to ".join(f"({', '.join(f'{x:.4g}' for x in corner)})" for corner in (lower, upper))
    return (f"the file gives a box around the object, {corners}: not used",)
