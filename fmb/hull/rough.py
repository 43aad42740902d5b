"""Cameras known by eye alone: moved until their masks agree, as far as a visual hull can tell.

One camera after the other moves, by a search without slopes, so that the hull of all masks covers more of them
(silhouette coherence); what was said of its direction holds it back. Images may be turned by quarters.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views
from fmb.hull.check import thinned
from fmb.hull.coverage import coverage
from fmb.hull.votes import sighted_frame

Covered = Callable[[Float[np.ndarray, "view 4 4"]], float]  # poses to the mean share of the masks that are covered
GRID, SIDE, ROUNDS, TRIALS = 36, 64, 4, 60  # voxels on an edge, pixels on the longer side; trials of a camera a round
EDGE = 1.5  # half the edge of the box, in radii of the object
HELD = 0.004  # of coverage: what a turn costs that is as large as the cameras may be off
QUARTER = 0.02  # of coverage: what a quarter turn of an image must gain
SHIFT = 0.1  # of the distance: a first step along it, and half of one across


def settled(views: Views, degrees: float) -> Cameras:
    """The cameras, in their own frame, after they have moved until their masks agree.

    `degrees` is about how far their directions may be off. Raises ValueError as `sighted_frame` does.
    """
    small = thinned(views, SIDE)
    frame = sighted_frame(small)
    pose = np.linalg.inv(frame.cameras_to_canonical(small.cameras).world_from_camera)
    given, steps = pose.copy(), np.zeros((len(pose), 6))
    lens = np.asarray(small.cameras.intrinsics, float)

    def covered(poses: Float[np.ndarray, "view 4 4"]) -> float:
        return float(np.mean(coverage(small._replace(cameras=Cameras(np.linalg.inv(poses), lens)), EDGE, GRID)))

    for number in range(ROUNDS):
        for view in range(len(pose)):
            if number == 0:
                given[view] = turned_by_quarters(given, view, covered)
                pose[view] = given[view]
            steps[view] = better(steps[view], view, (given, pose), np.deg2rad(degrees), covered)
            pose[view] = moved(given[view], steps[view])
    return frame.cameras_to_world(Cameras(np.linalg.inv(pose), np.asarray(views.cameras.intrinsics, float)))


def moved(pose: Float[np.ndarray, "4 4"], step: Float[np.ndarray, "6"]) -> Float[np.ndarray, "4 4"]:
    """camera_from_object after a turn of the object about itself [rad], and a shift across and along, per distance."""
    result = pose.copy()
    distance = np.linalg.norm(pose[:3, 3])
    result[:3, :3] = Rotation.from_rotvec(step[:3]).as_matrix() @ pose[:3, :3]
    result[:3, 3] = np.exp(step[5]) * pose[:3, 3] + distance * np.array([step[3], step[4], 0.0])
    return result


def turned_by_quarters(poses: Float[np.ndarray, "view 4 4"], view: int, covered: Covered) -> Float[np.ndarray, "4 4"]:
    """The pose of a view, or turned about the line to the object by quarters, where masks agree much better then."""
    axis = poses[view, :3, 3] / np.linalg.norm(poses[view, :3, 3])
    tried, agreement = [], []
    for quarter in range(4):
        trial = poses.copy()
        trial[view] = moved(poses[view], np.append(np.pi / 2 * quarter * axis, np.zeros(3)))
        tried.append(trial[view])
        agreement.append(covered(trial))
    best = int(np.argmax(agreement))
    return tried[best if agreement[best] > agreement[0] + QUARTER else 0]


def better(
    step: Float[np.ndarray, "6"],
    view: int,
    poses: tuple[Float[np.ndarray, "view 4 4"], Float[np.ndarray, "view 4 4"]],
    turn: float,
    covered: Covered,
) -> Float[np.ndarray, "6"]:
    """The step of one view from its given pose to where the masks agree best, those of the others staying."""
    given, trial = poses[0], poses[1].copy()

    def loss(place: Float[np.ndarray, "6"]) -> float:
        trial[view] = moved(given[view], place)
        return HELD * float(place[:3] @ place[:3]) / turn**2 - covered(trial)

    first = np.array([turn, turn, turn, SHIFT / 2, SHIFT / 2, SHIFT]) / 2
    simplex = np.concatenate([step[None], step + np.diag(first)])
    options = {"initial_simplex": simplex, "maxfev": TRIALS, "xatol": 1e-4, "fatol": 1e-5}
    return minimize(loss, step, method="Nelder-Mead", options=options).x
