"""Symmetries of space: a group of rigid maps, where it lies, and what it does to points, rays and mixtures.

A group is written down once, about the axes of a frame of its own: the plane's normal is x, the axis of rotation z.
Where that frame lies in the world, its `Placement`, is all that can be learnt of it. Functions take NumPy arrays and
JAX arrays alike and return what they were given.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fm_render import Mixture, Rays
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.options import MOST_TURNS

NO_SYMMETRY = "none"
# Turns that stand for all of a surface of revolution. Copies r apart from the axis stand 2 pi r / 16 apart; where a
# component is as wide along the circle as that (one deviation), the density differs from its mean by
# 2 exp(-2 pi^2) < 1e-8, and by 1.4 % where it is half as wide.
REVOLUTION_TURNS = 16
SAME = 1e-3  # of a component's radius: copies that lie nearer to one another are one


class Plane(NamedTuple):
    """Points x with normal . x = offset; the normal has unit length, the offset the unit of the points."""

    normal: Float[ANY_ARRAY, "3"]
    offset: Float[ANY_ARRAY, ""]


class Axis(NamedTuple):
    """Points point + t direction; the direction has unit length."""

    direction: Float[ANY_ARRAY, "3"]
    point: Float[ANY_ARRAY, "3"]


class Orbit(NamedTuple):
    """The maps x -> rotation @ x + translation of a group, first the identity; mirrors have determinant -1."""

    rotation: Float[ANY_ARRAY, "map 3 3"]
    translation: Float[ANY_ARRAY, "map 3"]


class Placement(NamedTuple):
    """Where a group's own frame lies: its axes are the columns of `rotation`, its origin is `origin`."""

    rotation: Float[ANY_ARRAY, "3 3"]
    origin: Float[ANY_ARRAY, "3"]


class Group(NamedTuple):
    """A group about the axes of its own frame.

    `maps` are all of it, the identity first. `turns` and `shifts` say about and along which of its axes it can move:
    moved otherwise, it is the same. `planes` are the axes that are normals of mirrors, and `toward` points into the
    part of space of which all else are copies.
    """

    maps: Float[np.ndarray, "map 3 3"]
    turns: tuple[bool, bool, bool]
    shifts: tuple[bool, bool, bool]
    planes: tuple[int, ...]
    toward: tuple[float, float, float]


def no_symmetry() -> Group:
    """The identity alone."""
    return Group(np.eye(3)[None], (False,) * 3, (False,) * 3, (), (1.0, 0.0, 0.0))


def mirror() -> Group:
    """One plane: x changes sign."""
    maps = np.stack([np.eye(3), np.diag([-1.0, 1.0, 1.0])])
    return Group(maps, (False, True, True), (True, False, False), (0,), (1.0, 0.0, 0.0))


def two_mirrors() -> Group:
    """Two planes at a right angle: x and y change their signs."""
    maps = np.stack([np.diag([x, y, 1.0]) for x in (1, -1) for y in (1, -1)])
    return Group(maps, (True,) * 3, (True, True, False), (0, 1), (1.0, 1.0, 0.0))


def turned(count: int) -> Group:
    """`count` equal turns about z."""
    angle = 2 * np.pi * np.arange(count) / count
    cosine, sine, zero, one = np.cos(angle), np.sin(angle), np.zeros(count), np.ones(count)
    maps = np.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], axis=1).reshape(count, 3, 3)
    return Group(maps, (True, True, False), (True, True, False), (), (1.0, 0.0, 0.0))


GROUPS: dict[str, Callable[[], Group]] = {
    NO_SYMMETRY: no_symmetry,
    "plane": mirror,
    "two_planes": two_mirrors,
    **{f"cyclic_{count}": partial(turned, count) for count in range(2, MOST_TURNS + 1)},
    "revolution": partial(turned, REVOLUTION_TURNS),
}


