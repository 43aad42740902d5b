"""The report: one file that needs nothing else, its data right, and drawn by a real browser where there is one."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import trimesh
from PIL import Image

from fm_render import Mixture
from fmb.fit.loop import History
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics, project
from fmb.geometry.views import Views
from fmb.pictures.draw import write_picture
from fmb.pictures.ellipsoids import component_colors, enclosing_ball
from fmb.pictures.page_pictures import page_picture, read_pictures
from fmb.pictures.report import (
    ASSETS,
    Highlight,
    Report,
    convergence,
    loss_axis,
    path,
    read_assets,
    report_page,
    round_steps,
    shape_numbers,
    write_report,
)
from fmb.pictures.report_scene import MASK_FLOOR, MOST_FACES, MOST_TILES, PageScene, atlas, first_direction, scene_data
from tests.browser import browser, find_browser

LARGEST_PAGE = 5_000_000  # bytes
COUNT, HEIGHT, WIDTH = 5, 12, 16


def some_mixture() -> Mixture:
    """Twelve balls on a ring of radius 2 about (5, 0, 0)."""
    angle = 2.0 * np.pi * np.arange(12) / 12
    mean = np.stack([5.0 + 2.0 * np.cos(angle), 0.3 * np.sin(3 * angle), 2.0 * np.sin(angle)], axis=-1)
    return Mixture(mean, np.tile(5.0 * np.eye(3), (12, 1, 1)), np.full(12, 4.0))


def some_views(count: int = COUNT) -> Views:
    cameras = orbit_cameras(count, 9.0, pinhole_intrinsics(HEIGHT, WIDTH, 45.0), 0.3)
    cameras.world_from_camera[:, 0, 3] += 5.0
    silhouette = np.zeros((count, HEIGHT, WIDTH))
    silhouette[:, 3:9, 4:12] = np.arange(1, count + 1)[:, None, None] / count
    return Views(cameras, silhouette)


def some_mesh() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(2, 1.5)
    mesh.apply_translation([5.0, 0.0, 0.0])
    return mesh


def some_report() -> Report:
    step = np.arange(400)
    history = History(step, 0.3 * np.exp(-step / 60) + 0.01, np.full(400, 0.1))
    picture = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (90, 1, 3))
    scene = PageScene(some_mixture(), None, some_views(), some_mesh(), some_mesh())
    errors = {"IoU": {"training views": "0.5", "unseen <views>": "0.4"}}
    facts = {"seed": 42, "versions": {"jax": "1.2"}, "scale": 0.123456789}
    pictures = [page_picture("A", picture)]
    return Report("ring </script>&", "Twelve", scene, [Highlight("IoU", "0.5")], errors, history, pictures, facts)


class Page(HTMLParser):
    """Elements, their attributes and the texts of scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.scripts, self.open, self.void = [], {}, [], {"meta", "link", "img", "input", "br"}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in self.void and tag not in ("path",):
            self.open.append((tag, attributes.get("id") or attributes.get("type")))

    def handle_endtag(self, tag):
        if tag not in ("path",):
            assert self.open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "script":
            name = self.open[-1][1]
            self.scripts[name] = self.scripts.get(name, "") + data


@pytest.fixture(scope="module")
def page() -> tuple[str, Page]:
    text = report_page(some_report(), read_assets())
    return text, Page(text)


def test_elements_are_closed_and_texts_escaped(page):
    text, parsed = page
    assert parsed.open == []
    assert "ring &lt;/script&gt;&amp;" in text and "unseen &lt;views&gt;" in text
    assert "{{" not in text and "Permission is hereby granted, free of charge" in text
    assert len(text.encode()) < LARGEST_PAGE


def test_nothing_is_loaded_from_elsewhere(page):
    text, parsed = page
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            if name in attributes:
                assert attributes[name].startswith("data:"), (tag, attributes[name][:60])
    assert not re.search(r"url\(|@import", read_assets()["page.css"])
    modules = json.loads(parsed.scripts["importmap"])["imports"]
    for name, source in modules.items():
        code = base64.b64decode(source.removeprefix("data:text/javascript;base64,")).decode()
        code = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
        for imported in re.findall(r"""(?:\bfrom|\bimport)\s*["']([^"']+)["']""", code):
            assert imported in modules, f"{name} imports {imported}"
    assert set(re.findall(r'from "([^"]+)"', parsed.scripts["module"])) <= modules.keys()
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "http" not in policy


def test_vendored_files_are_those_of_the_package():
    expected = {
        "three.core.min.js": "05b2609338c76cd65daf74f3ac515bc9a5045e1b3b33edc07d8c9bd55250fa90",
        "three.module.min.js": "86bcee248b64f44bcfc23c331ae74619061957d59cab040171dcb6fb5900beb6",
        "OrbitControls.js": "faabb4e8dfd9235ee4a9fd7c9a3d75f90f1689dbd4944bd6fd32117dacec5f93",
        "three-LICENSE": "8b378ebe60e2fe500158cb0ac71cb5e8b7d92953c2abcc63a0eb90499653b5bc",
    }
    for name, digest in expected.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest, name


