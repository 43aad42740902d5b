"""Shape from silhouette: the fit of a mixture to views (section 7.2), by the recipe of that name.

Depths and points of the surface can be fitted with them, each with a weight of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jaxtyping import Bool, Float, Int

from fm_render import Cameras, Mixture, Settings
from fmb.fields.looks import look
from fmb.fields.symmetric import SymmetricMixture
from fmb.fit.checkpoints import Snapshot, columns_of, filled, to_arrays
from fmb.fit.loop import Coordinates, Course, Fit, History, Passed, Program, begin, compile_fit, go_on, plan_fit
from fmb.fit.options import FitOptions
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import view_ious
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views, flatten_views, scene_cameras
from fmb.ready import ready
from fmb.shape.attendant import Attention, Care, attend, begin_attention
from fmb.shape.edges import EDGE_COORDINATES, PLAIN_COORDINATES, edges_from_mixture, mixture_from_edges
from fmb.shape.options import RELEASED, OptimizationOptions
from fmb.shape.sampling import Sampling, sample_all, sample_objects, sample_outlines
from fmb.shape.supervision import Sample, Supervision, depth_settings, spread_points
from fmb.shape.symmetric import (
    SYMMETRIC_COORDINATES,
    Parameters,
    SymmetricEdges,
    edges_of_symmetric,
    mixture_of,
    symmetric_from_edges,
)

OnShape = Callable[[int, int, float, Mixture], None]


class Hooks(NamedTuple):
    """Who looks on, who may keep the state after a chunk of steps, and the arrays of one to go on from."""

    see: OnShape = lambda step, total, loss, mixture: None
    offer: Callable[[Callable[[], Snapshot]], None] = lambda make: None
    begun: Mapping[str, np.ndarray] | None = None

    def __call__(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """Shows the state."""
        self.see(step, total, loss, mixture)


CANDIDATES = 2  # states that are compared with the last one at the end


Model = Mixture | SymmetricMixture  # what is fitted: all components, or those that the others are copies of


class Recipe(NamedTuple):
    """A way to fit: its parameters, which rays it looks at, and whether it moves components and doubts masks."""

    encode: Callable[[Model], Mixture | Parameters]
    decode: Callable[[Mixture | Parameters], Mixture]
    coordinates: Coordinates
    choose_rays: Callable[[np.ndarray, np.ndarray | None, int], Sampling]
    attends: bool


def as_it_is(mixture: Mixture) -> Mixture:
    """The mixture, for a recipe whose parameters are those of the mixture."""
    return mixture


RECIPES = {
    "best": Recipe(edges_from_mixture, mixture_from_edges, EDGE_COORDINATES, sample_outlines, True),
    "predecessor": Recipe(as_it_is, as_it_is, PLAIN_COORDINATES, sample_all, False),
}


class ShapeProgram(NamedTuple):
    """A compiled fit, its recipe, the object's scale in its frame, what it is fitted to and the loss at the end.

    `effort` is the part of the steps that it takes, over which its whole schedule passes.
    """

    fit: Program
    recipe: Recipe
    shape_scale: float
    supervision: Supervision = Supervision()
    effort: float = 1.0

    @property
    def aims(self) -> Supervision:
        """What it is fitted to, in the frame of the fit."""
        return replace(self.supervision, scale=self.shape_scale)


class ShapeFit(NamedTuple):
    """The mixture found, how, and what was believed to the end: which pixels, and how much of each view.

    `view_iou` is how well the mixture agrees with the believed pixels of each view, `loss` what is left of the loss.
    `kept_start`: no state of the fit was better than its start, which is what was found.
    `symmetric` is what was fitted where the mixture, which is all its copies, has a symmetry.
    """

    mixture: Mixture
    history: History
    believed: Bool[np.ndarray, "view height width"]
    view_weight: Float[np.ndarray, " view"]
    view_iou: Float[np.ndarray, " view"]
    loss: float
    symmetric: SymmetricMixture | None = None
    kept_start: bool = False


def fit_options(options: OptimizationOptions) -> OptimizationOptions:
    """The options with the numbers of the recipe that they name."""
    if options.recipe != "predecessor":
        return options
    return replace(options, **RELEASED, square_decay=FitOptions.square_decay, average_decay=FitOptions.average_decay)


def recipe_of(model: Model, options: OptimizationOptions) -> Recipe:
    """The recipe that the options name, for what is fitted. Raises ValueError for a symmetry and "predecessor"."""
    recipe = RECIPES[options.recipe]
    if isinstance(model, Mixture):
        return recipe
    if not recipe.attends:
        raise ValueError(f"recipe is {options.recipe}; with a symmetry it must be best")
    encode = partial(edges_of_symmetric, scale=options.opt_shape_scale)
    return recipe._replace(encode=encode, decode=mixture_of, coordinates=SYMMETRIC_COORDINATES)


def compile_shape_fit(
    mixture: Model, shape: tuple[int, int, int], options: OptimizationOptions, settings: Settings | None = None
) -> ShapeProgram:
    """The compiled fit of such a mixture to views of `shape` = (views, height, width); reads shapes only.

    What the fit renders with `settings` (None: `depth_settings`) is to be rendered with them afterwards, depth above
    all: program.supervision.settings.
    """
    plan = plan_shape_fit(mixture, shape, options, settings)
    parameters, sample = jax.eval_shape(plan.recipe.encode, mixture), plan.supervision.shapes(int(np.prod(shape)))
    loss, coordinates = loss_of(plan.recipe, plan.supervision), plan.recipe.coordinates
    return plan._replace(fit=compile_fit(loss, coordinates, parameters, sample, plan.fit.options))


def plan_shape_fit(
    mixture: Model, shape: tuple[int, int, int], options: OptimizationOptions, settings: Settings | None = None
) -> ShapeProgram:
    """What `compile_shape_fit` compiles, not yet compiled: its steps are a pure function."""
    recipe, settings = recipe_of(mixture, options), settings or depth_settings(options.depth_weight)
    supervision = Supervision(options.depth_weight, options.point_weight, options.opt_shape_scale, settings)
    parameters, sample = jax.eval_shape(recipe.encode, mixture), supervision.shapes(int(np.prod(shape)))
    plan = plan_fit(loss_of(recipe, supervision), recipe.coordinates, parameters, sample, fit_options(options))
    return ShapeProgram(plan, recipe, options.opt_shape_scale, supervision)


def loss_of(recipe: Recipe, supervision: Supervision) -> Callable[[Mixture | Parameters, Sample], Float[Array, ""]]:
    """The loss of a recipe's parameters on a sample."""
    return partial(decoded_loss, recipe.decode, supervision)


