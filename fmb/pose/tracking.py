"""Tracking: the camera's pose in each frame of a sequence, started from the last frame, and found again when lost."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.poses import PoseEstimate
from fmb.pose.estimate import PoseProgram, find_pose
from fmb.pose.observation import Observation, nothing_seen
from fmb.pose.refinement import Surface
from fmb.pose.symmetry import Turns, nearest

LONGEST_PREDICTION = 0.5  # radians a frame; a faster motion is taken for a mistake and not continued
TRIES = 6  # searches in a frame, each from the last pose turned another way


class Tracker(NamedTuple):
    """What follows an object; compile `program` with PoseOptions(num_starts=0), `search` with more starts.

    `scale` is the object's size in the mixture's unit. With `predict` the last motion is repeated before a search. With
    `search` a lost object is looked for in wider and wider surroundings of its last pose. `surface` and `turns` are
    those of the model: of poses that look the same, the one nearest to the last frame's is kept.
    """

    program: PoseProgram
    mixture: Mixture
    scale: float = 1.0
    predict: bool = True
    surface: Surface | None = None
    search: PoseProgram | None = None
    turns: Turns | None = None


def track(
    tracker: Tracker, observations: Iterable[Observation], start: Float[ANY_ARRAY, "4 4"]
) -> Iterator[PoseEstimate]:
    """The pose in each frame, one after the other.

    The search of a frame starts from the last pose found. A frame that shows nothing of the object keeps the pose, with
    success False and infinite covariance. The frame after a failed search starts from the last pose found, too.

    Raises ValueError as `find_pose` does, with the frame's number.
    """
    pose, motion, lost = np.asarray(start, float), np.eye(4), 0
    for number, observation in enumerate(observations):
        if nothing_seen(observation):
            yield _lost(pose)
            motion = np.eye(4)
            continue
        try:
            fit = found_in(tracker, observation, pose, motion, lost)
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from error
        lost, motion = 0 if fit.success else lost + 1, np.eye(4)
        if fit.success:
            if tracker.turns is not None:
                fit = fit._replace(world_from_camera=nearest(tracker.turns, fit.world_from_camera, pose))
            step = np.linalg.inv(pose) @ fit.world_from_camera
            motion = step if tracker.predict and number > 0 and _slow(step) else motion
            pose = fit.world_from_camera
        yield fit


def found_in(
    tracker: Tracker, observation: Observation, pose: np.ndarray, motion: np.ndarray, lost: int
) -> PoseEstimate:
    """The pose in a frame, from the predicted one; if that fails, by search, the first from the last pose.

    Frames in which the object is still lost go on with other turns of it.
    """
    fit = find_pose(tracker.program, tracker.mixture, observation, pose @ motion, tracker.scale, tracker.surface)
    if fit.success or tracker.search is None:
        return fit
    around, best = turned_poses(pose, np.asarray(tracker.mixture.mean, float).mean(0)), fit
    for number in range(lost * TRIES, (lost + 1) * TRIES):
        start = around[number % len(around)]
        again = find_pose(tracker.search, tracker.mixture, observation, start, tracker.scale, tracker.surface)
        if again.success:
            return again
        # a search that diverged has NaN
        best = min(best, again, key=lambda one: np.nan_to_num(one.disagreement, nan=np.inf))
    return best


def turned_poses(pose: np.ndarray, middle: np.ndarray) -> list[np.ndarray]:
    """The pose, and the object turned about its middle by the other 23 turns of a cube, small turns first."""
    turns = []
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.diag(signs)[list(order)]
            turns += [turn] if np.linalg.det(turn) > 0 else []
    found = []
    for turn in sorted(turns, key=lambda turn: -np.trace(turn)):
        moved = np.eye(4)
        moved[:3, :3], moved[:3, 3] = turn, middle - turn @ middle
        found.append(moved @ pose)
    return found


def _slow(step: np.ndarray) -> bool:
    turn = np.arccos(np.clip((np.trace(step[:3, :3]) - 1) / 2, -1, 1))
    return bool(turn < LONGEST_PREDICTION)


def _lost(pose: np.ndarray) -> PoseEstimate:
    unknown = np.diag(np.full(6, np.inf))
    return PoseEstimate(pose, unknown, pose[None], np.full(1, np.nan), np.nan, np.nan, False, 0)
