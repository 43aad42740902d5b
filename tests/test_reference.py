"""The twin itself against closed forms, so that what is measured by it stands on its own feet."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.reference import BLENDS, HITS, TWO_PARAMETER, Form, gradient_reference, render_reference

FIVE = (1.5, 2.0, 30.0, 8.0, -4.0)
BETAS = {"two_parameter": TWO_PARAMETER, "five_parameter": FIVE, "sorted": ()}
AHEAD = (np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]))


def ball(mean, deviation: float, weight: float = 1.0):
    """One isotropic component."""
    return np.array([mean]), np.eye(3)[None] / deviation, np.log([weight])


@pytest.fixture
def scene():
    """Six components in front of nine rays."""
    generator = np.random.default_rng(0)
    factor = np.tril(generator.normal(size=(6, 3, 3))) * 3.0
    factor[:, range(3), range(3)] = np.abs(factor[:, range(3), range(3)]) + 2.0
    mixture = (0.3 * generator.normal(size=(6, 3)), factor, 0.5 * generator.normal(size=6))
    direction = np.concatenate([0.1 * generator.normal(size=(9, 2)), np.ones((9, 1))], axis=1)
    return mixture, (np.tile([0.0, 0.0, -3.0], (9, 1)), direction)


@pytest.mark.parametrize("rule", HITS)
def test_one_ball(rule):
    mixture = ball([0.1, 0.0, 5.0], 0.2, 1.7)
    image = render_reference(mixture, AHEAD, 1.0, rule)
    # an isotropic density is steepest at one standard deviation, so the cubic rule is the quadratic one
    hit, squared = (5.0, 0.25) if rule == "linear" else (5.0 - np.sqrt(0.2**2 - 0.1**2), 1.0)
    density = 1.7 * np.exp(-0.5 * squared)
    assert_allclose(image.depth, hit, rtol=1e-14)
    assert_allclose(image.density, density, rtol=1e-13)
    assert_allclose(image.alpha, 1.0 - np.exp(-density), rtol=1e-13)
    assert_allclose(image.weights, [[1.0]])
    if rule != "linear":
        surface = np.array([-0.1, 0.0, hit - 5.0]) / 0.2
        assert_allclose(image.normal[0], surface, atol=1e-12)


def test_cubic_rule_by_dense_search(scene):
    mean, factor, _ = scene[0]
    precision = factor @ np.swapaxes(factor, 1, 2)
    origin, direction = scene[1]
    found = HITS["cubic"](precision, origin[None] - mean[:, None], direction[None])
    t = np.linspace(0.0, 6.0, 60_001)
    for (component, ray), hit in np.ndenumerate(found):
        offset = origin[ray] + t[:, None] * direction[ray] - mean[component]
        pull = offset @ precision[component]
        steepness = np.log(np.sum(pull**2, axis=1)) - np.sum(offset * pull, axis=1)
        peaks = np.flatnonzero((steepness[1:-1] > steepness[:-2]) & (steepness[1:-1] >= steepness[2:])) + 1
        assert abs(t[peaks[0]] - hit) < 1e-4


def test_sorted_compositing_by_hand():
    near, far = ball([0.0, 0.0, 2.0], 0.1, 0.4), ball([0.0, 0.0, 3.0], 0.1, 1.5)
    mixture = tuple(np.concatenate(pair) for pair in zip(far, near, strict=True))
    image = render_reference(mixture, AHEAD, 1.0, blend="sorted")
    opacity_near, opacity_far = 1.0 - np.exp(-0.4), 1.0 - np.exp(-1.5)
    passed = (1.0 - opacity_near) * opacity_far
    assert_allclose(image.depth, (2.0 * opacity_near + 3.0 * passed) / (opacity_near + passed), rtol=1e-14)
    assert_allclose(image.alpha, opacity_near + passed, rtol=1e-14)


def test_five_parameters_by_hand():
    near, far = ball([0.0, 0.0, 2.0], 0.1, 0.4), ball([0.0, 0.0, 3.0], 0.1)
    mixture = tuple(np.concatenate(pair) for pair in zip(near, far, strict=True))
    image = render_reference(mixture, AHEAD, 2.0, blend="five_parameter", betas=(1.5, 2.0, 0.3, 8.0, -4.0))
    gate = 1.0 / (1.0 + np.exp(-0.3 * 2.0 / 2.0))
    weights = np.array([np.exp(1.5 * np.log(0.4) * gate - 2.0 / 2.0 * 2.0), np.exp(-2.0 / 2.0 * 3.0)])
    assert_allclose(image.weights[:, 0], weights / weights.sum(), rtol=1e-14)
    assert_allclose(image.alpha, 1.0 / (1.0 + np.exp(4.0 - 8.0 * 1.4)), rtol=1e-14)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("rule", HITS)
def test_behind_the_camera_is_nothing(rule, blend, scene):
    mixture, rays = scene
    behind = (np.concatenate([mixture[0], [[0.0, 0.0, -9.0]]]), *(np.concatenate([a, a[:1]]) for a in mixture[1:]))
    image, alone = (render_reference(m, rays, 1.0, rule, blend, BETAS[blend]) for m in (behind, mixture))
    for field in ("alpha", "depth", "normal"):
        assert_allclose(getattr(image, field), getattr(alone, field), rtol=1e-13, atol=1e-14)
    away = render_reference(mixture, (rays[0], -rays[1]), 1.0, rule, blend, BETAS[blend])
    assert np.all(away.depth == 0.0) and np.all(away.weights == 0.0)
    assert_allclose(away.normal, rays[1] / np.linalg.norm(rays[1], axis=1, keepdims=True), rtol=1e-14)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("rule", HITS)
def test_gradients_by_central_differences(rule, blend, scene):
    generator = np.random.default_rng(1)
    upstream = {name: generator.normal(size=9) for name in ("density", "alpha", "depth")}
    gradient = gradient_reference(*scene, 1.0, upstream, Form(rule, blend, BETAS[blend]))
    arrays = [*scene[0], *scene[1]]
    moves = [generator.normal(size=array.shape) for array in arrays]
    moves[1] = np.tril(moves[1])

    def scalar(step):
        moved = [array + step * move for array, move in zip(arrays, moves, strict=True)]
        image = render_reference(tuple(moved[:3]), tuple(moved[3:]), 1.0, rule, blend, BETAS[blend])
        return sum(np.sum(getattr(image, name) * weight) for name, weight in upstream.items())

    h = 1e-5  # the error is of order h^4
    numeric = (8.0 * (scalar(h) - scalar(-h)) - (scalar(2.0 * h) - scalar(-2.0 * h))) / (12.0 * h)
    assert sum(np.sum(g * m) for g, m in zip(gradient, moves, strict=True)) == pytest.approx(numeric, rel=1e-7)


def test_normal_is_that_of_the_swept_surface(scene):
    mixture, (origin, direction) = scene
    image = render_reference(mixture, (origin, direction), 1.0)
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    for turn in np.eye(3):
        step = 1e-5 * np.cross(turn, direction)
        points = []
        for sign in (1.0, -1.0):
            turned = direction + sign * step
            turned *= length / np.linalg.norm(turned, axis=-1, keepdims=True)
            points.append(origin + render_reference(mixture, (origin, turned), 1.0).depth[:, None] * turned)
        tangent = points[0] - points[1]
        assert np.abs(np.sum(image.normal * tangent, axis=-1)).max() < 1e-8 * np.abs(tangent).max()
    assert np.all(np.sum(image.normal * direction, axis=-1) < 0.0)
    assert_allclose(np.linalg.norm(image.normal, axis=-1), 1.0, rtol=1e-14)


def test_shapes_of_no_rays_and_of_images():
    mixture = ball([0.0, 0.0, 5.0], 0.2)
    empty = render_reference(mixture, (np.zeros((0, 3)), np.zeros((0, 3))), 1.0)
    assert empty.depth.shape == (0,) and empty.normal.shape == (0, 3) and empty.weights.shape == (1, 0)
    image = render_reference(mixture, (np.zeros((2, 4, 3)), np.ones((2, 4, 3))), 1.0)
    assert image.depth.shape == (2, 4) and image.normal.shape == (2, 4, 3) and image.weights.shape == (1, 2, 4)
