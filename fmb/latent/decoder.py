"""The auto-decoder (Park et al. 2019): codes of all shapes and the network that decodes them, trained together.

Loss: mean |f(z_i, x) - clamp(d_i(x), +-c)| + w min(1, progress / RISE) mean |z_i| + v M. The prediction is not clamped:
where it is far off, a clamped one would have no slope. M is what keeps the space between the shapes in order: a code
t z_i + (1 - t) z_j should give t f(z_i, x) + (1 - t) f(z_j, x), as mixup asks of classes (Zhang et al. 2018). Without
it, nothing is asked of codes between two shapes, and they may decode to debris or to nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fmb.fields.latent import LatentShape, Space, latent_network, start_latent
from fmb.fields.networks import Network
from fmb.fit.checkpoints import Columns, columns_of, filled, to_arrays
from fmb.fit.loop import Coordinates, Course, adam, begin
from fmb.fit.options import FitOptions
from fmb.fit.schedules import SCHEDULES
from fmb.latent.options import SpaceOptions
from fmb.latent.samples import REACH, Samples

CHUNK = 50  # steps of one call of the compiled function
RISE = 0.05  # part of the training in which the weight of the codes' length rises
SAVES = 10  # checkpoints of a training
MOST_SHAPES = 64  # in one step
MIX_EVERY = 16  # of the points of a step, one in so many is decoded with a code between two shapes, and one anywhere
SHORTEST = 1e-6  # length of a code, below which its slope is 0
FEWEST_SHAPES = 2
STEPS, STEPS_A_SHAPE = 400, 50  # of two shapes, and for each shape more


class Weights(NamedTuple):
    """What is trained."""

    network: Network
    code: Float[Array, "shape code"]


class State(NamedTuple):
    """A training after `step` steps: the space, arrays that it can go on from, and a column of each term."""

    step: int
    space: Space
    arrays: Mapping[str, np.ndarray]
    history: Mapping[str, np.ndarray]


class Hooks(NamedTuple):
    """Who looks on: a progress bar, who keeps checkpoints, and the arrays of the one to go on from."""

    progress: Callable[[int, int, float], None] = lambda step, total, loss: None
    save: Callable[[State], None] = lambda state: None
    begun: Mapping[str, np.ndarray] | None = None
    offer: Callable[[Callable[[], State]], None] = lambda make: None  # a state between those that are saved


def shape_of(options: SpaceOptions, count: int) -> LatentShape:
    """The network for so many shapes.  Raises ValueError where the input would enter again behind the last layer."""
    if options.decoder_skip >= options.decoder_depth and options.decoder_skip:
        raise ValueError(
            f"decoder_skip is {options.decoder_skip}; must be below decoder_depth, {options.decoder_depth}"
        )
    code = options.code_length or (2 if count == FEWEST_SHAPES else 16)
    return LatentShape(
        code=code,
        width=options.decoder_width,
        depth=options.decoder_depth,
        skip=options.decoder_skip,
        frequencies=options.frequencies,
        activation=options.decoder_activation,
        output=options.decoder_output,
    )


def steps_of(options: SpaceOptions, count: int) -> int:
    """Number of steps of a training with so many shapes."""
    return options.learn_steps or STEPS + STEPS_A_SHAPE * (count - FEWEST_SHAPES)


def train(
    samples: Sequence[Samples], options: SpaceOptions, generator: np.random.Generator, hooks: Hooks = Hooks()
) -> Space:
    """The space of these shapes.

    Every step has random numbers of its own, so a training that goes on from a checkpoint is the same, bit for bit.
    Raises ValueError for fewer than two shapes and for names that are not unique, FloatingPointError, with the step,
    where the loss is not finite.
    """
    check_names([part.name for part in samples])
    shape, total = shape_of(options, len(samples)), steps_of(options, len(samples))
    weights, key = start(shape, len(samples), generator), jax.random.key(int(generator.integers(2**31)))
    course, history = begin(weights), {}
    if hooks.begun is not None:
        course, history = filled(course, hooks.begun), columns_of(hooks.begun)
    run, data, every = compile_chunk(options, shape, total), stacked(samples), max(1, total // SAVES)
    while (step := int(course.step)) < total:
        count = min(CHUNK, total - step)
        course, terms = run(course, data, jnp.arange(step, step + count), key)
        check_finite(terms["loss"], step)
        for name, values in terms.items():
            history.setdefault(name, []).append(np.asarray(values))
        done = step + count
        hooks.progress(done, total, float(np.mean(terms["loss"])))
        if done // every > step // every or done == total:
            hooks.save(state_of(course, history, samples, shape))
        else:
            columns = {name: list(parts) for name, parts in history.items()}
            hooks.offer(partial(state_of, course, columns, samples, shape))
    return space_of(course, samples, shape)


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError unless there are two shapes at least, each with a name of its own."""
    if len(names) < FEWEST_SHAPES:
        raise ValueError(f"{len(names)} shape; a space of shapes needs at least {FEWEST_SHAPES}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{len(twice)} names of shapes are not unique: {', '.join(twice)}")


