"""Tables of the page: no raw arrays, names in words; the slider and the bar of colours where they mean something."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from fmb.machine import KINDS, summary
from fmb.pictures.report import Report, color_bar, report_page, shape_numbers, slider
from fmb.pictures.report_scene import PageScene, scene_data
from fmb.pictures.report_tables import cell, fact_tables, flat, made_table
from fmb.pictures.surface_error import colored_by_error

DEPTH, AS_RENDERED = KINDS["depth_mae"], KINDS["rendered_depth_mae"]
VIEWS = {"view_iou": [0.5, 0.25], "view_weight": np.ones(2)}


def test_facts_are_tables():
    rows = [{"shape": "a", "chamfer": 0.01}, {"shape": "b"}]
    text = fact_tables({"steps": 7, "seconds": {"total": 1.25, "gmm": 0.5}, "errors": rows, **VIEWS, "level": None})
    assert "[" not in text and "{" not in text
    for words in ("starting mixture", "<td>7</td>", "not known", "each training view", "<td>0.25</td>", "<td>b</td>"):
        assert words in text
    assert text.count("<table>") == 4 and fact_tables({}) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"),
        (0.123456789, "0.123457"),
        ([1, 2.5], "1 2.5"),
        (np.eye(2), "1 0; 0 1"),
        (list(range(40)), "40 numbers, 0 to 39"),
        (["a"] * 30, "30 values"),
        (np.ones((9, 9)), "9 rows; 81 numbers, 1 to 1"),
    ],
)
def test_cells_are_short(value, words):
    assert cell(value) == words


def test_names_are_those_of_the_screen():
    assert flat({"novel": {"iou": 0.5}}) == {f"unseen views, {KINDS['iou']}": "0.5"}
    assert flat({"depth_mae": 0.1, "rendered_depth_mae": 0.2}) == {DEPTH: "0.1", AS_RENDERED: "0.2"}


def test_a_depth_error_has_the_same_name_after_a_fit_to_depths():
    errors = {"depth_mae": 0.2, "surface_depth_mae": 0.1}
    assert flat(errors) == {AS_RENDERED: "0.2", DEPTH: "0.1"}
    metrics = {
        "novel": errors,
        "initial": {"novel": errors},
        "num_mixtures": 2,
        "seconds": {"total": 1.0},
        "device": "cpu",
    }
    told = [line.split("   ")[0] for line in summary(metrics, Path("x")).splitlines()]
    assert told[1:3] == [AS_RENDERED, DEPTH]
    highlights, table = shape_numbers(metrics)
    assert list(table) == [AS_RENDERED, DEPTH] and highlights[0].label == AS_RENDERED


def test_how_it_was_made_stands_on_the_page_as_it_is_typed():
    made = {"command": "run_fmb.py shape 'a<b.ply'", "random seed": "42"}
    assert "<code>run_fmb.py shape &#x27;a&lt;b.ply&#x27;</code>" in made_table(made)
    mesh = trimesh.creation.icosphere(1)
    text = report_page(Report("t", "n", PageScene(None, mesh=mesh), made=made), _assets())
    assert "How it was made" in text and "<td>42</td>" in text and 'name="split"' not in text


def test_fit_and_reference_have_a_slider_and_an_error_in_percent():
    mesh, other = trimesh.creation.icosphere(3, 1.0), trimesh.creation.icosphere(3, 1.1)
    data = scene_data(PageScene(None, mesh=mesh, reference=other))
    (layer,) = data["layers"]
    assert layer["label"] == "Error of the surface" and not layer["shown"]
    assert 'data-layer="layer0" hidden' in color_bar(0, layer) and "longest side" in color_bar(0, layer)
    assert 'type="range"' in slider(data) and slider({"mesh": 1}) == "" and color_bar(1, {"shown": True}) == ""
    _, scale = colored_by_error(mesh, other)
    assert scale.limits[1] == pytest.approx(100.0 * 0.1 / 2.2, rel=0.03)  # a tenth of 2.2, but for the facets


def _assets() -> dict[str, str]:
    names = ("page.css", "three-LICENSE", "three.module.min.js", "three.core.min.js", "OrbitControls.js", "viewer.js")
    page = "<main>{{highlights}}{{toggles}}{{slider}}{{scales}}{{made}}{{table}}{{details}}</main>"
    return dict.fromkeys(names, "") | {"page.html": page}
