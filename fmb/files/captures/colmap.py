"""COLMAP: cameras, images and points3D, binary or text, with the images in images/ and their masks in masks/.

The model lies in the folder itself or in sparse/0, sparse or colmap/sparse/0; of several in sparse/ the one with the
most images is read.  Masks are named as COLMAP has it, image.jpg.png, or image.png; unlike COLMAP's, which only hide
features, they must show the object in white.
COLMAP counts pixels from the corner: the centre of the first one is (0.5, 0.5) already.  Images of all its lenses are
undistorted on reading.  Rigs and frames (3.12 and later) are not needed: images have their own poses.
"""

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmb.files.cameras import camera_to_world, focal_intrinsics
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import ignored_of, masks_of, pictures_of
from fmb.files.captures.planes import Shot
from fmb.files.door import open_file, read_bytes
from fmb.files.safe import path_inside, read_text
from fmb.geometry.lenses import LENSES, Lens

PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse")
PARENTS = ("sparse", "colmap/sparse")  # of folders 0, 1, ..., a model each
SUFFIX_ORDER = (".bin", ".txt")


class Model(NamedTuple):
    """A camera model of COLMAP: focal lengths come first, then the principal point, then what its lens has."""

    name: str
    focals: int

    @property
    def parameters(self) -> int:
        """How many there are."""
        if self.name == WHOLE_SPHERE:
            return 2
        return self.focals + 2 + (LENSES[self.name].parameters if self.name in LENSES else 0)


