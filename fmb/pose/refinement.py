"""The last steps of a pose: measured points against the planes of the model's own surface points.

A mixture errs where faces are flat and edges are sharp, by some thousandths of the object's size. Where the model has a
mesh or points, Gauss-Newton on distances from points to planes (Chen & Medioni 1992), with the nearest points of a
tree, ends nearer. It begins at the pose that the mixture gave, inside its basin, and that pose with its covariance
stays in the sum: it holds what the points leave open, such as the turn of a can.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from fmb.geometry.metrics import MEDIAN_TO_DEVIATION
from fmb.geometry.views import foreground
from fmb.pose.observation import Observation
from fmb.pose.symmetry import Turns

MOST_POINTS = 2_000  # of the image
ROUGH_POINTS, ROUGHLY = 250, 2e-3  # of the image, as long as a step is longer in radians and scales
MOST_STEPS = 20
SETTLED = 1e-5  # radians and scales: a shorter step is the last
LEAST_NOISE = 2e-4  # scales; of exact depths: samples of a curved surface stand so far from its planes
CAUCHY = 2.385  # deviations at which a residual counts half
LOOSER = 1_000.0  # factor on the covariance of the pose to begin with: it holds only what points leave open
SLOPE_NOISE = 0.03  # root mean square of slopes that errors of normals and the samples' spacing give [radians]
FURTHEST = 0.1  # scales between a measured point and its partner
FEWEST_PAIRS = 20
BLOCKS_ACROSS = 8  # of the measured points in the image, whose errors are taken for independent
MORE_PARTNERS = 24  # nearest points of the surface among which one that faces the camera is looked for


class Surface(NamedTuple):
    """Points of a surface with outward unit normals, and a tree that finds the nearest.

    `turns` leave it as it is; None: not known. A surface that is not `exact`, such as that of the mixture itself, says
    whether a pose is right, but not better where it is.
    """

    point: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"]
    tree: cKDTree
    turns: Turns | None = None
    exact: bool = True


class Pairs(NamedTuple):
    """Signed distances of measured points from the planes of their partners, and the slopes in the twist.

    `kept` are the numbers of these points.
    """

    distance: Float[np.ndarray, " pair"]
    slope: Float[np.ndarray, "pair 6"]
    kept: Int[np.ndarray, " pair"]


class Refined(NamedTuple):
    """A pose world_from_camera and its covariance, as in PoseEstimate."""

    world_from_camera: Float[np.ndarray, "4 4"]
    covariance: Float[np.ndarray, "6 6"]


def surface_of(point: Float[np.ndarray, "point 3"], normal: Float[np.ndarray, "point 3"]) -> Surface:
    """The points with their tree."""
    return Surface(point, normal, cKDTree(point))


def refined(
    surface: Surface,
    points: Float[np.ndarray, "point 3"],
    first: Float[np.ndarray, "4 4"],
    held: Float[np.ndarray, "6 6"],
    scale: float,
) -> Refined | None:
    """The pose near `first`, world_from_camera, at which measured points lie on the surface; None where too few do.

    Everything is in the frame and unit of the surface; `scale` is the object's size in it. `held` is the information of
    the first pose, the inverse of its covariance.
    """
    unit, pose, length = np.repeat([1.0, scale], 3), first, np.inf
    some = points[:: max(1, len(points) // ROUGH_POINTS)]
    for _ in range(MOST_STEPS):
        some = points if length < ROUGHLY else some
        pairs = matched(surface, some, pose, FURTHEST * scale)
        if len(pairs.distance) < FEWEST_PAIRS:
            return None
        weight = weights(pairs.distance, LEAST_NOISE * scale)
        weighted = (pairs.slope * weight[:, None]).T
        information, gradient = weighted @ pairs.slope + held, weighted @ pairs.distance + held @ twist(first, pose)
        step = -np.linalg.solve(information, gradient)
        pose = pose @ np.linalg.inv(motion(step))
        length = np.abs(step / unit).max()
        if length < SETTLED and len(some) == len(points):
            break
    # noise that neighbours share tells less than as many independent errors
    shared = dispersion(pairs, weight, information, blocks_of(some)[pairs.kept])
    sure, total = (information - held) / shared, weight.sum() / shared
    return Refined(pose, covariance_of(sure, held, total, about_middle(pose, surface, scale)))


def dispersion(
    pairs: Pairs,
    weight: Float[np.ndarray, " pair"],
    information: Float[np.ndarray, "6 6"],
    block: Int[np.ndarray, " pair"],
) -> float:
    """Scatter of the scores of blocks of pairs over the scatter of independent ones, at least 1.

    A sandwich clustered by block (Huber 1967, White 1980), reduced to one number.
    """
    score = pairs.slope * (weight * pairs.distance)[:, None]
    total = np.zeros((BLOCKS_ACROSS**2, 6))
    np.add.at(total, block, score)
    inverse = np.linalg.inv(information)
    together, alone = (np.einsum("ni,ij,nj->", x, inverse, x) for x in (total, score))
    return max(float(together / alone), 1.0) if alone > 0.0 else 1.0


def covariance_of(
    information: Float[np.ndarray, "6 6"],
    held: Float[np.ndarray, "6 6"],
    total: float,
    change: Float[np.ndarray, "6 6"],
) -> Float[np.ndarray, "6 6"]:
    """The covariance of a pose from the information of its pairs, whose weights sum up to `total`, and what is held.

    Normals of samples err, so every direction seems to have a slope, and a can seems to have a first turn. What such
    errors give is taken from the information, along each of its axes in the object's own unit, which `change` leads to.
    """
    back = np.linalg.inv(change)
    value, axis = np.linalg.eigh(back.T @ information @ back)
    sure = axis * np.maximum(value - SLOPE_NOISE**2 * total, 0.0) @ axis.T
    return np.linalg.inv(change.T @ sure @ change + held)


def about_middle(pose: Float[np.ndarray, "4 4"], surface: Surface, scale: float) -> Float[np.ndarray, "6 6"]:
    """What turns a twist about the camera's centre into one about the object's middle: w, (v + w x middle) / scale."""
    x, y, z = (surface.point.mean(axis=0) - pose[:3, 3]) @ pose[:3, :3]
    change = np.eye(6)
    change[3:, :3] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
    change[3:] /= scale
    return change


def measured_points(observation: Observation) -> Float[np.ndarray, "point 3"]:
    """The points of the object that the depth shows, at most MOST_POINTS, in the camera's axes."""
    depth = np.nan_to_num(np.asarray(observation.depth, float))
    seen = (depth > 0.0) & np.isfinite(depth)
    for image in (observation.silhouette, observation.valid):
        seen &= True if image is None else foreground(np.asarray(image, float))
    row, column = np.nonzero(seen)
    step = max(1, -(-len(row) // MOST_POINTS))
    row, column = row[::step], column[::step]
    pixel = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], axis=1)
    return pixel @ np.linalg.inv(np.asarray(observation.intrinsics, float)).T * depth[row, column, None]


