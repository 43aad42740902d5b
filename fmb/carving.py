"""Voxel carving: what is left of a box once every view has voted on every voxel (Laurentini's visual hull).

The rule. A view sees a voxel whose centre lies in front of it and falls on one of its valid pixels; it votes for it
where that pixel's silhouette is at least 1/2, else against it. A voxel is kept where at least QUORUM of all views see
it and at most the share `dissent` of those is against: k of n votes. So what no view sees, or too few, is empty.

Cells of 2^n voxels are settled at once where their balls fall wholly on one side of every outline; only the others
are divided. The result is that of a vote on every single voxel.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt

from fmb.cameras import Cameras, pixel_rays
from fmb.sheets import Images
from fmb.views import Views

QUORUM = 0.5  # share of the views that must see a voxel
FOREGROUND = 0.5  # a silhouette from here on votes for a voxel
LARGEST_CELL = 16  # voxels on an edge; 8 takes as long, 64 a tenth longer
COARSE = 64  # cells on an edge of the box that is looked for
ROUNDING = 1e-9  # of a share times a count
CELLS_AT_ONCE = 2**18
FOR, AGAINST, ABSTAIN = range(3)


class Box(NamedTuple):
    """A cube, from its lower corner."""

    lower: Float[np.ndarray, "3"]
    edge: float


class Volume(NamedTuple):
    """Occupied voxels of a box; voxel [i, j, k] has its centre at lower + edge / grid * ((i, j, k) + 1/2)."""

    occupied: Bool[np.ndarray, "grid grid grid"]
    box: Box


class Ballot(NamedTuple):
    """One view: where it projects and, for each kind of vote, how far (pixels) the nearest pixel of another kind is."""

    image_from_world: Float[np.ndarray, "3 4"]
    camera_from_world: Float[np.ndarray, "2 4"]  # without the row of the depth, which image_from_world ends with
    stretch: float  # pixels per unit on the plane at depth 1
    distance: Float[np.ndarray, "kind height width"]  # a frame of abstention, one pixel wide, around the image


def carve(views: Views, grid: int = 384, box: Box | None = None, dissent: float = 0.0) -> Volume:
    """The voxels, grid^3 of them, that the views leave in the box; without one, in the cube around what they leave.

    `dissent` is the share of the views that may be against a voxel: 0 is the visual hull.
    Raises ValueError for fewer than 2 views, grid < 1 or a dissent outside [0, 1).
    """
    if len(views.silhouette) < 2:
        raise ValueError(f"carving from {len(views.silhouette)} view; must be at least 2")
    if grid < 1:
        raise ValueError(f"carving into {grid} voxels on an edge; must be at least 1")
    if not 0.0 <= dissent < 1.0:
        raise ValueError(f"carving with dissent {dissent}; must be at least 0 and below 1")
    ballots = _ballots(views)
    box = _tight_box(views, ballots, dissent) if box is None else box
    cell = min(LARGEST_CELL, 1 << (grid - 1).bit_length())
    side = -(-grid // cell)
    occupied, open_cells = np.zeros((side, side, side), bool), np.argwhere(np.ones((side, side, side), bool))
    while True:
        kept, undecided = _settle(ballots, open_cells, cell, Box(box.lower, box.edge / grid), dissent)
        occupied[tuple(open_cells[kept].T)] = True
        if cell == 1:
            return Volume(np.ascontiguousarray(occupied[:grid, :grid, :grid]), box)
        occupied = occupied.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        children = 2 * open_cells[undecided][:, None] + np.argwhere(np.ones((2, 2, 2), bool))[None]
        cell, open_cells = cell // 2, children.reshape(-1, 3)


def look_at_volume(volume: Volume, cameras: Cameras, image_size: tuple[int, int]) -> Images:
    """Silhouettes and depth of the voxels, images of (height, width): the first occupied sample along each ray.

    sqrt(3) samples to a voxel's edge at most; alpha is 0 or 1, depth NaN for background.
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
    # axis by axis: an array of positions, [ray, sample, 3], would take three times the memory
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
    """Where each ray, in front of the camera, enters and leaves the box; end <= start where it misses it."""
    direction = np.where(direction == 0.0, np.finfo(float).tiny, direction)
    walls = np.stack([box.lower - origin, box.lower + box.edge - origin]) / direction
    return np.maximum(walls.min(axis=0).max(axis=1), 0.0), walls.max(axis=0).min(axis=1)


def _ballots(views: Views) -> list[Ballot]:
    silhouette = np.asarray(views.silhouette)
    vote = np.where(silhouette >= FOREGROUND, FOR, AGAINST)
    if views.valid is not None:
        vote = np.where(np.asarray(views.valid), vote, ABSTAIN)
    vote = np.pad(vote, ((0, 0), (1, 1), (1, 1)), constant_values=ABSTAIN)
    ballots = []
    for kinds, pose, intrinsics in zip(vote, *(np.asarray(field, float) for field in views.cameras), strict=True):
        camera_from_world = np.linalg.inv(pose)[:3]
        distance = np.stack([_distance(kinds == kind) for kind in (FOR, AGAINST, ABSTAIN)])
        stretch = float(np.linalg.norm(intrinsics[:2, :2], 2))
        ballots.append(Ballot(intrinsics @ camera_from_world, camera_from_world[:2], stretch, distance))
    return ballots


