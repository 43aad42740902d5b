"""Pictures and written files: what they show, that they can be read, and that no half of one is left behind."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmb import machine
from fmb.fit.loop import History
from fmb.geometry.views import Images
from fmb.machine import plain, prepare_output_dir, write_columns, write_metrics, write_text
from fmb.pictures import draw, sheets
from fmb.pictures.draw import draw_after, draw_before, draw_convergence, draw_sheet
from fmb.pictures.sheets import Scale, depth_scale

NAMES = [
    "01_reference_colors.png",
    "02_reference_depths.png",
    "03_reference_masks.png",
    "04_initial_masks.png",
    "05_initial_depths.png",
    "06_convergence.png",
    "07_mask_overlay.png",
    "08_final_masks.png",
    "10_final_depths.png",
]


def ball_images(views: int, height: int, width: int, shift: float = 0.0) -> Images:
    """A ball of radius 1/4 of the height at depth 3 that wanders from view to view, `shift` to the right."""
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5 - width / 2) / height, indexing="ij"
    )
    wander = 0.1 * np.sin(np.arange(views))[:, None, None]
    room = 0.25**2 - (x - wander - shift) ** 2 - y**2
    depth = np.where(room > 0, 3.0 - np.sqrt(np.maximum(room, 0.0)), np.nan)
    return Images((room > 0).astype(float), depth, np.repeat((room > 0)[..., None] * 0.8, 3, axis=3))


def fall(steps: int = 200) -> History:
    """A loss that falls, with unseen views measured every fifty steps."""
    step = np.arange(steps)
    loss = 0.02 + 0.3 * np.exp(-step / 30)
    return History(step, loss, np.full(steps, 0.1), np.where(step % 50 == 49, 1.1 * loss, np.nan))


def draw_pictures(folder: Path, reference: Images, initial: Images, final: Images) -> list[Path]:
    """All pictures of a run."""
    depth = depth_scale([reference.depth, initial.depth], machine.UNIT)
    before = draw_before(folder, reference, initial, depth)
    return [*before, *draw_after(folder, reference, final, fall(), depth)]


@pytest.mark.parametrize(("views", "height", "width"), [(1, 64, 64), (7, 64, 96), (20, 16, 16), (3, 96, 48)])
def test_nine_pictures_can_be_opened(tmp_path, views, height, width):
    reference, initial, final = (ball_images(views, height, width, shift) for shift in (0.0, 0.2, 0.01))
    paths = draw_pictures(tmp_path, reference, initial, final)
    assert [path.name for path in paths] == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert picture.mode == "RGB"
            assert np.ptp(np.asarray(picture)) > 200
            assert 300 < picture.height < 2200
            assert 800 < picture.width < 2500


def test_pictures_without_colour_and_depth(tmp_path):
    bare = Images(ball_images(2, 16, 16).alpha)
    paths = draw_pictures(tmp_path, bare, bare, bare)
    assert [path.name for path in paths] == [NAMES[i] for i in (2, 3, 5, 6, 7)]


@pytest.mark.parametrize(
    ("views", "height", "width"), [(1, 64, 64), (2, 8, 8), (7, 96, 48), (20, 64, 64), (50, 64, 96), (100, 64, 64)]
)
@pytest.mark.parametrize("kind", ["overlay", "depth", "value"])
def test_words_neither_overlap_nor_leave_the_page(monkeypatch, tmp_path, views, height, width, kind):
    reference, final = ball_images(views, height, width), ball_images(views, height, width, 0.01)
    scale = sheets.depth_scale([reference.depth], "input units")
    sheet = {
        "overlay": lambda: sheets.overlay_sheet(reference.alpha, final.alpha),
        "depth": lambda: sheets.depth_sheet(reference.depth, final.depth, scale, "input units"),
        "value": lambda: sheets.value_sheet("Reference masks", reference.alpha, scale),
    }[kind]()
    figures, pixels_of = [], draw.pixels_of
    monkeypatch.setattr(draw, "pixels_of", lambda figure: figures.append(figure) or pixels_of(figure))
    draw_sheet(tmp_path / "sheet.png", sheet)
    figure = figures[0]
    renderer = figure.canvas.get_renderer()
    words = [text for text in figure.texts if text.get_text()]
    boxes = [item.get_window_extent(renderer) for item in [*words, *figure.legends]]
    boxes += [axes.get_tightbbox(renderer) for axes in figure.axes]
    low, high = np.array([box.min for box in boxes]), np.array([box.max for box in boxes])
    assert (low >= 0).all()
    assert (high <= figure.get_size_inches() * figure.dpi).all()
    overlap = ((low[:, None] < high) & (low < high[:, None])).all(axis=2)
    assert (overlap == np.eye(len(boxes), dtype=bool)).all()


def test_tiles_are_copied_pixel_by_pixel(tmp_path):
    noise = np.random.default_rng(0).uniform(size=(7, 16, 24))
    sheet = sheets.value_sheet("Noise", noise, Scale("gray", (0.0, 1.0), "opacity"))
    factor = sheet.tiles.shape[1] // 16
    np.testing.assert_array_equal(sheet.tiles, sheets.paint(noise, sheet.scales[0]).repeat(factor, 1).repeat(factor, 2))
    with Image.open(draw_sheet(tmp_path / "noise.png", sheet)) as picture:
        pixels = np.asarray(picture)
    tall, wide = sheet.tiles.shape[1:3]
    columns = sheets.grid_columns(7, tall, wide)
    for view, tile in enumerate(sheet.tiles):
        top = draw.HEAD + draw.BAND + (view // columns) * (tall + draw.BAND + draw.GAP)
        left = draw.MARGIN + (view % columns) * (wide + draw.GAP)
        np.testing.assert_array_equal(pixels[top : top + tall, left : left + wide], tile)


@pytest.mark.parametrize("steps", [1, 2, 3000])
def test_convergence_of_any_length(tmp_path, steps):
    with Image.open(draw_convergence(tmp_path / "c.png", fall(steps))) as picture:
        assert picture.size == (1260, 840)


def test_convergence_of_negative_losses(tmp_path):
    history = fall()._replace(loss=-fall().loss, novel_loss=None)
    assert draw_convergence(tmp_path / "c.png", history).exists()


def test_a_failed_picture_leaves_the_old_one(monkeypatch, tmp_path):
    path = write_text(tmp_path / "06_convergence.png", "old")

    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        draw_convergence(path, fall())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["06_convergence.png"]


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "model.npz").mkdir()
    with pytest.raises(ValueError, match=r"model\.npz: cannot be written \(is a directory\)$"):
        write_text(tmp_path / "model.npz", "text")
    assert os.listdir(tmp_path) == ["model.npz"]


def test_output_folder(tmp_path):
    made = prepare_output_dir(str(tmp_path / "a" / "b"))
    assert made == tmp_path / "a" / "b"
    assert prepare_output_dir(made) == made
    assert os.listdir(made) == []
    file = write_text(tmp_path / "file", "keep")
    with pytest.raises(ValueError, match="file: is a file; the output folder must be a folder$"):
        prepare_output_dir(file)
    with pytest.raises(ValueError, match=r"b: cannot write to the output folder \(not a directory\)$"):
        prepare_output_dir(file / "b")
    assert file.read_text() == "keep"


def test_output_folder_that_nobody_can_write_to():
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc, where not even root can write")
    with pytest.raises(ValueError, match="^/proc: cannot write to the output folder"):
        prepare_output_dir("/proc")


def test_history_is_read_back(tmp_path):
    history = fall(120)
    path = write_columns(tmp_path / "history.csv", history._asdict())
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "loss", "learning_rate", "novel_loss"]
    assert [row["step"] for row in rows] == [str(step) for step in range(120)]
    np.testing.assert_allclose([float(row["loss"]) for row in rows], history.loss, rtol=1e-8)
    assert [row["novel_loss"] == "" for row in rows] == list(np.isnan(history.novel_loss))


def test_history_of_unequal_columns(tmp_path):
    with pytest.raises(ValueError, match=r"^history\.csv: columns of unequal length: {'step': 200, 'loss': 3"):
        write_columns(tmp_path / "history.csv", fall()._replace(loss=np.zeros(3))._asdict())
    assert os.listdir(tmp_path) == []


def test_metrics_are_json_without_nan(tmp_path):
    metrics = {
        "train": {"iou": np.float32(0.9), "depth_mae": np.nan},
        "steps": np.int64(7),
        "all": np.array([1.0, np.inf]),
    }
    text = write_metrics(tmp_path / "metrics.json", metrics).read_text()
    assert json.loads(text) == {"train": {"iou": 0.9, "depth_mae": None}, "steps": 7, "all": [1.0, None]}
    assert text.startswith('{\n  "train": {\n    "iou": 0.9,')
    assert "NaN" not in text


def test_plain_keeps_json_types():
    value = {"a": (1, True, None, "x"), 3: Path("b/c")}
    assert plain(value) == {"a": [1, True, None, "x"], "3": "b/c"}


def test_text_is_written_as_it_is(tmp_path):
    assert write_text(tmp_path / "config.yaml", "a: \u00e4\n").read_bytes() == "a: \u00e4\n".encode()


def test_matplotlib_is_loaded_only_to_draw():
    source = Path(machine.__file__).read_text(encoding="utf-8") + Path(sheets.__file__).read_text(encoding="utf-8")
    assert not [line for line in source.splitlines() if line.startswith(("import matplotlib", "from matplotlib"))]
    assert "pyplot" not in source
