"""Templates: silhouettes of vertices against a sphere's, gradients, exact mirror images, a fit that finds its plane."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from fmb.fields.metaballs import mesh_iou
from fmb.geometry.ground_truth import cast_silhouettes, render_ground_truth
from fmb.geometry.mesh_symmetry import index_error
from fmb.geometry.options import RenderingOptions
from fmb.geometry.symmetry import Plane
from fmb.geometry.views import scene_cameras
from fmb.shape.template import Bend, Stand, Weights, bend_loss, bent, form_of, vertex_density
from fmb.shape.template_color import vertex_colors
from fmb.shape.template_fit import STAGES, aim_of, fit_template, in_own_frame, run_stage, sphere, starts
from fmb.shape.template_options import TemplateOptions

SIZE = (24, 24)


def cameras(count, seed=0):
    return scene_cameras(np.random.default_rng(seed), count, RenderingOptions(image_width=24, image_height=24))


def winged():
    """A body with two wings, symmetric at a plane of no axis: its normal is returned, too."""
    body, wings = trimesh.creation.icosphere(3), trimesh.creation.icosphere(3)
    body.vertices *= [0.35, 1.0, 0.45]
    wings.vertices = wings.vertices * [1.0, 0.3, 0.2] + [0.0, 0.3, 0.1]
    mesh = trimesh.util.concatenate([body, wings])
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.3, 0.6, 0.2]))
    return mesh.apply_transform(turn), turn[:3, 0]


@pytest.fixture(scope="module")
def views():
    return render_ground_truth(winged()[0], cameras(8), SIZE, "raycast").views


@pytest.mark.parametrize(("detail", "overlap"), [(2, 0.92), pytest.param(3, 0.95, marks=pytest.mark.slow)])
def test_outlines_of_vertices_are_those_of_the_mesh(detail, overlap):
    ball, look = trimesh.creation.icosphere(detail), cameras(1)
    density = jax.jit(lambda v: vertex_density(v, ball.faces, look, (64, 64)))(jnp.asarray(ball.vertices))
    seen = cast_silhouettes(trimesh.creation.icosphere(5), look, (64, 64))
    alpha = 1.0 - np.exp(-np.asarray(density))
    assert np.mean(alpha[seen > 0.0]) > 0.9 and np.mean(alpha[seen == 0.0]) < 0.05
    union = np.sum((alpha > 0.5) | (seen > 0.5))
    assert np.sum((alpha > 0.5) & (seen > 0.5)) / union > overlap


@pytest.mark.parametrize("mirror", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_slopes_are_those_of_differences_and_halves_stay_mirror_images(mirror, views):
    mesh, generator = sphere(1), np.random.default_rng(0)
    form = form_of(mesh, mirror, 3.0, split=True)
    rest = mesh.half if mirror else np.asarray(mesh.mesh().vertices)
    stand = Stand(jnp.asarray(rest), jnp.eye(3), jnp.asarray([0.1, 0.0, 0.0]))
    bend = Bend(*(jnp.asarray(0.05 * generator.normal(size=shape)) for shape in (rest.shape, (2,), ())))
    few = jax.tree.map(lambda x: x[:2], aim_of(views).seen)
    vertices, after = jax.jit(lambda bend: bent(form, stand, bend))(bend)
    assert len(vertices) == len(mesh.opposite)
    if mirror:
        normal = np.asarray(after.axes)[:, 0]
        plane = Plane(normal, np.asarray(normal @ np.asarray(after.origin)))
        assert index_error(np.asarray(vertices), mesh.opposite, plane).largest < 1e-12
    direction = Bend(*(jnp.asarray(generator.normal(size=np.shape(part))) for part in bend))
    weight = jnp.asarray(generator.normal(size=vertices.shape))

    @jax.jit
    def along(step):
        return jnp.sum(weight * bent(form, stand, jax.tree.map(lambda x, d: x + step * d, bend, direction))[0])

    assert jax.grad(along)(0.0) == pytest.approx((along(1e-5) - along(-1e-5)) / 2e-5, rel=1e-6)
    weights = Weights(0.5, 0.1, 1.0, 4.0)
    slope = jax.jit(jax.grad(lambda bend: bend_loss(form, stand, bend, few, weights)))(bend)
    assert all(np.isfinite(part).all() and np.abs(part).max() > 0.0 for part in slope[:1])
    if mirror:
        assert np.abs(np.asarray(slope.push)[mesh.seam, 0]).max() == 0.0, "a vertex on the plane stays on it"


@pytest.mark.slow
def test_a_symmetric_template_finds_the_plane_at_half_the_numbers(views, monkeypatch):
    for name, steps in (("start", 100), ("coarse", 200), ("fine", 50), ("refined", 50)):
        monkeypatch.setitem(STAGES, name, STAGES[name]._replace(steps=steps))
    stages = []
    options = TemplateOptions(template_detail=2)
    found = fit_template(
        views, np.random.default_rng(0), options, None, lambda name, state: stages.append((name, state))
    )
    assert [name for name, _ in stages] == ["start", "coarse", "fine", "refined"]
    mesh = found.world()
    assert mesh.is_watertight and mesh_iou(mesh, views) > 0.6  # so few steps and vertices
    turned = np.rad2deg(np.arccos(min(1.0, abs(float(found.plane.normal @ winged()[1])))))
    assert turned < 5.0 and abs(float(found.plane.offset)) < 0.05
    assert index_error(np.asarray(mesh.vertices), found.mesh.opposite, found.plane).largest < 1e-5
    before = stages[2][1]
    assert before.parameters < 0.62 * 3 * len(before.world().vertices)
    assert len(mesh.vertices) > 1.6 * len(before.world().vertices)
    colors = vertex_colors(mesh, views._replace(color=np.ones((*views.silhouette.shape, 3)) * [0.2, 0.4, 0.6]))
    np.testing.assert_allclose(colors, np.tile([0.2, 0.4, 0.6], (len(colors), 1)), atol=1e-6)
    with pytest.raises(ValueError, match="the views have no colour"):
        vertex_colors(mesh, views._replace(color=None))


def test_the_hull_is_laid_about_the_plane_that_it_is_most_like_its_image_at():
    mesh, normal = winged()
    views = render_ground_truth(mesh, cameras(24, 1), SIZE, "raycast").views
    options = TemplateOptions(template_mesh="hull", template_detail=2)
    made = starts(views, np.random.default_rng(0), None, options)
    best = max(made, key=lambda one: mesh_iou(one.world(), views))
    assert len(made) == 3 and best.world().is_watertight and 100 < len(best.world().vertices) < 300
    assert abs(best.plane.normal @ normal) > np.cos(np.deg2rad(5.0)) and mesh_iou(best.world(), views) > 0.6
    free = starts(views, np.random.default_rng(0), None, replace(options, template_mirror=False))
    assert len(free) == 1 and free[0].plane is None


def test_a_given_template_is_laid_into_the_hull(views):
    mesh, normal = winged()
    given = in_own_frame(trimesh.creation.icosphere(2).apply_scale([3.0, 5.0, 2.0]), Plane(np.eye(3)[0], np.zeros(())))
    options = TemplateOptions(template_mirror=False)
    made = starts(views, np.random.default_rng(0), given, options)
    size = np.sqrt(np.mean((made[0].world().vertices) ** 2))
    assert len(made) == 3 and 0.3 < size < 1.0 and made[0].plane is None
    assert made[0].parameters == 3 * len(given.opposite)
    broken = made[0]._replace(stand=made[0].stand._replace(rest=np.full_like(made[0].stand.rest, np.nan)))
    with pytest.raises(FloatingPointError, match="the loss of the template is not finite before step 50"):
        run_stage(broken, aim_of(views), STAGES["coarse"]._replace(steps=50), np.random.default_rng(0))
