"""The library on its first day: cameras from a point, settings by name, clear refusals, a ball that looks like one."""

import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fmb
from fm_numerics import reverse_alone
from fm_render import Cameras, Mixture, Rays, Settings, render, render_views, settings_of
from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.fields.mixtures import mixture_frame
from fmb.files.capture_images import CaptureImages, depth_step, file_stems, write_capture_images
from fmb.files.captures.plain import read, write_cameras
from fmb.geometry.cameras import project
from fmb.tasks.made import command_of, made_by

BALL = Mixture(np.zeros((1, 3)), 5.0 * np.eye(3)[None], np.full(1, 2.0))
RADIUS = 0.2 * np.sqrt(2.0 * (2.0 - np.log(np.log(2.0))))  # where it is half opaque
RAYS = Rays(jnp.array([[0.0, 0.0, -3.0]]), jnp.array([[0.02, 0.01, 1.0]]))


def test_cameras_look_at_any_target():
    target = np.array([4.0, -2.0, 1.0])
    cameras = Cameras.look_at([[5.0, 1.0, 3.0], [4.0, -2.0, 9.0]], target, up=(0.0, 0.0, 1.0), size=(40, 60))
    pixel, depth = project(cameras, np.stack([target, target + [0.0, 0.0, 0.1]]))
    assert np.allclose(pixel[:, 0], [30.0, 20.0], atol=1e-4)
    assert np.allclose(depth[:, 0], [np.sqrt(14.0), 8.0], atol=1e-5)
    assert pixel[0, 1, 1] < 20.0 and np.isclose(pixel[0, 1, 0], 30.0, atol=1e-4)  # up is up
    assert Cameras.look_at([0.0, 0.0, 2.0]).intrinsics.shape == (1, 3, 3)
    with pytest.raises(ValueError, match="position and target coincide"):
        Cameras.look_at(target, target)


def test_settings_have_names():
    assert settings_of("cubic") == Settings(intersection="cubic")
    assert settings_of("sorted") == Settings(blending="sorted")
    assert settings_of("autodiff") == Settings(gradient="autodiff")
    camera = Cameras.look_at([0.0, 0.0, 3.0], size=(8, 8))
    views = jax.eval_shape(lambda ball: render_views(ball, camera, (8, 8), settings="sorted"), BALL)
    assert views.alpha.shape == (1, 8, 8)
    with pytest.raises(ValueError, match="settings 'cubical' is not one of linear, "):
        render(BALL, RAYS, settings="cubical")


def test_batches_and_forward_mode_are_told_what_to_do():
    several = jax.tree.map(lambda x: jnp.stack([x, x]), BALL)
    with pytest.raises(ValueError, match=r"mixture\.mean has shape \(2, 1, 3\); for a batch of mixtures use jax\.vmap"):
        render(several, RAYS)
    assert jax.eval_shape(jax.vmap(lambda one: render(one, RAYS).alpha), several).shape == (2, 1)
    with pytest.raises(TypeError, match="^forward-mode is not there. Look elsewhere"), reverse_alone("Look elsewhere."):
        raise TypeError("forward-mode is not there.")
    with pytest.raises(TypeError, match="^something else$"), reverse_alone("Look elsewhere."):
        raise TypeError("something else")


def depth_of(mean: jax.Array, settings: str = "closed_form") -> jax.Array:
    return render(Mixture(mean, *BALL[1:]), RAYS, settings=settings).depth.sum()


@pytest.mark.slow
def test_the_closed_form_has_hessians_and_names_what_has_forward_mode():
    mean = jnp.asarray(BALL.mean)
    with pytest.raises(TypeError, match='forward-mode.*settings="autodiff"'):
        jax.jvp(depth_of, (mean,), (mean + 1.0,))
    exact = jax.hessian(lambda x: depth_of(x, "autodiff"))(mean)
    np.testing.assert_allclose(jax.hessian(depth_of)(mean), exact, atol=1e-10)


