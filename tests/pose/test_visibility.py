"""A pose from a mask alone, of which a part is hidden."""

import numpy as np
import pytest

from fmb.geometry.metrics import object_pose_error
from fmb.pose.estimate import find_pose
from fmb.pose.visibility import EXPLAINED, find_visible, open_sides, price
from tests.pose_scene import IMAGE_SIZE, camera_at, lopsided_mixture, observe, search_program, shifted

TRUTH = camera_at(np.array([0.2, 0.5, -0.3]))


def error(fit) -> float:
    return object_pose_error(np.linalg.inv(fit.world_from_camera), np.linalg.inv(TRUTH), 1.0).combined


def test_sides_are_background_and_cover_all_of_it():
    mask = np.zeros((20, 30), bool)
    mask[5:12, 8:20] = True
    sides = open_sides(mask)
    assert not any((side & mask).any() for side in sides)
    np.testing.assert_array_equal(np.any(sides, axis=0), ~mask)
    assert sides[0][8, 25] and not sides[0][8, 2]


def test_a_hidden_part_is_told_from_an_outline():
    mixture, whole = lopsided_mixture(), observe(lopsided_mixture(), TRUTH)._replace(depth=None)
    column = np.arange(IMAGE_SIZE[1])[None]
    seen = whole.silhouette > 0
    cut = np.quantile(np.nonzero(seen)[1], 0.7)
    hidden = whole._replace(silhouette=np.where(column > cut, 0.0, whole.silhouette))
    start = shifted(TRUTH, np.array([0.2, -0.1, 0.15]), np.array([0.1, -0.05, 0.1]))
    fit = find_visible(search_program(), mixture, hidden, start, 1.0)
    assert error(fit) < 3.0 < error(find_pose(search_program(), mixture, hidden, start, 1.0))
    assert not fit.success  # a guess
    np.testing.assert_array_equal(fit.path[0], start)  # although the last search began elsewhere
    assert len(fit.path) == len(fit.loss) == fit.iterations + 1
    assert price(mixture, hidden, TRUTH, None, 1.0) > EXPLAINED > price(mixture, whole, TRUTH, None, 1.0)
    same = find_visible(search_program(), mixture, whole, start, 1.0)  # nothing is hidden: as before
    np.testing.assert_array_equal(
        same.world_from_camera, find_pose(search_program(), mixture, whole, start, 1.0).world_from_camera
    )
    assert price(mixture, whole, np.full((4, 4), np.nan), None, 1.0) == pytest.approx(np.inf)
