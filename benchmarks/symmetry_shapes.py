"""Shapes whose symmetry is known: bodies to fit to, and many small solids to decide about."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from fm_render import Mixture
from fmb.fields.metaballs import mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.geometry.symmetry import Placement, Symmetry, apply_to_mixture, apply_to_points

CELLS = 72  # along the longest side of a body's surface
SHEARS = (0.1, 0.15, 0.2, 0.3)


class Solid(NamedTuple):
    """A mesh, its group by name, and the group's place (None: no symmetry)."""

    name: str
    mesh: trimesh.Trimesh
    symmetry: Symmetry | None


# middle, radii and turn about x in degrees of the ellipsoids of one half, x >= 0, and of what is on both sides
RABBIT = (
    ((0.0, 0.0, 0.0), (0.34, 0.36, 0.46), 10.0),  # body
    ((0.0, 0.36, 0.36), (0.22, 0.22, 0.26), 0.0),  # head
    ((0.11, 0.72, 0.26), (0.06, 0.28, 0.09), -15.0),  # ear
    ((0.24, -0.22, -0.16), (0.14, 0.24, 0.26), 0.0),  # hind leg
    ((0.15, -0.30, 0.34), (0.09, 0.22, 0.12), 0.0),  # fore leg
    ((0.0, -0.06, -0.48), (0.10, 0.10, 0.10), 0.0),  # tail
)


def ellipsoids(parts: tuple) -> Mixture:
    """Components that are half opaque on the ellipsoids, and sharp."""
    mean, radii, degrees = (np.array(column, float) for column in zip(*parts, strict=True))
    turn = Rotation.from_rotvec(np.deg2rad(degrees)[:, None] * np.array([[1.0, 0.0, 0.0]])).as_matrix()
    sharp = 4.0
    precision = turn @ (2.0 * sharp / radii[:, :, None] ** 2 * turn.swapaxes(1, 2))
    return Mixture(mean, np.linalg.cholesky(precision), np.full(len(mean), sharp + np.log(np.log(2.0))))


def rabbit() -> Solid:
    """A sitting animal that is its own mirror image at x = 0."""
    place = rabbit_place()
    return Solid("rabbit", surface(apply_to_mixture(place.orbit, ellipsoids(RABBIT))), place)


def crooked() -> Solid:
    """The same animal with its head turned, one ear down and one fore leg raised: no symmetry."""
    whole = apply_to_mixture(rabbit_place().orbit, ellipsoids(RABBIT))
    mean = np.array(whole.mean)
    mean[7] += [-0.16, -0.02, -0.02]  # the head's two halves, to one side
    mean[1] += [-0.16, -0.02, -0.02]
    mean[2] += [0.05, -0.45, 0.12]  # an ear
    mean[4] += [0.0, 0.25, 0.15]  # a fore leg
    return Solid("crooked", surface(whole._replace(mean=mean)), None)


def rabbit_place() -> Symmetry:
    """Where the rabbit's plane is."""
    return Symmetry("plane", Placement(np.eye(3), np.zeros(3)))


def surface(mixture: Mixture) -> trimesh.Trimesh:
    """The closed surface."""
    return mesh_mixture(mixture, MeshOptions(mesh_resolution=CELLS, mesh_faces=6_000)).mesh


def hull_of(points: np.ndarray) -> trimesh.Trimesh:
    """The convex hull, closed and outward."""
    return trimesh.convex.convex_hull(points)


def star_prism(radius: np.ndarray, height: float) -> trimesh.Trimesh:
    """A prism over the polygon with corners at these distances, at even angles, from its middle."""
    count = len(radius)
    angle = 2 * np.pi * np.arange(count) / count
    corner = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    level = [np.column_stack([corner, np.full(count, z)]) for z in (-height / 2, height / 2)]
    vertices = np.concatenate([*level, [[0, 0, -height / 2], [0, 0, height / 2]]])
    here, after = np.arange(count), (np.arange(count) + 1) % count
    bottom, top = 2 * count, 2 * count + 1
    faces = [
        np.column_stack([after, here, np.full(count, bottom)]),
        np.column_stack([here + count, after + count, np.full(count, top)]),
        np.column_stack([here, after, after + count]),
        np.column_stack([here, after + count, here + count]),
    ]
    return trimesh.Trimesh(vertices, np.concatenate(faces), process=False)


