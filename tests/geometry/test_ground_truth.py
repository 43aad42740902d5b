"""Both backends against analytic spheres and planes, against each other, and what happens where OpenGL fails."""

import functools

import numpy as np
import pytest
import trimesh

from fmb.geometry import ground_truth, opengl
from fmb.geometry.cameras import Cameras, look_at, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.ground_truth import BACKENDS, GroundTruth, render_ground_truth, start_ground_truth
from fmb.geometry.views import Views
from tests.datasets import sphere_depth

CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
REFUSE = "import os, sys\nsys.exit('no driver for ' + os.environ['PYOPENGL_PLATFORM'])\n"


@functools.cache
def opengl_failure() -> str:
    """Why pyrender cannot draw here, in one line; empty where it can."""
    try:
        render_ground_truth(trimesh.creation.box(), cameras_around(1, (4, 4)), (4, 4), "pyrender")
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture(params=list(BACKENDS))
def backend(request) -> str:
    if request.param == "pyrender" and opengl_failure():
        pytest.skip(opengl_failure())
    return request.param


@pytest.fixture
def with_opengl() -> None:
    if opengl_failure():
        pytest.skip(opengl_failure())


@functools.cache
def fine_ball() -> trimesh.Trimesh:
    """80,000 faces: nowhere more than 1e-4 within the unit sphere."""
    return trimesh.creation.icosphere(subdivisions=6)


def ring() -> trimesh.Trimesh:
    return trimesh.creation.torus(0.8, 0.3, major_sections=24, minor_sections=12)


@functools.cache
def views_of_the_ring(backend: str, size: tuple[int, int]) -> Views:
    return render_ground_truth(ring(), cameras_around(2, size), size, backend).views


def cameras_around(count: int, size: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> Cameras:
    """Random cameras at distance 3 with the principal point `shift` pixels (x, y) off the middle."""
    intrinsics = pinhole_intrinsics(*size, 45.0)
    intrinsics[:2, 2] += shift
    return random_cameras(np.random.default_rng(0), count, 3.0, intrinsics)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first > 0.5, second > 0.5
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


@pytest.mark.parametrize(
    ("size", "shift"),
    [((200, 144), (0.0, 0.0)), ((160, 208), (21.3, -9.7))],
    ids=["tall", "wide and off-centre"],
)
def test_a_sphere_is_where_it_should_be(backend, size, shift):
    cameras = cameras_around(2, size, shift)
    views = render_ground_truth(fine_ball(), cameras, size, backend).views
    expected = sphere_depth(cameras, size)
    assert iou(views.silhouette, np.isfinite(expected)) >= 0.999
    # the camera looks at the middle of the sphere, so its silhouette is a disc around the principal point
    row, column = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5, indexing="ij")
    for view, silhouette in enumerate(views.silhouette):
        centre = np.array([column[silhouette > 0.5].mean(), row[silhouette > 0.5].mean()])
        np.testing.assert_allclose(centre, cameras.intrinsics[view, :2, 2], atol=0.05)
    both = np.isfinite(views.depth) & np.isfinite(expected)
    error = np.abs(views.depth - expected)[both]
    # faces lie up to 1e-4 within the sphere, and where a ray grazes it that grows to sqrt(2e-4)
    assert np.median(error) < 2e-4
    assert np.max(error) < 0.05


@pytest.mark.usefixtures("with_opengl")
def test_the_backends_agree_on_thin_parts():
    size, shift = (96, 160), (11.0, -6.5)
    ring = trimesh.creation.torus(0.9, 0.05, major_sections=48, minor_sections=12)
    spike = trimesh.creation.cone(0.2, 1.0, sections=16)
    mesh = trimesh.util.concatenate([ring, spike])
    cameras = cameras_around(6, size, shift)
    drawn, cast = (render_ground_truth(mesh, cameras, size, name).views for name in ("pyrender", "raycast"))
    assert iou(drawn.silhouette, cast.silhouette) >= 0.999
    both = np.isfinite(drawn.depth) & np.isfinite(cast.depth)
    error = np.abs(drawn.depth - cast.depth)[both]
    assert np.quantile(error, 0.99) < 1e-4  # 24 bits of depth; the rest sees another surface at an edge
    difference = np.abs(drawn.color - cast.color)[both]
    assert np.mean(difference) < 0.05  # the one has a specular lobe, the other not


