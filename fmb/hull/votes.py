"""The visual hull, coarse and quick: the votes of every view on every voxel.

All votes are kept, so the hull of all views but one costs little more. Place, size and unit of the object need not be
known.

A voxel belongs to the hull if enough views see it on the object and few are against it. With fewer than FEW views none
may be against it. With FEW or more, one always may, so that one bad view does not carve away what all others see. Half
of the views must see it there, and at least LEAST (all, if there are fewer), since a single camera sees without end. A
mask without any object is taken for a failure and does not vote, unless most masks are empty.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fmb.geometry.cameras import ANY_ARRAY, Cameras, pixel_rays
from fmb.geometry.frames import Frame
from fmb.geometry.sightings import projections, vote
from fmb.geometry.views import Images, Views, foreground

DISSENT = 0.1  # share of the views that may be against a voxel of the hull
FEW = 5  # with so many views, one may always be against a voxel
LEAST = 4  # votes that a voxel needs, if there are so many views
AGREED, LEAST_AGREED = 0.8, 2  # share and number of the views that must see a point on the object to keep it
MOST_VOTES = 60_000_000  # views times voxels, two bytes each; with more views, voxels are larger
SIGHT_STEPS, SIGHT_FLOOR = 25, 1e-3  # of reweighted least squares; the floor is a part of the median distance
PARALLEL = 1e-6  # below this mean square sine to some direction, lines of sight count as parallel
START_EDGE, LARGEST_EDGE = 3.0, 24.0  # first and largest edge of the box in its search, in radii of the object
SEARCH_GRID, SEARCH_ROUNDS = 32, 10
MARGIN = 1.5  # voxels around the hull


class Box(NamedTuple):
    """A cube: its lower corner and its edge."""

    lower: Float[np.ndarray, "3"]
    edge: float


class Volume(NamedTuple):
    """Occupied voxels of a box; voxel [i, j, k] has its centre at lower + edge / grid * ((i, j, k) + 1/2)."""

    occupied: Bool[np.ndarray, "grid grid grid"]
    box: Box


class Votes(NamedTuple):
    """Which voxels of a box each view sees, which of these it is against, and the number of views that do."""

    sees: Bool[np.ndarray, "view grid grid grid"]
    against: Bool[np.ndarray, "view grid grid grid"]
    seen_by: Int[np.ndarray, "grid grid grid"]
    refused_by: Int[np.ndarray, "grid grid grid"]
    trusted: Bool[np.ndarray, " view"]  # only these are counted, see `voting_views`
    box: Box


def cast_votes(views: Views, box: Box, grid: int) -> Votes:
    """The votes on the centres of grid^3 voxels, or of fewer where MOST_VOTES allows no more."""
    count = len(views.silhouette)
    grid = max(1, min(grid, int((MOST_VOTES / count) ** (1 / 3))))
    matrix = projections(views)
    ticks = box.lower + box.edge / grid * (np.arange(grid)[:, None] + 0.5)
    along_x, along_y, along_z = ticks[:, 0, None, None], ticks[None, :, 1, None], ticks[None, None, :, 2]
    sees, against = np.zeros((2, count, grid, grid, grid), bool)
    for view in range(count):
        places = (row[3] + row[0] * along_x + row[1] * along_y + row[2] * along_z for row in matrix[view])
        sees[view], against[view] = vote(views, view, *places)
    return counted(sees, against, voting_views(views), box)


def voting_views(views: Views) -> Bool[np.ndarray, " view"]:
    """The views that show an object; all views, if most or all but one show none."""
    return voting(np.any(object_pixels(views), axis=(1, 2)))


def voting(shown: Bool[np.ndarray, " view"]) -> Bool[np.ndarray, " view"]:
    """The views that vote, from those that show an object."""
    return shown if shown.sum() >= max(2, 0.5 * len(shown)) else np.ones(len(shown), bool)


def points_in_masks(views: Views, points: Float[np.ndarray, "point 3"]) -> Bool[np.ndarray, " point"]:
    """Which points are on the object in the share AGREED of the views that see them, and in at least LEAST_AGREED."""
    seen_by, shown_by = np.zeros((2, len(points)), np.int32)
    for view, matrix in enumerate(projections(views)):
        seen, against = vote(views, view, *(matrix[:, :3] @ points.T + matrix[:, 3:]))
        seen_by += seen
        shown_by += seen & ~against
    return shown_by >= np.maximum(LEAST_AGREED, AGREED * seen_by)


def counted(
    sees: Bool[np.ndarray, "view grid grid grid"],
    against: Bool[np.ndarray, "view grid grid grid"],
    trusted: Bool[np.ndarray, " view"],
    box: Box,
) -> Votes:
    """The votes, with the sums over the trusted views."""
    return Votes(
        sees, against, sees[trusted].sum(0, dtype=np.int32), against[trusted].sum(0, dtype=np.int32), trusted, box
    )


def hull(votes: Votes, without: int | None = None, dissent: float = DISSENT) -> Volume:
    """The hull of all trusted views, or of all but the view `without`."""
    count, seen, refused = int(votes.trusted.sum()), votes.seen_by, votes.refused_by
    if without is not None and votes.trusted[without]:
        count, seen, refused = count - 1, seen - votes.sees[without], refused - votes.against[without]
    tolerated = np.maximum(dissent * seen, 1.0) if count >= FEW else 0.0
    needed = max(QUORUM * count, min(count, LEAST))
    return Volume((seen - refused >= needed) & (refused <= tolerated), votes.box)


def object_pixels(views: Views) -> Bool[np.ndarray, "view height width"]:
    """Which valid pixels show the object."""
    mask = foreground(np.asarray(views.silhouette))
    return mask if views.valid is None else mask & np.asarray(views.valid)


def sighted_frame(views: Views) -> Frame:
    """The frame of the point where lines of sight through the middles of the silhouettes meet; its scale is a radius.

    The point has the least sum of distances from all lines (not squared, so a wrong view hardly moves it). The radius
    is the median over views.
    Raises ValueError for fewer than 2 views that show the object, and where the lines do not meet.
    """
    mask = object_pixels(views)
    shown = np.flatnonzero(np.any(mask, axis=(1, 2)))
    if len(shown) < 2:
        raise ValueError(
            f"{len(shown)} of {len(views.silhouette)} views show the object; at least 2 must, to tell where it is"
        )
    pose = np.asarray(views.cameras.world_from_camera, float)[shown]
    origin = pose[:, :3, 3].mean(0)  # squares lose their digits where cameras are far from the world's origin
    position, (bearing, spread) = pose[:, :3, 3] - origin, _bearings(views.cameras.intrinsics[shown], mask[shown])
    extent = np.abs(position).max()
    if not extent > 1e-12 * np.abs(origin).max():
        raise ValueError(f"all {len(shown)} cameras stand at one place; it takes several to tell where the object is")
    forward = np.einsum("vij,vj->vi", pose[:, :3, :3], bearing)
    direction = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    if np.linalg.eigvalsh(across.mean(0))[0] < PARALLEL:
        raise ValueError(f"the lines of sight of {len(shown)} views are parallel; they do not tell the object's place")
    weight = np.ones(len(shown))
    for _ in range(SIGHT_STEPS):
        weighted = weight[:, None, None] * across
        middle = np.linalg.solve(weighted.sum(0), np.einsum("vij,vj->i", weighted, position))
        distance = np.linalg.norm(position - middle, axis=1)
        miss = np.linalg.norm(np.einsum("vij,vj->vi", across, middle - position), axis=1)
        weight = 1.0 / np.maximum(miss, SIGHT_FLOOR * np.median(distance) + 1e-9 * extent)
    radius = float(np.median(distance * spread))
    if not radius > 1e-6 * extent:
        raise ValueError("the lines of sight meet in the cameras themselves")
    return Frame(origin + middle, np.asarray(radius))


def _bearings(
    intrinsics: Float[ANY_ARRAY, "view 3 3"], mask: Bool[np.ndarray, "view height width"]
) -> tuple[Float[np.ndarray, "view 3"], Float[np.ndarray, " view"]]:
    """Direction of the middle of each silhouette in the camera's axes, and the radius of the silhouette at depth 1."""
    bearing, spread = np.empty((len(mask), 3)), np.empty(len(mask))
    for view, inverse in enumerate(np.linalg.inv(np.asarray(intrinsics, float))):
        row, column = np.nonzero(mask[view])
        place = inverse @ np.stack([column + 0.5, row + 0.5, np.ones(len(row))])
        bearing[view] = place.mean(1)
        # twice the root mean square: 1.4 radii of a disc, more than half of a rod
        spread[view] = 2.0 * np.sqrt(np.mean(np.sum((place - bearing[view, :, None]) ** 2, axis=0)))
    return bearing, spread


