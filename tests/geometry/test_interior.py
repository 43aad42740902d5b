"""Points inside and on meshes, against closed forms and the winding number summed over every face."""

import time

import numpy as np
import pytest
import trimesh

from fmb.geometry import interior
from fmb.geometry.interior import sample_interior, sample_surface


def winding_number(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    """Solid angles of all faces over 4 pi, each from its three dot products (van Oosterom & Strackee 1983)."""
    total = np.zeros(len(points))
    for corner in mesh.triangles:
        a, b, c = (vertex - points for vertex in corner)
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        volume = np.einsum("pi,pi->p", a, np.cross(b, c))
        plane = la * lb * lc + np.sum(a * b, axis=1) * lc + np.sum(b * c, axis=1) * la + np.sum(c * a, axis=1) * lb
        total += 2.0 * np.arctan2(volume, plane)
    return total / (4.0 * np.pi)


def knot() -> trimesh.Trimesh:
    """A closed tube around a trefoil knot: thin, of genus 1, and no line meets it in one piece only."""
    t = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    path = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], axis=1)
    along = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    side = np.cross(along, [0.3, 0.2, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(along, side)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    angle = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False)[:, None, None]
    ring = path + 0.3 * (np.cos(angle) * side + np.sin(angle) * up)
    index = np.arange(8 * 60).reshape(8, 60)
    right, above = np.roll(index, -1, axis=1), np.roll(index, -1, axis=0)
    both = np.roll(right, -1, axis=0)
    faces = np.concatenate(
        [np.stack(three, axis=-1).reshape(-1, 3) for three in ((index, right, both), (index, both, above))]
    )
    mesh = trimesh.Trimesh(ring.reshape(-1, 3), faces, process=False)
    if mesh.volume < 0.0:
        mesh.invert()
    return mesh


def without(mesh: trimesh.Trimesh, faces: np.ndarray) -> trimesh.Trimesh:
    """The mesh with holes where the faces were."""
    opened = mesh.copy()
    opened.update_faces(~faces)
    return opened


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_points_in_a_box_are_uniform(axis):
    sides = np.roll([1.0, 2.0, 3.0], axis)
    box = trimesh.creation.box(sides)
    box.apply_translation([1.0, -2.0, 3.0])
    points = sample_interior(box, 4000, np.random.default_rng(0)) - [1.0, -2.0, 3.0]
    assert points.shape == (4000, 3)
    assert np.all(np.abs(points) <= sides / 2.0)
    # standard errors of 4,000 independent points, times four
    np.testing.assert_allclose(points.mean(axis=0) / sides, 0.0, atol=4.0 * np.sqrt(1.0 / 12.0 / 4000))
    np.testing.assert_allclose(np.cov((points / sides).T), np.eye(3) / 12.0, atol=4.0 * np.sqrt(1.0 / 180.0 / 4000))
    eighth = np.bincount((points > 0.0) @ [1, 2, 4], minlength=8)
    np.testing.assert_allclose(eighth, 500, atol=4.0 * np.sqrt(500))


def test_every_point_is_inside_and_the_moments_are_the_mesh_s():
    mesh = knot()
    points = sample_interior(mesh, 3000, np.random.default_rng(0))
    assert np.all(winding_number(mesh, points) > 0.999)
    spread = np.sqrt(np.diag(mesh.moment_inertia).sum() / 2.0 / mesh.volume)
    np.testing.assert_allclose(points.mean(axis=0), mesh.center_mass, atol=4.0 * spread / np.sqrt(3000))


def test_overlapping_parts_count_once_and_hollows_do_not_count():
    first, second = trimesh.creation.box([2.0, 2.0, 2.0]), trimesh.creation.box([2.0, 2.0, 2.0])
    second.apply_translation([1.0, 0.0, 0.0])
    points = sample_interior(trimesh.util.concatenate([first, second]), 3000, np.random.default_rng(0))
    # uniform over [-1, 2]: a third of them in the overlap
    np.testing.assert_allclose(np.mean((points[:, 0] > 0.0) & (points[:, 0] < 1.0)), 1.0 / 3.0, atol=0.04)
    hollow = trimesh.creation.box([1.0, 1.0, 1.0])
    hollow.invert()
    points = sample_interior(trimesh.util.concatenate([first, hollow]), 3000, np.random.default_rng(0))
    assert np.all(np.any(np.abs(points) >= 0.5, axis=1))


def test_a_part_inside_out_counts_as_any_other():
    here, there = trimesh.creation.box(), trimesh.creation.box().apply_translation([3.0, 0.0, 0.0])
    there.invert()
    points = sample_interior(trimesh.util.concatenate([here, there]), 2000, np.random.default_rng(0))
    assert np.mean(points[:, 0] > 1.5) == pytest.approx(0.5, abs=0.05)


def test_faces_that_line_up_with_the_lattice_leave_no_gap():
    # 13 x 13 x 2 boxes on integer places share edges with each other and with the squares of the lattice
    grid = trimesh.creation.box([13.0, 13.0, 2.0])
    for _ in range(3):
        grid = grid.subdivide()
    points = sample_interior(grid, 13 * 13 * 3, np.random.default_rng(0))
    assert np.all(np.abs(points) <= [6.5, 6.5, 1.0])
    np.testing.assert_allclose(np.mean(points[:, 2] ** 2), 1.0 / 3.0, atol=0.06)


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (7, 1), (1000, 2)])
def test_a_needle_and_a_plate_are_found(count, seed):
    needle = trimesh.creation.cylinder(radius=1e-3, height=10.0, sections=8)
    needle.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 1.0, 0.3]))
    plate = trimesh.creation.box([5.0, 1e-3, 5.0])
    for mesh in (needle, plate):
        points = sample_interior(mesh, count, np.random.default_rng(seed))
        assert points.shape == (count, 3)
        assert np.all(winding_number(mesh, points) > 0.5)


