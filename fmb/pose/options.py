"""Options of the tasks pose and track."""

from dataclasses import dataclass

from fmb.options import NONE, option

METHODS = ("levenberg_marquardt", "first_order")
EVIDENCES = ("both", "depth", "mask")


@dataclass(frozen=True)
class PoseOptions:
    """How a pose is found. With `num_starts` 0 the search begins at the given pose alone, as when tracking."""

    method: str = option(
        "levenberg_marquardt",
        "Solver; first_order is the paper's gradient descent",
        choices=METHODS,
    )
    evidence: str = option("both", "What the pose is found from", choices=EVIDENCES)
    num_starts: int = option(
        24, "Number of start poses tried around the given one (0: only the given one)", at_least=0, at_most=200
    )
    spread_degrees: float = 50.0  # how far from the given start the others are turned
    iterations: int = 10  # of the last stage, at most
    tolerance: float = 1e-4  # radians and scales: a shorter step ends the search


@dataclass(frozen=True)
class PoseTaskOptions(PoseOptions):
    """The camera's pose from depth and mask, simulated or from files."""

    depth_file: str = option(NONE, "Depth image (16-bit png or npy)")
    depth_unit: float = option(
        0.001, "Length that the value 1 in a depth png stands for, in the model's unit", above=0, at_most=1e6
    )
    mask_file: str = option(NONE, "Mask image; without depth and mask a random view is simulated")
    unknown_file: str = option(NONE, "Mask image, white where other things may hide the object")
    intrinsics_file: str = option(NONE, "Focal lengths and principal point (json, or a 3 x 3 matrix in txt)")
    initial_pose_file: str = option(NONE, "Pose to start from (json, npy or txt)")
    perturb_degrees: float = option(45.0, "Largest rotation of a simulated start, in degrees", at_least=0, at_most=180)
    perturb_size: float = option(0.5, "Largest shift of a simulated start, in object scales", at_least=0, at_most=10)
    sensor_noise: float = option(
        0.0, "Strength of simulated depth-camera noise (1: that of a common camera)", at_least=0, at_most=10
    )
    num_frames: int = option(90, "Number of frames of a simulated track", at_least=2, at_most=10_000)
    bop_dir: str = option(NONE, "Scene folder in BOP format; all its objects are found, from starts near the truth")