def moved(mesh: trimesh.Trimesh, symmetry: Symmetry, generator: np.random.Generator) -> tuple:
    """Both turned and shifted at random."""
    turn = Rotation.random(random_state=int(generator.integers(2**31))).as_matrix()
    shift = generator.normal(size=3)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, shift
    return mesh.copy().apply_transform(matrix), symmetry.moved(turn, shift, 1.0)


def symmetric_solids(seed: int = 0) -> Iterator[Solid]:
    """24 solids with a symmetry: hulls of mirrored or turned points, stars, and solids of revolution."""
    generator = np.random.default_rng(seed)
    own = Placement(np.eye(3), np.zeros(3))
    for kind, count in (("plane", 10), ("two_planes", 3), ("cyclic_3", 2), ("cyclic_4", 2)):
        for number in range(count):
            group = Symmetry(kind, own)
            points = generator.normal(size=(9, 3)) * generator.uniform(0.5, 1.5, 3)
            if kind.startswith("cyclic"):
                points += [1.0, 0.0, 0.0]
            mesh = hull_of(apply_to_points(group.orbit, points).reshape(-1, 3))
            yield Solid(f"{kind} hull {number}", *moved(mesh, group, generator))
    for count in (3, 5):  # stars with a top and a bottom: two kinds of mirrors, told by the largest group
        radius = np.tile([1.0, 0.45], count)
        yield Solid(f"star {count}", *moved(star_prism(radius, 0.5), Symmetry(f"cyclic_{count}", own), generator))
    arrow = star_prism(np.array([1.0, 0.4, 0.7, 0.3, 0.2, 0.3, 0.7, 0.4]), 0.4)
    along = own._replace(rotation=np.roll(np.eye(3), -1, axis=1))  # its mirrors are y = 0 and z = 0
    yield Solid("arrow", *moved(arrow, Symmetry("two_planes", along), generator))
    for name, mesh in (
        ("cylinder", trimesh.creation.cylinder(0.4, 1.5, sections=64)),
        ("cone", trimesh.creation.cone(0.6, 1.4, sections=64)),
        ("ring", trimesh.creation.torus(1.0, 0.3, 64, 24)),
        ("pill", trimesh.creation.capsule(1.0, 0.4)),
    ):
        yield Solid(name, *moved(mesh, Symmetry("revolution", own), generator))


def other_solids(seed: int = 1) -> Iterator[Solid]:
    """24 solids without a symmetry: hulls of random points, and symmetric ones that are sheared.

    Of two planes both are broken: a shear along one of them would leave the other.
    """
    generator = np.random.default_rng(seed)
    for number in range(12):
        points = generator.normal(size=(12, 3)) * generator.uniform(0.5, 1.5, 3)
        yield Solid(f"hull {number}", hull_of(points), None)
    for number, solid in enumerate(list(symmetric_solids(seed))[:12]):
        shear = np.eye(4)
        normal = solid.symmetry.placement.rotation[:, 0]
        across = generator.normal(size=3)
        across -= (across @ normal) * normal
        if solid.symmetry.kind == "two_planes":
            across = solid.symmetry.placement.rotation[:, 1:].sum(axis=1)
        amount = SHEARS[number % len(SHEARS)]
        shear[:3, :3] += amount * np.outer(normal, across / np.linalg.norm(across))
        yield Solid(f"{solid.name}, sheared by {amount}", solid.mesh.copy().apply_transform(shear), None)
