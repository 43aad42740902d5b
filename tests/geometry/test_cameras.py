import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import (
    Cameras,
    look_at,
    nearest_to_rays,
    orbit_cameras,
    pinhole_intrinsics,
    pixel_rays,
    project,
    random_cameras,
)
from fmb.geometry.rotations import matrix_from_rotation_vector, rigid_transform

OBLONG = np.array([[[50.0, 0.7, 13.0], [0.0, 60.0, 4.5], [0.0, 0.0, 1.0]]])  # skewed, principal point off centre


def is_rotation(matrix: np.ndarray) -> bool:
    """Whether all matrices are proper rotations."""
    product = matrix @ np.swapaxes(matrix, -1, -2)
    return np.abs(product - np.eye(3)).max() < 1e-14 and np.abs(np.linalg.det(matrix) - 1.0).max() < 1e-14


def test_intrinsics_of_a_field_of_view():
    intrinsics = pinhole_intrinsics(48, 64, 45.0)
    assert intrinsics[0, 2] == 32.0 and intrinsics[1, 2] == 24.0
    # the upper edge of the image is half the field of view above the axis
    assert np.arctan(24.0 / intrinsics[1, 1]) == pytest.approx(np.deg2rad(22.5), rel=1e-15)
    assert intrinsics[0, 0] == intrinsics[1, 1]


def test_first_pixel_has_its_centre_at_a_half():
    camera = Cameras(np.eye(4)[None], np.array([[[2.0, 0.0, 2.0], [0.0, 4.0, 1.0], [0.0, 0.0, 1.0]]]))
    direction = np.asarray(pixel_rays(camera, 2, 4).direction)
    assert direction.shape == (1, 2, 4, 3)
    assert_allclose(direction[0, 0, 0], [-0.75, -0.125, 1.0], rtol=1e-15)
    assert_allclose(direction[0, 1, 3], [0.75, 0.125, 1.0], rtol=1e-15)


def test_rays_agree_with_the_inverse_matrices():
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    world_from_camera[:3, 3] = [1.0, -2.0, 3.0]
    rays = pixel_rays(Cameras(world_from_camera[None], OBLONG), 3, 5)
    for row in range(3):
        for column in range(5):
            seen = np.linalg.inv(OBLONG[0]) @ [column + 0.5, row + 0.5, 1.0]
            expected = world_from_camera[:3, :3] @ seen
            assert_allclose(rays.direction[0, row, column], expected, rtol=1e-14, atol=1e-14)
            assert_allclose(rays.origin[0, row, column], [1.0, -2.0, 3.0], rtol=1e-15)


def test_project_inverts_pixel_rays():
    cameras = random_cameras(np.random.default_rng(3), 2, 4.0, OBLONG[0])
    rays = pixel_rays(cameras, 3, 5)
    depth = np.linspace(0.5, 7.0, 15)
    for view in range(2):
        points = np.asarray(rays.origin + depth.reshape(1, 3, 5, 1) * rays.direction)[view].reshape(-1, 3)
        position, found = project(cameras, points)
        assert_allclose(found[view], depth, rtol=1e-14)
        rows, columns = np.meshgrid(np.arange(3) + 0.5, np.arange(5) + 0.5, indexing="ij")
        assert_allclose(position[view], np.stack([columns.ravel(), rows.ravel()], axis=-1), rtol=1e-12)


def test_random_cameras_see_the_origin_in_the_middle():
    intrinsics = pinhole_intrinsics(48, 64, 45.0)
    cameras = random_cameras(np.random.default_rng(0), 7, 3.0, intrinsics)
    assert is_rotation(cameras.world_from_camera[:, :3, :3])
    position, depth = project(cameras, np.zeros((1, 3)))
    assert_allclose(position[:, 0], np.tile([32.0, 24.0], (7, 1)), rtol=1e-13)
    assert_allclose(depth, 3.0, rtol=1e-14)
    fewer = random_cameras(np.random.default_rng(0), 3, 3.0, intrinsics)
    assert np.array_equal(fewer.world_from_camera, cameras.world_from_camera[:3])


