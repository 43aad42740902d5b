"""Matrices of cameras as files give them; names and places of files; our cameras.json."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fmb.files.cameras import camera_to_world, pinhole, rigid, rotation
from fmb.files.captures.companions import Companions, short_names
from fmb.files.captures.plain import read, write_cameras
from fmb.files.captures.projections import decompose
from fmb.geometry.cameras import Cameras
from tests.datasets import make_scene


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), factor=st.floats(1e-6, 1e6), negative=st.booleans())
def test_a_projection_gives_its_camera_back(seed, factor, negative):
    generator = np.random.default_rng(seed)
    intrinsics = np.array([[800.0, 2.0, 300.0], [0.0, 600.0, 1000.0], [0.0, 0.0, 1.0]])
    intrinsics[:2] *= generator.uniform(0.5, 2.0)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=generator).as_matrix()
    pose[:3, 3] = generator.normal(scale=5.0, size=3)
    projection = intrinsics @ np.linalg.inv(pose)[:3] * (-factor if negative else factor)
    world_from_camera, found = decompose(projection, "P")
    np.testing.assert_allclose(world_from_camera, pose, atol=1e-9)
    np.testing.assert_allclose(found, intrinsics, rtol=1e-9, atol=1e-7)


def test_projections_of_any_size_do_not_overflow():
    projection = np.hstack([np.diag([500.0, 500.0, 1.0]), np.ones((3, 1))])
    for factor in (1e300, 1e-300):
        np.testing.assert_allclose(decompose(factor * projection, "P")[1], np.diag([500.0, 500.0, 1.0]))


def test_rotations_of_few_digits_become_rotations():
    exact = Rotation.from_rotvec([0.3, -0.5, 0.7]).as_matrix()
    found = rotation(np.round(exact, 4), "R")
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(found, exact, atol=1e-4)
    np.testing.assert_allclose(rigid(np.hstack([exact, [[1.0], [2.0], [3.0]]]), "M")[:3, 3], [1.0, 2.0, 3.0])
    world_from_camera = camera_to_world(exact, [1.0, 2.0, 3.0], "camera")
    np.testing.assert_allclose(np.linalg.inv(world_from_camera)[:3, 3], [1.0, 2.0, 3.0])


def test_intrinsics_up_to_scale():
    matrix = np.array([[30.0, 1.0, 12.0], [0.0, 31.0, 9.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(pinhole(-2.0 * matrix, "K"), matrix)


def test_companions_are_found_by_name(tmp_path):
    def of(image: str, *names: str):
        return Companions({name: tmp_path / name for name in names}).of(image)

    assert of("images/a.jpg", "a.jpg.png", "a.png") == tmp_path / "a.jpg.png"  # COLMAP's name goes first
    assert of("images/a.jpg", "a.png") == tmp_path / "a.png"
    assert of("images\\cam\\a.jpg", "cam/a.png", "a.png") == tmp_path / "cam/a.png"
    assert of("images/cam/a.jpg", "a.png") == tmp_path / "a.png"
    assert of("./train/r_0", "r_0.png") == tmp_path / "r_0.png"
    assert of("frame.0001", "frame.0001.png") == tmp_path / "frame.0001.png"
    assert of("a.jpg", "b.png") is None
    assert of("", "b.png") is None


def test_names_are_as_short_as_they_can_be():
    assert short_names(["images/a.png", "images/b.PNG"]) == ("a", "b")
    assert short_names(["l/a.png", "r/a.png", "b.01"]) == ("l/a", "r/a", "b.01")
    assert short_names(["x/a.png", "x/a.jpg", "x/b.png"]) == ("x/a.png", "x/a.jpg", "x/b.png")


def test_our_cameras_keep_all_digits(tmp_path):
    scene = make_scene(3)
    path = write_cameras(tmp_path / "cameras.json", scene.views.cameras, (18, 24), scene.names, scene.held_out)
    shots = read(tmp_path).shots
    np.testing.assert_allclose(
        [shot.world_from_camera for shot in shots], scene.views.cameras.world_from_camera, atol=1e-15
    )
    np.testing.assert_array_equal([shot.intrinsics for shot in shots], scene.views.cameras.intrinsics)
    assert [shot.held_out for shot in shots] == [False, False, True]
    assert {shot.size for shot in shots} == {(24, 18)}
    assert "OpenCV axes" in json.loads(path.read_text())["convention"]


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a", "b")])
def test_every_camera_needs_its_own_name(tmp_path, names):
    cameras = make_scene(3).views.cameras
    with pytest.raises(ValueError, match="cameras.json: 3 cameras, 2 names; each needs its own"):
        write_cameras(tmp_path / "cameras.json", Cameras(*cameras), (18, 24), names)
