"""The canonical frame from silhouettes alone, against that of the mesh they were drawn from."""

import numpy as np
import pytest
import trimesh

from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics, random_cameras
from fmb.geometry.frames import Frame, canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.noise import damaged
from fmb.geometry.views import Views, select_views
from fmb.hull.frame import frame_from_views, framed_hull, hull_points, surface_frame
from fmb.hull.votes import SEARCH_GRID, Box, Volume, cast_votes, hull_box

SIDE = 64
FAR = Frame(np.array([2e5, -3e5, 1e5]), np.asarray(2e3))


def seen(mesh: trimesh.Trimesh, count: int, vfov: float = 45.0, seed: int = 0) -> Views:
    cameras = random_cameras(np.random.default_rng(seed), count, 3.0, pinhole_intrinsics(SIDE, SIDE, vfov))
    return render_ground_truth(mesh, cameras, (SIDE, SIDE), "raycast").views


def off(frame: Frame, reference: Frame) -> tuple[float, float]:
    """Distance of the centres in scales, and how far the ratio of scales is from 1."""
    distance = np.linalg.norm(frame.centre - reference.centre) / reference.scale
    return float(distance), float(abs(frame.scale / reference.scale - 1.0))


@pytest.fixture(scope="module")
def torus() -> trimesh.Trimesh:
    mesh = trimesh.creation.torus(0.5, 0.2, major_sections=48, minor_sections=24)
    return canonical_frame(mesh).mesh_to_canonical(mesh)


@pytest.mark.parametrize("shape", ["sphere", "box"])
def test_voxels_have_the_frame_of_their_solid(shape):
    """Closed form: of the mesh, over its triangles."""
    mesh = trimesh.creation.icosphere(4, 0.6) if shape == "sphere" else trimesh.creation.box((1.0, 0.4, 0.6))
    turn = trimesh.transformations.rotation_matrix(0.6, [1.0, 2.0, 0.5])
    grid, edge = 56, 1.6
    ticks = (np.arange(grid) + 0.5) / grid * edge - 0.5 * edge
    points = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1) @ turn[:3, :3]
    extent = np.array([0.5, 0.2, 0.3])
    occupied = np.linalg.norm(points, axis=-1) < 0.6 if shape == "sphere" else np.all(np.abs(points) < extent, axis=-1)
    lower = np.array([10.0, 20.0, 30.0])
    frame = surface_frame(Volume(occupied, Box(lower, edge)))
    distance, ratio = off(frame, Frame(lower + 0.5 * edge, canonical_frame(mesh).scale))
    assert distance < 0.005 and ratio < 0.01


@pytest.mark.parametrize(("count", "most"), [(24, 0.03), (6, 0.15), (3, 0.25)])
def test_frame_of_the_hull_is_near_that_of_the_mesh(torus, count, most):
    distance, ratio = off(frame_from_views(seen(torus, count)), Frame(np.zeros(3), np.ones(())))
    assert distance < most and ratio < most


def test_two_views_bound_the_object(torus):
    cameras = orbit_cameras(4, 3.0, pinhole_intrinsics(SIDE, SIDE, 45.0), 0.3)
    views = select_views(render_ground_truth(torus, cameras, (SIDE, SIDE), "raycast").views, slice(2))
    distance, ratio = off(frame_from_views(views), Frame(np.zeros(3), np.ones(())))
    assert distance < 0.3 and ratio < 0.5


def test_any_unit_anywhere(torus):
    views = seen(torus, 12)
    here, there = frame_from_views(views), frame_from_views(views._replace(cameras=FAR.cameras_to_world(views.cameras)))
    assert np.allclose(there.centre, FAR.to_world(here.centre), atol=1e-6 * FAR.scale)
    assert np.isclose(there.scale, FAR.scale * here.scale, rtol=1e-6)