def test_a_tilted_plane_in_closed_form(backend):
    size = (24, 32)
    cameras = cameras_around(1, size)
    world_from_camera = cameras.world_from_camera[0]
    # a large tilted plate that fills the picture, through the world's origin
    corner = np.array([[-9.0, -9.0, -2.0], [9.0, -9.0, 0.0], [9.0, 9.0, 2.0], [-9.0, 9.0, 0.0]])
    corner = corner @ world_from_camera[:3, :3].T
    plate = trimesh.Trimesh(corner, [[0, 1, 2], [0, 2, 3]], process=False)
    views = render_ground_truth(plate, cameras, size, backend).views
    origin, direction = (np.asarray(field) for field in pixel_rays(cameras, *size))
    normal = np.cross(corner[1] - corner[0], corner[2] - corner[0])
    np.testing.assert_array_equal(views.silhouette, 1.0)
    np.testing.assert_allclose(views.depth, -(origin @ normal) / (direction @ normal), rtol=1e-4)


@pytest.mark.parametrize(("scale", "place"), [(1e-4, 0.0), (1e4, 1e9)])
def test_pictures_do_not_depend_on_unit_and_place(backend, scale, place):
    mesh, size = ring(), (48, 48)
    cameras = cameras_around(2, size)
    views = views_of_the_ring(backend, size)
    centre = np.array([place, -place, place])
    mesh.apply_transform(trimesh.transformations.scale_and_translate(scale, centre))
    pose = cameras.world_from_camera.copy()
    pose[:, :3, 3] = scale * pose[:, :3, 3] + centre
    moved = render_ground_truth(mesh, cameras._replace(world_from_camera=pose), size, backend).views
    assert np.count_nonzero(moved.silhouette != views.silhouette) <= 2  # rounding of 1e5 sizes at a rim
    both = np.isfinite(moved.depth) & np.isfinite(views.depth)
    np.testing.assert_allclose(moved.depth[both] / scale, views.depth[both], rtol=1e-3)


def test_views_carry_what_the_fit_expects(backend):
    cameras = cameras_around(3, (20, 30))
    truth = render_ground_truth(trimesh.creation.icosphere(subdivisions=2), cameras, (20, 30), backend)
    assert isinstance(truth, GroundTruth)
    assert (truth.backend, truth.notice) == (backend, "")
    views = truth.views
    assert views.silhouette.shape == views.depth.shape == (3, 20, 30)
    assert views.color.shape == (3, 20, 30, 3)
    assert views.valid is None
    assert set(np.unique(views.silhouette)) == {0.0, 1.0}
    np.testing.assert_array_equal(np.isfinite(views.depth), views.silhouette > 0.5)
    assert views.color.min() >= 0.0
    assert views.color.max() <= 1.0
    np.testing.assert_array_equal(views.color[views.silhouette < 0.5], 1.0)  # white behind
    np.testing.assert_array_equal(views.cameras.world_from_camera, cameras.world_from_camera)


def test_an_object_behind_the_camera_is_not_seen_and_one_around_it_is(backend):
    away = look_at(np.array([0.0, 0.0, 3.0]), np.array([0.0, 0.0, 9.0]), (0.0, 1.0, 0.0))
    intrinsics = np.tile(pinhole_intrinsics(16, 16, 45.0), (2, 1, 1))
    ball = trimesh.creation.icosphere(subdivisions=4)
    views = render_ground_truth(ball, Cameras(np.stack([away, np.eye(4)]), intrinsics), (16, 16), backend).views
    assert not np.any(views.silhouette[0])
    np.testing.assert_array_equal(views.silhouette[1], 1.0)
    np.testing.assert_allclose(views.depth[1, 7:9, 7:9], 1.0, atol=5e-3)


