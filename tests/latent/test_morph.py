"""Losses on vertices by closed forms and finite differences, and morphs of balls and metaballs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fm_render import Mixture
from fmb.fields.isosurface import Surface, padded_mesh
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views
from fmb.latent.losses import LOSSES, Loss, Target, find_loss, nothing
from fmb.latent.morph import Plan, morph
from fmb.latent.silhouettes import SILHOUETTES
from fmb.shape.edges import EDGE_COORDINATES, PLAIN_COORDINATES, edges_from_mixture
from fmb.tasks.morph_blobs import blob_family
from fmb.tasks.morph_targets import in_small, ring

SIDE = 32
CAMERAS = ring(2, RenderingOptions(image_width=SIDE, image_height=SIDE))


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    return Surface(jnp.asarray(np.asarray(mesh.vertices)), jnp.asarray(np.asarray(mesh.faces), jnp.int32))


def target_of(mesh: trimesh.Trimesh) -> Target:
    points, face = trimesh.sample.sample_surface(mesh, 500, seed=1)
    views = Views(CAMERAS, cast_silhouettes(mesh, CAMERAS, (SIDE, SIDE)))
    return Target(views, np.asarray(points), np.asarray(mesh.face_normals)[face], float(mesh.volume))


BALL = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
SMALL = trimesh.creation.icosphere(subdivisions=2, radius=0.3)


QUICK = ("silhouettes", "normals", "volume")


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x not in QUICK)) for x in LOSSES])
def test_losses_are_least_at_the_target_and_have_their_slope(name):
    # spots and the renderer's Gaussians reach far beyond the edge: they need a target that is drawn alike
    alike = {"surface": surface_of(BALL)} if name in ("spots", "fuzzy") else {}
    loss, vertex = find_loss(name, target_of(BALL)._replace(**alike)), jnp.asarray(np.asarray(SMALL.vertices))
    face = surface_of(SMALL).face
    more = loss.prepare(np.asarray(vertex))
    value, slope = jax.jit(jax.value_and_grad(lambda x: loss.value(Surface(x, face), more)))(vertex)
    exact = loss.value(surface_of(BALL), loss.prepare(np.asarray(BALL.vertices)))
    assert 0.0 <= exact < value / 2
    assert float(jnp.sum(slope * vertex)) < 0.0  # it falls as the ball grows
    way = jnp.asarray(np.random.default_rng(0).normal(size=vertex.shape))
    if name == "normals":  # weights are constant for gradients
        return
    moved = [loss.value(Surface(vertex + sign * 1e-5 * way, face), more) for sign in (1, -1)]
    if name not in ("chamfer", "fuzzy"):  # as are the shapes of the renderer's Gaussians
        assert_allclose(jnp.sum(slope * way), (moved[0] - moved[1]) / 2e-5, rtol=1e-4)


@pytest.mark.parametrize(("divisions", "share"), [(2, 0.1), (4, 0.05)])  # larger triangles blur more
def test_layers_put_the_edge_where_it_is_for_any_triangles(divisions, share):
    mesh = trimesh.creation.icosphere(subdivisions=divisions, radius=0.4)
    drawn = np.asarray(SILHOUETTES["layers"](surface_of(mesh), CAMERAS, (SIDE, SIDE)))
    seen = cast_silhouettes(mesh, CAMERAS, (SIDE, SIDE))
    assert_allclose(drawn.sum(), seen.sum(), rtol=share)
    assert np.mean((drawn >= 0.5) != (seen >= 0.5)) < share / 2


def test_chamfer_of_concentric_balls_is_the_difference_of_radii():
    loss = find_loss("chamfer", target_of(BALL))
    value = loss.value(surface_of(SMALL), loss.prepare(np.asarray(SMALL.vertices)))
    assert_allclose(value, 0.1, atol=0.02)  # vertices, not triangles, are compared


def test_sums_and_functions_of_the_user(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("def tall(surface):\n    return -surface.vertex[:, 1].max()\nnumber = 3\n")
    own, ball = find_loss(f"{path}:tall", Target()), surface_of(BALL)
    assert_allclose(own.value(ball, ()), -0.4)
    target = target_of(SMALL)
    both = find_loss("volume+chamfer", target)
    parts = [find_loss(name, target) for name in ("volume", "chamfer")]
    vertices = np.asarray(BALL.vertices)
    expected = sum(part.value(ball, part.prepare(vertices)) for part in parts)
    assert_allclose(both.value(ball, both.prepare(vertices)), expected)
    for name, words in {
        "chamfre": r"--loss is 'chamfre' \(did you mean chamfer\?\); must be one of silhouettes",
        "chamfer": "--loss: the target has no points",
        f"{path}:short": "has no function short",
        f"{path}:number": "has no function number",
        f"{tmp_path / 'none.py'}:f": "there is no file",
    }.items():
        with pytest.raises(ValueError, match=words):
            find_loss(name, Target())
    path.write_text("1 / 0\n")
    with pytest.raises(ValueError, match=r"own.py does not run \(ZeroDivisionError"):
        find_loss(f"{path}:tall", Target())


def sphere_family(parameters):
    return jax.tree_util.Partial(_sphere, parameters)


def _sphere(parameters, points):
    return jnp.sqrt(jnp.sum((points - parameters[None, 1:]) ** 2, axis=1) + 1e-9) - parameters[0]


ADDED = PLAIN_COORDINATES._replace(move=lambda parameters, change: parameters + change)
PLAN = partial(Plan, sphere_family, coordinates=ADDED, steps=30, rate=0.03, cells=24, corner=0.6)


@pytest.mark.parametrize("name", [pytest.param("silhouettes", marks=pytest.mark.slow), "chamfer"])
def test_a_ball_finds_another_and_fast_finds_the_same(name):
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    ball.apply_translation([0.05, -0.1, 0.08])
    plan = PLAN(find_loss(name, target_of(ball)))
    start = jnp.array([0.45, 0.0, 0.0, 0.0])
    whole = morph(plan, [start])
    assert_allclose(whole.parameters, [0.3, 0.05, -0.1, 0.08], atol=0.03)  # a pixel is 0.05 wide
    fast = morph(plan._replace(fast=True), [start])
    assert_allclose(fast.parameters, whole.parameters, atol=1e-3)
    assert [stage.step for stage in fast.stages] == list(range(31))
    assert fast.stages[0].points == 25**3 and max(stage.points for stage in fast.stages[1:]) < 25**3 / 3


@pytest.mark.slow
def test_the_best_of_several_starts_goes_on():
    plan = PLAN(find_loss("chamfer", target_of(SMALL)))
    far, near = jnp.array([0.1, 0.4, 0.3, 0.3]), jnp.array([0.35, 0.0, 0.0, 0.0])
    found = morph(plan, [jnp.array([-0.2, 0.0, 0.0, 0.0]), far, near])
    assert np.isnan(found.tried[0]) and found.tried[2] < found.tried[1]
    assert_allclose(found.parameters, [0.3, 0.0, 0.0, 0.0], atol=0.02)


def test_losses_that_are_no_number_are_named(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("def many(s):\n    return s.vertex\ndef fails(s):\n    raise KeyError('one\\ntwo')\n")
    for name, words in {"many": "must be one real number", "fails": "the function fails .KeyError"}.items():
        with pytest.raises(ValueError, match=words):
            find_loss(f"{path}:{name}", Target()).value(surface_of(BALL), ())
    with pytest.raises(ValueError, match="the target's volume is 0; must be above 0"):
        find_loss("volume", Target(volume=0.0))


def test_a_box_of_twelve_triangles_is_drawn_as_it_is():
    box, draw = trimesh.creation.box((1.0, 0.6, 0.6)), jax.jit(SILHOUETTES["layers"], static_argnums=2)
    cameras = jax.tree.map(jnp.asarray, CAMERAS)
    seen = draw(padded_mesh(in_small(box)), cameras, (SIDE, SIDE))
    assert np.mean((seen > 0.5) != cast_silhouettes(box, CAMERAS, (SIDE, SIDE))) < 0.02  # pixels of the edge


def test_what_stops_a_morph_is_named():
    with pytest.raises(ValueError, match="the shape to start from has no surface in its box"):
        morph(PLAN(find_loss("volume", Target(volume=1.0))), [jnp.array([-0.2, 0.0, 0.0, 0.0])])
    with pytest.raises(FloatingPointError, match="the surface vanished at step .*; try a smaller morph_rate"):
        morph(PLAN(find_loss("volume", Target(volume=1e-6)), rate=0.3), [jnp.array([0.2, 0.0, 0.0, 0.0])])
    with pytest.raises(FloatingPointError, match="the loss or its gradient is not finite at step 0"):
        morph(PLAN(Loss(lambda surface, more: jnp.nan * surface.volume, nothing)), [jnp.array([0.2, 0.0, 0.0, 0.0])])


@pytest.mark.slow
def test_a_ball_of_metaballs_becomes_a_torus():
    torus = trimesh.creation.torus(0.33, 0.13)
    direction = np.random.default_rng(0).normal(size=(30, 3))
    mean = 0.2 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    mixture = Mixture(jnp.asarray(mean), jnp.tile(9.0 * jnp.eye(3)[None], (30, 1, 1)), jnp.full(30, -1.5))
    points, face = trimesh.sample.sample_surface(torus, 3000, seed=0)  # with 500 specks are left
    # distances alone pull a thin membrane along itself, never through it
    loss = find_loss("normals", Target(points=np.asarray(points), normals=np.asarray(torus.face_normals)[face]))
    family = blob_family(np.log(2.0))
    found = morph(Plan(family, loss, EDGE_COORDINATES, 50, 0.12, 32, 0.6), [edges_from_mixture(mixture)])
    losses = [stage.loss for stage in found.stages]
    assert [found.stages[0].mesh.euler_number, found.best.mesh.euler_number] == [2, 0]
    assert losses[-1] < 0.25 * losses[0] and np.count_nonzero(np.diff(losses) >= 0.0) < 6, losses
