"""Drawing beside other work: in order, in a process that imports nothing of the user's and does not stay."""

import subprocess
import sys
from pathlib import Path

import pytest

from fmb.machine import write_text
from fmb.pictures.painter import Painter

ROOT = Path(__file__).resolve().parents[2]


def test_drawings_follow_one_another(tmp_path: Path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit('the current folder is imported')")
    monkeypatch.chdir(tmp_path)
    with Painter(tmp_path / "a.txt") as painter:
        painter.draw(write_text, "first")
        last = painter.draw(write_text, "second")
        painter.finish()
        assert last.result() == tmp_path / "a.txt"
        assert (tmp_path / "a.txt").read_text() == "second"
        assert painter.process.poll() is None
    assert painter.process.poll() is not None


def test_what_draws_is_loaded_in_no_time():
    heavy = "{'jax', 'scipy', 'trimesh'} & set(sys.modules)"
    program = f"import sys, fmb.pictures.draw, fmb.pictures.page_pictures\nprint({heavy})"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_what_a_drawing_raises_is_raised(tmp_path: Path):
    with Painter(tmp_path / "missing" / "a.txt") as painter:
        painter.draw(write_text, "")
        with pytest.raises(ValueError, match=r"a\.txt: cannot be written \(no such file or directory\)"):
            painter.finish()


def test_a_process_that_died_is_one_line(tmp_path: Path):
    with Painter(tmp_path) as painter:
        painter.process.kill()
        painter.draw(write_text, "")
        with pytest.raises(ValueError, match="the process that draws the pictures has died"):
            painter.finish()