def matched(
    surface: Surface, points: Float[np.ndarray, "point 3"], pose: Float[np.ndarray, "4 4"], furthest: float
) -> Pairs:
    """The measured points that have a partner so near that faces the camera, at a pose world_from_camera."""
    there = points @ pose[:3, :3].T + pose[:3, 3]
    near = facing_partners(surface, there, there - pose[:3, 3], furthest)
    kept = np.flatnonzero(near >= 0)
    normal = surface.normal[near[kept]]
    toward = normal @ pose[:3, :3]
    distance = np.sum(normal * (there[kept] - surface.point[near[kept]]), axis=1)
    slope = -np.concatenate([np.cross(points[kept], toward), toward], axis=1)
    return Pairs(distance, slope, kept)


def blocks_of(points: Float[np.ndarray, "point 3"]) -> Int[np.ndarray, " point"]:
    """In which of BLOCKS_ACROSS x BLOCKS_ACROSS parts of the points' box in the image each point lies."""
    if not len(points):
        return np.zeros(0, int)
    place = points[:, :2] / points[:, 2:]
    low, high = place.min(axis=0), place.max(axis=0)
    number = np.minimum((place - low) / np.maximum(high - low, 1e-12) * BLOCKS_ACROSS, BLOCKS_ACROSS - 1).astype(int)
    return number[:, 0] * BLOCKS_ACROSS + number[:, 1]


def facing_partners(
    surface: Surface, there: Float[np.ndarray, "point 3"], ray: Float[np.ndarray, "point 3"], furthest: float
) -> Int[np.ndarray, " point"]:
    """The nearest point of the surface that faces the camera for each of `there`, -1 where none is so near.

    Behind the nearest that does not, as on the far side of a thin wall, some more are tried.
    """
    away, near = surface.tree.query(there, distance_upper_bound=furthest)
    found = np.full(len(there), -1)
    kept = np.flatnonzero(np.isfinite(away))
    facing = np.sum(surface.normal[near[kept]] * ray[kept], axis=1) < 0.0
    found[kept[facing]] = near[kept[facing]]
    others = kept[~facing]
    if len(others):
        away, near = surface.tree.query(there[others], MORE_PARTNERS, distance_upper_bound=furthest)
        index = np.minimum(near, len(surface.point) - 1)
        facing = np.isfinite(away) & (np.einsum("pki,pi->pk", surface.normal[index], ray[others]) < 0.0)
        first = np.argmax(facing, axis=1)
        found[others] = np.where(facing.any(axis=1), near[np.arange(len(others)), first], -1)
    return found


def weights(distance: Float[np.ndarray, " pair"], least: float) -> Float[np.ndarray, " pair"]:
    """Cauchy's weights over the variance that the median tells."""
    noise = max(MEDIAN_TO_DEVIATION * float(np.median(np.abs(distance))), least)
    return 1.0 / (noise**2 * (1.0 + (distance / (CAUCHY * noise)) ** 2))


def motion(step: Float[np.ndarray, "6"]) -> Float[np.ndarray, "4 4"]:
    """The rigid motion of a rotation vector and a translation."""
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = Rotation.from_rotvec(step[:3]).as_matrix(), step[3:]
    return found


def twist(first: Float[np.ndarray, "4 4"], pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "6"]:
    """xi with camera_from_object = exp(xi) first, of two poses world_from_camera, to first order."""
    change = np.linalg.inv(pose) @ first
    return np.concatenate([Rotation.from_matrix(change[:3, :3]).as_rotvec(), change[:3, 3]])
