"""MP4: read back by imageio, compared frame by frame; failures leave the old file and one line."""

import os
import re
import stat
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from fmb.files.media import write_gif, write_video


def moving_square(count: int, height: int, width: int) -> np.ndarray:
    """A grey ramp with a dark square that moves a pixel a frame: brightness alone, so nothing is lost to chroma."""
    frames = np.tile(np.linspace(60, 240, width).astype(np.uint8)[None, None, :, None], (count, height, 1, 3))
    for number in range(count):
        frames[number, 4:12, 2 + number : 10 + number] = 20
    return frames


def read_video(path) -> tuple[np.ndarray, str]:
    """The frames, decoded, and what ffmpeg says of the file."""
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", str(path)]
    result = subprocess.run(
        [*program, "-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"],
        capture_output=True,
        check=True,
    )
    facts = result.stderr.decode()
    width, height = map(int, re.search(r"Video: h264.* (\d+)x(\d+)", facts).groups())
    return np.frombuffer(result.stdout, np.uint8).reshape(-1, height, width, 3), facts


@pytest.mark.parametrize("shape", [(10, 32, 48), (1, 16, 16), (4, 31, 47)])
def test_frames_come_back(tmp_path, shape):
    frames, calls = moving_square(*shape), []
    write_video(tmp_path / "a.mp4", frames, 12.5, lambda *call: calls.append(call))
    found, facts = read_video(tmp_path / "a.mp4")
    assert len(found) == len(frames) and "12.50 fps" in facts
    assert "yuv420p" in facts
    assert found.shape[1] % 2 == found.shape[2] % 2 == 0
    part = found[:, : shape[1], : shape[2]].astype(float)
    assert np.mean(np.abs(part - frames)) < 3.0  # of 255, at this quality
    assert calls == [(number + 1, shape[0]) for number in range(shape[0])]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_nothing_to_write_and_odd_speeds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.mp4: no frames, or empty ones: shape \(0, 8, 8, 3\)"):
        write_video(tmp_path / "a.mp4", np.zeros((0, 8, 8, 3), np.uint8))
    for speed in (0.0, 121.0, float("nan")):
        with pytest.raises(ValueError, match="frames per second; must be above 0, at most 120"):
            write_video(tmp_path / "a.mp4", moving_square(1, 16, 16), speed)


def test_without_ffmpeg_there_is_one_line(tmp_path, monkeypatch):
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(ValueError, match="a.mp4: no ffmpeg to write it with; install it, or set IMAGEIO_FFMPEG_EXE"):
        write_video(tmp_path / "a.mp4", moving_square(1, 16, 16))


@pytest.mark.parametrize("program", ["#!/bin/sh\nexec 0<&-\necho no space left >&2\nexit 1\n", "#!/bin/sh\nexit 7\n"])
def test_what_ffmpeg_says_is_told_and_the_old_file_stays(tmp_path, monkeypatch, program):
    (tmp_path / "ffmpeg").write_text(program)
    (tmp_path / "ffmpeg").chmod(stat.S_IRWXU)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: os.fspath(tmp_path / "ffmpeg"))
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"a.mp4: ffmpeg could not write it \((no space left|status 7)\)"):
        write_video(tmp_path / "a.mp4", moving_square(40, 256, 256))
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "ffmpeg"]


@pytest.mark.parametrize("count", [1, 40])
def test_an_ffmpeg_that_ends_early_with_much_to_say(tmp_path, monkeypatch, count):
    """Frames that fit in the pipe and its buffer, and more of them; more words than a pipe holds."""
    said = "head -c 300000 /dev/zero | tr '\\0' '\\n' >&2"
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\nexec 0<&-\n{said}\necho no space left >&2\nexit 1\n")
    (tmp_path / "ffmpeg").chmod(stat.S_IRWXU)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: os.fspath(tmp_path / "ffmpeg"))
    with pytest.raises(ValueError, match=r"a.mp4: ffmpeg could not write it \(no space left\)"):
        write_video(tmp_path / "a.mp4", moving_square(count, 16, 32))


def test_a_stop_in_the_middle_leaves_the_old_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")

    def stop(number: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", moving_square(3, 16, 16), on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_no_warning_of_a_fork(tmp_path, recwarn):
    write_video(tmp_path / "a.mp4", moving_square(1, 16, 16))
    assert not recwarn.list


def test_a_name_is_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-i").mkdir()
    for name in ("-y.mp4", "-i/-y.mp4", "http:a.mp4"):
        assert read_video(write_video(Path(name), moving_square(2, 16, 16)).absolute())[0].shape[0] == 2


def growing_bar(count: int) -> np.ndarray:
    found = np.full((count, 20, 30, 3), 255, np.uint8)
    for index in range(count):
        found[index, 5:10, index : index + 5] = (0, 114, 178)
    return found


def test_gif_frames_come_back_in_time(tmp_path):
    given = growing_bar(6)
    path = write_gif(tmp_path / "film.gif", given, 0.1)
    with Image.open(path) as film:
        assert film.n_frames == 6 and film.info["loop"] == 0
        for index in range(6):
            film.seek(index)
            np.testing.assert_array_equal(np.asarray(film.convert("RGB")), given[index])
            assert film.info["duration"] == (100 if index < 5 else 1600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_single_frame_is_a_gif(tmp_path):
    with Image.open(write_gif(tmp_path / "one.gif", growing_bar(1), 0.02, 0.0)) as film:
        assert getattr(film, "n_frames", 1) == 1


def test_gifs_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match="film.gif: no frames to write"):
        write_gif(tmp_path / "film.gif", growing_bar(1)[:0], 0.1)
    with pytest.raises(ValueError, match="film.gif: 0.001 s a frame; must be at least 0.02"):
        write_gif(tmp_path / "film.gif", growing_bar(1), 0.001)
    with pytest.raises(ValueError, match="cannot be written"):
        write_gif(tmp_path / "missing" / "film.gif", growing_bar(1), 0.1)
