"""The pose of a camera from one depth image, one silhouette, or both.

The object's frame is the world. Inside, the mixture is canonical (about its middle, in units of its scale) and the pose
is that of the object in the camera, so a step turns the object about its middle.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from fm_render import Mixture, Settings
from fmb.fields.metaballs import softened
from fmb.fit.losses import weighted_mean
from fmb.fit.programs import announce
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.metrics import MEDIAN_TO_DEVIATION
from fmb.geometry.poses import PoseEstimate, scaled_covariance
from fmb.pose.covariance import pose_covariance
from fmb.pose.first_order import SHOWN, descend_first_order, image_loss
from fmb.pose.observation import (
    Observation,
    ObservedPixels,
    camera_of,
    canonical,
    check_observation,
    check_start,
    image_size,
    observed_pixels,
    pooled,
    pose_of,
)
from fmb.pose.options import PoseOptions
from fmb.pose.refinement import Refined, Surface
from fmb.pose.residuals import (
    Noise,
    NormalEquations,
    Pose,
    Residuals,
    Sight,
    density_slopes,
    depth_residuals,
    mask_residuals,
    normal_equations,
    surface_distances,
    surface_levels,
)
from fmb.pose.search import SearchPath, best_of, descend, moved, turns_around
from fmb.pose.stages import Stage, check_options, stages_of
from fmb.pose.verification import evidence_of, settled, sure

THICKNESS = 0.45  # scales from the measured points to the first middle: from outside, points find their own side
MOST_PIXELS = 5_000  # of the finest image; larger ones are pooled
LEAST_NOISE, MOST_NOISE = 0.003, 0.1  # scales: bounds of the estimated depth noise
CONVINCING = 0.1  # scales: a pose whose depth residuals have a smaller root mean square explains its image
AGREEING = 0.8  # of the mask's own entropy: a pose whose loss a pixel is smaller explains it
DOUBTFUL = 0.25  # of measured points and surface: without a mask, a pose against which more speaks is not sure
UNTOLD = AGREEING * math.log(2.0)  # of cross-entropy a pixel near the outline, of which half are the object's
DOUBTS = 1.4  # with a mask: most of disagreement / DOUBTFUL + cross-entropy / UNTOLD; see docs/results/poses.md
AT_REST = 1.0  # nats: if the last step was predicted to gain more, the search was cut short


class Outcome(NamedTuple):
    """Result of the compiled search, canonical: pose, path, trials of each stage, predicted gain of the last step.

    `rivals` are the poses that an early stage ended with, best first, whose losses the last stages compared.
    """

    pose: Pose
    path: SearchPath
    steps: Int[Array, "*stage"]
    promise: Float[Array, ""]
    rivals: Pose


class Course(NamedTuple):
    """What each pose of a stage has behind it; see Outcome."""

    pose: Pose
    path: SearchPath
    steps: Int[Array, "pose stage"]
    promise: Float[Array, " pose"]


class Quality(NamedTuple):
    """Covariance and residuals at a pose, canonical; see PoseEstimate."""

    covariance: Float[Array, "6 6"]
    cross_entropy: Float[Array, ""]
    depth_rms: Float[Array, ""]


class PoseProgram(NamedTuple):
    """A compiled search for one number of components and one image size (height, width), and a look at its end."""

    run: Callable[[Mixture, ObservedPixels, Pose], Outcome]
    look: Callable[[Mixture, ObservedPixels, Pose], Quality]
    image_size: tuple[int, int]
    options: PoseOptions


def compile_pose(
    mixture: Mixture,
    image_size: tuple[int, int],
    options: PoseOptions = PoseOptions(),
    settings: Settings = Settings(),
) -> PoseProgram:
    """The compiled search for poses of such a mixture in images of (height, width); only shapes and types are read.

    `settings` are those that method first_order renders with. Raises ValueError for an unknown method or evidence, or a
    number out of range.
    """
    check_options(options)
    dtype = mixture.mean.dtype
    image, number = jax.ShapeDtypeStruct(image_size, dtype), jax.ShapeDtypeStruct((3, *image_size), dtype)
    pixels = ObservedPixels(number, *[image] * 4)
    pose = Pose(jax.ShapeDtypeStruct((3, 3), dtype), jax.ShapeDtypeStruct((3,), dtype))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), mixture)
    announce((options, image_size, mixture.mean.shape, dtype))
    run = jax.jit(partial(search_pose, options, settings)).lower(shapes, pixels, pose).compile()
    look = jax.jit(partial(quality, options)).lower(shapes, pixels, pose).compile()
    return PoseProgram(run, look, image_size, options)


def find_pose(
    program: PoseProgram,
    mixture: Mixture,
    observation: Observation,
    start: Float[ANY_ARRAY, "4 4"],
    scale: float,
    surface: Surface | None = None,
) -> PoseEstimate:
    """The camera's pose, world_from_camera, found from `start`; `scale` is the object's size in the mixture's unit.

    With points of the model's own `surface` the search ends on these, where the depth counts.

    Raises ValueError as `check_observation` and `check_start` do, and for images of another size than the program's.
    """
    if image_size(observation) != program.image_size:
        found, wanted = (" x ".join(map(str, size)) for size in (image_size(observation), program.image_size))
        raise ValueError(f"observation of {found} pixels; the program is for {wanted}")
    check_observation("observation", observation, scale)
    start = check_start("start", start, mixture, observation)
    middle = np.asarray(mixture.mean, float).mean(0)
    dtype = mixture.mean.dtype
    pixels = observed_pixels(observation, scale, program.options.evidence)
    given = partial(_cast, dtype)
    seen = given(canonical(mixture, middle, scale), pixels)
    outcome = jax.device_get(program.run(*seen, *given(pose_of(start, middle, scale))))
    rows = taken(program.options, outcome.steps)
    outcome = outcome._replace(path=jax.tree.map(lambda x: x[rows], outcome.path))
    found = _described(outcome, jax.device_get(program.look(*seen, outcome.pose)), (start, middle, scale), pixels)
    if surface is None or not np.any(pixels.depth_weight > 0) or not np.isfinite(found.world_from_camera).all():
        return found
    poses = np.concatenate([found.world_from_camera[None], camera_of(outcome.rivals, middle, scale)])
    evidence = evidence_of(observation, pixels, scale)
    ending, agrees, alone = settled(surface, evidence, poses, found.covariance, scale)
    looked = jax.device_get(program.look(*seen, *given(pose_of(ending.world_from_camera, middle, scale))))
    same = np.array_equal(ending.world_from_camera, found.world_from_camera)
    certain = found.success if same and not surface.exact else sure(ending, surface, scale)
    # a mixture's own surface tells too few poses apart to doubt one
    certain &= (alone or not surface.exact) and _believed(looked, pixels, agrees.total, surface.exact)
    return _ended(found, ending, agrees.total, certain, looked, (pixels, scale))


def _cast(dtype: np.dtype, *values: Mixture | ObservedPixels | Pose) -> list:
    return [jax.tree.map(lambda x: np.asarray(x, dtype), value) for value in values]


def taken(options: PoseOptions, steps: Int[np.ndarray, " stage"]) -> Int[np.ndarray, " row"]:
    """The rows of a path that stand for trials: those after the end of a stage repeat its last."""
    if options.method == "first_order":
        return np.arange(int(steps[0]) // SHOWN)
    begins = np.concatenate([[0], np.cumsum([stage.trials for stage in stages_of(options)])])
    return np.concatenate([begin + np.arange(count) for begin, count in zip(begins[:-1], steps, strict=True)])


def search_pose(
    options: PoseOptions, settings: Settings, mixture: Mixture, pixels: ObservedPixels, start: Pose
) -> Outcome:
    """The result of the whole search; all arguments are canonical."""
    unit = pixels_of_unit(pixels)
    if options.method == "first_order":
        loss = partial(image_loss, mixture, pooled(pixels, unit), settings)
        pose, path, steps = descend_first_order(loss, start)
        return Outcome(pose, path, steps[None], jnp.zeros_like(path.loss[0]), jax.tree.map(lambda x: x[None], pose))
    return tournament(options, mixture, (pixels, unit), start)


def tournament(options: PoseOptions, mixture: Mixture, image: tuple[ObservedPixels, int], start: Pose) -> Outcome:
    """The best pose after all stages, coarse to fine; after each, the poses of least loss go on."""
    (pixels, unit), stages, track = image, stages_of(options), None
    poses = placed(options, pooled(pixels, unit * stages[0].pooling), start)
    steps, rivals = jnp.zeros((len(poses.translation), 0), int), None
    for stage, after in zip(stages, (*stages[1:], None), strict=True):
        sight = pooled(pixels, unit * stage.pooling, stage.most)
        evaluate = partial(image_equations, options, stage, (softened(mixture, blur(stage, start)), mixture), sight)
        run = partial(descend, evaluate, steps=stage.trials, tolerance=max(options.tolerance, stage.ending))
        search, part = jax.lax.map(run, poses)  # one after the other: side by side (vmap) took five times as long
        track = part if track is None else jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), track, part)
        steps = jnp.concatenate([steps, search.steps[:, None]], axis=1)
        found = Course(search.pose, track, steps, search.promise)
        if stage == stages[:2][-1]:
            rivals = best_of(search.pose, search.normal.loss, len(poses.translation))
        found = best_of(found, search.normal.loss, 1 if after is None else after.poses)
        poses, track, steps = found.pose, found.path, found.steps
    return Outcome(*jax.tree.map(lambda x: x[0], found), rivals)


def placed(options: PoseOptions, sight: Sight, start: Pose) -> Pose:
    """All poses to start from: the given start, then copies turned about the object's middle and moved into view.

    They are moved to the middle of the mask and of the measured points; without depth they keep the start's distance.
    """
    if options.num_starts == 0:
        return jax.tree.map(lambda x: x[None], start)
    dtype = start.translation.dtype
    mask, seen = sight.mask_weight * sight.silhouette, sight.depth_weight
    point = (sight.point * seen[None]).sum(1) / jnp.maximum(seen.sum(), 1e-6)
    distance = jnp.where(seen.sum() > 0, point[2] + THICKNESS, start.translation[2])
    measured = seen.sum() > 0
    aside = jnp.where(measured, point / jnp.where(measured, point[2], 1), start.translation / start.translation[2])
    through = (sight.direction * mask[None]).sum(1) / jnp.maximum(mask.sum(), 1e-6)
    place = distance * jnp.where(mask.sum() > 0, through, aside)
    turns = jnp.asarray(turns_around(options.num_starts, np.deg2rad(options.spread_degrees)), dtype)
    poses = jax.vmap(lambda turn: moved(start, jnp.concatenate([turn, place - start.translation])))(turns)
    return jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), start, poses)


def blur(stage: Stage, start: Pose) -> Array:
    """The blur of the stage, in the start's precision."""
    return jnp.asarray(stage.blur, start.translation.dtype)


