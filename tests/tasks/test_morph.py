"""Task `morph`, small: what it writes for each kind of target, and what it refuses."""

import csv
import json
from pathlib import Path

import imageio.v3 as iio
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import run_fmb
from fm_render import Mixture
from fmb.fields.latent import LatentShape, Space, latent_field
from fmb.fields.networks import Layer
from fmb.files.captures.co3d import write_co3d
from fmb.files.models import write_model
from fmb.files.spaces import write_space
from fmb.geometry.cameras import Cameras, look_at, orbit_cameras, pinhole_intrinsics
from fmb.geometry.frames import Frame
from fmb.geometry.ground_truth import cast_silhouettes, render_ground_truth
from fmb.geometry.views import Views

SMALL = "--cpu --morph-steps 6 --morph-cells 16 --surface-resolution 16 --image-width 24 --image-height 24"
SMALL += " --morph-views 2 --morph-rate 0.1"
MIDDLE, SIZE = np.array([3.0, -5.0, 7.0]), 2.0
SHAPE = LatentShape(code=2, width=3, depth=1, skip=0, frequencies=1, activation="relu", output="linear")


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main([str(word) for part in words for word in (part.split() if isinstance(part, str) else [part])])


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space made by hand: f = (3 - sum cos(pi x)) / 4 - code 0 - 0.1, round bodies that grow with the code."""
    inner = np.zeros((2 + 6, 3))
    inner[2:5] = -np.eye(3)
    inner[0] = -4.0 / 3.0
    layers = (
        Layer(jnp.asarray(inner), jnp.full(3, 4.0)),
        Layer(jnp.full((3, 1), 0.25), jnp.full(1, -(3 * 3.0) / 4.0 - 0.1)),
    )
    frame = Frame(MIDDLE, np.asarray(SIZE))
    codes = np.array([[-0.027, 0.0], [0.111, 0.0]])  # radii of about 0.25 and 0.45
    value = latent_field(layers, jnp.asarray(codes[1]), SHAPE)(jnp.asarray([[0.2, 0.0, -0.3]]))
    expected = (3 - np.cos(0.2 * np.pi) - 1 - np.cos(0.3 * np.pi)) / 4 - 0.111 - 0.1
    np.testing.assert_allclose(value, expected)
    folder = tmp_path_factory.mktemp("shapes")
    write_space(folder, Space(("small", "large"), codes, layers, SHAPE, (frame, frame)))
    return folder


@pytest.fixture(scope="module")
def done(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a fast run from one shape to the other."""
    folder = tmp_path_factory.mktemp("done")
    assert run("morph", shapes, SMALL, "--source small --target large --fast --output-dir", folder) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_results_are_whole_and_agree(done: Path):
    names = "target.png initialization.png final.png course.png codes.png movie.gif movie.mp4 start.ply end.ply"
    names += " target.ply code_path.csv log.json metrics.json config.yaml report.html cameras.json masks"
    assert sorted(path.name for path in done.iterdir()) == sorted(names.split())
    metrics, log = (json.loads((done / f"{name}.json").read_text()) for name in ("metrics", "log"))
    path = rows(done / "code_path.csv")
    assert len(path) == len(log["stages"]) == 7 and float(path[0]["code_0"]) == -0.027
    assert float(path[-1]["loss"]) < float(path[0]["loss"]) / 2
    assert metrics["end"]["iou"] > metrics["start"]["iou"] + 0.2
    assert metrics["end"]["chamfer_to_target"] < metrics["start"]["chamfer_to_target"] / 2
    assert metrics["nearest_shape"] == "large" and metrics["end"]["euler"] == 2
    assert int(path[0]["points"]) == metrics["nodes"] == 17**3 and int(path[1]["points"]) < 17**3 / 2
    for name in ("start", "end", "target"):  # in the frame of the target's file
        mesh = trimesh.load(done / f"{name}.ply")
        np.testing.assert_allclose(mesh.bounds.mean(axis=0), MIDDLE, atol=0.02 * SIZE)
    frames = iio.imread(done / "movie.gif")
    assert len({frame.tobytes() for frame in frames}) > 4


