"""Data sets damaged at random: they are read, or refused with one line; nothing else comes out."""

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from capture_makers import MAKERS, make_scene

from fmb.files.captures.read import read_capture

ODD = (
    None,
    [],
    {},
    "x",
    "",
    "..",
    "/",
    "\ud800",
    -1,
    0,
    True,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    [[1, 2], [3]],
)


def places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    """Where there are values in a JSON value, as keys and indices from its top."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        yield (*place, key)
        yield from places(entry, (*place, key))


def odd_values(data: bytes, chance: random.Random) -> bytes:
    """JSON with another value in one place."""
    content = json.loads(data)
    *outer, last = chance.choice(list(places(content)))
    record = content
    for key in outer:
        record = record[key]
    record[last] = chance.choice(ODD)
    return json.dumps(content).encode()


def odd_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut out or put in."""
    place, length = chance.randrange(len(data)), chance.choice((1, 4, 40))
    middle = chance.choice((b"", chance.randbytes(length), data[place : place + length] * 2))
    return data[:place] + middle + data[place + length :]


def outcome(folder: Path, kind: str) -> str:
    """Why the folder is refused, or nothing."""
    try:
        read_capture(folder, kind)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("maker", MAKERS)
def test_random_damage(tmp_path, maker):
    folder = tmp_path / "data"
    folder.mkdir()
    kind, write = MAKERS[maker]
    write(folder, make_scene(2))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [path for path in files if path.suffix != ".png"]
    for seed in range(60):
        chance = random.Random(seed)
        path: Path = chance.choice(tables if seed % 3 else files)
        packed, stored = path.suffix == ".jgz", path.read_bytes()
        data = gzip.decompress(stored) if packed else stored
        change = odd_values if path.suffix in (".json", ".jgz") and seed % 4 else odd_bytes
        damaged = change(data, chance)
        path.write_bytes(gzip.compress(damaged) if packed else damaged)
        words = outcome(folder, chance.choice(("auto", kind)))
        assert "\n" not in words and len(words) < 700, f"seed {seed}"
        path.write_bytes(stored)
