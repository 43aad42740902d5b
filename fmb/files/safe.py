"""Files of a data set that somebody else made: none outside its folder is opened, none larger than a limit is read.

Every refusal is one ValueError line that names the file and what is expected of it. What a file claims to hold is
compared with its limit before memory is taken.
"""

import gzip
import io
import json
import math
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from fmb.files.door import BROKEN, MEBIBYTE, Refusal, open_file, read_bytes, refusing

LARGEST_TEXT = 2**29  # bytes of text that is read line by line
LARGEST_JSON = 2**28  # bytes, also after decompression: a whole CO3D category is half of it
MOST_UNPACKED = 64  # times the size of a compressed file, which may become so large: JSON of cameras gives 3 to 10
ALWAYS_UNPACKED = 2**24  # bytes that any compressed file may become
LARGEST_VALUES = 900 * MEBIBYTE  # of memory for what JSON stands for: 130,000 frames of CO3D, which need two thirds
# upper bounds, measured, of the bytes of memory that a sign stands for: an object, a list, a number and its place, half
# a text, a key's place
MEMORY_OF = {b"{": 80, b"[": 96, b",": 40, b'"': 34, b":": 50}
LARGEST_ARRAYS = 2**28  # bytes of all arrays of one npz archive, after decompression: cameras take some thousands
MOST_MEMBERS = 2**16  # of one npz archive: 2,000 views with four matrices each take an eighth
LARGEST_IMAGE = 2**26  # pixels: more than any one camera takes
IMAGE_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".JPG", ".JPEG", ".PNG")


def path_inside(folder: Path, name: Any, source: str | Path) -> Path:
    """The path `name`, relative to `folder`; it need not exist.

    Backslashes separate folders as slashes do.  Raises ValueError that begins with `source`, the file that gives the
    name, where it is no text, is absolute, or leads out of the folder, be it by `..` or by a link.
    """
    if not is_name(name):
        raise ValueError(f"{source}: {name!r} is no path; expected one relative to {folder}")
    relative = name.replace("\\", "/")
    leaves = PurePosixPath(relative).is_absolute() or bool(PureWindowsPath(name).drive)
    linked = not leaves and ".." not in PurePosixPath(relative).parts
    try:
        leaves = leaves or not (folder / relative).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links, a name too long
        leaves = True
    if leaves:
        hint = "; it is a link: copy the data set with what links point to, e.g. by `cp -rL`" if linked else ""
        raise ValueError(f"{source}: path {name[:200]!r} leaves the data set; paths must stay inside {folder}{hint}")
    return folder / relative


def is_name(value: Any) -> bool:
    """True for a text that can name a file and stand in a line: not empty, no control characters, no half of a pair."""
    return isinstance(value, str) and value != "" and not {unicodedata.category(c) for c in value} & {"Cc", "Cs"}


def files_below(folder: Path, name: str) -> dict[str, Path]:
    """All images in the folder `name` of the data set and its subfolders by their path in it; empty if there is none.

    What systems leave beside them, hidden files and folders of previews, is no part of it.
    Raises ValueError where a link leads out of the data set.
    """
    found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
    below = {path.relative_to(folder / name).as_posix(): path for path in found}
    below = {key: path for key, path in below.items() if not any(map(_left_by_system, PurePosixPath(key).parts))}
    return {key: path_inside(folder, path.relative_to(folder).as_posix(), folder) for key, path in below.items()}


