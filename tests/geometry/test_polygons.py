"""Polygons become triangles of the same area and rim, whatever their shape, place and first corner."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmb.geometry.polygons import triangulate

WALL = np.array([(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)], float)  # a U of area 7
DART = np.array([(0, 0), (2, 0), (0.5, 0.5), (0, 2)], float)  # a concave quadrangle of area 1


def with_middles(corner: np.ndarray) -> np.ndarray:
    """The polygon with two more corners on every side."""
    after = np.roll(corner, -1, axis=0)
    return np.concatenate([a + (b - a) * np.arange(3)[:, None] / 3 for a, b in zip(corner, after, strict=True)])


def area(position: np.ndarray, face: np.ndarray) -> float:
    a, b, c = (position[face[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def edges(rows: np.ndarray) -> list[tuple]:
    return [edge for row in rows.tolist() for edge in zip(row, row[1:] + row[:1], strict=True)]


@pytest.mark.parametrize(
    ("corner", "expected"), [(WALL, 7), (with_middles(WALL), 7), (DART, 1), (with_middles(DART), 1)]
)
def test_area_and_rim_are_kept(corner, expected):
    turn = Rotation.from_rotvec([0.3, -1.0, 2.0]).as_matrix()
    # far from the origin, as surveyors have it
    position = np.column_stack([corner, np.zeros(len(corner))]) @ turn.T + [4e5, 5e6, 200]
    for first in range(len(corner)):
        for step in (1, -1):
            ring = np.roll(np.arange(len(corner)), first)[::step]
            made = triangulate(position, ring, np.array([len(ring)]))
            assert len(made.face) == len(ring) - 2
            np.testing.assert_allclose(area(position, made.face), expected, rtol=1e-8)
            found = edges(made.face)
            assert len(set(found)) == len(found)
            assert {edge for edge in found if edge[::-1] not in found} == set(edges(ring[None]))
            assert abs(made.excess) < 1e-8


def test_polygons_of_many_sizes_keep_their_order():
    corner = np.concatenate([np.arange(8), [0, 1, 2], [0, 1], [4, 5, 6, 7]])
    made = triangulate(np.column_stack([WALL, np.zeros(8)]), corner, np.array([8, 3, 2, 4]))
    assert made.polygon.tolist() == [0] * 6 + [1] + [3, 3]


def test_a_polygon_with_a_hole_on_a_bridge():
    ring = np.array([(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)], float)
    made = triangulate(np.column_stack([ring, np.zeros(10)]), np.arange(10), np.array([10]))
    np.testing.assert_allclose(area(np.column_stack([ring, np.zeros(10)]), made.face), 12)


def test_excess_tells_of_polygons_that_cross_themselves():
    position = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1.5, 1, 0)], float)
    assert triangulate(position, np.arange(4), np.array([4])).excess > 0.5
    assert triangulate(np.zeros((4, 3)), np.arange(4), np.array([4])).excess == 0
