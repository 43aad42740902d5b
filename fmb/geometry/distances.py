"""Exact distances from points to the surface of a mesh."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from trimesh.triangles import closest_point

PIECES = 40_000  # triangles into which a mesh is cut at least: the search is fast where all are small
MOST_PIECES = 2_000_000  # slivers are not cut any further then; the search only takes longer
CANDIDATES = 12  # pieces tried for each point at first; four times as many each time where that proves too few
ROUNDING = 1e-9  # share by which a least distance may come out too large
AT_ONCE = 2_000_000  # pairs of a point and a piece in one array


class Pieces(NamedTuple):
    """The triangles of a mesh, cut until none is long; together they are the same surface."""

    corner: Float[np.ndarray, "piece 3 3"]
    face: Int[np.ndarray, " piece"]  # of the mesh, that each is part of
    tree: cKDTree  # of their middles
    normal: Float[np.ndarray, "piece 3"]  # of length 1, or 0 where a piece has no area
    radius: Float[np.ndarray, " piece"]  # distance of the farthest corner from the middle
    reach: float  # the largest radius


class Nearest(NamedTuple):
    """The nearest points of a surface, how far they are, and their faces."""

    point: Float[np.ndarray, "point 3"]
    distance: Float[np.ndarray, " point"]
    face: Int[np.ndarray, " point"]


def cut(mesh: trimesh.Trimesh) -> Pieces:
    """The mesh made ready for `nearest_on`.  Raises ValueError for a mesh without area."""
    corner = np.asarray(mesh.triangles, float)
    area = float(np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum() / 2)
    if not area > 0.0:
        raise ValueError("a mesh without area has no surface to measure from")
    face, longest = np.arange(len(corner)), 2.0 * np.sqrt(area / PIECES)
    done: list[tuple[np.ndarray, np.ndarray]] = []
    while True:
        side = np.linalg.norm(corner - corner[:, [1, 2, 0]], axis=2)
        long = side.max(axis=1) > longest
        if not long.any() or len(corner) + sum(len(part) for _, part in done) > MOST_PIECES:
            break
        done.append((corner[~long], face[~long]))
        corner, face = _halved(corner[long], side[long]), np.tile(face[long], 2)
    done.append((corner, face))
    corner, face = (np.concatenate(parts) for parts in zip(*done, strict=True))
    middle = corner.mean(axis=1)
    radius = np.linalg.norm(corner - middle[:, None], axis=2).max(axis=1)
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    normal = across / np.where(length > 0.0, length, 1.0)
    return Pieces(corner, face, cKDTree(middle), normal, radius, float(radius.max()))


def nearest_on(pieces: Pieces, points: Float[np.ndarray, "point 3"]) -> Nearest:
    """The nearest point of the surface to each point: exact, not that of samples.

    The pieces with the nearest middles are tried. Where a piece beyond them might still be nearer, more are tried.
    """
    points = np.asarray(points, float)
    found = Nearest(np.zeros_like(points), np.full(len(points), np.inf), np.zeros(len(points), int))
    left, count = np.arange(len(points)), CANDIDATES
    while len(left):
        count = min(count, len(pieces.face))
        step, open_ = max(1, AT_ONCE // count), []
        for part in np.split(left, range(step, len(left), step)):
            beyond = _try(pieces, points, part, count, found)
            open_.append(part[beyond < found.distance[part]])
        left, count = np.concatenate(open_), 4 * count
    return found


def distance_to(mesh: trimesh.Trimesh, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, " point"]:
    """Exact distances of points from the surface of a mesh."""
    return nearest_on(cut(mesh), points).distance


def _halved(corner: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Each triangle as two, cut through the middle of its longest side."""
    first = side.argmax(axis=1)
    start, end, tip = (corner[np.arange(len(corner)), (first + k) % 3] for k in range(3))
    middle = (start + end) / 2
    return np.concatenate([np.stack([start, middle, tip], axis=1), np.stack([middle, end, tip], axis=1)])


def _try(pieces: Pieces, points: np.ndarray, part: np.ndarray, count: int, found: Nearest) -> np.ndarray:
    """Enters the nearest of `count` pieces into `found`; the least distance that any other piece can have."""
    away, piece = (x.reshape(len(part), count) for x in pieces.tree.query(points[part], count, workers=-1))
    new = ~np.isfinite(found.distance[part])
    _enter(pieces, points, part[new], piece[new, 0], found)
    # a piece lies in its plane, within a circle: most are too far for even the nearest place of that to matter
    row, column = np.nonzero(away - pieces.radius[piece] < found.distance[part][:, None])
    chosen = piece[row, column]
    height = np.abs(np.einsum("ij,ij->i", points[part[row]] - pieces.tree.data[chosen], pieces.normal[chosen]))
    across = np.sqrt(np.maximum(away[row, column] ** 2 - height**2, 0.0)) - pieces.radius[chosen]
    least = np.hypot(height, np.maximum(across, 0.0)) * (1.0 - ROUNDING)
    matters = least < found.distance[part[row]]
    row, column = row[matters], column[matters]
    _enter(pieces, points, part[row], piece[row, column], found)
    return np.full(len(part), np.inf) if count == len(pieces.face) else away[:, -1] - pieces.reach


def _enter(pieces: Pieces, points: np.ndarray, index: np.ndarray, piece: np.ndarray, found: Nearest) -> None:
    """Enters into `found` each piece that is nearer to the point of that index than what stands there."""
    # in units of a piece and from the point: trimesh takes squares below 1e-13 or so for 0
    from_point = (pieces.corner[piece] - points[index, None]) / pieces.reach
    with np.errstate(all="ignore"):  # needles without area: their neighbours have the same edges
        on = points[index] + pieces.reach * closest_point(from_point, np.zeros_like(points[index]))
    distance = np.linalg.norm(on - points[index], axis=1)
    order = np.argsort(-distance, kind="stable")  # of several for one point the nearest is written last
    order = order[distance[order] < found.distance[index[order]]]
    found.point[index[order]], found.face[index[order]] = on[order], pieces.face[piece[order]]
    found.distance[index[order]] = distance[order]
