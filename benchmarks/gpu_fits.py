"""Whole fits on an accelerator: the default one, one of 10⁷ pixels, and many at once. A part of `benchmarks.gpu`.

Needs no mesh: the object is three balls, whose masks are known. Needs what the program's fits need (SciPy, trimesh and
embreex beside JAX); without them `benchmarks.gpu` says so and leaves this out.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fmb.fields.looks import evaluate
from fmb.fields.mixtures import in_single, sphere_mixture
from fmb.geometry.cameras import pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.views import Views
from fmb.shape.batch import Fits
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import begin_work, compile_shape_fit, end_work, fit_to_views, plan_shape_fit
from fmb.shape.start import SPHERE_WEIGHT

BALLS, DISTANCE, FIELD_OF_VIEW = 3, 3.0, 45.0
START_SIZE = 30.0  # as the option rand_sphere_size
AT_ONCE = 256  # fits of a batch
LARGE = OptimizationOptions(num_epochs=4, batch_size=65_536)
BATCH_GOAL = 50.0  # shapes a second on an H100


def views_of(seed: int, count: int, side: int) -> Views:
    """Masks of three balls of random place and size near the origin, from cameras around."""
    generator = np.random.default_rng(seed)
    cameras = random_cameras(generator, count, DISTANCE, pinhole_intrinsics(side, side, FIELD_OF_VIEW))
    seen = np.zeros((count, side, side), np.float32)
    balls = [(generator.uniform(-0.4, 0.4, 3), generator.uniform(0.25, 0.5)) for _ in range(BALLS)]
    for view in range(count):
        camera = jax.tree.map(lambda x, view=view: np.asarray(x)[view : view + 1], cameras)
        rays = [np.asarray(x).reshape(-1, 3) for x in pixel_rays(camera, side, side)]
        for centre, radius in balls:
            offset = centre - rays[0]
            along = (offset * rays[1]).sum(1) / (rays[1] ** 2).sum(1)
            missed = np.linalg.norm(offset - along[:, None] * rays[1], axis=1)
            seen[view] += (missed < radius).reshape(side, side)
    return Views(cameras, np.minimum(seen, 1.0))


def start_of(components: int, seed: int) -> Any:
    """Small balls near the origin, in single precision."""
    generator = np.random.default_rng([seed, 1])
    return in_single(sphere_mixture(generator, components, 1.0, 0.1, START_SIZE, SPHERE_WEIGHT * components))


def alone(components: int, views: Views, options: OptimizationOptions) -> dict[str, Any]:
    """One fit: seconds after compilation, seconds of that, steps, and the error on the views."""
    start, began = start_of(components, 0), time.perf_counter()
    program = compile_shape_fit(start, views.silhouette.shape, options)
    fit_to_views(program._replace(effort=0.05), start, views, np.random.default_rng(0))  # what compiles as it goes
    compiled = time.perf_counter() - began
    began = time.perf_counter()
    fit = jax.block_until_ready(fit_to_views(program, start, views, np.random.default_rng(0)))
    seconds = time.perf_counter() - began
    errors = evaluate(fit.mixture, {"train": views}, 1.0, program.supervision.settings)[1]["train"]
    steps = len(fit.history.step)
    rate = steps * options.batch_size * components / seconds
    return {"seconds": seconds, "compiled": compiled, "steps": steps, "pairs_per_second": rate, **errors}


def at_once(count: int, options: OptimizationOptions = OptimizationOptions()) -> dict[str, Any]:
    """Many default fits: seconds of all once one chunk has compiled, and their errors."""
    start, shapes = start_of(40, 0), [views_of(seed, 20, 64) for seed in range(count)]
    plan = plan_shape_fit(start, shapes[0].silhouette.shape, options)
    works = [begin_work(plan, start, views, np.random.default_rng(seed)) for seed, views in enumerate(shapes)]
    warm = Fits(plan, works[0])
    warm.put("warm", begin_work(plan, start, shapes[0], np.random.default_rng(0)))
    began = time.perf_counter()
    warm.advance()
    compiled, began = time.perf_counter() - began, time.perf_counter()
    fits, todo, ended = Fits(plan, works[0]), list(enumerate(works)), []
    while todo or fits.tickets:
        while todo and fits.free:
            fits.put(*todo.pop())
        ended += fits.advance()
    seconds = time.perf_counter() - began
    some = [end_work(plan, one.work, shapes[one.ticket], one.fit, one.attention, one.low) for one in ended[:8]]
    iou = float(np.mean([fit.view_iou.mean() for fit in some]))
    pace = {"shapes_per_second": count / seconds, "slots": fits.places.count}
    return {"seconds": seconds, "compiled": compiled, "count": count, "iou": iou, **pace}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "default fit, 40 x 20 x 64²": lambda: alone(40, views_of(0, 20, 64), OptimizationOptions()),
    f"batch of {AT_ONCE} default fits": lambda: at_once(AT_ONCE),
    "1,000 components, 10 x 1,000²": lambda: alone(1_000, views_of(0, 10, 1_000), LARGE),
}


def measure_fits(end: float, least: float = 45.0) -> Iterator[dict[str, Any]]:
    """A row for each case; none is begun within `least` seconds of the end."""
    for name, measure in CASES.items():
        if time.monotonic() + least > end:
            yield {"name": name, "failed": f"not begun, {least:.0f} s may not be left"}
            continue
        try:
            yield {"name": name, **measure()}
        except (jax.errors.JaxRuntimeError, MemoryError, FloatingPointError) as error:
            yield {"name": name, "failed": (str(error).splitlines() or [type(error).__name__])[0][:160]}


def told(row: dict[str, Any]) -> tuple[str, ...]:
    """The row's cells: name, seconds, of compilation, pace, IoU."""
    if "failed" in row:
        return row["name"], row["failed"].replace("|", "\\|"), "-", "-", "-"
    if "shapes_per_second" in row:
        pace = f"{row['shapes_per_second']:.1f} shapes a second, {row['slots']} slots; goal {BATCH_GOAL:.0f}"
    else:
        pace = f"{row['steps']} steps, {1e-9 * row['pairs_per_second']:.2f} G pairs a second"
    return row["name"], f"{row['seconds']:.2f}", f"{row['compiled']:.1f}", pace, f"{row['iou']:.4f}"
