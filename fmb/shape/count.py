"""How many components the data bear: short fits that do not see a part of the rays, judged by these rays.

More components follow the rays that they are fitted to ever more closely. From some number on they follow what these
rays leave open, and others gain nothing. So the number is doubled while the error of rays that are held back, squares
of pixels in all views, falls by more than the standard error of that fall.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from fm_render import Mixture
from fmb.fit.loop import begin, run_fit
from fmb.geometry.metrics import ALPHA_MARGIN
from fmb.shape.recipe import all_pixels, begin_work, compile_shape_fit
from fmb.shape.supervision import Sample, Supervision
from fmb.shape.symmetry_fit import Aim

FIRST, LAST = 10, 1280  # numbers that are tried, each twice the one before
EFFORT = 0.25  # part of the steps of a whole fit that each trial takes
ACROSS = 8  # squares along the longer side of an image: the pixels around one are too far off to tell all of its inside
HELD_BACK = 5  # one square in so many is held back
WORST = -math.log(ALPHA_MARGIN)  # of a ray, as the paper's figures have it

StartOf = Callable[[int], Mixture]  # number of components to the start of a fit


class Trial(NamedTuple):
    """A short fit of so many components, and its mean error on each square that is held back."""

    count: int
    error: Float[np.ndarray, " square"]


class Choice(NamedTuple):
    """The number that was chosen, and all that were tried, in order."""

    count: int
    trials: tuple[Trial, ...]

    @property
    def words(self) -> str:
        """Why, in one line."""
        line = ", ".join(f"{trial.count}: {trial.error.mean():.4f}" for trial in self.trials)
        told = f"{self.count} components chosen; error of rays held back, by components: {line}"
        if self.trials[-1].count == self.count:
            return f"{told} (more were not tried)"
        gain, doubt = gain_of(*self.trials[-2:])
        return f"{told} (the last gains {gain:.4f}, its standard error is {doubt:.4f})"

    def record(self) -> dict[str, Any]:
        """What metrics.json tells."""
        gains = [gain_of(*pair) for pair in pairwise(self.trials)]
        return {
            "why": self.words,
            "tried": [trial.count for trial in self.trials],
            "held_back_error": [float(trial.error.mean()) for trial in self.trials],
            "gain": [gain for gain, _ in gains],
            "gain_standard_error": [doubt for _, doubt in gains],
        }


def choose_count(
    start_of: StartOf, aim: Aim, most: int = LAST, on_trial: Callable[[int], None] = lambda count: None
) -> Choice:
    """The least number, of FIRST times a power of 2 and at most `most`, from which twice as many gain nothing for sure.

    `on_trial` hears of each number before its fit. Raises ValueError as `fit_to_views` does.
    """
    valid = np.ones(aim.views.silhouette.shape, bool) if aim.views.valid is None else np.asarray(aim.views.valid)
    square = np.where(valid, held_squares(valid, aim.generator), 0)
    trials: list[Trial] = []
    number = min(FIRST, most)
    while number <= most:
        on_trial(number)
        trials.append(tried(start_of(number), aim, valid, square))
        if len(trials) > 1:
            gain, doubt = gain_of(*trials[-2:])
            if gain <= doubt:
                return Choice(trials[-2].count, tuple(trials))
        number *= 2
    return Choice(trials[-1].count, tuple(trials))


def held_squares(
    valid: Bool[np.ndarray, "view height width"], generator: np.random.Generator
) -> Int[np.ndarray, "view height width"]:
    """The number, from 1 on, of the held-back square that each pixel lies in; 0: in none.

    One in HELD_BACK of the squares with a valid pixel, and at least two where there are so many.
    """
    side = -(-max(valid.shape[1:]) // ACROSS)
    view, row, column = np.indices(valid.shape)
    rows, columns = (-(-length // side) for length in valid.shape[1:])
    square = (view * rows + row // side) * columns + column // side
    given = np.unique(square[valid])
    chosen = generator.choice(given, min(len(given), max(2, len(given) // HELD_BACK)), replace=False)
    number = np.zeros(square.max() + 1, int)
    number[chosen] = 1 + np.arange(len(chosen))
    return number[square]


def tried(
    start: Mixture,
    aim: Aim,
    valid: Bool[np.ndarray, "view height width"],
    square: Int[np.ndarray, "view height width"],
) -> Trial:
    """A short fit from the start to the rays in no square, judged by those in one; nothing is moved or doubted in it.

    On one device, with a batch that there are rays for.
    """
    kept = valid & (square == 0)
    options = replace(aim.options, fit_devices=1, batch_size=min(aim.options.batch_size, int(kept.sum())))
    program = compile_shape_fit(start, square.shape, options)._replace(effort=EFFORT)
    work = begin_work(program, start, aim.views._replace(valid=kept), aim.generator, aim.point)
    begun, batches = begin(work.start), work.batches(program.fit.options)
    fit = run_fit(
        program.fit, begun, work.sample, batches, work.steps_per_epoch, lambda course, data, *now: (course, data)
    )
    everything = all_pixels(aim.views, aim.point, work.sampling, program.aims, aim.generator)
    held = jax.tree.map(lambda x: x[np.flatnonzero(square)], everything)
    error = np.asarray(ray_errors(program.aims, program.recipe.decode(fit.parameters), held))
    return Trial(len(start.mean), ndimage.mean(error, square[square > 0], np.arange(1, square.max() + 1)))


@partial(jax.jit, static_argnums=0)
def ray_errors(aims: Supervision, mixture: Mixture, sample: Sample) -> Float[Array, " ray"]:
    """What the fit minimises along each ray, at most WORST: few empty rays inside a silhouette must not be all."""
    return jnp.minimum(aims.ray_errors(mixture, sample), WORST)


def gain_of(fewer: Trial, more: Trial) -> tuple[float, float]:
    """By how much the error falls from one trial to the other, in the mean over the squares, and its standard error."""
    fall = fewer.error - more.error
    return float(fall.mean()), float(fall.std(ddof=1) / math.sqrt(len(fall)))
