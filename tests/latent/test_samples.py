"""Signed distances: against closed forms, meshes with holes, and as files."""

import numpy as np
import pytest
import trimesh

from fmb.files.distances import read_distances, write_distances
from fmb.geometry.distances import distance_to
from fmb.geometry.interior import winding_number
from fmb.latent.samples import REACH, find_places, from_rows, sample_distances


def solid_angle(mesh: trimesh.Trimesh, point: np.ndarray) -> float:
    """Winding number of a point, triangle by triangle (van Oosterom & Strackee 1983)."""
    total = 0.0
    for a, b, c in np.asarray(mesh.triangles) - point:
        x, y, z = (np.linalg.norm(v) for v in (a, b, c))
        total += 2.0 * np.arctan2(np.dot(a, np.cross(b, c)), x * y * z + x * (b @ c) + y * (c @ a) + z * (a @ b))
    return total / (4.0 * np.pi)


def open_mesh() -> trimesh.Trimesh:
    """A knobbly body that has lost some faces."""
    mesh = trimesh.creation.icosphere(2, 1.0)
    mesh.vertices *= (1.0, 0.7, 0.4) + 0.2 * np.sin(5.0 * mesh.vertices[:, [1, 2, 0]])
    mesh.update_faces(np.arange(len(mesh.faces)) % 11 > 0)
    return mesh


@pytest.mark.parametrize("mesh", [trimesh.creation.torus(1.0, 0.3), open_mesh()], ids=["closed", "open"])
def test_winding_number_is_the_solid_angle(mesh):
    points = np.random.default_rng(0).uniform(*(1.2 * mesh.bounds), (60, 3))
    expected = [solid_angle(mesh, point) for point in points]
    np.testing.assert_allclose(winding_number(mesh, points), expected, atol=1e-9)
    assert 2 < np.count_nonzero(np.array(expected) > 0.5) < 58


def test_winding_number_of_a_flat_mesh_and_of_no_points():
    plate = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 1]], process=False)
    np.testing.assert_array_equal(winding_number(plate, np.array([[0.2, 0.2, 0.0], [0.2, 0.2, 0.1]])), 0.0)
    assert winding_number(plate, np.zeros((0, 3))).shape == (0,)


def test_samples_of_a_box_have_its_distances():
    half = np.array([1.0, 0.6, 0.3])
    box = trimesh.creation.box(2 * half)
    found = sample_distances(box.apply_translation([5.0, 0.0, 0.0]), "box", 2000, np.random.default_rng(0))
    assert len(found.pos) == len(found.neg) == 1000
    assert np.abs(np.concatenate([found.pos, found.neg])[:, 3]).mean() < 0.2
    for side in (found.pos, found.neg):
        away = np.abs(side[:, :3]) - half / 2.0  # the longest side is 1
        expected = np.linalg.norm(np.maximum(away, 0.0), axis=1) + np.minimum(away.max(axis=1), 0.0)
        np.testing.assert_allclose(side[:, 3], expected, atol=1e-9)
    world = found.frame.to_world(found.neg[:, :3])
    np.testing.assert_allclose(distance_to(box, world), -2.0 * found.neg[:, 3], atol=1e-9)
    assert np.abs(found.pos[:, :3]).max() < 2 * REACH


def test_a_mesh_with_holes_has_an_inside_and_a_sheet_has_none():
    assert (sample_distances(open_mesh(), "open", 1000, np.random.default_rng(0)).neg[:, 3] < 0.0).all()
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    with pytest.raises(ValueError, match=r"^a/sheet.ply: the mesh has no inside: 0 of \d+ points near it lie in it$"):
        find_places(sheet, "sheet", 1000, np.random.default_rng(0), "a/sheet.ply")


def test_distances_go_through_their_file_and_keep_their_frame(tmp_path):
    ball = trimesh.creation.icosphere(3, 2.0).apply_translation([0.0, 3.0, 0.0])
    made = sample_distances(ball, "ball", 2000, np.random.default_rng(1))
    pos, neg = (
        np.column_stack([made.frame.to_world(s[:, :3]), made.frame.scale * s[:, 3]]) for s in (made.pos, made.neg)
    )
    pos = np.concatenate([pos, np.full((3, 4), np.nan)])  # DeepSDF's files have such rows
    found = from_rows("ball", *read_distances(write_distances(tmp_path / "ball.npz", pos, neg)))
    # the balls inside the shape fill its box but for the spacing of the samples
    np.testing.assert_allclose(found.frame.scale, made.frame.scale, rtol=0.01)
    np.testing.assert_allclose(found.frame.centre, made.frame.centre, atol=0.03)
    np.testing.assert_allclose(found.neg, made.neg, atol=0.02)


GOOD = np.column_stack([np.zeros((200, 3)), np.ones(200)])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pos": GOOD}, "no array neg; signed distances have pos and neg"),
        ({"pos": GOOD, "neg": GOOD}, "neg has 200 distances above 0"),
        ({"pos": -GOOD, "neg": -GOOD}, "pos has 200 distances below 0"),
        ({"pos": GOOD[:, :3], "neg": -GOOD}, r"pos of shape \(200, 3\) and type float64; must be numbers \[point, 4\]"),
        ({"pos": GOOD[:50], "neg": -GOOD}, "pos has 50 points; at least 100 are needed"),
    ],
)
def test_files_of_distances_that_are_none(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=f"x.npz: {words}"):
        read_distances(tmp_path / "x.npz")
