"""Surfaces of glTF 2.0 files, .gltf and .glb: triangles, strips and fans of all nodes of the scene, in its frame."""

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmb.files.door import Refusal, read_bytes
from fmb.files.safe import Broken, parse_json, path_inside
from fmb.files.surfaces import Surface, levels, strip_triangles

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}  # componentType
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
COMPRESSED = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}
MOST_ENTRIES = 2**22  # rows, vertices and triangles beyond one a byte: a few bytes can claim any number of them
CLAIM = 1e-4  # of the size of a mesh: what its stated bounds may differ by
TRIANGLES, STRIP, FAN = 4, 5, 6  # modes; points and lines are no surface


class Document(NamedTuple):
    """The JSON of a file, what gives the bytes of a buffer by its index, and those given so far."""

    json: dict[str, Any]
    buffer: Callable[[int], bytes]
    given: dict[int, bytes]

    def check_count(self, entries: int) -> None:
        """Raises Broken for more than the file can mean, before memory is spent on them."""
        most = MOST_ENTRIES + sum(map(len, self.given.values()))
        if entries > most:
            raise Broken(f"{entries} vertices and triangles in all places; at most {most} are read")


def parse_gltf(data: bytes, folder: Path) -> list[Surface]:
    """The surfaces of the scene, a part for each primitive in each place.

    Buffers are read from the file's own folder alone.  Raises Broken for what is no glTF, and for geometry that is
    compressed by Draco or meshopt; primitives without positions are left out.
    """
    document = _document(data, folder)
    meshes, surfaces, entries = _listed(document.json, "meshes"), [], 0
    made: dict[int, list[Surface]] = {}
    for mesh, place in _placed(document):
        if mesh not in made:
            if not 0 <= mesh < len(meshes):
                raise Broken(f"a node shows mesh {mesh} of {len(meshes)}")
            made[mesh] = list(_primitives(document, meshes[mesh]))
        entries += sum(len(part.position) + len(part.length) for part in made[mesh])
        document.check_count(entries)
        for part in made[mesh]:
            mirrored = np.linalg.det(place[:3, :3]) < 0.0  # a mirror turns the surface inside out
            corner = part.corner.reshape(-1, 3)[:, ::-1].ravel() if mirrored else part.corner
            with np.errstate(all="ignore"):  # what is not finite is refused later
                position = part.position @ place[:3, :3].T + place[:3, 3]
            surfaces.append(part._replace(position=position, corner=corner))
    return surfaces


def _document(data: bytes, folder: Path) -> Document:
    binary = None
    if data[:4] == b"glTF":
        version, text = struct.unpack_from("<I", data.ljust(8), 4)[0], None
        if version != 2:
            raise Broken(f"is glTF {version}; only version 2 is read")
        for kind, chunk in _chunks(data):
            if kind == b"JSON" and text is None:
                text = chunk
            elif kind == b"BIN\0" and binary is None:
                binary = chunk
        data = text or b""
    try:
        content = parse_json(data, "its JSON")
    except Refusal as error:
        raise Broken(str(error)) from None
    if not isinstance(content, dict):
        raise Broken("holds no JSON object")
    found: dict[int, bytes] = {}

    def buffer(index: int) -> bytes:
        if index not in found:
            found[index] = _buffer_bytes(_entry(content, "buffers", index), binary if index == 0 else None, folder)
        return found[index]

    return Document(content, buffer, found)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 8 + length


def _buffer_bytes(buffer: dict[str, Any], binary: bytes | None, folder: Path) -> bytes:
    uri = buffer.get("uri")
    if uri is None:
        if binary is None:
            raise Broken("a buffer has neither a file nor bytes of its own" + _compressed(buffer))
        return binary
    if not isinstance(uri, str):
        raise Broken(f"a buffer is in {uri!r}, which is no name")
    if uri.startswith("data:"):
        try:
            return base64.b64decode(uri.partition(",")[2], validate=True)
        except (binascii.Error, ValueError):
            raise Broken("a buffer in the file itself is not base64") from None
    for name in dict.fromkeys((uri, unquote(uri))):  # some write names as they are, most in percents
        try:
            path = path_inside(folder, name, folder)
        except ValueError:
            raise Broken(f"refers to {uri[:200]!r}, which is not a buffer beside it") from None
        with suppress(Refusal):
            return read_bytes(path)
    raise Broken(f"its buffer {uri[:200]!r} cannot be read")


def _listed(record: dict[str, Any], key: str) -> list:
    value = record.get(key, [])
    if not isinstance(value, list):
        raise Broken(f"{key!r} is no list")
    return value


def _entry(record: dict[str, Any], key: str, index: Any) -> dict[str, Any]:
    entries = _listed(record, key)
    if type(index) is not int or not 0 <= index < len(entries) or not isinstance(entries[index], dict):
        raise Broken(f"refers to {key} {index!r}, of which there are {len(entries)}")
    return entries[index]


