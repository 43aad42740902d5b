"""COLMAP: cameras, images and points3D, binary or text, with the images in images/ and their masks in masks/.

The model lies in the folder itself or in sparse/0, sparse or colmap/sparse/0.  Masks are named as COLMAP has it,
image.jpg.png, or image.png; unlike COLMAP's, which only hide features, they must show the object in white.
COLMAP counts pixels from the corner: the centre of the first one is (0.5, 0.5) already.
Only pinhole cameras: `colmap image_undistorter` makes them out of all others (the masks must then go through it too).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmb.files.cameras import camera_to_world, focal_intrinsics
from fmb.files.captures.assembly import Companions, Listing, Shot, ignored_of, masks_of
from fmb.files.safe import files_below, path_inside, read_bytes, read_text

PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0")
SUFFIX_ORDER = (".bin", ".txt")


class Model(NamedTuple):
    """A camera model of COLMAP: focal lengths come first, then the principal point, then distortion."""

    name: str
    parameters: int
    focals: int
    perspective: bool = True  # a pinhole where all its distortion is 0


MODELS = (  # by COLMAP's number
    Model("SIMPLE_PINHOLE", 3, 1),
    Model("PINHOLE", 4, 2),
    Model("SIMPLE_RADIAL", 4, 1),
    Model("RADIAL", 5, 1),
    Model("OPENCV", 8, 2),
    Model("OPENCV_FISHEYE", 8, 2, False),
    Model("FULL_OPENCV", 12, 2),
    Model("FOV", 5, 2, False),
    Model("SIMPLE_RADIAL_FISHEYE", 4, 1, False),
    Model("RADIAL_FISHEYE", 5, 1, False),
    Model("THIN_PRISM_FISHEYE", 12, 2, False),
    Model("RAD_TAN_THIN_PRISM_FISHEYE", 16, 2, False),
)


class CameraLine(NamedTuple):
    """A line of cameras: what several images may share."""

    number: int
    model: Model
    size: tuple[int, int]
    parameters: tuple[float, ...]


class ImageLine(NamedTuple):
    """A line of images: camera from world as a quaternion wxyz and a translation."""

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]


def recognise(folder: Path) -> bool:
    """True where there is a model, or half of one."""
    return _model_file(folder, "images") is not None or _model_file(folder, "cameras") is not None


def read(folder: Path) -> Listing:
    """The views of a model, and its points."""
    paths = {name: _model_file(folder, name) for name in ("cameras", "images", "points3D")}
    for name in ("cameras", "images"):
        if paths[name] is None:
            raise ValueError(f"{folder}: no {name}.bin or {name}.txt; expected a COLMAP model in it or in sparse/0")
    binary = {name: path is not None and path.suffix == ".bin" for name, path in paths.items()}
    where = paths["cameras"]
    cameras = {c.number: c for c in (_cameras_binary if binary["cameras"] else _cameras_text)(where)}
    where = paths["images"]
    lines = list((_images_binary if binary["images"] else _images_text)(where))
    if not lines:
        raise ValueError(f"{where}: no images")
    pictures, masks, ignored = Companions(files_below(folder, "images")), masks_of(folder), ignored_of(folder)
    shots = []
    for line in sorted(lines, key=lambda line: line.name):
        path_inside(folder, line.name, where)
        if line.camera not in cameras:
            raise ValueError(f"{where}: image {line.name!r} is of camera {line.camera}, which {paths['cameras']} lacks")
        camera = cameras[line.camera]
        shot = Shot(line.name, _pose(line, where), _intrinsics(camera, paths["cameras"]), masks.of(line.name))
        image, ignore = pictures.of(line.name), ignored.of(line.name)
        shots.append(shot._replace(image=image, ignore=ignore, size=camera.size))
    points = None
    if paths["points3D"] is not None:
        points = (_points_binary if binary["points3D"] else _points_text)(paths["points3D"])
    notice = ("sparse/1 and further models are not read",) if (folder / "sparse" / "1").is_dir() else ()
    return Listing(tuple(shots), points, notice)


def _model_file(folder: Path, name: str) -> Path | None:
    for place in PLACES:
        for suffix in SUFFIX_ORDER:
            if (folder / place / (name + suffix)).is_file():
                return path_inside(folder, f"{place}/{name}{suffix}".removeprefix("/"), folder)
    return None


def _pose(line: ImageLine, where: Path) -> Float[np.ndarray, "4 4"]:
    quaternion = np.array(line.quaternion)
    if not (np.all(np.isfinite(quaternion)) and abs(np.linalg.norm(quaternion) - 1.0) < 1e-2):
        raise ValueError(f"{where}: image {line.name!r}: quaternion {line.quaternion} is not of length 1")
    turn = Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix()
    return camera_to_world(turn, line.translation, f"{where}: image {line.name!r}")


def _intrinsics(camera: CameraLine, where: Path) -> Float[np.ndarray, "3 3"]:
    model, values = camera.model, camera.parameters
    label = f"{where}: camera {camera.number}"
    if not model.perspective or any(value != 0.0 for value in values[model.focals + 2 :]):
        tool = "undistort images and masks first with `colmap image_undistorter`"
        raise ValueError(f"{label}: model {model.name} with distortion, but only pinhole cameras are read: {tool}")
    focal = (values[0], values[model.focals - 1])
    return focal_intrinsics(focal, (values[model.focals], values[model.focals + 1]), label)


def _camera(number: int, model: Model, size: tuple[int, int], values: tuple[float, ...], where: Path) -> CameraLine:
    if len(values) != model.parameters:
        raise ValueError(f"{where}: camera {number}: {len(values)} parameters; {model.name} has {model.parameters}")
    return CameraLine(number, model, size, values)


def _cameras_text(path: Path) -> Iterator[CameraLine]:
    models = {model.name: model for model in MODELS}
    for number, words in _lines(path):
        if not words:
            continue
        if len(words) < 4 or words[1] not in models:
            raise ValueError(f"{path}: line {number}: expected CAMERA_ID MODEL WIDTH HEIGHT and parameters")
        camera, width, height = _integers(words[0], words[2], words[3], where=f"{path}: line {number}")
        values = _floats(words[4:], f"{path}: line {number}")
        yield _camera(camera, models[words[1]], (width, height), values, path)


def _images_text(path: Path) -> Iterator[ImageLine]:
    lines = iter(_lines(path))
    for number, words in lines:
        if not words:
            continue
        if len(words) < 10:
            raise ValueError(f"{path}: line {number}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        values = _floats(words[1:8], f"{path}: line {number}")
        (camera,) = _integers(words[8], where=f"{path}: line {number}")
        yield ImageLine(" ".join(words[9:]), camera, values[:4], values[4:])
        number, words = next(lines, (0, []))  # the features of the image, maybe none
        if len(words) >= 10 and not _is_number(words[9]):
            raise ValueError(f"{path}: line {number}: an image, expected the features of the one before, maybe empty")


def _points_text(path: Path) -> Float[np.ndarray, "point 3"] | None:
    points = []
    for number, words in _lines(path):
        if words:
            if len(words) < 4:
                raise ValueError(f"{path}: line {number}: expected POINT3D_ID X Y Z R G B ERROR TRACK")
            points.append(_floats(words[1:4], f"{path}: line {number}"))
    return _finite(points)


def _finite(points: list) -> Float[np.ndarray, "point 3"] | None:
    array = np.array(points, float).reshape(-1, 3)
    array = array[np.all(np.isfinite(array), axis=1)]
    return array if len(array) else None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.startswith("#"):
            yield number, line.split()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _floats(words: list[str], where: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        raise ValueError(f"{where}: {' '.join(words)[:60]!r} must be numbers") from None


def _integers(*words: str, where: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise ValueError(f"{where}: {' '.join(words)[:60]!r} must be whole numbers") from None


class _Bytes:
    # a file read value by value; its end comes as a ValueError that names it
    def __init__(self, path: Path):
        self.path, self.data, self.place = path, read_bytes(path), 0

    def take(self, form: str) -> tuple:
        form = "<" + form
        if self.place + struct.calcsize(form) > len(self.data):
            self.broken()
        values = struct.unpack_from(form, self.data, self.place)
        self.place += struct.calcsize(form)
        return values

    def skip(self, count: int) -> None:
        if self.place + count > len(self.data):
            self.broken()
        self.place += count

    def text(self) -> str:
        end = self.data.find(b"\0", self.place)
        if end < 0:
            self.broken()
        start, self.place = self.place, end + 1
        return self.data[start:end].decode(errors="backslashreplace")

    def broken(self) -> None:
        raise ValueError(f"{self.path}: ends in the middle of an entry; not a COLMAP file, or a damaged one")


def _cameras_binary(path: Path) -> Iterator[CameraLine]:
    file = _Bytes(path)
    for _ in range(file.take("Q")[0]):
        number, model, width, height = file.take("IiQQ")
        if not 0 <= model < len(MODELS):
            raise ValueError(f"{path}: camera {number}: model {model} is not known")
        yield _camera(number, MODELS[model], (width, height), file.take(f"{MODELS[model].parameters}d"), path)


def _images_binary(path: Path) -> Iterator[ImageLine]:
    file = _Bytes(path)
    for _ in range(file.take("Q")[0]):
        _, *pose, camera = file.take("I7dI")
        name = file.text()
        file.skip(24 * file.take("Q")[0])  # x, y and the point of each feature
        yield ImageLine(name, camera, tuple(pose[:4]), tuple(pose[4:]))


def _points_binary(path: Path) -> Float[np.ndarray, "point 3"] | None:
    file, points = _Bytes(path), []
    for _ in range(file.take("Q")[0]):
        points.append(file.take("Q3d3Bd")[1:4])
        file.skip(8 * file.take("Q")[0])  # image and feature of each observation
    return _finite(points)
