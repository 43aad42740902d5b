"""Tracking: frames a second and the pose's error along a trajectory, for 80 x 60 and 160 x 120 pixels.

A camera goes around the model once and nods; the depth and mask that it sees have the noise of a sensor. Each frame is
started from the last; the first from a pose beside the true one. Wall clock tells what a user waits on this machine as
loaded as it was, processor time (of all threads) what the frame took whatever else ran.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.markdown import number, table
from benchmarks.study import Job, Rows, canonical, chosen, find_meshes, flags, key, provenance, study, told
from benchmarks.table2.methods import POSE_SOURCES, compiled_pose
from benchmarks.table2.scenes import mixture
from fm_render import Mixture
from fmb.geometry.cameras import Cameras, orbit_cameras, pinhole_intrinsics
from fmb.geometry.metrics import object_pose_error
from fmb.pose.estimate import PoseProgram
from fmb.pose.observation import Observation
from fmb.pose.options import PoseOptions
from fmb.pose.simulation import Perturbation, perturbed, simulated
from fmb.pose.tracking import Tracker, track

SIZES = ((60, 80), (120, 160))  # height, width
DISTANCE, VFOV_DEGREES = 3.0, 45.0
NOD, NODS = 0.35, 2  # radians up and down, how often on the way around
FIRST = Perturbation(5.0, 0.05)  # how far from the first frame's pose the track begins, degrees and scales
SOURCES = (*POSE_SOURCES, "fmb/pose/tracking.py", "fmb/pose/simulation.py", "benchmarks/bench_track.py")
GOAL = "goal: 60 Hz at 80 x 60 on 2 cores"


class Course(NamedTuple):
    """What a ride depends on beside its model and image size."""

    components: int
    frames: int
    noise: float  # strength of the sensor's
    seed: int


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


def trajectory(mesh: Path, size: tuple[int, int], course: Course) -> Trajectory:
    """Around the mesh once."""
    start_generator, sensor_generator = np.random.default_rng(course.seed).spawn(2)
    frames = course.frames
    lens = pinhole_intrinsics(*size, VFOV_DEGREES)
    tilt = NOD * np.sin(2 * NODS * np.pi * np.arange(frames) / frames)
    rings = [orbit_cameras(frames, DISTANCE, lens, float(angle)) for angle in tilt]
    pose = np.stack([ring.world_from_camera[frame] for frame, ring in enumerate(rings)])
    seen = simulated(canonical(mesh), Cameras(pose, rings[0].intrinsics), size, sensor_generator, course.noise)
    return Trajectory(seen, pose, np.linalg.inv(perturbed(np.linalg.inv(pose[0]), start_generator, FIRST)))


def ride(program: PoseProgram, model: Mixture, way: Trajectory) -> Ride:
    """Follows the trajectory."""
    rows, fits = [], track(Tracker(program, model), way.observation, way.start)
    for truth in way.world_from_camera:
        wall, processor = time.perf_counter(), time.process_time()
        fit = next(fits)
        spent = time.perf_counter() - wall, time.process_time() - processor
        error = object_pose_error(np.linalg.inv(fit.world_from_camera), np.linalg.inv(truth), 1.0)
        rows.append((*spent, error[0], error[1], fit.iterations, fit.success))
    return Ride(*np.array(rows, float).T)


def measured(mesh: Path, size: tuple[int, int], course: Course, cache: Path) -> dict[str, Any]:
    """One row: a ride along the trajectory, after one that warms up."""
    model = mixture(mesh, course.components, cache)
    program = compiled_pose(course.components, size, PoseOptions(num_starts=0))
    way = trajectory(mesh, size, course)
    ride(program, model, way._replace(world_from_camera=way.world_from_camera[:5]))
    return {"name": mesh.stem, "size": size, **ride(program, model, way)._asdict()}


def line(name: str, size: tuple[int, int], rows: Rows) -> tuple[str, ...]:
    """One line of the table: of one model or of all."""
    found = Ride(*(np.concatenate([row[field] for row in rows]) for field in Ride._fields))
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


def section(rows: Rows, run: str, course: Course) -> str:
    """The section's text; `run` says with what, when and where."""
    head = ("model, pixels", "Hz, median", "Hz, best tenth", "processor ms", "trials")
    head += ("degrees, median / most", "%, median / most", "mean error", "success")
    lines = []
    for size in SIZES:
        some = chosen(rows, size=list(size))
        names = dict.fromkeys(row["name"] for row in some)
        lines += [line(name, size, chosen(some, name=name)) for name in names]
        lines += [line("all", size, some)] if len(names) > 1 else []
    return (
        f"## Tracking\n\n{run}\n\n{course.components} components, {course.frames} frames once around the model at "
        f"distance 3, {360 / course.frames:.0f} degrees a frame and two nods of 20; a sensor's noise of strength "
        f"{course.noise:g}; {GOAL}. Error: geometric mean of degrees and % of the model's size.\n\n{table(head, lines)}"
    )


def main(argv: list[str]) -> int:
    """Prints the table; 2 and one line for what the user can mend."""
    parser = flags(__doc__, "bench_track", {"components": 40, "frames": 90, "noise": 1.0}, seeds=(0,))
    parser.add_argument("--cache", type=Path, default=Path("output/table2/mixtures"), help="default: %(default)s")
    options = parser.parse_args(argv)

    def work() -> str:
        courses = [Course(options.components, options.frames, options.noise, seed) for seed in options.seeds]
        jobs = [
            Job(
                key(f"{mesh.stem}-{size[1]}x{size[0]}", course, SOURCES, [mesh]),
                partial(measured, mesh, size, course, options.cache),
            )
            for size in SIZES
            for mesh in find_meshes(options.models, options.names, ("bunny", "dragon"))
            for course in courses
        ]
        return section(study(jobs, options.output, "track"), provenance("bench_track", argv), courses[0])

    return told(work, options.results, "track")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
