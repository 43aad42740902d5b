"""The corpus of damage.py: a damaged file is refused with one line that names it, random damage too or it is read."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fmb.files.bop import read_bop_results
from fmb.files.captures.read import read_capture
from fmb.files.meshes import read_mesh
from fmb.files.models import read_mixture
from fmb.files.poses import read_depth_map, read_intrinsics, read_mask, read_pose
from fmb.files.released import read_released
from fmb.files.splat_files import read_splats
from tests.datasets import MAKERS, Scene, make_scene, refusal
from tests.files.damage import CAPTURES, FILES

READERS: dict[str, Callable[[Path], object]] = {
    "mesh": read_mesh,
    "splats": read_splats,
    "model": read_mixture,
    "released": read_released,
    "depth": read_depth_map,
    "mask": read_mask,
    "intrinsics": read_intrinsics,
    "pose": read_pose,
    "bop_results": read_bop_results,
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2)


def listed(corpus: dict[str, list]) -> list:
    """The cases of all formats, named by format and number."""
    return [
        pytest.param(kind, *case, id=f"{kind}-{n}") for kind, cases in corpus.items() for n, case in enumerate(cases)
    ]


def test_every_format_is_in_the_corpus():
    assert set(CAPTURES) | {"co3d_bounds"} == set(MAKERS)
    assert set(FILES) == set(READERS)


@pytest.mark.parametrize(("kind", "damage", "words"), listed(CAPTURES))
def test_damaged_data_sets(folder, scene, kind, damage, words):
    MAKERS[kind][1](folder, scene)
    damage(folder)
    assert words in refusal(folder)


@pytest.mark.parametrize(("kind", "name", "content", "words"), listed(FILES))
def test_damaged_files(tmp_path, kind, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"\S") as caught:
        READERS[kind](path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and words in said and "\n" not in said


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


def outcome(read: Callable[[], object]) -> str:
    """Why it is refused, or nothing."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("maker", MAKERS)
def test_random_damage(folder, scene, maker):
    kind, write = MAKERS[maker]
    write(folder, scene)
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
        words = outcome(partial(read_capture, folder, chance.choice(("auto", kind))))
        assert "\n" not in words and len(words) < 700, f"seed {seed}"
        path.write_bytes(stored)
