"""Polygons as triangles: fans where a polygon is all seen from one corner, ear clipping where it is not."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

FLAT = 1e-12  # of a polygon's area: what a triangle may turn against the others and still counts as having none


class Triangles(NamedTuple):
    """Corners of triangles, which polygon each is a part of, and how much larger than the polygons they are."""

    face: Int[np.ndarray, "face 3"]
    polygon: Int[np.ndarray, " face"]
    excess: float  # of their own area, 0: none; more for polygons that cross themselves or are not flat


def triangulate(
    position: Float[np.ndarray, "vertex 3"], corner: Int[np.ndarray, " corner"], length: Int[np.ndarray, " polygon"]
) -> Triangles:
    """Triangles of polygons, which are stored one after the other as `length` corners each; fewer than 3 make none.

    Concave polygons keep their shape, and every corner stays a corner, so closed surfaces stay closed.
    Raises ValueError where they need the package mapbox-earcut and it cannot be imported.
    """
    start = np.cumsum(length) - length
    faces, polygons = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    area, covered = 0.0, 0.0
    for size in np.unique(length[length >= 3]):
        polygon = np.flatnonzero(length == size)
        ring = corner[start[polygon][:, None] + np.arange(size)]
        if size > 3:
            fans, clipped = _divided(position, ring)
            face = np.concatenate([fans.reshape(-1, 3), *clipped.values()])
            whole = np.delete(np.arange(len(ring)), list(clipped))
            owner = [np.repeat(whole, size - 2), *(np.full(len(part), row) for row, part in clipped.items())]
            across = _across(position, face)
            owner = np.concatenate(owner)
            total = np.stack([np.bincount(owner, across[:, axis], len(ring)) for axis in range(3)], axis=1)
            area, covered = area + np.linalg.norm(total, axis=1).sum(), covered + np.linalg.norm(across, axis=1).sum()
        else:
            face, owner = ring, np.arange(len(ring))
        faces.append(face)
        polygons.append(polygon[owner])
    face, polygon = np.concatenate(faces), np.concatenate(polygons)
    order = np.argsort(polygon, kind="stable")
    return Triangles(face[order], polygon[order], 1.0 - area / covered if covered > 0.0 else 0.0)


def _divided(position: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Fans [polygon, face, 3] of the polygons that a fan covers, and the triangles of each other one by its row."""
    left, fans, clipped = np.arange(len(ring)), [], {}
    fan_of = np.zeros((len(ring), ring.shape[1] - 2, 3), np.int64)
    for turn in range(2):  # of a simple quadrangle one of two corners sees all of it
        rolled = np.roll(ring[left], -turn, axis=1)
        first = np.broadcast_to(rolled[:, :1], rolled[:, 1:-1].shape)
        fan = np.stack([first, rolled[:, 1:-1], rolled[:, 2:]], axis=2)
        across = _across(position, fan)
        normal = across.sum(axis=1)
        seen = np.all(np.einsum("pfi,pi->pf", across, normal) >= -FLAT * np.sum(normal**2, axis=1)[:, None], axis=1)
        fan_of[left[seen]] = fan[seen]
        left = left[~seen]
    for row in left:
        clipped[int(row)] = _clipped(position[ring[row]], ring[row])
    fans = np.delete(fan_of, left, axis=0)
    return fans, clipped


def _across(position: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Twice the area of triangles, along their normals."""
    corner = position[face]
    return np.cross(corner[..., 1, :] - corner[..., 0, :], corner[..., 2, :] - corner[..., 0, :])


def _clipped(corner: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Triangles of one polygon, by ear clipping in the plane of its normal."""
    try:
        import mapbox_earcut
    except ImportError:
        raise ValueError("concave polygons need the package mapbox-earcut, which cannot be imported") from None
    corner = corner - corner[0]
    normal = np.cross(corner, np.roll(corner, -1, axis=0)).sum(axis=0)
    axes = np.linalg.svd(normal[None])[2]
    if np.linalg.det(axes) * (axes[0] @ normal) < 0.0:  # so that the polygon turns to the left
        axes[2] = -axes[2]
    flat = np.ascontiguousarray(corner @ axes[1:].T)
    face = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], np.uint32)).reshape(-1, 3).astype(np.int64)
    if _turn(flat, face) < 0.0:
        face = face[:, ::-1]
    return ring[_with_all(face, len(ring))]


def _turn(flat: np.ndarray, face: np.ndarray) -> float:
    """Twice the area of the triangles, positive where they turn to the left."""
    a, b, c = (flat[face[:, k]] for k in range(3))
    return float(np.sum((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])))


def _with_all(face: np.ndarray, size: int) -> np.ndarray:
    """The triangles with the corners that ear clipping left out, as they lie on a straight side, put in again."""
    triangles = face.tolist()
    opposite = {edge: place for place, row in enumerate(triangles) for edge in zip(row, row[1:] + row[:1], strict=True)}
    kept = np.unique(face)
    for begin, end in zip(kept.tolist(), [*kept[1:].tolist(), *(kept[:1] + size).tolist()], strict=True):
        if end - begin > 1 and (begin, end % size) in opposite:
            place = opposite[begin, end % size]
            (far,) = set(triangles[place]) - {begin, end % size}
            side = [corner % size for corner in range(begin, end + 1)]
            triangles[place] = [begin, side[1], far]
            opposite[far, begin] = place
            for pair in zip(side[1:], side[2:], strict=False):
                opposite[pair[1], far] = len(triangles)
                triangles.append([*pair, far])
    return np.array(triangles, np.int64).reshape(-1, 3)
