"""NeRS's photographs of one's own: metadata.json with an azimuth and an elevation an image, by eye, and the extents.

Views are those of images/ or masks/ in the order of their names.  Azimuth and elevation are in degrees, y is up: the
camera stands at (cos e sin a, sin e, cos e cos a) from the object.  Its distance follows from the size of the mask, its
focal length from EXIF, and where it looks from where the mask lies.  All is rough: `refine_cameras` is meant for it.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmb.files import images
from fmb.files.cameras import focal_intrinsics
from fmb.files.captures.alone import by_number
from fmb.files.captures.assembly import Listing
from fmb.files.captures.companions import masks_of, pictures_of
from fmb.files.captures.planes import Shot
from fmb.files.images import focal_of, header_of, opened
from fmb.files.safe import entry, numbers, path_inside, read_json
from fmb.geometry.cameras import look_at
from fmb.geometry.views import foreground

FILE = "metadata.json"
KEYS = ("azimuths", "elevations")
USUAL_FOCAL = 0.75  # of the longer side, as phones have: 27 mm on film
SEEN = 0.85  # of the half diagonal of a box: half the diagonal of its silhouette's box, roughly, from all sides
NEAR_POLE = 80.0  # degrees of elevation above which the azimuth says which side of the object is below in the image


def recognise(folder: Path) -> bool:
    """True where metadata.json has azimuths and elevations."""
    try:
        return set(KEYS) <= read_json(folder / FILE).keys()
    except ValueError:  # the reader of that file says what is wrong with it
        return False


def read(folder: Path) -> Listing:
    """The views of metadata.json. Raises ValueError where masks and angles are not as many."""
    path = path_inside(folder, FILE, folder)
    content, masks, pictures = read_json(path), masks_of(folder), pictures_of(folder)
    names = sorted(pictures.files or masks.files, key=by_number)
    azimuth, elevation = (numbers(entry(content, key, str(path)), (len(names),), f"{path}: {key}") for key in KEYS)
    extent = numbers(content.get("extents", [1.0, 1.0, 1.0]), (3,), f"{path}: extents")
    if not np.all(extent > 0.0):
        raise ValueError(f"{path}: extents must be positive")
    shots, told = [], 0
    for index, name in enumerate(names):
        mask, image = masks.of(name), pictures.of(name)
        if mask is None:
            raise ValueError(f"{path}: view {index} ({name[:80]}) has no mask; the camera's distance follows from it")
        known = None if image is None else focal_of(image)
        told += known is not None
        shots.append(_shot((name, mask, image), (azimuth[index], elevation[index]), known or USUAL_FOCAL, extent))
    usual = "" if told == len(names) else f", of {len(names) - told} a phone's usual one"
    return Listing(tuple(shots), notices=(f"cameras: by eye, from {FILE}; focal lengths from EXIF{usual}",))


def _shot(
    files: tuple[str, Path, Path | None],
    angles: tuple[float, float],
    focal: float,
    extent: Float[np.ndarray, "3"],
) -> Shot:
    name, mask, image = files
    width, height = header_of(mask).size
    focal *= max(width, height)
    inside = foreground(images.silhouette_of(opened(mask), None))
    row, column = np.nonzero(inside) if inside.any() else np.nonzero(np.ones_like(inside))
    middle = np.array([np.ptp(column) / 2 + column.min() + 0.5, np.ptp(row) / 2 + row.min() + 0.5])
    reach = np.hypot(np.ptp(column) + 1, np.ptp(row) + 1) / 2
    ray = np.array([middle[0] - width / 2, middle[1] - height / 2, focal])
    ray /= np.linalg.norm(ray)
    azimuth, elevation = np.deg2rad(angles)
    level = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    place = np.cos(elevation) * level + [0.0, np.sin(elevation), 0.0]
    up = -np.sign(elevation) * level if abs(angles[1]) > NEAR_POLE else np.array([0.0, 1.0, 0.0])
    camera_from_object = np.eye(4)
    turn = Rotation.align_vectors(ray[None], [[0.0, 0.0, 1.0]])[0].as_matrix()
    camera_from_object[:3, :3] = turn @ look_at(place, np.zeros(3), up)[:3, :3].T
    # the half diagonal of the box of the extents is a little more than half of the mask's
    camera_from_object[:3, 3] = focal * np.linalg.norm(extent) / 2 * SEEN / reach * ray
    intrinsics = focal_intrinsics((focal, focal), (width / 2, height / 2), str(mask))
    return Shot(name, np.linalg.inv(camera_from_object), intrinsics, mask, image, size=(width, height))