def expected(stage: Stage, pose: Pose) -> Noise:
    """The noise that a stage expects."""
    return Noise(*(jnp.asarray(x, pose.translation.dtype) for x in (stage.depth, stage.mislabelled)))


def residuals(
    options: PoseOptions, stage: Stage, noise: Noise, models: tuple[Mixture, Mixture], sight: Sight, pose: Pose
) -> list[Residuals]:
    """Residuals of mask, depth or both; `models` are the mixtures for the mask and for the depth."""
    found = []
    if options.evidence != "depth":
        found.append(mask_residuals(*density_slopes(models[0], pose, sight.direction), sight, noise))
    if options.evidence != "mask":
        measure = surface_levels if stage.far else surface_distances
        found.append(depth_residuals(*measure(models[1], pose, sight.point), sight, noise))
    return found


def image_equations(
    options: PoseOptions, stage: Stage, models: tuple[Mixture, Mixture], sight: Sight, pose: Pose
) -> NormalEquations:
    """The normal equations of an image at a pose."""
    return normal_equations(*residuals(options, stage, expected(stage, pose), models, sight, pose))


def pixels_of_unit(pixels: ObservedPixels) -> int:
    """Side of the blocks of pixels that the search takes for one, so that images are no larger than MOST_PIXELS."""
    return math.ceil(math.sqrt(max(1, pixels.depth.size / MOST_PIXELS)))


