"""Rigid alignment of two shapes: principal axes matched, then iterated closest points (ICP) from there."""

from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from fmb.geometry.comparison import Sampled, Shape, sampled
from fmb.geometry.distances import nearest_on

COARSE, FINE = 1_000, 5_000  # points that choose among starts, and that the last steps move
TARGETS = 20_000  # samples of the reference among which neighbours are sought
STARTS = 5  # best ways to match the axes that ICP tries
COARSE_STEPS, FINE_STEPS, EXACT_STEPS = 15, 60, 20
STILL = 1e-8  # of the size: a smaller step ends the iteration
NEIGHBOURS = 12  # of a point of a cloud, whose plane gives its normal
FAR = 3.0  # medians of the distances: pairs farther apart pull less, in inverse proportion (Huber)


class Motion(NamedTuple):
    """A rigid motion x -> rotation x + shift."""

    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
        """The moved points."""
        return points @ self.rotation.T + self.shift

    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """The motion as one matrix."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.shift
        return matrix


IDENTITY = Motion(np.eye(3), np.zeros(3))


class Target(NamedTuple):
    """What points are moved to: samples with normals, and the surface itself where there is one."""

    surface: Sampled
    tree: cKDTree
    normal: Float[np.ndarray, "point 3"]
    size: float


def align_none(shape: Shape, reference: Shape, generator: np.random.Generator) -> Motion:
    """No motion."""
    return IDENTITY


def align_pca(shape: Shape, reference: Shape, generator: np.random.Generator) -> Motion:
    """The motion that lays the principal axes of one on those of the other; of all 24 ways the one that fits best."""
    source, target = sampled(shape, COARSE, generator).point, target_of(reference, generator)
    return axes_matched(source, target)[0]


def align_icp(shape: Shape, reference: Shape, generator: np.random.Generator) -> Motion:
    """Iterated closest points, point to plane (Chen & Medioni 1992), from the principal axes and from where it stands.

    The few best starts are tried with few points; the best end goes on with more. Where the reference is a mesh and the
    shapes are nearer to each other than its samples, the last steps go to the exact nearest points of its surface.
    """
    target = target_of(reference, generator)
    few, many = (sampled(shape, count, generator).point for count in (COARSE, FINE))
    starts = [IDENTITY, *axes_matched(few, target)[:STARTS]]
    ends = [icp(few, target, start, COARSE_STEPS) for start in starts]
    best = min(ends, key=lambda motion: misfit(motion(few), target))
    best = icp(many, target, best, FINE_STEPS)
    spacing = np.median(target.tree.query(target.surface.point, 2)[0][:, 1])
    if target.surface.pieces is None or np.median(target.tree.query(best(many))[0]) > 2.0 * spacing:
        return best
    return icp(many, target, best, EXACT_STEPS, exact=True)


ALIGNMENTS = {"none": align_none, "pca": align_pca, "icp": align_icp}


def target_of(reference: Shape, generator: np.random.Generator) -> Target:
    """The reference made ready to be moved to."""
    surface = sampled(reference, TARGETS, generator)
    tree = cKDTree(surface.point)
    normal = plane_normals(surface.point, tree) if surface.normal is None else surface.normal
    return Target(surface, tree, normal, float(np.ptp(surface.point, axis=0).max()))


def plane_normals(points: Float[np.ndarray, "point 3"], tree: cKDTree) -> Float[np.ndarray, "point 3"]:
    """Unit normals, of either sign, of the plane that fits each point's neighbours best."""
    near = points[tree.query(points, min(NEIGHBOURS, len(points)))[1].reshape(len(points), -1)]
    centred = near - near.mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.einsum("pni,pnj->pij", centred, centred))[1][:, :, 0]


def axes_matched(source: Float[np.ndarray, "point 3"], target: Target) -> list[Motion]:
    """All 24 rotations that lay the principal axes of one on those of the other, in any order; the best fit first."""
    (middle, axes), (there, wanted) = principal_axes(source), principal_axes(target.surface.point)
    motions = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        rotation = wanted[:, list(order)] * np.array(signs) @ axes.T
        if np.linalg.det(rotation) > 0.0:
            motions.append(Motion(rotation, there - rotation @ middle))
    return sorted(motions, key=lambda motion: misfit(motion(source), target))


def principal_axes(points: Float[np.ndarray, "point 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """The mean of points and their principal axes, columns, the longest last."""
    middle = points.mean(axis=0)
    return middle, np.linalg.eigh(np.cov((points - middle).T))[1]


def misfit(points: Float[np.ndarray, "point 3"], target: Target) -> float:
    """The mean of both one-sided mean distances between points and the target's samples."""
    other = target.surface.point[:: max(1, len(target.surface.point) // COARSE)]
    return float(target.tree.query(points)[0].mean() + cKDTree(points).query(other)[0].mean()) / 2


def icp(
    source: Float[np.ndarray, "point 3"], target: Target, motion: Motion, steps: int, exact: bool = False
) -> Motion:
    """The motion after so many steps at most; `exact`: nearest points of the surface, not of its samples."""
    for _ in range(steps):
        points = motion(source)
        if exact:
            nearest = nearest_on(target.surface.pieces, points)
            there, normal = nearest.point, target.surface.face_normal[nearest.face]
        else:
            _, place = target.tree.query(points)
            there, normal = target.surface.point[place], target.normal[place]
        step = plane_step(points, there, normal)
        motion = Motion(step.rotation @ motion.rotation, step(motion.shift[None])[0])
        if np.abs(step(points) - points).max() < STILL * target.size:
            break
    return motion


def plane_step(
    points: Float[np.ndarray, "point 3"], there: Float[np.ndarray, "point 3"], normal: Float[np.ndarray, "point 3"]
) -> Motion:
    """The motion that lessens sum w (n . (R x + t - y))^2, linear in the rotation's vector; none where all agree."""
    middle = points.mean(axis=0)
    size = np.linalg.norm(points - middle, axis=1).max()
    arm, away = (points - middle) / size, np.linalg.norm(points - there, axis=1)
    limit = FAR * np.median(away)
    weight = limit / np.maximum(away, limit) if limit > 0.0 else np.ones(len(points))
    rows = np.concatenate([np.cross(arm, normal), normal], axis=1)
    error = np.sum((there - points) * normal, axis=1) / size
    # what a symmetric surface does not tell, such as the turn of a ball, stays as it is
    found = np.linalg.lstsq(np.sqrt(weight)[:, None] * rows, np.sqrt(weight) * error, rcond=1e-9)[0]
    turn = Rotation.from_rotvec(found[:3]).as_matrix()
    return Motion(turn, middle + size * found[3:] - turn @ middle)
