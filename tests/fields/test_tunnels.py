"""Tunnels and bridges thinner than a pixel: what masks show stays, what they do not show goes; genus and volume."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from numpy.testing import assert_allclose, assert_array_equal

from fm_render import Mixture
from fmb.fields.contour import extract_surface
from fmb.fields.metaballs import HALF_DENSITY, mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.fields.tunnels import closed_tunnels, genus
from fmb.geometry.cameras import Cameras, look_at, pixel_rays, project
from fmb.geometry.frames import Frame
from fmb.geometry.sightings import seen_against
from fmb.geometry.views import Views
from fmb.machine import surface_lines
from fmb.tasks.export import Subject, surface_facts
from tests.fields.test_topology import ring, sheet

SIZE, DISTANCE, PIXEL, THIN = 25, 4.0, 0.08, 0.03
BOX = (np.full(3, -0.6), np.full(3, 0.6), 40)


def cameras() -> Cameras:
    """In front, behind, above and beside; a pixel's centre lies on each optical axis."""
    places = DISTANCE * np.array([[0, 0, -1.0], [0, 0, 1], [0, 1, 0.01], [1, 0, 0]])
    poses = np.stack([look_at(place, np.zeros(3), [0.0, 1.0, 0.1]) for place in places])
    lens = np.array([[DISTANCE / PIXEL, 0, SIZE / 2], [0, DISTANCE / PIXEL, SIZE / 2], [0, 0, 1]])
    return Cameras(poses, np.repeat(lens[None], len(poses), axis=0))


def views(solid: Callable[[np.ndarray], np.ndarray]) -> Views:
    """Masks of a solid: whether one of the points along a pixel's ray is inside."""
    rays = pixel_rays(cameras(), SIZE, SIZE)
    depth = np.linspace(DISTANCE - 0.7, DISTANCE + 0.7, 141)
    points = np.asarray(rays.origin)[..., None, :] + depth[:, None] * np.asarray(rays.direction)[..., None, :]
    inside = solid(points.reshape(-1, 3)).reshape(points.shape[:-1])
    return Views(cameras(), inside.any(axis=-1).astype(np.float32))


def disc(hole: float, points: np.ndarray) -> np.ndarray:
    across = np.hypot(points[:, 0], points[:, 1])
    return (across < 0.43) & (across > hole) & (np.abs(points[:, 2]) < 0.08)


def annulus(gap: float, points: np.ndarray) -> np.ndarray:
    across, angle = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
    return (np.abs(across - 0.32) < 0.12) & (np.abs(angle) > gap) & (np.abs(points[:, 2]) < 0.12)


@pytest.mark.parametrize(
    ("shape", "solid", "tunnels"),
    [
        (sheet, Partial(disc, -1.0), 0),  # no mask shows the hole: filled
        (sheet, Partial(disc, THIN), 1),  # the views in front and behind see through it
        (ring, Partial(annulus, 0.35), 0),  # the masks show a gap: the thin bridge over it is cut
        (ring, Partial(annulus, -1.0), 1),
    ],
)
def test_masks_decide_what_is_thinner_than_a_pixel(shape, solid, tunnels):
    field = Partial(shape, THIN)
    mesh = extract_surface(field, *BOX)
    assert genus(mesh) == 1
    found = closed_tunnels(field, mesh, BOX, 1e-3, views(solid))
    assert (genus(found.mesh), found.narrow) == (tunnels, tunnels)
    assert found.mesh.is_watertight and found.mesh.body_count == 1
    # the rest of the surface lies on the field's zero
    assert np.median(np.abs(field(jnp.asarray(found.mesh.vertices)))) < 1e-5


def test_what_is_wider_stays_and_is_not_doubted():
    field = Partial(ring, 0.11)
    mesh = extract_surface(field, *BOX)
    found = closed_tunnels(field, mesh, BOX, 1e-3, views(Partial(annulus, -1.0)))
    assert (genus(found.mesh), found.narrow) == (1, 0)


def test_views_against_places_are_those_with_background_at_their_pixels():
    generator = np.random.default_rng(0)
    mask, valid = generator.uniform(size=(2, 4, SIZE, SIZE)) > 0.4
    points = generator.uniform(-1.0, 1.0, (200, 3))
    place, depth = (np.asarray(x) for x in project(cameras(), points))
    expected = np.zeros(len(points), int)
    for view in range(4):
        for point, (x, y) in enumerate(np.floor(place[view]).astype(int)):
            if depth[view, point] > 0 and 0 <= x < SIZE and 0 <= y < SIZE and valid[view, y, x]:
                expected[point] += not mask[view, y, x]
    assert set(range(3)) <= set(expected)
    found = seen_against(Views(cameras(), mask.astype(float), valid=valid), points)
    assert_array_equal(found, expected)


def test_pieces_tunnels_and_volume_are_told_in_the_inputs_unit():
    ball = Mixture(jnp.zeros((1, 3)), 5.0 * jnp.eye(3)[None], jnp.array([2.0]))
    made = mesh_mixture(ball, MeshOptions(mesh_field="density", mesh_resolution=32))
    facts = surface_facts(Subject(ball, Frame(np.zeros(3), np.asarray(3.0)), mesh=made.mesh, level=made.level), None, 0)
    radius = 3.0 * 0.2 * np.sqrt(2 * (2.0 - np.log(HALF_DENSITY)))
    assert_allclose(facts["mesh"]["volume"], 4 / 3 * np.pi * radius**3, rtol=0.01)
    assert (facts["mesh"]["components"], facts["mesh"]["genus"], facts["mesh"]["narrow_tunnels"]) == (1, 0, 0)
    assert surface_lines(facts["mesh"])[0].split("   ")[-1].strip().startswith("1 piece, genus 0, volume ")
    (first, warning) = surface_lines(facts["mesh"] | {"genus": 3, "narrow_tunnels": 2, "components": 2})
    assert "2 pieces, genus 3" in first and "2 of its 3 tunnels may not be real" in warning
    assert "not closed" in surface_lines(facts["mesh"] | {"genus": None})[0] and surface_lines(None) == []