def quality(options: PoseOptions, mixture: Mixture, pixels: ObservedPixels, pose: Pose) -> Quality:
    """Covariance and residuals at a pose; the noise of the depth is estimated from the residuals."""
    unit, stage = pixels_of_unit(pixels), stages_of(options)[-1]
    sight = pooled(pixels, unit, stage.most)
    height, width = (-(-side // unit) for side in pixels.depth.shape)
    distance, _ = surface_distances(mixture, pose, sight.point)
    spread = MEDIAN_TO_DEVIATION * jnp.nanmedian(jnp.where(sight.depth_weight > 0, jnp.abs(distance), jnp.nan))
    spread = jnp.clip(jnp.nan_to_num(spread, nan=MOST_NOISE), LEAST_NOISE, MOST_NOISE)
    noise = expected(stage, pose)._replace(depth=spread)
    parts = residuals(options, stage, noise, (mixture, mixture), sight, pose)
    places = {"both": (sight.mask_pixel, sight.depth_pixel), "mask": (sight.mask_pixel,), "depth": (sight.depth_pixel,)}
    covariance = pose_covariance(parts, places[options.evidence], width, height * width, pose)
    density, slope = density_slopes(mixture, pose, sight.direction)
    entropy = mask_residuals(density, slope, sight, noise).loss.sum() / jnp.maximum(sight.mask_weight.sum(), 1)
    rms = jnp.sqrt(weighted_mean(distance**2, sight.depth_weight * (jnp.abs(distance) < 10 * spread)))
    return Quality(covariance, entropy, rms)


def _described(outcome: Outcome, looked: Quality, given: tuple, pixels: ObservedPixels) -> PoseEstimate:
    """The outcome as a record in the mixture's own frame and unit."""
    start, middle, scale = given
    path = np.concatenate([start[None], camera_of(outcome.path.pose, middle, scale)])
    covariance = scaled_covariance(looked.covariance, float(scale))
    camera = camera_of(outcome.pose, middle, scale)
    explains = _explains(looked, pixels) and np.isfinite(covariance).all()
    success = bool(explains and float(outcome.promise) < AT_REST)
    loss = np.asarray(outcome.path.loss, float)
    loss = np.concatenate([loss[:1], loss])
    return PoseEstimate(
        camera, covariance, path, loss, *_residuals(looked, pixels, scale), success, int(outcome.steps.sum())
    )


def _ended(
    found: PoseEstimate,
    ending: Refined,
    against: float,
    certain: bool,
    looked: Quality,
    image: tuple[ObservedPixels, float],
) -> PoseEstimate:
    """The estimate with the pose that the surface told, and whether it is found for sure."""
    entropy, rms = _residuals(looked, *image)
    ended = found._replace(success=certain, cross_entropy=entropy, depth_rms=rms, disagreement=against)
    return ended._replace(**ending._asdict())


def _believed(looked: Quality, pixels: ObservedPixels, against: float, exact: bool) -> bool:
    """Whether little enough speaks against a pose; bounds that an exact surface allows do not fit a mixture's own."""
    entropy, rms = _residuals(looked, pixels, 1.0)
    if not exact:
        return _explains(looked, pixels) and against < DOUBTFUL
    doubts, most = (against / DOUBTFUL, 1.0) if math.isnan(entropy) else (against / DOUBTFUL + entropy / UNTOLD, DOUBTS)
    return doubts < most and rms < CONVINCING


def _residuals(looked: Quality, pixels: ObservedPixels, scale: float) -> tuple[float, float]:
    """Cross-entropy of the mask, and root mean square of the depth; NaN where there is no such image."""
    masked, measured = np.any(pixels.mask_weight > 0), np.any(pixels.depth_weight > 0)
    return (
        float(looked.cross_entropy) if masked else math.nan,
        scale * float(looked.depth_rms) if measured else math.nan,
    )


def _explains(looked: Quality, pixels: ObservedPixels) -> bool:
    entropy, rms = _residuals(looked, pixels, 1.0)
    return not entropy >= AGREEING * _entropy(pixels) and not rms >= CONVINCING


def _entropy(pixels: ObservedPixels) -> float:
    """Cross-entropy a pixel of the mask under its own mean: that of a pose that tells nothing."""
    share = np.clip(np.average(pixels.silhouette, weights=np.maximum(pixels.mask_weight, 1e-12)), 1e-6, 1 - 1e-6)
    return float(-share * np.log(share) - (1 - share) * np.log(1 - share))
