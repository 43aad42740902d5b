"""Symmetries of clouds, decided on the points: of a body with one plane, clean, noisy and sheared."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmb.clouds import symmetry as module
from fmb.clouds.blobs import begin_blobs
from fmb.clouds.evidence import examine
from fmb.clouds.symmetry import apart, skin_of_cloud
from fmb.fields.correlation import Likeness
from fmb.fields.mixtures import in_single
from fmb.fields.surface_symmetry import largest_of_surface, refined
from fmb.geometry.interior import sample_surface
from fmb.geometry.symmetry import GROUPS, apply_to_points, plane_symmetry
from fmb.shape.symmetric import SymmetricEdges, symmetry_of
from tests.fields.test_correlation import cross, symmetric_mixture


def cloud(shear: float, noise: float = 0.0) -> np.ndarray:
    """2,000 points about the body, whose plane is x = 0 unless it is sheared; its longest side is about 1."""
    generator = np.random.default_rng(0)
    points = sample_surface(cross(shear), 2_000, generator)
    return points + noise * generator.normal(size=points.shape)


def near_place() -> Likeness:
    """Where a mixture might put the plane: 5 degrees and 0.03 off."""
    return Likeness(plane_symmetry(Rotation.from_euler("z", 5, degrees=True).apply([1.0, 0.0, 0.0]), 0.03), 0.95)


@pytest.mark.parametrize(
    ("shear", "noise", "holds"), [(0, 0, True), (0, 0.01, True), (0.15, 0, False), (0.15, 0.01, False)]
)
def test_points_decide_as_their_surface_would(shear, noise, holds):
    points = cloud(shear, noise)
    skin = skin_of_cloud(points, examine(points), 0.7, np.random.default_rng(0))
    found = refined(skin, near_place())
    assert found.holds == holds and (largest_of_surface([found]) is not None) == holds
    assert found.distance < 0.002 if holds else found.distance > 0.008
    if holds:
        plane = found.symmetry.planes[0]
        assert abs(plane.normal[0]) > np.cos(np.deg2rad(0.5)) and abs(plane.offset) < 0.003


def test_distances_of_moved_points_are_those_from_the_surface_beyond_their_own():
    generator = np.random.default_rng(0)
    flat = np.column_stack([generator.uniform(-0.5, 0.5, (4_000, 2)), 0.002 * generator.normal(size=4_000)])
    skin = skin_of_cloud(flat, examine(flat), 1.0, generator)
    assert skin.floor[0] == pytest.approx(0.002 * np.sqrt(2 / np.pi), rel=0.3), "noise, and that of the quadrics"
    image = plane_symmetry(np.array([0.0, 0.0, 1.0]), 0.01)  # 0.02 above
    moved = apply_to_points(image.orbit, flat)[1]
    inner = np.abs(flat[:, :2]).max(axis=1) < 0.45
    assert skin.distance(moved[inner]).mean() == pytest.approx(0.02, rel=0.05)
    far = skin.distance(np.array([[0.0, 0.0, 0.3], [2.0, 0.0, 0.0]]))
    assert far[0] == pytest.approx(0.3, rel=0.02) and 1.3 < far[1] <= 1.51, (
        "beyond the points their plane tells nothing"
    )


def test_a_fit_starts_at_the_place_that_the_points_have(monkeypatch):
    monkeypatch.setattr("fmb.fields.correlation.DIRECTIONS", 12)
    monkeypatch.setattr(module, "GROUPS", {kind: GROUPS[kind] for kind in ("none", "plane")})
    points = cloud(0.0)
    mixture = in_single(symmetric_mixture("plane", 4))

    def skin_at(scale, generator):
        return skin_of_cloud(points, examine(points), scale, generator)

    start, told = begin_blobs(mixture, "plane", skin_at, np.random.default_rng(0))
    assert isinstance(start, SymmetricEdges) and symmetry_of(start).kind == "plane"
    assert told["symmetry"]["holds"] is False, "the mixture is of another body, but a kind that is named is taken"
    _, none = begin_blobs(mixture, "auto", skin_at, np.random.default_rng(0))
    assert none == {"symmetry": {"kind": "none"}}
    across = Likeness(plane_symmetry(np.array([0.0, 1.0, 0.0]), 0.0), 0.9)
    assert [one.score for one in apart([near_place(), near_place(), across])] == [0.95, 0.9]
