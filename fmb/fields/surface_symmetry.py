"""Symmetries of a surface: found in a mixture, moved onto the surface's own points, and measured there."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.fields.correlation import Bodies, Likeness, likely_symmetries, stepped
from fmb.geometry.distances import distance_to
from fmb.geometry.symmetry import GROUPS, NO_SYMMETRY, Orbit, Symmetry, apply_to_points

SAMPLES, MOVED, MEASURED = 20_000, 2_000, 1_000  # points of the surface: to be near to, to be moved, to be measured
STEPS = 20  # of Gauss and Newton, at most
KEPT = 0.8  # of the pairs of points in a step, the nearest: parts that have no counterpart do not count
CLOSE = 0.94  # score of the mixture from which a symmetry is looked for on the surface
SETTLED = 1e-7  # radians and scales: a shorter step is the last
DIFFERENCE = 1e-6  # radians and scales, over which slopes are taken
# Of the distance of mirrored points from the surface, in object scales. Exactly symmetric meshes have 0.0001 in the
# mean, and a statue, or a shape that is sheared by a tenth, 0.01.
NEAR, FAR, FAR_SHARE = 0.004, 0.02, 0.03  # mean of a symmetric surface; a distance that counts as far; its share


class SurfaceLikeness(NamedTuple):
    """A symmetry of a surface: correlation of its mixture, and distances of its images from it, in object scales.

    `far` is the share of points that lie farther than FAR scales from the surface, `distance` the mean.
    """

    symmetry: Symmetry
    score: float
    distance: float
    far: float

    @property
    def holds(self) -> bool:
        """Whether the surface counts as symmetric."""
        return self.distance <= NEAR and self.far <= FAR_SHARE


class Skin(NamedTuple):
    """Points of a surface with their normals, a tree that finds the nearest, and what is moved by a symmetry.

    `distance` is that of any points from the surface. Of noisy points the surface is known to `floor` alone: the mean
    distance, in the unit of the points, and the share of far ones that points of the surface itself have.
    """

    point: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"]
    tree: cKDTree
    moved: Float[np.ndarray, "moved 3"]  # brought close to the surface
    probe: Float[np.ndarray, "probe 3"]  # measured then
    distance: Callable[[Float[np.ndarray, "place 3"]], Float[np.ndarray, " place"]]
    floor: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0  # of the object, in the unit of the points


def skin_of(mesh: trimesh.Trimesh) -> Skin:
    """SAMPLES points of a mesh of scale 1, uniform by area, always the same of one mesh."""
    point, face = sample_surface(mesh, SAMPLES, seed=0)
    point, normal = np.asarray(point), np.asarray(mesh.face_normals)[face]
    probe = point[MOVED : MOVED + MEASURED]
    return Skin(point, normal, cKDTree(point), point[:MOVED], probe, partial(distance_to, mesh))


def refine(skin: Skin, start: Symmetry) -> Symmetry:
    """The symmetry that brings the images of surface points closest to the tangent planes of the points next to them.

    As ICP does with poses: pairs, a step of Gauss and Newton in what can move, and again.
    """
    free = np.flatnonzero([*start.group.turns, *start.group.shifts])
    symmetry, points = start, skin.moved
    for _ in range(STEPS):
        images = _images(symmetry, points)
        distance, near = skin.tree.query(images)
        kept = distance <= np.quantile(distance, KEPT)
        normal, target = skin.normal[near[kept]], skin.point[near[kept]]

        def residual(step: np.ndarray, symmetry=symmetry, kept=kept, normal=normal, target=target) -> np.ndarray:
            return np.sum((_images(stepped(symmetry, step), points)[kept] - target) * normal, axis=1)

        now = residual(np.zeros(6))
        slopes = np.stack([residual(DIFFERENCE * np.eye(6)[axis]) - now for axis in free], axis=1) / DIFFERENCE
        step = np.zeros(6)
        step[free] = -np.linalg.lstsq(slopes, now, rcond=None)[0]
        symmetry = stepped(symmetry, step)
        if np.abs(step).max() < SETTLED:
            break
    return symmetry


def _images(symmetry: Symmetry, points: np.ndarray) -> np.ndarray:
    orbit = symmetry.orbit
    return apply_to_points(Orbit(orbit.rotation[1:], orbit.translation[1:]), points).reshape(-1, 3)


def measured(skin: Skin, symmetry: Symmetry, score: float) -> SurfaceLikeness:
    """The symmetry with distances of images from the surface, beyond those of its own points; of the map that is worst.

    Squares are subtracted, as distances that come from noise and from the symmetry are independent.
    """
    distance = skin.distance(_images(symmetry, skin.probe)).reshape(-1, len(skin.probe))
    mean, far = (float(x.mean(1).max()) for x in (distance, distance > FAR * skin.scale))
    beyond = np.sqrt(max(mean**2 - skin.floor[0] ** 2, 0.0)) / skin.scale
    return SurfaceLikeness(symmetry, score, float(beyond), max(far - skin.floor[1], 0.0))


def surface_symmetries(skin: Skin, bodies: Bodies, kinds: Sequence[str] = tuple(GROUPS)) -> list[SurfaceLikeness]:
    """For every kind that comes near to being one, the place where the surface is most like its images."""
    found = []
    for kind in kinds:
        if kind != NO_SYMMETRY:
            each = [refined(skin, one) for one in likely_symmetries(bodies, kind) if one.score >= CLOSE]
            if each:
                found.append(min(each, key=lambda one: one.distance))
    return found


def refined(skin: Skin, start: Likeness) -> SurfaceLikeness:
    """The symmetry of a mixture, refined on the surface and measured there."""
    return measured(skin, refine(skin, start.symmetry), start.score)


def largest_of_surface(found: Sequence[SurfaceLikeness]) -> SurfaceLikeness | None:
    """Of the symmetries that hold the one with most maps, then planes before turns, then the nearest."""
    good = [one for one in found if one.holds]
    order = [(len(one.symmetry.group.maps), len(one.symmetry.group.planes), -one.distance) for one in good]
    return good[order.index(max(order))] if good else None