def test_random_orientations_are_uniform():
    count = 20_000
    rotation = random_cameras(np.random.default_rng(1), count, 1.0, np.eye(3)).world_from_camera[:, :3, :3]
    # Haar measure: every entry has mean 0 and variance 1/3, and the angle density (1 - cos) / pi, mean pi/2 + 2/pi
    assert np.abs(rotation.mean(axis=0)).max() < 4.0 * np.sqrt(1.0 / 3.0 / count)
    assert np.abs((rotation**2).mean(axis=0) - 1.0 / 3.0).max() < 4.0 * np.sqrt(4.0 / 45.0 / count)
    angle = Rotation.from_matrix(rotation).magnitude()
    assert angle.mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=4.0 * 0.65 / np.sqrt(count))


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 2.0, 3.0), (-1e9, -2e9, -3e9)])
def test_look_at_is_a_rotation_even_where_up_is_parallel(up):
    position = np.array([1.0, 2.0, 3.0])
    world_from_camera = look_at(position, (0.0, 0.0, 0.0), up)
    assert is_rotation(world_from_camera[:3, :3])
    assert_allclose(world_from_camera[:3, 2], -position / np.linalg.norm(position), rtol=1e-15)
    assert_allclose(world_from_camera[:3, 3], position)
    assert np.array_equal(world_from_camera[3], [0.0, 0.0, 0.0, 1.0])


def test_look_at_keeps_up_upright():
    world_from_camera = look_at(np.array([[3.0, 0.0, 0.0], [0.0, 1.0, -3.0]]), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    up_in_camera = world_from_camera[:, 1, :3]
    assert_allclose(up_in_camera[:, 0], 0.0, atol=1e-15)
    assert np.all(up_in_camera[:, 1] < 0.0)  # y points down


def test_orbit_goes_round_at_its_elevation():
    cameras = orbit_cameras(4, 2.0, np.eye(3), elevation=np.pi / 6, up=(0.0, 0.0, 2.0))
    position = cameras.world_from_camera[:, :3, 3]
    radius = 2.0 * np.cos(np.pi / 6)
    assert_allclose(position[0], [radius, 0.0, 1.0], atol=1e-15)
    assert_allclose(position[1], [0.0, radius, 1.0], atol=1e-15)
    assert_allclose(cameras.world_from_camera[:, :3, 2], -position / 2.0, atol=1e-15)
    first = orbit_cameras(1, 2.0, np.eye(3)).world_from_camera[0]
    assert_allclose(first, look_at((0.0, 0.0, 2.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)), atol=1e-15)


def test_rays_are_differentiable_in_the_pose_at_the_identity():
    identity = np.zeros((1, 3))
    weight = np.random.default_rng(0).normal(size=(2, 1, 2, 3, 3))

    def loss(rotation, position):
        cameras = Cameras(rigid_transform(matrix_from_rotation_vector(rotation), position), OBLONG)
        rays = pixel_rays(cameras, 2, 3)
        return jnp.sum(weight[0] * rays.origin) + jnp.sum(weight[1] * rays.direction)

    position = np.array([[0.1, 0.2, -3.0]])
    slope = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.array(identity), jnp.array(position))
    assert_allclose(slope[1][0], weight[0].sum(axis=(0, 1, 2)), rtol=1e-14)
    value = jax.jit(loss)
    step = 1e-5
    for axis in range(identity.shape[1]):
        offset = step * np.eye(identity.shape[1])[axis]
        change = value(jnp.array(identity + offset), position) - value(jnp.array(identity - offset), position)
        assert slope[0][0, axis] == pytest.approx(float(change) / (2.0 * step), abs=1e-8)  # central differences


def test_float32_stays_float32():
    cameras = random_cameras(np.random.default_rng(0), 2, 3.0, OBLONG[0])
    rays = pixel_rays(jax.tree.map(lambda array: array.astype(np.float32), cameras), 2, 3)
    assert rays.origin.dtype == rays.direction.dtype == np.float32


def test_the_point_nearest_to_rays():
    # three edges of a cube that pass its middle at the same distance, each along its own axis
    origin = np.array([[5.0, 1.0, -1.0], [-1.0, 7.0, 1.0], [1.0, -1.0, -9.0]]) + (2.0, 3.0, 4.0)
    assert_allclose(nearest_to_rays(origin, np.eye(3)), (2.0, 3.0, 4.0), atol=1e-12)


def test_bad_cameras_are_refused():
    generator = np.random.default_rng(0)
    for call, message in (
        (lambda: pinhole_intrinsics(0, 5, 45.0), "image of 5 x 0 pixels: both sides must be at least 1"),
        (lambda: pinhole_intrinsics(5, 5, 180.0), "vfov_degrees 180.0: must lie between 0 and 180"),
        (lambda: look_at((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), (0.0, 1.0, 0.0)), "position and target coincide"),
        (lambda: random_cameras(generator, 0, 3.0, np.eye(3)), "number of views 0: must be at least 1"),
        (lambda: random_cameras(generator, 1, -1.0, np.eye(3)), "camera distance -1.0: must be positive"),
        (lambda: orbit_cameras(2, 3.0, np.eye(3), up=(0.0, 0.0, 0.0)), "up .* must have a length"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
