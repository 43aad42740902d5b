"""Tasks `train-encoder` and `predict`: a whole small run, what each refuses, and files that are not what they seem."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.files.meshes import read_mesh
from fmb.files.models import read_model
from fmb.files.safe import read_arrays
from fmb.machine import Clock
from fmb.single_view.layout import layout_of
from fmb.single_view.network import start_encoder
from fmb.single_view.options import EncoderOptions
from fmb.single_view.sights import Collection, family_sights
from fmb.tasks.encoders import read_encoder, read_sights, write_encoder, write_sights
from fmb.tasks.predict import predict
from fmb.tasks.train_encoder import start_of, train_encoder

TINY = (
    "--encoder-size", "16", "--encoder-width", "4", "--encoder-features", "8", "--encoder-components", "3",
    "--mean-shapes", "2", "--camera-hypotheses", "2", "--encoder-batch", "2", "--encoder-steps", "2",
    "--encoder-alignments", "1",
)  # fmt: skip
OPTIONS = EncoderOptions(
    encoder_size=16, encoder_width=4, encoder_features=8, encoder_components=3, mean_shapes=2, camera_hypotheses=2,
    encoder_alignments=1,
)  # fmt: skip


def train(folder: Path, *argv: str) -> None:
    config = load_config(["train-encoder", *argv, *TINY, "--output-dir", str(folder), "--cpu"], tuple(TASKS))
    train_encoder(config, Clock())


def predicted(folder: Path, *argv: str) -> dict:
    config = load_config(["predict", *map(str, argv), "--output-dir", str(folder), "--cpu"], tuple(TASKS))
    predict(config, Clock())
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """An encoder that has learnt nothing."""
    layout, path = layout_of(OPTIONS), tmp_path_factory.mktemp("encoder") / "encoder.npz"
    usual = {"own_iou": {"low": 0.99, "median": 0.995}}
    return write_encoder(path, start_encoder(layout, np.random.default_rng(0)), layout, usual)


@pytest.fixture(scope="module")
def sights() -> Collection:
    return family_sights(("chair",), range(2), 2, 16, 0)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A red disc on a transparent ground."""
    y, x = np.mgrid[:40, :60]
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[(x - 25) ** 2 + (y - 20) ** 2 < 150] = (200, 30, 20, 255)
    Image.fromarray(pixels).save(tmp_path / "disc.png")
    return tmp_path / "disc.png"


@pytest.mark.slow
def test_a_whole_small_training(tmp_path: Path):
    train(tmp_path, "--families", "car", "--family-shapes", "2", "--shape-views", "2", "--save-sights", "--film", "gif")
    folder = tmp_path
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["shapes"] == 2 and metrics["steps"] == 2 and 0.0 <= metrics["mean"]["input_iou"] <= 1.0
    for name in ("01_unseen_shapes.png", "02_convergence.png", "film.gif", "report.html", "train_metrics.csv"):
        assert (folder / name).stat().st_size > 0
    assert read_sights(folder / "sights.npz").names == ("car-0", "car-1")
    train(tmp_path / "again", str(folder / "sights.npz"))
    found, layout, facts = read_encoder(tmp_path / "again")
    assert layout == layout_of(OPTIONS) and facts["shapes"] == 1


def test_a_prediction_says_how_far_to_believe_it(tmp_path: Path, encoder: Path, photograph: Path, capsys):
    metrics = predicted(
        tmp_path,
        photograph,
        "--encoder",
        encoder,
        "--mesh",
        "obj",
        "--mesh-resolution",
        "16",
        "--mesh-field",
        "density",
    )
    assert metrics["verdict"].startswith("far from") and len(metrics["hypotheses"]) == 4
    assert "far from what the encoder has learnt" in " ".join(capsys.readouterr().out.split())
    model = read_model(tmp_path / "model.npz")
    np.testing.assert_allclose(model.mean[:3] * [-1.0, 1.0, 1.0], model.mean[3:], atol=1e-6)
    mesh = read_mesh(tmp_path / "mesh.obj")
    assert mesh.is_watertight and mesh.visual.kind == "vertex"


def test_what_cannot_be_predicted_is_refused(tmp_path: Path, encoder: Path, photograph: Path):
    def message(*argv: str | Path) -> str:
        with pytest.raises(ValueError, match=".") as error:
            predicted(tmp_path / "out", *argv, "--encoder", encoder)
        return str(error.value)

    assert message() == "predict needs an image: run_fmb.py predict photo_with_alpha.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "black.png")
    assert "black.png: shows no object" in message(tmp_path / "black.png")
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(tmp_path / "grey.png")
    assert "nothing says what is object" in message(tmp_path / "grey.png")
    mask = ("--mask-file", tmp_path / "black.png")
    assert "black.png: the mask is empty" in message(photograph, *mask)
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "white.png")
    assert "white.png: mask of 9 x 9 pixels" in message(photograph, "--mask-file", tmp_path / "white.png")
    pose = tmp_path / "pose.json"
    pose.write_text(json.dumps({"world_from_camera": np.eye(4).tolist()}))
    assert message(photograph, "--initial-pose-file", pose).endswith("no --intrinsics-file")
    assert "split_components is true and refine_epochs is 0" in message(photograph, "--split-components")
    assert "mesh is none; a texture needs a mesh" in message(photograph, "--texture", "64", "--mesh", "none")
    assert not (tmp_path / "out").exists()


