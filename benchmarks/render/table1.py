"""Table 1 of the paper: milliseconds for an image, and for the gradient of a pose, beside the paper's.

uv run python -m benchmarks.render.table1 [--seconds 3]
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp

from benchmarks.markdown import table
from benchmarks.measure import Timing, interleaved, machine
from benchmarks.render.bench_render import COMPONENTS
from benchmarks.render.cases import pose_gradient, shown
from benchmarks.render.methods import POSE_STEP
from benchmarks.render.report import time_of
from benchmarks.render.scenes import default_mesh, fitted_mixture, image, posed_rays
from fm_render import render

SIZES = ((60, 80), (120, 160))  # height, width
# Forward and backward in milliseconds, from table 1: 80 x 60 on an i5-7287U, 160 x 120 on a Quadro P2000.
PAPER = {
    "paper: PyTorch3D points": ("18.0 / 23.8", "12.1 / 23.4 (GPU)"),
    "paper: Pulsar": ("16.4 / 63.6", "7.8 / 11.2 (GPU)"),
    "paper: SoftRas mesh": ("21.5 / 384.7", "17.0 / 27.2 (GPU)"),
    "paper: fuzzy metaballs": ("3.0 / 13.2", "3.0 / 9.6 (GPU)"),
}


def functions(size: tuple[int, int]) -> dict[str, Callable]:
    """What is timed for an image of (height, width), of (pose, mixture, batch)."""
    rays_of = partial(posed_rays, *size)

    def forward(pose, mixture, batch):
        return shown(("alpha", "depth"), render, mixture, batch._replace(rays=rays_of(pose)))

    return {"forward": forward, "backward": partial(pose_gradient, rays_of, render)}


def measure(seconds: float) -> dict[tuple[int, int], dict[str, Timing]]:
    """Times by size and name."""
    mesh, pose = default_mesh(), jnp.full(6, POSE_STEP, jnp.float32)
    mixture = fitted_mixture(mesh, COMPONENTS)
    return {size: interleaved(functions(size), (pose, mixture, image(mesh, *size)), seconds) for size in SIZES}


def section(seconds: float = 3.0) -> str:
    """The table, in words too."""
    times = measure(seconds)
    cells = (" / ".join(time_of(time) for time in times[size].values()) for size in SIZES)
    head = ("forward / backward, ms", *(f"{width} x {height}" for height, width in SIZES))
    return (
        "Milliseconds, median (minimum), as table 1: the image (alpha and depth), and the value and gradient of "
        "cross-entropy and depth loss with respect to the pose.\n\n"
        + table(
            head,
            [(f"fuzzy metaballs, {COMPONENTS} components", *cells), *((name, *row) for name, row in PAPER.items())],
        )
    )


def main(argv: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each size; default: %(default)s")
    print(f"{section(parser.parse_args(argv).seconds)}\n\n{machine()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
