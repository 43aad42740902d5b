"""Networks as fields: a sphere before the first step, whatever they are made of; a sine that is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmb.fields.networks import ACTIVATIONS, RADIUS, Shape, fast_sine, network, network_field, start_network

POINTS = np.random.default_rng(0).uniform(-0.8, 0.8, (400, 3))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("skip", [0, 2])
def test_a_network_begins_as_a_sphere(activation, skip):
    layers = start_network(Shape(256, 4, skip, activation), np.random.default_rng(1))
    assert [len(layer.weight) for layer in layers] == [3, 256, 256, 256, 256]
    assert [len(layer.bias) for layer in layers] == [256, 253 if skip else 256, 256, 256, 1]
    value = network_field(layers, activation)(jnp.asarray(POINTS))
    distance = np.linalg.norm(POINTS, axis=1) - RADIUS
    far = np.abs(distance) > 0.2  # random weights leave the radius uncertain by some tenths
    assert np.mean(np.sign(value)[far] == np.sign(distance)[far]) > 0.9
    assert np.corrcoef(value, distance)[0, 1] > 0.9


def test_the_fast_sine_is_a_sine_with_all_its_derivatives():
    x = jnp.linspace(-90.0, 90.0, 2001)
    np.testing.assert_allclose(fast_sine(x), np.sin(x), atol=1e-7)
    slope = jax.vmap(jax.grad(fast_sine))
    np.testing.assert_allclose(slope(x), np.cos(x), atol=1e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(fast_sine)))(x), -np.sin(x), atol=1e-7)


def test_one_network_is_one_function():
    assert network("sine") is network("sine") and network("sine") is not network("relu")