def start(shape: LatentShape, count: int, generator: np.random.Generator) -> Weights:
    """A random network, and codes from N(0, 1 / dim)."""
    network = start_latent(shape, generator)
    code = generator.normal(0.0, 1.0 / math.sqrt(shape.code), (count, shape.code))
    return Weights(network, jnp.asarray(code, jnp.result_type(float)))


def stacked(samples: Sequence[Samples]) -> tuple[Array, Array]:
    """Points and distances outside and inside, [shape, point, 4] each; where a shape has fewer, they come again."""
    sides = []
    for side in ("pos", "neg"):
        rows = [getattr(part, side) for part in samples]
        most = max(map(len, rows))
        sides.append(jnp.asarray(np.stack([np.resize(part, (most, 4)) for part in rows]), jnp.result_type(float)))
    return sides[0], sides[1]


def compile_chunk(
    options: SpaceOptions, shape: LatentShape, total: int
) -> Callable[[Course, tuple[Array, Array], Array, Array], tuple[Course, dict[str, Array]]]:
    """A compiled function that takes the steps of those numbers; the course after them, and every step's terms."""
    moments, moves = FitOptions(), coordinates(options)

    def step(course: Course, number: Array, data: tuple[Array, Array], key: Array) -> tuple[Course, dict[str, Array]]:
        part = number.astype(data[0].dtype) / total
        chosen, rows = draw(data, options.learn_points, jax.random.fold_in(key, number))

        def loss(weights: Weights) -> tuple[Array, dict[str, Array]]:
            terms = terms_of(weights, (chosen, rows), options, shape)
            rising = options.code_weight * jnp.minimum(1.0, part / RISE)
            value = terms["distance_error"] + rising * terms["code_length"]
            if options.mix_weight:
                terms["mixing_error"] = mixing(weights, (chosen, rows), shape, jax.random.fold_in(key, -1 - number))
                value += options.mix_weight * terms["mixing_error"]
            return value, {"loss": value, **terms}

        gradient, terms = jax.grad(loss, has_aux=True)(course.parameters)
        rate = options.decoder_rate * SCHEDULES["cosine"](part[None])[0]
        return adam(course, moves, gradient, rate, moments), terms | {"learning_rate": rate}

    def run(course: Course, data: tuple[Array, Array], numbers: Array, key: Array) -> tuple[Course, dict[str, Array]]:
        return jax.lax.scan(lambda course, number: step(course, number, data, key), course, numbers)

    return jax.jit(run)


