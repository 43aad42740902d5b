"""Outlines and hues of templates: discs in closed form, slopes by differences, hidden vertices, where views agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from fmb.geometry.cameras import project
from fmb.geometry.ground_truth import render_ground_truth, visible_points
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import scene_cameras
from fmb.shape.template_color import Paint, has_hues, hue_loss, hues, paint_of
from fmb.shape.template_outline import evenly, outline, outline_loss, outlines, sampled

SIDE = 48


def cameras(count: int, seed: int = 0):
    return scene_cameras(np.random.default_rng(seed), count, RenderingOptions(image_width=SIDE, image_height=SIDE))


def test_the_outline_of_a_disc_is_its_circle():
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    away = np.hypot(column - 20.0, row - 25.0)
    found = outline(np.clip(10.5 - away, 0.0, 1.0), np.ones((SIDE, SIDE)))
    radius = found.point - np.array([20.0, 25.0])
    np.testing.assert_allclose(np.linalg.norm(radius, axis=1), 10.0, atol=0.1)
    assert (np.sum(found.outward * radius, axis=1) / np.linalg.norm(radius, axis=1)).min() > 0.98
    outside = away > 12.0
    np.testing.assert_allclose(found.outside[outside], away[outside] - 10.0, atol=0.7)
    assert found.outside[away < 9.5].max() == 0.0 and found.weight.min() == 1.0


def test_outlines_at_the_border_and_those_of_nothing_do_not_count():
    half = np.zeros((SIDE, SIDE))
    half[:20] = 1.0  # the object goes on beyond the image on three sides
    found = outline(half, np.ones_like(half))
    inner = found.weight > 0.0
    np.testing.assert_allclose(found.point[inner, 1], 20.0)
    np.testing.assert_allclose(found.outward[inner], np.tile([0.0, 1.0], (inner.sum(), 1)), atol=0.11)  # near corners
    assert 0.2 < inner.mean() < 0.5
    unknown = outline(half, np.zeros_like(half))
    empty = outline(np.zeros_like(half), np.ones_like(half))
    assert unknown.weight.max() == empty.weight.max() == empty.outside.max() == 0.0
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(np.diff(evenly([square])[:64, 0]), 1 / 64)


def test_bilinear_samples_are_exact_on_planes_and_have_their_slope():
    row, column = np.mgrid[:6, :5] + 0.5
    plane = jnp.asarray(2.0 * column - 3.0 * row)[..., None]
    place = jnp.array([[1.3, 2.1], [4.2, 5.4], [-3.0, 2.0]])
    np.testing.assert_allclose(sampled(plane, place)[:, 0], [2 * 1.3 - 3 * 2.1, 2 * 4.2 - 3 * 5.4, 1.0 - 6.0])
    slope = jax.grad(lambda at: sampled(plane, at).sum())(place)
    np.testing.assert_allclose(slope, [[2.0, -3.0], [2.0, -3.0], [0.0, -3.0]])


def test_a_ball_is_drawn_to_the_outlines_of_another_and_out_of_nowhere_else():
    look, ball = cameras(3), trimesh.creation.icosphere(3)
    views = render_ground_truth(trimesh.creation.icosphere(4), look, (SIDE, SIDE), "raycast").views
    seen = jax.tree.map(jnp.asarray, outlines(views.silhouette, np.ones(views.silhouette.shape)))
    normals = jnp.asarray(ball.vertices)

    @jax.jit
    def loss(radius, shift=0.0):
        return outline_loss(radius * normals + jnp.asarray([shift, 0.0, 0.0])[None], normals, look, seen)

    at = {radius: float(loss(radius)) for radius in (0.8, 0.9, 1.0, 1.15)}
    assert at[1.0] < 0.002 and at[1.0] < min(at[0.9], at[1.15]) / 3  # few vertices lie on the rim itself
    # seen from afar the rim stands a little before the middle, so that it looks larger by about 1 part in 20
    assert at[0.8] == pytest.approx(1.1 * 0.2**2, rel=0.25)
    slope = jax.grad(loss, (0, 1))(0.8, 0.1)
    ends = [(loss(0.8 + d, 0.1), loss(0.8, 0.1 + d)) for d in (1e-6, -1e-6)]
    np.testing.assert_allclose(slope, [(a - b) / 2e-6 for a, b in zip(*ends, strict=True)], rtol=1e-3, atol=1e-6)


def test_a_ball_hides_what_lies_behind_it():
    near, far = trimesh.creation.icosphere(2), trimesh.creation.icosphere(2)
    look = cameras(1)
    toward = np.asarray(look.world_from_camera)[0, :3, 3]
    toward = toward / np.linalg.norm(toward)
    both = trimesh.util.concatenate([near, far.apply_scale(0.5).apply_translation(-4.0 * toward)])
    seen = visible_points(both, np.asarray(both.vertices, float), look)[0]
    facing = near.vertices @ toward
    assert seen[:162][facing > 0.5].all() and not seen[:162][facing < 0.1].any() and not seen[162:].any()


def painted_views():
    """A coloured ball from eight sides, and the mesh."""
    ball = trimesh.creation.icosphere(4)
    waves = 0.5 + 0.45 * np.sin(5.0 * ball.vertices @ np.random.default_rng(0).normal(size=(3, 3)))
    ball.visual.vertex_colors = np.rint(255 * np.column_stack([waves, np.ones(len(waves))])).astype(np.uint8)
    return render_ground_truth(ball, cameras(8), (SIDE, SIDE), "raycast").views


def test_views_agree_about_hues_where_the_surface_is():
    views, loss = painted_views(), {}
    hue = hues(views.color, 0.0)
    assert has_hues(views) and not has_hues(views._replace(color=None))
    assert not has_hues(views._replace(color=0.2 + 0.3 * views.silhouette[..., None] * np.ones(3)))
    np.testing.assert_allclose(hues(0.5 * (views.color + 0.05) - 0.05, 0.0), hue, err_msg="shade changes no hue")
    for radius in (0.85, 1.0, 1.15):
        ball = trimesh.creation.icosphere(3, radius)
        paint = paint_of(ball, views, hue, None)
        place = project(views.cameras, np.asarray(ball.vertices))[0]
        own = Paint(jnp.asarray(paint.hue), jnp.asarray(paint.share))
        loss[radius] = float(hue_loss(place, jnp.asarray(hue), own))
        slope = jax.grad(lambda at, own=own: hue_loss(at, jnp.asarray(hue), own))(place)
        step = np.random.default_rng(0).normal(size=place.shape)
        ends = [float(hue_loss(place + d * step, jnp.asarray(hue), own)) for d in (1e-6, -1e-6)]
        assert float(np.sum(step * slope)) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-9)
    assert loss[1.0] < 0.3 * min(loss[0.85], loss[1.15])