def hull_box(views: Views) -> Box:
    """The cube around the hull of the views, which are in the frame of `sighted_frame`.

    It grows while the hull meets its walls, up to LARGEST_EDGE. Where the hull is empty, it is the first cube.
    """
    start = box = Box(np.full(3, -0.5 * START_EDGE), START_EDGE)
    for _ in range(SEARCH_ROUNDS):
        occupied = hull(cast_votes(views, box, SEARCH_GRID)).occupied
        left, grid = np.argwhere(occupied), len(occupied)  # fewer than SEARCH_GRID with very many views
        if not len(left):
            return start
        voxel = box.edge / grid
        low, high = left.min(0), left.max(0) + 1
        open_ended = (low.min() == 0 or high.max() == grid) and box.edge < LARGEST_EDGE
        edge = 1.6 * box.edge if open_ended else ((high - low).max() + 2 * MARGIN) * voxel
        middle = box.lower + voxel * (low + high) / 2.0
        done = not open_ended and edge > 0.8 * box.edge
        box = Box(middle - edge / 2.0, float(edge))
        if done:
            break
    return box


QUORUM = 0.5  # share of the views that must see a voxel


def look_at_volume(volume: Volume, cameras: Cameras, image_size: tuple[int, int]) -> Images:
    """Silhouettes (0 or 1) and depth (NaN for background) of the voxels in images of (height, width).

    The first occupied sample along each ray counts. Samples are at most a voxel's edge apart.
    """
    rays = pixel_rays(Cameras(*(np.asarray(field, float) for field in cameras)), *image_size)
    origin, direction = (np.asarray(field, float).reshape(len(rays.origin), -1, 3) for field in rays)
    depth = [_first_hit(volume, *view).reshape(image_size) for view in zip(origin, direction, strict=True)]
    return Images(np.isfinite(depth).astype(float), np.stack(depth))


