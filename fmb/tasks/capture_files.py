"""The views that a task has looked at as a capture, which --data reads back."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fmb.files.capture_images import CaptureImages, depth_step, file_stems, write_capture_images
from fmb.files.captures.plain import write_cameras
from fmb.geometry.frames import Frame
from fmb.geometry.views import Views


def write_capture(
    folder: Path,
    sets: Mapping[str, Views],
    frame: Frame,
    names: Sequence[str] | None = None,
    draw: Callable[..., Any] | None = None,
) -> None:
    """Writes cameras.json and the images of the views, in the input's frame and unit.

    `sets` are views in the canonical frame: those fitted to first, then those held out. `names` are of all of them in
    this order; without any they are numbered. `draw` has the images written by another process.
    """
    parts = list(sets.values())
    cameras = jax.tree.map(lambda *fields: np.concatenate(fields), *(part.cameras for part in parts))
    count, size = len(cameras.intrinsics), parts[0].silhouette.shape[1:]
    names = [f"{view:03d}" for view in range(count)] if names is None else names
    held_out = np.arange(count) >= len(parts[0].silhouette)
    stems, images = file_stems(names), images_of_all(parts, float(frame.scale))
    beside: dict[str, list[Any]] = {"mask": [f"masks/{stem}.png" for stem in stems]}
    if images.depth is not None:
        beside["depth_scale"] = [depth_step(images.depth)] * count
    write_cameras(folder / "cameras.json", frame.cameras_to_world(cameras), size, names, held_out, beside)
    if draw is None:
        write_capture_images(folder, stems, images)
    else:
        draw(write_capture_images, stems, images)


def images_of_all(parts: Sequence[Views], unit: float) -> CaptureImages:
    """What all views show, depths times `unit`; a kind that the first of them lack is left out."""

    def joined(name: str) -> np.ndarray | None:
        fields = [getattr(part, name) for part in parts]
        return None if fields[0] is None else np.concatenate([np.asarray(field) for field in fields])

    depth = joined("depth")
    return CaptureImages(
        joined("silhouette"), joined("color"), None if depth is None else unit * depth, joined("valid")
    )
