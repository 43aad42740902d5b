"""How much a mixture is like its image under a map, in closed form, and the symmetries at which it is most like it.

    rho(H) = <F, F o H> / <F, F>,   F = sum of w exp(-(x - mean)^T P (x - mean) / 2),
    <e^{-q1/2}, e^{-q2/2}> = (2 pi)^{3/2} |P1 + P2|^{-1/2} exp(-d^T (S1 + S2)^{-1} d / 2),   S = P^{-1}

with d between the means. It is 1 for a map that leaves F as it is and, by Cauchy's inequality, less for any other.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.merging import merge_mixture
from fmb.fields.metaballs import HALF_DENSITY, HALF_OPAQUE, spread_directions
from fmb.fields.mixtures import covariance, mixture_frame
from fmb.geometry.symmetry import NO_SYMMETRY, Orbit, Placement, Symmetry

MOST_COMPONENTS = 96  # of a mixture that is compared with its images; larger ones are merged first
LEAST_SHARPNESS = 0.1  # log weight above that of half opacity from which a component has a size of its own
UNIFORM = 5.0  # square of a ball's radius over the variance of its volume along an axis
# Deviation that is added to all, in object scales. How a body falls into components is chance, which this hides: of
# 40 components, symmetric meshes correlate with their images by 0.978 to 0.997, others by 0.995 at most; without it by
# 0.87 to 0.90 and up to 0.87. So it finds places, and body_symmetry.py decides about them.
BLUR = 0.06
DIRECTIONS = 96  # of normals and axes that are tried; the principal axes are added
REFINED = 4  # of them, of each kind, that are moved uphill
DISTINCT = math.radians(12.0)  # between two starts of one kind
PAIRS_AT_ONCE = 400_000  # of components: what stays in the fast cache
PROMISING = 0.85  # least mean correlation of a start that is moved uphill


class Bodies(NamedTuple):
    """Gaussians to compare: weight, middle and covariance [body, 3, 3]."""

    weight: Float[np.ndarray, " body"]
    mean: Float[np.ndarray, "body 3"]
    covariance: Float[np.ndarray, "body 3 3"]


class Likeness(NamedTuple):
    """A symmetry, and how like its images the mixture is: the least correlation over the maps of its group."""

    symmetry: Symmetry
    score: float


def bodies_of(mixture: Mixture) -> Bodies:
    """The components as Gaussians of the volume inside their half-opaque ellipsoids, in double precision.

    A sharp component weighs thousands of times what a blunt one of the same size does, which hides the blunt one from
    the correlation; volumes are what silhouettes and surfaces show. One that is nowhere half opaque counts by its
    weight. All are blurred by BLUR.
    """
    if len(mixture.mean) > MOST_COMPONENTS:
        mixture = merge_mixture(mixture, np.zeros((len(mixture.mean), 3)), MOST_COMPONENTS)[0]
    log_weight = np.asarray(mixture.log_weight, float)
    sharpness = np.maximum(log_weight - HALF_OPAQUE, LEAST_SHARPNESS)
    spread = 2.0 * sharpness[:, None, None] * covariance(mixture) / UNIFORM
    share = np.minimum(1.0, np.exp(log_weight) / HALF_DENSITY) * np.sqrt(np.linalg.det(spread))
    spread = spread + (BLUR * float(mixture_frame(mixture).scale)) ** 2 * np.eye(3)
    return Bodies(share / np.sqrt(np.linalg.det(spread)), np.asarray(mixture.mean, float), spread)


def correlation(bodies: Bodies, orbit: Orbit) -> Float[np.ndarray, " map"]:
    """rho of every map of the orbit."""
    orbit = Orbit(*(np.asarray(field, float) for field in orbit))
    itself = _overlap(bodies, np.eye(3)[None], np.zeros((1, 3)))
    step = max(1, PAIRS_AT_ONCE // len(bodies.weight) ** 2)
    parts = range(0, len(orbit.rotation), step)
    found = [_overlap(bodies, orbit.rotation[i : i + step], orbit.translation[i : i + step]) for i in parts]
    return np.concatenate(found) / itself


def _overlap(bodies: Bodies, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """<F, F o H> for every map, but for (2 pi)^{3/2}, by the inverse of a symmetric matrix in its entries."""
    weight, mean, spread = bodies
    moved = np.einsum("hij,bj->hbi", rotation, mean) + translation[:, None]
    turned = rotation[:, None] @ spread[None] @ rotation.swapaxes(1, 2)[:, None]
    x, y, z = np.moveaxis(mean[None, :, None] - moved[:, None], -1, 0)
    total = {pair: spread[None, :, None, *pair] + turned[:, None, :, *pair] for pair in ENTRIES}
    a, b, c, d, e, f = (total[pair] for pair in ENTRIES)
    minors = d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * minors[0] + b * minors[1] + c * minors[2]
    square = minors[0] * x * x + minors[3] * y * y + minors[5] * z * z
    square += 2.0 * (minors[1] * x * y + minors[2] * x * z + minors[4] * y * z)
    share = weight * np.sqrt(np.linalg.det(spread))
    pairs = np.exp(-0.5 * square / determinant) / np.sqrt(determinant)
    return np.einsum("i,hij,j->h", share, pairs, share)


ENTRIES = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of a symmetric matrix


def score_of(bodies: Bodies, symmetry: Symmetry) -> float:
    """The least correlation over the maps of the group; 1 for the identity alone."""
    return float(correlation(bodies, symmetry.orbit).min())


def middle_of(bodies: Bodies) -> Float[np.ndarray, "3"]:
    """The centre of mass, through which every plane and axis of a symmetric mixture passes."""
    mass = bodies.weight * np.sqrt(np.linalg.det(bodies.covariance))
    return mass @ bodies.mean / mass.sum()


def principal_axes(bodies: Bodies) -> Float[np.ndarray, "3 3"]:
    """The principal axes of the whole, as columns, least variance first."""
    mass = bodies.weight * np.sqrt(np.linalg.det(bodies.covariance))
    offset = bodies.mean - middle_of(bodies)
    second = np.einsum("b,bij->ij", mass, bodies.covariance + offset[:, :, None] * offset[:, None, :])
    return np.linalg.eigh(second)[1]


def likely_symmetries(bodies: Bodies, kind: str, count: int = REFINED) -> list[Likeness]:
    """The best `count` places of a group, each a maximum of its mean correlation, best first.

    Directions spread over the half sphere and the principal axes, through the centre of mass, are tried, and the best
    that differ are moved uphill. Two of the results may be one place; there are none where none is PROMISING.
    """
    if kind == NO_SYMMETRY:
        return [Likeness(Symmetry(kind, Placement(np.eye(3), middle_of(bodies))), 1.0)]
    starts = tried_places(bodies, kind)
    score = np.array([correlation(bodies, moving(start)).mean() for start in starts])
    chosen: list[Symmetry] = []
    for number in np.argsort(-score):
        if len(chosen) < count and score[number] > PROMISING and all(differ(starts[number], other) for other in chosen):
            chosen.append(starts[number])
    found = [climb(bodies, start) for start in chosen]
    return sorted(found, key=lambda one: -one.score)


def climb(bodies: Bodies, start: Symmetry, on_step: Callable[[Symmetry], None] = lambda now: None) -> Likeness:
    """The symmetry at the nearest maximum of the mean correlation, over all that can be moved of its place.

    `on_step` sees where each step leads.
    """
    unit = np.sqrt(np.trace(bodies.covariance, axis1=1, axis2=2).mean() + bodies.mean.var(axis=0).sum())
    count, at = free_steps(start, float(unit))

    def loss(step: np.ndarray) -> float:
        return 1.0 - float(correlation(bodies, moving(at(step))).mean())

    found = minimize(loss, np.zeros(count), method="BFGS", callback=lambda step: on_step(at(step)))
    best = at(found.x)
    return Likeness(best, score_of(bodies, best))


def free_steps(start: Symmetry, unit: float) -> tuple[int, Callable[[np.ndarray], Symmetry]]:
    """In how many ways the place of a symmetry can be moved, and the symmetry after a step: in radians, then units."""
    free = np.flatnonzero([*start.group.turns, *start.group.shifts])

    def at(step: np.ndarray) -> Symmetry:
        whole = np.zeros(6)
        whole[free] = step
        return stepped(start, whole * np.repeat([1.0, unit], 3))

    return len(free), at


def stepped(symmetry: Symmetry, step: Float[np.ndarray, "6"]) -> Symmetry:
    """The group turned by a rotation vector about its own axes, and moved along them."""
    rotation, origin = symmetry.placement
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    return Symmetry(symmetry.kind, Placement(rotation @ turn, origin + rotation @ step[3:]))


def moving(symmetry: Symmetry) -> Orbit:
    """The maps but the identity and, of rotations, the inverses of others, which correlate alike."""
    orbit, count = symmetry.orbit, len(symmetry.group.maps)
    last = count if symmetry.group.planes else count // 2 + 1
    return Orbit(orbit.rotation[1:last], orbit.translation[1:last])


def tried_places(bodies: Bodies, kind: str) -> list[Symmetry]:
    """Places through the centre of mass: of all directions and, for two planes, quarter turns about each axis."""
    middle, own = middle_of(bodies), principal_axes(bodies)
    directions = np.concatenate([own.T, spread_directions(DIRECTIONS)[3:]])
    column = 0 if kind == "plane" else 2
    turns = np.deg2rad([0.0, 22.5, 45.0, 67.5]) if kind == "two_planes" else np.zeros(1)
    found = []
    for direction in directions:
        frame = frame_towards(direction, own, column)
        for angle in turns:
            turn = Rotation.from_rotvec([0.0, 0.0, angle]).as_matrix()
            found.append(Symmetry(kind, Placement(frame @ turn, middle)))
    return found


def frame_towards(direction: np.ndarray, own: np.ndarray, column: int) -> Float[np.ndarray, "3 3"]:
    """A rotation whose given column is the direction; the next one is along the principal axis most across it."""
    across = own[:, np.argmin(np.abs(direction @ own))]
    across = across - (across @ direction) * direction
    across /= np.linalg.norm(across)
    return np.roll(np.stack([direction, across, np.cross(direction, across)], axis=1), column, axis=1)


def differ(a: Symmetry, b: Symmetry) -> bool:
    """Whether two places of one kind of group are too far apart to have one maximum for certain."""
    column = 0 if a.kind == "plane" else 2
    cosine = abs(a.placement.rotation[:, column] @ b.placement.rotation[:, column])
    if cosine < np.cos(DISTINCT):
        return True
    return a.kind == "two_planes" and _quarter_turn(a, b) > DISTINCT


def _quarter_turn(a: Symmetry, b: Symmetry) -> float:
    """Angle between the planes of two pairs about one axis, up to quarter turns, which swap them."""
    angle = np.arctan2(*(abs(a.placement.rotation[:, 0] @ b.placement.rotation[:, axis]) for axis in (1, 0)))
    return float(min(angle, np.pi / 2 - angle))


def largest(found: Sequence[Likeness], least: float) -> Likeness | None:
    """Of the symmetries with a score of `least` the one with most maps, then planes before turns, then the best."""
    good = [one for one in found if one.score >= least]
    order = [(len(one.symmetry.group.maps), len(one.symmetry.group.planes), one.score) for one in good]
    return good[order.index(max(order))] if good else None


def best_place(bodies: Bodies, kind: str) -> Likeness:
    """The best place of a kind, along a principal axis where nothing is PROMISING."""
    places = likely_symmetries(bodies, kind) or [climb(bodies, place) for place in principal_places(bodies, kind)]
    return max(places, key=lambda one: one.score)


def principal_places(bodies: Bodies, kind: str) -> list[Symmetry]:
    """The places of a group along each of the principal axes, through the centre of mass."""
    own, middle = principal_axes(bodies), middle_of(bodies)
    column = 0 if kind == "plane" else 2
    return [Symmetry(kind, Placement(frame_towards(axis, own, column), middle)) for axis in own.T]