def test_damaged_masks_hardly_matter(torus):
    views = seen(torus, 24)
    distance, ratio = off(frame_from_views(damaged(views, np.random.default_rng(0))), frame_from_views(views))
    assert distance < 0.08 and ratio < 0.08


def test_outside_an_image_is_unknown(torus):
    """Narrow images cut the object in every view; a rule that took the outside for empty would halve it."""
    views = seen(torus, 40, 22.0)
    edges = (views.silhouette[:, 0], views.silhouette[:, -1], views.silhouette[:, :, 0], views.silhouette[:, :, -1])
    assert np.mean(np.any(np.concatenate(edges, axis=1) > 0.5, axis=1)) > 0.8
    distance, ratio = off(frame_from_views(views), Frame(np.zeros(3), np.ones(())))
    assert distance < 0.1 and ratio < 0.15


def test_the_hull_is_given_in_the_frame(torus):
    views = seen(torus, 12)
    frame, volume = framed_hull(views._replace(cameras=FAR.cameras_to_world(views.cameras)), 48)
    points = hull_points(volume, 4000, np.random.default_rng(0))
    # the hull of twelve views of a torus of scale 1, whose hole some views look into
    assert np.all(np.abs(points) < 1.0) and np.linalg.norm(points.mean(0)) < 0.1
    assert abs(float(surface_frame(volume).scale) - 1.0) < 1e-9 and np.allclose(surface_frame(volume).centre, 0.0)
    assert frame.scale > 1e3 and isinstance(frame.scale, np.ndarray)
    voxel = np.floor((points - volume.box.lower) / volume.box.edge * 48).astype(int)
    assert np.all(volume.occupied[tuple(voxel.T)])


def test_silhouettes_that_never_meet(torus):
    """Five views that look past each other: lines of sight have a nearest point, cones nothing in common."""
    views = seen(torus, 5)
    pose = views.cameras.world_from_camera.copy()
    pose[:, :3, 3] += 8.0 * np.eye(5, 3) - 8.0 * np.eye(5, 3, -2)
    with pytest.raises(ValueError, match="the silhouettes of 5 views have no volume in common; check the cameras"):
        frame_from_views(views._replace(cameras=views.cameras._replace(world_from_camera=pose)))


@pytest.mark.parametrize(("count", "empty"), [(12, [3, 7]), (30, [0, 4, 11, 29]), (4, [2]), (12, [0, 1, 2, 3, 4, 5])])
def test_empty_masks_do_not_vote(torus, count, empty):
    """The frame is that of the other views."""
    views = seen(torus, count)
    silhouette = views.silhouette.copy()
    silhouette[empty] = 0.0
    others = select_views(views, np.setdiff1d(np.arange(count), empty))
    frame, wanted = frame_from_views(views._replace(silhouette=silhouette)), frame_from_views(others)
    assert np.allclose(frame.centre, wanted.centre) and np.isclose(frame.scale, wanted.scale)


def test_most_masks_are_empty(torus):
    views = seen(torus, 12)
    silhouette = np.where(np.arange(12)[:, None, None] < 7, 0.0, views.silhouette)
    words = (
        "the silhouettes of 12 views have no volume in common; check the cameras and the masks, of which 7 are empty"
    )
    with pytest.raises(ValueError, match=words):
        frame_from_views(views._replace(silhouette=silhouette))


def test_many_views_look_for_the_box_in_larger_voxels(torus, monkeypatch):
    """What is found must hold what finer voxels find, and not be much larger."""
    views = seen(torus, 12)
    fine = hull_box(views)
    monkeypatch.setattr("fmb.hull.votes.MOST_VOTES", 12 * 20**3)
    assert len(cast_votes(views, fine, SEARCH_GRID).seen_by) < SEARCH_GRID
    coarse = hull_box(views)
    assert np.allclose(coarse.lower + coarse.edge / 2, fine.lower + fine.edge / 2, atol=0.1)
    assert 0.95 < coarse.edge / fine.edge < 1.3