def test_scene_holds_the_ellipsoids_in_radii_of_the_object(page):
    mixture, ball = some_mixture(), enclosing_ball(some_mixture())
    data = json.loads(page[1].scripts["scene"])
    parts = {name: np.array(values) for name, values in data["components"].items()}
    assert np.allclose(parts["centre"] * ball.radius + ball.centre, mixture.mean, atol=1e-4)
    covariance = parts["axes"] @ np.swapaxes(parts["axes"], 1, 2) * ball.radius**2
    assert np.allclose(covariance, np.eye(3) / 25.0, atol=1e-4)
    assert np.allclose(parts["reach"], np.sqrt(2.0 * (4.0 - np.log(np.log(2.0)))), atol=1e-4)
    assert np.allclose(parts["color"], component_colors(12), atol=1e-4)
    assert np.allclose(data["up"], [0.0, 1.0, 0.0], atol=1e-4)


def test_scene_holds_meshes_and_their_colours():
    mixture, ball, mesh = some_mixture(), enclosing_ball(some_mixture()), some_mesh()
    mesh.visual.vertex_colors = np.tile(np.array([10, 20, 30, 255], np.uint8), (len(mesh.vertices), 1))
    data = scene_data(PageScene(mixture, mesh=mesh))["mesh"]
    found = np.frombuffer(base64.b64decode(data["vertices"]), "<f4").reshape(-1, 3)
    assert np.allclose(found * ball.radius + ball.centre, mesh.vertices, atol=1e-5)
    assert np.array_equal(np.frombuffer(base64.b64decode(data["faces"]), "<u4").reshape(-1, 3), mesh.faces)
    assert np.array_equal(np.unique(np.frombuffer(base64.b64decode(data["colors"]), "u1")), [10, 20, 30])
    assert "cameras" not in scene_data(PageScene(mixture)) and "mesh" not in scene_data(PageScene(mixture))


def test_large_meshes_are_made_coarse():
    mesh, mixture = trimesh.creation.icosphere(6, 1.0), some_mixture()
    assert len(mesh.faces) > MOST_FACES
    data = scene_data(PageScene(mixture, mesh=mesh))["mesh"]
    faces = np.frombuffer(base64.b64decode(data["faces"]), "<u4").reshape(-1, 3)
    ball = enclosing_ball(mixture)
    found = np.frombuffer(base64.b64decode(data["vertices"]), "<f4").reshape(-1, 3) * ball.radius + ball.centre
    assert 0.2 * MOST_FACES < len(faces) <= MOST_FACES
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=0.01)
    coarse = trimesh.Trimesh(found, faces)
    assert coarse.volume == pytest.approx(mesh.volume, rel=0.01)


def test_corners_of_a_camera_are_those_of_its_image():
    views, ball = some_views(), enclosing_ball(some_mixture())
    data = scene_data(PageScene(some_mixture(), views=views))["cameras"]
    position = np.array(data["position"]) * ball.radius + ball.centre
    assert np.allclose(position, views.cameras.world_from_camera[:, :3, 3], atol=1e-3)
    for view in range(COUNT):
        corners = np.array(data["corners"][view]) * ball.radius + ball.centre
        pixels, depth = project(views.cameras, corners)
        expected = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
        assert np.allclose(pixels[view], expected, atol=0.01) and np.all(depth[view] > 0.0)
    masks = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["masks"].split(",")[1]))))
    assert (data["columns"], data["rows"]) == (3, 2)
    assert np.array_equal(masks, atlas(views.silhouette, 3))


def test_masks_stand_in_rows_and_large_ones_are_thinned():
    page = atlas(some_views().silhouette, 3)
    assert page.shape == (2 * HEIGHT, 3 * WIDTH, 4)
    assert page[0, 0, 3] == MASK_FLOOR and page[HEIGHT + 5, WIDTH + 8, 3] == 230 and page[-1, -1, 3] == 0
    assert atlas(np.ones((1, 100, 130)), 1).shape == (34, 44, 4)


def test_many_cameras_are_picked_evenly():
    data = scene_data(PageScene(some_mixture(), views=some_views(3 * MOST_TILES)))
    assert len(data["cameras"]["position"]) == MOST_TILES
    assert np.linalg.norm(data["home"]) > 1.0


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.0, -0.8)])
def test_first_view_is_from_above(up):
    direction = first_direction(np.array(up))
    assert np.isclose(np.linalg.norm(direction), 1.0) and 0.2 < direction @ np.array(up) < 0.6


def test_curve_has_its_ends_and_few_points():
    x, y = np.linspace(0.0, 100.0, 5001), np.linspace(100.0, 0.0, 5001)
    points = path(x, y).removeprefix("M").split("L")
    assert points[0] == "0.00 100.00" and points[-1] == "100.00 0.00" and len(points) < 620
    assert path(x[:0], y[:0]) == ""


