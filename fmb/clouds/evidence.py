"""What a cloud says of itself: how dense it is, how noisy, which of its points are strays, where it has none."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from fmb.clouds.patches import TERMS, fit_quadrics
from fmb.geometry.interior import sample_surface

NEIGHBOURS = 8  # whose distance tells how dense the cloud is about a point
STRAY = 3.0  # a point whose neighbours are so many times as far as theirs are belongs to no surface
LONELY = 5.0  # likewise, compared with the whole cloud: the points of two scans differ less
ROUNDS = 3  # of leaving out strays: neighbours of a stray may be strays themselves
PROBES = 300  # points about which noise is estimated
PATCHES = (8, 24, 48, 96, 192, 384, 768)  # points of a patch; the smallest one that is wider than the noise tells
SPARSE = 0.03  # longest sides between points, beyond which a patch of 24 shows the shape more than the noise
# Largest misfit of a patch, in radii of it, that is noise about a surface. Points that fill a volume evenly give 0.28
# in patches of 8, to which a quadric adapts, and 0.36 in larger ones.
FLAT, FLAT_OF_EIGHT = 0.25, 0.18
BARE = 3.0  # spacings from the nearest point, beyond which nothing is known of a surface
BARE_SAMPLES = 10_000  # of the surface whose share without points is measured


class Evidence(NamedTuple):
    """What is known of a normalised cloud. Lengths are in longest sides."""

    spacing: float  # side of the square that one point stands for
    noise: float  # standard deviation of the points from a smooth surface through them; sparse clouds look noisier
    kept: Bool[np.ndarray, " point"]  # no strays
    area: Float[np.ndarray, " point"]  # that each point stands for, in those of a usual one; strays have none


def examine(points: Float[np.ndarray, "point 3"]) -> Evidence:
    """The evidence of a normalised cloud; always the same of one cloud."""
    kept = np.ones(len(points), bool)
    for _ in range(ROUNDS):
        reach, near = _reach(points[kept])
        alone = (reach > STRAY * np.median(reach[near], axis=1)) | (reach > LONELY * np.median(reach))
        kept[np.flatnonzero(kept)[alone]] = False
        if not alone.any():
            break
    reach, _ = _reach(points[kept])
    usual = float(np.median(reach))
    spacing = usual * float(np.sqrt(np.pi / NEIGHBOURS))
    noise = estimate_noise(points[kept], spacing, np.random.default_rng(0))
    area = kept.astype(float)
    if noise < spacing:  # in a thick layer the outermost points would count most
        area[kept] = np.clip(reach / usual, 0.25, 4.0) ** 2
    return Evidence(spacing, noise, kept, area)


def _reach(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each point's NEIGHBOURS-th neighbour, above 0, and the neighbours' indices."""
    distance, near = cKDTree(points).query(points, NEIGHBOURS + 1, workers=-1)
    far = distance[:, -1]
    return np.maximum(far, far[far > 0.0].min(initial=np.inf) if np.any(far > 0.0) else 1e-9), near[:, 1:]


def estimate_noise(points: Float[np.ndarray, "point 3"], spacing: float, generator: np.random.Generator) -> float:
    """Standard deviation of points from the surface, along its normal.

    Quadrics are fitted to patches about some points. In a patch that is no wider than the noise all looks alike, so
    patches grow until what is left is small beside them.
    """
    tree, chosen = cKDTree(points), generator.permutation(len(points))[:PROBES]
    found = []
    patches = PATCHES if spacing >= SPARSE else PATCHES[1:]
    for count in (size for size in patches if size <= max(patches[0], len(points) // 4)):
        distance, near = tree.query(points[chosen], count, workers=-1)
        left, radius = float(np.median(_misfit(points[near]))), float(np.median(distance[:, -1]))
        if left <= (FLAT_OF_EIGHT if count == PATCHES[0] else FLAT) * radius:
            return left
        found.append((left / radius, left))
    return min(found)[1]


def _misfit(patch: Float[np.ndarray, "patch near 3"]) -> Float[np.ndarray, " patch"]:
    """Standard deviation of each patch of points from the quadric fitted to it."""
    quadrics = fit_quadrics(patch)
    place = quadrics.local(patch)
    rest = place[..., 0] - quadrics.height(place)
    return np.sqrt(np.sum(rest**2, axis=1) / (patch.shape[1] - TERMS))


def bare_share(
    surface: trimesh.Trimesh, points: Float[np.ndarray, "point 3"], spacing: float, generator: np.random.Generator
) -> float:
    """Share of a surface's area that has no point within three spacings: there it is made up."""
    samples = sample_surface(surface, BARE_SAMPLES, generator)
    return float(np.mean(cKDTree(points).query(samples, workers=-1)[0] > BARE * spacing))
