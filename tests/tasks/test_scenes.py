"""What a fit to a capture looks at: which of its views, which of its points, and what is told about it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmb.config import Config
from fmb.files.captures.read import read_capture
from fmb.files.options import CaptureOptions
from fmb.hull.votes import points_in_masks
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.tasks.scenes import Scene, held_out, open_scene
from tests.datasets import POINTS, make_scene, write_colmap, write_plain

FAR = np.array([[4.0, 0.0, 0.0], [0.0, -5.0, 1.0], [9.0, 9.0, 9.0], [1.2, 1.2, -1.2]])


def opened(folder: Path, hold_out: int = 0, point_weight: float = 0.0) -> Scene:
    config = Config(
        model=replace(ModelOptions(), gmm_points=50),
        optimization=replace(OptimizationOptions(), point_weight=point_weight),
        capture=replace(CaptureOptions(), data=str(folder), hold_out=hold_out),
    )
    return open_scene(config, np.random.default_rng(0))


def test_empty_masks_are_left_out_and_named(tmp_path):
    scene = make_scene(12)
    scene.views.silhouette[[2, 7]] = 0.0
    write_plain(tmp_path, scene)
    found = opened(tmp_path)
    seen = found.look()
    assert "2 of 12 masks are empty: left out of the fit: 002, 007" in seen.notices
    assert found.shape[0] == 10 and seen.names == tuple(f"{view:03d}" for view in range(12) if view not in (2, 7))
    assert np.all(np.any(seen.views["train"].silhouette > 0.5, axis=(1, 2)))
    assert np.allclose(found.frame.centre, 0.0, atol=0.3)


def test_many_empty_masks_are_not_all_named(tmp_path):
    scene = make_scene(24)
    scene.views.silhouette[:12] = 0.0
    write_plain(tmp_path, scene)
    (notice,) = [line for line in opened(tmp_path).look().notices if "left out of the fit" in line]
    assert notice.startswith("12 of 24 masks are empty") and notice.endswith("008, 009, ...")


def test_nothing_is_left_out_for_0(tmp_path):
    write_plain(tmp_path, make_scene(6))
    capture = read_capture(tmp_path)
    assert capture.held_out.tolist() == [False] * 5 + [True]
    assert [part.tolist() for part in held_out(capture, 0)] == [[0, 1, 2, 3, 4, 5], []]
    assert [part.tolist() for part in held_out(capture, 5)] == [[0, 1, 2, 3, 4], [5]]
    capture = capture._replace(held_out=np.zeros(6, bool))
    assert [part.tolist() for part in held_out(capture, 3)] == [[0, 1, 3, 4], [2, 5]]
    with pytest.raises(ValueError, match="0 of 6 views are left to fit to; at least 2 must be"):
        held_out(capture, 1)
    assert set(opened(tmp_path).look().views) == {"train"} and set(opened(tmp_path, 5).look().views) != {"train"}


def test_points_of_the_background_are_not_the_surface(tmp_path, monkeypatch):
    scene = make_scene(8, 72, 96)
    monkeypatch.setattr("tests.datasets.POINTS", np.concatenate([FAR, 0.95 * POINTS]))
    write_colmap(tmp_path, scene)
    found = opened(tmp_path, point_weight=1.0)
    assert "3 of 7 points lie inside the masks: only these are taken for the surface's" in found.look().notices
    assert np.allclose(found.frame.to_world(found.surface), 0.95 * POINTS, atol=1e-6)
    without = opened(tmp_path)
    assert without.surface is None and not [line for line in without.look().notices if "points lie" in line]
    monkeypatch.setattr("tests.datasets.POINTS", FAR)
    (tmp_path / "far").mkdir()
    write_colmap(tmp_path / "far", scene)
    nothing = opened(tmp_path / "far", point_weight=1.0)
    assert nothing.surface is None and any(line.startswith("0 of 4 points") for line in nothing.look().notices)


def test_a_point_needs_two_views_and_most_of_those_that_see_it():
    views = make_scene(5, 72, 96).views
    inside = np.array([[0.1, 0.0, -0.1], [0.1, 0.0, 50.0], [0.9, 0.9, 0.9]])
    assert points_in_masks(views, inside).tolist() == [True, False, False]
    assert points_in_masks(views, np.zeros((0, 3))).tolist() == []

    def first(count: int) -> np.ndarray:
        return np.broadcast_to(np.arange(5)[:, None, None] < count, views.silhouette.shape)

    def kept(shown: int, known: int) -> bool:
        views_so = views._replace(silhouette=first(shown).astype(float), valid=first(known))
        return bool(points_in_masks(views_so, inside[:1])[0])

    assert kept(4, 5) and not kept(3, 5)
    assert kept(3, 2) and not kept(3, 1)
