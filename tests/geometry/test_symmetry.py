"""Groups of symmetry: that they are groups, and that points, rays and mixtures meet them in the same place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fm_render import Mixture, Rays, render
from fmb.geometry.symmetry import (
    GROUPS,
    Orbit,
    Placement,
    Symmetry,
    apply_to_mixture,
    apply_to_points,
    apply_to_rays,
    axis_symmetry,
    home_map,
    moved_record,
    place_record,
    plane_symmetry,
    triangular,
    whole_mixture,
)

KINDS = ("none", "plane", "two_planes", "cyclic_2", "cyclic_5", "revolution")


def placed(kind: str, seed: int = 0) -> Symmetry:
    generator = np.random.default_rng(seed)
    return Symmetry(kind, Placement(Rotation.random(random_state=seed).as_matrix(), 0.3 * generator.normal(size=3)))


def mixture(seed: int = 0, count: int = 4) -> Mixture:
    generator = np.random.default_rng(seed)
    factor = np.tril(generator.normal(size=(count, 3, 3)), -1) + np.eye(3) * generator.uniform(2, 6, (count, 1, 3))
    return Mixture(0.3 * generator.normal(size=(count, 3)), factor, generator.normal(size=count))


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_holds_products_and_inverses(kind):
    maps = GROUPS[kind]().maps
    np.testing.assert_allclose(maps[0], np.eye(3))
    for a in maps:
        np.testing.assert_allclose(a @ a.T, np.eye(3), atol=1e-12)
        for b in maps:
            assert np.abs(maps - a @ b).max((1, 2)).min() < 1e-12
    orbit, points = placed(kind).orbit, np.random.default_rng(1).normal(size=(5, 3))
    every = apply_to_points(orbit, points)
    for image in every:  # the images of an image are those of the point
        again = apply_to_points(orbit, image)
        assert np.abs(again[:, None] - every[None]).max((2, 3)).min(1).max() < 1e-12


def test_planes_and_axes_stay_where_they_are():
    plane = plane_symmetry(np.array([2.0, 0.0, 2.0]), 4.0)
    (told,) = plane.planes
    np.testing.assert_allclose(told.normal, np.array([1, 0, 1]) / np.sqrt(2))
    np.testing.assert_allclose(told.offset, np.sqrt(2))
    np.testing.assert_allclose(apply_to_points(plane.orbit, np.zeros((1, 3)))[1, 0], [2, 0, 2], atol=1e-12)
    assert plane.axis is None
    for kind in ("two_planes", "cyclic_3", "revolution"):
        axis = axis_symmetry(kind, np.array([0.0, 3.0, 4.0]), np.arange(3.0))
        on_it = axis.axis.point + 0.7 * axis.axis.direction
        np.testing.assert_allclose(apply_to_points(axis.orbit, on_it[None])[:, 0] - on_it, 0, atol=1e-12)
        turn = Rotation.random(random_state=3).as_matrix()
        moved = axis.moved(turn, np.ones(3), 2.0)
        points = np.random.default_rng(2).normal(size=(4, 3))
        carried = 2.0 * apply_to_points(axis.orbit, points) @ turn.T + 1.0
        np.testing.assert_allclose(apply_to_points(moved.orbit, 2.0 * points @ turn.T + 1.0), carried, atol=1e-12)


@pytest.mark.parametrize("kind", ["plane", pytest.param("cyclic_5", marks=pytest.mark.slow)])
def test_a_ray_sees_copies_as_mirrored_rays_see_the_component(kind):
    symmetry, balls, generator = placed(kind), mixture(), np.random.default_rng(5)
    origin = generator.normal(size=(20, 3))
    rays = Rays(
        3 * origin / np.linalg.norm(origin, axis=1, keepdims=True), -origin + 0.2 * generator.normal(size=(20, 3))
    )
    every = jax.tree.map(jnp.asarray, apply_to_mixture(symmetry.orbit, balls))
    whole = render(every, rays, outputs=("density",)).density
    each = render(jax.tree.map(jnp.asarray, balls), apply_to_rays(symmetry.orbit, rays), outputs=("density",)).density
    np.testing.assert_allclose(each.sum(0), whole, rtol=1e-9)


def test_turned_factors_are_triangular_also_of_thin_components():
    factor = Rotation.random(20, random_state=0).as_matrix() @ np.diag([1.0, 30.0, 1e4])
    lower = triangular(factor)
    np.testing.assert_allclose(np.triu(lower, 1), 0)
    np.testing.assert_allclose(lower @ lower.swapaxes(1, 2), factor @ factor.swapaxes(1, 2), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(lower), 3e5, rtol=1e-9)
    np.testing.assert_allclose(triangular(jnp.asarray(factor)), lower, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "left"), [("plane", 7), pytest.param("two_planes", 14, marks=pytest.mark.slow), ("cyclic_3", 12)]
)
def test_copies_that_fall_together_are_exported_once(kind, left):
    symmetry, balls = placed(kind), mixture()
    turn, origin = symmetry.placement
    # a component whose own axes are those of the group, on the plane x = 0 but on no axis
    even = np.linalg.cholesky(turn @ np.diag([9.0, 16.0, 25.0]) @ turn.T)
    mean = np.concatenate([balls.mean[:3], (origin + turn @ [0.0, 0.1, 0.1])[None]])
    balls = Mixture(mean, np.concatenate([balls.precision_cholesky[:3], even[None]]), balls.log_weight)
    whole = whole_mixture(symmetry, balls)
    assert len(whole.mean) == left
    every = apply_to_mixture(symmetry.orbit, balls)
    rays = Rays(np.array([[3.0, 0.1, 0.2]]), np.array([[-1.0, 0.0, 0.05]]))
    seen = [render(jax.tree.map(jnp.asarray, m), rays, outputs=("density",)).density for m in (whole, every)]
    np.testing.assert_allclose(*seen, rtol=1e-9)


def test_every_point_has_one_home():
    for kind in KINDS:
        symmetry, points = placed(kind), np.random.default_rng(0).normal(size=(50, 3))
        homes = home_map(symmetry, points)
        images = apply_to_points(symmetry.orbit, points)[homes, np.arange(50)]
        assert not home_map(symmetry, images).any()


@pytest.mark.slow
def test_gradients_of_a_plane_against_differences():
    symmetry, balls = placed("plane"), jax.tree.map(jnp.asarray, mixture())
    rays = Rays(jnp.array([[3.0, 0.1, 0.2], [0.1, 2.0, 2.0]]), jnp.array([[-1.0, 0.0, 0.05], [0.0, -0.9, -1.0]]))

    def loss(origin, turn):
        orbit = Symmetry("plane", Placement(turn, origin)).orbit
        return render(apply_to_mixture(orbit, balls), rays, outputs=("density",)).density.sum()

    turn, origin = map(jnp.asarray, symmetry.placement)
    for number in (0, 1):
        slope = jax.grad(loss, number)(origin, turn)
        way = np.random.default_rng(0).normal(size=slope.shape)
        ends = [loss(*(x + h * way if i == number else x for i, x in enumerate((origin, turn)))) for h in (1e-6, -1e-6)]
        np.testing.assert_allclose((slope * way).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="normal of a plane is .* must be finite and not 0"):
        plane_symmetry(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="symmetry is plane; about an axis it must be"):
        axis_symmetry("plane", np.ones(3), np.zeros(3))
    assert isinstance(placed("plane").orbit, Orbit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_carried_along_as_its_symmetry_is(kind):
    centre, scale = np.array([30.0, -500.0, 7.0]), 20.0
    moved = place_record(placed(kind).moved(np.eye(3), centre, scale))
    found = moved_record(place_record(placed(kind)), centre, scale)
    assert found.keys() == moved.keys()
    for one, other in zip(found.get("planes", []), moved.get("planes", []), strict=True):
        np.testing.assert_allclose(one["normal"], other["normal"], atol=1e-12)
        np.testing.assert_allclose(one["offset"], other["offset"], rtol=1e-12)
    for name, field in moved.get("axis", {}).items():
        np.testing.assert_allclose(found["axis"][name], field, rtol=1e-12)
