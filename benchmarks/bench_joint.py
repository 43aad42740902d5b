"""Shape and pose together: cameras that are wrong by 2 degrees and 2 %, their errors before and after, and the shape's.

Beside it stand one fit of the shape alone, of as many epochs, with the wrong cameras and with the true ones. What
silhouettes cannot tell, the world's axes, origin and unit, is taken from the cameras' errors by the similarity that
fits them best, and so for the views to judge by, which no fit has seen.
"""

import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.markdown import table
from benchmarks.study import Job, Rows, find_meshes, flags, key, provenance, study, told
from benchmarks.table3.methods import Settings
from benchmarks.table3.runs import Data, clean_data
from fm_render import Mixture
from fmb.fields.looks import look, measure
from fmb.geometry.noise import camera as wrong_cameras
from fmb.joint import JointOptions, aligned, fit_shape_and_cameras, mean_motion
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture


class Result(NamedTuple):
    """Errors of the cameras, in degrees and % of the scale, and of unseen views."""

    degrees: float
    percent: float
    cross_entropy: float
    iou: float


SOURCES = ("benchmarks/bench_joint.py", "fm_render.py", "fmb/joint.py", "fmb/shape/recipe.py", "fmb/fit/loop.py")
METHODS = ("wrong cameras, one fit", "shape and cameras by turns", "true cameras, one fit")


def results(mesh: Path, seed: int, settings: Settings, options: JointOptions, epochs: int) -> list[Result]:
    """Of METHODS; each makes `epochs` in all."""
    data = clean_data(mesh, seed, settings)
    wrong = wrong_cameras(data.train, np.random.default_rng([seed, 2]), options.degrees, options.percent)
    start = start_mixture(None, ModelOptions(num_mixtures=settings.components, init="sphere"), seed).mixture
    shape, turns = data.train.silhouette.shape, options.rounds + 1
    whole, part = (
        compile_shape_fit(start, shape, replace(OptimizationOptions(), num_epochs=count))
        for count in (epochs, -(-epochs // turns))
    )
    before, true = (
        fit_to_views(whole, start, views, np.random.default_rng([seed, 3])).mixture for views in (wrong, data.train)
    )
    joint = fit_shape_and_cameras(part, start, wrong, np.random.default_rng([seed, 3]), options)
    poses = wrong.cameras.world_from_camera, joint.cameras.world_from_camera, data.train.cameras.world_from_camera
    mixtures = before, joint.shape.mixture, true
    return [judged(mixture, pose, data) for mixture, pose in zip(mixtures, poses, strict=True)]


def judged(mixture: Mixture, pose: Float[np.ndarray, "view 4 4"], data: Data) -> Result:
    """Errors of the cameras after alignment with the true ones, and of views that were not fitted to.

    The unseen cameras are brought into the frame of the fit: by the alignment of the true cameras with the found ones.
    """
    truth, unseen = data.train.cameras.world_from_camera, data.unseen.cameras
    turn, shift = mean_motion(aligned(pose, truth), truth)
    count = len(truth)
    moved = carried(truth, pose, np.concatenate([truth, unseen.world_from_camera]))[count:]
    images = look(mixture, unseen._replace(world_from_camera=moved), data.unseen.silhouette.shape[1:])
    errors = measure(images, data.unseen, 1.0)
    return Result(float(np.rad2deg(turn)), 100 * float(shift), errors["cross_entropy"], errors["iou"])


def carried(
    pose: Float[np.ndarray, "view 4 4"], reference: Float[np.ndarray, "view 4 4"], others: Float[np.ndarray, "any 4 4"]
) -> Float[np.ndarray, "any 4 4"]:
    """The others after the similarity that brings `pose` closest to `reference`."""
    found = aligned(pose, reference)
    turn = found[0, :3, :3] @ pose[0, :3, :3].T
    position, wanted = pose[:, :3, 3] @ turn.T, found[:, :3, 3]
    around = position - position.mean(0)
    factor = np.sum(around * (wanted - wanted.mean(0))) / np.sum(around**2)
    result = np.array(others)
    result[:, :3, :3] = turn @ others[:, :3, :3]
    result[:, :3, 3] = wanted.mean(0) + factor * (others[:, :3, 3] @ turn.T - position.mean(0))
    return result


def row(mesh: Path, seed: int, settings: Settings, options: JointOptions, epochs: int) -> dict[str, Any]:
    """The results of one model and seed, by method."""
    return {"name": mesh.stem, **dict(zip(METHODS, results(mesh, seed, settings, options, epochs), strict=True))}


def rows_table(rows: Rows) -> str:
    """A line for each model and method, and the means."""
    named = [(row["name"], {method: Result(*row[method]) for method in METHODS}) for row in rows]
    if len(rows) > 1:
        means = {method: Result(*np.mean([found[method] for _, found in named], axis=0)) for method in METHODS}
        named.append(("mean", means))
    head = ("model: method", "cameras, degrees", "cameras, %", "unseen cross-entropy", "unseen IoU")
    lines = [
        (f"{name}: {method}", f"{x.degrees:.2f}", f"{x.percent:.2f}", f"{x.cross_entropy:.4f}", f"{x.iou:.3f}")
        for name, found in named
        for method, x in found.items()
    ]
    return table(head, lines)


def main(argv: list[str]) -> int:
    """Prints the table; 2 and one line for what the user can mend."""
    usual = {name: getattr(Settings(), name) for name in ("views", "size", "components")}
    usual |= {"epochs": 100, "rounds": JointOptions().rounds, "degrees": 2.0, "percent": 2.0}
    options = flags(__doc__, "bench_joint", usual, seeds=(0,)).parse_args(argv)
    settings = Settings(views=options.views, size=options.size, components=options.components)
    joint = JointOptions(options.rounds, options.degrees, options.percent)

    def work() -> str:
        jobs = [
            Job(
                key(f"{mesh.stem}-{seed}", [asdict(settings), asdict(joint), options.epochs], SOURCES, [mesh]),
                partial(row, mesh, seed, settings, joint, options.epochs),
            )
            for mesh in find_meshes(options.models, options.names, ("bunny", "dragon"))
            for seed in options.seeds
        ]
        size = f"{options.size} x {options.size}"
        return (
            f"## Shape and cameras together\n\n{provenance('bench_joint', argv)}\n\n{options.views} silhouettes of "
            f"{size}, {options.components} components, cameras wrong by {options.degrees:g} degrees and "
            f"{options.percent:g} % (root mean squares), {options.epochs} epochs in all, {options.rounds} rounds. "
            f"Errors of cameras after the best similarity.\n\n{rows_table(study(jobs, options.output, 'joint'))}"
        )

    return told(work, options.results, "joint")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