def _placed(document: Document) -> Iterator[tuple[int, Float[np.ndarray, "4 4"]]]:
    """Meshes of the scene and where they stand, world_from_mesh; without a scene every mesh where it is."""
    content = document.json
    scenes = _listed(content, "scenes")
    if not scenes:
        yield from ((mesh, np.eye(4)) for mesh in range(len(_listed(content, "meshes"))))
        return
    left = [(node, np.eye(4)) for node in _listed(_entry(content, "scenes", content.get("scene", 0)), "nodes")]
    seen: set[int] = set()
    while left:
        index, parent = left.pop(0)
        node = _entry(content, "nodes", index)
        if index in seen:
            raise Broken(f"node {index} hangs in two places")
        seen.add(index)
        with np.errstate(all="ignore"):
            place = parent @ _matrix(node)
        if isinstance(node.get("mesh"), int):
            yield from ((node["mesh"], place @ copy) for copy in _instances(document, node))
        left += [(child, place) for child in _listed(node, "children")]


def _matrix(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    if "matrix" in node:
        return _numbers(node, "matrix", 16, None).reshape(4, 4).T
    move = _numbers(node, "translation", 3, (0.0, 0.0, 0.0))
    return _moved(move, _numbers(node, "rotation", 4, (0.0, 0.0, 0.0, 1.0)), _numbers(node, "scale", 3, (1.0,) * 3))


def _moved(move: np.ndarray, quaternion: np.ndarray, scale: np.ndarray) -> np.ndarray:
    place = np.eye(4)
    turn = Rotation.from_quat(quaternion).as_matrix() if np.any(quaternion) else np.eye(3)
    with np.errstate(all="ignore"):
        place[:3, :3], place[:3, 3] = turn * scale, move
    return place


def _numbers(record: dict[str, Any], key: str, count: int, default: Any) -> np.ndarray:
    try:
        value = np.asarray(record.get(key, default), float)
    except (TypeError, ValueError, OverflowError):
        value = np.zeros(0)
    if value.shape != (count,) or not np.all(np.isfinite(value)):
        raise Broken(f"{key!r} of a node must be {count} numbers")
    return value


def _instances(document: Document, node: dict[str, Any]) -> list[np.ndarray]:
    """Where a node repeats its mesh (EXT_mesh_gpu_instancing)."""
    repeated = _extension(node, "EXT_mesh_gpu_instancing").get("attributes")
    if not isinstance(repeated, dict) or not repeated:
        return [np.eye(4)]
    found = {key: _accessor(document, index) for key, index in repeated.items() if not key.startswith("_")}
    count = min(map(len, found.values()), default=0)
    parts = {"TRANSLATION": (0.0,) * 3, "ROTATION": (0.0, 0.0, 0.0, 1.0), "SCALE": (1.0,) * 3}
    rows = [found.get(key, np.tile(default, (count, 1))) for key, default in parts.items()]
    if any(row.shape[1] != len(default) for row, default in zip(rows, parts.values(), strict=True)):
        raise Broken("EXT_mesh_gpu_instancing with rows of another length")
    return [_moved(*row) for row in zip(*rows, strict=False)]


def _extension(record: dict[str, Any], name: str) -> dict[str, Any]:
    extensions = record.get("extensions")
    found = extensions.get(name) if isinstance(extensions, dict) else None
    return found if isinstance(found, dict) else {}


def _compressed(*records: dict[str, Any]) -> str:
    """Words about a compression that some of the records use, or none."""
    for name, word in COMPRESSED.items():
        if any(isinstance(r.get("extensions"), dict) and name in r["extensions"] for r in records):
            return f": it is compressed by {word} ({name}), which is not read; save it without"
    return ""


def _primitives(document: Document, mesh: Any) -> Iterator[Surface]:
    """The surfaces of a mesh; primitives of points or lines, or without positions, have none."""
    for primitive in _listed(mesh, "primitives") if isinstance(mesh, dict) else []:
        attributes = primitive.get("attributes") if isinstance(primitive, dict) else None
        mode = primitive.get("mode", TRIANGLES) if attributes else None
        if mode not in (TRIANGLES, STRIP, FAN) or not isinstance(attributes, dict) or "POSITION" not in attributes:
            continue
        accessor = _entry(document.json, "accessors", attributes["POSITION"])
        if "bufferView" not in accessor and "sparse" not in accessor:
            words = _compressed(primitive)
            if not words:
                continue
            raise Broken("its geometry cannot be read" + words)
        position = _accessor(document, attributes["POSITION"])
        if position.shape[1] != 3:
            raise Broken(f"positions are of type {accessor.get('type')}; must be VEC3")
        if "indices" in primitive:
            found = _accessor(document, primitive["indices"]).ravel()
        else:
            found = np.arange(len(position))
        face = _faces(found.astype(np.int64), mode)
        color = None
        if "COLOR_0" in attributes:
            color = _accessor(document, attributes["COLOR_0"])
            fits = len(color) == len(position) and color.shape[1] in (3, 4)
            color = levels(np.clip(color, 0.0, 1.0)) if fits else None
        yield Surface(position, face.ravel(), np.full(len(face), 3), color, notice=_claim(accessor, position))


def _faces(index: np.ndarray, mode: int) -> np.ndarray:
    if mode == STRIP:
        return strip_triangles(index)
    if mode == FAN:
        first = np.broadcast_to(index[:1], max(len(index) - 2, 0))
        return np.stack([first, index[1:-1][: len(first)], index[2:]], axis=1)
    return index[: len(index) // 3 * 3].reshape(-1, 3)


def _claim(accessor: dict[str, Any], position: np.ndarray) -> str:
    """Words where the bounds that the file states are not those of what was read."""
    try:
        claimed = np.array([accessor["min"], accessor["max"]], float)
    except (KeyError, TypeError, ValueError):
        return ""
    if claimed.shape != (2, 3) or not len(position) or not np.all(np.isfinite(position)):
        return ""
    kind = np.dtype(TYPES[accessor["componentType"]])
    if accessor.get("normalized") and kind.kind in "iu" and np.abs(claimed).max() > 1.0:
        claimed = np.maximum(claimed / np.iinfo(kind).max, -1.0)
    found = np.array([position.min(axis=0), position.max(axis=0)])
    if np.allclose(found, claimed, rtol=CLAIM, atol=CLAIM * np.ptp(found, axis=0).max()):
        return ""
    text = [", ".join(f"{number:g}" for number in row) for row in (*claimed, *found)]
    return f"it says that vertices lie from ({text[0]}) to ({text[1]}), they lie from ({text[2]}) to ({text[3]})"


def _accessor(document: Document, index: Any) -> Float[np.ndarray, "row column"]:
    """The rows of an accessor in double, whole numbers as what they stand for."""
    accessor = _entry(document.json, "accessors", index)
    kind, width = TYPES.get(accessor.get("componentType")), WIDTH.get(accessor.get("type"))
    count = accessor.get("count")
    if kind is None or width is None or type(count) is not int or count < 0:
        raise Broken(f"accessor {index} has a type or count that is not known")
    if "bufferView" in accessor:
        value = _viewed(document, accessor, np.dtype(kind), (count, width)).astype(float)
    else:
        document.check_count(count)
        value = np.zeros((count, width))
    sparse = accessor.get("sparse")
    if isinstance(sparse, dict):
        value = _with_sparse(document, sparse, value, np.dtype(kind))
    if accessor.get("normalized") and kind != "<f4":
        value = np.maximum(value / np.iinfo(kind).max, -1.0)
    return value


def _with_sparse(document: Document, sparse: dict[str, Any], value: np.ndarray, kind: np.dtype) -> np.ndarray:
    indices, values, count = sparse.get("indices"), sparse.get("values"), sparse.get("count")
    if not isinstance(indices, dict) or not isinstance(values, dict) or type(count) is not int:
        raise Broken("a sparse accessor lacks its parts")
    place = TYPES.get(indices.get("componentType"), "<u4")
    at = _viewed(document, indices, np.dtype(place), (count, 1)).ravel().astype(np.int64)
    if len(at) and not 0 <= at.min() <= at.max() < len(value):
        raise Broken(f"a sparse accessor sets row {at.max()} of {len(value)}")
    value[at] = _viewed(document, values, kind, (count, value.shape[1]))
    return value


def _viewed(document: Document, record: dict[str, Any], kind: np.dtype, shape: tuple[int, int]) -> np.ndarray:
    """Rows in a buffer view."""
    view = _entry(document.json, "bufferViews", record.get("bufferView"))
    compressed = _compressed(view)
    if compressed and "fallback" in str(_entry(document.json, "buffers", view.get("buffer")).get("extensions")):
        raise Broken("its geometry cannot be read" + compressed)
    data = document.buffer(view.get("buffer"))
    begin, inner, length = view.get("byteOffset", 0), record.get("byteOffset", 0), view.get("byteLength", 0)
    stride = view.get("byteStride", 0) or kind.itemsize * shape[1]
    if any(type(number) is not int or number < 0 for number in (begin, inner, length, stride)) or shape[0] < 0:
        raise Broken("a buffer view has places that are no whole numbers")
    data = data[begin : begin + length][inner:]
    size = kind.itemsize * shape[1]
    if stride < size or (shape[0] and stride * (shape[0] - 1) + size > len(data)):
        raise Broken(f"{shape[0]} rows in a buffer view of {len(data)} bytes; the file is cut short" + compressed)
    if math.prod(shape) == 0:
        return np.zeros(shape, kind)
    return np.ndarray(shape, kind, data, 0, (stride, kind.itemsize))
