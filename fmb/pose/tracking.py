"""Tracking: the camera's pose in each frame of a sequence, started from the last frame."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.poses import PoseEstimate
from fmb.pose.estimate import PoseProgram, find_pose
from fmb.pose.observation import Observation, nothing_seen

LONGEST_PREDICTION = 0.5  # radians a frame; a faster motion is taken for a mistake and not continued


def track(
    program: PoseProgram,
    mixture: Mixture,
    observations: Iterable[Observation],
    start: Float[ANY_ARRAY, "4 4"],
    scale: float,
    predict: bool = True,
) -> Iterator[PoseEstimate]:
    """The pose in each frame, one after the other; compile the program with PoseOptions(num_starts=0).

    The search of a frame starts from the last pose found; with `predict`, the last motion is repeated first. A frame
    that shows nothing of the object keeps the pose, with success False and infinite covariance. The frame after a
    failed search starts from the last pose found, too. `scale` is the object's size in the mixture's unit.

    Raises ValueError as `find_pose` does, with the frame's number.
    """
    pose, motion = np.asarray(start, float), np.eye(4)
    for number, observation in enumerate(observations):
        if nothing_seen(observation):
            yield _lost(pose)
            motion = np.eye(4)
            continue
        try:
            fit = find_pose(program, mixture, observation, pose @ motion, scale)
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from error
        motion = np.eye(4)
        if fit.success:
            step = np.linalg.inv(pose) @ fit.world_from_camera
            motion = step if predict and number > 0 and _slow(step) else motion
            pose = fit.world_from_camera
        yield fit


def _slow(step: np.ndarray) -> bool:
    turn = np.arccos(np.clip((np.trace(step[:3, :3]) - 1) / 2, -1, 1))
    return bool(turn < LONGEST_PREDICTION)


def _lost(pose: np.ndarray) -> PoseEstimate:
    unknown = np.diag(np.full(6, np.inf))
    return PoseEstimate(pose, unknown, pose[None], np.full(1, np.nan), np.nan, np.nan, False, 0)
