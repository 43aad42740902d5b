import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmb.fields.looks import look
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, random_cameras
from fmb.geometry.noise import camera as wrong_cameras
from fmb.geometry.views import Views
from fmb.joint import JointOptions, aligned, compiled_refinement, fit_shape_and_cameras, mean_motion, prior
from fmb.pose.observation import pose_of
from fmb.pose.search import moved
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import compile_shape_fit
from tests.pose_scene import IMAGE_SIZE, INTRINSICS, camera_at, lopsided_mixture


def masks(count: int = 6) -> Views:
    turns = Rotation.random(count, random_state=np.random.default_rng(1)).as_rotvec()
    cameras = Cameras(np.stack([camera_at(turn) for turn in turns]), np.tile(INTRINSICS, (count, 1, 1)))
    mixture = jax.tree.map(lambda x: x.astype(jnp.float64), lopsided_mixture())
    alpha = look(mixture, cameras, IMAGE_SIZE).alpha
    return Views(cameras, (alpha > 0.5).astype(np.float32))


def test_cameras_are_found_again():
    views = masks()
    given = wrong_cameras(views, np.random.default_rng(0), 2.0).cameras
    refine = compiled_refinement(lopsided_mixture(), views, JointOptions())
    truth = views.cameras.world_from_camera
    before = mean_motion(given.world_from_camera, truth)
    after = mean_motion(refine(lopsided_mixture(), given, given), truth)
    assert after[0] < before[0] / 2
    assert after[1] < before[1]


def test_alignment_undoes_a_similarity():
    pose = masks().cameras.world_from_camera
    turn = Rotation.from_rotvec([0.4, -0.2, 0.7]).as_matrix()
    other = np.array(pose)
    other[:, :3, :3] = turn @ pose[:, :3, :3]
    other[:, :3, 3] = 1.7 * pose[:, :3, 3] @ turn.T + np.array([3.0, 1, -2])
    np.testing.assert_allclose(aligned(other, pose), pose, atol=1e-9)


def test_gradient_of_the_prior():
    given = pose_of(camera_at(np.array([0.2, 0.5, -0.3])), np.zeros(3), 1.0)
    given = jax.tree.map(jnp.asarray, given)
    deviation = jnp.array([0.03, 0.02])
    pose = moved(given, jnp.array([1e-4, -2e-4, 1e-4, 3e-4, 1e-4, -2e-4]))
    at = jax.jit(lambda step: prior(moved(pose, step), given, deviation))
    normal = at(jnp.zeros(6))
    steps = 1e-6 * jnp.eye(6)
    there, back = ([at(sign * step) for step in steps] for sign in (1, -1))
    expected = [(a.loss - b.loss) / 2e-6 for a, b in zip(there, back, strict=True)]
    np.testing.assert_allclose(normal.gradient, expected, rtol=2e-3)  # of first order in the small deviation
    hessian = [(a.gradient - b.gradient) / 2e-6 for a, b in zip(there, back, strict=True)]
    np.testing.assert_allclose(normal.information, hessian, rtol=5e-3, atol=10)


@pytest.mark.slow  # compiles a fit and a refinement
def test_shape_and_cameras_from_wrong_cameras():
    generator, size = np.random.default_rng(0), (24, 24)
    truth = jax.tree.map(lambda x: x[:4], lopsided_mixture())
    cameras = random_cameras(generator, 6, 3.0, pinhole_intrinsics(*size, 45.0))
    double = jax.tree.map(lambda x: x.astype(jnp.float64), truth)
    alpha = look(double, cameras, size).alpha
    views = wrong_cameras(Views(cameras, (alpha > 0.5).astype(np.float32)), np.random.default_rng(1), 4.0)
    program = compile_shape_fit(truth, (6, *size), OptimizationOptions(num_epochs=8, batch_size=256))
    rounds = []
    fit = fit_shape_and_cameras(
        program, truth, views, generator, JointOptions(2, 4.0, 4.0), lambda number, *_: rounds.append(number)
    )
    assert rounds == [0, 1]
    assert fit.moved.shape == (2, 2)
    wanted, given = cameras.world_from_camera, views.cameras.world_from_camera
    before, after = (mean_motion(aligned(x, wanted), wanted) for x in (given, fit.cameras.world_from_camera))
    assert after[0] < before[0]
    assert np.isfinite(fit.shape.mixture.mean).all()


@pytest.mark.parametrize(("name", "value"), [("rounds", 0), ("degrees", 0.0), ("percent", -1.0)])
def test_wrong_options(name, value):
    with pytest.raises(ValueError, match=f"{name} {value}: must be positive"):
        dataclasses.replace(JointOptions(), **{name: value}).check()
