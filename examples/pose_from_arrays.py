"""A camera's pose from arrays: a model, a depth image and a mask go in; pose and standard deviations come out.

From the project's folder: python -m examples.pose_from_arrays
"""

import numpy as np
from scipy.spatial.transform import Rotation

import fmb
from fmb.fields.mixtures import mixture_frame

SIZE = (60, 80)  # height and width of the image
INTRINSICS = np.array([[90.0, 0.0, 40.0], [0.0, 90.0, 30.0], [0.0, 0.0, 1.0]])  # pixels


def some_model() -> fmb.Model:
    """A mixture of your own, or fmb.load_model("output/model.npz"): here six balls of 40 mm along a bent arm."""
    mean = np.array([[0, 0, 0], [60, 0, 0], [120, 10, 0], [150, 60, 10], [150, 120, 20], [60, 10, 50]], float)
    mixture = fmb.Mixture(mean, np.tile(np.eye(3) / 25.0, (6, 1, 1)), np.full(6, 1.0))
    frame = mixture_frame(mixture)
    return fmb.Model(frame.mixture_to_canonical(mixture), frame, None, {})


def main() -> float:
    """Prints what was found; returns the error of the rotation in degrees."""
    model = some_model()
    truth = np.eye(4)
    truth[:3, 3] = model.frame.centre - [0.0, 0.0, 500.0]  # half a metre before the object, looking at it
    seen = fmb.render(model, fmb.Cameras(truth[None], INTRINSICS[None]), SIZE)  # stands for your own measurement
    start = truth.copy()
    start[:3, :3] = Rotation.from_rotvec([0.1, -0.2, 0.15]).as_matrix()
    start[:3, 3] += [20.0, -10.0, 30.0]
    found = fmb.estimate_pose(model, INTRINSICS, start, seen.depth[0], seen.alpha[0])
    turn = Rotation.from_matrix(found.world_from_camera[:3, :3] @ truth[:3, :3].T).magnitude()
    shift = np.linalg.norm(found.world_from_camera[:3, 3] - truth[:3, 3])
    deviation = np.sqrt(np.diagonal(found.covariance))
    print(f"off by {np.rad2deg(turn):.3f} degrees and {shift:.2f} mm; success: {found.success}")
    print(f"standard deviations: {np.rad2deg(deviation[:3]).round(3)} degrees, {deviation[3:].round(3)} mm")
    return float(np.rad2deg(turn))


if __name__ == "__main__":
    main()
