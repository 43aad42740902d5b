"""Cameras of a turntable from masks alone: the turn between images is known, axis and lens are not.

The camera stands still and the object turns about a line. Five numbers say all that masks can tell: how far the line is
inclined against the image, how it is rolled in it and where it lies, the focal length, and the direction of the turn.
They are those whose visual hull covers the masks best (silhouette coherence, Hernandez, Schmitt and Cipolla 2007).
The unit of length is the camera's distance from the line; y points along it, upwards in the image.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import zoom
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views, foreground
from fmb.hull.coverage import coverage

TILTS, WIDTHS = np.arange(-75.0, 76.0, 10.0), (15.0, 35.0)  # degrees: inclinations and fields of view tried at first
# of each search: voxels on an edge, pixels on the longer side, most masks, trials of each start, starts that go on
STAGES = ((24, 24, 12, 0, 4), (40, 40, 24, 160, 2), (64, 72, 48, 160, 1))
START = np.array([0.3, 0.5, 0.04, 0.06])  # inclination, log focal length, place, roll: twice the first steps
WORTH = 0.8  # covered share of the masks below which the images are no such turntable
ROOM = 1.15  # half the edge of the box, in radii of the object
FEWEST = 4  # images


class Turntable(NamedTuple):
    """Angles in radians, focal length in units of the image's width, where the line is, in the image, at distance 1.

    `sense` is 1 where the object turns counterclockwise as seen from the upper end of the line, -1 otherwise.
    """

    tilt: float
    focal: float
    place: float
    roll: float
    sense: int
    height: float  # of the origin in the image at distance 1: any point of the line will do

    def moved(self, step: Float[np.ndarray, "4"]) -> "Turntable":
        """Another, by a step of tilt, log focal length, place and roll."""
        tilt, focal, place, roll = (float(x) for x in step)
        # what stays where it is in the image moves at distance 1 when the focal length changes
        zoomed = math.exp(-focal)
        return self._replace(
            tilt=self.tilt + tilt,
            focal=self.focal * math.exp(focal),
            place=self.place * zoomed + place,
            roll=self.roll + roll,
            height=self.height * zoomed,
        )


class Solution(NamedTuple):
    """Cameras of all images, what they follow from, and the share of the masks that their hull covers."""

    cameras: Cameras
    turntable: Turntable
    covered: float

    @property
    def words(self) -> str:
        """What was found, in a line."""
        table = self.turntable
        field = 2 * np.rad2deg(np.arctan(0.5 / table.focal))
        way = "counterclockwise" if table.sense > 0 else "clockwise"
        where = f"the camera looks {abs(np.rad2deg(table.tilt)):.1f} degrees {'down' if table.tilt > 0 else 'up'}"
        seen = f"{where} at it, its images are {field:.1f} degrees wide"
        return f"turntable: turns {way}; {seen}; the hull covers {100 * self.covered:.0f} % of the masks"


def turntable_cameras(turntable: Turntable, angle: Float[np.ndarray, " view"], size: tuple[int, int]) -> Cameras:
    """The cameras, in the frame of the object, for turns `angle` in radians and images of (height, width)."""
    height, width = size
    focal = turntable.focal * width
    lens = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    # y up, towards the camera where it looks from above; x right, z away from it
    upright = np.diag([1.0, -1.0, -1.0])
    base = np.eye(4)
    base[:3, :3] = (
        Rotation.from_euler("z", turntable.roll) * Rotation.from_euler("x", turntable.tilt)
    ).as_matrix() @ upright
    base[:3, 3] = turntable.place, turntable.height, 1.0
    turned = np.repeat(np.eye(4)[None], len(angle), axis=0)
    turned[:, :3, :3] = Rotation.from_euler("y", turntable.sense * np.asarray(angle)[:, None]).as_matrix()
    return Cameras(np.linalg.inv(base @ turned), np.repeat(lens[None], len(angle), axis=0))


class Masks(NamedTuple):
    """Small masks, the turn of each in radians, and how far the object reaches from the middle of the images."""

    silhouette: Float[np.ndarray, "view height width"]
    angle: Float[np.ndarray, " view"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.silhouette.shape[1], self.silhouette.shape[2]


def shrunk(masks: Masks, side: int, most: int) -> Masks:
    """At most so many of the masks, evenly chosen, with so many pixels on the longer side."""
    chosen = np.unique(np.linspace(0, len(masks.angle) - 1, most).round().astype(int))
    factor = min(1.0, side / max(masks.size))
    small = [zoom(mask, factor, order=1, grid_mode=True, mode="nearest") for mask in masks.silhouette[chosen]]
    return Masks(np.stack(small), masks.angle[chosen])


def covered(turntable: Turntable, masks: Masks, grid: int) -> float:
    """Mean over the masks of the share that their visual hull, of grid^3 voxels, covers."""
    cameras = turntable_cameras(turntable, masks.angle, masks.size)
    inside, (height, width) = foreground(masks.silhouette), masks.size
    row, column = np.nonzero(inside.any(axis=0))
    focal = turntable.focal * width
    x, y = (column + 0.5 - width / 2) / focal - turntable.place, (row + 0.5 - height / 2) / focal - turntable.height
    edge = ROOM * float(np.hypot(x, y).max())
    return float(np.mean(coverage(Views(cameras, masks.silhouette), edge, grid)))


def solve_turntable(views: Views, degrees: float, used: Int[np.ndarray, " used"] | None = None) -> Solution:
    """The cameras of images of an object that turns by `degrees` from each to the next; theirs are not looked at.

    They follow from the masks of the images `used` (None: all) alone. Intrinsics have square pixels and the middle of
    the image as principal point; masks hardly tell more. The world's y axis is that of the turntable. Raises ValueError
    for fewer than FEWEST images, an empty mask, an object that is too thin, and where no turntable agrees.
    """
    used = np.arange(len(views.silhouette)) if used is None else used
    if len(used) < FEWEST:
        told = f"turntable_degrees is {degrees:g}, with {len(used)} images to fit to"
        raise ValueError(f"{told}; a turntable needs {FEWEST} or more")
    inside, angle = np.asarray(views.silhouette, float), np.deg2rad(degrees) * np.arange(len(views.silhouette))
    empty = used[~foreground(inside[used]).any(axis=(1, 2))]
    if len(empty):
        raise ValueError(f"turntable_degrees is {degrees:g}, but mask {empty[0]} (from 0) is empty: none may be")
    masks = Masks(inside[used], angle[used])
    for _, side, most, *_ in STAGES:
        if not foreground(shrunk(masks, side, most).silhouette).any():
            told = f"turntable_degrees is {degrees:g}, but the object is too thin for the search"
            raise ValueError(f"{told}, which shrinks masks to {side} pixels; crop all alike about their middle")
    found = searched(masks)
    share = covered(found, shrunk(masks, STAGES[-1][1], STAGES[-1][2]), STAGES[-1][0])
    if share < WORTH:
        told = f"turntable_degrees is {degrees:g}, but the best turntable explains {100 * share:.0f} % of the masks"
        raise ValueError(f"{told}, less than {100 * WORTH:.0f} %; are all images there, in order, equally apart?")
    return Solution(turntable_cameras(found, angle, masks.size), found, share)


def searched(masks: Masks) -> Turntable:
    """The turntable whose hull covers the masks best: the best of a coarse grid, then of descents without slopes."""
    found = starts(masks)
    for number, (grid, side, most, trials, kept) in enumerate(STAGES):
        small = shrunk(masks, side, most)
        if trials:
            found = [descended(one, small, grid, trials, START / 2**number) for one in found]
        order = np.argsort([-covered(one, small, grid) for one in found])
        found = [found[place] for place in order[:kept]]
    return found[0]


def starts(masks: Masks) -> list[Turntable]:
    """Turntables of all TILTS, WIDTHS and both senses about the line through the middle of all masks together."""
    mean, (height, width) = masks.silhouette.mean(axis=0), masks.size
    row, column = ((mean * (place + 0.5)).sum() / mean.sum() for place in np.indices(mean.shape))
    found = []
    for field in np.deg2rad(WIDTHS):
        focal = 0.5 / math.tan(field / 2)
        place, rise = (column / width - 0.5) / focal, (row - height / 2) / width / focal
        found += [Turntable(tilt, focal, place, 0.0, sense, rise) for tilt in np.deg2rad(TILTS) for sense in (1, -1)]
    return found


def descended(start: Turntable, masks: Masks, grid: int, trials: int, step: Float[np.ndarray, "4"]) -> Turntable:
    """The turntable at the end of Nelder and Mead's search from `start`, whose first simplex has edges of `step`."""
    simplex = np.concatenate([np.zeros((1, 4)), np.diag(step)])

    def loss(place: Float[np.ndarray, "4"]) -> float:
        return -covered(start.moved(place), masks, grid)

    options = {"initial_simplex": simplex, "maxfev": trials, "xatol": 1e-4, "fatol": 1e-5}
    return start.moved(minimize(loss, simplex[0], method="Nelder-Mead", options=options).x)
