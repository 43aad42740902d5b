"""Meshes and planes: halves that mirror each other to the last bit, closed, with the parameters that are promised."""

import numpy as np
import pytest
import trimesh

from fmb.geometry.mesh_symmetry import (
    SHARES,
    geometric_error,
    height,
    index_error,
    mirrored_mesh,
    opposite_vertices,
    symmetrised,
    width,
)
from fmb.geometry.refinement import RULES, refined
from fmb.geometry.symmetry import Plane


def plane(normal, offset=0.0):
    return Plane(np.asarray(normal, float) / np.linalg.norm(normal), np.asarray(float(offset)))


def lopsided():
    """A torus with a bump on its right, away from the origin and turned."""
    mesh = trimesh.creation.torus(1.0, 0.35, major_sections=24, minor_sections=12)
    mesh.vertices += 0.2 * np.exp(-4.0 * ((mesh.vertices - [1.0, 0.0, 0.0]) ** 2).sum(1))[:, None] * [0.0, 0.0, 1.0]
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 2.0, 0.5]))
    return mesh.apply_translation([3.0, -1.0, 7.0])


SKEWED = plane([1.0, 0.4, -0.3], 1.2)


@pytest.mark.parametrize("modes", [("left_to_right",), ("right_to_left",), ("centre",), tuple(SHARES)])
def test_symmetrised_mesh_is_closed_and_its_own_mirror_image(modes):
    mesh = lopsided()
    at = SKEWED._replace(
        offset=np.asarray(float(height(mesh.bounds.mean(axis=0), SKEWED._replace(offset=np.zeros(())))))
    )
    assert geometric_error(mesh, at).largest > 0.01
    made = symmetrised(mesh, at, modes)
    whole = made.mesh()
    assert whole.is_watertight and whole.is_winding_consistent and whole.volume > 0.0
    assert whole.euler_number == mesh.euler_number == 0
    for error in (geometric_error(whole, at), index_error(np.asarray(whole.vertices), made.opposite, at)):
        assert error.mean <= error.largest < 1e-12
    assert (height(made.half, made.plane) > -1e-12).all() and made.seam.sum() >= 8
    assert made.parameters == 3 * len(made.half) - made.seam.sum() < 0.55 * whole.vertices.size


def test_one_side_is_kept_as_it_is_and_the_centre_is_the_mean():
    ball = trimesh.creation.icosphere(4)
    ball.vertices[ball.vertices[:, 0] > 0] *= [1.2, 1.0, 1.0]
    volume = {mode: symmetrised(ball, plane([1, 0, 0]), (mode,)).mesh().volume for mode in SHARES}
    sphere = 4 / 3 * np.pi
    assert volume["left_to_right"] == pytest.approx(sphere, rel=0.01)
    assert volume["right_to_left"] == pytest.approx(1.2 * sphere, rel=0.01)
    assert volume["centre"] == pytest.approx(1.1 * sphere, rel=0.01)


def test_slices_each_take_the_side_that_they_are_told():
    rod = trimesh.creation.capsule(4.0, 0.5, count=[24, 24])  # along z
    rod.vertices[rod.vertices[:, 0] > 0] *= [1.2, 1.0, 1.0]
    made = symmetrised(rod, plane([1, 0, 0]), ("right_to_left", "left_to_right"))
    end = made.half[:, 2] - made.half[:, 2].mean()
    wide = [height(made.half[side], made.plane).max() for side in (end < -1.0, end > 1.0)]
    assert wide == pytest.approx([0.6, 0.5], abs=0.01)


def test_errors_have_closed_forms():
    box = trimesh.creation.box([4.0, 1.0, 1.0])
    opposite = opposite_vertices(np.asarray(box.vertices), plane([1, 0, 0]))
    assert index_error(np.asarray(box.vertices), opposite, plane([1, 0, 0])) == (0.0, 0.0)
    # a plane that lies 0.3 beside the middle moves all by 0.6, in a width of 4
    assert geometric_error(box, plane([1, 0, 0], 0.3)).largest == pytest.approx(0.6 / 4)
    assert index_error(np.asarray(box.vertices), opposite, plane([1, 0, 0], 0.3)) == pytest.approx((0.15, 0.15))
    assert opposite_vertices(np.asarray(lopsided().vertices), SKEWED) is None


@pytest.mark.parametrize("rule", RULES)
def test_refined_halves_double_the_vertices_at_the_parameters_of_the_whole(rule):
    ball = mirrored_mesh(trimesh.creation.icosphere(3, 2.0), plane([1.0, 2.0, 0.3], 0.2))
    finer = refined(ball, rule)
    before, after = ball.mesh(), finer.mesh()
    assert after.is_watertight and after.is_winding_consistent and after.euler_number == 2
    assert index_error(np.asarray(after.vertices), finer.opposite, finer.plane).largest < 1e-12
    np.testing.assert_allclose(height(finer.half[finer.seam], finer.plane), 0.0, atol=1e-12)
    if rule != "loop":
        np.testing.assert_array_equal(finer.half[: len(ball.half)], ball.half)
        assert after.volume == pytest.approx(before.volume, rel=1e-12), "new vertices lie on the faces"
        assert len(after.vertices) == pytest.approx(2 * len(before.vertices), rel=0.1)
        assert 0.9 < finer.parameters / before.vertices.size <= 1.0


def test_planes_that_miss_and_unknown_modes_are_refused():
    ball = trimesh.creation.icosphere(1)
    with pytest.raises(ValueError, match=r"^the plane misses the mesh, which lies from -4 to -2 along its normal: one"):
        mirrored_mesh(ball, plane([1, 0, 0], 3.0))
    with pytest.raises(ValueError, match=r"^reflection mode 'left': allowed are left_to_right, right_to_left, centre$"):
        symmetrised(ball, plane([1, 0, 0]), ("centre", "left"))
    with pytest.raises(ValueError, match=r"^refinement 'twice': allowed are centroid, midpoint, loop$"):
        refined(mirrored_mesh(ball, plane([1, 0, 0])), "twice")
    flat = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"no width across the plane$"):
        width(flat, plane([1, 0, 0]))
