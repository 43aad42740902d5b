"""glTF as converters and compressors write it, and what is refused by name."""

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fmb.files.meshes import read_mesh

CORNER = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], np.float32)
FACE = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)], np.uint16)
STRIP = np.array([0, 2, 1, 3, 0, 2], np.uint16)  # the four sides of the tetrahedron


def document(position: np.ndarray = CORNER, index: np.ndarray = FACE, **primitive: Any) -> dict[str, Any]:
    """A mesh in one node, its buffer in the file itself."""
    types = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
    data, views, accessors = b"", [], []
    for values, kind in ((position, "VEC3"), (index.ravel(), "SCALAR")):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": values.nbytes})
        accessors.append({"bufferView": len(views) - 1, "count": len(values), "type": kind})
        accessors[-1]["componentType"] = types[values.dtype.str[1:]]
        data += values.tobytes().ljust(-(-values.nbytes // 4) * 4, b"\0")
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    return {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, **primitive}]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"uri": uri, "byteLength": len(data)}],
    }


def mesh(tmp_path, content: dict[str, Any]):
    (tmp_path / "a.gltf").write_text(json.dumps(content))
    return read_mesh(tmp_path / "a.gltf")


def test_strips_fans_and_rows_without_indices(tmp_path):
    assert mesh(tmp_path, document(index=STRIP, mode=5)).volume == pytest.approx(1 / 6)
    fan = document(np.concatenate([CORNER, [[0.2, 0.2, 0.2]]]).astype(np.float32), np.array([4, 0, 1, 2, 3], np.uint16))
    fan["meshes"][0]["primitives"][0]["mode"] = 6
    fan["meshes"][0]["primitives"].append(document()["meshes"][0]["primitives"][0] | {"mode": 1})
    with pytest.raises(ValueError, match=r"3 triangles with three distinct corners"):  # those of the fan
        mesh(tmp_path, fan)
    bare = document(CORNER[FACE.ravel()])
    del bare["meshes"][0]["primitives"][0]["indices"]
    assert mesh(tmp_path, bare).volume == pytest.approx(1 / 6)


@pytest.mark.parametrize(("kind", "largest"), [(np.int16, 32767), (np.uint8, 255)])
def test_quantised_positions_mean_what_they_stand_for(tmp_path, kind, largest, capsys):
    content = document((CORNER * largest).astype(kind))
    content["accessors"][0] |= {"normalized": True, "min": [0, 0, 0], "max": [largest] * 3}
    content["nodes"][0]["scale"] = [2, 2, 2]
    assert mesh(tmp_path, content).volume == pytest.approx(8 / 6)
    content["accessors"][0].pop("normalized")
    assert mesh(tmp_path, content).volume == pytest.approx(8 / 6 * float(largest) ** 3)
    assert capsys.readouterr() == ("", "")


def test_bounds_that_are_not_those_of_the_file_are_told(tmp_path, capsys):
    content = document()
    content["accessors"][0] |= {"min": [0, 0, 0], "max": [1, 1, 7]}
    mesh(tmp_path, content)
    assert "says that vertices lie from (0, 0, 0) to (1, 1, 7), they lie from (0, 0, 0) to (1, 1, 1)" in (
        capsys.readouterr().err
    )


def test_nodes_far_away_keep_their_digits_and_instances_count(tmp_path):
    content = document()
    content["nodes"] = [
        {"translation": [4.5e5, 5.4e6, 200.125], "children": [1]},
        {"mesh": 0, "scale": [-1, 1, 1], "rotation": [0, 0, 1, 0]},  # a mirror and half a turn
        {"mesh": 7},  # in no scene
    ]
    found = mesh(tmp_path, content)
    np.testing.assert_allclose(found.bounds, np.array([[0, -1, 0], [1, 0, 1]]) + [4.5e5, 5.4e6, 200.125], atol=1e-8)
    content["nodes"] = [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 2}}}}]
    move = np.array([(0, 0, 0), (5, 0, 0)], np.float32)
    uri = "data:;base64," + base64.b64encode(move.tobytes()).decode()
    content["buffers"].append({"uri": uri})
    content["bufferViews"].append({"buffer": 1, "byteLength": move.nbytes})
    content["accessors"].append({"bufferView": 2, "componentType": 5126, "count": 2, "type": "VEC3"})
    found = mesh(tmp_path, content)
    assert found.volume == pytest.approx(2 / 6) and found.extents[0] == pytest.approx(6)


def test_sparse_rows(tmp_path):
    content = document(np.zeros((4, 3), np.float32))
    rows = np.array([1, 2, 3], np.uint16).tobytes() + b"\0\0" + CORNER[1:].tobytes()
    content["buffers"].append({"uri": "data:;base64," + base64.b64encode(rows).decode()})
    content["bufferViews"].append({"buffer": 1, "byteLength": len(rows)})
    content["accessors"][0]["sparse"] = {
        "count": 3,
        "indices": {"bufferView": 2, "componentType": 5123},
        "values": {"bufferView": 2, "byteOffset": 8},
    }
    assert mesh(tmp_path, content).volume == pytest.approx(1 / 6)


def test_glb_with_a_broken_neighbour_and_a_buffer_of_an_escaped_name(tmp_path):
    content = document()
    data = base64.b64decode(content["buffers"][0].pop("uri").partition(",")[2])
    content["meshes"][0]["primitives"] += [{"attributes": {}}, {"attributes": {"POSITION": 0}, "mode": 0}]
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    chunks = b"".join(struct.pack("<I4s", len(x), k) + x for k, x in ((b"JSON", text), (b"BIN\0", data)))
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    assert read_mesh(tmp_path / "a.glb").volume == pytest.approx(1 / 6)
    (tmp_path / "my part \u00e9.bin").write_bytes(data)
    content["buffers"][0]["uri"] = "my%20part%20%C3%A9.bin"
    assert mesh(tmp_path, content).volume == pytest.approx(1 / 6)


def draco(content: dict) -> None:
    del content["accessors"][0]["bufferView"]
    content["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0}}


def meshopt(content: dict) -> None:
    content["bufferViews"][0] |= {"buffer": 1, "extensions": {"EXT_meshopt_compression": {"buffer": 0}}}
    content["buffers"].append({"byteLength": 48, "extensions": {"EXT_meshopt_compression": {"fallback": True}}})


def many(content: dict) -> None:
    content["accessors"][0] |= {"count": 10**9}
    del content["accessors"][0]["bufferView"]
    content["accessors"][0]["sparse"] = {}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (draco, r"compressed by Draco \(KHR_draco_mesh_compression\), which is not read; save it without"),
        (meshopt, r"compressed by meshopt \(EXT_meshopt_compression\)"),
        (many, r"1000000000 vertices and triangles in all places; at most"),
        (lambda c: c["nodes"][0].update(children=[0]), r"node 0 hangs in two places"),
        (lambda c: c["nodes"][0].update(mesh=3), r"a node shows mesh 3 of 1"),
        (lambda c: c["accessors"][0].update(count=5), r"5 rows in a buffer view of 48 bytes; the file is cut short"),
        (lambda c: c["accessors"][0].update(type="VEC2"), r"positions are of type VEC2; must be VEC3"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, damage: Callable, words: str):
    content = document()
    damage(content)
    with pytest.raises(ValueError, match=rf"a\.gltf: not a readable gltf file: .*{words}"):
        mesh(tmp_path, content)
