"""The training of an encoder: what its mixtures look like from two sides of the same shape, and its cameras.

Loss of an image: cross-entropy of the silhouette, squared error of colours and robust error of depths, means over the
pixels of the view that the network sees and of another one of the same shape, both by their true cameras. Beside it:
the camera's error (the best of the hypotheses, and how likely it is said to be) and the mean squared deformation.
A step renders every second row and column, from a random one on.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jaxtyping import Float, Int

from fm_render import Cameras, Rendering, Sight, views_loss
from fmb.fit.checkpoints import Columns, columns_of, filled, to_arrays
from fmb.fit.loop import Coordinates, Course, adam, begin
from fmb.fit.losses import pixel_cross_entropy, robust
from fmb.fit.options import FitOptions
from fmb.fit.parallel import RAYS, everywhere, on_all, part_of, ray_mesh
from fmb.fit.schedules import SCHEDULES
from fmb.single_view.blobs import Blobs, blobs_of
from fmb.single_view.cameras import labels_of, mirrored_where
from fmb.single_view.layout import Layout
from fmb.single_view.network import Encoder, Output, encode, inputs_of, shape_of, start_encoder
from fmb.single_view.options import EncoderOptions
from fmb.single_view.sights import BYTE, Sights

CHUNK = 20  # steps between two looks at the bar
SAVES = 24  # checkpoints of a training, and frames of its film
COMB = 2  # rows and columns apart that a step renders
GREY_SHARE = 0.2  # of the inputs, which show the silhouette alone, as a mask does
DEPTH_WIDTH = 0.1  # radii: errors of depth far below count squared, far above as they are
OTHERS = 0.05  # weight of the hypotheses that are not the best
AVERAGE = 0.999  # decay of the average of the parameters that becomes the encoder


class Lesson(NamedTuple):
    """All that a training sees, as arrays: sights, their cameras as labels, and where the views of each shape lie."""

    sights: Sights
    quaternion: Float[Array, "sight 4"]
    place: Float[Array, "sight 3"]
    first: Int[Array, " shape"]
    count: Int[Array, " shape"]


class State(NamedTuple):
    """A training after `step` steps: the encoder, arrays that it can go on from, and columns of its terms."""

    step: int
    encoder: Encoder
    arrays: Mapping[str, np.ndarray]
    history: Mapping[str, np.ndarray]


class Hooks(NamedTuple):
    """Who looks on: a progress bar, who keeps checkpoints and looks at the state; what to begin with, or to go on from.

    `offer` may keep the state after any chunk, between two that `save` keeps. `start` is an encoder (None: a random
    one), `begun` the arrays of a checkpoint.
    """

    progress: Callable[[int, int, float], None] = lambda step, total, loss: None
    save: Callable[[State], None] = lambda state: None
    offer: Callable[[Callable[[], State]], None] = lambda make: None
    start: Encoder | None = None
    begun: Mapping[str, np.ndarray] | None = None


def lesson_of(sights: Sights) -> Lesson:
    """The sights with what a step needs besides.  Raises ValueError where a shape has one view alone."""
    dtype, size = jnp.result_type(float), sights.silhouette.shape[1]
    labels = labels_of(Cameras(sights.world_from_camera, sights.intrinsics), size)
    first, count = np.unique(np.asarray(sights.shape), return_index=True, return_counts=True)[1:]
    if count.min() < 2:
        raise ValueError(f"shape {int(np.argmin(count))} has one view; the encoder learns from two or more of each")
    return Lesson(
        jax.tree.map(jnp.asarray, sights),
        *(jnp.asarray(field, dtype) for field in labels),
        *(jnp.asarray(field, jnp.int32) for field in (first, count)),
    )


def train(
    sights: Sights,
    options: EncoderOptions,
    layout: Layout,
    generator: np.random.Generator,
    hooks: Hooks = Hooks(),
    devices: int = 1,
) -> Encoder:
    """The encoder that has learnt from the sights, each batch of them shared out over so many devices (0: all).

    Every step has random numbers of its own, so a training that goes on from a checkpoint is the same, bit for bit.
    With other devices it is the same up to rounding.
    Raises ValueError for sights of another size, FloatingPointError, with the step, where the loss is not finite.
    """
    if sights.silhouette.shape[1] != layout.size:
        raise ValueError(f"images of {sights.silhouette.shape[1]} pixels; encoder_size is {layout.size}")
    encoder, key = start_encoder(layout, generator), jax.random.key(int(generator.integers(2**31)))
    encoder = encoder if hooks.start is None else hooks.start
    course, history, total = begin(encoder), {}, options.encoder_steps
    if hooks.begun is not None:
        course, history = filled(course, hooks.begun), columns_of(hooks.begun)
    advance, lesson, every = compile_step(options, layout, devices), lesson_of(sights), max(1, total // SAVES)
    if devices != 1:
        course, lesson, key = everywhere((course, lesson, key), ray_mesh(devices, options.encoder_batch))
    if hooks.begun is None:
        hooks.save(state_of(course, history))
    while (step := int(course.step)) < total:
        done, found = min(step + CHUNK, total), []
        for number in range(step, done):
            course, terms = advance(course, jnp.int32(number), lesson, key)
            found.append(terms)
        for name in found[0]:
            history.setdefault(name, []).append(np.stack([np.asarray(terms[name]) for terms in found]))
        check_finite(history["loss"][-1], course.average, step)
        hooks.progress(done, total, float(np.mean(history["loss"][-1])))
        if done // every > step // every or done == total:
            hooks.save(state_of(course, history))
        else:
            hooks.offer(partial(state_of, course, {name: [*parts] for name, parts in history.items()}))
    return course.average


def state_of(course: Course, history: Columns) -> State:
    """The course as it is kept."""
    columns = {name: np.concatenate(parts) for name, parts in history.items()}
    return State(int(course.step), course.average, to_arrays(course, history), columns)


@lru_cache(maxsize=2)
def compile_step(
    options: EncoderOptions, layout: Layout, devices: int = 1
) -> Callable[[Course, Array, Lesson, Array], tuple[Course, dict[str, Array]]]:
    """A compiled function that takes the step of that number; the course after it, and its terms.

    Several devices each draw the whole batch, take their share of it, and follow the mean of all slopes.

    Steps are not scanned: within a loop XLA's convolutions on a CPU take 24 times as long (measured, 1.2 s for 0.05 s).
    """
    moments = FitOptions(average_decay=AVERAGE)
    mesh = None if devices == 1 else ray_mesh(devices, options.encoder_batch, "encoder_batch")
    moves = Coordinates(lambda encoder, gradient: gradient, lambda encoder, step: jax.tree.map(jnp.add, encoder, step))

    def step(course: Course, number: Array, lesson: Lesson, key: Array) -> tuple[Course, dict[str, Array]]:
        batch = draw(lesson, options.encoder_batch, jax.random.fold_in(key, number), layout)
        batch = batch if mesh is None else part_of(batch, mesh.size)

        def loss(encoder: Encoder) -> tuple[Array, dict[str, Array]]:
            return loss_of(encoder, batch, options, layout)

        gradient, terms = jax.grad(loss, has_aux=True)(course.parameters)
        if mesh is not None:
            gradient, terms = jax.lax.pmean((gradient, terms), RAYS)
        part = number.astype(terms["loss"].dtype) / options.encoder_steps
        rate = options.encoder_rate * SCHEDULES["cosine"](part[None])[0]
        return adam(course, moves, gradient, rate, moments), terms | {"learning_rate": rate}

    return jax.jit(step) if mesh is None else on_all(step, mesh)


class Batch(NamedTuple):
    """Inputs with the labels of their cameras, and two views of each shape to render."""

    images: Float[Array, "image size size channel"]
    quaternion: Float[Array, "image 4"]
    place: Float[Array, "image 3"]
    seen_from: Cameras  # [image, ...], those of the inputs
    cameras: Cameras  # [image, view, ...]
    targets: tuple[Array, ...]  # silhouette, valid, depth and colour [image, view, row, column(, 3)]


def draw(lesson: Lesson, count: int, key: Array, layout: Layout) -> Batch:
    """Random sights, each with another of its shape; inputs may be grey, and mirrored where shapes have a mirror."""
    sight_key, other_key, grey_key, flip_key, comb_key = jax.random.split(key, 5)
    index = jax.random.randint(sight_key, (count,), 0, len(lesson.sights.shape))
    shape = lesson.sights.shape[index]
    room = lesson.count[shape] - 1
    step = 1 + (jax.random.uniform(other_key, (count,)) * room.astype(jnp.float32)).astype(jnp.int32)
    first = lesson.first[shape]
    other = first + (index - first + jnp.minimum(step, room)) % (room + 1)
    seen = jax.tree.map(lambda field: field[index], lesson.sights)
    dtype = lesson.place.dtype
    grey = jax.random.uniform(grey_key, (count, 1, 1, 1)) < GREY_SHARE
    images = inputs_of(jnp.where(grey, 0.5, seen.color.astype(dtype) / BYTE), seen.silhouette)
    flip = (jax.random.uniform(flip_key, (count,)) < 0.5) & layout.mirrored
    images = jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)
    turn, shift = (jnp.asarray(x, dtype)[None] for x in ([1.0, 1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]))
    quaternion = jnp.where(flip[:, None], turn, 1.0) * lesson.quaternion[index]
    place = jnp.where(flip[:, None], shift, 1.0) * lesson.place[index]
    pair = jax.tree.map(lambda field: field[jnp.stack([index, other], axis=1)], lesson.sights)
    lens = Cameras(seen.world_from_camera.astype(dtype), seen.intrinsics.astype(dtype))
    seen_from = mirrored_where(flip, lens, layout.size)
    start = jax.random.randint(comb_key, (2,), 0, COMB)
    return Batch(images, quaternion, place, seen_from, *combed(pair, start, dtype))


def combed(pair: Sights, start: Int[Array, "2"], dtype: Any) -> tuple[Cameras, tuple[Array, ...]]:
    """Every COMB-th row and column from `start` on, and the cameras of those images."""

    def some(field: Array) -> Array:
        size = field.shape[2] // COMB
        split = field.reshape(*field.shape[:2], size, COMB, size, COMB, *field.shape[4:])
        return split[:, :, :, start[0], :, start[1]]

    shift = jnp.array([start[1], start[0]]).astype(dtype) + 0.5
    lens = pair.intrinsics.astype(dtype)
    lens = lens.at[..., :2, 2].add(-shift[None, None])
    lens = lens.at[..., :2, :].divide(COMB).at[..., :2, 2].add(0.5)
    silhouette, valid, depth = (some(field).astype(dtype) for field in (pair.silhouette, pair.valid, pair.depth))
    cameras = Cameras(pair.world_from_camera.astype(dtype), lens)
    return cameras, (silhouette, valid, depth, some(pair.color).astype(dtype) / BYTE)


def loss_of(encoder: Encoder, batch: Batch, options: EncoderOptions, layout: Layout) -> tuple[Array, dict[str, Array]]:
    """The loss of a batch, and its terms."""
    output = encode(encoder, batch.images)
    shape = shape_of(encoder, layout, output, batch.seen_from)
    weights = options.encoder_color_weight, options.encoder_depth_weight

    def image(now: tuple) -> Array:
        number, cameras, targets = now
        return image_loss(blobs_of(number, encoder.children, layout.mirrored), cameras, targets, weights)

    each = each_of(image)((shape.numbers, batch.cameras, batch.targets))
    terms = {"image": jnp.mean(each), **camera_terms(output, batch.quaternion, batch.place)}
    terms["deformation"] = jnp.mean(shape.deformation**2)
    camera = terms["turn"] + terms["place"] + OTHERS * terms["score"]
    value = terms["image"] + options.camera_weight * camera + options.deformation_weight * terms["deformation"]
    return value, {"loss": value, **terms}


def each_of(function: Callable) -> Callable:
    """The function of each row: one after the other on a CPU, where tiles of one are faster, else side by side."""
    return Partial(jax.lax.map, function) if jax.default_backend() == "cpu" else jax.vmap(function)


def image_loss(
    blobs: Blobs, cameras: Cameras, targets: tuple[Array, ...], weights: tuple[float, float]
) -> Float[Array, ""]:
    """Mean over the pixels of views of one shape; depths beside and behind the object do not count."""
    silhouette, valid, depth, color = targets
    known = (depth > 0.0) & jnp.isfinite(depth) & (silhouette > 0.0)
    depth = jnp.where(known, depth, 0.0)

    def pixel(seen: Rendering, target: tuple[Array, ...]) -> Array:
        silhouette, valid, known, depth, color = target
        value = pixel_cross_entropy(seen.density, silhouette)
        value += weights[0] * silhouette * jnp.sum((seen.color - color) ** 2, axis=-1)
        value += weights[1] * jnp.where(known > 0.0, robust(seen.depth - depth, DEPTH_WIDTH), 0.0)
        return valid * value

    sight = Sight(1.0, ("density", "depth", "color"), color=blobs.color)
    targets = (silhouette, valid, known.astype(depth.dtype), depth, color)
    return views_loss(pixel, blobs.mixture, cameras, targets, sight) / silhouette.size


def camera_terms(
    output: Output, quaternion: Float[Array, "image 4"], place: Float[Array, "image 3"]
) -> dict[str, Array]:
    """Sine squared of half the angle of the best hypothesis, how unlikely it is said to be, and the place's error."""
    cosine = jnp.einsum("bhq,bq->bh", output.quaternion, quaternion, precision="highest")
    error = 1.0 - cosine**2
    best = jnp.argmin(error, axis=1)
    turn = jnp.mean((1.0 - OTHERS) * jnp.min(error, axis=1) + OTHERS * jnp.mean(error, axis=1))
    score = -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(output.score), best[:, None], axis=1))
    return {"turn": turn, "score": score, "place": jnp.mean((output.place - place) ** 2)}


def check_finite(loss: Float[np.ndarray, " step"], encoder: Encoder, first: int) -> None:
    """Raises FloatingPointError that names the step: the last one's weights show in no loss yet."""
    finite = np.append(np.isfinite(loss), all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(encoder)))
    if not finite.all():
        raise FloatingPointError(
            f"the loss is not finite at step {first + int(np.argmin(finite))}; try a smaller encoder_rate"
        )
