"""The examples and the interface `import fmb`, as a user runs them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fmb
from fmb.files.captures.co3d import write_co3d
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.views import Views

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("own_loss", 0.9, 1.0),
        pytest.param("in_a_network", 0.0, 0.1, marks=pytest.mark.slow),
        ("pose_from_arrays", 0.0, 0.2),
        ("a_ball", 2.26, 2.28),  # its middle 2.705 away, its radius 0.435
        pytest.param("own_mesh_loss", 0.0, 0.2, marks=pytest.mark.slow),  # of a ball: 0.5
    ],
)
def test_examples_do_what_they_say(name, least, most):
    program = f"from examples import {name}; print(repr({name}.main()))"
    environment = {"PATH": "", "HOME": str(Path.home()), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    last = eval(found.splitlines()[-1])
    assert least <= (last[-1] if isinstance(last, tuple) else last) <= most


def test_importing_loads_nothing():
    program = "import sys, fmb; assert 'jax' not in sys.modules and 'trimesh' not in sys.modules; fmb.Mixture"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert set(fmb.__all__) == set(dir(fmb)) and len(fmb.__all__) <= 12
    with pytest.raises(AttributeError, match="module 'fmb' has no attribute 'nothing'"):
        fmb.nothing  # noqa: B018


def test_from_a_mesh_to_a_model_and_back(tmp_path):
    small = {"num_mixtures": 6, "num_views": 4, "num_epochs": 2, "image_width": 16, "image_height": 16}
    path = ROOT / "data" / "ibex.ply"
    model = fmb.fit_shape(path, **small, batch_size=64, ground_truth="raycast")
    again = fmb.load_model(fmb.save_model(tmp_path / "model.npz", model))
    for one, other in zip(
        model.frame.mixture_to_world(model.mixture), again.frame.mixture_to_world(again.mixture), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    mesh = fmb.load_mesh(fmb.save_mesh(tmp_path / "mesh.ply", fmb.to_mesh(model)))
    assert mesh.is_watertight
    assert 0.2 <= again.facts["mesh"]["level"] <= 1.4  # of the surface that fits the silhouettes, as the program does
    assert fmb.to_mesh(again, 0.1).volume > mesh.volume
    with pytest.raises(ValueError, match=r"level 0\.0: must be positive"):
        fmb.to_mesh(model, 0.0)
    extents = fmb.load_mesh(path).extents
    assert np.all(mesh.extents > extents / 3) and np.all(mesh.extents < 3 * extents)  # in the input's own unit
    loaded = fmb.fit_shape(fmb.load_mesh(path), **small, batch_size=64, ground_truth="raycast")
    np.testing.assert_array_equal(loaded.mixture.mean, model.mixture.mean)
    with pytest.raises(ValueError, match="--num-mixtures is 0; must be at least 1"):
        fmb.fit_shape(path, num_mixtures=0)
    with pytest.raises(ValueError, match="fit_shape does not read turntable"):
        fmb.fit_shape(path, turntable="gif")
    with pytest.raises(ValueError, match="fit_shape does not read refine_cameras"):
        fmb.fit_shape(path, refine_cameras=True)
    with pytest.raises(ValueError, match="a model is written as .npz"):
        fmb.save_model(tmp_path / "model.ply", model)
    with pytest.raises(ValueError, match="nothing.ply"):
        fmb.fit_shape(tmp_path / "nothing.ply")


def test_a_capture_is_fitted_from_its_folder_or_loaded(tmp_path):
    cameras = orbit_cameras(6, 4.0, pinhole_intrinsics(24, 24, 40.0), 0.4)
    row, column = np.indices((24, 24)) - 11.5
    ball = np.broadcast_to((np.hypot(row, column) < 8).astype(float), (6, 24, 24))
    folder = write_co3d(tmp_path / "ball", Views(cameras, ball))
    small = {"num_mixtures": 4, "num_epochs": 2, "batch_size": 256}
    named, loaded = (fmb.fit_shape(source, **small) for source in (folder, fmb.load_capture(folder)))
    np.testing.assert_array_equal(named.mixture.mean, loaded.mixture.mean)
    np.testing.assert_allclose(named.frame.centre, 0.0, atol=0.1)
