"""Symmetries of a cloud: found in the mixture that its fit starts from, then decided on the points themselves.

Half of the points, moved by a map, must lie as near to the other half as they do unmoved. So noise and spacing, which
both distances have alike, say nothing against a symmetry, and what forty components hide of it does not count.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from fmb.clouds.evidence import BARE, Evidence
from fmb.clouds.patches import Quadrics, fit_quadrics
from fmb.clouds.smoothing import smoothed
from fmb.fields.correlation import Bodies, Likeness, best_place, differ, likely_symmetries
from fmb.fields.surface_symmetry import FAR, MOVED, Skin, SurfaceLikeness, largest_of_surface, refined
from fmb.geometry.symmetry import GROUPS, NO_SYMMETRY

PATCH = 16  # points of the patch whose quadric is the surface beside a point
PROBES = 5_000  # points that are measured
START = 0.9  # score of the mixture from which a place is looked at on the points: they decide. Spot's plane has 0.977


class Half(NamedTuple):
    """Points that stand for a surface: the quadric of each one's neighbours, and the distance between them."""

    tree: cKDTree
    quadrics: Quadrics
    spacing: float


def skin_of_cloud(
    points: Float[np.ndarray, "point 3"], evidence: Evidence, scale: float, generator: np.random.Generator
) -> Skin:
    """The points' surface as one half of them tells it, with the other half to be moved; strays are left out."""
    kept = points[evidence.kept]
    order = generator.permutation(len(kept))
    thinner = evidence._replace(spacing=evidence.spacing * np.sqrt(2.0))  # each half is smoothed by itself
    there, here = (smoothed(kept[part], thinner) for part in np.array_split(order, 2))
    tree = cKDTree(there)
    half = Half(tree, fit_quadrics(there[tree.query(there, min(PATCH, len(there)), workers=-1)[1]]), thinner.spacing)
    probe, distance = here[:PROBES], partial(distance_from, half)
    own = distance(probe)
    floor = float(own.mean()), float(np.mean(own > FAR * scale))
    return Skin(there, half.quadrics.axes[:, :, 0], tree, here[:MOVED], probe, distance, floor, scale)


def distance_from(half: Half, places: Float[np.ndarray, "place 3"]) -> Float[np.ndarray, " place"]:
    """Height over the quadric of the nearest point; where that is BARE spacings away or more, at least what is more."""
    away, near = half.tree.query(places, workers=-1)
    quadrics = Quadrics(*(part[near] for part in half.quadrics))
    place = quadrics.local(places[:, None])
    height = np.abs(place[..., 0] - quadrics.height(place))[:, 0]
    return np.clip(height, away - BARE * half.spacing, away)


def symmetry_of_cloud(skin: Skin, bodies: Bodies, kind: str) -> SurfaceLikeness:
    """The place of a kind where the points are nearest to their images, of the likely places of the mixture."""
    places = apart(likely_symmetries(bodies, kind)) or [best_place(bodies, kind)]
    return min((refined(skin, one) for one in places), key=lambda one: one.distance)


def largest_of_cloud(skin: Skin, bodies: Bodies) -> SurfaceLikeness | None:
    """The largest group that the points have; None where they have no symmetry."""
    places = [one for kind in GROUPS if kind != NO_SYMMETRY for one in apart(likely_symmetries(bodies, kind))]
    return largest_of_surface([refined(skin, one) for one in places if one.score >= START])


def apart(places: list[Likeness]) -> list[Likeness]:
    """The places without those beside a better one: starts often climb to one maximum."""
    kept: list[Likeness] = []
    for place in places:
        if all(differ(place.symmetry, other.symmetry) for other in kept):
            kept.append(place)
    return kept
