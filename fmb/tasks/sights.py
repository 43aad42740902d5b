"""What task `train-encoder` is given: captures in folders and files of sights, or families of shapes that are made."""

import os
from pathlib import Path

from fmb import machine
from fmb.config import Config
from fmb.files.captures.read import read_capture
from fmb.geometry.views import select_views
from fmb.hull.votes import voting_views
from fmb.machine import tell
from fmb.single_view.families import FAMILIES
from fmb.single_view.sights import HELD_OUT, Collection, family_sights, joined, subset, view_sights
from fmb.tasks.encoders import read_sights
from fmb.tasks.scenes import held_out, without_empty

HELD_OUT_SHAPES = 4  # of each family, that no training sees
HELD_OUT_SHARE = 10  # one shape in so many of those that are given


def read_lessons(config: Config) -> tuple[Collection, Collection]:
    """What is learnt from, and what the training does not see.

    Raises ValueError for a folder without captures, and for so few shapes that none is left to learn from.
    """
    if not config.several:
        return made(config)
    parts = []
    with machine.progress_bar("captures") as on_progress:
        places = [place for word in config.several for place in captures_in(Path(word))]
        for number, place in enumerate(places):
            parts.append(collection_of(place, config))
            on_progress(number + 1, len(places), float("nan"))
    return parted(joined(parts))


def made(config: Config) -> tuple[Collection, Collection]:
    """Shapes of the families that the options name, and others of them."""
    options = config.encoding
    names = tuple(FAMILIES) if options.families == "all" else (options.families,)
    found = []
    for words, numbers in (
        ("shapes", range(options.family_shapes)),
        ("unseen shapes", range(HELD_OUT, HELD_OUT + HELD_OUT_SHAPES)),
    ):
        with machine.progress_bar(words) as on_progress:
            size, seed = options.encoder_size, config.random_seed
            found.append(family_sights(names, numbers, options.shape_views, size, seed, on_progress))
    return found[0], found[1]


def captures_in(path: Path) -> list[Path]:
    """The captures that a word means: a file of sights, a capture, or all folders in a folder that is none itself.

    Raises ValueError for a folder with nothing in it.
    """
    if path.suffix == ".npz" or not path.is_dir():
        return [path]
    inner = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not os.listdir(path):
        raise ValueError(f"{path}: is empty; expected a capture, folders of captures, or sights.npz")
    own = {entry.name for entry in inner} & {"images", "masks", "mask", "image", "sparse"}
    files = any(entry.is_file() for entry in path.iterdir())
    return [path] if own or files or not inner else inner


def collection_of(place: Path, config: Config) -> Collection:
    """The sights of a file, or of one capture whose object stands upright with its mirror plane at x = 0."""
    if place.suffix == ".npz":
        found = read_sights(place)
        size = found.sights.silhouette.shape[1]
        if size != config.encoding.encoder_size:
            raise ValueError(f"{place}: images of {size} pixels; encoder_size is {config.encoding.encoder_size}")
        return found
    capture = read_capture(place, config.capture.format, config.capture.longest_side, ())
    train = held_out(capture, 0)[0]
    kept, notices = without_empty(capture.names, train, voting_views(select_views(capture.views, train)))
    tell(*capture.notices, *notices)
    try:
        sights = view_sights(select_views(capture.views, kept), config.encoding.encoder_size, 0)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return Collection(sights, (place.name,))


def parted(collection: Collection) -> tuple[Collection, Collection]:
    """Every HELD_OUT_SHARE-th shape apart, the last at least.  Raises ValueError for fewer than two shapes."""
    count = len(collection.names)
    if count < 2:
        raise ValueError(f"{count} shape to learn from; at least 2 are needed, one of them to measure with")
    apart = set(range(HELD_OUT_SHARE - 1, count, HELD_OUT_SHARE)) or {count - 1}
    return tuple(subset(collection, [n for n in range(count) if (n in apart) == out]) for out in (False, True))
