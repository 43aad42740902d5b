"""Shape from silhouette: the fit of a mixture to views (section 7.2), by the recipe of that name."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fm_render import Mixture, Rays, render
from fmb.edges import EDGE_COORDINATES, PLAIN_COORDINATES, Edges, edges_from_mixture, mixture_from_edges
from fmb.fit import Coordinates, Course, FitOptions, Program, begin, compile_fit, run_fit
from fmb.losses import pixel_cross_entropy, silhouette_cross_entropy
from fmb.options import RELEASED, OptimizationOptions
from fmb.relocation import Worth, believed, component_worth, relocate
from fmb.sampling import Sampling, sample_all, sample_outlines
from fmb.sheets import History
from fmb.views import Pixels, Views, flatten_views

RELOCATIONS, FIRST_RELOCATION, LAST_RELOCATION = 9, 0.12, 0.63  # how often, and between which parts of the fit
RELOCATED = 0.15  # of the components, at most, each time
WORTH_RAYS = 16_384  # sample of rays that tells what components are worth
CANDIDATES = 2  # states that are compared with the last one at the end
FIRST_DOUBT = 0.25  # part of the fit after which masks may be doubted


class Sample(NamedTuple):
    """Pixels and how much each counts in the loss."""

    pixels: Pixels
    weight: Float[Array, " ray"]


class Recipe(NamedTuple):
    """A way to fit: its parameters, which rays it looks at, and whether it moves components and doubts masks."""

    encode: Callable[[Mixture], Mixture | Edges]
    decode: Callable[[Mixture | Edges], Mixture]
    coordinates: Coordinates
    choose_rays: Callable[[np.ndarray, np.ndarray | None, int], Sampling]
    attends: bool


RECIPES = {
    "best": Recipe(edges_from_mixture, mixture_from_edges, EDGE_COORDINATES, sample_outlines, True),
    "predecessor": Recipe(lambda mixture: mixture, lambda mixture: mixture, PLAIN_COORDINATES, sample_all, False),
}


class ShapeProgram(NamedTuple):
    """A compiled fit, its recipe and the object's scale in its frame."""

    fit: Program
    recipe: Recipe
    shape_scale: float


class ShapeFit(NamedTuple):
    """The mixture found, how, and which pixels were believed to the end."""

    mixture: Mixture
    history: History
    believed: Bool[np.ndarray, "view height width"]


def fit_options(options: OptimizationOptions) -> FitOptions:
    """The numbers of the recipe that `options` names."""
    released = options.recipe == "predecessor"
    if released:
        options = replace(options, **RELEASED)
    numbers = options.num_epochs, options.batch_size, options.initial_lr, options.schedule, options.early_stop
    return FitOptions(*numbers) if released else FitOptions(*numbers, square_decay=0.99, average_decay=0.98)


def compile_shape_fit(mixture: Mixture, shape: tuple[int, int, int], options: OptimizationOptions) -> ShapeProgram:
    """The compiled fit of such a mixture to silhouettes of `shape` = (views, height, width); reads shapes only."""
    recipe, count = RECIPES[options.recipe], int(np.prod(shape))
    ray, number = jax.ShapeDtypeStruct((count, 3), jnp.float32), jax.ShapeDtypeStruct((count,), jnp.float32)
    sample = Sample(Pixels(Rays(ray, ray), number), number)

    def loss(parameters: Mixture | Edges, batch: Sample) -> Float[Array, ""]:
        density = render(recipe.decode(parameters), batch.pixels.rays, outputs=("density",)).density
        return jnp.mean(batch.weight * pixel_cross_entropy(density, batch.pixels.silhouette))

    parameters = jax.eval_shape(recipe.encode, mixture)
    program = compile_fit(loss, recipe.coordinates, parameters, sample, fit_options(options))
    return ShapeProgram(program, recipe, options.opt_shape_scale)