def test_files_of_encoders_are_checked(tmp_path: Path, encoder: Path):
    found, layout, facts = read_encoder(encoder)
    again, _, _ = read_encoder(write_encoder(tmp_path / "again.npz", found, layout, facts))
    np.testing.assert_array_equal(again.means, found.means)
    with pytest.raises(ValueError, match=r"no encoder.npz in it"):
        read_encoder(tmp_path / "nowhere")
    few = layout._replace(alignments=0)
    older = write_encoder(tmp_path / "older.npz", start_encoder(few, np.random.default_rng(0)), few, facts)
    arrays = dict(np.load(older))
    told = json.loads(str(arrays["metadata"]))
    del told["layout"]["alignments"]  # as files were before there were any
    np.savez(older, **(arrays | {"metadata": np.array(json.dumps(told))}))
    assert read_encoder(older)[1] == few
    config = load_config(["train-encoder", *TINY, "--encoder-start", str(older)], tuple(TASKS))
    assert len(start_of(config, layout).align) == 1
    with pytest.raises(ValueError, match="is an encoder of other sizes, alignments 1 and not 0"):
        start_of(load_config(["train-encoder", *TINY, "--encoder-start", str(encoder)], tuple(TASKS)), few)
    arrays = dict(np.load(encoder))
    for changes, words in (
        ({"means": arrays["means"][:1]}, "has means of shape"),
        ({"means": np.full_like(arrays["means"], np.nan)}, "means"),
        ({"metadata": np.array('{"version": 9}')}, "version 9"),
        ({"metadata": np.array('{"version": 1, "layout": {"size": 3}}')}, "no layout of an encoder"),
        ({"metadata": np.array(str(arrays["metadata"]).replace('"size": 16', '"size": 17'))}, "multiple of 16"),
        ({"metadata": np.array(str(arrays["metadata"]).replace('"plane"', '"cube"'))}, "symmetry is 'cube'"),
        ({"metadata": np.zeros(2)}, "no metadata"),
    ):
        np.savez(tmp_path / "other.npz", **(arrays | changes))
        with pytest.raises(ValueError, match=words):
            read_encoder(tmp_path / "other.npz")


def test_files_of_sights_come_back_and_are_checked(tmp_path: Path, sights: Collection):
    path = write_sights(tmp_path / "sights.npz", sights)
    back = read_sights(path)
    assert back.names == sights.names
    for one, other in zip(back.sights, sights.sights, strict=True):
        np.testing.assert_array_equal(one, other)
    arrays = read_arrays(path)
    for changes, words in (
        ({"color": arrays["color"][:1]}, "has color of shape"),
        ({"shape": arrays["shape"][::-1].copy()}, "must count up"),
        ({"intrinsics": np.full_like(arrays["intrinsics"], np.inf)}, "not finite"),
        ({"shape": np.zeros(0, np.int32)}, "0 images"),
        ({"shape": np.array([0, 0, 0, 1], np.int32)}, "chair-1 has one view"),
        ({"shape": np.zeros(4, np.int32)}, "must count up from 0 to 1"),
    ):
        np.savez(tmp_path / "other.npz", **(arrays | changes))
        with pytest.raises(ValueError, match=words):
            read_sights(tmp_path / "other.npz")


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, sights: Collection):
    write_sights(tmp_path / "sights.npz", sights)
    (tmp_path / "empty").mkdir()
    for word, words in (
        (tmp_path / "empty", "is empty; expected a capture"),
        (tmp_path / "nowhere", "no such folder"),
    ):
        with pytest.raises(ValueError, match=words):
            train(tmp_path / "out", str(word))
    argv = [
        "train-encoder",
        str(tmp_path / "sights.npz"),
        "--output-dir",
        str(tmp_path / "out"),
        "--encoder-size",
        "32",
    ]
    config = load_config(argv, tuple(TASKS))
    with pytest.raises(ValueError, match="images of 16 pixels; encoder_size is 32"):
        train_encoder(config, Clock())
    with pytest.raises(ValueError, match="family_shapes is 1; must be at least 2"):
        train(tmp_path / "out", "--family-shapes", "1")
    assert not (tmp_path / "out").exists()
