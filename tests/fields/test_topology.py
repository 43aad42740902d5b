"""Handles and holes that are thinner than a level set is certain go, the others stay."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.ndimage import gaussian_filter

from fmb.clouds.surface import certain_surface, extract, uncertainty
from fmb.fields.contour import Grid, contour
from fmb.fields.field import first_order_distance
from fmb.fields.topology import groups, hang_together, without_thin_handles
from fmb.geometry.distances import distance_to

CELLS, THIN = 48, 0.03
REACH = 0.06  # three deviations of the noise


def ring(neck: float, x):
    """A torus in the plane z = 0 whose tube, 0.12 thick, has the radius `neck` at the place where x is largest."""
    across = jnp.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 1e-12)
    angle = jnp.arctan2(x[:, 1], x[:, 0])
    tube = 0.12 - (0.12 - neck) * jnp.exp(-((angle / 0.4) ** 2))
    return jnp.sqrt((across - 0.32) ** 2 + x[:, 2] ** 2 + 1e-12) - tube


def sheet(hole: float, x):
    """A round plate with a hole of that radius in its middle, all edges round."""
    across = jnp.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 1e-12)
    flat = jnp.maximum(jnp.maximum(across - 0.35, hole + 0.08 - across), 0.0)
    return jnp.sqrt(flat**2 + x[:, 2] ** 2 + 1e-12) - 0.08


def points_of(field) -> np.ndarray:
    return np.asarray(extract(field, CELLS).vertices)


@pytest.mark.parametrize("shape", [ring, sheet])
def test_what_is_thinner_than_the_reach_goes_and_what_is_thicker_stays(shape):
    field = Partial(shape, THIN)
    for reach, euler in ((0.0, 0), (THIN / 3, 0), (1.5 * THIN, 2)):
        mesh, changed = certain_surface(field, CELLS, points_of(field), reach)
        assert (mesh.euler_number, changed > 0) == (euler, euler == 2), reach
        assert mesh.is_watertight and mesh.body_count == 1
    thick = Partial(shape, 0.1)
    mesh, changed = certain_surface(thick, CELLS, points_of(thick), 1.5 * THIN)
    assert (mesh.euler_number, changed) == (0, 0)
    # the rest of the surface is where it was, to the last digit
    plain = extract(thick, CELLS)
    np.testing.assert_allclose(distance_to(plain, np.asarray(mesh.vertices)), 0.0, atol=1e-12)


def test_parts_and_cavities_stay_also_where_they_touch_within_the_reach():
    def balls(x):
        apart = jnp.linalg.norm(x - jnp.array([[0.24, 0.0, 0.0]]), axis=1) - 0.2
        shell = jnp.abs(jnp.linalg.norm(x + jnp.array([[0.24, 0.0, 0.0]]), axis=1) - 0.18) - 0.03
        return jnp.minimum(apart, shell)

    mesh, changed = certain_surface(balls, CELLS, points_of(balls), 0.05)
    assert (mesh.body_count, mesh.euler_number, changed) == (3, 6, 0)


def noisy(field: np.ndarray, size: float, seed: int) -> np.ndarray:
    """The field with smooth noise of that size."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=field.shape), 1.2)
    return field + size * noise / noise.std()


def ball(x):
    return jnp.linalg.norm(x, axis=1) - 0.4


@pytest.mark.parametrize(("shape", "euler"), [(Partial(ring, 0.12), 0), (ball, 2)])
def test_noise_makes_handles_that_go_while_the_true_one_stays(shape, euler):
    ticks = np.linspace(-0.6, 0.6, 65)
    nodes = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    value = noisy(np.asarray(shape(jnp.asarray(nodes))).reshape(65, 65, 65), 0.018, 3)
    grid = Grid(value, np.full(3, -0.6), ticks[1] - ticks[0])

    def main_part(grid: Grid) -> int:
        return max(contour(grid).split(), key=lambda part: len(part.faces)).euler_number

    assert main_part(grid) < euler
    assert main_part(without_thin_handles(grid, REACH, grid.spacing / 4)) == euler
    # inside and outside change places
    turned = without_thin_handles(grid._replace(value=-grid.value), REACH, grid.spacing / 4)
    assert np.count_nonzero(np.sign(turned.value) != np.sign(-grid.value)) > 0


def test_neighbours_hang_together_as_in_a_slow_twin():
    there = np.random.default_rng(0).uniform(size=(200, 26)) < np.linspace(0.05, 0.6, 200)[:, None]
    there[:, 3] = True
    counts = np.array([len(groups(row)) for row in there])
    assert set(counts) >= {1, 2, 3}
    np.testing.assert_array_equal(hang_together(there), counts == 1)


def test_distances_from_the_zero_of_a_field_in_any_unit():
    def steep(x):
        """Zero on a ball, no distance: 50 times the square."""
        return 50.0 * (jnp.sum(x**2, axis=1) - 0.16)

    generator = np.random.default_rng(0)
    points = generator.normal(size=(1_500, 3))
    points *= 0.4 / np.linalg.norm(points, axis=1, keepdims=True)
    places = points * np.array([0.98, 1.02, 1.5])[np.arange(1_500) % 3, None]
    radius = np.linalg.norm(places, axis=1)
    steepness = np.maximum(radius, 0.4)
    np.testing.assert_allclose(
        first_order_distance(steep, places, points), (radius**2 - 0.16) / (2 * steepness), rtol=1e-6, atol=1e-9
    )
    assert np.isfinite(first_order_distance(steep, np.zeros((1, 3)), points)).all()
    noisy = points + 0.02 * generator.normal(size=points.shape)
    assert uncertainty(steep, noisy) == pytest.approx(0.02, rel=0.2)
    # the surface lies 0.1 beside clean points
    assert uncertainty(lambda x: steep(0.8 * x), points) == pytest.approx(0.1, rel=0.15)
