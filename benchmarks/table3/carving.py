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

from fmb.geometry.cameras import nearest_to_rays
from fmb.geometry.views import Views, foreground
from fmb.hull.votes import QUORUM, Box, Volume

LARGEST_CELL = 16  # voxels on an edge; 8 takes as long, 64 a tenth longer
COARSE, HALVINGS = 16, 2  # cells on an edge of the box that is looked for, and how often they are halved
ROUNDING = 1e-9  # of a share times a count
CELLS_AT_ONCE = 2**18
FOR, AGAINST, ABSTAIN = range(3)
AGAINST_COUNT = 2**32  # more than an image has pixels


class Ballot(NamedTuple):
    """One view: where it projects, and how many pixels above and to the left of each corner vote, and how.

    `total` counts a vote for as 1 and one against as AGAINST_COUNT, so that one look-up counts both; a frame of pixels
    that abstain, one wide, stands around the image.
    """

    camera_from_world: Float[np.ndarray, "3 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    total: Int[np.ndarray, "corner_row corner_column"]


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
        cell, open_cells = cell // 2, _children(open_cells[undecided])


def _ballots(views: Views) -> list[Ballot]:
    vote = np.where(foreground(np.asarray(views.silhouette)), 1, AGAINST_COUNT)
    if views.valid is not None:
        vote = np.where(np.asarray(views.valid), vote, 0)
    # the frame, and before it the zeros that a sum begins with
    total = np.pad(vote, ((0, 0), (2, 1), (2, 1))).cumsum(axis=1).cumsum(axis=2)
    camera_from_world = np.linalg.inv(np.asarray(views.cameras.world_from_camera, float))[:, :3]
    intrinsics = np.asarray(views.cameras.intrinsics, float)
    return [Ballot(*view) for view in zip(camera_from_world, intrinsics, total, strict=True)]


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
    x, y, depth = (row[:3] @ centre.T + row[3] for row in ballot.camera_from_world)
    ahead = depth > radius
    safe = np.where(ahead, depth, 1.0 + radius)
    x, y, focal = x / safe, y / safe, ballot.intrinsics
    spread = 0.0
    if radius > 0.0:
        # in the plane at depth 1, a ball of this radius ends no further from its centre
        spread = radius * np.sqrt(1.0 + x * x + y * y) / (safe - radius)
    height, width = (side - 1 for side in ballot.total.shape)
    left, right = _ends(focal[0, 0] * x + focal[0, 1] * y + focal[0, 2], np.hypot(*focal[0, :2]) * spread, width)
    top, bottom = _ends(focal[1, 1] * y + focal[1, 2], abs(focal[1, 1]) * spread, height)
    above, below = ballot.total.ravel().take(top * (width + 1) + left), bottom * (width + 1)
    count = above - ballot.total.ravel().take(top * (width + 1) + right)
    count += ballot.total.ravel().take(below + right) - ballot.total.ravel().take(below + left)
    area = (right - left) * (bottom - top)
    sure = np.stack([count == area, count == AGAINST_COUNT * area, count == 0])
    return sure & ahead | np.array([[False], [False], [True]]) & (depth <= -radius)


def _ends(middle: np.ndarray, spread: np.ndarray | float, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of an interval and the first after it; what lies outside falls on the frame, which stands for it."""
    first, last = (np.clip(middle + sign * spread + 1.0, 0.0, pixels - 0.5).astype(np.int64) for sign in (-1, 1))
    return first, last + 1


def _tight_box(views: Views, ballots: list[Ballot], dissent: float) -> Box:
    """The cube around all that may be kept, found from a cube around all cameras; that one if nothing is kept."""
    pose = np.asarray(views.cameras.world_from_camera, float)
    position, forward = pose[:, :3, 3], pose[:, :3, 2]
    middle = nearest_to_rays(position, forward)
    half = float(np.linalg.norm(position - middle, axis=1).max())
    box = Box(middle - half, 2.0 * half)
    while True:
        side, left = COARSE, np.argwhere(np.ones((COARSE, COARSE, COARSE), bool))
        for halving in range(HALVINGS + 1):
            if halving:
                side, left = 2 * side, _children(left)
            edge = box.edge / side
            left = left[np.any(_vote(ballots, box.lower + edge * (left + 0.5), np.sqrt(3.0) / 2.0 * edge, dissent), 0)]
        if not len(left):
            return box
        lower, upper = box.lower + edge * left.min(axis=0), box.lower + edge * (left.max(axis=0) + 1)
        size = float((upper - lower).max())
        if size > 0.95 * box.edge:
            return box
        box = Box((lower + upper - size) / 2.0, size)


def _children(cells: Int[np.ndarray, "cell 3"]) -> Int[np.ndarray, "child 3"]:
    """The eight halves of each cell."""
    return (2 * cells[:, None] + np.argwhere(np.ones((2, 2, 2), bool))[None]).reshape(-1, 3)