def _left_by_system(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def read_text(path: Path) -> str:
    """The file as text; what is not UTF-8 is escaped."""
    return read_bytes(path, LARGEST_TEXT).decode("utf-8-sig", errors="backslashreplace")


def read_json(path: Path, kind: type | tuple[type, ...] = dict) -> Any:
    """What the JSON file holds, an object or whatever else `kind` says; `.jgz` and `.gz` are decompressed."""
    data = read_bytes(path, LARGEST_JSON)
    value = parse_json(unpacked(path, data) if path.suffix in (".jgz", ".gz") else data, str(path))
    if not isinstance(value, kind):
        raise ValueError(f"{path}: must hold a JSON {'object' if kind is dict else 'list'} at the top")
    return value


def read_metadata(
    path: Path, arrays: Mapping[str, np.ndarray], version: int, origin: str, kind: str = ""
) -> dict[str, Any]:
    """The JSON in the array `metadata` of an .npz file, of that version.

    Raises ValueError with the words `origin` where there is none, and with `kind` for another version.
    """
    text = arrays.get("metadata", np.zeros(()))
    if text.ndim or text.dtype.kind != "U":
        raise ValueError(f"{path}: no metadata; {origin}")
    facts = parse_json(str(text).encode(), str(path))
    if not isinstance(facts, dict) or facts.get("version") != version:
        found = facts.get("version") if isinstance(facts, dict) else None
        raise ValueError(f"{path}: version {found!r}{kind}; this program reads version {version}")
    return facts


def parse_json(data: bytes, where: str) -> Any:
    """What the JSON text stands for, where its values fit into LARGEST_VALUES.  Raises ValueError."""
    width = 1 if data.isascii() else 4  # bytes that Python keeps for a sign where one of them is rare
    memory = width * len(data) + sum(data.count(sign) * size for sign, size in MEMORY_OF.items())
    if memory > LARGEST_VALUES:
        needs = f"its values need about {memory // MEBIBYTE} MiB of memory"
        raise Refusal(f"{where}: {needs}; at most {LARGEST_VALUES // MEBIBYTE} MiB are taken")
    with refusing(where, "not readable as JSON", (ValueError, RecursionError)):
        return json.loads(data)


def unpacked(path: Path, data: bytes) -> bytes:
    """The content of gzip data, of the file of that path; refused where it is out of proportion."""
    limit = min(LARGEST_JSON, max(ALWAYS_UNPACKED, MOST_UNPACKED * len(data)))
    parts, size = [], 0
    with refusing(path, "cannot be read"), gzip.open(io.BytesIO(data)) as file:
        while part := file.read(AT_ONCE):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise Refusal(f"{path}: more than {limit / MEBIBYTE:.4g} MiB, at most that is read")
    return b"".join(parts)


def array_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an npz archive; none where the file is no archive."""
    try:
        with _archive(path, read_bytes(path, LARGEST_ARRAYS)) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except Refusal:
        return ()


def read_arrays(path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz archive by name, or those `wanted` that it has; pickled objects are refused."""
    with _archive(path, read_bytes(path, LARGEST_ARRAYS)) as archive, refusing(path, NO_ARCHIVE):
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        members = {name: member for name, member in members.items() if wanted is None or name in wanted}
        size = sum(member.file_size for member in members.values())
        if size > LARGEST_ARRAYS:
            held, most = (f"{number // MEBIBYTE} MiB" for number in (size, LARGEST_ARRAYS))
            raise Refusal(f"{path}: {held} of arrays; at most {most} are read")
        return {name: _member(archive, member) for name, member in members.items()}


NO_ARCHIVE = "not readable as an npz archive"


def _archive(path: Path, data: bytes) -> zipfile.ZipFile:
    # every entry of the directory becomes an object of a kilobyte, so they are counted first
    if data.count(b"PK\1\2") > MOST_MEMBERS:
        raise Refusal(f"{path}: more than {MOST_MEMBERS} arrays, at most that many are read")
    with refusing(path, NO_ARCHIVE):
        return zipfile.ZipFile(io.BytesIO(data))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may ask for any memory
        raise ValueError(f"{member.filename} is compressed in a way that numpy does not write")
    with archive.open(member) as file:
        return _array(file, member.filename)


def read_npy(path: Path) -> np.ndarray:
    """The one array of a .npy file; pickled objects are refused."""
    data = read_bytes(path)
    if data.startswith(b"PK\3\4"):
        raise Refusal(f"{path}: an archive; must be one array, .npy")
    with refusing(path, "not a readable .npy file"):
        return _array(io.BytesIO(data), "it")


def _array(file: io.BufferedIOBase, name: str) -> np.ndarray:
    # numpy's own reader makes room for what the header claims before it looks at what is there
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in header:
        raise ValueError(f"{name} has version {version}")
    shape, fortran, dtype = header[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects")
    data = file.read()
    if min(shape, default=0) < 0 or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} is not of the size that it claims")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


@contextmanager
def image_header(path: Path) -> Iterator[Image.Image]:
    """The image, size and mode known, its pixels not read; to be used in a `with` statement."""
    with open_file(path, "image") as file, _header(path, file) as image:
        yield image


def _header(path: Path, source: io.BufferedIOBase) -> Image.Image:
    with refusing(path, NO_IMAGE, IMAGE_ERRORS):
        try:
            _check_size(path, webp_size(source))
            image = Image.open(source, formats=IMAGE_FORMATS)
        except UnidentifiedImageError:  # its words would name an object, not a file
            raise Refusal(f"{path}: {NO_IMAGE} (none of {', '.join(IMAGE_FORMATS)})") from None
    _check_size(path, image.size)
    return image


NO_IMAGE = "not a readable image"
IMAGE_ERRORS = (*BROKEN, Image.DecompressionBombError)


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > LARGEST_IMAGE or width * height == 0:
        raise Refusal(f"{path}: {width} x {height} pixels; at most {LARGEST_IMAGE} pixels are read")


def webp_size(source: io.BufferedIOBase) -> tuple[int, int]:
    """Width and height that a WebP file claims, (1, 1) for every other: Pillow takes their memory as it opens it."""
    head = source.read(30)
    source.seek(0)
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return 1, 1
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    bits = int.from_bytes(head[21:25] if head[12:16] == b"VP8L" else head[26:30], "little")
    if head[12:16] == b"VP8L":
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return max(1, bits & 0x3FFF), max(1, bits >> 16 & 0x3FFF)


def read_image(path: Path) -> Image.Image:
    """The image with its pixels, turned by no EXIF entry: cameras are for the pixels as they are stored."""
    data = read_bytes(path, what="image")
    with _header(path, io.BytesIO(data)) as image, refusing(path, NO_IMAGE, IMAGE_ERRORS):
        image.load()
        if lacks_rows(data):
            raise ValueError(f"fewer rows than the {image.size[1]} that it claims")
    return image


def numbers(value: Any, shape: tuple[int, ...], where: str) -> Float[np.ndarray, "..."]:
    """The value as an array of that shape in double precision.

    Raises ValueError that begins with `where`, file and key, unless it is made of finite numbers.
    """
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.shape != shape:
        expected = f"{' x '.join(map(str, shape))} numbers" if shape else "a number"
        raise ValueError(f"{where}: must be {expected}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{where}: not finite")
    return array


def check_single(array: np.ndarray, where: str) -> None:
    """Raises ValueError that begins with `where` for numbers that single precision, which fits use, does not hold."""
    size = np.abs(array.astype(float))
    broken = np.count_nonzero(~(size <= np.finfo(np.float32).max))
    if broken:
        raise ValueError(f"{where} {broken} values that are not finite, or beyond what float32 holds")


def positive(value: Any, where: str) -> float:
    """The number above 0 that `value` is.  Raises ValueError that begins with `where` for everything else."""
    number = float(numbers(value, (), where))
    if number <= 0.0:
        raise ValueError(f"{where} {number:g}: must be above 0")
    return number


def entry(record: Any, key: str, where: str) -> Any:
    """record[key].  Raises ValueError that begins with `where` unless it is an object that has the key."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: must be a JSON object")
    if key not in record:
        raise ValueError(f"{where}: {key!r} missing")
    return record[key]


SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
AT_ONCE = 2**20  # bytes unpacked at a time


def lacks_rows(data: bytes) -> bool:
    """True for a PNG file whose pixels end too early; False for whole ones and for what is no PNG."""
    chunks = list(_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return False
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    bits = depth * CHANNELS.get(kind, 0)
    # first and step of the columns, then of the rows, of each pass over the image
    passes = ADAM7 if interlaced else ((0, 1, 0, 1),)
    wanted = 0
    for column, across, row, down in passes:
        columns, rows = -((column - width) // across), -((row - height) // down)
        wanted += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    unpacker, found = zlib.decompressobj(), 0
    for name, packed in chunks:
        while name == b"IDAT" and packed and found < wanted:
            found += len(unpacker.decompress(packed, AT_ONCE))
            packed = unpacker.unconsumed_tail
    # only where nothing packed is left: all of the rest may be as large as it likes
    return found < wanted and found + len(unpacker.flush()) < wanted


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while data.startswith(SIGNATURE) and place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


class Broken(ValueError):
    """What a parser found wrong in the bytes of a file, in words for its user; who reads the file adds its name."""


@contextmanager
def parsing(path: Path, what: str, told: str = "") -> Iterator[None]:
    """What one of our parsers says within becomes `PATH: TOLD ITS WORDS`; all else about a broken file `PATH: WHAT`.

    The words of a library about its own inside would mislead.
    """
    with refusing(path, what, ()):  # a lack of memory
        try:
            yield
        except Broken as error:
            raise ValueError(f"{path}: {told}{error}") from error
        except BROKEN as error:
            raise ValueError(f"{path}: {what}") from error
