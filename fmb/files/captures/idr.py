"""IDR, VolSDF and NeuS: cameras_sphere.npz or cameras.npz with world_mat_0, world_mat_1, ..., masks in mask/.

world_mat_i is P = K [R | t] with a last row 0 0 0 1, in OpenCV axes; the centre of the top left pixel is (0, 0), and
0.5 is added here.  Cameras come in the world of world_mat, not in the unit sphere that scale_mat_i maps from.  Masks
and images belong to the matrices in the order of their names.  Where those are numbers of unlike length, their order is
another one: then the one is taken in which the lines of sight through the masks' middles come nearer to one point.
"""

from pathlib import Path

import numpy as np

from fmb.files.cameras import CENTRE_OF_FIRST_PIXEL
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import files_in, ignored_of, masks_of
from fmb.files.captures.planes import Shot
from fmb.files.captures.projections import decompose
from fmb.files.images import silhouette_of
from fmb.files.safe import array_names, numbers, path_inside, read_arrays, read_image
from fmb.geometry.cameras import nearest_to_rays
from fmb.geometry.views import foreground

FILES = ("cameras_sphere.npz", "cameras.npz")
PREFIX = "world_mat_"
PICTURES = ("image", "images", "rgb")
BY_NAME, BY_NUMBER = "by name", "by number"


def recognise(folder: Path) -> bool:
    """True where there is such an archive."""
    return _file(folder) is not None


def read(folder: Path) -> Listing:
    """The views of the archive."""
    name = _file(folder) or next((name for name in FILES if (folder / name).is_file()), FILES[0])
    path = path_inside(folder, name, folder)
    arrays = read_arrays(path)
    count = sum(_is_world(name) for name in arrays)
    matrices = [f"{PREFIX}{index}" for index in range(count)]
    missing = [name for name in matrices or [f"{PREFIX}0"] if name not in arrays]
    if missing:
        raise ValueError(f"{path}: {missing[0]} missing; expected {PREFIX}0 and so on, one a view")
    cameras = [_camera(arrays[name], f"{path}: {name}") for name in matrices]
    masks, ignored = masks_of(folder).files, ignored_of(folder)
    pictures = next(filter(None, (files_in(folder, name) for name in PICTURES)), {})
    masks, told = _in_order(masks, cameras, str(path), "masks")
    pictures = _numbered(pictures) if told and _by_number(told) else pictures
    pictures = _whole(pictures, count, str(path), "images")
    shots = []
    for index, (pose, intrinsics) in enumerate(cameras):
        mask, image = (files[index] if files else None for files in (masks, pictures))
        label = (mask or image or Path(matrices[index])).stem
        shots.append(Shot(label, pose, intrinsics + CENTRE_OF_FIRST_PIXEL, mask, image, ignored.of(label)))
    return Listing(tuple(shots), notices=_sphere(arrays.get("scale_mat_0"), f"{path}: scale_mat_0") + told)


def _camera(given: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    rows = 3 if given.shape == (3, 4) else 4
    return decompose(numbers(given, (rows, 4), where)[:3], where)


def _in_order(
    files: dict[str, Path], cameras: list[tuple[np.ndarray, np.ndarray]], where: str, what: str
) -> tuple[list[Path | None], tuple[str, ...]]:
    # a mask for each matrix, None for one that is missing, and what was understood
    by_number = _numbered(files)
    count, known = len(cameras), {int(path.stem) for path in by_number.values()} if by_number else set()
    if 0 < len(files) < count and len(known) == len(files) and known < set(range(count)):
        at = {int(path.stem): path for path in by_number.values()}
        return [at.get(index) for index in range(count)], (f"{what} belong to the matrices by number",)
    named = _whole(files, count, where, what)
    if list(by_number.values()) in ([], named):
        return named, ()
    apart = {BY_NAME: named, BY_NUMBER: list(by_number.values())}
    order = min(apart, key=lambda order: _scatter(cameras, apart[order]))
    some = ", ".join(path.stem for path in apart[order][:3])
    return apart[order], (f"{what} go with the matrices {order} ({some}, ...): so lines of sight meet best",)


def _by_number(told: tuple[str, ...]) -> bool:
    return any(BY_NUMBER in line for line in told)


def _numbered(files: dict[str, Path]) -> dict[str, Path]:
    # in the order of the numbers that are their names, empty where some are none
    if not all(path.stem.isdigit() and path.stem.isascii() for path in files.values()):
        return {}
    return dict(sorted(files.items(), key=lambda item: int(item[1].stem)))


def _whole(files: dict[str, Path], count: int, where: str, what: str) -> list[Path]:
    if files and len(files) != count:
        raise ValueError(f"{where}: {count} matrices, {len(files)} {what}; must be as many")
    return list(files.values())


def _scatter(cameras: list[tuple[np.ndarray, np.ndarray]], masks: list[Path]) -> float:
    # how far the rays through the middles of the masks pass, in the median, from the point that they come nearest to
    places, rays = [], []
    for (pose, intrinsics), path in zip(cameras, masks, strict=True):
        row, column = np.nonzero(foreground(silhouette_of(read_image(path))))
        if len(row):
            pixel = np.array([column.mean(), row.mean(), 1.0])
            ray = pose[:3, :3] @ np.linalg.solve(intrinsics, pixel)
            rays.append(ray / np.linalg.norm(ray))
            places.append(pose[:3, 3])
    if len(rays) < 2:
        return np.inf
    places, rays = np.array(places), np.array(rays)
    return float(np.median(np.linalg.norm(np.cross(nearest_to_rays(places, rays) - places, rays), axis=1)))


def _is_world(name: str) -> bool:
    return name.startswith(PREFIX) and name.removeprefix(PREFIX).isdigit()


def _file(folder: Path) -> str | None:
    return next((name for name in FILES if any(_is_world(key) for key in array_names(folder / name))), None)


def _sphere(matrix: np.ndarray | None, where: str) -> tuple[str, ...]:
    if matrix is None:
        return ()
    given = numbers(matrix, (4, 4), where)
    radius, centre = np.cbrt(abs(np.linalg.det(given[:3, :3]))), ", ".join(f"{x:.4g}" for x in given[:3, 3])
    return (f"scale_mat puts the object into a ball of radius {radius:.4g} around ({centre}): not used",)
