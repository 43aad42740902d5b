"""Hollows: what pulls a surface to the points alone leaves too much there; distances both ways do not."""

import numpy as np
import pytest

from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import fit_network
from fmb.clouds.surface import extract
from fmb.geometry.comparison import compare
from tests.clouds.shapes import comb, cup, shape_and_points


def errors(field, **options) -> tuple[float, int]:
    """Mean distance of the surface from the true one, which only what is too much makes large, and its Euler number."""
    mesh, points = shape_and_points(field)
    state = fit_network(points, None, PointsOptions(**options), np.random.default_rng(1))
    record = compare(extract(state.field, 96), mesh, 10_000)
    return record["exact"]["to_reference"], record["euler"]


@pytest.mark.slow
def test_diff_cd_leaves_no_surface_between_the_teeth_of_a_comb_and_igr_does():
    short = {"num_steps": 800, "points_per_step": 500}
    spurious, _ = errors(comb, points_method="igr", **short)
    clean, euler = errors(comb, points_method="diff_cd", body_weight=0.0, **short)
    assert spurious > 3.0 * clean and clean < 0.003 and euler == 2


@pytest.mark.slow
def test_what_a_cloud_surely_leaves_out_opens_a_cup():
    closed, _ = errors(cup, points_method="diff_cd", body_weight=0.0)
    opened, euler = errors(cup, points_method="diff_cd")
    assert closed > 10.0 * opened and opened < 0.001 and euler == 2
