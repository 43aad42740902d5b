"""Our own data set: a folder of masks with cameras.json, as `write_cameras` writes it.

    cameras.json   {"format": "fmb-cameras", "version": 1, "views": [VIEW, ...]}
    masks/         one image a view, white object on black; values between are shares of the pixel
    images/        optional: photographs
    ignore/        optional: white where nothing is known, neither object nor background
    depth/         optional: 16-bit images, z-depth divided by `depth_scale`, 0 unknown

A VIEW has `world_from_camera` (4 x 4, OpenCV axes), `intrinsics`, or `K` (3 x 3, in pixels, centre of the top left
pixel at (0.5, 0.5)), `width`, `height`, `name`, and optionally `mask`, `image`, `ignore`, `depth` (paths inside the
folder; what is not given is looked for by name in the folders above), `depth_scale` and `held_out` (true: not to be
fitted to).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from fmb import machine
from fmb.files.cameras import pinhole, rigid
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import Companions, files_in, ignored_of, masks_of
from fmb.files.captures.planes import Shot
from fmb.files.images import DepthFile
from fmb.files.names import existing
from fmb.files.safe import entry, is_name, numbers, path_inside, positive, read_json, read_text
from fmb.geometry.cameras import Cameras

FILE = "cameras.json"
FORMAT, VERSION = "fmb-cameras", 1
LARGEST_SIDE = 2**20


def recognise(folder: Path) -> bool:
    """True where there is a cameras.json that names our format, whole or broken: others have files of that name."""
    try:
        return FORMAT in read_text(folder / FILE)
    except ValueError:
        return False


def read(folder: Path) -> Listing:
    """The views of our own cameras.json."""
    path = path_inside(folder, FILE, folder)
    content = read_json(path)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        what = f"format {content.get('format')!r} version {content.get('version')!r}"
        raise ValueError(f"{path}: {what}; expected {FORMAT!r} version {VERSION}")
    views = entry(content, "views", str(path))
    if not isinstance(views, list) or not views:
        raise ValueError(f"{path}: 'views' must be a list of views")
    beside = {"mask": masks_of(folder), "ignore": ignored_of(folder)}
    beside |= {key: Companions(files_in(folder, name)) for key, name in (("image", "images"), ("depth", "depth"))}
    shots = tuple(_shot(folder, view, f"{path}: view {index}", beside) for index, view in enumerate(views))
    return Listing(shots)


def _shot(folder: Path, view: Any, where: str, beside: dict[str, Companions]) -> Shot:
    name = entry(view, "name", where)
    if not is_name(name):
        raise ValueError(f"{where}: name {name!r} must be a text")
    where = f"{where} ({name[:80]})"
    files = {}
    for key, companions in beside.items():
        given = view.get(key)
        files[key] = companions.of(name) if given is None else existing(folder, given, where)
    scale = positive(view.get("depth_scale", 1.0), f"{where}: depth_scale")
    width, height = (numbers(entry(view, key, where), (), f"{where}: {key}") for key in ("width", "height"))
    if not all(1 <= side <= LARGEST_SIDE and side == int(side) for side in (width, height)):
        raise ValueError(f"{where}: {width:g} x {height:g} pixels; must be whole numbers from 1")
    held_out = view.get("held_out", False)
    if not isinstance(held_out, bool):
        raise ValueError(f"{where}: held_out {held_out!r} must be true or false")
    return Shot(
        name,
        rigid(entry(view, "world_from_camera", where), f"{where}: world_from_camera"),
        pinhole(entry(view, "K" if "K" in view else "intrinsics", where), f"{where}: intrinsics"),
        files["mask"],
        files["image"],
        files["ignore"],
        DepthFile(files["depth"], scale) if files["depth"] else None,
        (int(width), int(height)),
        held_out,
    )


CONVENTION = "OpenCV axes (x right, y down, z forward); the centre of the top left pixel is (0.5, 0.5)"


def write_cameras(
    path: Path,
    cameras: Cameras,
    image_size: tuple[int, int],
    names: Sequence[str],
    held_out: Bool[np.ndarray, " view"] | None = None,
    beside: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """Writes the cameras of images of `image_size`, (height, width); numbers keep all their digits.

    Masks beside it, in masks/NAME.png, make it a data set; `beside` has more of a VIEW's keys, a value for each view.
    Raises ValueError where names and cameras differ in number.
    """
    world_from_camera, intrinsics = np.asarray(cameras.world_from_camera), np.asarray(cameras.intrinsics)
    if len(names) != len(world_from_camera) or len(set(names)) != len(names):
        raise ValueError(f"{path}: {len(world_from_camera)} cameras, {len(set(names))} names; each needs its own")
    views = [
        {
            "name": name,
            "width": image_size[1],
            "height": image_size[0],
            "world_from_camera": world_from_camera[index].tolist(),
            "intrinsics": intrinsics[index].tolist(),
            "held_out": bool(held_out is not None and held_out[index]),
            **{key: values[index] for key, values in (beside or {}).items()},
        }
        for index, name in enumerate(names)
    ]
    head = {"format": FORMAT, "version": VERSION, "convention": CONVENTION}
    lines = ",\n".join("  " + json.dumps(view, allow_nan=False) for view in views)
    return machine.write_text(path, json.dumps(head)[:-1] + ', "views": [\n' + lines + "\n]}\n")
