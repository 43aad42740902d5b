"""Drawing beside other work: in order, and nothing is written once the painter is left."""

import threading
from pathlib import Path

import pytest

from fmb.pictures.painter import Painter


def paint(folder: Path, name: str, text: str) -> list[Path]:
    (folder / name).write_text(text)
    return [folder / name]


def test_drawings_follow_one_another(tmp_path: Path):
    with Painter(tmp_path) as painter:
        painter.draw(paint, "a.txt", "first")
        painter.draw(paint, "a.txt", "second")
        painter.finish()
        assert (tmp_path / "a.txt").read_text() == "second"


def test_what_a_drawing_raises_is_raised(tmp_path: Path):
    with Painter(tmp_path) as painter:
        painter.draw(paint, "missing/a.txt", "")
        with pytest.raises(FileNotFoundError):
            painter.finish()


def test_leaving_waits_for_the_drawing_and_drops_the_rest(tmp_path: Path):
    begun, may_end = threading.Event(), threading.Event()

    def slow(folder: Path) -> list[Path]:
        begun.set()
        may_end.wait(10.0)
        return paint(folder, "slow.txt", "")

    with Painter(tmp_path) as painter:
        painter.draw(slow)
        painter.draw(paint, "b.txt", "")
        begun.wait(10.0)
        threading.Timer(0.1, may_end.set).start()
    assert [path.name for path in tmp_path.iterdir()] == ["slow.txt"]
