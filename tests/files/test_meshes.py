"""Every format comes back as the same clean mesh, and every bad file as one line that names it."""

import builtins
import io
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from fmb.files.mesh_output import MESH_FORMATS, differences, encode_mesh_ply, surfaces, write_mesh
from fmb.files.meshes import FORMATS, read_mesh

TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
TETRAHEDRON_FACES = "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
PLY = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def exported(mesh: trimesh.Trimesh | trimesh.Scene, path: Path) -> Path:
    data = mesh.export(file_type=path.suffix[1:])
    if path.suffix == ".gltf":  # the file and its buffers
        for name, content in data.items():
            written(path.parent / (path.name if name == "model.gltf" else name), content)
        return path
    return written(path, data)


def split_corners(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The same surface with three vertices of its own for every face, as seams leave it at worst."""
    return trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3), process=False)


def test_the_extension_may_be_in_capitals_and_the_path_a_string(tmp_path):
    path = exported(trimesh.creation.box(), tmp_path / "box.stl").rename(tmp_path / "BOX.STL")
    assert len(read_mesh(str(path)).faces) == 12


def test_scenes_are_joined_with_their_transforms(tmp_path):
    box, scene = trimesh.creation.box(), trimesh.Scene()
    mirror = np.diag([-2.0, 1.0, 1.0, 1.0])
    mirror[:3, 3] = [10.0, 0.0, 0.0]
    scene.add_geometry(box, geom_name="box", node_name="first")
    scene.graph.update("second", matrix=mirror, geometry="box")
    mesh = read_mesh(exported(scene, tmp_path / "two.glb"))
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -0.5], [11.0, 0.5, 0.5]], atol=1e-6)
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.volume, 3.0, rtol=1e-6)  # the mirror image is not inside out


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_mesh_with_its_seams_welded(kind, tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2, radius=2.0).apply_translation([5.0, -3.0, 1.0])
    mesh = read_mesh(exported(split_corners(ball), tmp_path / f"ball.{kind}"))
    assert mesh.is_watertight
    assert (len(mesh.vertices), len(mesh.faces)) == (len(ball.vertices), len(ball.faces))
    np.testing.assert_allclose(mesh.volume, ball.volume, rtol=1e-6)  # files hold float32
    np.testing.assert_allclose(mesh.bounds, ball.bounds, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-29, 1e-9, 1.0, 1e9, 1e29])
def test_any_scale_and_place(scale, tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    ball.apply_translation([1e6, -2e6, 3e6])
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in (scale * ball.vertices).tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (ball.faces + 1).tolist()]
    mesh = read_mesh(written(tmp_path / "ball.obj", "\n".join(lines)))
    assert mesh.is_watertight
    assert len(mesh.vertices) == len(ball.vertices)
    # 1e6 radii from the origin float64 keeps ten digits of the radius
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0) / scale, np.ptp(ball.vertices, axis=0), atol=1e-9)


def test_a_mesh_inside_out_is_turned_and_mixed_faces_are_made_to_agree(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    inverted = trimesh.Trimesh(ball.vertices, ball.faces[:, ::-1], process=False)
    assert read_mesh(exported(inverted, tmp_path / "inverted.ply")).volume > 0.0
    mixed = ball.faces.copy()
    mixed[::3] = mixed[::3, ::-1]
    mesh = read_mesh(exported(trimesh.Trimesh(ball.vertices, mixed, process=False), tmp_path / "mixed.ply"))
    np.testing.assert_allclose(mesh.volume, ball.volume, rtol=1e-6)


def test_a_surface_stored_with_its_back_is_one_surface(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    both = trimesh.Trimesh(ball.vertices, np.concatenate([ball.faces, ball.faces[:, ::-1]]), process=False)
    mesh = read_mesh(exported(both, tmp_path / "both.ply"))
    assert len(mesh.faces) == len(ball.faces)
    assert mesh.is_watertight
    assert mesh.volume > 0.0


def test_faces_without_three_corners_and_unused_vertices_are_dropped(tmp_path):
    extra = "v 9 9 9\nf 1 1 2\nf 3 3 3\n"
    mesh = read_mesh(written(tmp_path / "tetrahedron.obj", TETRAHEDRON + TETRAHEDRON_FACES + extra))
    assert (len(mesh.vertices), len(mesh.faces)) == (4, 4)
    np.testing.assert_allclose(mesh.volume, 1.0 / 6.0)


def test_obj_polygons_relative_numbers_comments_and_continued_lines(tmp_path):
    corner = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    # each quad right after its own four vertices: -4 to -1 count back from the line they stand on
    text = "# a cube\nmtllib none.mtl\no cube\nvt 0 0\nvn 0 0 1\n"
    for quad in quads:
        text += "".join("v {} {} {} # corner\n".format(*corner[index]) for index in quad)
        text += "usemtl paint\nf -4/1/1 -3/1/1 \\\n -2//1 -1\n"
    mesh = read_mesh(written(tmp_path / "cube.obj", text))
    assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)
    np.testing.assert_allclose(mesh.volume, 1.0)


def test_colours_of_vertices_and_faces_survive(tmp_path):
    text = "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nv 0 0 1 1 1 1\n" + TETRAHEDRON_FACES
    mesh = read_mesh(written(tmp_path / "color.obj", text))
    order = np.lexsort(mesh.vertices.T[::-1])
    expected = 255 * np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(mesh.visual.vertex_colors[order, :3], expected)
    box = trimesh.creation.box()
    box.visual.face_colors = np.arange(48).reshape(12, 4).astype(np.uint8)
    painted = read_mesh(exported(box, tmp_path / "painted.ply"))
    np.testing.assert_array_equal(painted.visual.face_colors[:, :3], box.visual.face_colors[:, :3])
    plain = exported(trimesh.creation.box(), tmp_path / "plain.ply")
    assert read_mesh(plain).visual.kind is None


def test_parts_with_and_without_colours_join(tmp_path):
    red, plain = trimesh.creation.box(), trimesh.creation.box()
    red.visual.vertex_colors = np.tile(np.array([255, 0, 0, 255], np.uint8), (8, 1))
    plain.apply_translation([3.0, 0.0, 0.0])
    mesh = read_mesh(exported(trimesh.Scene([red, plain]), tmp_path / "two.glb"))
    left = mesh.vertices[:, 0] < 1.0
    assert np.all(mesh.visual.vertex_colors[left, :3] == [255, 0, 0])
    assert np.all(mesh.visual.vertex_colors[~left, 0] == mesh.visual.vertex_colors[~left, 1])


@pytest.mark.parametrize("kind", ["obj", "ply", "gltf"])
def test_no_other_file_is_opened_but_the_buffers_of_a_gltf(kind, tmp_path, monkeypatch):
    path = exported(trimesh.creation.box(), tmp_path / f"box.{kind}")
    if kind == "obj":
        path.write_text("mtllib secret.mtl\nusemtl paint\n" + path.read_text())
    (tmp_path / "secret.mtl").write_text("newmtl paint\nmap_Kd secret.png\n")
    opened = []

    def watched(real):
        def watch(file, *rest, **more):
            opened.extend([] if isinstance(file, int) else [Path(file).name])
            return real(file, *rest, **more)

        return watch

    for module in (io, builtins, os):
        monkeypatch.setattr(module, "open", watched(module.open))
    assert len(read_mesh(path).faces) == 12
    assert opened[0] == path.name
    assert all(name.endswith(".bin") for name in opened[1:])


OUTSIDE = "which is not a buffer beside it"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("../secret.bin", OUTSIDE),
        ("%2e%2e/secret.bin", OUTSIDE),
        ("/etc/hostname", OUTSIDE),
        ("link.bin", OUTSIDE),
        ("absent.bin", "cannot be read"),
    ],
)
def test_a_gltf_reaches_no_file_outside_its_folder(uri, words, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = exported(trimesh.creation.box(), folder / "box.gltf")
    buffer = min(folder.glob("*.bin"))
    (tmp_path / "secret.bin").write_bytes(buffer.read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path.write_text(path.read_text().replace(buffer.name, uri))
    with pytest.raises(ValueError, match=f"box.gltf: not a readable gltf file: .*{uri}',? {words}"):
        read_mesh(path)


@pytest.mark.parametrize("kind", ["off", "stl", "ply", "gltf"])
def test_the_words_of_a_library_are_not_shown(kind, tmp_path):
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    with pytest.raises(ValueError, match=f"picture.{kind}: not a readable {kind} file: (its JSON: .*|[a-zA-Z ]*)$"):
        read_mesh(written(tmp_path / f"picture.{kind}", picture))


def test_text_in_an_old_encoding_is_read(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=1)
    old = "caf\u00e9".encode("latin-1")
    comment = b"comment " + old + b"\nelement"
    files = {
        "ball.off": ball.export(file_type="off").encode().replace(b"OFF\n", b"OFF\n# " + old + b"\n", 1),
        "ball.stl": ball.export(file_type="stl_ascii").encode().replace(b"solid", b"solid " + old, 1),
        "binary.stl": (old + ball.export(file_type="stl"))[:80] + ball.export(file_type="stl")[80:],
        "binary.ply": ball.export(file_type="ply").replace(b"element", comment, 1),
        "text.ply": ball.export(file_type="ply", encoding="ascii").replace(b"element", comment, 1),
        "ball.obj": b"# " + old + b"\n" + ball.export(file_type="obj").encode(),
    }
    for name, content in files.items():
        assert old in content, name
        mesh = read_mesh(written(tmp_path / name, content))
        assert (len(mesh.faces), mesh.is_watertight) == (len(ball.faces), True), name
        np.testing.assert_allclose(mesh.volume, ball.volume, rtol=1e-6)


def test_properties_whose_names_differ_in_one_old_letter_stay_apart(tmp_path):
    header = PLY.replace("vertex 3", "vertex 4").replace("end_header\n", "")
    header += "property float \u00e4\nproperty float \u00f6\nelement face 4\nproperty list uchar int vertex_indices\n"
    rows = "0 0 0 7 8\n1 0 0 7 8\n0 1 0 7 8\n0 0 1 7 8\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
    data = (header + "end_header\n" + rows).encode("latin-1")
    np.testing.assert_allclose(read_mesh(written(tmp_path / "names.ply", data)).volume, 1.0 / 6.0)


def test_obj_with_tabs_and_a_byte_order_mark(tmp_path):
    text = (TETRAHEDRON + TETRAHEDRON_FACES).replace(" ", "\t")
    for start in ("", "\ufeff", " \t"):
        np.testing.assert_allclose(read_mesh(written(tmp_path / "tabs.obj", start + text)).volume, 1.0 / 6.0)


def test_missing_file_folder_and_unreadable_file(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"cow\.obj: no such mesh file"):
        read_mesh(tmp_path / "cow.obj")
    (tmp_path / "herd.obj").mkdir()
    with pytest.raises(ValueError, match=r"herd\.obj: is a folder, expected a mesh file"):
        read_mesh(tmp_path / "herd.obj")
    long = "x" * 300 + ".obj"
    with pytest.raises(ValueError, match=f"^{long}: cannot be read .file name too long.$"):
        read_mesh(long)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ValueError, match=r"cow\.ply: cannot be read .permission denied"):
        read_mesh(written(tmp_path / "cow.ply", ""))


@pytest.fixture
def ball() -> trimesh.Trimesh:
    """A coloured ball of radius 2 away from the origin."""
    ball = trimesh.creation.icosphere(2, 2.0).apply_translation([10.0, -20.0, 30.0])
    color = np.random.default_rng(0).integers(0, 255, size=(len(ball.vertices), 3), dtype=np.uint8)
    return trimesh.Trimesh(ball.vertices, ball.faces, vertex_colors=color, process=False)


@pytest.mark.parametrize("suffix", MESH_FORMATS)
def test_round_trip(tmp_path, ball, suffix):
    path = write_mesh(tmp_path / f"mesh{suffix}", ball)
    for read in (trimesh.load_mesh(path), read_mesh(path)):
        assert read.is_watertight and len(read.faces) == len(ball.faces)
        np.testing.assert_allclose(read.volume, ball.volume, rtol=1e-5)
        np.testing.assert_allclose(read.bounds, ball.bounds, rtol=1e-6)
        np.testing.assert_allclose(read.triangles_center.mean(axis=0), ball.triangles_center.mean(axis=0), rtol=1e-6)
    if suffix != ".stl":
        np.testing.assert_allclose(read.visual.vertex_colors[:, :3], ball.visual.vertex_colors[:, :3], atol=1)
        np.testing.assert_allclose(read.vertices, ball.vertices, rtol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_old_file_stays_when_writing_fails(tmp_path, ball, monkeypatch):
    path = write_mesh(tmp_path / "mesh.ply", ball)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ValueError, match=r"mesh\.ply: cannot be written \(no space left on device\)"):
        write_mesh(path, ball)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_formats_that_are_not_written(tmp_path, ball):
    message = r"mesh\.fbx: mesh format '\.fbx' is not known, allowed are \.ply, \.obj, \.glb, \.stl"
    with pytest.raises(ValueError, match=message):
        write_mesh(tmp_path / "mesh.fbx", ball)
    with pytest.raises(ValueError, match=r"mesh\.obj: no triangles to write"):
        write_mesh(tmp_path / "mesh.obj", trimesh.Trimesh())


OFFSET = np.array([448122.9, 5411987.6, 233.0])


@pytest.mark.parametrize("suffix", MESH_FORMATS)
def test_far_from_the_origin_no_digit_is_lost(tmp_path, ball, suffix, capsys):
    ball.vertices += OFFSET
    path = write_mesh(tmp_path / f"mesh{suffix}", ball)
    read = read_mesh(path)
    np.testing.assert_allclose(read.bounds - OFFSET, ball.bounds - OFFSET, atol=1e-6)
    assert len(read.faces) == len(ball.faces)
    near = trimesh.load_mesh(path).bounds
    if suffix == ".stl":
        said = "mesh.stl: holds float32 alone, so coordinates are written without the offset 448133.0 5411968.0 263.0\n"
        assert capsys.readouterr().err == said and np.abs(near).max() < 10.0
    else:
        np.testing.assert_allclose(near - OFFSET, ball.bounds - OFFSET, atol=1e-6)


def test_a_small_body_in_text_keeps_its_digits(tmp_path, ball):
    ball.apply_translation(-ball.centroid).apply_scale(1e-7)
    read = read_mesh(write_mesh(tmp_path / "mesh.obj", ball))
    np.testing.assert_allclose(read.vertices, ball.vertices, atol=1e-15)


def test_what_a_file_lost_is_told(ball):
    (surface,) = surfaces(encode_mesh_ply(ball, np.zeros(3)), Path("mesh.ply"))
    assert differences(ball, [surface]) == []
    moved = surface._replace(position=surface.position * [1.0, 1.0, 1.001])
    assert [words.split(" is")[0] for words in differences(ball, [moved])] == [
        "the lowest corner",
        "the highest corner",
        "the area",
        "the volume",
    ]
    assert len(differences(ball, [])) == 4


def test_bodies_with_a_hole_look_outward_and_sheets_stay(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=1)
    text = "".join("v {} {} {}\n".format(*corner) for corner in ball.vertices.tolist())
    faces = "".join("f {2} {1} {0}\n".format(*face) for face in (ball.faces[1:] + 1).tolist())
    assert read_mesh(written(tmp_path / "hole.obj", text + faces)).volume > 0.0
    sheet = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0.5 0.5 -0.1\n" + "f 1 2 5\nf 2 3 5\nf 3 4 5\nf 4 1 5\n"
    assert np.all(read_mesh(written(tmp_path / "sheet.obj", sheet)).face_normals[:, 2] > 0.0)


def test_a_pipe_is_no_mesh(tmp_path):
    os.mkfifo(tmp_path / "a.ply")
    with pytest.raises(ValueError, match=r"a\.ply: is a pipe, expected a mesh file"):
        read_mesh(tmp_path / "a.ply")