WHOLE_SPHERE = "EQUIRECTANGULAR"
MODELS = (  # by COLMAP's number
    Model("SIMPLE_PINHOLE", 1),
    Model("PINHOLE", 2),
    Model("SIMPLE_RADIAL", 1),
    Model("RADIAL", 1),
    Model("OPENCV", 2),
    Model("OPENCV_FISHEYE", 2),
    Model("FULL_OPENCV", 2),
    Model("FOV", 2),
    Model("SIMPLE_RADIAL_FISHEYE", 1),
    Model("RADIAL_FISHEYE", 1),
    Model("THIN_PRISM_FISHEYE", 2),
    Model("RAD_TAN_THIN_PRISM_FISHEYE", 2),
    Model("SIMPLE_DIVISION", 1),
    Model("DIVISION", 2),
    Model("SIMPLE_FISHEYE", 1),
    Model("FISHEYE", 2),
    Model("EUCM", 2),
    Model(WHOLE_SPHERE, 0),
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
    images = _model_file(folder, "images")
    place = images and images.parent.relative_to(folder).as_posix()
    paths = {name: images and _file_in(folder, place, name) for name in ("cameras", "images", "points3D")}
    for name in ("images", "cameras"):
        if paths[name] is None:
            raise ValueError(f"{folder}: no {name}.bin or {name}.txt; expected a COLMAP model in it or in sparse/0")
    binary = {name: path is not None and path.suffix == ".bin" for name, path in paths.items()}
    where = paths["cameras"]
    cameras = {c.number: c for c in (_cameras_binary if binary["cameras"] else _cameras_text)(where)}
    where = paths["images"]
    lines = list((_images_binary if binary["images"] else _images_text)(where))
    if not lines:
        raise ValueError(f"{where}: no images")
    pictures, masks, ignored = pictures_of(folder), masks_of(folder), ignored_of(folder)
    shots = []
    for line in sorted(lines, key=lambda line: line.name):
        path_inside(folder, line.name, where)
        if line.camera not in cameras:
            raise ValueError(f"{where}: image {line.name!r} is of camera {line.camera}, which {paths['cameras']} lacks")
        camera = cameras[line.camera]
        intrinsics, lens = _intrinsics(camera, paths["cameras"])
        shot = Shot(line.name, _pose(line, where), intrinsics, masks.of(line.name), lens=lens)
        image, ignore = pictures.of(line.name), ignored.of(line.name)
        shots.append(shot._replace(image=image, ignore=ignore, size=camera.size))
    points = paths["points3D"]
    reader = None if points is None else partial(_points_binary if binary["points3D"] else _points_text, points)
    return Listing(tuple(shots), reader, _chosen(folder, where, len(lines)))


def _model_file(folder: Path, name: str) -> Path | None:
    places = (*PLACES[:1], *_numbered(folder)[:1], *PLACES[1:])
    return next(filter(None, (_file_in(folder, place, name) for place in places)), None)


def _file_in(folder: Path, place: str, name: str) -> Path | None:
    for suffix in SUFFIX_ORDER:
        if (folder / place / (name + suffix)).is_file():
            return path_inside(folder, f"{place}/{name}{suffix}".removeprefix("/"), folder)
    return None


def _numbered(folder: Path) -> list[str]:
    # the models 0, 1, ... of the first parent that has some, that with the most images first
    for parent in PARENTS:
        inside = sorted((folder / parent).glob("[0-9]*")) if (folder / parent).is_dir() else []
        places = [f"{parent}/{child.name}" for child in inside if child.name.isdigit()]
        counts = {place: _images_in(folder, place) for place in places}
        known = [place for place in places if counts[place] > 0]
        if known:
            return sorted(known, key=lambda place: (-counts[place], int(place.rpartition("/")[2])))
    return []


def _images_in(folder: Path, place: str) -> int:
    # as the model claims; damage is told when it is read
    for suffix in SUFFIX_ORDER:
        path = path_inside(folder, f"{place}/images{suffix}", folder)
        if path.is_file() and suffix == ".bin":
            with open_file(path) as file:
                head = file.read(8)
            return struct.unpack("<Q", head)[0] if len(head) == 8 else 1
        if path.is_file():
            return max(1, sum(1 for _, words in _lines(path) if words) // 2)
    return 0


def _chosen(folder: Path, path: Path, count: int) -> tuple[str, ...]:
    models = _numbered(folder)
    place = path.parent.relative_to(folder).as_posix()
    if len(models) < 2 or place not in models:
        return ()
    return (
        f"{len(models)} models in {place.rpartition('/')[0]}/: {place} is read, which has the most images ({count})",
    )


def _pose(line: ImageLine, where: Path) -> Float[np.ndarray, "4 4"]:
    quaternion = np.array(line.quaternion)
    if not (np.all(np.isfinite(quaternion)) and abs(np.linalg.norm(quaternion) - 1.0) < 1e-2):
        raise ValueError(f"{where}: image {line.name!r}: quaternion {line.quaternion} is not of length 1")
    turn = Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix()
    return camera_to_world(turn, line.translation, f"{where}: image {line.name!r}")


def _intrinsics(camera: CameraLine, where: Path) -> tuple[Float[np.ndarray, "3 3"], Lens | None]:
    model, values = camera.model, camera.parameters
    label = f"{where}: camera {camera.number}"
    if model.name == WHOLE_SPHERE:
        raise ValueError(f"{label}: {model.name} sees the whole sphere; cut pinhole images out of it first")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{label}: parameters are not finite")
    lens = Lens(model.name, values[model.focals + 2 :]) if model.name in LENSES else None
    focal = (values[0], values[model.focals - 1])
    return focal_intrinsics(focal, (values[model.focals], values[model.focals + 1]), label), lens


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
    lines, at = list(_lines(path, 10)), 0
    while at < len(lines):
        number, words = lines[at]
        at += 1
        if not words:
            continue
        if len(words) < 10:
            raise ValueError(f"{path}: line {number}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        values = _floats(words[1:8], f"{path}: line {number}")
        (camera,) = _integers(words[8], where=f"{path}: line {number}")
        yield ImageLine(words[9], camera, values[:4], values[4:])
        # then the features of the image, three numbers each: maybe none, or not even a line of them
        if at < len(lines) and not _is_image(lines[at][1]):
            at += 1


def _is_image(words: list[str]) -> bool:
    # features are no words, and come in threes
    return len(words) == 10 and (len(words[9].split()) % 3 != 0 or not _are_numbers(words[9]))


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


def _lines(path: Path, words: int = -1) -> Iterator[tuple[int, list[str]]]:
    # words of the lines; the last of at most so many keeps its spaces
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.startswith("#"):
            yield number, line.strip().split(maxsplit=words - 1 if words > 0 else -1)


def _are_numbers(words: str) -> bool:
    try:
        [float(word) for word in words.split()]
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
