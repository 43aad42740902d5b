"""The poses of an object that look the same: its turns, found once for a model, and the one of them that is wanted."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.body_symmetry import SYMMETRIC, Body, body_of, scored
from fmb.fields.correlation import Bodies, bodies_of, frame_towards, likely_symmetries
from fmb.fields.surface_symmetry import FAR, FAR_SHARE, NEAR, Skin, refine, skin_of
from fmb.geometry.symmetry import Placement, Symmetry, apply_to_points

TURNS = tuple(f"cyclic_{count}" for count in (2, 3, 4, 5, 6))
MOST_MAPS = 24  # of a finite group of turns, that of the cube
SAME_TURN = np.deg2rad(6.0)  # turns that differ by less are one
MEASURED = slice(1, None, 23)  # of the surface points, those whose images are measured
PROMISING = 0.06  # scales: mean distance of images from the surface below which an axis is looked at closer
ACROSS = np.sin(np.deg2rad(10.0))  # cosine of an axis to that of revolution below which it turns this one over


class Turns(NamedTuple):
    """Turns that leave an object as it is: maps of its frame, the identity first, and an axis of revolution, if any.

    `axis` is a unit direction through `middle`; with it the maps are the identity and, at most, a turn end over end.
    """

    maps: Float[np.ndarray, "map 4 4"]
    axis: Float[np.ndarray, "3"] | None
    middle: Float[np.ndarray, "3"]

    @property
    def words(self) -> str:
        """What they are, in words."""
        if self.axis is not None:
            return "revolution, and end over end" if len(self.maps) > 1 else "revolution"
        return "none" if len(self.maps) == 1 else f"{len(self.maps)} poses look the same"


def turns_of(mixture: Mixture, mesh: trimesh.Trimesh | None = None, tolerance: float = NEAR) -> Turns:
    """The turns under which the mesh, or the mixture where there is none, is its own image; in their frame.

    `tolerance` is the mean distance of a symmetric mesh from its image, in its own unit, in which its scale is 1.
    """
    if mesh is None:
        holding = partial(of_mixture, body_of(mixture), bodies_of(mixture))
    else:
        holding = partial(of_mesh, skin_of(mesh), tolerance)
    round_ = next(holding("revolution"), None)
    if round_ is not None:
        axis, middle = round_.placement.rotation[:, 2], round_.placement.origin
        over = (one for one in holding(TURNS[0]) if abs(one.placement.rotation[:, 2] @ axis) < ACROSS)
        return Turns(closed([maps_of(one) for one in islice(over, 1)]), axis, middle)
    found = [one for kind in TURNS for one in holding(kind)]
    middle = np.asarray(mixture.mean, float).mean(0) if not found else found[0].placement.origin
    return Turns(closed([maps_of(one) for one in found]), None, middle)


def of_mixture(body: Body, bodies: Bodies, kind: str) -> Iterator[Symmetry]:
    """The symmetries of a kind that the mixture has."""
    return (one.symmetry for one in likely_symmetries(bodies, kind) if scored(body, one.symmetry).score >= SYMMETRIC)


def of_mesh(skin: Skin, tolerance: float, kind: str) -> Iterator[Symmetry]:
    """The symmetries of a kind that the surface has, about axes beside its principal ones.

    A fit to silhouettes leaves the inside open, so the mixture of a can is far from round; its surface is not.
    """
    middle = skin.point.mean(axis=0)
    own = np.linalg.eigh(np.cov((skin.point - middle).T))[1]
    for axis in own.T:
        start = Symmetry(kind, Placement(frame_towards(axis, own, 2), middle))
        images = apply_to_points(start.orbit, skin.point[::50]).reshape(-1, 3)
        if skin.tree.query(images)[0].mean() < PROMISING:
            one = refine(skin, start)
            mean, far = image_distances(skin, one)
            if mean <= tolerance and far <= FAR_SHARE * tolerance / NEAR:
                yield one


def image_distances(skin: Skin, symmetry: Symmetry) -> tuple[float, float]:
    """Mean distance of images from the planes of the points next to them, and share of far ones; of the worst map."""
    images = apply_to_points(symmetry.orbit, skin.point[MEASURED]).reshape(-1, 3)
    near = skin.tree.query(images)[1]
    distance = np.abs(np.sum(skin.normal[near] * (images - skin.point[near]), axis=1))
    distance = distance.reshape(len(symmetry.orbit.rotation), -1)
    return float(distance.mean(1).max()), float((distance > FAR).mean(1).max())


def maps_of(symmetry: Symmetry) -> Float[np.ndarray, "map 4 4"]:
    """The maps of a group as matrices."""
    orbit = symmetry.orbit
    maps = np.tile(np.eye(4), (len(orbit.rotation), 1, 1))
    maps[:, :3, :3], maps[:, :3, 3] = orbit.rotation, orbit.translation
    return maps


def closed(groups: Sequence[Float[np.ndarray, "map 4 4"]]) -> Float[np.ndarray, "all 4 4"]:
    """All products of the groups' maps, each once; the identity alone, where they are no finite group."""
    maps = [np.eye(4)]
    for group in groups:
        for one in group:
            maps += [one] if _new(one, maps) else []
    position = 0
    while position < len(maps):
        for other in list(maps):
            product = maps[position] @ other
            maps += [product] if _new(product, maps) else []
        position += 1
        if len(maps) > MOST_MAPS:
            return np.eye(4)[None]
    return np.stack(maps)


def nearest(
    turns: Turns, pose: Float[np.ndarray, "4 4"], reference: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "4 4"]:
    """Of the poses, world_from_camera, that look like `pose` the one that is turned least against the reference."""
    poses = [np.linalg.inv(one) @ pose for one in turns.maps]
    poses = poses if turns.axis is None else [_about_axis(turns, one, reference) for one in poses]
    return max(poses, key=lambda one: np.trace(one[:3, :3].T @ reference[:3, :3]))


def all_maps(turns: Turns, count: int = 72) -> Float[np.ndarray, "map 4 4"]:
    """The maps, with `count` turns about an axis of revolution for all of them."""
    if turns.axis is None:
        return turns.maps
    around = [_turn(turns, 2.0 * np.pi * k / count) for k in range(count)]
    return np.stack([one @ other for one in turns.maps for other in around])


def _about_axis(turns: Turns, pose: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The pose turned about the axis of revolution so that it is turned least: trace(R(angle) A) is greatest."""
    against = pose[:3, :3] @ reference[:3, :3].T
    x, y, z = turns.axis
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    flat = np.eye(3) - np.outer(turns.axis, turns.axis)
    angle = np.arctan2(np.trace(skew @ against), np.trace(flat @ against))
    return _turn(turns, float(angle)) @ pose


def _turn(turns: Turns, angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(angle * turns.axis).as_matrix()
    turn[:3, 3] = turns.middle - turn[:3, :3] @ turns.middle
    return turn


def _new(one: np.ndarray, maps: Sequence[np.ndarray]) -> bool:
    cosine = [(np.trace(one[:3, :3].T @ other[:3, :3]) - 1.0) / 2.0 for other in maps]
    return bool(max(cosine) < np.cos(SAME_TURN))
