"""The portrait: closed forms of a ball, from the camera that the page begins with."""

import numpy as np
import trimesh

from fm_render import Mixture
from fmb.pictures import portrait
from fmb.pictures.ellipsoids import Ball, component_colors
from fmb.pictures.portrait import SIDE, components_picture, depth_normals, portrait_sheet, sitting
from fmb.pictures.turntable import FIELD_OF_VIEW, ROOM

UP = np.array([0.0, 0.6, 0.8])
BALL = Mixture(np.zeros((1, 3)), 5.0 * np.eye(3)[None], np.full(1, 2.0))  # deviation 0.2


def test_a_component_is_a_disc_of_its_deviation():
    place = sitting(Ball(np.zeros(3), 1.0), UP, SIDE)
    turn = place.shown_from_world
    assert np.allclose(turn @ turn.T, np.eye(3)) and (turn @ UP)[1] > 0.9  # upright
    picture = components_picture(BALL, place, np.full(1, 2.0))
    distance = ROOM / np.sin(np.deg2rad(FIELD_OF_VIEW / 2.0))
    focal = 0.5 * SIDE / np.tan(np.deg2rad(FIELD_OF_VIEW / 2.0))
    radius = focal * 0.4 / np.sqrt(distance**2 - 0.4**2)
    seen = np.any(picture < 255, axis=-1)
    assert np.isclose(np.count_nonzero(seen), np.pi * radius**2, rtol=0.01)
    shade = picture[seen] / (255.0 * component_colors(1)[0])
    assert np.ptp(shade, axis=1).max() < 0.02 and shade.min() < 0.6 < 0.9 < shade.max()  # one hue, lit
    assert not np.any(components_picture(BALL, place, np.zeros(1)) < 255)


def test_normals_of_a_depth_map_are_those_of_its_plane():
    intrinsics = np.array([[50.0, 0.0, 8.0], [0.0, 50.0, 8.0], [0.0, 0.0, 1.0]])
    normal = np.array([0.3, 0.4, -np.sqrt(0.75)])  # right, down, away from the camera
    row, column = np.indices((16, 16)) + 0.5
    ray = np.stack([(column - 8) / 50, (row - 8) / 50, np.ones_like(row)], axis=-1)
    depth = -3.0 / (ray @ normal)
    depth[0, 0] = np.nan
    found = depth_normals(depth, intrinsics)
    assert np.allclose(found[2:, 2:], [0.3, -0.4, np.sqrt(0.75)], atol=2e-3)
    assert np.array_equal(found[0, 0], [0.0, 0.0, 1.0])


def test_the_sheet_has_a_panel_for_all_that_is_known(monkeypatch):
    monkeypatch.setattr(portrait, "SIDE", 32)
    mesh = trimesh.creation.icosphere(2, 0.4)
    sheet = portrait_sheet(BALL, UP, np.full((1, 3), 0.5), mesh, mesh)
    assert sheet.tiles.shape == (8, 32, 32, 3) and len(sheet.labels) == 8
    assert sheet.title == "The fit: 1 Gaussian, 10 numbers"
    assert sheet.labels[0] == "components at one standard deviation" and sheet.labels[-2:] == ["colours", "reference"]
    assert all(np.any(tile < 220) and np.all(tile[0, 0] > 215) for tile in sheet.tiles)