def test_axis_is_logarithmic_where_losses_differ_much():
    axis = loss_axis(0.01, 1.0)
    assert axis.logarithmic and "0.1" in [label for _, label in axis.ticks]
    assert np.allclose(axis.place(np.array([0.1])), 50.0)
    plain = loss_axis(0.5, 1.0)
    assert not plain.logarithmic and np.allclose(plain.place(np.array([0.75])), 50.0)
    assert loss_axis(0.3, 0.3).ticks and loss_axis(0.0, 0.0).ticks


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 1799.0), (-0.3, 0.02), (0.0, 7e-5)])
def test_round_steps_are_few_and_inside(low, high):
    steps = round_steps(low, high, 5)
    assert 2 <= len(steps) <= 6
    assert all(low <= step <= high * (1 + 1e-9) for step in steps)


def test_convergence_shows_unseen_views_where_they_were_measured():
    history = History(np.arange(3), np.array([1.0, 0.5, 0.4]), np.ones(3), np.array([1.0, np.nan, 0.5]))
    assert "unseen views" in convergence(history)
    assert "unseen views" not in convergence(history._replace(novel_loss=None))
    assert convergence(History(np.zeros(1), np.array([np.nan]), np.ones(1))) == ""
    assert "over 1 steps" in convergence(History(np.zeros(1), np.ones(1), np.ones(1)))


def test_numbers_of_a_shape_fit():
    errors = {"iou": 0.9, "cross_entropy": 0.02}
    metrics = {"novel": errors, "initial": {"novel": {"iou": 0.5, "cross_entropy": 0.1}}, "num_mixtures": 40}
    highlights, table = shape_numbers(metrics | {"seconds": {"total": 6.25}, "device": "cpu"})
    assert highlights[1] == Highlight("IoU of the masks", "0.9", "unseen views; 0.5 before")
    assert highlights[-1] == Highlight("seconds", "6.2", "on cpu")
    assert (
        table["cross-entropy (nats per ray)"] == {"unseen views": "0.1 \N{RIGHTWARDS ARROW} 0.02"} and len(table) == 2
    )
    assert shape_numbers(metrics)[0][-1] == Highlight("components", "40", "400 numbers")


def test_pictures_of_a_folder_in_order(tmp_path):
    for name in ("02_masks.png", "01_final_depths.png", "06_convergence.png", "other.png"):
        write_picture(tmp_path / name, np.full((4, 6, 3), 7, np.uint8))
    pictures = read_pictures(tmp_path)
    assert [picture.caption for picture in pictures] == ["Final depths", "Masks"]
    assert pictures[0][1].startswith("data:image/png;base64,") and pictures[0][2:] == (6, 4)


def test_a_bare_report_has_no_empty_parts():
    text = report_page(Report("a", "b", PageScene(some_mixture())), read_assets())
    for part in ("<h2>", "<details", "<figure", 'name="mesh"', 'name="cameras"'):
        assert part not in text
    assert Page(text).open == []


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A browser, and the report's file."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome found; set FMB_BROWSER to one")
    file = write_report(tmp_path_factory.mktemp("page") / "report.html", some_report())
    with browser(program, tmp_path_factory.mktemp("profile")) as tab:
        yield tab, file


@pytest.mark.parametrize(("width", "height", "mobile"), [(1280, 900, False), (390, 844, True)])
def test_browser_draws_it_without_errors(opened, width, height, mobile):
    tab, file = opened
    tab.open(file, width, height, mobile)
    assert tab.errors == []
    assert tab.value("document.documentElement.dataset.viewer") == "ready"
    assert tab.value("document.documentElement.scrollWidth") <= width
    tab.value("document.getElementById('stage').scrollIntoView({block: 'center'})")
    box = tab.value(
        "(({x, y, width, height}) => [x, y, width, height])(document.getElementById('stage').getBoundingClientRect())"
    )
    left, top, wide, tall = (round(number) for number in box)
    stage = tab.screenshot()[max(top, 0) : top + tall, left : left + wide].astype(int)
    # the ring's components are colourful, the background is not
    colorful = np.ptp(stage, axis=-1) > 90
    assert 0.005 < colorful.mean() < 0.5
    tab.value("document.querySelector('[name=components]').click(); document.querySelector('[name=cameras]').click()")
    tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    bare = np.ptp(tab.screenshot()[max(top, 0) : top + tall, left : left + wide].astype(int), axis=-1) > 90
    assert bare.mean() < 0.1 * colorful.mean()
    assert tab.errors == []


def test_browser_tells_when_it_cannot_draw(opened, tmp_path):
    tab, file = opened
    text = file.read_text(encoding="utf-8")
    breaks = "<script>HTMLCanvasElement.prototype.getContext = () => null;</script><main>"
    (tmp_path / "broken.html").write_text(text.replace("<main>", breaks, 1), encoding="utf-8")
    tab.open(tmp_path / "broken.html", 800, 600)
    assert tab.value("document.documentElement.dataset.viewer") == "failed"
    assert "could not start" in tab.value("document.getElementById('excuse').innerText")
