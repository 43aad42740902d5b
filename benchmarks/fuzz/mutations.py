"""Damage of every kind to the bytes of a file, by a seeded chance; containers are damaged inside as well."""

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

WORDS = (
    *(b"nan", b"inf", b"-inf", b"", b"-1", b"0", b"1e308", b"1e39", b"-1e-320", b"1e999", b"9" * 400, b"9" * 5000),
    *(b"4294967295", b"-2147483648", b"18446744073709551615", b"99999999999", b"x", b"\xff\xfe", b"\0", b"\xc3"),
    *(b'"', b"'", b"{", b"]", b"[" * 2000, b"...", b"null", b"true", b"../../x", b"/", b"\n", b"\r", b"0x10", b"1_0"),
)
ODD = (
    *(None, [], {}, "x", "", "..", "/", "\ud800", "x" * 300, "\0", -1, 0, True, 2**31, 2**63, 10**400),
    *(1e308, 1e39, 1e-320, float("nan"), float("inf"), [[1, 2], [3]], [[[]]], {"": None}),
)
EXTREMES = (0, 1, 2**7 - 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
TOKEN = re.compile(rb"[A-Za-z_]+|[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?|[\[\]{}:,\"]")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def flip_bits(data: bytes, chance: Random) -> bytes:
    """One to eight bits turned."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(data: bytes, chance: Random) -> bytes:
    """The beginning alone."""
    return data[: chance.randrange(len(data))]


def insert(data: bytes, chance: Random) -> bytes:
    """Bytes put in, random ones or some of the file's own."""
    place, start, length = chance.randrange(len(data)), chance.randrange(len(data)), chance.choice((1, 2, 8, 64, 1000))
    new = chance.choice((chance.randbytes(length), data[start : start + length], bytes(length), b"\xff" * length))
    return data[:place] + new + data[place:]


def remove(data: bytes, chance: Random) -> bytes:
    """A stretch cut out."""
    place, length = chance.randrange(len(data)), chance.choice((1, 2, 4, 16, 100))
    return data[:place] + data[place + length :]


def swap(data: bytes, chance: Random) -> bytes:
    """Two stretches of one length changed for each other."""
    length = chance.choice((1, 4, 16, 64))
    if len(data) < 2 * length:
        return flip_bits(data, chance)
    first = chance.randrange(len(data) - 2 * length + 1)
    second = chance.randint(first + length, len(data) - length)
    one, other = data[first : first + length], data[second : second + length]
    return data[:first] + other + data[first + length : second] + one + data[second + length :]


def extreme_number(data: bytes, chance: Random) -> bytes:
    """A binary number of 1, 2, 4 or 8 bytes made one that a program may not expect; or a float that is none."""
    size = chance.choice((1, 2, 4, 8))
    value = (chance.choice(EXTREMES) % 2 ** (8 * size)).to_bytes(size, chance.choice(("little", "big")))
    if size >= 4 and chance.random() < 0.3:
        number = chance.choice((float("nan"), float("inf"), -1e38, 1e-40, 0.0))
        value = struct.pack("<f" if size == 4 else "<d", number)
    # numbers that matter stand in front
    place = chance.randrange(min(len(data), chance.choice((16, 64, 256, 2**30))))
    return data[:place] + value + data[place + size :]


def odd_word(data: bytes, chance: Random) -> bytes:
    """A word, number or sign of a text made another."""
    found = [match.span() for match in TOKEN.finditer(data[:20_000])]
    if not found:
        return flip_bits(data, chance)
    start, end = chance.choice(found)
    return data[:start] + chance.choice(WORDS) + data[end:]


def odd_line(data: bytes, chance: Random) -> bytes:
    """Lines of a text gone, twice, or in another order."""
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    other = chance.randrange(len(lines))
    kind = chance.randrange(3)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(other, lines[place])
    else:
        lines[place], lines[other] = lines[other], lines[place]
    return b"\n".join(lines)


def places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    """Where there are values in a JSON value, as keys and indices from its top."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        yield (*place, key)
        yield from places(entry, (*place, key))


def odd_json(data: bytes, chance: Random) -> bytes:
    """JSON with another value in one place, or without it."""
    content = json.loads(data)
    found = list(places(content))
    if not found:
        return odd_word(data, chance)
    *outer, last = chance.choice(found)
    record = content
    for key in outer:
        record = record[key]
    if chance.random() < 0.2:
        del record[last]
    else:
        record[last] = chance.choice(ODD)
    return json.dumps(content).encode()


ANY: tuple[Mutation, ...] = (flip_bits, truncate, insert, remove, swap, extreme_number, extreme_number)
TEXT: tuple[Mutation, ...] = (odd_word, odd_word, odd_word, odd_line)


def damaged(data: bytes, chance: Random) -> bytes:
    """The bytes of a file after one to three damages, of kinds that suit what the file holds."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if data:
            data = chance.choice(suiting(data))(data, chance)
    return data


def suiting(data: bytes) -> tuple[Mutation, ...]:
    """Mutations for such a file."""
    if data.startswith(b"PK\3\4"):
        return (*ANY, *[inside_zip] * 8)
    if data.startswith(b"\x1f\x8b"):
        return (*ANY, *[inside_gzip] * 8)
    if data.startswith(SIGNATURE):
        return (*ANY, *[inside_png] * 6)
    if data.startswith(b"glTF"):
        return (*ANY, *[inside_glb] * 8)
    if data[:1] in (b"{", b"["):
        return (*ANY, *TEXT, *[checked_json] * 6)
    return ANY if b"\0" in data[:200] else (*ANY, *TEXT, *TEXT)


def checked_json(data: bytes, chance: Random) -> bytes:
    """`odd_json`, or words where a damage before has left no JSON."""
    try:
        return odd_json(data, chance)
    except (ValueError, RecursionError):
        return odd_word(data, chance)


def inside_gzip(data: bytes, chance: Random) -> bytes:
    """The content damaged and packed again."""
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return flip_bits(data, chance)
    return gzip.compress(damaged(content, chance), 1)


def inside_zip(data: bytes, chance: Random) -> bytes:
    """A member damaged, renamed, gone or twice; packed again with one way or another."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return flip_bits(data, chance)
    if not members:
        return flip_bits(data, chance)
    place = chance.randrange(len(members))
    name, content = members[place]
    kind = chance.randrange(8)
    if kind == 0:
        del members[place]
    elif kind == 1:
        members[place] = (chance.choice(("x.npy", "", "../x.npy", name + ".npy", "mean.npy", "a\0b")), content)
    elif kind == 2:
        members[place] = (name, members[chance.randrange(len(members))][1])
    else:
        members[place] = (name, npy_damaged(content, chance))
    packed = io.BytesIO()
    way = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(packed, "w", way) as archive:
        for name, content in dict(members).items():
            archive.writestr(name or "x", content)
    return packed.getvalue()


SHAPES = ("()", "(0,)", "(4,)", "(-1,)", "(10**9,)", "(4, 3)", "(2**62, 4)", "(1000000000, 3)", "(4, 3, 3)")
KINDS = ("<f8", "<f4", "<f2", ">f8", "<i8", "|O", "<U1", "<U99999999", "|V0", "<c16", "|b1", "f", "M8")


def npy_damaged(data: bytes, chance: Random) -> bytes:
    """An array with another header, or damaged anywhere."""
    if chance.random() < 0.5 or not data.startswith(b"\x93NUMPY"):
        return chance.choice((*ANY, odd_word))(data, chance)
    shape, kind = chance.choice(SHAPES), chance.choice(KINDS)
    header = f"{{'descr': '{kind}', 'fortran_order': {chance.choice((True, False, 3))}, 'shape': {shape}, }}"
    header = header.ljust(117).encode() + b"\n"
    version = chance.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"))
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data[128:]


def inside_png(data: bytes, chance: Random) -> bytes:
    """A chunk damaged, gone, twice or elsewhere, with a sum that fits, so that the decoder goes on."""
    chunks, place = [], len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return flip_bits(data, chance)
    index = chance.randrange(len(chunks))
    name, content = chunks[index]
    kind = chance.randrange(6)
    if kind == 0:
        chunks.insert(chance.randrange(len(chunks)), chunks.pop(index))
    elif kind == 1:
        chunks.insert(index, chunks[index])
    elif name == b"IDAT" and kind < 4:
        chunks[index] = (name, zlib.compress(damaged(unzipped(content), chance)))
    elif content:
        chunks[index] = (name, chance.choice(ANY)(content, chance))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def unzipped(content: bytes) -> bytes:
    """What was packed, or the packed bytes where they are broken."""
    try:
        return zlib.decompress(content)
    except zlib.error:
        return content


def inside_glb(data: bytes, chance: Random) -> bytes:
    """The JSON of a GLB file damaged, with lengths that fit."""
    length = int.from_bytes(data[12:16], "little")
    text, rest = data[20 : 20 + length], data[20 + length :]
    if not text.startswith(b"{"):
        return flip_bits(data, chance)
    text = checked_json(text, chance)
    text += b" " * (-len(text) % 4)
    return b"glTF" + struct.pack("<IIII", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest
