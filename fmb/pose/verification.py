"""How well a pose explains an image, by points of the model's surface: which of several poses is right, and is it?

A mixture blurs thin parts, so its own loss may prefer a wrong pose. Points of the surface see everything: measured
points that lie on no part of the object, parts of the object where the image shows background, and parts that would
hide what was measured behind them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt

from fmb.geometry.metrics import object_pose_error
from fmb.geometry.views import foreground
from fmb.pose.noise import depth_noise
from fmb.pose.observation import Observation, ObservedPixels
from fmb.pose.refinement import FURTHEST, LOOSER, Refined, Surface, about_middle, matched, measured_points, refined
from fmb.pose.symmetry import nearest

CLOSE = 0.02  # scales: a measured point that is so far from the surface is a wrong one, whatever the noise
NOISES = 6.0  # deviations of the image's own noise at which it is one: noise over longer ways is not in these
AHEAD = 0.06  # scales: a part of the object that is so far before what was measured would hide it
AHEAD_NOISES = 9.0  # deviations of the noise at which it would
BESIDE = 1.5  # pixels: a pixel with a neighbour (of eight) in the mask is not surely background
MOST_POINTS, FEW_POINTS = 1_500, 250  # of the surface; of the image, for rivals
CONVINCING = 0.05  # of all shares: where less speaks against the first pose, FEW_RIVALS are tried, if only to doubt it
FEW_RIVALS = 4
MARGIN = 0.02  # by which another pose must be better
SAME_DEGREES, SAME_PERCENT = 8.0, 5.0  # two poses that are so near lead to one
SURE_DEGREES, SURE_SHIFT = 5.0, 0.05  # most that a pose found for sure may deviate, in degrees and scales


class Evidence(NamedTuple):
    """What is compared: measured points in the camera's axes, pixels that are surely background, depth, intrinsics.

    `noise` is the deviation of the depths, in their unit.
    """

    points: Float[np.ndarray, "point 3"]
    background: Bool[np.ndarray, "height width"]
    depth: Float[np.ndarray, "height width"]
    intrinsics: Float[np.ndarray, "3 3"]
    noise: float = 0.0


class Agreement(NamedTuple):
    """Shares that speak against a pose: of measured points off the surface; of the surface, on background, ahead."""

    off: float
    spilt: float
    ahead: float

    @property
    def total(self) -> float:
        """All that speaks against the pose."""
        return self.off + self.spilt + self.ahead


class Verdict(NamedTuple):
    """The pose that most speaks for, what speaks against it, and whether it is the only one that explains the image."""

    ending: Refined
    agrees: Agreement
    alone: bool


def evidence_of(observation: Observation, pixels: ObservedPixels, scale: float) -> Evidence:
    """The evidence of an image whose pixels have been weighed.

    A pixel beside the mask is not surely background, nor is one that is no farther from it than points may err.
    """
    seen, intrinsics = pixels.depth_weight > 0, np.asarray(observation.intrinsics, float)
    depth = np.where(seen, scale * pixels.depth, np.nan)
    noise = depth_noise(depth, seen)
    away = tolerance(noise, scale) * np.sqrt(intrinsics[0, 0] * intrinsics[1, 1]) / np.median(depth[seen])
    object_ = foreground(pixels.silhouette) & (pixels.mask_weight > 0)
    beside = distance_transform_edt(~object_) if object_.any() else np.full(depth.shape, np.inf)
    background = (pixels.mask_weight > 0) & (beside > max(away, BESIDE))
    return Evidence(measured_points(observation), background, depth, intrinsics, noise)


def tolerance(noise: float, scale: float) -> float:
    """How far from the surface a measured point is a wrong one, in the unit of the noise."""
    return max(CLOSE * scale, NOISES * noise)


def agreement(surface: Surface, evidence: Evidence, pose: Float[np.ndarray, "4 4"], scale: float) -> Agreement:
    """How much speaks against a pose, world_from_camera, in the surface's frame and unit."""
    pairs = matched(surface, evidence.points, pose, FURTHEST * scale)
    wrong = np.minimum((pairs.distance / tolerance(evidence.noise, scale)) ** 2, 1.0)
    missing = len(evidence.points) - len(pairs.distance)
    off = (wrong.sum() + missing) / max(len(evidence.points), 1)
    chosen = slice(None, None, max(1, len(surface.point) // MOST_POINTS))
    place = (surface.point[chosen] - pose[:3, 3]) @ pose[:3, :3]
    toward = np.sum((surface.normal[chosen] @ pose[:3, :3]) * place, axis=1) < 0.0
    column, row, depth = evidence.intrinsics @ place.T
    height, width = evidence.background.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        column, row = np.floor(column / depth), np.floor(row / depth)
    inside = (depth > 0.0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column, depth = row[inside].astype(int), column[inside].astype(int), depth[inside]
    spilt = np.count_nonzero(evidence.background[row, column]) / len(place)
    hides = toward[inside] & (depth < evidence.depth[row, column] - max(AHEAD * scale, AHEAD_NOISES * evidence.noise))
    return Agreement(float(off), float(spilt), float(np.count_nonzero(hides) / max(np.count_nonzero(toward), 1)))


def settled(
    surface: Surface,
    evidence: Evidence,
    poses: Float[np.ndarray, "pose 4 4"],
    covariance: Float[np.ndarray, "6 6"],
    scale: float,
) -> Verdict:
    """The pose that most speaks for once each has been moved to the measured points; the first, where all are alike.

    `covariance` is that of the first.
    """
    held = np.linalg.inv(LOOSER * covariance) if np.isfinite(covariance).all() else loose(scale)
    first = Refined(poses[0], covariance)
    found = refined(surface, evidence.points, poses[0], held, scale) or first
    if not surface.exact and near(poses[0], found.world_from_camera, surface, scale):
        found = first  # a mixture's surface is no truer than what the search follows: masks and depths together
    agrees = agreement(surface, evidence, found.world_from_camera, scale)
    rivals = poses[1:] if agrees.total >= CONVINCING else poses[1 : 1 + FEW_RIVALS]
    other, against = best_rival(surface, evidence, rivals, found.world_from_camera, scale)
    if other is None or against.total > agrees.total - MARGIN:
        return Verdict(found, agrees, other is None or against.total > agrees.total + MARGIN)
    found = refined(surface, evidence.points, other, loose(scale), scale) or found
    agrees = agreement(surface, evidence, found.world_from_camera, scale)
    third, against = best_rival(surface, evidence, rivals, found.world_from_camera, scale)
    return Verdict(found, agrees, third is None or against.total > agrees.total + MARGIN)


def best_rival(
    surface: Surface, evidence: Evidence, poses: Float[np.ndarray, "pose 4 4"], known: np.ndarray, scale: float
) -> tuple[np.ndarray | None, Agreement]:
    """The pose that least speaks against, of those that lead elsewhere than `known`, moved to some of the points."""
    some = evidence.points[:: max(1, len(evidence.points) // FEW_POINTS)]
    best, least = None, Agreement(np.inf, 0.0, 0.0)
    for pose in poses:
        if any(near(other, pose, surface, scale) for other in (known, best) if other is not None):
            continue
        found = refined(surface, some, pose, loose(scale), scale)
        if found is None or near(known, found.world_from_camera, surface, scale):
            continue
        agrees = agreement(surface, evidence, found.world_from_camera, scale)
        if agrees.total < least.total:
            best, least = found.world_from_camera, agrees
    return best, least


def loose(scale: float) -> Float[np.ndarray, "6 6"]:
    """The information of a pose of which nothing is known: deviations of a radian and a scale."""
    return np.diag(1.0 / np.repeat([1.0, scale], 3) ** 2)


def near(pose: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"], surface: Surface, scale: float) -> bool:
    """Whether two poses, world_from_camera, or poses that look like them, are so near that one leads to the other."""
    other = other if surface.turns is None else nearest(surface.turns, other, pose)
    middle = surface.point.mean(axis=0)
    error = object_pose_error(np.linalg.inv(pose), np.linalg.inv(other), scale, middle)
    return error.rotation_degrees < SAME_DEGREES and error.translation_percent < SAME_PERCENT


def sure(found: Refined, surface: Surface, scale: float) -> bool:
    """Whether the covariance leaves little open: neither the object's turn nor the place of its middle.

    A turn about the axis of a surface of revolution does not count.
    """
    change = about_middle(found.world_from_camera, surface, scale)
    spread = change @ found.covariance @ change.T
    axis = np.zeros(3)
    if surface.turns is not None and surface.turns.axis is not None:
        axis = found.world_from_camera[:3, :3].T @ surface.turns.axis
    turn = np.sqrt(max(np.trace(spread[:3, :3]) - axis @ spread[:3, :3] @ axis, 0.0))
    shift = np.sqrt(np.trace(spread[3:, 3:]))
    return bool(np.rad2deg(turn) < SURE_DEGREES and shift < SURE_SHIFT)
