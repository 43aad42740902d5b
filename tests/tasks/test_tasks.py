"""The tasks beside shape, small: what they write, and what they say to input that makes no sense."""

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

import run_fmb
from fmb.config import Config
from fmb.fields.metaballs import mesh_mixture
from fmb.files.bop import read_bop_results
from fmb.files.captures.read import read_capture
from fmb.files.models import read_mixture
from fmb.geometry.ground_truth import render_ground_truth
from fmb.pose.options import PoseTaskOptions
from fmb.tasks.track import following
from tests.datasets import make_scene, write_bop, write_plain

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--cpu --num-mixtures 12 --gmm-points 1000 --image-width 32 --image-height 24"
MIDDLE = np.array([300.0, -50.0, 1000.0])


def run(*words: object) -> int:
    """The program, in this process."""
    return run_fmb.main([str(word) for part in words for word in (part.split() if isinstance(part, str) else [part])])


@pytest.fixture(scope="module")
def animal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default mesh, in a unit and at a place of its own."""
    mesh = trimesh.load(ROOT / "data" / "ibex.ply")
    mesh.apply_scale(60.0)
    mesh.apply_translation(MIDDLE - mesh.bounds.mean(axis=0))
    path = tmp_path_factory.mktemp("meshes") / "animal.ply"
    mesh.export(path)
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, animal: Path) -> Path:
    """Folder of a model made of the animal."""
    folder = tmp_path_factory.mktemp("converted")
    assert run("convert", animal, SMALL, "--num-views 8 --num-epochs 60 --batch-size 512 --output-dir", folder) == 0
    return folder


def test_convert_makes_a_model_in_the_mesh_s_frame(converted: Path, animal: Path) -> None:
    model = read_mixture(converted / "model.npz")
    mesh = trimesh.load(animal)
    np.testing.assert_allclose(model.frame.centre, MIDDLE, atol=0.3 * float(model.frame.scale))
    assert np.abs(model.mixture.mean).max() < 1.5
    made = trimesh.load(converted / "mesh.ply")
    assert made.is_watertight
    assert made.volume == pytest.approx(mesh.volume, rel=0.4)
    capture = read_capture(converted)
    assert len(capture.names) == 16 and sum(capture.held_out) == 8
    seen = render_ground_truth(mesh, capture.views.cameras, capture.views.silhouette.shape[1:], "raycast").views
    np.testing.assert_array_equal(seen.silhouette, capture.views.silhouette)
    np.testing.assert_allclose(seen.depth, capture.views.depth, atol=2e-4 * float(model.frame.scale))
    metrics = json.loads((converted / "metrics.json").read_text())
    assert metrics["novel"]["depth_mae"] < metrics["initial"]["novel"]["depth_mae"]
    assert metrics["task"] == "convert"


def test_export_writes_what_is_asked_for_beside_the_model(converted: Path, tmp_path: Path) -> None:
    asked = "--mesh glb --mesh-faces 500 --points npy --num-points 300 --splats true --turntable gif"
    assert run("export", converted / "model.npz", "--cpu", asked, "--output-dir", tmp_path) == 0
    names = {"mesh.glb", "points.npy", "surface_points.npy", "splats.ply", "turntable.gif"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert len(np.load(tmp_path / "points.npy")) == 300
    assert len(trimesh.load(tmp_path / "mesh.glb", force="mesh").faces) <= 520
    back = read_mixture(tmp_path / "splats.ply")
    np.testing.assert_allclose(back.frame.centre, MIDDLE, atol=0.4 * float(back.frame.scale))
    assert iio.improps(tmp_path / "turntable.gif").n_images > 20


def test_export_spares_another_run(converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    words = ("export", converted / "model.npz", "--cpu --mesh none --points npy --num-points 9 --output-dir", tmp_path)
    assert run(*words) == 2
    assert "is neither empty nor the model's folder; choose another, or --overwrite" in capsys.readouterr().err
    assert run(*words, "--overwrite") == 0


def test_simulated_pose_is_found(converted: Path, tmp_path: Path) -> None:
    words = "--num-starts 4 --perturb-degrees 20 --perturb-size 0.5 --output-dir"
    assert run("pose", converted / "model.npz", SMALL, words, tmp_path) == 0
    found = json.loads((tmp_path / "pose.json").read_text())
    assert np.array(found["world_from_camera"]).shape == (4, 4)
    assert np.all(np.linalg.eigvalsh(np.array(found["covariance"])) > 0)
    start, end = found["error"]["start"], found["error"]["end"]
    assert start["rotation_degrees"] > 5
    assert end["rotation_degrees"] < start["rotation_degrees"] / 4
    assert end["adds"] <= end["add"] <= end["mssd"] < start["mssd"]
    assert end["translation_percent"] < 3
    for name in ("pose_masks.png", "pose_depths.png", "convergence.png", "descent.gif"):
        assert (tmp_path / name).stat().st_size > 1000


class Photographed(NamedTuple):
    """The model's surface as a depth camera sees it from `pose`, and the files that say how and from where to start."""

    scale: float
    pose: np.ndarray
    depth: np.ndarray
    files: list


