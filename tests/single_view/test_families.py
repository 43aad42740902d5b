"""Families of shapes: closed, in one piece, symmetric, in the unit ball; the same for a seed and no two alike."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fmb.single_view.families import FAMILIES, draw_numbers
from fmb.single_view.options import FAMILY_NAMES
from fmb.single_view.sculpture import Part, ball, joined, sculpt
from fmb.single_view.sights import (
    chosen,
    family_mesh,
    family_of,
    family_sights,
    first_views,
    subset,
)
from fmb.single_view.sights import (
    joined as together,
)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_shapes_are_closed_bodies_with_a_mirror(family: str):
    numbers = draw_numbers(family, np.random.default_rng(3))
    mesh = sculpt(FAMILIES[family].parts(numbers), 28)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.body_count == 1 and mesh.volume > 0.0
    near = cKDTree(mesh.vertices).query(np.asarray(mesh.vertices) * [-1.0, 1.0, 1.0])[0]
    assert near.max() < 1e-6  # the grid is symmetric, so its surface is, in single precision
    assert tuple(sorted(FAMILIES)) == FAMILY_NAMES


def test_a_ball_is_where_it_should_be():
    parts = [Part(ball((0.4, 0.2, 0.0), (0.3, 0.3, 0.3)), "main")]
    mesh = sculpt(parts, 40)
    assert mesh.body_count == 2 and mesh.volume == pytest.approx(2 * 4 / 3 * np.pi * 0.3**3, rel=0.02)
    place = np.array([[0.4, 0.2, 0.0], [-0.4, 0.2, 0.0], [0.0, 0.2, 0.0]])
    np.testing.assert_allclose(joined(parts, place), [-0.3, -0.3, 0.1], atol=1e-12)
    with pytest.raises(ValueError, match="must lie between"):
        sculpt([Part(ball((0.0, 2.3, 0.0), (0.3, 0.3, 0.3)), "main")])


def test_sights_are_seeded_and_counted():
    found = family_sights(("car",), range(2), 2, 16, 5)
    again = family_sights(("car",), range(2), 2, 16, 5)
    for one, other in zip(found.sights, again.sights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.names == ("car-0", "car-1") and family_of("car-12") == ("car", 12) and family_of("cow-1") is None
    assert not np.array_equal(family_mesh("car", 5, 0).vertices, family_mesh("car", 6, 0).vertices)
    assert np.abs(family_mesh("car", 5, 0).bounds).max() <= 1.0
    both = together([found, again])
    assert list(both.sights.shape) == [0, 0, 1, 1, 2, 2, 3, 3] and list(first_views(both)) == [0, 2, 4, 6]
    last = subset(both, [1, 3])
    assert last.names == ("car-1", "car-1") and list(last.sights.shape) == [0, 0, 1, 1]
    np.testing.assert_array_equal(last.sights.color, chosen(both.sights, np.array([2, 3, 6, 7])).color)
    filled = found.sights.silhouette.any(axis=1)  # squares fit: the object nearly reaches their borders
    assert filled.mean(axis=1).max() > 0.7
    with pytest.raises(ValueError, match="family_shapes is 1; must be at least 2"):
        family_sights(("car",), range(1), 2, 16, 5)