@pytest.mark.slow
def test_a_mesh_too_far_from_the_space_is_said(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    trimesh.creation.box((0.3, 1.0, 0.3)).export(tmp_path / "rod.ply")
    words = ("morph", shapes, SMALL, "--morph-views 1 --morph-rate 0.02 --target", tmp_path / "rod.ply")
    assert run(*words, "--output-dir", tmp_path) == 0
    assert "the target was not reached (residual: IoU" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "metrics.json").read_text())["tried"]) == 5


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    """A ball where the space's shapes lie."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.35 * SIZE)
    mesh.apply_translation(MIDDLE)
    return mesh


@pytest.mark.slow
def test_a_capture_gives_place_and_size(shapes: Path, ball: trimesh.Trimesh, tmp_path: Path):
    moved = ball.copy()
    moved.apply_translation([40.0, 0.0, 2.0])
    cameras = orbit_cameras(6, 6.0, pinhole_intrinsics(32, 32, 40.0), 0.4)
    cameras.world_from_camera[:, :3, 3] += MIDDLE + np.array([40.0, 0.0, 2.0])
    folder = write_co3d(tmp_path / "cup", Views(cameras, cast_silhouettes(moved, cameras, (32, 32))))
    words = ("morph", shapes, SMALL, "--morph-steps 12 --source small --data", folder, "--output-dir", tmp_path)
    assert run(*words) == 0
    end = trimesh.load(tmp_path / "end.ply")
    np.testing.assert_allclose(end.bounds.mean(axis=0), moved.bounds.mean(axis=0), atol=0.1 * SIZE)
    assert json.loads((tmp_path / "metrics.json").read_text())["end"]["iou"] > 0.85


@pytest.mark.slow
def test_one_image_with_depth_finds_the_size(shapes: Path, ball: trimesh.Trimesh, tmp_path: Path):
    pose = look_at(MIDDLE + np.array([0.0, 1.0, 5.0]), MIDDLE, (0.0, 1.0, 0.0))
    cameras = Cameras(pose[None], pinhole_intrinsics(32, 32, 40.0)[None])
    seen = render_ground_truth(ball, cameras, (32, 32), "raycast").views
    np.save(tmp_path / "depth.npy", np.asarray(seen.depth[0], np.float32))
    np.save(tmp_path / "mask.npy", np.asarray(seen.silhouette[0], np.float32))
    np.savetxt(tmp_path / "K.txt", cameras.intrinsics[0])
    np.savetxt(tmp_path / "pose.txt", pose)
    files = [word for name in ("depth", "mask") for word in (f"--{name}-file", tmp_path / f"{name}.npy")]
    files += ["--intrinsics-file", tmp_path / "K.txt", "--initial-pose-file", tmp_path / "pose.txt"]
    more = "--source small --morph-starts 1 --output-dir"
    assert run("morph", shapes, SMALL, *files, more, tmp_path) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["loss"] == "silhouettes+points" and metrics["end"]["iou"] > metrics["start"]["iou"] + 0.1


@pytest.mark.slow
def test_metaballs_morph_through_the_same_surface(tmp_path: Path):
    trimesh.creation.torus(0.33, 0.13).export(tmp_path / "torus.ply")
    mean = 0.2 * np.random.default_rng(0).normal(size=(8, 3))
    mixture = Mixture(mean, np.tile(7.0 * np.eye(3), (8, 1, 1)), np.full(8, -0.5))
    write_model(tmp_path / "ball.npz", *mixture, {"task": "shape"})
    words = ("morph", tmp_path / "ball.npz", "--target", tmp_path / "torus.ply", SMALL)
    assert run(*words, "--loss chamfer --output-dir", tmp_path) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["end"]["chamfer_to_target"] < metrics["start"]["chamfer_to_target"]
    assert (tmp_path / "model.npz").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "morph needs one target, has none: --target, --data, --depth-file or --mask-file; the shapes are small"),
        ("--target larg", "--target larg: no such shape in this space, and no mesh file; it has small, large"),
        ("--source cow --target large", "--source cow: no shape 'cow' in this space; it has small, large"),
        ("--target large --loss sillhouettes", "did you mean silhouettes?"),
        ("--target large --data data", "morph needs one target, has --target and --data"),
        ("--mask-file m.png", "--mask-file is given, but no --intrinsics-file"),
        ("--target large --model-file ball.npz", "--shapes and --model-file are both given"),
        ("--target nothing.obj", "nothing.obj"),
        ("--target large --iso-level -0.19", "the shape to start from has no surface in its box"),
    ],
)
def test_what_it_refuses(words: str, said: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run("morph", shapes, SMALL, words, "--output-dir", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_space_and_no_mixture(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run("morph", tmp_path, "--target bob --output-dir", tmp_path / "out") == 2
    assert "no space.npz in it" in capsys.readouterr().err
    assert run("morph --target bob --output-dir", tmp_path / "out") == 2
    assert "morph needs a space of shapes, or a mixture" in capsys.readouterr().err