def coordinates(options: SpaceOptions) -> Coordinates:
    """Codes move by a rate of their own."""
    ratio = options.code_rate / options.decoder_rate

    def move(weights: Weights, change: Weights) -> Weights:
        network = jax.tree.map(jnp.add, weights.network, change.network)
        return Weights(network, weights.code + ratio * change.code)

    return Coordinates(lambda weights, gradient: gradient, move)


def draw(data: tuple[Array, Array], count: int, key: Array) -> tuple[Array, Array]:
    """Which shapes a step sees, and `count` of their rows [shape, point, 4], half of them inside."""
    shapes = len(data[0])
    many = min(shapes, MOST_SHAPES)
    shape_key, *side_keys = jax.random.split(key, 3)
    chosen = jnp.arange(shapes) if many == shapes else jax.random.permutation(shape_key, shapes)[:many]
    each = max(1, count // (2 * many))
    rows = []
    for side, side_key in zip(data, side_keys, strict=True):
        index = jax.random.randint(side_key, (many, each), 0, side.shape[1])
        rows.append(side[chosen[:, None], index])
    return chosen, jnp.concatenate(rows, axis=1)


def terms_of(
    weights: Weights, batch: tuple[Array, Array], options: SpaceOptions, shape: LatentShape
) -> dict[str, Array]:
    """Mean error of the distances, and mean length of the codes."""
    chosen, rows = batch
    code = weights.code[chosen]
    value = jax.vmap(latent_network(shape), (None, 0, 0))(weights.network, code, rows[..., :3])
    target = jnp.clip(rows[..., 3], -options.clamp, options.clamp)
    length = jnp.sqrt(jnp.sum(code * code, axis=1) + SHORTEST**2)
    return {"distance_error": jnp.mean(jnp.abs(value - target)), "code_length": jnp.mean(length)}


def mixing(weights: Weights, batch: tuple[Array, Array], shape: LatentShape, key: Array) -> Array:
    """Mean |f(t z_i + (1 - t) z_j, x) - t f(z_i, x) - (1 - t) f(z_j, x)|, t uniform, at points near and far.

    Only the first term has a slope: what is known of shapes pulls what lies between them, not the other way round.
    """
    chosen, rows = batch
    share_key, shift_key, place_key = jax.random.split(key, 3)
    near = rows[:, ::MIX_EVERY, :3]
    far = jax.random.uniform(place_key, near.shape, rows.dtype, -REACH, REACH)
    points = jnp.concatenate([near, far], axis=1)
    part = jax.random.uniform(share_key, (len(chosen), 1), rows.dtype)
    shift = jax.random.randint(shift_key, (), 1, len(chosen))
    code = weights.code[chosen]
    other = jnp.roll(code, shift, axis=0)
    decode = jax.vmap(latent_network(shape), (None, 0, 0))
    still = jax.lax.stop_gradient((weights.network, code, other))
    wanted = part * decode(still[0], still[1], points) + (1.0 - part) * decode(still[0], still[2], points)
    return jnp.mean(jnp.abs(decode(weights.network, part * code + (1.0 - part) * other, points) - wanted))


def space_of(course: Course, samples: Sequence[Samples], shape: LatentShape) -> Space:
    """The space that a course stands at: the average of its last parameters."""
    names, frames = (tuple(getattr(part, what) for part in samples) for what in ("name", "frame"))
    weights = course.average
    return Space(names, np.asarray(weights.code, float), weights.network, shape, frames)


def state_of(course: Course, history: Columns, samples: Sequence[Samples], shape: LatentShape) -> State:
    """The course as it is kept."""
    columns = {name: np.concatenate(parts) for name, parts in history.items()}
    return State(int(course.step), space_of(course, samples, shape), to_arrays(course, history), columns)


def check_finite(loss: Any, first: int) -> None:
    """Raises FloatingPointError that names the step."""
    finite = np.isfinite(np.asarray(loss))
    if not finite.all():
        step = first + int(np.argmin(finite))
        raise FloatingPointError(f"the loss is not finite at step {step}; try a smaller decoder_rate")
