"""Tracking: frames a second and the pose's error along a trajectory, for 80 x 60 and 160 x 120 pixels.

A camera goes around the model once and nods; the depth and mask that it sees have the noise of a sensor. Each frame is
started from the last; the first from a pose beside the true one. Wall clock tells what a user waits on this machine as
loaded as it was, processor time (of all threads) what the frame took whatever else ran.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.study import number, provenance, table, told
from benchmarks.table2.scenes import mixture
from benchmarks.table3.runs import canonical
from fm_render import Mixture
from fmb.geometry.cameras import Cameras, orbit_cameras, pinhole_intrinsics
from fmb.geometry.metrics import object_pose_error
from fmb.pose.estimate import PoseProgram, compile_pose
from fmb.pose.observation import Observation
from fmb.pose.simulation import Perturbation, perturbed, simulated
from fmb.pose.stages import PoseOptions
from fmb.pose.tracking import track

SIZES = ((60, 80), (120, 160))  # height, width
DISTANCE, VFOV_DEGREES = 3.0, 45.0
NOD, NODS = 0.35, 2  # radians up and down, how often on the way around
FIRST = Perturbation(5.0, 0.05)  # how far from the first frame's pose the track begins, degrees and scales
GOAL = "goal: 60 Hz at 80 x 60 on 2 cores"


class Trajectory(NamedTuple):
    """What the camera saw, where it was, and where the search begins."""

    observation: list[Observation]
    world_from_camera: Float[np.ndarray, "frame 4 4"]
    start: Float[np.ndarray, "4 4"]


class Ride(NamedTuple):
    """One track: seconds of each frame by the wall and by the processor, errors of its poses, trials, and success."""

    wall: Float[np.ndarray, " frame"]
    processor: Float[np.ndarray, " frame"]
    degrees: Float[np.ndarray, " frame"]
    percent: Float[np.ndarray, " frame"]
    trials: Float[np.ndarray, " frame"]
    success: Float[np.ndarray, " frame"]


def trajectory(mesh: Path, size: tuple[int, int], frames: int, noise: float, seed: int) -> Trajectory:
    """Around the mesh once."""
    start_generator, sensor_generator = np.random.default_rng(seed).spawn(2)
    lens = pinhole_intrinsics(*size, VFOV_DEGREES)
    tilt = NOD * np.sin(2 * NODS * np.pi * np.arange(frames) / frames)
    rings = [orbit_cameras(frames, DISTANCE, lens, float(angle)) for angle in tilt]
    pose = np.stack([ring.world_from_camera[frame] for frame, ring in enumerate(rings)])
    seen = simulated(canonical(mesh), Cameras(pose, rings[0].intrinsics), size, sensor_generator, noise)
    return Trajectory(seen, pose, np.linalg.inv(perturbed(np.linalg.inv(pose[0]), start_generator, FIRST)))


def ride(program: PoseProgram, model: Mixture, course: Trajectory) -> Ride:
    """Follows the trajectory."""
    rows, fits = [], track(program, model, course.observation, course.start, 1.0)
    for truth in course.world_from_camera:
        wall, processor = time.perf_counter(), time.process_time()
        fit = next(fits)
        spent = time.perf_counter() - wall, time.process_time() - processor
        error = object_pose_error(np.linalg.inv(fit.world_from_camera), np.linalg.inv(truth), 1.0)
        rows.append((*spent, error[0], error[1], fit.iterations, fit.success))
    return Ride(*np.array(rows, float).T)


def measure(options: argparse.Namespace, size: tuple[int, int]) -> list[Ride]:
    """A ride for each mesh, after one that warms up."""
    rides, program = [], None
    for mesh in options.mesh:
        model = mixture(mesh, options.components, options.cache)
        program = program or compile_pose(model, size, PoseOptions(starts=0))
        course = trajectory(mesh, size, options.frames, options.noise, options.seed)
        ride(program, model, course._replace(world_from_camera=course.world_from_camera[:5]))
        rides.append(ride(program, model, course))
    return rides


def row(name: str, size: tuple[int, int], rides: Sequence[Ride]) -> tuple[str, ...]:
    """One line of the table: of one model or of all."""
    found = Ride(*(np.concatenate(fields) for fields in zip(*rides, strict=True)))
    error = np.sqrt(found.degrees * found.percent)
    return (
        f"{name}, {size[1]} x {size[0]}",
        number(1 / float(np.median(found.wall))),
        number(1 / float(np.percentile(found.wall, 10))),
        number(1e3 * float(np.median(found.processor))),
        number(float(np.mean(found.trials))),
        f"{np.median(found.degrees):.2f} / {found.degrees.max():.2f}",
        f"{np.median(found.percent):.2f} / {found.percent.max():.2f}",
        f"{np.mean(error):.2f}",
        f"{np.mean(found.success):.1%}",
    )


def section(rows: Sequence[tuple[str, ...]], run: str, options: argparse.Namespace) -> str:
    """The section's text; `run` says with what, when and where."""
    head = ("model, pixels", "Hz, median", "Hz, best tenth", "processor ms", "trials")
    head += ("degrees, median / most", "%, median / most", "mean error", "success")
    return "\n\n".join(
        (
            "## Tracking",
            run,
            f"{options.components} components, {options.frames} frames once around the model at distance 3, "
            f"{360 / options.frames:.0f} degrees a frame and two nods of 20; a sensor's noise of strength "
            f"{options.noise:g}; {GOAL}. Error: geometric mean of degrees and % of the model's size.",
            table(head, rows),
        )
    )


def flags() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, nargs="+", required=True, help="the models")
    parser.add_argument("--components", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=90, help="default: %(default)s")
    parser.add_argument("--noise", type=float, default=1.0, help="strength of the sensor's; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and the start; default: %(default)s")
    parser.add_argument("--cache", type=Path, default=Path("output/table2/mixtures"), help="default: %(default)s")
    parser.add_argument("--results", type=Path, help="Markdown file whose section track is replaced")
    return parser


def main(argv: list[str]) -> int:
    """Prints the table; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)

    def work() -> str:
        rows = []
        for size in SIZES:
            rides = measure(options, size)
            rows += [row(mesh.stem, size, [found]) for mesh, found in zip(options.mesh, rides, strict=True)]
            rows += [row("all", size, rides)] if len(rides) > 1 else []
        return section(rows, provenance("bench_track", argv), options)

    return told(work, options.results, "track")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
