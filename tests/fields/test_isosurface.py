"""Gradients through the extracted surface against finite differences and closed forms; following it on a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fmb.fields.contour import contour
from fmb.fields.field import polish
from fmb.fields.following import COMB, followed_grid, whole_grid
from fmb.fields.isosurface import Surface, at_level, padded, surface_slope

CORNER, CELLS = 1.0, 32
SPACING = 2 * CORNER / CELLS


def ellipsoid(parameters):
    """No distance: its slope grows with the distance from the middle."""
    return lambda points: jnp.sum(((points - parameters[None, 3:]) / parameters[None, :3]) ** 2, axis=1) - 1.0


def network(parameters):
    """A bent sphere: a small random network adds to its distance."""
    generator = np.random.default_rng(3)
    inner, outer = (jnp.asarray(generator.normal(size=size)) for size in ((3, 8), (8,)))

    def field(points):
        hidden = jnp.tanh(points @ inner + parameters[None, :1])
        return jnp.sqrt(jnp.sum(points**2, axis=1) + 0.01) - 0.55 - 0.1 * parameters[1] * (hidden @ outer)

    return field


def chain(family, loss, parameters):
    """The loss, from parameters over the grid to the mesh."""
    surface = padded(whole_grid(family(parameters), CORNER, CELLS).grid)
    return surface_slope(family, loss, SPACING)(parameters, surface, ())


def along_normals(family, vertex, parameters):
    """The vertices of one mesh, moved along their normals to the zero of other parameters."""
    return polish(family(parameters), np.asarray(vertex), SPACING)


def uneven(surface: Surface, more) -> jax.Array:
    """A loss that tells every vertex from every other."""
    return jnp.sum(jnp.sin(5.0 * surface.vertex) * surface.vertex[:, ::-1]) / 100.0


@pytest.mark.parametrize("level", [0.0, 0.15])
@pytest.mark.parametrize(
    ("family", "parameters"),
    [(ellipsoid, [0.7, 0.5, 0.6, 0.05, 0.0, -0.02]), (network, [0.4, 0.8])],
)
def test_gradient_is_that_of_finite_differences(family, parameters, level):
    parameters, family = jnp.asarray(parameters), at_level(family, level)
    found = chain(family, uneven, parameters)
    surface = padded(whole_grid(family(parameters), CORNER, CELLS).grid)
    # two Newton steps along normals change nothing in first order, so this is the chain's own derivative
    base = along_normals(family, found.vertex, parameters)
    for number in range(len(parameters)):
        step = 1e-5 * jnp.eye(len(parameters))[number]
        ends = [
            uneven(Surface(jnp.asarray(along_normals(family, base, parameters + sign * step)), surface.face), ())
            for sign in (1.0, -1.0)
        ]
        assert_allclose(found.gradient[number], (ends[0] - ends[1]) / 2e-5, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_volume_of_the_whole_chain_is_that_of_the_ellipsoid(level):
    axes = np.array([0.7, 0.5, 0.6])
    parameters = jnp.asarray([*axes, 0.0, 0.0, 0.0])
    family = at_level(ellipsoid, level)
    found = chain(family, lambda surface, more: surface.volume, parameters)
    exact = 4 / 3 * np.pi * axes.prod() * (1 + level) ** 1.5
    assert_allclose(found.loss, exact, rtol=0.01)  # chords cut corners: error of second order
    assert_allclose(found.gradient[:3], exact / axes, rtol=0.02)
    assert_allclose(found.gradient[3:], 0.0, atol=1e-3)
    step = 0.02  # the mesh is made anew, with other triangles
    ends = [chain(family, lambda s, more: s.volume, parameters.at[0].add(sign * step)).loss for sign in (1.0, -1.0)]
    assert_allclose(found.gradient[0], (ends[0] - ends[1]) / (2 * step), rtol=0.01)


def test_pull_is_how_far_outward_the_loss_falls():
    found = chain(ellipsoid, lambda surface, more: -surface.volume, jnp.asarray([0.6] * 3 + [0.0] * 3))
    surface = padded(whole_grid(ellipsoid(jnp.asarray([0.6] * 3 + [0.0] * 3)), CORNER, CELLS).grid)
    used = np.asarray(surface.weight) > 0
    assert np.all(np.asarray(found.pull)[used] > 0) and np.all(np.asarray(found.pull)[~used] == 0)
    assert_allclose(np.sum(found.pull), 4 * np.pi * 0.6**2, rtol=0.01)  # dV/dr is the area


def test_arrays_are_filled_up_without_a_trace():
    grid = whole_grid(ellipsoid(jnp.asarray([0.7, 0.5, 0.6, 0.0, 0.0, 0.0])), CORNER, CELLS).grid
    mesh, surface = contour(grid), padded(grid)
    assert len(surface.vertex) > len(mesh.vertices) and len(surface.face) > len(mesh.faces)
    assert_allclose(surface.volume, mesh.volume, rtol=1e-9)
    assert_allclose(jnp.sum(surface.weight), mesh.area, rtol=1e-9)
    assert np.count_nonzero(surface.weight) == len(mesh.vertices)


def test_a_field_without_zero_is_named():
    with pytest.raises(ValueError, match="no surface: the field goes from"):
        padded(whole_grid(lambda points: 1.0 + 0.0 * points[:, 0], CORNER, 16).grid)


def balls(*spheres):
    """The union of spheres, each (x, y, z, radius)."""
    rows = jnp.asarray(spheres)
    return lambda points: jnp.min(
        jnp.sqrt(jnp.sum((points[:, None] - rows[None, :, :3]) ** 2, axis=2)) - rows[None, :, 3], axis=1
    )


def same(one, other) -> bool:
    return len(one.faces) == len(other.faces) and np.allclose(np.sort(one.vertices, 0), np.sort(other.vertices, 0))


def test_followed_is_the_whole_grid_however_far_the_surface_moves():
    last = whole_grid(balls((0, 0, 0, 0.3)), CORNER, 40)
    for number, radius in enumerate((0.32, 0.5, 0.2)):  # by up to six cells
        field = balls((0.02, 0, 0, radius))
        found, whole = followed_grid(field, last.grid, number), whole_grid(field, CORNER, 40)
        assert same(contour(found.grid), contour(whole.grid))
        assert found.points < whole.points / 2
        last = found
    again = followed_grid(balls((0.02, 0, 0, 0.21)), last.grid, 5)
    assert again.points < whole.points / 8


def test_a_part_that_appears_far_away_is_found():
    two = balls((-0.5, 0, 0, 0.3), (0.6, 0.6, 0.6, 0.1)), balls((-0.5, 0, 0, 0.3), (0.6, 0.6, 0.6, 0.03))
    last = whole_grid(balls((-0.5, 0, 0, 0.3)), CORNER, 40)
    # as large as the comb's distance: at once
    assert contour(followed_grid(two[0], last.grid, 0).grid).body_count == 2
    counts, grid = [], last.grid
    for number in range(COMB**3):  # as small as one node: before every node has been seen again
        grid = followed_grid(two[1], grid, number).grid
        counts.append(contour(grid).body_count)
    assert counts[0] == 1 and counts[-1] == 2
    # and one that goes away again is forgotten
    assert contour(followed_grid(balls((-0.5, 0, 0, 0.3)), grid, 0).grid).body_count == 1
