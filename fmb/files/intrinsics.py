"""Intrinsics of one camera from a file, under the names of several programs, with its lens where the file tells it.

.json     {"fx", "fy", "cx", "cy"}, or ppx and ppy (RealSense), or fl_x and fl_y (nerfstudio); or a matrix as "matrix",
          "K", "k", "cam_K", "camera_matrix" or Open3D's "intrinsic_matrix", which goes down the columns; optionally
          "width" and "height", and a lens: k1, k2 ..., or a list "coeffs", "D", "dist_coeffs" with "model"; matrix and
          list also as ROS and OpenCV write them, {"rows", "cols", "data"}
others    3 x 3 numbers in .json, .txt or .npy
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fmb.files.cameras import CENTRE_OF_FIRST_PIXEL, focal_intrinsics, pinhole
from fmb.files.images import same_image
from fmb.files.safe import entry, numbers, read_json, read_npy, read_text
from fmb.geometry.lenses import Lens

PIXEL_CENTRES = ("half", "integer")  # where the centre of pixel (0, 0) is: (0.5, 0.5) or (0, 0)
FOCAL, CENTRE = (("fx", "fy"), ("fl_x", "fl_y")), (("cx", "cy"), ("ppx", "ppy"))
MATRICES = ("matrix", "K", "k", "cam_K", "camera_matrix", "intrinsics")
COLUMNS = "intrinsic_matrix"  # Open3D's
LISTS = ("coeffs", "D", "d", "dist_coeffs", "dist", "distortion", "distortion_coefficients", "distCoeffs")
MODELS = ("model", "distortion_model", "camera_model")
BROWN = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # OpenCV's order
LEAST = 4  # of them in a list; the others are 0 then
# what programs call a lens, in small letters: its model, and the names of its parameters in the order of a list
LENS_NAMES = {
    "": ("FULL_OPENCV", BROWN),
    "simple_radial": ("SIMPLE_RADIAL", ("k1",)),
    "radial": ("RADIAL", ("k1", "k2")),
    "opencv_fisheye": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")),
    "simple_radial_fisheye": ("SIMPLE_RADIAL_FISHEYE", ("k1",)),
    "radial_fisheye": ("RADIAL_FISHEYE", ("k1", "k2")),
    "thin_prism_fisheye": ("THIN_PRISM_FISHEYE", ("k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1")),
}
POLYNOMIALS = ("none", "pinhole", "simple_pinhole", "perspective", "opencv", "full_opencv", "radtan", "plumb_bob")
POLYNOMIALS += ("rational_polynomial", "brown_conrady", "modified_brown_conrady")
LENS_NAMES |= dict.fromkeys(POLYNOMIALS, LENS_NAMES[""])
FISHEYES = ("fisheye", "simple_fisheye", "equidistant", "kannala_brandt4")
LENS_NAMES |= dict.fromkeys(FISHEYES, LENS_NAMES["opencv_fisheye"])


class Pinhole(NamedTuple):
    """Intrinsics by the rule of this program and, where the file tells it, its (width, height) and lens."""

    matrix: Float[np.ndarray, "3 3"]
    size: tuple[int, int] | None = None
    lens: Lens | None = None  # None: nothing is bent


def read_intrinsics(path: Path, pixel_centre: str = "half") -> Pinhole:
    """The camera of the file; a key "pixel_centre" in it goes before the argument.

    Raises ValueError for anything that is no camera of this kind.
    """
    given, size, lens = numbers_of_file(path, (3, 3)), None, None
    if isinstance(given, dict):
        pixel_centre = given.get("pixel_centre", pixel_centre)
        if "width" in given or "height" in given:
            width, height = (numbers(entry(given, key, f"{path}"), (), f"{path}: {key}") for key in ("width", "height"))
            size = int(width), int(height)
        lens = _lens(given, path)
        given = _matrix(given, path)
    if pixel_centre not in PIXEL_CENTRES:
        raise ValueError(f"{path}: pixel_centre {pixel_centre!r}; must be {' or '.join(PIXEL_CENTRES)}")
    matrix = pinhole(given, f"{path}")
    return Pinhole(matrix + CENTRE_OF_FIRST_PIXEL if pixel_centre == "integer" else matrix, size, lens)


def fitting_intrinsics(
    intrinsics: Pinhole, shape: tuple[int, int], path: Path, image: Path
) -> Float[np.ndarray, "3 3"]:
    """The matrix, for an image of `shape` = (height, width), scaled where the file is for another size of it.

    Raises ValueError where the file says that it is for another image.
    """
    height, width = shape
    if intrinsics.size in (None, (width, height)):
        return intrinsics.matrix
    if min(intrinsics.size) < 1 or not same_image(intrinsics.size, (width, height)):
        told = f"{intrinsics.size[0]} x {intrinsics.size[1]}"
        raise ValueError(f"{path}: intrinsics for {told} pixels, {image.name} has {width} x {height}")
    return np.diag([width / intrinsics.size[0], height / intrinsics.size[1], 1.0]) @ intrinsics.matrix


def numbers_of_file(path: Path, shape: tuple[int, int]) -> Any:
    """What the file holds: an object, or a matrix, in one row perhaps."""
    kind = path.suffix.lower()
    if kind == ".npy":
        return read_npy(path)
    if kind == ".json":
        value = read_json(path, object)
        flat = isinstance(value, list) and len(value) == np.prod(shape)
        return numbers(value, (len(value),), f"{path}").reshape(shape) if flat else value
    if kind != ".txt":
        raise ValueError(f"{path}: must be a .json, .txt or .npy file")
    words = read_text(path).replace(",", " ").split()
    if len(words) != math.prod(shape):
        raise ValueError(f"{path}: {len(words)} numbers; must be {shape[0]} x {shape[1]}")
    return numbers(words, (len(words),), f"{path}").reshape(shape)


def _matrix(given: dict, path: Path) -> Any:
    focal = next((pair for pair in FOCAL if pair[0] in given), None)
    if focal is not None:
        centre = next((pair for pair in CENTRE if pair[0] in given), CENTRE[0])
        keys = (*focal, *centre)
        fx, fy, cx, cy = (float(numbers(entry(given, key, f"{path}"), (), f"{path}: {key}")) for key in keys)
        return focal_intrinsics((fx, fy), (cx, cy), f"{path}")
    if COLUMNS in given:
        return numbers(given[COLUMNS], (9,), f"{path}: {COLUMNS}").reshape(3, 3).T
    name = next((name for name in MATRICES if name in given), "matrix")
    matrix = _plain(entry(given, name, f"{path}: no fx, fy, cx, cy, and"))
    flat = isinstance(matrix, list) and len(matrix) == 9
    return numbers(matrix, (9,), f"{path}: {name}").reshape(3, 3) if flat else matrix


def _plain(value: Any) -> Any:
    # the numbers of what ROS and OpenCV write
    return value.get("data") if isinstance(value, dict) else value


def _lens(given: dict, path: Path) -> Lens | None:
    model = next((given[name] for name in MODELS if isinstance(given.get(name), str)), "")
    model = model.rpartition(".")[2].strip().lower().replace(" ", "_")
    kind, keys = LENS_NAMES.get(model, ("", BROWN))
    name = next((name for name in LISTS if given.get(name) is not None), None)
    if name is None:
        values = [float(numbers(given.get(key) or 0.0, (), f"{path}: {key}")) for key in keys]
    else:
        rows = _plain(given[name])
        if not isinstance(rows, list):
            raise ValueError(f"{path}: {name} must be a list of numbers")
        flat = [number for row in rows for number in (row if isinstance(row, list) else [row])]
        values = numbers(flat, (len(flat),), f"{path}: {name}").tolist()
    if not any(values) and not kind.endswith("FISHEYE"):
        return None
    if kind and min(LEAST, len(keys)) <= len(values) and not any(values[len(keys) :]):
        return Lens(kind, tuple([*values, *[0.0] * len(keys)][: len(keys)]))
    allowed = ", ".join(filter(None, LENS_NAMES))
    raise ValueError(
        f"{path}: lens {model!r} with {len(values)} parameters cannot be undistorted; allowed are {allowed}"
    )
