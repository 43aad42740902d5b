"""The auto-decoder: two spheres in closed form, going on bit for bit, order between codes, and completion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from fmb.clouds.completion import Similar, fit_completion, misfit
from fmb.clouds.options import PointsOptions
from fmb.fields.field import evaluated
from fmb.fields.latent import Space
from fmb.latent.decoder import (
    CHUNK,
    Hooks,
    State,
    check_finite,
    check_names,
    draw,
    mixing,
    shape_of,
    steps_of,
    terms_of,
    train,
)
from fmb.latent.decoder import start as start_weights
from fmb.latent.options import SpaceOptions
from fmb.latent.samples import Samples, box_frame, sample_distances

STEPS = 12 * CHUNK
SMALL = SpaceOptions(decoder_width=24, decoder_depth=2, learn_steps=STEPS, learn_points=512, decoder_rate=4e-3)
RADII = ((0.5, 0.5, 0.5), (0.5, 0.25, 0.25))


def ellipsoid(radii: tuple[float, float, float]) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(3, 1.0)
    mesh.vertices *= radii
    return mesh


@pytest.fixture(scope="module")
def samples() -> list[Samples]:
    generator = np.random.default_rng(0)
    return [
        sample_distances(ellipsoid(radii), name, 4000, generator)
        for radii, name in zip(RADII, ("ball", "egg"), strict=True)
    ]


@pytest.fixture(scope="module")
def states(samples: list[Samples]) -> list[State]:
    """All that a training keeps."""
    kept: list[State] = []
    train(samples, SMALL, np.random.default_rng(0), Hooks(save=kept.append))
    return kept


def test_shapes_come_back_from_their_codes(samples: list[Samples], states: list[State]):
    space, history = states[-1].space, states[-1].history
    assert len(history["loss"]) == states[-1].step == STEPS
    assert history["distance_error"][-20:].mean() < 0.005
    ball = evaluated(space.field(space.code_of("ball")), 0.3 * np.eye(3))
    np.testing.assert_allclose(ball, -0.1, atol=0.03)  # cut off
    axis = np.array([[0.45, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.2]])
    np.testing.assert_allclose(evaluated(space.field(space.code_of("egg")), axis), [-0.03, 0.05, -0.05], atol=0.03)


def test_a_training_goes_on_bit_for_bit(samples: list[Samples], states: list[State]):
    middle = next(state for state in states if STEPS / 2 < state.step < STEPS)
    again = train(samples, SMALL, np.random.default_rng(0), Hooks(begun=middle.arrays))
    np.testing.assert_array_equal(again.codes, states[-1].space.codes)
    for one, other in zip(again.parameters, states[-1].space.parameters, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
    wider = SpaceOptions(**{**SMALL.__dict__, "decoder_width": 25})
    with pytest.raises(ValueError, match=r"parameters.network.0.weight of shape \(8, 24\)"):
        train(samples, wider, np.random.default_rng(0), Hooks(begun=middle.arrays))


@pytest.mark.slow
def test_targets_are_clamped_and_predictions_are_not():
    shape = shape_of(SMALL, 2)
    weights = start_weights(shape, 2, np.random.default_rng(0))
    last = weights.network[-1]._replace(weight=0.0 * weights.network[-1].weight, bias=jnp.full(1, 3.0))
    weights = weights._replace(network=(*weights.network[:-1], last))
    rows = jnp.asarray(np.column_stack([np.zeros((4, 3)), [0.5, 0.05, -0.05, -9.0]]))[None].repeat(2, axis=0)
    found = terms_of(weights, (jnp.arange(2), rows), SMALL, shape)
    np.testing.assert_allclose(found["distance_error"], np.mean([2.9, 2.95, 3.05, 3.1]))
    np.testing.assert_allclose(found["code_length"], np.linalg.norm(weights.code, axis=1).mean(), rtol=1e-6)
    slope = jax.grad(lambda w: terms_of(w, (jnp.arange(2), rows), SMALL, shape)["distance_error"])(weights)
    np.testing.assert_allclose(slope.network[-1].bias, 1.0)  # far off, and still drawn back
    assert float(mixing(weights, (jnp.arange(2), rows), shape, jax.random.key(0))) == 0.0  # constant in the code


def test_every_shape_is_seen_half_inside_and_half_outside():
    data = tuple(jnp.asarray(np.arange(3 * 50 * 4).reshape(3, 50, 4) + 1.0) * sign for sign in (1.0, -1.0))
    chosen, rows = draw(data, 60, jax.random.key(3))
    assert chosen.tolist() == [0, 1, 2] and rows.shape == (3, 20, 4)
    np.testing.assert_array_equal(np.sign(rows[..., 3]).sum(axis=1), 0.0)
    for number in range(3):
        own = np.abs(np.asarray(rows[number]))
        assert own.min() > 200 * number and own.max() <= 200 * (number + 1)


def test_options_follow_the_number_of_shapes_and_names_must_differ():
    assert [shape_of(SpaceOptions(), count).code for count in (2, 3)] == [2, 16]
    assert steps_of(SpaceOptions(), 2) < steps_of(SpaceOptions(), 20) and steps_of(SpaceOptions(learn_steps=7), 9) == 7
    with pytest.raises(ValueError, match="decoder_skip is 4; must be below decoder_depth, 4"):
        shape_of(SpaceOptions(decoder_skip=4), 2)
    with pytest.raises(ValueError, match="^1 shape; a space of shapes needs at least 2$"):
        check_names(["a"])
    with pytest.raises(ValueError, match="names of shapes are not unique: a, c"):
        check_names(["a", "b", "a", "c", "c"])
    with pytest.raises(FloatingPointError, match="the loss is not finite at step 9; try a smaller decoder_rate"):
        check_finite(np.array([1.0, 2.0, np.inf, np.nan]), 7)


def test_misfit_is_a_length_of_the_cloud(states: list[State]):
    """A cloud twice as large, under half the scale, is as near in its own unit."""
    space: Space = states[-1].space
    points = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)) * 0.2)
    placed = Similar(jnp.asarray(space.codes[0]), jnp.log(0.5), jnp.array([0.1, 0.0, 0.3]), jnp.array([0.1, 0.0, 0.0]))
    turned = placed._replace(log_scale=jnp.log(1.0))
    one = misfit(space.shape, space.parameters, placed, 2.0 * points)
    assert float(one) > float(misfit(space.shape, space.parameters, turned, points)) > 0.0
    np.testing.assert_allclose(placed.to_space(2.0 * points), turned.to_space(points), atol=1e-12)


@pytest.mark.slow
def test_half_of_an_egg_is_completed(states: list[State]):
    space = states[-1].space
    egg = ellipsoid(RADII[1])
    points = np.asarray(trimesh.sample.sample_surface(egg, 4000, seed=0)[0])
    half = points[points[:, 0] > 0.0]
    frame = box_frame(half)
    options = PointsOptions(points_method="latent", latent_space=space)
    state = fit_completion(frame.to_canonical(half), None, options, np.random.default_rng(0))
    whole = frame.inner(state.frame)
    assert state.facts["nearest_shape"] == "egg"
    away = evaluated(state.field, whole.to_canonical(points)) * float(whole.scale)
    assert np.abs(away).mean() < 0.02
    with pytest.raises(ValueError, match="--method latent needs --shapes"):
        fit_completion(half, None, PointsOptions(points_method="latent"), np.random.default_rng(0))
