"""Symmetries of models_info.json: read, refused, and used in the canonical frame."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmb.files.bop_symmetries import read_symmetries
from fmb.geometry.frames import Frame
from fmb.geometry.metrics import point_errors
from fmb.pose.symmetry import all_maps, nearest
from fmb.tasks.bop import frame_matrix, turns_told

HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
HALF_TURN[:3, 3] = [8.0, 2.0, 0.0]  # about the line x = 4, y = 1


def test_maps_and_axes_are_read():
    assert read_symmetries({"diameter": 3, "symmetries_discrete": []}, "a.json") is None
    found = read_symmetries({"symmetries_discrete": [HALF_TURN.ravel().tolist()]}, "a.json")
    np.testing.assert_array_equal(found.maps, [np.eye(4), HALF_TURN])
    assert found.axis is None
    found = read_symmetries({"symmetries_continuous": [{"axis": [0, 0, 2], "offset": [4, 1, 0]}]}, "a.json")
    np.testing.assert_array_equal((found.axis, found.offset), [[0, 0, 1], [4, 1, 0]])


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"symmetries_discrete": {}, "symmetries_continuous": 1}, "a.json: symmetries_continuous: must be a list"),
        ({"symmetries_discrete": [[1, 0]]}, "symmetries_discrete, number 1: must be 16 numbers"),
        ({"symmetries_discrete": [np.diag([2.0, 1, 1, 1]).ravel().tolist()]}, "symmetries_discrete, number 1"),
        ({"symmetries_continuous": [{"axis": [0, 0, 0], "offset": [0, 0, 0]}]}, "axis .*must have a length"),
        ({"symmetries_continuous": [{"axis": [0, 0, 1]}]}, "'offset' missing"),
        ({"symmetries_continuous": [{}, {}]}, "2 symmetries_continuous; at most 1 can be read"),
    ],
)
def test_symmetries_that_are_none(record, words):
    with pytest.raises(ValueError, match=words):
        read_symmetries(record, "a.json")


@pytest.mark.parametrize(
    "record",
    [
        {"symmetries_discrete": [HALF_TURN.ravel().tolist()]},
        {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [4, 1, 0]}]},
    ],
)
def test_they_hold_in_the_canonical_frame(record):
    frame = Frame(np.array([1.0, -2.0, 3.0]), np.array(50.0))
    turns = turns_told(read_symmetries(record, "a.json"), frame)
    to_world, generator = frame_matrix(frame), np.random.default_rng(0)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.random(random_state=generator).as_matrix(), [10.0, 20.0, 500.0]
    maps = to_world @ all_maps(turns, 24) @ np.linalg.inv(to_world)
    points = 30.0 * generator.normal(size=(40, 3))
    assert point_errors(pose @ HALF_TURN, pose, points, maps).mssd < 1e-6  # half a turn is in either
    errors = point_errors(pose @ HALF_TURN, pose, points, np.eye(4)[None])
    assert errors.adds <= errors.add <= errors.mssd
    camera = np.linalg.inv(pose @ to_world)  # of the pose that looks the same the one at hand is kept
    turned = np.linalg.inv(pose @ HALF_TURN @ to_world)
    np.testing.assert_allclose(nearest(turns, turned, camera), camera, atol=1e-6)
