"""Iterative closest points, in NumPy: the classic that poses are compared with.

Points: Besl & McKay, "A method for registration of 3-D shapes", PAMI 1992; planes: Chen & Medioni, "Object modelling
by registration of multiple range images", 1992; trimming: Chetverikov et al., "The trimmed ICP algorithm", 2002.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

FEWEST = 3  # pairs that a motion needs
FLAT = 1e-9  # of the largest singular value: motions that the planes do not determine are left out below it


@dataclass(frozen=True)
class IcpOptions:
    """How long to go on, and which pairs count."""

    most_steps: int = 100
    tolerance: float = 1e-7  # of a step: radians, and shift as a part of the target's extent
    kept: float = 1.0  # nearest share of the pairs that counts
    furthest: float = np.inf  # pairs further apart do not count, in the unit of the points


class Target(NamedTuple):
    """A cloud prepared to be searched; `normal` is needed for planes alone."""

    points: Float[np.ndarray, "target 3"]
    tree: cKDTree
    normal: Float[np.ndarray, "target 3"] | None = None


class IcpFit(NamedTuple):
    """The motion that brings the source onto the target; `success`: the steps became smaller than the tolerance."""

    target_from_source: Float[np.ndarray, "4 4"]
    iterations: int
    residual: float  # root mean square over the last pairs: of distances, or of those to the planes
    success: bool


def icp_target(points: Float[np.ndarray, "target 3"], normal: Float[np.ndarray, "normal 3"] | None = None) -> Target:
    """The cloud with its search tree, for any number of fits.

    Raises ValueError for a cloud too small to determine a motion.
    """
    points = _cloud("target", points)
    if normal is not None and normal.shape != points.shape:
        raise ValueError(f"icp: {len(normal)} normals of {len(points)} points")
    return Target(points, cKDTree(points), normal)


def icp(
    source: Float[np.ndarray, "source 3"],
    target: Target,
    start: Float[np.ndarray, "4 4"],
    rule: str = "point",
    options: IcpOptions = IcpOptions(),
) -> IcpFit:
    """Fit of the source, a part of the target perhaps, from `start`, by one of ICP_RULES.

    Raises ValueError for an unknown rule, a cloud too small, planes without normals, a share outside (0, 1].
    """
    if rule not in ICP_RULES:
        raise ValueError(f"icp rule {rule!r} is not one of {', '.join(ICP_RULES)}")
    if rule == "plane" and target.normal is None:
        raise ValueError("icp rule 'plane' needs the target's normals")
    if not 0.0 < options.kept <= 1.0:
        raise ValueError(f"icp: kept {options.kept} of the pairs; must be above 0 and at most 1")
    source, motion = _cloud("source", source), np.array(start, float)
    extent, residual = float(np.linalg.norm(np.ptp(target.points, axis=0))), np.nan
    for iteration in range(1, options.most_steps + 1):
        moved = source @ motion[:3, :3].T + motion[:3, 3]
        distance, index = target.tree.query(moved, distance_upper_bound=options.furthest)
        counted = _nearest_share(distance, options.kept)
        if len(counted) < FEWEST:
            return IcpFit(motion, iteration, residual, False)
        step, residual = ICP_RULES[rule](moved[counted], target, index[counted])
        motion = step @ motion
        turn = np.linalg.norm(Rotation.from_matrix(step[:3, :3]).as_rotvec())
        # the shift of the cloud, not of the origin, which may lie far from it
        centre = moved[counted].mean(axis=0)
        shift = np.linalg.norm(step[:3, :3] @ centre + step[:3, 3] - centre)
        if max(turn, shift / extent) < options.tolerance:
            return IcpFit(motion, iteration, residual, True)
    return IcpFit(motion, options.most_steps, residual, False)


def point_step(moved: Float[np.ndarray, "pair 3"], target: Target, index: np.ndarray) -> tuple[np.ndarray, float]:
    """The motion of least squared distances between pairs (Kabsch), and their root mean square before it."""
    goal = target.points[index]
    here, there = moved.mean(axis=0), goal.mean(axis=0)
    left, _, right = np.linalg.svd((goal - there).T @ (moved - here))
    # not a mirror image, however flat the cloud
    rotation = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return _rigid(rotation, there - rotation @ here), float(np.sqrt(np.mean(np.sum((goal - moved) ** 2, axis=1))))


def plane_step(moved: Float[np.ndarray, "pair 3"], target: Target, index: np.ndarray) -> tuple[np.ndarray, float]:
    """The small motion of least squared distances to the planes of the pairs, and their root mean square before it.

    About the middle of the cloud, with lengths in units of its extent, so that the six numbers are comparable.
    """
    centre = moved.mean(axis=0)
    size = float(np.sqrt(np.mean(np.sum((moved - centre) ** 2, axis=1)))) or 1.0
    local, normal = (moved - centre) / size, target.normal[index]
    error = np.sum((target.points[index] - moved) * normal, axis=1) / size
    design = np.concatenate([np.cross(local, normal), normal], axis=1)
    motion = np.linalg.lstsq(design, error, rcond=FLAT)[0]
    rotation = Rotation.from_rotvec(motion[:3]).as_matrix()
    return _rigid(rotation, centre + size * motion[3:] - rotation @ centre), size * float(np.sqrt(np.mean(error**2)))


ICP_RULES: dict[str, Callable[..., tuple[np.ndarray, float]]] = {"point": point_step, "plane": plane_step}


def back_projected(
    depth: Float[np.ndarray, "height width"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "measured 3"]:
    """Points in the camera's axes of all pixels that measured a depth; NaN and 0 did not."""
    row, column = np.nonzero(np.nan_to_num(depth) > 0.0)
    pixel = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], axis=-1)
    return pixel @ np.linalg.inv(intrinsics).T * depth[row, column, None]


def _nearest_share(distance: np.ndarray, kept: float) -> np.ndarray:
    near = np.flatnonzero(np.isfinite(distance))
    count = int(np.ceil(kept * len(near)))
    return near if count == len(near) else near[np.argpartition(distance[near], count - 1)[:count]]


def _rigid(rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, shift
    return motion


def _cloud(name: str, points: np.ndarray) -> np.ndarray:
    if len(points) < FEWEST:
        raise ValueError(f"icp: {name} of {len(points)} points; must be at least {FEWEST}")
    return np.asarray(points, float)
