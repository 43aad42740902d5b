"""A shape that morphs: any parameters of a field, moved by the gradient of a loss on the vertices of its surface."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jaxtyping import Float

from fmb.fields.contour import Grid
from fmb.fields.following import followed_grid, whole_grid
from fmb.fields.isosurface import Family, Slope, Surface, padded, surface_slope
from fmb.fit.loop import Coordinates, Course, adam, begin
from fmb.fit.options import FitOptions
from fmb.fit.schedules import SCHEDULES
from fmb.latent.losses import Loss

ADAM = FitOptions(square_decay=0.99)  # a hundred steps: with 0.999 the first gradients would rule to the end
SCOUTED = 0.2  # share of the steps that every start gets before the best goes on


class Plan(NamedTuple):
    """What is minimised and how: the family of fields, in a cube around the origin, half a side `corner`."""

    family: Family
    loss: Loss
    coordinates: Coordinates
    steps: int
    rate: float
    cells: int
    corner: float
    fast: bool = False


class Stage(NamedTuple):
    """The surface before a step: its mesh, how each vertex is pulled outward, the loss, the nodes evaluated."""

    step: int
    parameters: Any
    mesh: trimesh.Trimesh
    pull: Float[np.ndarray, " vertex"]
    loss: float
    points: int


class Morphed(NamedTuple):
    """The parameters of the least loss, every stage, and the least loss of each start (NaN: it failed)."""

    parameters: Any
    stages: Sequence[Stage]
    tried: Sequence[float] = ()

    @property
    def best(self) -> Stage:
        """The stage of the least loss."""
        return min(self.stages, key=lambda stage: stage.loss)


OnStage = Callable[[Stage, int], None]  # with the number of all steps


def unwatched(stage: Stage, total: int) -> None:
    """Stages that nobody looks at."""


def morph(plan: Plan, starts: Sequence[Any], on_stage: OnStage = unwatched) -> Morphed:
    """Walks from the start; of several, each for a part of the steps, and the best on to the end.

    Raises ValueError where no start has a surface, FloatingPointError where the loss or its gradient is not finite and
    where the surface vanishes.
    """
    step = compile_step(plan)
    if len(starts) == 1:
        return finished(walk(plan, step, begin(starts[0]), (0, plan.steps), on_stage)[1])
    scouts, tried, failure = [], [], None
    for start in starts:
        try:
            scouts.append(walk(plan, step, begin(start), (0, _scouted(plan)), on_stage))
            tried.append(min(stage.loss for stage in scouts[-1][1]))
        except (ValueError, FloatingPointError) as error:  # a random start may have no surface
            tried.append(np.nan)
            failure = failure or error
    if not scouts:
        raise failure
    course, stages = min(scouts, key=lambda scout: min(stage.loss for stage in scout[1]))
    more = walk(plan, step, course, (_scouted(plan), plan.steps), on_stage)[1]
    return finished([*stages, *more], tried)


def _scouted(plan: Plan) -> int:
    return max(1, round(SCOUTED * plan.steps))


def finished(stages: Sequence[Stage], tried: Sequence[float] = ()) -> Morphed:
    """The result of these stages."""
    found = Morphed(None, stages, tried)
    return found._replace(parameters=found.best.parameters)


Step = tuple[Callable[[Any, Surface, Any], Slope], Callable[[Course, Any, Array], Course]]


def compile_step(plan: Plan) -> Step:
    """The compiled slope of the loss, and the compiled step of Adam; one for all starts."""
    slope = surface_slope(plan.family, plan.loss.value, 2.0 * plan.corner / plan.cells)
    return slope, jax.jit(lambda course, gradient, rate: adam(course, plan.coordinates, gradient, rate, ADAM))


def walk(
    plan: Plan, step: Step, course: Course, between: tuple[int, int], on_stage: OnStage
) -> tuple[Course, list[Stage]]:
    """The course after the steps between two numbers, and the stages before each and, at the end, after the last."""
    slope, move = step
    stages, last, surface = [], None, None
    first, end = between
    rates = plan.rate * SCHEDULES["cosine"](jnp.arange(plan.steps) / plan.steps)
    for number in range(first, end + (end == plan.steps)):
        field = plan.family(course.parameters)
        followed = plan.fast and last is not None
        found = followed_grid(field, last, number) if followed else whole_grid(field, plan.corner, plan.cells)
        surface = _surface(found.grid, surface, number)
        seen = slope(course.parameters, surface, plan.loss.prepare(np.asarray(surface.vertex)))
        stages.append(_stage(number, course.parameters, surface, seen, found.points))
        on_stage(stages[-1], plan.steps)
        if number == end:
            break
        course, last = move(course, seen.gradient, rates[number]), found.grid
    return course, stages


def _surface(grid: Grid, last: Surface | None, number: int) -> Surface:
    try:
        return padded(grid, last)
    except ValueError as error:
        if number == 0:
            raise ValueError(f"the shape to start from has no surface in its box ({error})") from None
        raise FloatingPointError(f"the surface vanished at step {number}; try a smaller morph_rate") from None


def _stage(number: int, parameters: Any, surface: Surface, slope: Slope, points: int) -> Stage:
    """The stage without what filled the arrays up.  Raises FloatingPointError where loss or gradient are not finite."""
    if not np.isfinite(slope.loss) or not all(np.isfinite(x).all() for x in jax.tree.leaves(slope.gradient)):
        raise FloatingPointError(f"the loss or its gradient is not finite at step {number}; try a smaller morph_rate")
    face = np.asarray(surface.face)
    face = face[face.any(axis=1)]  # what is added is (0, 0, 0)
    count = int(face.max()) + 1
    mesh = trimesh.Trimesh(np.asarray(slope.vertex, float)[:count], face, process=False)
    return Stage(number, parameters, mesh, np.asarray(slope.pull, float)[:count], float(slope.loss), points)
