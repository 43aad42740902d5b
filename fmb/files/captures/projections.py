"""Projection matrices, P = K [R | t]: Middlebury's *_par.txt and a matrix a view as at Oxford; the decomposition.

NAME_par.txt    a line a view: the image's name, then k11..k33 r11..r33 t1..t3 (Middlebury), or the 12 entries of P;
                a first line with the number of views may be there
*.P, *_P.txt    one view each, named as its image: the 12 entries of P, row by row
calib/*.txt     the same after the word CONTOUR; txt/*.txt also (Furukawa and Ponce, PMVS)

The masks are in masks/, under the names of the images.  Neither source says where in the pixel its coordinates lie; the
centre of the top left pixel is taken to be (0, 0), and 0.5 is added.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from fmb.files.cameras import CENTRE_OF_FIRST_PIXEL, camera_to_world, pinhole
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import Companions, files_in, ignored_of, masks_of
from fmb.files.captures.planes import Shot
from fmb.files.safe import SUFFIXES, numbers, path_inside, read_text

PICTURES = ("images", "image", "rgb", "")
ALL_VIEWS, ONE_VIEW, HEADED = "*_par.txt", ("*.P", "*_P.txt"), ("calib/*.txt", "txt/*.txt")
HEAD = "CONTOUR"  # the first word of PMVS's files
WORST_CONDITION = 1e-12  # of P's left half, its rows and columns brought to length 1: rank 2 below


def recognise(folder: Path) -> bool:
    """True where there are such files."""
    return any(True for _ in folder.glob(ALL_VIEWS)) or bool(_single_views(folder))


def read(folder: Path) -> Listing:
    """The views of all such files."""
    masks, ignored = masks_of(folder), ignored_of(folder)
    pictures = Companions(next(filter(None, (_pictures(folder, name) for name in PICTURES)), {}))
    shots = []
    for name, camera, where in _cameras(folder):
        world_from_camera, intrinsics = camera
        shot = Shot(name, world_from_camera, intrinsics + CENTRE_OF_FIRST_PIXEL, masks.of(name))
        path_inside(folder, name, where)
        shots.append(shot._replace(image=pictures.of(name), ignore=ignored.of(name)))
    if not shots:
        raise ValueError(f"{folder}: no projection matrices; expected NAME_par.txt, or *.P with one a view")
    return Listing(tuple(shots))


def _pictures(folder: Path, name: str) -> dict[str, Path]:
    if name:
        return files_in(folder, name)
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return {key: path_inside(folder, key, folder) for key in found}


def _cameras(folder: Path) -> list[tuple[str, tuple, str]]:
    tables = sorted(folder.glob(ALL_VIEWS))
    if tables:
        paths = [path_inside(folder, table.name, folder) for table in tables]
        return [camera for path in paths for camera in _table(path)]
    cameras = []
    for path in _single_views(folder):
        words = [word for word in read_text(path).split() if word != HEAD]
        stem = path.name.removesuffix("_P.txt").removesuffix(".P").removesuffix(".txt")
        cameras.append((stem, decompose(_entries(words, (3, 4), str(path)), str(path)), str(path)))
    return cameras


def _single_views(folder: Path) -> list[Path]:
    files = sorted({path for pattern in ONE_VIEW for path in folder.glob(pattern)})
    headed = sorted({path for pattern in HEADED for path in folder.glob(pattern)})
    for path in files + headed:
        path_inside(folder, path.relative_to(folder).as_posix(), folder)
    return files or [path for path in headed if path.is_file() and read_text(path).startswith(HEAD)]


def _table(path: Path) -> list[tuple[str, tuple, str]]:
    cameras = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name, *words = line.split() or [""]
        where = f"{path}: line {number}"
        if not words:  # empty, or the number of views
            continue
        if len(words) == 21:
            values = _entries(words, (21,), where)
            pose = camera_to_world(values[9:18].reshape(3, 3), values[18:], f"{where}: R")
            cameras.append((name, (pose, pinhole(values[:9].reshape(3, 3), f"{where}: K")), where))
        elif len(words) == 12:
            cameras.append((name, decompose(_entries(words, (3, 4), where), where), where))
        else:
            raise ValueError(f"{where}: {len(words)} numbers after the name; expected 21 (K, R, t) or 12 (P)")
    return cameras


def _entries(words: list[str], shape: tuple[int, ...], where: str) -> np.ndarray:
    count = int(np.prod(shape))
    if len(words) != count:
        raise ValueError(f"{where}: {len(words)} numbers; expected {count}")
    return numbers(words, (count,), where).reshape(shape)


def decompose(projection: Any, where: str) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 3"]]:
    """World from camera, and K with positive focal lengths, of a 3 x 4 matrix known up to its scale and sign.

    Raises ValueError that begins with `where` for a matrix of a camera at infinity, or of none.
    """
    given = numbers(projection, (3, 4), where)
    given = given / (np.max(np.abs(given)) or 1.0)  # squares of its entries must not overflow
    left = given[:, :3]
    lengths = np.linalg.norm(left, axis=1, keepdims=True)
    condition = np.linalg.svd(left / np.where(lengths > 0.0, lengths, 1.0), compute_uv=False)
    if not condition[-1] > WORST_CONDITION * condition[0]:
        raise ValueError(f"{where}: singular, no finite camera has this matrix")
    given = given * np.sign(np.linalg.det(left / lengths)) / lengths[2]
    intrinsics, turn = scipy.linalg.rq(given[:, :3])
    signs = np.sign(np.diag(intrinsics))
    intrinsics, turn = intrinsics * signs, signs[:, None] * turn
    centre = -np.linalg.solve(given[:, :3], given[:, 3])
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3], world_from_camera[:3, 3] = turn.T, centre
    return world_from_camera, pinhole(intrinsics, where)
