import numpy as np
import pytest
from numpy.testing import assert_allclose

from fmb.geometry.metrics import view_ious
from fmb.shape.attendant import FAR, outline_error, outline_length, view_weight


def square(count: int, shift: int = 0) -> np.ndarray:
    """Views of a square of 20 x 20 pixels in the middle of 40 x 40."""
    image = np.zeros((count, 40, 40))
    image[:, 10:30, 10 + shift : 30 + shift] = 1.0
    return image


def test_error_is_how_far_outlines_are_off():
    silhouette, everything = square(2), np.ones((2, 40, 40), bool)
    length = outline_length(silhouette, everything)
    # 80 pixels around; the band around corners is a little wider outside than it is short inside
    assert_allclose(length, 80.0, rtol=0.05)
    alpha = np.concatenate([square(1), square(1, 2)])
    assert_allclose(outline_error(alpha, silhouette, everything, length), [0.0, 80.0 / length[0]])
    believed = everything & (np.arange(40) < 30)[None, None]
    assert_allclose(outline_error(alpha, silhouette, believed, length), [0.0, 40.0 / length[0]])
    assert_allclose(outline_length(np.zeros((1, 40, 40)), everything[:1]), 1.0)


def test_iou_of_each_view():
    alpha, silhouette = np.concatenate([square(1, 5), np.zeros((1, 40, 40))]), square(2)
    silhouette[1] = 0.0
    believed = np.ones((2, 40, 40), bool)
    assert_allclose(view_ious(alpha, silhouette, believed), [15 / 25, 1.0])
    believed[:, :, 30:] = False
    assert_allclose(view_ious(alpha, silhouette, believed), [15 / 20, 1.0])


def test_what_is_like_the_others_is_believed():
    generator = np.random.default_rng(0)
    assert np.array_equal(view_weight(generator.uniform(0.5, 1.0, 30)), np.ones(30))
    assert np.array_equal(view_weight(np.zeros(8)), np.ones(8))
    # half of the views damaged alike is how it is, not an exception
    assert np.array_equal(view_weight(np.repeat([0.4, 1.2], 8)), np.ones(16))


def test_what_is_far_from_the_others_is_not():
    error = np.array([0.9, 1.0, 1.1, 1.0, 0.8, 1.2, 6.0, 2.4])
    weight = view_weight(error)
    spread = 1.4826 * np.median(np.abs(error - np.median(error)))
    bound = max(np.median(error) + FAR * spread, 1.5 * np.median(error) + 0.3)
    assert np.array_equal(weight[:6], np.ones(6))
    assert weight[6] == pytest.approx((bound / 6.0) ** 4) and weight[6] < 0.02 < weight[7] < 1.0


def test_of_a_few_views_nobody_knows_which_is_wrong():
    assert np.array_equal(view_weight(np.array([0.1, 0.1, 0.1, 9.0])), np.ones(4))
