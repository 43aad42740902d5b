"""The canonical frame against Monte Carlo and closed forms; round trips of everything that crosses it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import fm_render
from fm_render import Mixture, Rays
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.frames import Frame, canonical_frame

FRAME = Frame(np.array([3.0, -2.0, 0.5]), np.asarray(4.0))


def test_box_in_closed_form():
    sides = np.array([1.0, 2.0, 4.0])
    box = trimesh.creation.box(sides)
    box.apply_translation([7.0, 8.0, 9.0])
    frame = canonical_frame(box)
    np.testing.assert_allclose(frame.centre, [7.0, 8.0, 9.0], atol=1e-12)
    # on axis i a pair of faces lies at ± side / 2, the other two pairs spread evenly over the side
    area = np.prod(sides) / sides
    ends = area * sides**2 / 4.0 + (area.sum() - area) * sides**2 / 12.0
    np.testing.assert_allclose(frame.scale, 3.0 * np.mean(np.sqrt(ends / area.sum())), rtol=1e-12)


def test_against_sampled_points():
    mesh = trimesh.creation.cone(0.4, 1.0, sections=9)
    points, _ = trimesh.sample.sample_surface(mesh, 200_000, seed=0)
    frame = canonical_frame(mesh)
    # standard error of 200,000 samples of a body of size 1: below 1e-3
    np.testing.assert_allclose(frame.centre, points.mean(axis=0), atol=3e-3)
    np.testing.assert_allclose(frame.scale, 3.0 * points.std(axis=0).mean(), rtol=3e-3)


def test_tessellation_unused_vertices_and_distance_do_not_matter():
    mesh = trimesh.creation.capsule(height=2.0, radius=0.5, count=(8, 9))
    frame = canonical_frame(mesh)
    uneven = mesh.subdivide(face_index=np.arange(0, len(mesh.faces), 3))
    uneven.vertices = np.concatenate([uneven.vertices, [[100.0, 0.0, 0.0]]])
    np.testing.assert_allclose(canonical_frame(uneven).centre, frame.centre, atol=1e-12)
    np.testing.assert_allclose(canonical_frame(uneven).scale, frame.scale, rtol=1e-12)
    mesh.apply_translation([1e6, 1e6, 1e6])
    np.testing.assert_allclose(canonical_frame(mesh).scale, frame.scale, rtol=1e-9)


def test_a_mesh_in_its_own_frame_has_the_identity():
    mesh = trimesh.creation.capsule(height=2.0, radius=0.5, count=(8, 9))
    mesh.apply_translation([5.0, 6.0, 7.0])
    mesh.visual.vertex_colors = np.tile(np.array([10, 20, 30, 255], np.uint8), (len(mesh.vertices), 1))
    frame = canonical_frame(mesh)
    canonical = frame.mesh_to_canonical(mesh)
    again = canonical_frame(canonical)
    np.testing.assert_allclose(again.centre, 0.0, atol=1e-12)
    np.testing.assert_allclose(again.scale, 1.0, rtol=1e-12)
    np.testing.assert_array_equal(canonical.visual.vertex_colors, mesh.visual.vertex_colors)
    np.testing.assert_allclose(frame.mesh_to_world(canonical).vertices, mesh.vertices, atol=1e-12)


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)])
def test_points_round_trip(library, shape):
    points = library.asarray(np.random.default_rng(0).normal(size=shape))
    world = FRAME.to_world(points)
    np.testing.assert_allclose(world, np.array([3.0, -2.0, 0.5]) + 4.0 * np.asarray(points), atol=1e-14)
    np.testing.assert_allclose(FRAME.to_canonical(world), points, atol=1e-14)
    assert FRAME.to_world(points.astype(np.float32)).dtype == np.float32


def test_a_mixture_looks_the_same_in_both_frames():
    generator = np.random.default_rng(0)
    lower = jnp.asarray(np.tril(generator.normal(size=(4, 3, 3))) + 2.0 * np.eye(3))
    mixture = Mixture(jnp.asarray(0.3 * generator.normal(size=(4, 3))), lower, jnp.asarray(generator.normal(size=4)))
    cameras = random_cameras(generator, 2, 3.0, pinhole_intrinsics(4, 5, 45.0))
    rays = pixel_rays(cameras, 4, 5)
    world, moved = FRAME.mixture_to_world(mixture), FRAME.cameras_to_world(cameras)
    world_rays = pixel_rays(moved, 4, 5)
    np.testing.assert_allclose(world_rays.origin, FRAME.to_world(rays.origin), atol=1e-12)
    np.testing.assert_allclose(world_rays.direction, rays.direction, atol=1e-12)
    render = jax.jit(fm_render.render)
    seen = render(mixture, Rays(*rays), 1.0)
    seen_in_world = render(world, world_rays, float(FRAME.scale))
    np.testing.assert_allclose(seen_in_world.alpha, seen.alpha, atol=1e-12)
    np.testing.assert_allclose(seen_in_world.depth, 4.0 * seen.depth, rtol=1e-10)
    for field, back in zip(mixture, FRAME.mixture_to_canonical(world), strict=True):
        np.testing.assert_allclose(back, field, atol=1e-12)


def test_cameras_round_trip():
    cameras = random_cameras(np.random.default_rng(1), 3, 3.0, pinhole_intrinsics(4, 5, 45.0))
    back = FRAME.cameras_to_canonical(FRAME.cameras_to_world(cameras))
    assert isinstance(back, Cameras)
    np.testing.assert_allclose(back.world_from_camera, cameras.world_from_camera, atol=1e-14)
    np.testing.assert_array_equal(back.intrinsics, cameras.intrinsics)
