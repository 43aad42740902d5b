"""Whether a PNG file holds all the rows that its header promises: Pillow makes those that are missing black."""

import struct
import zlib
from collections.abc import Iterator

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
