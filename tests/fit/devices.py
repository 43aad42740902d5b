"""Run by test_parallel in a process of its own, on eight devices of the CPU, or as one of two hosts."""

import sys
from dataclasses import replace

import jax
import numpy as np
import trimesh

from fmb.fit.cluster import check_alike, join
from fmb.fit.cluster_options import ClusterOptions
from fmb.geometry.frames import canonical_frame
from fmb.geometry.options import RenderingOptions
from fmb.shape.batch import Fits
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import RECIPES, begin_work, compile_shape_fit, conversion_views, fit_to_views, plan_shape_fit
from fmb.shape.start import start_mixture

OPTIONS = OptimizationOptions(num_epochs=10, batch_size=128)  # fewer steps than a chunk: no component moves


def case() -> tuple:
    """A start and views of a box."""
    mesh = trimesh.creation.box((1.0, 0.7, 0.5))
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    start = start_mixture(mesh, ModelOptions(num_mixtures=3, gmm_points=200), 0).mixture
    small = RenderingOptions(num_views=5, image_width=16, image_height=16)
    return start, conversion_views(mesh, np.random.default_rng(1), small)._replace(depth=None)


def spread(devices: int) -> np.ndarray:
    """Losses of a fit whose rays are spread over so many devices."""
    start, views = case()
    program = compile_shape_fit(start, views.silhouette.shape, replace(OPTIONS, fit_devices=devices))
    return fit_to_views(program, start, views, np.random.default_rng(2)).history.loss


def at_once(devices: int) -> dict[int, np.ndarray]:
    """Losses of ten fits in slots on so many devices."""
    start, views = case()
    plan = plan_shape_fit(start, views.silhouette.shape, OPTIONS)
    works = [begin_work(plan, start, views, np.random.default_rng(seed)) for seed in range(10)]
    fits, found, todo = Fits(plan, works[0], devices, 2), {}, list(enumerate(works))
    while todo or fits.tickets:
        while todo and fits.free:
            fits.put(*todo.pop(0))
        found |= {ended.ticket: ended.fit.loss for ended in fits.advance()}
    return found


def main() -> None:
    """Prints what the test compares."""
    RECIPES["best"] = RECIPES["best"]._replace(
        attends=False
    )  # nothing happens in so few steps, and it compiles for long
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8 if len(sys.argv) == 1 else 2)
    if len(sys.argv) > 1:
        number = join(ClusterOptions(sys.argv[1], 2, int(sys.argv[2])))
        check_alike("same")
        try:
            check_alike(f"other {number}")
        except ValueError as error:
            print(str(error)[:24])
        print("LOSS", *(f"{x:.9g}" for x in spread(0)[:60]))
        return
    one, many = at_once(1), at_once(8)
    print("SLOTS", max(float(np.abs(one[ticket] - many[ticket]).max()) for ticket in one))
    one, many = spread(1)[:60], spread(8)[:60]
    print("RAYS", float(np.abs(many / one - 1).max()))
    print("LOSS", *(f"{x:.9g}" for x in one))


if __name__ == "__main__":
    main()