@pytest.fixture(scope="module")
def photographed(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Photographed:
    """Of 40 x 30 pixels, the start 0.22 scales away."""
    folder = tmp_path_factory.mktemp("photographed")
    model = read_mixture(converted / "model.npz")
    scale, pose = float(model.frame.scale), np.eye(4)
    pose[:3, 3] = MIDDLE - [0, 0, 3 * scale]
    column, row = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
    direction = np.stack([(column - 20) / 36, (row - 15) / 36, np.ones_like(row)], -1).reshape(-1, 3)
    origin = np.broadcast_to(pose[:3, 3], direction.shape)
    surface = model.frame.mesh_to_world(mesh_mixture(model.mixture).mesh)
    hits, rays, _ = surface.ray.intersects_location(origin, direction, multiple_hits=False)
    depth = np.zeros(1200)
    depth[rays] = hits[:, 2] - pose[2, 3]
    (folder / "lens.json").write_text(json.dumps({"fx": 36, "fy": 36, "cx": 20, "cy": 15}))
    start = pose.copy()
    start[:3, 3] += [0.1 * scale, 0, -0.2 * scale]
    np.savetxt(folder / "start.txt", start)
    files = ["--intrinsics-file", folder / "lens.json", "--initial-pose-file", folder / "start.txt"]
    return Photographed(scale, pose, depth.reshape(30, 40), files)


def write_mask(path: Path, depth: np.ndarray) -> None:
    iio.imwrite(path, np.where(depth > 0, 255, 0).astype(np.uint8))


def test_pose_from_files(converted: Path, photographed: Photographed, tmp_path: Path) -> None:
    scale, pose, depth, files = photographed
    iio.imwrite(tmp_path / "depth.png", np.rint(depth * 100).astype(np.uint16))
    write_mask(tmp_path / "mask.png", depth)
    files = [*files, "--depth-file", tmp_path / "depth.png", "--mask-file", tmp_path / "mask.png"]
    words = (SMALL, "--num-starts 0 --output-dir", tmp_path)
    assert run("pose", converted / "model.npz", *files, "--depth-unit 0.01", *words) == 0
    found = json.loads((tmp_path / "pose.json").read_text())
    off = np.array(found["world_from_camera"])[:3, 3] - pose[:3, 3]
    assert np.linalg.norm(off) < 0.073 * scale  # the start was 0.22 away
    assert "error" not in found


def test_a_wrong_unit_is_named(
    converted: Path, photographed: Photographed, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "depth.npy", np.full((30, 40), 60_000.0))
    files = ["--depth-file", tmp_path / "depth.npy", *photographed.files]
    assert run("pose", converted / "model.npz", *files, SMALL, "--depth-unit 0.5 --output-dir", tmp_path) == 2
    shown = capsys.readouterr().err
    assert "times the model's size" in shown
    assert "(--depth-unit 0.5 is for whole numbers; floating ones are taken as they are)" in shown
    assert shown.count("\n") == 1


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_track_from_files_with_an_empty_frame(
    converted: Path, photographed: Photographed, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scale, pose, depth, files = photographed
    for name in ("depths", "masks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Thumbs.db").write_text("of the system")
    for frame in range(3):
        seen = np.zeros_like(depth) if frame == 1 else depth
        np.save(tmp_path / "depths" / f"{frame}.npy", seen)  # floating: in the model's unit
        write_mask(tmp_path / "masks" / f"{frame}.png", seen)
    files = [*files, "--depth-file", tmp_path / "depths", "--mask-file", tmp_path / "masks"]
    words = ("track", converted / "model.npz", "--cpu --num-starts 0", *files, "--output-dir")
    assert run(*words, tmp_path) == 0
    rows = rows_of(tmp_path / "track.csv")
    assert [row["success"] for row in rows][1] == "False"
    assert [row["iterations"] == "0" for row in rows] == [False, True, False]
    place = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    assert np.linalg.norm(place[2] - pose[:3, 3]) < 0.073 * scale  # the start was 0.22 away
    np.testing.assert_array_equal(place[0], place[1])
    np.save(tmp_path / "depths" / "2.npy", depth[:20])
    write_mask(tmp_path / "masks" / "2.png", depth[:20])
    assert run(*words, tmp_path) == 2
    assert "frame 2: 40 x 20 pixels; the first has 40 x 30, and all must have" in capsys.readouterr().err
    write_mask(tmp_path / "masks" / "0.png", 0 * depth)
    assert run(*words, tmp_path) == 2
    assert "0.png: the mask is empty" in capsys.readouterr().err


def test_all_frames_are_found_by_the_method_asked_for() -> None:
    config = Config(pose=PoseTaskOptions(method="first_order", evidence="mask", num_starts=7))
    assert following(config) == PoseTaskOptions(method="first_order", evidence="mask", num_starts=0)


def test_simulated_track(converted: Path, tmp_path: Path) -> None:
    words = "--num-frames 24 --image-width 24 --image-height 18 --num-starts 0 --perturb-degrees 10 --perturb-size 0.1"
    assert run("track", converted / "model.npz", "--cpu", words, "--output-dir", tmp_path) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["frames"] == len(rows_of(tmp_path / "track.csv")) == 24
    assert metrics["median_degrees"] < 5 and metrics["median_percent"] < 5  # 15 degrees a frame
    assert 0 < metrics["median_adds"] <= metrics["median_add"] <= metrics["largest_add"] < metrics["largest_mssd"]
    assert iio.improps(tmp_path / "track.gif").n_images == 24


def test_a_scene_of_bop(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scene = write_bop(tmp_path)
    truth = json.loads((scene / "scene_gt.json").read_text())
    truth["5"].append(truth["5"][0])  # a box again, hidden: its mask is empty
    (scene / "scene_gt.json").write_text(json.dumps(truth))
    write_mask(scene / "mask_visib" / "000005_000002.png", np.zeros((24, 32)))
    words = "--cpu --num-mixtures 6 --gmm-points 500 --num-starts 0 --perturb-degrees 10 --perturb-size 0.1"
    assert run("pose --bop-dir", scene, words, "--output-dir", tmp_path) == 0
    assert "1 of 3 objects skipped, the first: observation: the mask is empty" in capsys.readouterr().out
    box, ball = read_bop_results(tmp_path / "bop_results.csv")
    errors = json.loads((tmp_path / "bop_errors.json").read_text())
    rows = errors["objects"]
    assert [(row["object"], "skipped" in row) for row in rows] == [(1, False), (2, False), (1, True)]
    assert not rows[2]["success"]
    assert box.seconds == ball.seconds == pytest.approx(rows[0]["seconds"] + rows[1]["seconds"], rel=1e-3)
    assert rows[0]["percent"] < 10 and rows[0]["degrees"] < 10
    assert rows[0]["symmetry"] == "4 poses look the same" and rows[0]["adds"] <= rows[0]["mssd"] < 10
    assert rows[1]["symmetry"] == "revolution"  # as models_info.json says; nothing else is believed
    assert [row["symmetry_source"] for row in rows[:2]] == ["surface", "models_info.json"]
    assert np.shape(rows[0]["poses"]) == (4, 4, 4) and np.shape(rows[1]["poses"]) == (1, 4, 4)
    assert all((tmp_path / f"bop_{name}.png").stat().st_size > 1_000 for name in ("masks", "depths"))
    assert errors["median"]["degrees"] == pytest.approx(np.median([row["degrees"] for row in rows[:2]]), rel=1e-3)
    assert np.linalg.norm(ball.camera_from_object[:3, 3] - [30.0, 5.0, 300.0]) < 40
    (scene / "scene_gt.json").write_text("{}")
    assert run("pose --bop-dir", scene, words, "--output-dir", tmp_path / "none") == 2
    assert "000003: no object can be looked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export", "export needs a model"),
        ("export --mesh none --model-file {model}", "nothing is asked for"),
        ("export model.txt", "model.txt: is of no kind that is known here; task export reads a mixture (.npz"),
        ("pose --depth-file d.png", "--depth-file is given, but no --intrinsics-file"),
        ("pose --mask-file d.png --intrinsics-file k.json", "--mask-file is given, but no --initial-pose-file"),
        ("pose --bop-dir nowhere", "nowhere"),
        ("pose --unknown-file u.png", "--unknown-file is given, but neither --depth-file nor --mask-file"),
        (
            "pose --mask-file d.png --evidence depth --intrinsics-file k.json --initial-pose-file p.txt",
            "--evidence depth, but no --depth-file",
        ),
        (
            "pose --depth-file d.png --evidence mask --intrinsics-file k.json --initial-pose-file p.txt",
            "--evidence mask, but no --mask-file",
        ),
        (
            "track {model} --mask-file {model} --intrinsics-file k.json --initial-pose-file p.txt",
            "track takes a folder of images, in the order of their names",
        ),
        ("--check-cameras", "name its folder with --data"),
        ("--data nowhere", "nowhere: no such folder"),
    ],
)
def test_bad_input_gives_one_line(
    words: str, message: str, converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(words.format(model=converted / "model.npz"), "--cpu --output-dir", tmp_path / "out") == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_capture_is_checked_and_reconstructed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_plain(tmp_path / "data", make_scene())
    assert run("--cpu --check-cameras --data", tmp_path / "data", "--output-dir", tmp_path / "check") == 0
    assert {path.name for path in (tmp_path / "check" / "check_cameras").iterdir()} == {
        "cameras.png",
        "cameras_masks.png",
        "cameras_report.json",
    }
    words = "--num-mixtures 6 --num-epochs 10 --batch-size 256 --gmm-points 500"
    assert run("shape --cpu --data", tmp_path / "data", words, "--output-dir", tmp_path / "out") == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.npz", "cameras.json", "mesh.ply", "report.html", "07_mask_overlay.png", "masks", "images"} <= written
    assert read_mixture(tmp_path / "out" / "model.npz").color is not None
    assert "unseen views" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("shape --data . --output-dir .", "--output-dir .: is the data set's own folder, whose cameras.json would be"),
        ("shape mesh.ply --output-dir .", "mesh.ply: would be replaced by a result of the same name; choose another"),
        ("convert mesh.ply --output-dir .", "mesh.ply: would be replaced by a result of the same name"),
        (
            "symmetry symmetric.ply --output-dir .",
            "symmetric.ply: would be replaced by a result of the same name",
        ),
        (
            "template mesh.ply --template-mesh mesh.ply --output-dir .",
            "mesh.ply: would be replaced by a result of the same name",
        ),
        ("shape mesh.ply --film mp4", "--film mp4: no ffmpeg to write it with"),
        ("convert mesh.ply --turntable mp4", "--turntable mp4: no ffmpeg to write it with"),
    ],
)
def test_what_is_known_before_the_work(tmp_path, monkeypatch, capsys, words, said) -> None:
    trimesh.creation.box().export(tmp_path / "mesh.ply")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    assert run(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {said}") and shown.err.count("\n") == 1 and not shown.out
