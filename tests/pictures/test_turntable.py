"""Ellipsoids of components and the turntable: closed forms of spheres, where the light falls, what stays the same."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fm_render import FiveBetas, Mixture, Rays, Settings, TwoBetas, render
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics, random_cameras
from fmb.pictures.ellipsoids import component_colors, component_ellipsoids, enclosing_ball
from fmb.pictures.turntable import (
    ELEVATION,
    FIELD_OF_VIEW,
    HEAD,
    ROOM,
    SHARPNESS,
    Look,
    brightness,
    common_up,
    sharpened,
    side_by_side,
    turntable,
)

SIDE, COUNT = 32, 4  # the same in all tests: one compilation


def spheres(mean, radius: float = 0.1, weight: float = 50.0) -> Mixture:
    """Round components whose outlines, where alpha is one half, have the radius; as many more that nobody sees."""
    mean = np.atleast_2d(np.asarray(mean, float))
    deviation = radius / np.sqrt(2.0 * np.log(weight / np.log(2.0)))
    factor = np.tile(np.eye(3) / deviation, (COUNT, 1, 1))
    hidden = COUNT - len(mean)
    log_weight = np.concatenate([np.full(len(mean), np.log(weight)), np.full(hidden, -60.0)])
    return Mixture(np.concatenate([mean, mean[:1].repeat(hidden, axis=0)]), factor, log_weight)


def random_mixture(count: int = COUNT) -> Mixture:
    generator = np.random.default_rng(3)
    factor = np.tril(generator.normal(size=(count, 3, 3))) + 4.0 * np.eye(3)
    return Mixture(generator.normal(size=(count, 3)), factor, generator.uniform(-3.0, 3.0, count))


def test_points_of_the_ellipsoids_are_one_deviation_away():
    mixture = random_mixture()
    shapes = component_ellipsoids(mixture)
    assert np.allclose(np.linalg.det(shapes.rotation), 1.0)
    unit = Rotation.random(20, rng=np.random.default_rng(0)).as_matrix()[:, 0]
    for mean, factor, turn, deviation in zip(*mixture[:2], *shapes[1:3], strict=True):
        points = mean + (unit * deviation) @ turn.T
        assert np.allclose(np.linalg.norm((points - mean) @ factor, axis=1), 1.0)


def test_alpha_is_one_half_at_the_reach():
    mixture = random_mixture()
    shapes = component_ellipsoids(mixture)
    alpha = jax.jit(partial(render, outputs=("alpha",)))
    for number in np.flatnonzero(shapes.reach):
        part = Mixture(*(field[number : number + 1] for field in mixture))
        across = shapes.reach[number] * shapes.deviation[number, 0] * shapes.rotation[number, :, 0]
        rays = Rays(part.mean[0] + across - 9.0 * shapes.rotation[number, :, 1], shapes.rotation[number, :, 1])
        assert np.isclose(alpha(part, rays).alpha, 0.5)
    assert np.array_equal(shapes.reach == 0.0, mixture.log_weight <= np.log(np.log(2.0)))


def test_the_ball_holds_all_outlines():
    ball = enclosing_ball(spheres([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]], radius=0.5))
    assert np.allclose(ball.centre, [2.0, 0.0, 0.0]) and np.isclose(ball.radius, 1.5)


def test_colours_of_the_first_components_do_not_depend_on_their_number():
    assert np.allclose(component_colors(5), component_colors(40)[:5])
    assert len(np.unique(np.round(component_colors(100), 3), axis=0)) == 100


def test_a_sphere_is_a_disc_of_the_right_size_that_faces_the_camera():
    turn = turntable(spheres([0.4, -2.0, 7.0], weight=1e4), 3, SIDE)
    focal = 0.5 * SIDE / np.tan(np.deg2rad(FIELD_OF_VIEW / 2.0))
    sine = np.sin(np.deg2rad(FIELD_OF_VIEW / 2.0)) / ROOM
    radius = focal * sine / np.sqrt(1.0 - sine**2)
    for kind in turn:
        assert kind.shape == (3, SIDE, SIDE, 3) and kind.dtype == np.uint8
        assert np.all(kind[:, 0, 0] == 255)
    # the share of white in a flat colour tells alpha, the sum of alpha the area
    palette = np.round(255.0 * component_colors(1)[0])
    alpha = (255.0 - turn.component[..., 1]) / (255.0 - palette[1])
    assert np.allclose(alpha.sum(axis=(1, 2)), np.pi * radius**2, rtol=0.03)  # soft edges are not symmetric
    middle = turn.normal[:, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1].mean(axis=(1, 2))
    assert np.allclose(middle, [127.5, 127.5, 255.0], atol=1.5)


def test_the_nearest_component_comes_first_and_colours_are_as_given_under_the_light():
    angle = np.pi / 2.0 * np.arange(4)
    mean = np.stack([np.sin(angle), np.zeros(4), np.cos(angle)], axis=-1)
    color = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.4, 0.6]])
    turn = turntable(spheres(mean, radius=0.35, weight=1e4), 4, SIDE, Look(color))
    # seen from above, the nearest stands lowest in the middle of the image, at its height and depth
    depth = ROOM * 1.35 / np.sin(np.deg2rad(FIELD_OF_VIEW / 2.0)) - np.cos(ELEVATION)
    focal = 0.5 * SIDE / np.tan(np.deg2rad(FIELD_OF_VIEW / 2.0))
    row = int(SIDE / 2 + focal * np.sin(ELEVATION) / depth)
    for frame in range(4):
        light = brightness(2.0 * turn.normal[frame, row, SIDE // 2 :][:1] / 255.0 - 1.0)[0]
        assert 0.5 < light < 1.0
        assert np.allclose(turn.color[frame, row, SIDE // 2], 255.0 * light * color[frame], atol=3.0)
        assert np.allclose(turn.component[frame, row, SIDE // 2], 255.0 * component_colors(4)[frame], atol=3.0)


def test_frames_do_not_depend_on_where_the_object_lies():
    mixture = random_mixture()
    moved = turntable(mixture._replace(mean=mixture.mean + np.array([1e4, -2e3, 5.0])), 2, SIDE)
    for kind, same in zip(turntable(mixture, 2, SIDE), moved, strict=True):
        # normals and colours jump where components meet
        assert np.mean(np.abs(kind.astype(float) - same) > 2.0) < 0.01


def test_one_frame_each_with_progress():
    calls = []
    turn = turntable(spheres([0.0, 0.0, 0.0]), 1, SIDE, on_progress=lambda *call: calls.append(call))
    assert calls == [(1, 1)]
    assert turn.color.shape == (1, SIDE, SIDE, 3)
    tall = SIDE + HEAD
    assert side_by_side(turn).shape == (1, 2 * tall, 2 * SIDE, 3)
    strip = side_by_side(turn, 3)
    assert strip.shape == (1, 2 * tall, 3 * SIDE, 3)
    assert np.all(strip[:, tall:, SIDE:] == 255) and np.array_equal(strip[:, tall + HEAD :, :SIDE], turn.component)
    assert all(strip[:, :HEAD, at : at + SIDE].min() < 100 for at in range(0, 3 * SIDE, SIDE))  # each has its title


def test_a_mixture_too_thin_to_be_opaque_has_depths():
    turn = turntable(spheres([0.0, 0.0, 0.0])._replace(log_weight=np.full(COUNT, -3.0)), 1, SIDE)
    assert len(np.unique(turn.depth.reshape(-1, 3), axis=0)) > 2


def test_sharper_blends_keep_the_order():
    settings = Settings(blending="five_parameter")
    plain, sharp = FiveBetas(), sharpened(settings).betas
    assert (sharp.fit, sharp.near) == (SHARPNESS * plain.fit, SHARPNESS * plain.near)
    assert sharp[2:] == plain[2:]
    assert sharpened(Settings(betas=TwoBetas(20.0, 1.0))).betas == TwoBetas(SHARPNESS * 20.0, SHARPNESS)
    assert sharpened(Settings(blending="sorted")).betas == ()


def test_small_or_empty_turns_are_refused():
    with pytest.raises(ValueError, match="turntable of 7 pixels: must have at least 8"):
        turntable(spheres([0.0, 0.0, 0.0]), 2, 7)
    with pytest.raises(ValueError, match="number of views 0: must be at least 1"):
        turntable(spheres([0.0, 0.0, 0.0]), 0, SIDE)


def test_up_is_what_the_cameras_agree_on():
    intrinsics, up = pinhole_intrinsics(8, 8, 45.0), np.array([0.6, 0.0, 0.8])
    assert np.allclose(common_up(orbit_cameras(12, 3.0, intrinsics, 0.2, tuple(up))), up)
    assert np.allclose(common_up(random_cameras(np.random.default_rng(0), 200, 3.0, intrinsics)), [0.0, 1.0, 0.0])
    upright = random_cameras(np.random.default_rng(0), 9, 3.0, intrinsics, tuple(up))
    assert np.allclose(common_up(upright), up)  # exactly, though they look from random directions
