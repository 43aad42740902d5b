"""Times the renderer: against its naive twin, and against the machine's limit.

    python -m benchmarks.render.bench_render [--quick] [--gpu-sizes] [--output FILE]

Prints the tables and, with `--output docs/results/render.md`, writes them between two marks of that page. Every time
is of compiled calls on data already on the device, those that are compared in turns in one process. peers.py compares
with other people's renderers, growth.py draws how cost grows.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import trimesh

from benchmarks.measure import Rates, Timing, interleaved, load, machine, machine_rates
from benchmarks.render.cases import mixture_gradient, parity, pose_gradient, shown
from benchmarks.render.methods import METHODS, POSE_STEP, Method, Scene
from benchmarks.render.naive import render_naive
from benchmarks.render.report import Comparison, Limit, section
from benchmarks.render.scenes import (
    SIDE,
    VIEWS,
    default_mesh,
    fitted_mixture,
    image,
    posed_rays,
    scattered_mixture,
    scene,
    training_rays,
)
from benchmarks.study import write_section
from fm_render import Mixture, render

COMPONENTS = 40
MOST_FITTED = 256  # components; EM for more takes minutes
NAIVE_MOST = 5 * 10**7  # pairs; the naive twin keeps tens of numbers for each


class Plan(NamedTuple):
    """Sizes, and about how many seconds to spend on each."""

    gradients: tuple[tuple[int, int, float | None], ...]  # components, rays, least ratio asked for
    images: tuple[tuple[int, int], ...]  # height, width
    seconds: float


START = time.perf_counter()
LARGEST = (1000, 10**6)
FULL = Plan(
    ((40, 800, 5.0), (40, 4096, 8.0), (40, 81920, 12.0), (256, 8192, 12.0)),
    ((60, 80), (120, 160), (256, 256)),
    5.0,
)
GPU = FULL._replace(gradients=((40, 4096, None), (40, 10**6, None), (*LARGEST, None)))
QUICK = Plan(((40, 800, 5.0),), ((60, 80),), 0.05)
IMAGES = (("depth, alpha", ("depth", "alpha"), 3.0), ("depth, alpha, normals", ("depth", "alpha", "normal"), 4.0))


def compare(function: Callable, arguments: tuple, seconds: float, pairs: int) -> tuple[Timing, Timing | None]:
    """Times of `function(renderer, ...)` for ours and, in turns with it and where it fits, for the naive twin."""
    renderers = {"ours": render} | ({"naive": render_naive} if pairs <= NAIVE_MOST else {})
    timing = interleaved({name: partial(function, known) for name, known in renderers.items()}, arguments, seconds)
    return timing["ours"], timing.get("naive")


def compare_gradients(mesh: trimesh.Trimesh, mixtures: dict[int, Mixture], plan: Plan) -> list[Comparison]:
    """Gradient of the silhouette loss with respect to the mixture."""
    rows = []
    for count, rays, goal in plan.gradients:
        batch = training_rays(mesh, rays) if rays <= VIEWS * SIDE**2 else image(mesh, 1000, rays // 1000)
        timing = compare(mixture_gradient, (mixtures[count], batch), plan.seconds, count * rays)
        rows.append(Comparison("silhouette loss, gradient", count, rays, *timing, goal))
    return rows


def compare_images(mesh: trimesh.Trimesh, mixture: Mixture, plan: Plan) -> list[Comparison]:
    """Gradient with respect to the pose for the smallest image, and images of all sizes."""
    rows = []
    for size in plan.images:
        batch, rays = image(mesh, *size), size[0] * size[1]
        if size == plan.images[0]:
            pose = jnp.full(6, POSE_STEP, jnp.float32)
            function = partial(pose_gradient, partial(posed_rays, *size))
            timing = compare(function, (pose, mixture, batch), plan.seconds, COMPONENTS * rays)
            rows.append(Comparison("silhouette and depth loss, gradient of pose", COMPONENTS, rays, *timing, 5.0))
        for name, outputs, goal in IMAGES:
            timing = compare(partial(shown, outputs), (mixture, batch), plan.seconds, COMPONENTS * rays)
            rows.append(Comparison(name, COMPONENTS, rays, *timing, goal))
    return rows


def limits(mixture: Mixture, found: Scene, rates: Rates, seconds: float) -> list[Limit]:
    """What part of the machine's own rate is reached, by the fastest call of each method whose work was counted."""
    counted = {name: method for name, method in METHODS.items() if method.forward and method.both}
    functions = {(name, kind): call for name, method in counted.items() for kind, call in timed(method).items()}
    timing = interleaved(functions, (mixture, found), seconds * len(counted))
    rows = []
    for (name, kind), time_taken in timing.items():
        method, components = METHODS[name], len(mixture.mean)
        work = method.forward if kind == "loss" else method.both
        met = method.met(mixture, found) if method.met else 1.0
        reached = 1e6 * time_taken.minimum / (met * components * found.silhouette.size)
        rows.append(Limit(f"{name}: {kind}", work, met, work.least(rates, components), reached))
    return rows


def timed(method: Method) -> dict[str, Callable]:
    """What is timed of a method."""
    return {"loss": method.loss, "loss and gradient": method.gradient}


def measure(plan: Plan, command: str) -> str:
    """Everything, as the section of the results."""
    where, started = machine(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    mesh = default_mesh()
    fitted = fitted_mixture(mesh, COMPONENTS)
    mixtures = {
        count: fitted_mixture(mesh, count) if count <= MOST_FITTED else scattered_mixture(mesh, fitted, count)
        for count, _, _ in plan.gradients
    }
    compared = [*compare_gradients(mesh, mixtures, plan), *compare_images(mesh, fitted, plan)]
    rates = machine_rates(plan.seconds / 2)
    training = training_rays(mesh, 4096)
    near = limits(fitted, scene(mesh, *plan.images[-1]), rates, plan.seconds / 2)
    run = f"`{command}`, {started}, {time.perf_counter() - START:.0f} s. {where}; load at the end {load()}."
    device = [] if jax.default_backend() == "cpu" else [parity(fitted, training)]
    return section([run, *device], compared, near, rates)


def main(argv: list[str]) -> None:
    """Chooses the sizes, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: to see whether it runs")
    parser.add_argument("--gpu-sizes", action="store_true", help="the sizes for a GPU, on whatever device there is")
    parser.add_argument("--output", type=Path, help="page whose section is written again, as docs/results/render.md")
    options = parser.parse_args(argv)
    plan = QUICK if options.quick else GPU if options.gpu_sizes or jax.default_backend() != "cpu" else FULL
    text = measure(plan, " ".join(["python -m benchmarks.render.bench_render", *argv]))
    print(text)
    if options.output:
        write_section(options.output, text, "bench_render")


if __name__ == "__main__":
    main(sys.argv[1:])
