"""Mixtures as meshes: spheres and ellipsoids in closed form, the hull against rendered silhouettes, options, errors."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fm_render import Mixture, Rays, render
from fmb.fields.field import attached, field_normals, polish
from fmb.fields.metaballs import (
    AGAINST,
    DIRECTIONS,
    FIELDS,
    HALF_DENSITY,
    best_level,
    decimate,
    density_field,
    hull_density,
    hull_field,
    mesh_iou,
    mesh_mixture,
    mixture_box,
    spread_directions,
    vertex_colors,
)
from fmb.fields.options import MeshOptions
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics, pixel_rays
from fmb.geometry.frames import Frame
from fmb.geometry.metrics import mesh_errors
from fmb.geometry.views import Views

FAST = 32  # cells of the search's meshes, in place of TRIAL_RESOLUTION
ROOT = Path(__file__).resolve().parents[2]
DEVIATION = 0.2
draw = jax.jit(render, static_argnames="outputs")


def ball(log_weight: float = 3.0) -> Mixture:
    """One round component of standard deviation 0.2 about (0.1, 0, 0)."""
    return Mixture(jnp.array([[0.1, 0.0, 0.0]]), jnp.eye(3)[None] / DEVIATION, jnp.array([log_weight]))


def radius(log_weight: float, level: float = HALF_DENSITY) -> float:
    """Of the level set of `ball`."""
    return DEVIATION * np.sqrt(2 * (log_weight - np.log(level)))


def blobs(count: int = 7) -> Mixture:
    """Overlapping ellipsoids, some of them weak."""
    generator = np.random.default_rng(1)
    factor = np.tril(2 * generator.normal(size=(count, 3, 3)))
    factor[:, range(3), range(3)] = generator.uniform(4.0, 9.0, size=(count, 3))
    weight = generator.uniform(-0.5, 4.0, size=count)
    return Mixture(*map(jnp.asarray, (0.25 * generator.normal(size=(count, 3)), factor, weight)))


def views_of(mixture: Mixture, count: int = 4, size: int = 48) -> Views:
    """Rendered silhouettes."""
    cameras = orbit_cameras(count, 3.0, pinhole_intrinsics(size, size, 45.0), elevation=0.5)
    alpha = np.asarray(draw(mixture, pixel_rays(cameras, size, size), outputs=("alpha",)).alpha)
    return Views(cameras, (alpha > 0.5).astype(float))


@pytest.mark.parametrize("field", FIELDS)
def test_ball_has_its_radius_volume_and_silhouette(field):
    found = mesh_mixture(ball(), MeshOptions(mesh_field=field, mesh_resolution=32))
    assert found.level == HALF_DENSITY and found.iou is None
    assert found.mesh.is_watertight and found.mesh.volume > 0
    distance = np.linalg.norm(found.mesh.vertices - [0.1, 0.0, 0.0], axis=1)
    # the hull lets AGAINST - 1 of its lines pass nearer by: for a ball, AGAINST directions in the plane of the tangents
    slack = 1e-4 if field == "density" else 0.03
    assert_allclose(distance, radius(3.0), rtol=slack)
    assert_allclose(found.mesh.volume, 4 / 3 * np.pi * radius(3.0) ** 3, rtol=0.02 + 2 * slack)


def test_density_is_the_sum_of_components():
    mixture, points = blobs(), np.random.default_rng(2).normal(size=(20, 3))
    offset = points[:, None] - np.asarray(mixture.mean)
    inverse = np.asarray(mixture.precision_cholesky @ jnp.swapaxes(mixture.precision_cholesky, 1, 2))
    square = np.einsum("pki,kij,pkj->pk", offset, inverse, offset)
    total = np.exp(np.asarray(mixture.log_weight) - square / 2).sum(axis=1)
    assert_allclose(density_field(mixture, 0.5)(jnp.asarray(points)), np.log(0.5 / total), rtol=1e-9)


def test_hull_is_what_rays_through_a_point_see():
    mixture, points = blobs(), np.random.default_rng(2).normal(size=(20, 3))
    directions = spread_directions(64)
    assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    # every line as a ray from far enough behind
    origin = points[:, None] - 10.0 * directions
    rays = Rays(jnp.asarray(origin), jnp.broadcast_to(jnp.asarray(directions), origin.shape))
    density = np.sort(np.asarray(draw(mixture, rays, outputs=("density",)).density), axis=1)
    assert_allclose(hull_field(mixture, 0.5)(jnp.asarray(points)), np.log(0.5 / density[:, AGAINST - 1]), rtol=1e-6)


@pytest.mark.parametrize("field", FIELDS)
def test_vertices_follow_the_mixture(field):
    mixture = blobs()
    vertices = np.asarray(mesh_mixture(mixture, MeshOptions(mesh_field=field, mesh_resolution=24)).mesh.vertices)[
        ::200
    ][:6]
    shift = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(5).normal(size=x.shape)), mixture)

    def moved(step):
        changed = jax.tree.map(lambda x, s: x + step * s, mixture, shift)
        return changed._replace(precision_cholesky=jnp.tril(changed.precision_cholesky))

    vertices = polish(
        FIELDS[field](mixture, HALF_DENSITY), polish(FIELDS[field](mixture, HALF_DENSITY), vertices, 0.01), 0.01
    )
    slope = jax.jit(jax.jacfwd(lambda step: attached(FIELDS[field](moved(step), HALF_DENSITY), vertices)))(0.0)
    small = 1e-6
    ends = [polish(FIELDS[field](moved(sign * small), HALF_DENSITY), vertices, 0.01) for sign in (1, -1)]
    normal = field_normals(FIELDS[field](mixture, HALF_DENSITY), vertices)
    along = [np.sum(x * normal, axis=1) for x in (np.asarray(slope), (ends[0] - ends[1]) / (2 * small))]
    assert_allclose(*along, rtol=1e-4, atol=1e-6)


def test_hull_of_thin_components_is_right_in_single_precision():
    # a plate 1e-6 thick: offsets of points beside it are numbers of 1e6, and lines in its plane meet it all the same
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    plate = np.linalg.cholesky(turn @ np.diag([3.0, 3.0, 1e6]) ** 2 @ turn.T)
    mixture = Mixture(jnp.zeros((2, 3)), jnp.stack([plate, np.eye(3) / DEVIATION]), jnp.full(2, 1.5))
    points = np.random.default_rng(2).uniform(-1.0, 1.0, (4000, 3))
    exact = hull_field(mixture, HALF_DENSITY)(jnp.asarray(points))
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (mixture, jnp.asarray(points)))
    directions = jnp.asarray(spread_directions(DIRECTIONS), jnp.float32)
    found = jax.jit(hull_density)(single[0], directions, jnp.asarray(HALF_DENSITY, jnp.float32), single[1])
    near = np.abs(exact) < 1.0
    assert np.count_nonzero(near) > 200
    assert_allclose(found[near], exact[near], atol=2e-3)


def test_hull_is_the_body_of_the_silhouettes(monkeypatch):
    monkeypatch.setattr("fmb.fields.metaballs.TRIAL_RESOLUTION", FAST)
    mixture = blobs()
    views = views_of(mixture, 3, 48)
    density, hull = (
        mesh_mixture(mixture, MeshOptions(mesh_field=field, mesh_resolution=FAST), views) for field in FIELDS
    )
    plain = mesh_iou(mesh_mixture(mixture, MeshOptions(mesh_field="density", mesh_resolution=FAST)).mesh, views)
    assert hull.iou > 0.95
    assert density.iou >= plain - 1e-3


def test_level_is_where_silhouettes_agree(monkeypatch):
    monkeypatch.setattr("fmb.fields.metaballs.TRIAL_RESOLUTION", FAST)
    views = views_of(ball(), 2, 64)
    wide = views._replace(silhouette=views_of(ball(4.0), 2, 64).silhouette)
    assert 0.55 < best_level(ball(), "density", views) < 0.9
    assert best_level(ball(), "density", wide) < 0.4


def test_box_holds_the_surface():
    mixture = blobs()
    low, high = mixture_box(mixture, HALF_DENSITY)
    mesh = mesh_mixture(mixture, MeshOptions(mesh_resolution=32)).mesh
    assert np.all(mesh.bounds[0] > low) and np.all(mesh.bounds[1] < high)
    assert_allclose(
        mixture_box(ball(), HALF_DENSITY), [[0.1 - radius(3), *[-radius(3)] * 2], [0.1 + radius(3), *[radius(3)] * 2]]
    )


def test_colors_are_blended_by_density():
    mixture = Mixture(jnp.array([[-1.0, 0, 0], [1.0, 0, 0]]), jnp.stack([2 * jnp.eye(3)] * 2), jnp.zeros(2))
    color = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = vertex_colors(mixture, color, np.array([[-1.0, 0, 0], [0, 0.3, 0], [1.0, 0, 0]]))
    near = 1 / (1 + np.exp(-8.0))
    assert_allclose(found, [[near, 0, 1 - near], [0.5, 0, 0.5], [1 - near, 0, near]], atol=1e-12)


def test_mesh_goes_to_the_world():
    frame = Frame(np.array([5.0, 0.0, 0.0]), np.asarray(10.0))
    mesh = mesh_mixture(ball(), MeshOptions(mesh_resolution=16)).mesh
    assert_allclose(frame.mesh_to_world(mesh).centroid, [6.0, 0.0, 0.0], atol=0.02)


def test_fewer_faces(monkeypatch):
    sphere = trimesh.creation.icosphere(3)
    assert decimate(sphere, 10**6) is sphere
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    with pytest.raises(ValueError, match="fewer faces need the package fast-simplification"):
        mesh_mixture(ball(), MeshOptions(mesh_resolution=16, mesh_faces=100))


def test_a_ring_has_no_few_faces():
    with pytest.raises(ValueError, match=r"faces of a mesh 6: its \d triangles enclose nothing; it needs more"):
        decimate(trimesh.creation.torus(1.0, 0.3), 6)


def test_fewer_faces_by_the_package():
    mesh = mesh_mixture(ball(), MeshOptions(mesh_resolution=32, mesh_faces=500)).mesh
    assert mesh.is_watertight and 400 <= len(mesh.faces) <= 500
    assert_allclose(mesh.volume, 4 / 3 * np.pi * radius(3.0) ** 3, rtol=0.05)


def test_errors_between_meshes():
    sphere, large = trimesh.creation.icosphere(4, 1.0), trimesh.creation.icosphere(4, 1.1)
    errors = mesh_errors(large, sphere, np.random.default_rng(0), 3000)
    # nearest samples lie a little further than the surfaces
    assert 0.1 < errors.chamfer < 0.115 and 0.01 < errors.floor < 0.04 and errors.normal_degrees < 4.0
    large.invert()
    assert mesh_errors(large, sphere, np.random.default_rng(0), 3000).normal_degrees > 176.0


def test_colors_of_a_mixture_from_a_file_in_single_precision():
    # a file's mixture is in double precision, which JAX has only under test: asking for it would warn
    mixture = Mixture(*(np.asarray(field, float) for field in ball()))
    with jax.enable_x64(False):
        found = vertex_colors(mixture, np.array([[0.2, 0.4, 0.6]]), np.zeros((2, 3)))
    assert_allclose(found, [[0.2, 0.4, 0.6]] * 2, rtol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="field of a mesh 'cubes' is not one of density, hull"):
        mesh_mixture(ball(), MeshOptions(mesh_field="cubes"))
    with pytest.raises(ValueError, match=r"level of a mesh -1\.0: must be positive, or 0 to search for it"):
        mesh_mixture(ball(), level=-1.0)
    with pytest.raises(ValueError, match=r"no component is as dense as 0\.693; it needs more weight"):
        mesh_mixture(ball(-1.0))
    with pytest.raises(ValueError, match="faces of a mesh 3: must be at least 4"):
        mesh_mixture(ball(), MeshOptions(mesh_resolution=16, mesh_faces=3))


@pytest.mark.slow
def test_benchmark_runs(models_folder, tmp_path):
    command = [sys.executable, "-m", "benchmarks.bench_mesh", "--models", str(models_folder), "--names", "bunny"]
    command += ["--resolution", "48", "--epochs", "3", "--views", "8", "--results", str(tmp_path / "RESULTS.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 meshes watertight" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
