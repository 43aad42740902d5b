"""Surfaces of spheres and tori of known size, by closed form; the gradient of vertices by finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fmb.fields.contour import Grid, contour, extract_surface, sample_field, tidy
from fmb.fields.field import attached, field_normals, polish

RADIUS = 0.7
CENTRE = np.array([0.3, -0.2, 5.0])


def sphere(points: jax.Array, radius: float = RADIUS) -> jax.Array:
    """Distance to a sphere, squared, so that it is no signed distance."""
    return jnp.sum((points - CENTRE[None]) ** 2, axis=-1) - radius**2


def torus(points: jax.Array) -> jax.Array:
    """Signed distance to a torus about z of radii 0.6 and 0.2."""
    around = jnp.sqrt(jnp.sum(points[:, :2] ** 2, axis=-1)) - 0.6
    return jnp.sqrt(around**2 + points[:, 2] ** 2) - 0.2


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    """The sphere's mesh."""
    return extract_surface(sphere, CENTRE - RADIUS, CENTRE + RADIUS, 32)


def test_sphere_has_its_radius_and_volume(ball):
    assert ball.is_watertight and ball.is_winding_consistent and ball.euler_number == 2
    # two Newton steps from a chord of at most one cell, 1/32 of the radius: error of fourth order
    assert_allclose(np.linalg.norm(ball.vertices - CENTRE, axis=1), RADIUS, rtol=1e-6)
    assert_allclose(ball.volume, 4 / 3 * np.pi * RADIUS**3, rtol=0.01)
    assert np.all(np.einsum("fi,fi->f", ball.triangles_center - CENTRE, ball.face_normals) > 0)


def test_torus_is_one_piece_with_a_hole():
    mesh = extract_surface(torus, np.array([-0.8, -0.8, -0.2]), np.array([0.8, 0.8, 0.2]), 40)
    assert mesh.is_watertight and mesh.euler_number == 0
    assert_allclose(mesh.volume, 2 * np.pi**2 * 0.6 * 0.2**2, rtol=0.02)


def test_sparse_evaluation_finds_what_a_full_grid_has():
    grid = sample_field(torus, np.array([-0.8, -0.8, -0.2]), np.array([0.8, 0.8, 0.2]), 64)
    nodes = grid.origin + grid.spacing * np.indices(grid.value.shape).reshape(3, -1).T
    full = np.asarray(torus(jnp.asarray(nodes))).reshape(grid.value.shape)
    exact = np.isclose(grid.value, full)
    assert 0.05 < exact.mean() < 0.4
    for axis in range(3):  # both ends of every edge that the surface crosses
        crossed = np.diff(np.sign(full), axis=axis) != 0
        assert np.all(exact.take(range(crossed.shape[axis]), axis)[crossed])
        assert np.all(exact.take(range(1, crossed.shape[axis] + 1), axis)[crossed])
    assert np.all(np.sign(grid.value) == np.sign(full))
    ours, theirs = contour(grid), contour(grid._replace(value=full))
    assert_allclose(ours.vertices, theirs.vertices, atol=1e-12)


def test_a_plate_thinner_than_the_first_cells_is_found():
    def plate(points):
        return jnp.sum(points**2 / jnp.array([[1.0, 1.0, 0.03**2]]), axis=-1) - 1

    mesh = extract_surface(plate, np.array([-1.0, -1.0, -0.03]), np.array([1.0, 1.0, 0.03]), 64)
    assert mesh.is_watertight and mesh.euler_number == 2
    assert_allclose(mesh.volume, 4 / 3 * np.pi * 0.03, rtol=0.08)


def test_levels_within_the_band_are_exact():
    grid = sample_field(sphere, CENTRE - 1.0, CENTRE + 1.0, 24, (-0.3, 0.3))
    for level in (-0.3, 0.0, 0.3):
        mesh = contour(grid, level)
        # trilinear interpolation of a square: error below half the squared cell
        assert_allclose(np.sum((mesh.vertices - CENTRE) ** 2, axis=1), RADIUS**2 + level, atol=grid.spacing**2 / 2)