@pytest.mark.parametrize(("owner", "count", "inside_out"), [("face", 2, False), ("vertex", 4, True)])
def test_colours_of_faces_and_vertices_show_from_both_sides(backend, owner, count, inside_out):
    size, (x, y) = (32, 32), (1.5, 1.0)
    # a sheet before a camera at the origin: left half red, right half blue
    corner = np.array([[-x, -y, 2.0], [0.0, -y, 2.0], [0.0, y, 2.0], [-x, y, 2.0]])
    corner = np.concatenate([corner, corner + [x, 0.0, 0.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    red, blue = np.uint8([200, 0, 0, 255]), np.uint8([0, 0, 120, 255])
    if inside_out:
        faces = faces[:, ::-1]
    cameras = Cameras(np.eye(4)[None], pinhole_intrinsics(*size, 45.0)[None])
    sheet = trimesh.Trimesh(corner, faces, process=False, **{f"{owner}_colors": np.repeat([red, blue], count, axis=0)})
    color = render_ground_truth(sheet, cameras, size, backend).views.color[0, 16]
    # faces that look at the camera, which carries the light, show their own colour
    np.testing.assert_allclose(color[10], red[:3] / 255.0, atol=0.06)
    np.testing.assert_allclose(color[22], blue[:3] / 255.0, atol=0.06)


def test_auto_draws_with_pyrender_where_there_is_opengl():
    truth = render_ground_truth(trimesh.creation.box(), cameras_around(1, (8, 8)), (8, 8))
    assert truth.backend == ("raycast" if opengl_failure() else "pyrender")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (CRASH, "egl: ended by SIGSEGV; osmesa: ended by SIGSEGV"),
        (REFUSE, "egl: no driver for egl; osmesa: no driver for osmesa"),
        ("import sys\nsys.exit(3)\n", "egl: exit code 3; osmesa: exit code 3"),
    ],
)
def test_broken_drivers_leave_us_alive(script, reason, tmp_path, monkeypatch):
    path = tmp_path / "broken.py"
    path.write_text(script)
    monkeypatch.setattr(opengl, "SCRIPT", path)
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    box, cameras = trimesh.creation.box(), cameras_around(1, (8, 8))
    truth = render_ground_truth(box, cameras, (8, 8))
    assert truth.backend == "raycast"
    assert truth.notice == f"pyrender cannot draw here ({reason}); ray casting instead"
    assert np.any(truth.views.silhouette)
    with pytest.raises(ValueError, match=r"pyrender cannot draw here \(egl: "):
        render_ground_truth(box, cameras, (8, 8), "pyrender")


def test_a_driver_that_hangs_is_given_up_and_a_chosen_platform_is_the_only_one(tmp_path, monkeypatch):
    path = tmp_path / "hanging.py"
    path.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(opengl, "SCRIPT", path)
    monkeypatch.setattr(opengl, "SECONDS", 0.0)  # one second, for the one view
    monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
    truth = render_ground_truth(trimesh.creation.box(), cameras_around(1, (8, 8)), (8, 8))
    assert truth.notice == "pyrender cannot draw here (osmesa: no picture after 1 s); ray casting instead"


def test_a_process_that_is_ready_is_asked_and_one_that_is_not_asked_ends(tmp_path, monkeypatch):
    path = tmp_path / "echo.py"
    path.write_text(
        "import os, sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())\nprint(os.getpid(), flush=True)\n"
    )
    monkeypatch.setattr(opengl, "SCRIPT", path)
    with opengl.started_early():
        (waiting,) = opengl._ready.values()
        assert opengl.ask(b"hello ", 1) == b"hello %d\n" % waiting.pid and not opengl._ready
        assert opengl.ask(b"", 1) != b"%d\n" % waiting.pid  # another one
    with opengl.started_early():
        (waiting,) = opengl._ready.values()
    assert waiting.returncode == -9 and not opengl._ready


def test_a_job_may_be_asked_later_and_twice(backend):
    job = start_ground_truth(trimesh.creation.box(), cameras_around(1, (8, 8)), (8, 8), backend)
    first, second = job.result(), job.result()
    np.testing.assert_array_equal(first.views.silhouette, second.views.silhouette)


def test_bad_options_are_refused():
    box, cameras = trimesh.creation.box(), cameras_around(1, (8, 8))
    with pytest.raises(ValueError, match="ground-truth backend 'vulkan': allowed are auto, pyrender, raycast"):
        render_ground_truth(box, cameras, (8, 8), "vulkan")
    with pytest.raises(ValueError, match="image of 0 x 8 pixels: both sides must be at least 1"):
        render_ground_truth(box, cameras, (8, 0))


def test_silhouettes_alone_are_those_of_ray_casting():
    cameras, size = cameras_around(3, (20, 30)), (20, 30)
    alone = ground_truth.cast_silhouettes(ring(), cameras, size)
    assert np.array_equal(alone, render_ground_truth(ring(), cameras, size, "raycast").views.silhouette)
    assert alone.dtype == np.float32 and 0.0 < alone.mean() < 1.0