def _distance(inside: np.ndarray) -> np.ndarray:
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    return distance_transform_edt(inside).astype(np.float32)


def _settle(
    ballots: list[Ballot], cells: Int[np.ndarray, "cell 3"], size: int, voxel: Box, dissent: float
) -> tuple[Bool[np.ndarray, " cell"], Bool[np.ndarray, " cell"]]:
    """Which cells of size^3 voxels are kept whole, and which are not settled yet; the others are empty."""
    kept, undecided = np.zeros(len(cells), bool), np.zeros(len(cells), bool)
    # the centres of the voxels of a cell lie within this of the cell's own
    radius = np.sqrt(3.0) / 2.0 * (size - 1) * voxel.edge
    for begin in range(0, len(cells), CELLS_AT_ONCE):
        part = slice(begin, begin + CELLS_AT_ONCE)
        centre = voxel.lower + voxel.edge * size * (cells[part] + 0.5)
        kept[part], undecided[part] = _vote(ballots, centre, radius, dissent)
    return kept, undecided


def _vote(
    ballots: list[Ballot], centre: Float[np.ndarray, "cell 3"], radius: float, dissent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which balls are kept wholly, and which are not settled."""
    count, quorum = len(ballots), QUORUM * len(ballots)
    alive, least = np.arange(len(centre)), np.zeros((3, len(centre)), np.int32)
    for ballot in ballots:
        least[:, alive] += _sure_votes(ballot, centre[alive], radius)
        against, abstain = least[AGAINST, alive], least[ABSTAIN, alive]
        possible = (against <= dissent * (count - abstain) + ROUNDING) & (count - abstain >= quorum)
        alive = alive[possible]
    kept, undecided = np.zeros(len(centre), bool), np.zeros(len(centre), bool)
    sure_for, against, abstain = least[:, alive]
    cast = sure_for + against
    kept[alive] = (count - sure_for - abstain <= dissent * cast + ROUNDING) & (cast >= quorum)
    undecided[alive] = ~kept[alive]
    return kept, undecided


def _sure_votes(ballot: Ballot, centre: Float[np.ndarray, "cell 3"], radius: float) -> Bool[np.ndarray, "kind cell"]:
    """Whether the view votes alike, and how, on everything within `radius` of each centre."""
    image = centre @ ballot.image_from_world[:, :3].T + ballot.image_from_world[:, 3]
    depth = image[:, 2]
    safe = np.where(depth > radius, depth, 1.0)
    height, width = ballot.distance.shape[1:]
    # beyond the frame of abstention nothing changes: what is clipped to the frame moves no two points apart
    place = np.stack([image[:, 1] / safe + 1.0, image[:, 0] / safe + 1.0])
    inside = np.clip(place, 0.0, np.array([[height - 0.5], [width - 0.5]]))
    row, column = inside.astype(np.int32)
    distance = ballot.distance[:, row, column]
    spread = np.zeros(len(centre))
    if radius > 0.0:
        # from pixel to pixel instead of from point to point: half a diagonal twice; then the way to the frame itself
        distance = distance - np.sqrt(2.0)
        distance[ABSTAIN] = np.maximum(distance[ABSTAIN], np.linalg.norm(place - inside, axis=0))
        across = (centre @ ballot.camera_from_world[:, :3].T + ballot.camera_from_world[:, 3]) / safe[:, None]
        # in the image a ball of this radius ends no further from its centre
        spread = ballot.stretch * radius * np.sqrt(1.0 + np.sum(across**2, axis=1)) / (safe - radius)
    sure = (distance > spread) & (depth > radius)
    sure[ABSTAIN] |= depth <= -radius
    return sure


def _tight_box(views: Views, ballots: list[Ballot], dissent: float) -> Box:
    """The cube around all that may be kept, found from a cube around all cameras; that one if nothing is kept."""
    pose = np.asarray(views.cameras.world_from_camera, float)
    position, forward = pose[:, :3, 3], pose[:, :3, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    middle = np.linalg.lstsq(across.sum(0), np.einsum("vij,vj->i", across, position), rcond=None)[0]
    half = float(np.linalg.norm(position - middle, axis=1).max())
    box = Box(middle - half, 2.0 * half)
    cells = np.argwhere(np.ones((COARSE, COARSE, COARSE), bool))
    while True:
        edge = box.edge / COARSE
        radius = np.sqrt(3.0) / 2.0 * edge
        kept, undecided = _vote(ballots, box.lower + edge * (cells + 0.5), radius, dissent)
        left = cells[kept | undecided]
        if not len(left):
            return box
        lower, upper = box.lower + edge * left.min(axis=0), box.lower + edge * (left.max(axis=0) + 1)
        size = float((upper - lower).max())
        if size > 0.95 * box.edge:
            return box
        box = Box((lower + upper - size) / 2.0, size)
