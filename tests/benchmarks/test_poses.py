"""The tables of poses: what a row becomes, and the bodies they are measured on."""

import numpy as np
import trimesh

from benchmarks.poses.__main__ import line
from benchmarks.poses.shapes import SHAPES, SYMMETRIC, write_shapes
from benchmarks.poses.trials import CONDITIONS, Setting, trial
from fmb.geometry.views import Images
from fmb.tasks.bop_pictures import ROOM, SIDE, cropped


def test_bodies_are_closed(tmp_path):
    for path in write_shapes(tmp_path, SHAPES | SYMMETRIC):
        mesh = trimesh.load(path)
        assert mesh.is_watertight and mesh.volume > 0.05 and len(mesh.split()) == 1
    assert write_shapes(tmp_path, SYMMETRIC)[0].stat().st_mtime_ns == (tmp_path / "can.ply").stat().st_mtime_ns


def test_a_trial_is_the_same_scene_in_every_condition(tmp_path):
    path = write_shapes(tmp_path, {"stair": SHAPES["stair"]})[0]
    seen = {name: trial(path, 0, condition, Setting(width=40, height=30)) for name, condition in CONDITIONS.items()}
    whole = seen["clean"].exposure.silhouette.sum()
    for name, one in seen.items():
        np.testing.assert_array_equal(one.start, seen["clean"].start)
        share = one.exposure.silhouette.sum() / whole
        assert abs(share - (1.0 - CONDITIONS[name].hidden)) < (0.25 if CONDITIONS[name].noise else 0.06)


def test_false_claims_are_counted():
    usual = {"seconds": 0.1, "square": 6.0, "adds": 0.2, "mssd": 0.5}
    rows = [{**usual, "error": error, "claimed": claimed} for error, claimed in ((1, True), (9, True), (9, False))]
    assert line("all", rows)[1:7] == ("3", "33.3%", "9.00", "6.33", "66.7%", "33.3%")
    assert line("none", rows[1:])[-1] == "-"


def test_a_crop_keeps_its_camera():
    alpha, depth = np.zeros((60, 80)), np.full((60, 80), 2.0)
    alpha[20:40, 30:60] = 1.0
    lens = np.array([[100.0, 0.0, 40.0], [0.0, 100.0, 30.0], [0.0, 0.0, 1.0]])
    seen, inner = cropped(Images(alpha[None], depth[None]), lens)
    step = ROOM * 29.0 / SIDE  # pixels of the image in one of the crop
    assert abs(seen.alpha.sum() * step**2 - 600.0) < 40.0
    np.testing.assert_array_equal(np.isfinite(seen.depth), seen.alpha > 0)
    corner = np.array([30.0, 20.0, 1.0])  # of the object in the image, and where it is in the crop
    place = inner @ np.linalg.inv(lens) @ corner
    row, column = np.nonzero(seen.alpha[0])
    assert abs(place[0] - column.min()) <= 1.5 and abs(place[1] - row.min()) <= 1.5
