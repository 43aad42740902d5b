"""GIFs written and looked at."""

import numpy as np
import pytest
from PIL import Image

from fmb.files.media import write_gif


def frames(count: int) -> np.ndarray:
    found = np.full((count, 20, 30, 3), 255, np.uint8)
    for index in range(count):
        found[index, 5:10, index : index + 5] = (0, 114, 178)
    return found


def test_frames_come_back_in_time(tmp_path):
    given = frames(6)
    path = write_gif(tmp_path / "film.gif", given, 0.1)
    with Image.open(path) as film:
        assert film.n_frames == 6 and film.info["loop"] == 0
        for index in range(6):
            film.seek(index)
            np.testing.assert_array_equal(np.asarray(film.convert("RGB")), given[index])
            assert film.info["duration"] == (100 if index < 5 else 1600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_single_frame_is_a_film(tmp_path):
    with Image.open(write_gif(tmp_path / "one.gif", frames(1), 0.02, 0.0)) as film:
        assert getattr(film, "n_frames", 1) == 1


def test_messages(tmp_path):
    with pytest.raises(ValueError, match="film.gif: no frames to write"):
        write_gif(tmp_path / "film.gif", frames(1)[:0], 0.1)
    with pytest.raises(ValueError, match="film.gif: 0.001 s a frame; must be at least 0.02"):
        write_gif(tmp_path / "film.gif", frames(1), 0.001)
    with pytest.raises(ValueError, match="cannot be written"):
        write_gif(tmp_path / "missing" / "film.gif", frames(1), 0.1)