def decoded_loss(
    decode: Callable[[Any], Mixture], supervision: Supervision, parameters: Mixture | Parameters, batch: Sample
) -> Float[Array, ""]:
    """The loss on a sample of what the parameters stand for."""
    return supervision.loss(decode(parameters), batch)


class Work(NamedTuple):
    """A fit before its first step: where it starts, all that it looks at, and what looks after it."""

    start: Mixture | Parameters
    sample: Sample
    cameras: Cameras  # in the frame of the fit
    care: Care
    attention: Attention
    sampling: Sampling
    generator: np.random.Generator
    steps_per_epoch: int

    def batches(self, options: FitOptions) -> Iterator[Int[np.ndarray, " ray"]]:
        """The rows of batch after batch, without end; to be called once."""
        return self.sampling.batches(options.batch_size, self.generator)


def begin_work(
    program: ShapeProgram,
    mixture: Model,
    views: Views,
    generator: np.random.Generator,
    point: Float[np.ndarray, "point 3"] | None = None,
) -> Work:
    """The work of a fit to the views, and to `point` of the surface.  Raises ValueError as `fit_to_views` does."""
    scale, recipe, options, aims = program.shape_scale, program.recipe, program.fit.options, program.aims
    choose = sample_objects if aims.depth_weight and recipe.attends else recipe.choose_rays
    sampling = choose(views.silhouette, views.valid, options.batch_size)
    sample = all_pixels(views, point, sampling, aims, generator)
    start, cameras = recipe.encode(resized(mixture, scale)), enlarged(views.cameras, scale)
    care, attention = begin_attention(views, sampling, cameras, int(generator.spawn(1)[0].integers(2**31)))
    per_epoch = max(1, round(program.effort * (sampling.epoch // options.batch_size)))
    return Work(start, sample, cameras, care, attention, sampling, generator, per_epoch)


def end_work(
    program: ShapeProgram,
    work: Work,
    views: Views,
    fit: Fit,
    attention: Attention,
    low: Sequence[Mixture | Parameters],
) -> ShapeFit:
    """What a fit leaves: of its end, the states `low` and its start the one that fits the believed pixels best."""
    whole = work.sample._replace(weight=attention.trust().ravel())
    states = [fit.parameters, *low, work.start]
    best, least = least_of(states, program, whole)
    history = History(np.arange(len(fit.loss)), fit.loss, fit.learning_rate)
    found = judged(program.recipe.decode(states[best]), history, views, work.cameras, attention, (program.aims, least))
    symmetric = symmetric_of(states[best], program.shape_scale)
    return found._replace(symmetric=symmetric, kept_start=best == len(states) - 1)


def fit_to_views(
    program: ShapeProgram,
    mixture: Model,
    views: Views,
    generator: np.random.Generator,
    on_progress: OnShape | Hooks = Hooks(),
    point: Float[np.ndarray, "point 3"] | None = None,
) -> ShapeFit:
    """The mixture after the fit to the views, and to `point` of the surface, in their frame, which is canonical.

    `on_progress` sees step, all steps, loss and mixture after each chunk of steps; Hooks can also keep the state there
    and have the fit go on from one that was kept, which is the same, bit for bit. Invalid pixels do not count. The fit
    never ends worse than its best state: of its start, its end and the CANDIDATES averages after chunks of least loss
    it returns what fits the believed pixels best. Raises ValueError for a batch larger than the number of valid pixels
    or for what has a weight and is missing, FloatingPointError, with the step, where the loss is not finite.
    """
    hooks = on_progress if isinstance(on_progress, Hooks) else Hooks(on_progress)
    recipe, work = program.recipe, begin_work(program, mixture, views, generator, point)
    standing = begin_standing(program, work, hooks.begun)

    def look_after(attention: Attention, course: Course, sample: Sample, progress: Float[Array, ""]) -> tuple:
        if not recipe.attends:
            return attention, course, sample
        return attend(work.care, attention, course, sample, progress, program.aims.settings)

    batches = work.batches(program.fit.options)
    fit, standing = carried_on(program, standing, work.sample, batches, hooks, look_after)
    return end_work(program, work, views, fit, standing.attention, [state for _, state in standing.low])


LookAfter = Callable[[Attention, Course, Sample, Float[Array, ""]], tuple[Attention, Course, Sample]]


def carried_on(
    program: ShapeProgram,
    standing: "Standing",
    sample: Sample,
    batches: Iterator[Int[np.ndarray, " ray"]],
    hooks: Hooks,
    look_after: LookAfter,
) -> tuple[Fit, "Standing"]:
    """The fit from where it stands to its end, and where it stood then.

    After each chunk of steps `look_after` says, from attention, course, sample and the part of the fit that has passed,
    what the next one goes on with.
    """

    def on_chunk(passed: Passed, sample: Sample, total: int, loss: float) -> tuple[Course, Sample]:
        nonlocal standing
        step, course = int(passed.pace.step), passed.course
        hooks.see(step, total, loss, resized(program.recipe.decode(course.average), 1 / program.shape_scale))
        low = lowest([*standing.low, (loss, course.average)])
        attention, course, sample = look_after(standing.attention, course, sample, jnp.float32(step / total))
        standing = Standing(passed._replace(course=course), attention, sample.weight, low)
        hooks.offer(partial(kept, standing))
        return course, sample

    fit = go_on(program.fit, standing.passed, sample._replace(weight=standing.weight), batches, on_chunk)
    return fit, standing


class Standing(NamedTuple):
    """Where a fit stands between two chunks of steps; `low` are the states of least loss, with it, the best first."""

    passed: Passed
    attention: Attention
    weight: Float[Array, " ray"]
    low: list[tuple[float, Any]] = []


def lowest(states: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
    """The CANDIDATES of least loss; of equals the first."""
    return sorted(states, key=lambda state: state[0])[:CANDIDATES]


def begin_standing(program: ShapeProgram, work: Work, arrays: Mapping[str, np.ndarray] | None) -> Standing:
    """Where a fit stands before its first step, or where it stood when those arrays were kept.

    Raises ValueError for arrays of another fit.
    """
    passed = Passed(begin(work.start), program.fit.pace(work.steps_per_epoch))
    new = Standing(passed, work.attention, work.sample.weight)
    return new if arrays is None else filled_standing(new, arrays)


def filled_standing(new: Standing, arrays: Mapping[str, np.ndarray]) -> Standing:
    """Where the fit that begins as `new` stood when those arrays were kept.  Raises ValueError for another fit's."""
    low = [(0.0, new.passed.course.average)] * len(arrays.get("low_loss", ()))
    found = filled(tree_of(new._replace(low=low)), arrays)
    losses = map(float, arrays["low_loss"])
    columns = {name: tuple(parts) for name, parts in columns_of(arrays).items()}
    passed = Passed(found["course"], found["pace"], columns["loss"], columns["learning_rate"])
    return Standing(passed, found["attention"], found["weight"], list(zip(losses, found["low"], strict=True)))


def tree_of(standing: Standing) -> dict[str, Any]:
    """All arrays of a standing but the columns."""
    passed, low = standing.passed, [state for _, state in standing.low]
    return {
        "course": passed.course,
        "pace": passed.pace,
        "attention": standing.attention,
        "weight": standing.weight,
        "low": low,
    }


def kept(standing: Standing) -> Snapshot:
    """The standing as named arrays."""
    passed = standing.passed
    columns = {"loss": list(passed.loss), "learning_rate": list(passed.learning_rate)}
    arrays = to_arrays(tree_of(standing), columns)
    return Snapshot(int(passed.pace.step), {**arrays, "low_loss": np.array([loss for loss, _ in standing.low])})


def least_of(states: Sequence[Mixture | Parameters], program: ShapeProgram, sample: Sample) -> tuple[int, float]:
    """The number of the state of the least loss over all pixels of the sample, and that loss."""
    losses = [float(whole_loss(program.aims, program.recipe.decode(state), sample)) for state in states]
    return int(np.argmin(losses)), min(losses)


def symmetric_of(parameters: Mixture | Parameters, scale: float) -> SymmetricMixture | None:
    """What was fitted, in the views' frame, where it has a symmetry."""
    return resized(symmetric_from_edges(parameters), 1 / scale) if isinstance(parameters, SymmetricEdges) else None


def enlarged(cameras: Cameras, factor: float) -> Cameras:
    """The cameras in a world `factor` times as large, in single precision."""
    world_from_camera = np.array(cameras.world_from_camera, float)
    world_from_camera[:, :3, 3] *= factor
    return Cameras(jnp.asarray(world_from_camera, jnp.float32), jnp.asarray(cameras.intrinsics, jnp.float32))


def judged(
    found: Mixture,
    history: History,
    views: Views,
    cameras: Cameras,
    attention: Attention,
    reached: tuple[Supervision, float],
) -> ShapeFit:
    """The mixture in the views' frame, with what was believed and how well it agrees with that: aims and their loss."""
    aims, loss = reached
    alpha = look(found, cameras, views.silhouette.shape[1:], aims.settings).alpha
    trusted, view_weight = np.asarray(attention.believed), np.asarray(attention.view_weight)
    agreement = view_ious(alpha, np.asarray(views.silhouette), trusted)
    return ShapeFit(resized(found, 1 / aims.scale), history, trusted, view_weight, agreement, loss)


def all_pixels(
    views: Views,
    point: Float[np.ndarray, "point 3"] | None,
    sampling: Sampling,
    aims: Supervision,
    generator: np.random.Generator,
) -> Sample:
    """Every pixel of the views with its weight and a point beside it, in the frame of the fit; only what has a weight.

    Raises ValueError where that is missing.
    """
    for weight, given, name in ((aims.depth_weight, views.depth, "depth"), (aims.point_weight, point, "point")):
        if weight and (given is None or not len(given)):
            raise ValueError(f"{name}_weight is {weight}; must be 0 where no {name} is given")
    silhouette = views.silhouette if views.valid is None else np.where(views.valid, views.silhouette, 0)
    pixels = flatten_views(Views(views.cameras, silhouette, views.depth if aims.depth_weight else None))
    pixels = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), pixels)
    pixels = pixels._replace(rays=pixels.rays._replace(origin=aims.scale * pixels.rays.origin))
    if aims.depth_weight:
        pixels = pixels._replace(depth=aims.scale * pixels.depth)
    beside = None
    if aims.point_weight:
        beside = jnp.asarray(aims.scale * spread_points(point, sampling.total, generator), jnp.float32)
    return Sample(pixels, jnp.asarray(sampling.weight()), beside)


@ready(0)
def whole_loss(aims: Supervision, mixture: Mixture, sample: Sample) -> Float[Array, ""]:
    """The loss over all pixels of the sample."""
    return aims.loss(mixture, sample)


def resized(mixture: Model, factor: float) -> Model:
    """The mixture, `factor` times as large."""
    if isinstance(mixture, SymmetricMixture):
        return SymmetricMixture(resized(mixture.fundamental, factor), mixture.symmetry.resized(factor))
    return mixture._replace(mean=factor * mixture.mean, precision_cholesky=mixture.precision_cholesky / factor)


# Over five meshes of 40 components, on unseen views: IoU 0.948 and depth off by 6.7 % of the scale in the mean, 2.4 %
# too far, against 0.959, 14.6 % and 13.9 % of silhouettes alone.
CONVERSION = OptimizationOptions(num_epochs=40, depth_weight=3.0)
CONVERSION_VIEWS = RenderingOptions(camera_roll=True)  # 20 of 64 x 64, as these numbers were measured


def conversion_options(options: OptimizationOptions) -> OptimizationOptions:
    """The options of a fit whose depths count: with the weight of CONVERSION where they have none; without points."""
    return replace(options, depth_weight=options.depth_weight or CONVERSION.depth_weight, point_weight=0.0)


def refine_mixture(
    mesh: trimesh.Trimesh,
    start: Mixture,
    generator: np.random.Generator,
    options: OptimizationOptions = CONVERSION,
    rendering: RenderingOptions = CONVERSION_VIEWS,
    on_progress: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> ShapeFit:
    """The mixture that began as `start` after a fit to what the mesh, in its canonical frame, looks like.

    Its depths are to be rendered with `depth_settings`. 40 components take 2 seconds. `on_progress` sees step, total,
    loss.
    """
    views_generator, fit_generator = generator.spawn(2)
    views = conversion_views(mesh, views_generator, rendering)
    return refine_to_views(views, start, fit_generator, options, on_progress)


def refine_to_views(
    views: Views,
    start: Mixture,
    generator: np.random.Generator,
    options: OptimizationOptions,
    on_progress: Callable[[int, int, float], None],
) -> ShapeFit:
    """As `refine_mixture`, to views that were drawn before."""
    program = compile_shape_fit(start, views.silhouette.shape, options)
    return fit_to_views(program, start, views, generator, lambda *now: on_progress(*now[:3]))


def conversion_views(
    mesh: trimesh.Trimesh, generator: np.random.Generator, options: RenderingOptions = CONVERSION_VIEWS
) -> Views:
    """Silhouettes and depths of the mesh, in its frame, by exact ray casting."""
    cameras = scene_cameras(generator, options.num_views, options)
    image_size = (options.image_height, options.image_width)
    return render_ground_truth(mesh, cameras, image_size, "raycast").views._replace(color=None)
