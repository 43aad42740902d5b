"""How large a step a track survives, and what becomes of a jump to any pose: noticed, and found again?

python -m benchmarks.poses.steps --models FOLDER --output output/poses --results docs/results/poses.md
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.markdown import table
from benchmarks.poses.__main__ import SOURCES
from benchmarks.poses.shapes import SHAPES, write_shapes
from benchmarks.poses.trials import CONDITIONS, SUCCESS, Setting, body, trial
from benchmarks.study import Job, Rows, chosen, find_meshes, flags, key, provenance, study, told
from benchmarks.table2.methods import compiled_pose
from fmb.geometry.metrics import object_pose_error
from fmb.pose.observation import Observation
from fmb.pose.options import PoseOptions
from fmb.pose.tracking import Tracker, track

DEGREES, PERCENT = (5, 10, 20, 30, 45, 60), (5, 10, 20, 40, 60)  # of one step: of the object's turn, of its size
FRAMES = 3  # that show the object where it jumped to
JUMP = 180  # degrees: a turn by 60 to so many


class Step(NamedTuple):
    """How far the object moves between two frames, and whether it is searched for where it is lost."""

    degrees: int
    percent: int = 0
    searched: bool = False


STEPS = (*(Step(degrees) for degrees in DEGREES), *(Step(0, percent) for percent in PERCENT))
JUMPS = (Step(JUMP), Step(JUMP, searched=True))


def stepped(pose: np.ndarray, generator: np.random.Generator, degrees: float, percent: float) -> np.ndarray:
    """The object's pose turned and moved by just so much, in random directions."""
    axis, direction = generator.normal(size=(2, 3))
    found = np.array(pose)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    found[:3, :3] = turn @ pose[:3, :3]
    found[:3, 3] += percent / 100.0 * direction / np.linalg.norm(direction)
    return found


def measured(mesh: Path, number: int, step: Step, setting: Setting, cache: Path) -> dict[str, Any]:
    """A row: a frame of noise from a sensor, tracked from a pose that is a step away."""
    search, model, surface = body(mesh, setting, cache)
    case = trial(mesh, number, CONDITIONS["noisy"], setting)
    generator, jump = np.random.default_rng([number, step.degrees, step.percent]), step in JUMPS
    turn = generator.uniform(60.0, float(JUMP)) if jump else step.degrees
    start = np.linalg.inv(stepped(case.truth, generator, turn, step.percent))
    program = compiled_pose(setting.components, (setting.height, setting.width), PoseOptions(num_starts=0))
    tracker = Tracker(program, model, surface=surface, search=search if step.searched else None)
    seen = Observation(case.exposure.intrinsics, case.exposure.depth, case.exposure.silhouette)
    fits = list(track(tracker, [seen] * (FRAMES if jump else 1), start))
    errors = [object_pose_error(np.linalg.inv(fit.world_from_camera), case.truth, 1.0).combined for fit in fits]
    claimed = [fit.success for fit in fits]
    return {"model": mesh.stem, **step._asdict(), "errors": errors, "claimed": claimed}


def line(name: str, rows: Rows) -> tuple[str, ...]:
    """Of one step: right, claimed, and claimed falsely, in the last frame; of a jump also in the first."""
    error, claimed = (np.array([row[field] for row in rows]) for field in ("errors", "claimed"))
    good = error <= SUCCESS
    last = f"{good[:, -1].mean():.1%}", f"{claimed[:, -1].mean():.1%}", f"{(claimed & ~good)[:, -1].mean():.1%}"
    return name, f"{len(rows)}", f"{good[:, 0].mean():.1%}", *last


def section(rows: Rows, run: str) -> str:
    """The section's text."""
    lines = []
    for step in (*STEPS, *JUMPS):
        name = f"{step.degrees} degrees" if step.degrees else f"{step.percent} % of the size"
        if step in JUMPS:
            name = f"jump of 60 to {JUMP} degrees, {'' if step.searched else 'not '}searched, {FRAMES} frames"
        lines += [line(name, found)] if (found := chosen(rows, **step._asdict())) else []
    head = ("step", "trials", f"within {SUCCESS:g} in the first frame", "in the last", "claimed", "false claims")
    text = (
        "Images with a sensor's noise and an eighth of the mask missing; each frame from the pose before the step, as "
        "`track` does. After a jump the search follows, from the last pose and from it turned by the turns of a cube; "
        "where it is not searched, false claims say how often nobody notices that it is lost."
    )
    return "\n\n".join(("## Steps of a track", run, text, table(head, lines)))


def main(argv: Sequence[str]) -> int:
    """Runs what is missing, then writes the section; 2 and one line for what the user can mend."""
    options = flags(__doc__, "poses.steps", {"trials": 5}).parse_args(argv)

    def work() -> str:
        meshes = write_shapes(options.output / "shapes", {name: SHAPES[name] for name in ("bracket", "tee", "stair")})
        meshes += find_meshes(options.models, options.names, ("spot", "bunny", "arma"))
        sources = (*SOURCES, "fmb/pose/tracking.py", "benchmarks/poses/steps.py")
        jobs = [
            Job(
                key(f"step-{mesh.stem}-{step.degrees}-{step.percent}-{number}", list(step), sources, [mesh]),
                partial(measured, mesh, number, step, Setting(), options.output / "mixtures"),
            )
            for mesh in meshes
            for step in (*STEPS, *JUMPS)
            for number in range(options.trials)
        ]
        return section(study(jobs, options.output, "steps"), provenance("poses.steps", list(argv)))

    return told(work, options.results, "steps")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