@pytest.mark.parametrize("place", [0.0, 1e6])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_any_scale_and_place(scale, place):
    ball = trimesh.creation.icosphere(subdivisions=2, radius=scale)
    centre = np.full(3, place * scale)
    ball.apply_translation(centre)
    points = sample_interior(ball, 500, np.random.default_rng(0))
    assert np.max(np.linalg.norm(points - centre, axis=1)) < scale * (1.0 + 1e-8)


def test_an_open_box_is_filled_to_its_rim():
    box = trimesh.creation.box([2.0, 2.0, 2.0])
    opened = without(box, np.asarray(box.face_normals)[:, 1] > 0.5)
    points = sample_interior(opened, 2000, np.random.default_rng(0))
    # a flat hole: the winding number is one half exactly in its plane
    assert np.all(np.abs(points) <= 1.0)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.06)
    assert np.all(winding_number(opened, points) > 0.5)


def test_a_mesh_full_of_holes_keeps_its_volume():
    mesh = knot()
    holes = np.random.default_rng(3).random(len(mesh.faces)) < 0.1
    opened = without(mesh, holes)
    points = sample_interior(opened, 1500, np.random.default_rng(0))
    assert np.all(winding_number(opened, points) > 0.5)
    inside = winding_number(mesh, points)
    assert np.mean(inside > 0.5) > 0.97  # beyond the closed surface only at the holes


def test_the_caps_lack_what_the_winding_number_of_a_closed_mesh_has():
    mesh = knot()
    holes = np.random.default_rng(3).random(len(mesh.faces)) < 0.3
    opened = without(mesh, holes)
    vertices, caps = interior.capped(np.asarray(opened.vertices), np.asarray(opened.faces))
    closed = trimesh.Trimesh(vertices, np.concatenate([opened.faces, caps]), process=False)
    points = np.random.default_rng(1).uniform(*closed.bounds, (50, 3))
    whole = winding_number(closed, points)
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-9)
    by_caps = interior._winding(points, vertices, caps)
    np.testing.assert_allclose(whole - by_caps, winding_number(opened, points), atol=1e-9)


def test_meshes_without_an_interior_say_so():
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    with pytest.raises(ValueError, match="the mesh has no interior: 0 of 1000000 lines through its box meet one"):
        sample_interior(sheet, 100, np.random.default_rng(0))
    hoop = trimesh.creation.cylinder(radius=1.0, height=0.05, sections=24)
    hoop = without(hoop, np.abs(hoop.face_normals[:, 2]) > 0.5)
    with pytest.raises(ValueError, match=r"the mesh has no interior: it is open, and \d+ of \d+ points"):
        sample_interior(hoop, 100, np.random.default_rng(0))
    thread = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False)
    with pytest.raises(ValueError, match="the mesh has no interior: all its vertices lie on one line"):
        sample_interior(thread, 100, np.random.default_rng(0))


def test_counts_below_one_are_refused():
    with pytest.raises(ValueError, match="number of interior points 0: must be at least 1"):
        sample_interior(trimesh.creation.box(), 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="number of surface points -1: must be at least 1"):
        sample_surface(trimesh.creation.box(), -1, np.random.default_rng(0))


def test_points_on_a_surface_are_uniform():
    box = trimesh.creation.box([1.0, 2.0, 3.0])
    points = sample_surface(box, 6000, np.random.default_rng(0))
    at_side = np.isclose(np.abs(points), [0.5, 1.0, 1.5], rtol=0.0, atol=1e-12)
    np.testing.assert_array_equal(at_side.sum(axis=1), 1)
    np.testing.assert_allclose(at_side.mean(axis=0), np.array([6.0, 3.0, 2.0]) / 11.0, atol=2e-3)  # one per share
    on_large = points[at_side[:, 0]]
    np.testing.assert_allclose(on_large[:, 1:].mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose(on_large[:, 1:].var(axis=0), [4.0 / 12.0, 9.0 / 12.0], rtol=0.1)


def test_many_points_come_quickly():
    ball = trimesh.creation.icosphere(subdivisions=4)
    begin = time.process_time()
    sample_interior(ball, 20_000, np.random.default_rng(0))
    assert time.process_time() - begin < 2.0  # 0.1 s on a quiet machine
