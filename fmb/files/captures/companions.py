"""Files that go with the images of a data set by their names: masks, depth maps, photographs."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from fmb.files.names import alike, existing
from fmb.files.safe import SUFFIXES, files_below

# the first that holds images does
MASK_FOLDERS = ("masks", "mask", "silhouettes", "segmentation", "segmentations", "segmented", "mattes", "alpha")
PICTURE_FOLDERS = ("images", "image", "rgb", "input", "images_2", "images_4", "images_8")
IGNORE_FOLDER = "ignore"  # white there: unknown, the pixel says nothing
MARKS = ("_mask", "-mask", ".mask", "_matte", "_seg", "_alpha")  # behind the name of the image
LEADING_MARKS = ("mask_", "mask-")


class Companions:
    """Files below one folder by their path in it, found by the path of an image.

    They are named NAME.png, image.jpg.png, or NAME_mask.png.  What is equal but for capitals, spaces and the form of
    its letters is found where nothing equal is.
    """

    def __init__(self, files: Mapping[str, Path]):
        self.files = files

    def of(self, image: str) -> Path | None:
        """The file for an image's path in the data set, or None."""
        if not self.files:
            return None
        keys = list(_keys(PurePosixPath(image.replace("\\", "/"))))
        exact = next((self.files[key] for key in keys if key in self.files), None)
        return exact or next((self._alike[alike(key)] for key in keys if alike(key) in self._alike), None)

    @cached_property
    def _alike(self) -> dict[str, Path]:
        return {alike(key): path for key, path in reversed(self.files.items())}


def _keys(path: PurePosixPath) -> Sequence[str]:
    # every name that the companion of an image may have, the likeliest first
    keys = []
    for name in (path, PurePosixPath(*path.parts[1:]), PurePosixPath(path.name)):
        if name.name:
            stem = name.with_suffix("") if name.suffix.lower() in SUFFIXES else name
            keys += [f"{name}.png", str(name), *(str(name.with_suffix(suffix)) for suffix in SUFFIXES)]
            marked = [stem.with_name(stem.name + mark) for mark in MARKS]
            marked += [stem.with_name(mark + stem.name) for mark in LEADING_MARKS]
            keys += [f"{other}{suffix}" for other in marked for suffix in SUFFIXES]
    return keys


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of images without folders and suffix; with folders, then whole, where they would not be distinct."""
    paths = [PurePosixPath(name) for name in names]
    bare = [path.with_suffix("") if path.suffix in SUFFIXES else path for path in paths]
    shorter = ([path.name for path in bare], [str(path) for path in bare], [str(path) for path in paths])
    return tuple(next((found for found in shorter if len(set(found)) == len(found)), names))


def masks_of(folder: Path) -> Companions:
    """The masks in the first of MASK_FOLDERS that holds any."""
    return Companions(next(filter(None, (files_in(folder, name) for name in MASK_FOLDERS)), {}))


def pictures_of(folder: Path) -> Companions:
    """The photographs in the first of PICTURE_FOLDERS that holds any."""
    return Companions(next(filter(None, (files_in(folder, name) for name in PICTURE_FOLDERS)), {}))


def ignored_of(folder: Path) -> Companions:
    """The masks in `ignore/` that say where nothing is known."""
    return Companions(files_in(folder, IGNORE_FOLDER))


def files_in(folder: Path, name: str) -> dict[str, Path]:
    """`files_below` the folder `name`, whatever its capitals."""
    return files_below(folder, existing(folder, name, folder).relative_to(folder).as_posix())