def test_values_of_exactly_zero_make_no_hole():
    mesh = extract_surface(lambda p: jnp.max(jnp.abs(p), axis=-1) - 0.5, -np.ones(3), np.ones(3), 16)
    assert mesh.is_watertight
    assert_allclose(mesh.extents, 1.0, atol=1e-3)


def test_cavities_and_specks_are_left_out():
    ball = trimesh.creation.icosphere(2)
    hole = ball.copy().apply_scale(0.5)
    hole.invert()
    speck = ball.copy().apply_scale(0.05).apply_translation([2.0, 0.0, 0.0])
    mesh = trimesh.util.concatenate([ball, hole, speck])
    assert len(tidy(mesh).faces) == 2 * len(ball.faces)
    assert len(tidy(mesh, smallest=1e-3).faces) == len(ball.faces)
    assert_allclose(tidy(mesh, smallest=1e-3).volume, ball.volume)


def test_polish_moves_no_point_away():
    points = CENTRE + RADIUS * np.array([[1.0, 0.0, 0.0], [1.2, 0.0, 0.0], [1e-9, 0.0, 0.0]])
    moved = polish(sphere, points, 0.05)
    assert_allclose(moved[0], points[0], atol=1e-15)
    assert_allclose(moved[1] - points[1], [-0.1, 0.0, 0.0], atol=1e-12)
    assert np.all(np.abs(sphere(jnp.asarray(moved))) <= np.abs(sphere(jnp.asarray(points))))


def test_vertices_follow_the_field(ball):
    vertices = np.asarray(ball.vertices)[:5]

    def places(radius, points):
        return attached(partial(sphere, radius=radius), points)

    moved = jax.jacfwd(places)(RADIUS, vertices)
    assert_allclose(places(RADIUS, vertices), vertices, atol=1e-15)
    # a sphere that grows moves its points outwards as fast as its radius
    assert_allclose(moved, (vertices - CENTRE) / RADIUS, atol=1e-6)
    step = 1e-5
    ends = [polish(partial(sphere, radius=RADIUS + sign * step), vertices, 0.01) for sign in (1, -1)]
    assert_allclose(moved, (ends[0] - ends[1]) / (2 * step), atol=1e-8)


@pytest.mark.slow
def test_volume_has_the_gradient_of_the_sphere(ball):
    faces = jnp.asarray(np.asarray(ball.faces))

    def volume(radius):
        corner = attached(partial(sphere, radius=radius), np.asarray(ball.vertices))[faces]
        return jnp.sum(corner[:, 0] * jnp.cross(corner[:, 1], corner[:, 2])) / 6

    # the mesh's area is a little below the sphere's
    assert_allclose(jax.grad(volume)(RADIUS), 4 * np.pi * RADIUS**2, rtol=0.01)


def test_normals_point_outwards(ball):
    vertices = np.asarray(ball.vertices)
    assert_allclose(field_normals(sphere, vertices), (vertices - CENTRE) / RADIUS, atol=1e-6)
    assert_allclose(field_normals(sphere, CENTRE[None]), 0.0)


def test_errors():
    low, high = CENTRE - RADIUS, CENTRE + RADIUS
    with pytest.raises(ValueError, match="mesh resolution 4: must be at least 8"):
        sample_field(sphere, low, high, 4)
    with pytest.raises(ValueError, match="the second must be larger"):
        sample_field(sphere, high, low, 16)
    with pytest.raises(ValueError, match="no surface: the field goes from .* must change sign"):
        extract_surface(sphere, high + 5.0, high + 6.0, 16)
    with pytest.raises(ValueError, match="reaches the border of its box"):
        extract_surface(sphere, CENTRE - 0.3, CENTRE + 0.5, 16)
    with pytest.raises(ValueError, match="not finite at 1331 of 1331 points"):
        sample_field(lambda p: p[:, 0] * jnp.nan, low, high, 32)
    with pytest.raises(ValueError, match="no surface"):
        contour(Grid(np.ones((4, 4, 4)), np.zeros(3), 1.0))