@partial(jax.tree_util.register_dataclass, data_fields=["placement"], meta_fields=["kind"])
@dataclasses.dataclass(frozen=True)
class Symmetry:
    """A group of GROUPS by its name, and where it lies."""

    kind: str
    placement: Placement

    @property
    def group(self) -> Group:
        """The group about the axes of its own frame."""
        return GROUPS[self.kind]()

    @property
    def orbit(self) -> Orbit:
        """All maps of the group in the world: R G R^T x + (o - R G R^T o)."""
        turn, origin = self.placement
        maps = self.group.maps.astype(turn.dtype)
        linear = times(times(turn[None], maps), turn.T[None])
        return Orbit(linear, origin[None] - (linear * origin[None, None]).sum(-1))

    def resized(self, factor: float) -> "Symmetry":
        """The symmetry of the same thing, `factor` times as large."""
        return Symmetry(self.kind, Placement(self.placement.rotation, factor * self.placement.origin))

    def moved(self, rotation: Float[ANY_ARRAY, "3 3"], translation: Float[ANY_ARRAY, "3"], scale: float) -> "Symmetry":
        """The symmetry of what is carried along by x -> scale * rotation @ x + translation."""
        turn, origin = self.placement
        return Symmetry(self.kind, Placement(rotation @ turn, scale * (rotation @ origin) + translation))

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that mirror: one, two or none."""
        normals = [self.placement.rotation[:, number] for number in self.group.planes]
        return tuple(Plane(normal, (normal * self.placement.origin).sum()) for normal in normals)

    @property
    def axis(self) -> Axis | None:
        """The axis of rotation, or None where there is a plane or nothing; of two planes it is where they meet."""
        if self.kind in (NO_SYMMETRY, "plane"):
            return None
        return Axis(self.placement.rotation[:, 2], self.placement.origin)


def place_record(symmetry: Symmetry) -> dict[str, list | dict]:
    """The planes and the axis by name, as lists of numbers for files."""
    record: dict[str, list | dict] = {}
    planes = [{"normal": list(map(float, p.normal)), "offset": float(p.offset)} for p in symmetry.planes]
    if planes:
        record["planes"] = planes
    if symmetry.axis is not None:
        record["axis"] = {name: list(map(float, field)) for name, field in symmetry.axis._asdict().items()}
    return record


def moved_record(record: dict[str, Any], centre: ANY_ARRAY, scale: float) -> dict[str, Any]:
    """A record with the planes and the axis of `place_record`, carried along by x -> scale * x + centre."""
    found = dict(record)
    if "planes" in record:
        offsets = [float(scale * p["offset"] + np.dot(p["normal"], centre)) for p in record["planes"]]
        found["planes"] = [p | {"offset": d} for p, d in zip(record["planes"], offsets, strict=True)]
    if "axis" in record:
        point = scale * np.asarray(record["axis"]["point"]) + np.asarray(centre)
        found["axis"] = record["axis"] | {"point": list(map(float, point))}
    return found


def plane_symmetry(normal: ANY_ARRAY, offset: float) -> Symmetry:
    """The mirror at normal . x = offset, in double precision; the normal may have any length but 0.

    Raises ValueError for a normal that is 0 or not finite.
    """
    length = float(np.linalg.norm(np.asarray(normal, float)))
    frame = frame_of(normal, "normal of a plane", 0)
    return Symmetry("plane", Placement(frame, offset / length * frame[:, 0]))


def axis_symmetry(kind: str, direction: ANY_ARRAY, point: ANY_ARRAY) -> Symmetry:
    """The group `kind` of rotations (or of two planes that meet) about an axis, in double precision.

    Raises ValueError for a kind without an axis, and for a direction that is 0 or not finite.
    """
    if kind not in GROUPS or kind in (NO_SYMMETRY, "plane"):
        raise ValueError(f"symmetry is {kind}; about an axis it must be two_planes, cyclic_2 ... or revolution")
    return Symmetry(kind, Placement(frame_of(direction, "direction of an axis", 2), np.asarray(point, float)))


def frame_of(direction: ANY_ARRAY, name: str, number: int) -> Float[np.ndarray, "3 3"]:
    """A rotation whose column `number` is the direction; the others are any. Raises ValueError with `name` first."""
    direction = np.asarray(direction, float)
    length = np.linalg.norm(direction)
    if not (np.isfinite(length) and length > 0.0):
        raise ValueError(f"{name} is {direction.tolist()}; must be finite and not 0")
    first = direction / length
    second = np.cross(first, np.eye(3)[np.argmin(np.abs(first))])
    second /= np.linalg.norm(second)
    return np.roll(np.stack([first, second, np.cross(first, second)], axis=1), number, axis=1)


def apply_to_points(orbit: Orbit, points: Float[ANY_ARRAY, "point 3"]) -> Float[ANY_ARRAY, "map point 3"]:
    """The points under every map."""
    moved = times(points[None], orbit.rotation.swapaxes(1, 2).astype(points.dtype))
    return moved + orbit.translation.astype(points.dtype)[:, None, :]


def apply_to_directions(orbit: Orbit, directions: Float[ANY_ARRAY, "point 3"]) -> Float[ANY_ARRAY, "map point 3"]:
    """The directions, such as normals, under every map."""
    return times(directions[None], orbit.rotation.swapaxes(1, 2).astype(directions.dtype))


def apply_to_rays(orbit: Orbit, rays: Rays) -> Rays:
    """The rays [ray, 3] under the inverse of every map, [map, ray, 3].

    Such a ray meets a component where and as densely as the ray itself meets the component's copy: maps keep lengths.
    """
    inverse = Orbit(orbit.rotation.swapaxes(1, 2), -(orbit.rotation * orbit.translation[:, :, None]).sum(1))
    return Rays(apply_to_points(inverse, rays.origin), apply_to_directions(inverse, rays.direction))


def apply_to_mixture(orbit: Orbit, mixture: Mixture) -> Mixture:
    """The components under every map, copy after copy: map 0 first, which leaves them as they are."""
    count = len(orbit.rotation)
    mean = apply_to_points(orbit, mixture.mean).reshape(-1, 3)
    turn = orbit.rotation.astype(mixture.precision_cholesky.dtype)
    factor = times(turn[:, None], mixture.precision_cholesky[None]).reshape(-1, 3, 3)
    module = jnp if isinstance(factor, jax.Array) else np
    return Mixture(mean, triangular(factor), module.tile(mixture.log_weight, count))


def triangular(factor: Float[ANY_ARRAY, "mixture 3 3"]) -> Float[ANY_ARRAY, "mixture 3 3"]:
    """L, lower triangular with a positive diagonal, such that L L^T = F F^T: Gram and Schmidt on the rows of F.

    Sums of products, which fuse; the last entry from the determinant, which differences of thin rows would lose.
    """
    module = jnp if isinstance(factor, jax.Array) else np
    first, second, third = (factor[:, row] for row in range(3))
    a = module.sqrt((first * first).sum(-1))
    along = first / a[:, None]
    b = (second * along).sum(-1)
    rest = second - b[:, None] * along
    c = module.sqrt((rest * rest).sum(-1))
    across = rest / c[:, None]
    d, e = (third * along).sum(-1), (third * across).sum(-1)
    f = abs((third * module.cross(along, across)).sum(-1))
    zero = module.zeros_like(a)
    return module.stack([a, zero, zero, b, c, zero, d, e, f], -1).reshape(-1, 3, 3)


def whole_mixture(symmetry: Symmetry, fundamental: Mixture) -> Mixture:
    """All components, as other programs see them, in double precision.

    Copies that fall together, as those of components that lie evenly on a plane or an axis do, become one, of their
    weights' sum: their field is the same.
    """
    fundamental = Mixture(*(np.asarray(field, float) for field in fundamental))
    orbit = Orbit(*(np.asarray(field, float) for field in symmetry.orbit))
    copies = apply_to_mixture(orbit, fundamental)
    group = coinciding(copies, len(orbit.rotation))
    first, count = np.unique(group, return_counts=True)
    kept = Mixture(*(field[first] for field in copies))
    return kept._replace(log_weight=kept.log_weight + np.log(count))


def coinciding(copies: Mixture, maps: int) -> Int[np.ndarray, " mixture"]:
    """For each of the copies, map after map, the index of the first copy of the same component that is the same."""
    total = len(copies.mean)
    count = total // maps
    group = np.arange(total)
    mean, factor = copies.mean.reshape(maps, count, 3), copies.precision_cholesky.reshape(maps, count, 3, 3)
    for later in range(1, maps):
        for sooner in range(later):
            offset = np.einsum("mji,mj->mi", factor[sooner], mean[later] - mean[sooner])
            size = np.linalg.norm(factor[sooner], axis=(1, 2))
            same = np.linalg.norm(offset, axis=1) < SAME
            same &= np.linalg.norm(factor[later] - factor[sooner], axis=(1, 2)) < SAME * size
            index = np.arange(count)
            free = same & (group[later * count + index] == later * count + index)
            group[(later * count + index)[free]] = group[(sooner * count + index)[free]]
    return group


def home_map(symmetry: Symmetry, points: Float[np.ndarray, "point 3"]) -> Int[np.ndarray, " point"]:
    """For each point, the number of the map that takes it into the part of space that `toward` points into."""
    rotation, orbit = np.asarray(symmetry.placement.rotation, float), symmetry.orbit
    orbit = Orbit(*(np.asarray(field, float) for field in orbit))
    toward = rotation @ np.asarray(symmetry.group.toward, float)
    return np.argmax(apply_to_points(orbit, points) @ toward, axis=0)


def times(a: ANY_ARRAY, b: ANY_ARRAY) -> ANY_ARRAY:
    """Products of the matrices [..., i, j] and [..., j, k] as sums: exact on every device and quick on a CPU."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)
