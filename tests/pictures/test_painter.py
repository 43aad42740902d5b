"""Drawing in another process: in order, all or nothing."""

import os
from pathlib import Path

import pytest

from fmb.pictures.painter import Painter


def paint(folder: Path, name: str, text: str) -> list[Path]:
    (folder / name).write_text(text)
    return [folder / name]


def die(folder: Path) -> list[Path]:
    os._exit(1)


def test_drawings_appear_together_at_the_end(tmp_path: Path):
    with Painter(tmp_path) as painter:
        painter.draw(paint, "a.txt", "first")
        painter.draw(paint, "a.txt", "second")
        assert not (tmp_path / "a.txt").exists()
        painter.finish()
    assert (tmp_path / "a.txt").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_nothing_is_touched_without_an_end(tmp_path: Path):
    (tmp_path / "a.txt").write_text("old")
    with Painter(tmp_path) as painter:
        painter.draw(paint, "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_drawing_raises_is_raised(tmp_path: Path):
    with Painter(tmp_path) as painter:
        painter.draw(paint, "missing/a.txt", "")
        with pytest.raises(FileNotFoundError):
            painter.finish()


def test_a_dead_process_is_one_line(tmp_path: Path):
    with Painter(tmp_path) as painter:
        painter.draw(die)
        with pytest.raises(ValueError, match="the process that draws the pictures has died"):
            painter.finish()
    assert not any(tmp_path.iterdir())
