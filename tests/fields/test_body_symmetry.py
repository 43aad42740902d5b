"""Bodies of mixtures and their images: what is exact, what does not matter, and which shapes count as symmetric."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.body_symmetry import SYMMETRIC, body_of, likeness, mixture_symmetries, refined_on_body
from fmb.fields.correlation import largest
from fmb.fields.metaballs import HALF_OPAQUE
from fmb.fields.mixtures import lower_factor
from fmb.geometry.symmetry import Placement, Symmetry, plane_symmetry
from tests.fields.test_correlation import placed, symmetric_mixture


def ball(radius: float) -> Mixture:
    """One component that is half opaque on a sphere."""
    sharp = 6.0
    return Mixture(np.zeros((1, 3)), np.sqrt(2.0 * sharp) / radius * np.eye(3)[None], np.array([sharp + HALF_OPAQUE]))


def test_a_body_is_what_lies_within_the_surface():
    for radius in (0.5, 2.0):
        body = body_of(ball(radius))
        volume = body.value.sum() * body.side**3
        assert volume == pytest.approx(4.0 / 3.0 * np.pi * radius**3, rel=0.03)
        # a ball is its own mirror image at every plane through its middle; farther off the two drift apart
        near = [likeness(body, plane_symmetry(np.array([0.3, 0.5, 0.8]), radius * d).orbit)[1] for d in (0.0, 0.1, 0.3)]
        assert near[0] > 0.9999 and near[0] > near[1] > near[2] > 0.6
        found = refined_on_body(body, plane_symmetry(np.array([1.0, 2.0, 0.0]), 0.15 * radius))
        assert abs(found.symmetry.planes[0].offset) < 0.005 * radius and found.score > 0.9999
        assert refined_on_body(body, found.symmetry).symmetry is found.symmetry, "good enough: left as it is"
    with pytest.raises(ValueError, match="no surface: no component is as dense"):
        body_of(ball(1.0)._replace(log_weight=np.array([-9.0])))


def sheared(mixture: Mixture, amount: float) -> Mixture:
    """The mixture under x -> x + amount * (n x) t, n and t in and across its plane."""
    rotation = placed("plane").placement.rotation
    shear = np.eye(3) + amount * np.outer(rotation[:, 0], rotation[:, 1])
    return mixture._replace(
        mean=mixture.mean @ shear.T,
        precision_cholesky=lower_factor(np.linalg.inv(shear).T @ mixture.precision_cholesky),
    )


@pytest.mark.parametrize(("shear", "kind"), [(0.0, "plane"), (0.3, None)])
def test_the_body_decides_wherever_it_lies(shear, kind):
    mixture = sheared(symmetric_mixture("plane", 6), shear)
    mixture = mixture._replace(log_weight=mixture.log_weight + 2.0)
    found = mixture_symmetries(mixture, ("none", "plane"))
    answer = largest(found, SYMMETRIC)
    assert (answer and answer.symmetry.kind) == kind
    turn, shift = Rotation.random(random_state=8).as_matrix(), np.array([5.0, -3.0, 2.0])
    there = Mixture(
        10.0 * mixture.mean @ turn.T + shift, lower_factor(turn @ mixture.precision_cholesky / 10.0), mixture.log_weight
    )
    place = placed("plane") if kind else found[0].symmetry
    moved = Symmetry("plane", Placement(*place.moved(turn, shift, 10.0).placement))
    scores = [refined_on_body(body_of(one), where).score for one, where in ((mixture, place), (there, moved))]
    assert 1.0 - scores[1] == pytest.approx(1.0 - scores[0], rel=0.5, abs=3e-4), "but for how the grid lies"
    if kind:
        cosine = abs(answer.symmetry.planes[0].normal @ placed("plane").planes[0].normal)
        assert np.arccos(min(cosine, 1.0)) < np.deg2rad(1.0)