def _first_hit(
    volume: Volume, origin: Float[np.ndarray, "ray 3"], direction: Float[np.ndarray, "ray 3"]
) -> Float[np.ndarray, " ray"]:
    """Distance to the first occupied sample along each ray, NaN where there is none."""
    grid, hit = len(volume.occupied), np.full(len(origin), np.nan)
    start, end = _crossing(volume.box, origin, direction)
    meets = np.flatnonzero(end > start)
    samples = int(np.ceil(np.sqrt(3.0) * grid))
    distance = start[meets, None] + (np.arange(samples) + 0.5)[None] / samples * (end - start)[meets, None]
    # one axis after the other: an array of positions [ray, sample, 3] would take three times the memory
    i, j, k = (
        np.clip(
            (origin[meets, axis, None] - volume.box.lower[axis] + distance * direction[meets, axis, None])
            * (grid / volume.box.edge),
            0,
            grid - 1,
        ).astype(np.int32)
        for axis in range(3)
    )
    occupied = volume.occupied[i, j, k]
    found = occupied.any(axis=1)
    hit[meets[found]] = distance[found, occupied[found].argmax(axis=1)]
    return hit


def _crossing(box: Box, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray enters and leaves the box, in front of the camera; end <= start where it misses the box."""
    direction = np.where(direction == 0.0, np.finfo(float).tiny, direction)
    walls = np.stack([box.lower - origin, box.lower + box.edge - origin]) / direction
    return np.maximum(walls.min(axis=0).max(axis=1), 0.0), walls.max(axis=0).min(axis=1)
