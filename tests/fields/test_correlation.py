"""Correlation of mixtures with their images: closed form, maxima, and which shapes count as symmetric."""

import jax
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.correlation import (
    Bodies,
    Likeness,
    best_place,
    bodies_of,
    correlation,
    differ,
    largest,
    likely_symmetries,
    score_of,
)
from fmb.fields.mixtures import fit_gmm
from fmb.fields.surface_symmetry import largest_of_surface, skin_of, surface_symmetries
from fmb.geometry.frames import canonical_frame
from fmb.geometry.interior import sample_interior
from fmb.geometry.options import SYMMETRIES
from fmb.geometry.symmetry import GROUPS, Placement, Symmetry, apply_to_mixture, apply_to_points


def bodies(count: int = 3) -> Bodies:
    generator = np.random.default_rng(0)
    turn = Rotation.random(count, random_state=0).as_matrix()
    spread = turn @ (generator.uniform(0.1, 0.5, (count, 3, 1)) * turn.swapaxes(1, 2))
    return Bodies(generator.uniform(0.5, 2.0, count), 0.6 * generator.normal(size=(count, 3)), spread)


def placed(kind: str) -> Symmetry:
    generator = np.random.default_rng(3)
    return Symmetry(kind, Placement(Rotation.random(random_state=4).as_matrix(), 0.1 * generator.normal(size=3)))


def symmetric_mixture(kind: str, count: int) -> Mixture:
    generator = np.random.default_rng(1)
    factor = np.tril(generator.normal(size=(count, 3, 3)), -1) + np.eye(3) * generator.uniform(4, 8, (count, 1, 3))
    balls = Mixture(0.3 * generator.normal(size=(count, 3)), factor, 1.0 + generator.random(count))
    return apply_to_mixture(placed(kind).orbit, balls)


def test_names_are_those_of_the_options():
    assert tuple(GROUPS) == SYMMETRIES


def test_correlation_against_sums_over_a_grid():
    one, place = bodies(2), placed("plane")
    inverse = np.linalg.inv(one.covariance)

    ticks = np.linspace(-4, 4, 25)  # Gaussians: the trapezoidal rule converges faster than any power
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    offset = grid[:, None] - one.mean
    value = np.exp(-np.einsum("pbi,bij,pbj->pb", offset, inverse, offset) / 2) @ one.weight
    image = apply_to_points(place.orbit, grid)[1][:, None] - one.mean
    mirrored = np.exp(-np.einsum("pbi,bij,pbj->pb", image, inverse, image) / 2) @ one.weight
    np.testing.assert_allclose(correlation(one, place.orbit)[1], (value @ mirrored) / (value @ value), rtol=1e-6)


def test_it_is_one_for_what_the_map_leaves_and_less_for_all_else():
    for kind in ("plane", "cyclic_3", "two_planes"):
        body = bodies_of(symmetric_mixture(kind, 4))
        np.testing.assert_allclose(correlation(body, placed(kind).orbit), 1.0, rtol=1e-9)
    assert correlation(bodies(), placed("cyclic_5").orbit)[1:].max() < 0.99


@pytest.mark.parametrize("kind", ["plane", "two_planes", "cyclic_3"])
def test_the_place_is_found_again(kind):
    found, truth = likely_symmetries(bodies_of(symmetric_mixture(kind, 6)), kind)[0], placed(kind)
    assert found.score > 1.0 - 1e-6
    column = 0 if kind == "plane" else 2
    turned = abs(found.symmetry.placement.rotation[:, column] @ truth.placement.rotation[:, column])
    # of two planes the third axis is a turn by half: any of them may be taken for the axis where a plane is gone
    assert np.arccos(min(turned, 1.0)) < np.deg2rad(0.1)
    moved = apply_to_points(found.symmetry.orbit, np.asarray(symmetric_mixture(kind, 6).mean))
    assert score_of(bodies_of(symmetric_mixture(kind, 6)), found.symmetry) == pytest.approx(found.score)
    assert np.isfinite(moved).all()


def best_of_kinds(one: Bodies, kinds: tuple[str, ...]) -> list[Likeness]:
    """The best place of every kind that comes near to being one."""
    return [found[0] for kind in kinds if (found := likely_symmetries(one, kind))]


def test_the_largest_group_wins_and_nothing_is_found_in_chance():
    found = best_of_kinds(bodies_of(symmetric_mixture("two_planes", 5)), ("plane", "two_planes", "cyclic_2"))
    assert largest(found, 0.985).symmetry.kind == "two_planes"
    generator = np.random.default_rng(5)
    factor = np.tile(6.0 * np.eye(3), (9, 1, 1))
    chance = Mixture(0.4 * generator.normal(size=(9, 3)), factor, generator.random(9))
    assert largest(best_of_kinds(bodies_of(chance), ("plane", "cyclic_2")), 0.985) is None
    assert best_place(bodies_of(chance), "cyclic_3").score < 0.9
    a, b = placed("plane"), placed("plane")
    assert not differ(a, b)
    assert largest([Likeness(a, 0.5)], 0.985) is None


def cross(shear: float) -> trimesh.Trimesh:
    """A body of three boxes with one plane of symmetry, x = 0, sheared along it."""
    parts = [([1.0, 0.3, 0.3], [0, 0, 0]), ([0.3, 0.9, 0.25], [0, 0.4, 0.1]), ([0.25, 0.3, 0.8], [0, -0.1, 0.4])]
    boxes = [trimesh.creation.box(size).apply_translation(place) for size, place in parts]
    mesh = trimesh.util.concatenate([box.subdivide().subdivide() for box in boxes])
    matrix = np.eye(4)
    matrix[0, 1] = matrix[0, 2] = shear
    return mesh.apply_transform(matrix)


@pytest.mark.parametrize(("shear", "kind"), [(0.0, "plane"), (0.15, None)])
def test_a_mesh_is_symmetric_where_its_surface_is(shear, kind):
    mesh = canonical_frame(cross(shear)).mesh_to_canonical(cross(shear))
    inside = sample_interior(mesh, 6_000, np.random.default_rng(0))
    start = jax.device_get(fit_gmm(inside, 24, 0))
    answer = largest_of_surface(surface_symmetries(skin_of(mesh), bodies_of(start), ("plane", "two_planes")))
    assert (answer and answer.symmetry.kind) == kind
    if answer:
        plane = answer.symmetry.planes[0]
        assert abs(plane.normal[0]) > np.cos(np.deg2rad(0.1))
        assert abs(plane.offset) < 1e-3
        assert answer.distance < 5e-4
