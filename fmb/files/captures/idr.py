"""IDR, VolSDF and NeuS: cameras_sphere.npz or cameras.npz with world_mat_0, world_mat_1, ..., masks in mask/.

world_mat_i is P = K [R | t] with a last row 0 0 0 1, in OpenCV axes; the centre of the top left pixel is (0, 0), and
0.5 is added here.  Cameras come in the world of world_mat, not in the unit sphere that scale_mat_i maps from.  Masks
and images belong to the matrices in the order of their names.
"""

from pathlib import Path

import numpy as np

from fmb.files.cameras import CENTRE_OF_FIRST_PIXEL
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import ignored_of, masks_of
from fmb.files.captures.planes import Shot
from fmb.files.captures.projections import decompose
from fmb.files.safe import array_names, files_below, numbers, path_inside, read_arrays

FILES = ("cameras_sphere.npz", "cameras.npz")
PREFIX = "world_mat_"
PICTURES = ("image", "images", "rgb")


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
    masks, ignored = masks_of(folder).files, ignored_of(folder)
    pictures = next(filter(None, (files_below(folder, name) for name in PICTURES)), {})
    for what, files in (("masks", masks), ("images", pictures)):
        if files and len(files) != count:
            raise ValueError(f"{path}: {count} matrices, {len(files)} {what}; must be as many")
    shots = []
    for index, name in enumerate(matrices):
        given = arrays[name]
        rows = 3 if given.shape == (3, 4) else 4
        pose, intrinsics = decompose(numbers(given, (rows, 4), f"{path}: {name}")[:3], f"{path}: {name}")
        mask = list(masks.values())[index] if masks else None
        image = list(pictures.values())[index] if pictures else None
        label = (mask or image or Path(name)).stem
        shot = Shot(label, pose, intrinsics + CENTRE_OF_FIRST_PIXEL, mask, image, ignored.of(label))
        shots.append(shot)
    notices = _sphere(arrays.get("scale_mat_0"), f"{path}: scale_mat_0")
    stems = [path.stem for path in masks.values()]
    if all(stem.isdigit() for stem in stems) and stems != sorted(stems, key=int):
        notices += (f"masks go with the matrices by name ({', '.join(stems[:3])}, ...), not by number",)
    return Listing(tuple(shots), notices=notices)


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
