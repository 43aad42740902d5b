from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose as assert_close
from scipy.spatial.transform import Rotation

from fmb.geometry.rotations import (
    matrix_from_quaternion,
    matrix_from_rotation_vector,
    rigid_transform,
)

STEP = 1e-5  # of central differences: error of order 1e-10, rounding 1e-11
assert_allclose = partial(assert_close, rtol=0.0)
ROTATIONS = {"rotation_vector": matrix_from_rotation_vector, "quaternion": matrix_from_quaternion}
IDENTITY = {"rotation_vector": np.zeros(3), "quaternion": np.array([1.0, 0.0, 0.0, 0.0])}
# none, denormal-like, both sides of the series' end (0.573), ordinary, near and at a half turn
ANGLES = np.deg2rad([0.0, 1e-150, 1e-7, 0.57, 0.58, 20.0, 90.0, 179.999999, 180.0])


def check_two_orders(function, points: np.ndarray) -> None:
    """Jacobian by both modes, and its own derivative, against central differences at each point."""
    jacobian = jax.jit(jax.vmap(jax.jacrev(function)))
    curvature = np.asarray(jax.jit(jax.vmap(jax.jacfwd(jax.jacrev(function))))(jnp.array(points)))
    slopes = np.asarray(jacobian(jnp.array(points)))
    value = jax.jit(function)
    for axis, step in enumerate(STEP * np.eye(points.shape[1])):
        ahead, behind = jnp.array(points + step), jnp.array(points - step)
        assert_allclose(slopes[..., axis], (value(ahead) - value(behind)) / (2.0 * STEP), atol=1e-8)
        assert_allclose(curvature[..., axis], (jacobian(ahead) - jacobian(behind)) / (2.0 * STEP), atol=1e-8)


@pytest.fixture
def rotations() -> Rotation:
    """Every angle about four axes, some of them awkward."""
    axes = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.6, 0.0, 0.8], [-0.36, 0.48, -0.8]])
    return Rotation.from_rotvec((ANGLES[:, None, None] * axes).reshape(-1, 3))


def test_matrices_agree_with_scipy(rotations):
    quaternion = np.roll(rotations.as_quat(), 1, axis=-1)
    expected = rotations.as_matrix()
    assert_allclose(jax.jit(matrix_from_rotation_vector)(jnp.array(rotations.as_rotvec())), expected, atol=1e-15)
    from_quaternion = jax.jit(matrix_from_quaternion)
    for length in (1.0, -1.0, 1e-3, 1e3):
        assert_allclose(from_quaternion(jnp.array(length * quaternion)), expected, atol=1e-15)


@pytest.mark.parametrize("form", ROTATIONS)
def test_gradients_at_identity_and_elsewhere(form):
    direction = np.random.default_rng(0).normal(size=len(IDENTITY[form]))
    offsets = np.array([0.0, 1e-9, 0.003, 0.03, 0.5])  # the series ends in between
    check_two_orders(ROTATIONS[form], IDENTITY[form] + offsets[:, None] * direction)


def test_derivative_at_identity_is_the_generator():
    jacobian = np.asarray(jax.jit(jax.jacrev(matrix_from_rotation_vector))(jnp.zeros(3)))
    for axis in range(3):
        generator = -np.cross(np.eye(3), np.eye(3)[axis])
        assert_allclose(jacobian[:, :, axis], generator.T, atol=1e-15)


@pytest.mark.parametrize("form", ROTATIONS)
def test_float32_stays_orthonormal(form):
    vector = np.random.default_rng(1).normal(size=(200, len(IDENTITY[form]))).astype(np.float32)
    matrix = np.asarray(jax.jit(ROTATIONS[form])(jnp.array(vector)))
    assert matrix.dtype == np.float32
    assert np.abs(matrix @ np.swapaxes(matrix, 1, 2) - np.eye(3)).max() < 2e-6  # some ulps of float32
    assert np.abs(np.linalg.det(matrix) - 1.0).max() < 2e-6


def test_rigid_transform_turns_then_moves():
    rotation = Rotation.from_rotvec([[0.1, 0.2, 0.3], [1.0, -2.0, 0.5]])
    translation = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    transform = rigid_transform(jnp.array(rotation.as_matrix()), jnp.array(translation))
    point = np.array([0.3, -0.2, 0.7])
    moved = np.asarray(transform) @ np.append(point, 1.0)
    assert_allclose(moved[:, :3], rotation.apply(point) + translation, atol=1e-15)
    assert np.array_equal(moved[:, 3], [1.0, 1.0])
