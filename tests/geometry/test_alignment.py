"""Alignment: a moved shape comes back, whatever the turn, as mesh and as points."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from fmb.geometry.alignment import ALIGNMENTS, IDENTITY, Motion
from fmb.geometry.cloud import Cloud


def hand() -> trimesh.Trimesh:
    """A body of ellipsoids without any symmetry."""
    parts = []
    for size, place in (
        ((1.0, 0.6, 0.4), (0, 0, 0)),
        ((0.7, 0.2, 0.2), (0.9, 0.5, 0.2)),
        ((0.2, 0.5, 0.3), (0, -0.7, 0.3)),
    ):
        part = trimesh.creation.icosphere(3)
        part.vertices = part.vertices * np.array(size) + np.array(place)
        parts.append(part)
    return trimesh.util.concatenate(parts)


def moved(points, seed):
    rotation = Rotation.random(rng=seed).as_matrix()
    shift = 20.0 * np.random.default_rng(seed).normal(size=3)
    return points @ rotation.T + shift


@pytest.mark.parametrize("seed", range(3))
def test_icp_undoes_any_motion_of_a_mesh(seed):
    mesh, turned = hand(), hand()
    turned.vertices = moved(mesh.vertices, seed)
    generator = np.random.default_rng(seed)
    found = ALIGNMENTS["icp"](turned, mesh, generator)
    np.testing.assert_allclose(found(np.asarray(turned.vertices)), mesh.vertices, atol=1e-6)
    np.testing.assert_allclose(found.matrix()[:3, :3] @ found.rotation.T, np.eye(3), atol=1e-12)
    coarse = ALIGNMENTS["pca"](turned, mesh, generator)
    assert np.abs(coarse(np.asarray(turned.vertices)) - mesh.vertices).max() < 0.2
    assert ALIGNMENTS["none"](turned, mesh, generator) == IDENTITY


def test_icp_of_points_without_normals():
    mesh = hand()
    first, second = (trimesh.sample.sample_surface(mesh, 4_000, seed=seed)[0] for seed in (0, 1))
    found = ALIGNMENTS["icp"](Cloud(moved(first, 5)), Cloud(second), np.random.default_rng(0))
    assert np.abs(found(moved(first, 5)) - first).max() < 0.01


def test_what_a_ball_does_not_tell_stays_as_it_is():
    ball = trimesh.creation.icosphere(3)
    shifted = ball.copy().apply_translation([0.02, 0.0, 0.0])
    found = ALIGNMENTS["icp"](shifted, ball, np.random.default_rng(0))
    np.testing.assert_allclose(found(np.array([[0.02, 0.0, 0.0]])), 0.0, atol=3e-3)
    assert isinstance(found, Motion) and np.linalg.det(found.rotation) == pytest.approx(1.0)
