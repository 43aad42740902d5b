"""Files of a data set that somebody else made: none outside its folder is opened, none larger than a limit is read.

Every refusal is one ValueError line that names the file and what is expected of it.
"""

import gzip
import io
import json
import math
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

LARGEST_FILE = 2**30  # bytes
LARGEST_TEXT = 2**29  # bytes of text that is read line by line
LARGEST_JSON = 2**28  # bytes, also after decompression: a whole CO3D category is half of it
MOST_BRACKETS = 2**22  # that open in JSON: each makes an object of up to 25 times the bytes, a view of CO3D has 15
LARGEST_ARRAYS = 2**28  # bytes of all arrays of one npz archive, after decompression: cameras take some thousands
LARGEST_IMAGE = 2**26  # pixels: more than any one camera takes
IMAGE_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".JPG", ".JPEG", ".PNG")
MEBIBYTE = 2**20


def path_inside(folder: Path, name: Any, source: str | Path) -> Path:
    """The path `name`, relative to `folder`; it need not exist.

    Backslashes separate folders as slashes do.  Raises ValueError that begins with `source`, the file that gives the
    name, where it is no text, is absolute, or leads out of the folder, be it by `..` or by a link.
    """
    if not is_name(name):
        raise ValueError(f"{source}: {name!r} is no path; expected one relative to {folder}")
    relative = name.replace("\\", "/")
    leaves = PurePosixPath(relative).is_absolute() or bool(PureWindowsPath(name).drive)
    try:
        leaves = leaves or not (folder / relative).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links, a name too long
        leaves = True
    if leaves:
        raise ValueError(f"{source}: path {name[:200]!r} leaves the data set; paths must stay inside {folder}")
    return folder / relative


def is_name(value: Any) -> bool:
    """True for a text that can name a file and stand in a line: not empty, no control characters, no half of a pair."""
    return isinstance(value, str) and value != "" and not {unicodedata.category(c) for c in value} & {"Cc", "Cs"}


def files_below(folder: Path, name: str) -> dict[str, Path]:
    """All images in the folder `name` of the data set and its subfolders by their path in it; empty if there is none.

    Raises ValueError where a link leads out of the data set.
    """
    found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
    below = {path.relative_to(folder / name).as_posix(): path for path in found}
    return {key: path_inside(folder, path.relative_to(folder).as_posix(), folder) for key, path in below.items()}


def read_bytes(path: Path, limit: int = 0) -> bytes:
    """What the file holds, at most `limit` bytes, 0: LARGEST_FILE."""
    return _opened(path, limit or LARGEST_FILE, open)


def read_text(path: Path) -> str:
    """The file as text; what is not UTF-8 is escaped."""
    return read_bytes(path, LARGEST_TEXT).decode("utf-8-sig", errors="backslashreplace")


def read_json(path: Path, kind: type = dict) -> Any:
    """What the JSON file holds, an object or whatever else `kind` says; `.jgz` and `.gz` are decompressed."""
    data = _opened(path, LARGEST_JSON, gzip.open if path.suffix in (".jgz", ".gz") else open)
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > MOST_BRACKETS:
        raise ValueError(f"{path}: {brackets} lists and objects; at most {MOST_BRACKETS} are read")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({_words(error)})") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: must hold a JSON {'object' if kind is dict else 'list'} at the top")
    return value


def array_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an npz archive; none where the file is no archive."""
    if not path.is_file():
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return ()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz archive by name; pickled objects are refused."""
    data = _opened(path, LARGEST_ARRAYS, open)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size <= LARGEST_ARRAYS:
                return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except Exception as error:  # a broken zip, a broken array in it, a compression that is not known, ...
        raise ValueError(f"{path}: not readable as an npz archive ({_words(error)})") from error
    raise ValueError(f"{path}: {size // MEBIBYTE} MiB of arrays; at most {LARGEST_ARRAYS // MEBIBYTE} MiB are read")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    # numpy's own reader makes room for what the header claims before it looks at what is there
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"{member.filename} has version {version}")
        shape, fortran, dtype = header[version](file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds pickled objects")
        data = file.read()
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename} is not of the size that it claims")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def image_header(path: Path) -> Image.Image:
    """The image, size and mode known, its pixels not yet read; to be used in a `with` statement."""
    if not path.is_file():
        raise ValueError(f"{path}: no such image")
    return _header(path, path)


def _header(path: Path, source: Path | io.BytesIO) -> Image.Image:
    try:
        image = Image.open(source, formats=IMAGE_FORMATS)
    except UnidentifiedImageError:  # its words would name an object, not a file
        raise ValueError(f"{path}: not a readable image (none of {', '.join(IMAGE_FORMATS)})") from None
    except Exception as error:  # whatever a decoder meets: OSError, SyntaxError, DecompressionBombError, ...
        raise ValueError(f"{path}: not a readable image ({_words(error)})") from error
    width, height = image.size
    if width * height > LARGEST_IMAGE or width * height == 0:
        image.close()
        raise ValueError(f"{path}: {width} x {height} pixels; at most {LARGEST_IMAGE} pixels are read")
    return image


def read_image(path: Path) -> Image.Image:
    """The image with its pixels, turned by no EXIF entry: cameras are for the pixels as they are stored."""
    if not path.is_file():
        raise ValueError(f"{path}: no such image")
    data = read_bytes(path)
    with _header(path, io.BytesIO(data)) as image:
        try:
            image.load()
            short = lacks_rows(data)
        except Exception as error:  # truncated, or other than its header says
            raise ValueError(f"{path}: not a readable image ({_words(error)})") from error
    if short:
        raise ValueError(f"{path}: not a readable image (fewer rows than the {image.size[1]} that it claims)")
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


def _opened(path: Path, limit: int, opener: Any) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with opener(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({_words(error)})") from None
    if len(data) > limit:
        raise ValueError(f"{path}: more than {limit // MEBIBYTE} MiB, at most that is read")
    return data


def _words(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.splitlines()[0][:160]


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
