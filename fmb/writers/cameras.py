"""Our cameras.json, which `fmb.readers.plain` reads: cameras of views in the user's own frame."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

import util
from fmb.cameras import Cameras
from fmb.readers.plain import FORMAT, VERSION

CONVENTION = "OpenCV axes (x right, y down, z forward); the centre of the top left pixel is (0.5, 0.5)"


def write_cameras(
    path: Path,
    cameras: Cameras,
    image_size: tuple[int, int],
    names: Sequence[str],
    held_out: Bool[np.ndarray, " view"] | None = None,
) -> Path:
    """Writes the cameras of images of `image_size`, (height, width); numbers keep all their digits.

    Masks beside it, in masks/NAME.png, make it a data set.  Raises ValueError where names and cameras differ in number.
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
        }
        for index, name in enumerate(names)
    ]
    head = {"format": FORMAT, "version": VERSION, "convention": CONVENTION}
    lines = ",\n".join("  " + json.dumps(view, allow_nan=False) for view in views)
    return util.write_text(path, json.dumps(head)[:-1] + ', "views": [\n' + lines + "\n]}\n")
