"""Only regular files are opened, nothing is waited for, and what is too large or too long is one line."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from fmb.files import door
from fmb.files.captures.read import read_capture
from fmb.files.door import Refusal, naming, read_bytes, refusing
from fmb.files.images import color_of, decoders, mean_blocks, reduced_color
from fmb.files.safe import Image, read_arrays, read_image, webp_size
from tests.datasets import make_scene, refusal, write_transforms
from tests.files.damage import frame, model


def said(read, path, *arguments) -> str:
    with pytest.raises(Refusal) as error:
        read(Path(path) if isinstance(path, str) else path, *arguments)
    return str(error.value)


def test_what_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name may have 100 characters
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert said(read_bytes, "pipe") == "pipe: is a pipe, expected a regular file"
        assert said(read_bytes, "socket", 0, "image") == "socket: is a socket, expected an image"
    assert said(read_bytes, "/dev/zero", 0, "mesh file") == "/dev/zero: is a device, expected a mesh file"
    assert said(read_bytes, ".") == ".: is a folder, expected a regular file"
    assert said(read_bytes, "pipe/x") == "pipe/x: no such file"
    assert said(read_bytes, "x" * 300).endswith("xx: cannot be read (file name too long)")
    assert said(read_bytes, "x\0").endswith(": cannot be read (embedded null byte)")


def test_a_name_that_changes_between_two_looks(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    real = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: real)
    assert said(read_bytes, tmp_path / "pipe").endswith("pipe: is a pipe, expected a regular file")


def test_sizes_are_looked_at_first(tmp_path, monkeypatch):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    assert said(read_bytes, tmp_path / "large").endswith("large: more than 1024 MiB, at most that is read")
    (tmp_path / "file").write_bytes(b"1234")
    monkeypatch.setattr(door, "LARGEST_FILE", 4)
    assert read_bytes(tmp_path / "file") == b"1234"


def test_what_libraries_raise(tmp_path):
    def fail(error):
        with refusing("a.x", "not readable"):
            raise error

    assert said(fail, KeyError("x\ny")) == "a.x: not readable ('x\\ny')"
    assert said(fail, ValueError("first\nsecond")) == "a.x: not readable (first)"
    assert said(fail, RuntimeError()) == "a.x: not readable (RuntimeError)"
    assert said(fail, MemoryError()) == "a.x: needs more memory than there is"
    assert said(fail, Refusal("b.x: bad")) == "b.x: bad"
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    with pytest.raises(Refusal, match="gone: cannot be read .no such file"), naming(tmp_path):
        os.listdir("gone")


def test_long_names_in_a_data_set(folder):
    write_transforms(folder, make_scene(2))
    frame(file_path="x" * 252)(folder)  # the suffixes that are tried make it longer than a name may be
    assert "file name too long" in refusal(folder)
    with pytest.raises(ValueError, match="^x+: no such folder"):
        read_capture("x" * 300)


def test_archives_with_many_or_odd_members(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(model())
    assert set(read_arrays(tmp_path / "a.npz", ("mean", "color"))) == {"mean"}
    (tmp_path / "a.npz").write_bytes(model().replace(b"PK\1\2", b"PK\1\2" * 70_000))
    assert said(read_arrays, tmp_path / "a.npz").endswith("more than 65536 arrays, at most that many are read")


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_tells_its_size(tmp_path, lossless):
    for mode in ("RGB", "RGBA"):
        Image.new(mode, (37, 5), 7).save(tmp_path / "a.webp", lossless=lossless)
        with (tmp_path / "a.webp").open("rb") as file:
            assert webp_size(file) == (37, 5)
    data = bytearray((tmp_path / "a.webp").read_bytes()[:30].ljust(40, b"\0"))
    data[12:16], data[24:30] = b"VP8X", b"\xff" * 6
    (tmp_path / "a.webp").write_bytes(data)
    assert "16777216 x 16777216 pixels; at most" in said(read_image, tmp_path / "a.webp")


def test_colours_of_large_images_are_reduced_some_rows_at_a_time(monkeypatch):
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (23, 17, 3)).astype(np.uint8))
    weight = generator.uniform(size=(23, 17)).astype(np.float32)
    monkeypatch.setattr("fmb.files.images.PIXELS_AT_ONCE", 110)
    for given in (None, weight):
        np.testing.assert_allclose(reduced_color(image, 3, given), mean_blocks(color_of(image), 3, given), rtol=1e-6)
    assert [decoders(pixels) for pixels in (1, 2**23, 2**24, 2**26)] == [4, 4, 2, 1]