def fit_shape(
    program: ShapeProgram,
    mixture: Mixture,
    views: Views,
    generator: np.random.Generator,
    on_progress: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> ShapeFit:
    """The mixture after the fit to the silhouettes of `views`, in their frame, which is canonical.

    Invalid pixels do not count. The fit never ends worse than its best state: of its start, its end and the CANDIDATES
    averages after chunks of least loss it returns what fits the believed pixels best. Raises ValueError for a batch
    larger than the number of valid pixels, FloatingPointError, with the step, where the loss is not finite.
    """
    scale, recipe, options = program.shape_scale, program.recipe, program.fit.options
    sampling = recipe.choose_rays(views.silhouette, views.valid, options.batch_size)
    pixels = flatten_views(Views(views.cameras, views.silhouette))
    pixels = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), pixels)
    pixels = pixels._replace(rays=pixels.rays._replace(origin=scale * pixels.rays.origin))
    start = recipe.encode(resized(mixture, scale))
    attendant, states = Attendant(views, sampling, generator), []

    def on_chunk(course: Course, sample: Sample, step: int, total: int, loss: float) -> tuple[Course, Sample]:
        on_progress(step, total, loss)
        states.append((loss, course.average))
        return attendant.attend(course, sample, step / total) if recipe.attends else (course, sample)

    sample = Sample(pixels, jnp.asarray(sampling.weight()))
    batches = sampling.batches(options.batch_size, generator)
    fit = run_fit(program.fit, begin(start), sample, batches, sampling.epoch // options.batch_size, on_chunk)
    weight = jnp.asarray(attendant.believed.ravel(), jnp.float32)
    low = [state for _, state in sorted(states, key=lambda state: state[0])[:CANDIDATES]]
    end = min([fit.parameters, *low, start], key=lambda x: float(whole_loss(recipe.decode(x), pixels, weight)))
    history = History(np.arange(len(fit.loss)), fit.loss, fit.learning_rate)
    return ShapeFit(resized(recipe.decode(end), 1 / scale), history, attendant.believed)


class Attendant:
    """What recipe "best" does between chunks of steps: it moves idle components and stops believing false pixels."""

    def __init__(self, views: Views, sampling: Sampling, generator: np.random.Generator):
        self.silhouette, self.generator = np.asarray(views.silhouette), generator
        self.believed = np.ones(self.silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
        self.valid, self.weight = self.believed, sampling.weight()
        self.rays = np.flatnonzero(self.weight)
        self.due = list(np.linspace(FIRST_RELOCATION, LAST_RELOCATION, RELOCATIONS))

    def attend(self, course: Course, sample: Sample, progress: float) -> tuple[Course, Sample]:
        """Course and sample to go on with after the part `progress` of the fit."""
        if progress >= FIRST_DOUBT:
            alpha = np.asarray(all_alpha(mixture_from_edges(course.average), sample.pixels.rays))
            self.believed = self.valid & believed(alpha.reshape(self.silhouette.shape), self.silhouette)
            sample = sample._replace(weight=jnp.asarray(self.weight * self.believed.ravel()))
        passed = [due for due in self.due if due <= progress]
        self.due = self.due[len(passed) :]
        if passed and progress < 1:  # what moves at the very end would never learn its place
            course = self._relocate(course, sample)
        return course, sample

    def _relocate(self, course: Course, sample: Sample) -> Course:
        chance = self.weight[self.rays] / self.weight[self.rays].sum()
        index = self.generator.choice(self.rays, WORTH_RAYS, p=chance)
        kept = sample.weight[index] > 0
        part = jax.tree.map(lambda x: x[index], sample.pixels)
        worth = Worth(*map(np.asarray, component_worth(course.parameters, part, kept.astype(jnp.float32))))
        moved, changed = relocate(course.parameters, worth, math.ceil(RELOCATED * len(worth.value)))

        def forget(moment: Array) -> Array:
            return jnp.where(changed.reshape(-1, *(1,) * (moment.ndim - 1)), 0, moment)

        mean, square = jax.tree.map(forget, (course.mean, course.square))
        return Course(moved, mean, square, moved, course.step)


@jax.jit
def all_alpha(mixture: Mixture, rays: Rays) -> Float[Array, " ray"]:
    """Alpha along all rays."""
    return render(mixture, rays, outputs=("alpha",)).alpha


@jax.jit
def whole_loss(mixture: Mixture, pixels: Pixels, weight: Float[Array, " ray"]) -> Float[Array, ""]:
    """Cross-entropy over all pixels of positive weight."""
    return silhouette_cross_entropy(
        render(mixture, pixels.rays, outputs=("density",)).density, pixels.silhouette, weight
    )


def resized(mixture: Mixture, factor: float) -> Mixture:
    """The mixture, `factor` times as large."""
    return mixture._replace(mean=factor * mixture.mean, precision_cholesky=mixture.precision_cholesky / factor)
