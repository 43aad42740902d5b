"""Poses from a mask alone whose object is hidden in part: on which side of the mask may it go on behind other things?

Depth tells what stands in front. Without it a cut through the mask looks like an outline, and the pose that explains it
best is a wrong one. So the pose is sought under several beliefs: nothing is hidden, or the background on one side of
the mask says nothing. They are compared by one price: pixels of the mask that the model does not cover and background
that it covers cost their cross-entropy, but covered background on the open side costs little, as parts that are hidden
lie together. At the end only the pixels that the best pose says to be hidden are left out.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from fm_render import Mixture
from fmb.fields.looks import look
from fmb.geometry.cameras import ANY_ARRAY, Cameras
from fmb.geometry.poses import PoseEstimate
from fmb.geometry.views import foreground
from fmb.pose.estimate import PoseProgram, find_pose
from fmb.pose.observation import Observation, canonical
from fmb.pose.refinement import Surface

SIDES = 8  # directions from the middle of the mask in which it may go on
HALF_ANGLE = np.deg2rad(55.0)  # of the open side
MISLABELLED = 0.03  # share of wrong pixels of a mask, as the last stage of the search expects it
HIDDEN_PRICE = 0.2  # nats for a pixel that the model covers on the open side
SIDE_PRICE = 0.02  # nats for each pixel of the mask: what a belief in an open side costs
EXPLAINED = 0.3  # nats for each pixel of the mask: a pose that costs less explains it, and nothing is hidden


class Belief(NamedTuple):
    """A pose under the belief that the background of one side, None for no side, says nothing; and its price."""

    fit: PoseEstimate
    side: Bool[np.ndarray, "height width"] | None
    price: float


def find_visible(
    program: PoseProgram,
    mixture: Mixture,
    observation: Observation,
    start: Float[ANY_ARRAY, "4 4"],
    scale: float,
    surface: Surface | None = None,
) -> PoseEstimate:
    """The camera's pose as of `find_pose`; without depth, a part may be hidden where no pose explains the whole mask.

    Such a pose is a guess, and `success` is False: often another pose explains what is seen of the mask as well.
    Raises ValueError as `find_pose` does.
    """

    def believed(side: np.ndarray | None, start: np.ndarray) -> Belief:
        fit = find_pose(program, mixture, opened(observation, side), start, scale, surface)
        alone = observation.depth is None
        cost = price(mixture, observation, fit.world_from_camera, side, scale) if alone else 0.0
        return Belief(fit, side, cost)

    whole = believed(None, start)
    if whole.price < EXPLAINED or program.options.num_starts == 0:
        return whole.fit
    sides = open_sides(foreground(np.asarray(observation.silhouette, float)))
    found = sorted((whole, *(believed(side, start) for side in sides)), key=lambda one: one.price)
    best = found[0]
    if best.side is not None:
        covered = covering(mixture, observation, best.fit.world_from_camera, scale) > 0.5
        last = believed(best.side & covered, best.fit.world_from_camera)
        best = last._replace(fit=continued(best.fit, last.fit)) if last.price <= best.price else best
    return best.fit._replace(success=False)


def continued(first: PoseEstimate, last: PoseEstimate) -> PoseEstimate:
    """The last search with the path of the first, at whose end it began, before its own."""
    path, loss = (np.concatenate([getattr(first, name), getattr(last, name)[1:]]) for name in ("path", "loss"))
    return last._replace(path=path, loss=loss, iterations=first.iterations + last.iterations)


def open_sides(mask: Bool[np.ndarray, "height width"]) -> list[Bool[np.ndarray, "height width"]]:
    """The background in each of SIDES directions from the middle of the mask; they overlap."""
    row, column = np.nonzero(mask)
    down, across = np.indices(mask.shape)
    angle = np.arctan2(down - row.mean(), across - column.mean())
    found = []
    for direction in 2.0 * np.pi * np.arange(SIDES) / SIDES:
        away = np.abs((angle - direction + np.pi) % (2.0 * np.pi) - np.pi)
        found.append(~mask & (away < HALF_ANGLE))
    return found


def opened(observation: Observation, side: Bool[np.ndarray, "height width"] | None) -> Observation:
    """The observation without the pixels of the side."""
    if side is None:
        return observation
    valid = ~side if observation.valid is None else np.asarray(observation.valid, bool) & ~side
    return observation._replace(valid=valid)


def covering(
    mixture: Mixture, observation: Observation, pose: Float[np.ndarray, "4 4"], scale: float
) -> Float[np.ndarray, "height width"]:
    """The share of each pixel that the model covers from a pose, world_from_camera."""
    middle, at = np.asarray(mixture.mean, float).mean(0), np.array(pose, float)
    at[:3, 3] = (at[:3, 3] - middle) / scale
    lens = np.asarray(observation.intrinsics, float)[None]
    placed = jax.tree.map(partial(np.asarray, dtype=mixture.mean.dtype), canonical(mixture, middle, scale))
    return look(placed, Cameras(at[None], lens), observation.silhouette.shape).alpha[0]


def price(
    mixture: Mixture,
    observation: Observation,
    pose: Float[np.ndarray, "4 4"],
    side: Bool[np.ndarray, "height width"] | None,
    scale: float,
) -> float:
    """What a pose costs under a belief, in nats for each pixel of the mask; infinite for a search that lost itself."""
    if not np.isfinite(pose).all():
        return np.inf
    alpha, seen = covering(mixture, observation, pose, scale), np.asarray(observation.silhouette, float)
    believed = MISLABELLED + (1.0 - 2.0 * MISLABELLED) * np.clip(alpha, 0.0, 1.0)
    entropy = -seen * np.log(believed) - (1.0 - seen) * np.log1p(-believed)
    if side is not None:
        entropy = np.where(side, HIDDEN_PRICE * alpha, entropy)
    floor = -np.log1p(-MISLABELLED)  # of empty background, which would count the more the larger the image is
    entropy = np.where((seen < 0.5) & (alpha < MISLABELLED), 0.0, entropy - floor)
    valid = np.ones(alpha.shape, bool) if observation.valid is None else np.asarray(observation.valid, bool)
    count = max(float(seen[valid].sum()), 1.0)
    return float(entropy[valid].sum() / count) + (0.0 if side is None else SIDE_PRICE)
