import numpy as np
import pytest

from fmb.geometry.metrics import pose_error
from fmb.pose.tracking import Tracker, track
from tests.pose_scene import IMAGE_SIZE, camera_at, lopsided_mixture, observe, tracking_program


@pytest.fixture(scope="module")
def program():
    return tracking_program()


def test_follows_a_turning_object_and_survives_an_empty_frame(program):
    mixture, generator = lopsided_mixture(), np.random.default_rng(0)
    cameras = [camera_at(np.array([0.0, 0.12 * number, 0.03 * number])) for number in range(14)]
    frames = [observe(mixture, camera, generator) for camera in cameras]
    frames[6] = frames[6]._replace(silhouette=np.zeros(IMAGE_SIZE))
    fits = list(track(Tracker(program, mixture), iter(frames), cameras[0]))
    assert [fit.success for fit in fits] == [number != 6 for number in range(14)]
    np.testing.assert_array_equal(fits[6].world_from_camera, fits[5].world_from_camera)
    assert np.isinf(np.diag(fits[6].covariance)).all()
    errors = [pose_error(fit.world_from_camera, camera, 1.0) for fit, camera in zip(fits, cameras, strict=True)]
    assert max(error.rotation_degrees for error in errors[:6] + errors[7:]) < 2.5


def test_a_frame_that_makes_no_sense_is_named(program):
    mixture, camera = lopsided_mixture(), camera_at(np.zeros(3))
    frame = observe(mixture, camera)
    frames = [frame, frame._replace(depth=1000 * frame.depth)]
    with pytest.raises(ValueError, match="frame 1: observation: median depth is .* millimetres?"):
        list(track(Tracker(program, mixture), frames, camera))