def test_a_ball_looks_like_one():
    frame = mixture_frame(BALL)
    model = fmb.Model(frame.mixture_to_canonical(BALL), frame, None, {})
    place = np.array([1.0, 1.2, 2.5])
    cameras = fmb.Cameras.look_at(place, size=(33, 33), vfov_degrees=30)
    seen = fmb.render(model, cameras, (33, 33))
    away = np.linalg.norm(place)
    assert seen.depth[0, 16, 16] == pytest.approx(away - RADIUS, abs=1e-4)
    assert np.allclose(seen.normal[0, 16, 16], place / away, atol=1e-3)
    known = np.isfinite(seen.depth)
    assert np.array_equal(known, np.isfinite(seen.normal[..., 0]))
    assert np.allclose(np.linalg.norm(seen.normal[known], axis=-1), 1.0)
    row, column = np.nonzero(known[0])
    lens, pose = cameras.intrinsics[0], cameras.world_from_camera[0]
    ray = np.stack([(column + 0.5 - lens[0, 2]) / lens[0, 0], (row + 0.5 - lens[1, 2]) / lens[1, 1], np.ones(len(row))])
    point = pose[:3, 3] + (seen.depth[0][known[0]] * (pose[:3, :3] @ ray)).T
    assert np.allclose(point / RADIUS, seen.normal[0][known[0]], atol=2e-3)
    with pytest.raises(ValueError, match=r"size \(33, 0\): must be \(height, width\)"):
        fmb.render(model, cameras, (33, 0))
    with pytest.raises(ValueError, match=r"cameras of shapes \(4, 4\) and \(1, 3, 3\)"):
        fmb.render(model, cameras._replace(world_from_camera=pose), (33, 33))


def test_a_capture_keeps_names_depths_and_what_is_not_known(tmp_path):
    rng, names = np.random.default_rng(0), ("a/b", "c")
    assert file_stems(names) == ["00000", "00001"] and file_stems(["x", "y"]) == ["x", "y"]
    shape = (2, 6, 8)
    depth = np.where(rng.random(shape) < 0.5, np.nan, 1e3 * rng.random(shape))
    images = CaptureImages(np.full(shape, 1.0), None, depth, rng.random(shape) < 0.5)
    written = write_capture_images(tmp_path, file_stems(names), images)
    assert len(written) == 6 and {path.parent.name for path in written} == {"masks", "ignore", "depth"}
    cameras, stems = Cameras.look_at([[0.0, 0, 2], [2.0, 0, 0]]), file_stems(names)
    beside = {"mask": [f"masks/{s}.png" for s in stems], "depth": [f"depth/{s}.png" for s in stems]}
    beside |= {"depth_scale": [depth_step(depth)] * 2}
    path = write_cameras(tmp_path / "cameras.json", cameras, shape[1:], names, None, beside)
    path.write_text(path.read_text().replace('"intrinsics"', '"K"'))  # the name that others give it
    shots = read(tmp_path).shots
    assert [shot.name for shot in shots] == list(names) and shots[0].mask.name == "00000.png"
    assert np.allclose(shots[1].intrinsics, cameras.intrinsics[1]) and shots[0].depth.scale == depth_step(depth)
    assert depth_step(None) == 1.0


def test_the_command_of_a_run_makes_it_again(tmp_path):
    words = ["points", "my scan.xyz", "--method", "diff_cd", "--num-steps", "7", "--output-dir", str(tmp_path), "--cpu"]
    config = load_config(words, tuple(TASKS))
    command = command_of(config)
    assert "--method diff_cd" in command and "--cloud-file 'my scan.xyz'" in command and "--num-mixtures" not in command
    assert load_config(shlex.split(command)[1:], tuple(TASKS)) == config
    assert made_by(config, "cpu")["input"] == "my scan.xyz" and made_by(config)["random seed"] == "42"


def test_the_command_of_the_predecessor_is_not_refused():
    config = load_config(["--recipe", "predecessor", "--num-mixtures", "20"], tuple(TASKS))
    assert load_config(shlex.split(command_of(config))[1:], tuple(TASKS)) == config


def test_the_input_is_what_was_worked_on():
    def told(*words: str) -> str:
        return made_by(load_config(words, tuple(TASKS)))["input"]

    assert told("symmetry", "model.npz") == "model.npz" and told("symmetry", "their.obj") == "their.obj"
    assert told("morph", "shapes", "--data", "capture") == "shapes, capture"
    assert told("learn", "a.ply", "b") == "a.ply, b"
