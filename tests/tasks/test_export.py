"""What is exported: the points of a surface that lies anywhere and is as long as it likes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fm_render import Mixture
from fmb.config import ExportOptions
from fmb.geometry.frames import Frame
from fmb.tasks.export import Subject, export_points

CANONICAL = Frame(np.zeros(3), np.asarray(1.0))


@pytest.mark.slow
def test_surface_points_reach_the_tips_of_a_long_needle(tmp_path):
    """One component, far from the middle of the frame: points lie on both sides, up to where it is opaque."""
    deviation, centre = np.array([0.2, 0.2, 3.0]), np.array([1.0, -2.0, 4.0])
    needle = Mixture(centre[None], np.diag(1.0 / deviation)[None], np.array([3.0]))
    subject = Subject(needle, CANONICAL)
    _, path = export_points(subject, ExportOptions(points="npy", num_points=10), tmp_path, lambda *step: None)
    point = np.load(path)[:, :3] - centre
    # a ray through the axis at z is of alpha 0.9 where exp(3 - z^2 / 18) = ln 10
    tip = 3.0 * np.sqrt(2.0 * (3.0 - np.log(np.log(10.0))))
    assert_allclose([point[:, 2].min(), point[:, 2].max()], [-tip, tip], rtol=0.06)
    assert len(point) > 1000
