"""Pictures of a comparison: errors where they are, marks at the worst points, layers that the page can show."""

import numpy as np
import pytest
import trimesh

from fmb.geometry.cloud import Cloud
from fmb.geometry.comparison import Worst
from fmb.pictures import comparison as drawn
from fmb.pictures.report import toggle_list
from fmb.pictures.report_scene import PageScene, scene_data


@pytest.fixture
def pair():
    """A box, and one that is longer by 1 on one side."""
    return trimesh.creation.box(bounds=[[0, 0, 0], [1, 1, 1]]), trimesh.creation.box(bounds=[[0, 0, 0], [2, 1, 1]])


def test_errors_are_those_of_fine_triangles_and_of_points(pair):
    short, long = pair
    ball = drawn.ball_of(pair)
    np.testing.assert_allclose(ball.centre, [1.0, 0.5, 0.5])
    assert ball.radius == pytest.approx(np.sqrt(1.5))
    part = drawn.painted(long, short, ball, 2.0)
    assert len(part.mesh.vertices) > 500, "corners alone would not show where the error begins"
    np.testing.assert_allclose(part.error, 50.0 * np.maximum(part.mesh.vertices[:, 0] - 1.0, 0.0), atol=1e-9)
    points = np.array([[0.5, 0.5, 1.0], [1.5, 0.5, 1.0], [2.0, 1.0, 1.0]])
    beads = drawn.painted(Cloud(points), short, ball, 2.0)
    np.testing.assert_allclose(np.unique(np.round(beads.error, 9)), [0.0, 25.0, 50.0])
    from_box = drawn.painted(short, Cloud(points), ball, 2.0).error
    assert from_box.min() < 5.0 and from_box.max() == pytest.approx(50.0 * np.sqrt(1.5))


def test_a_mesh_drawn_with_fewer_vertices_keeps_the_errors_of_the_whole(monkeypatch):
    monkeypatch.setattr(drawn, "MOST_VERTICES", 300)
    monkeypatch.setattr(drawn, "FINEST_EDGE", 1)
    ball = trimesh.creation.icosphere(4)  # 2562 vertices on the unit sphere; few triangles would cut into it
    part = drawn.painted(ball, Cloud(np.zeros((1, 3))), drawn.Ball(np.zeros(3), 1.0), 1.0)
    assert len(part.mesh.vertices) < 400 and part.thinned == 2562
    middles = np.linalg.norm(ball.triangles_center, axis=1)
    assert 100.0 * middles.min() - 1e-9 <= part.error.min() and part.error.max() <= 100.0 + 1e-9
    assert np.linalg.norm(part.mesh.vertices, axis=1).max() > 1.004, "its own errors would be larger"
    words = drawn.fewer([part, part._replace(thinned=0)], ("a.ply", "b.ply"))
    assert words == "; a.ply: fewer than its 2,562 points are drawn, in their own errors"


def test_rings_stand_where_the_worst_points_are(pair, monkeypatch):
    monkeypatch.setattr(drawn, "SIDE", 120)
    ball, worst = drawn.ball_of(pair), Worst(np.array([2.0, 0.5, 0.5]), np.array([1.0, 0.5, 0.5]), 1.0)
    parts = [drawn.painted(*both, ball, 2.0) for both in (pair, pair[::-1])]
    sheet = drawn.compared_sheet(parts, (worst, worst), ("a", "b"), ball)
    green = np.all(np.abs(sheet.tiles.astype(int) - [0, 179, 164]) < 3, axis=-1)
    assert sheet.tiles.shape == (4, 120, 243, 3) and green.reshape(4, -1).any(axis=1).all()
    assert sheet.panels == ("a", "b") and "1 and 1 away" in sheet.note


def test_layers_of_the_page_have_a_box_to_tick_each(pair):
    ball = drawn.ball_of(pair)
    parts = [drawn.painted(*both, ball, 2.0) for both in (pair, pair[::-1])]
    pairs = [Worst(np.zeros(3), np.ones(3), np.sqrt(3.0)), Worst(np.zeros(3), np.zeros(3), 0.0)]
    data = scene_data(PageScene(None, layers=drawn.layers_of(parts, pairs, ("a<b", "c"), ball)))
    assert [layer["shown"] for layer in data["layers"]] == [True, False, True]
    assert all("colors" in layer for layer in data["layers"][:2]) and "colors" not in data["layers"][2]
    boxes = toggle_list(data)
    assert 'name="layer0" checked>Errors of a&lt;b' in boxes and 'name="layer1">Errors of c' in boxes
