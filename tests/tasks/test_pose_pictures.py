"""Pictures of a pose show the pose that is written, also where the search on the mixture ended elsewhere."""

import numpy as np
import pytest

from fmb.fields.looks import look
from fmb.geometry.cameras import Cameras
from fmb.geometry.poses import PoseEstimate
from fmb.pictures import draw
from fmb.tasks import pose
from tests.pose_scene import IMAGE_SIZE, camera_at, lopsided_mixture, observe


@pytest.mark.parametrize("ended", [False, True])
def test_the_end_is_that_of_the_file(ended, tmp_path, monkeypatch):
    start, middle, end = (camera_at(np.array([0.0, angle, 0.0])) for angle in (0.0, 0.3, 0.8))
    path = np.stack([start, middle if ended else end])
    fit = PoseEstimate(end, np.eye(6), path, np.array([2.0, 1.0]), 0.1, 0.1, True, 1)
    mixture, seen, told = lopsided_mixture(), {}, []
    monkeypatch.setattr(pose, "pose_sheets", lambda *views: seen.update(start=views[1], end=views[2]) or {})
    monkeypatch.setattr(draw, "draw_sheets", lambda *given: None)
    monkeypatch.setattr(pose, "convergence_page", lambda course: told.append(course) or np.zeros((8, 8, 3), np.uint8))
    observation = observe(mixture, end)
    pose.draw_pose(tmp_path, mixture, pose.Case(observation, start), fit)
    cameras = Cameras(np.stack([start, end]), np.tile(observation.intrinsics, (2, 1, 1)))
    alpha = look(mixture, cameras, IMAGE_SIZE).alpha
    np.testing.assert_allclose(np.concatenate([seen["start"].alpha, seen["end"].alpha]), alpha, atol=1e-9)
    assert told[0].ended is ended and told[0].steps == 1
