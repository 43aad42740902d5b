"""Shape and pose together: cameras that are wrong by 2 degrees and 2 %, their errors before and after, and the shape's.

Beside it stand one fit of the shape alone, of as many epochs, with the wrong cameras and with the true ones. What
silhouettes cannot tell, the world's axes, origin and unit, is taken from the cameras' errors by the similarity that
fits them best, and so for the views to judge by, which no fit has seen.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.study import provenance, table, told
from benchmarks.table3.methods import Settings
from benchmarks.table3.runs import Data, clean_data
from fm_render import Mixture
from fmb.fields.looks import look, measure
from fmb.geometry.noise import camera as wrong_cameras
from fmb.joint import JointOptions, aligned, fit_shape_and_cameras, mean_motion
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_shape
from fmb.shape.start import start_mixture


class Result(NamedTuple):
    """Errors of the cameras, in degrees and % of the scale, and of unseen views."""

    degrees: float
    percent: float
    cross_entropy: float
    iou: float


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
        fit_shape(whole, start, views, np.random.default_rng([seed, 3])).mixture for views in (wrong, data.train)
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


def rows_of(name: str, found: Sequence[Result]) -> list[tuple[str, ...]]:
    """Lines of the table."""
    return [
        (f"{name}: {method}", f"{x.degrees:.2f}", f"{x.percent:.2f}", f"{x.cross_entropy:.4f}", f"{x.iou:.3f}")
        for method, x in zip(METHODS, found, strict=True)
    ]


def flags() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, nargs="+", required=True, help="the models")
    parser.add_argument("--epochs", type=int, default=100, help="of each method in all; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    for name, text in (("views", "to fit to"), ("size", "pixels of a side"), ("components", "of the mixture")):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings(), name), help=f"{text}: %(default)s")
    parser.add_argument("--rounds", type=int, default=JointOptions().rounds, help="default: %(default)s")
    parser.add_argument("--degrees", type=float, default=2.0, help="that cameras are wrong by; default: %(default)s")
    parser.add_argument("--percent", type=float, default=2.0, help="of the scale, likewise; default: %(default)s")
    parser.add_argument("--results", type=Path, help="Markdown file whose section joint is replaced")
    return parser


def main(argv: list[str]) -> int:
    """Prints the table; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = Settings(views=options.views, size=options.size, components=options.components)
    rounds, rows, found = JointOptions(options.rounds, options.degrees, options.percent), [], []
    try:
        for mesh in options.mesh:
            found.append(results(mesh, options.seed, settings, rounds, options.epochs))
            rows += rows_of(mesh.stem, found[-1])
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(found) > 1:
        rows += rows_of("mean", [Result(*np.mean(method, axis=0)) for method in zip(*found, strict=True)])
    head = ("model: method", "cameras, degrees", "cameras, %", "unseen cross-entropy", "unseen IoU")
    text = "\n\n".join(
        (
            "## Shape and cameras together",
            provenance("bench_joint", argv),
            f"{options.views} silhouettes of {options.size} x {options.size}, {options.components} components, cameras "
            f"wrong by {options.degrees:g} degrees and {options.percent:g} % (root mean squares), {options.epochs} "
            f"epochs in all, {options.rounds} rounds. Errors of cameras after the best similarity.",
            table(head, rows),
        )
    )
    return told(lambda: text, options.results, "joint")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
