"""Meshes and a plane: how symmetric a mesh is, the mesh made symmetric, and meshes whose halves mirror each other.

With normal n and offset d of the plane, right is n . x > d and left is n . x < d, as in the reflection scheme of MCMR's
symmetric templates (Naitsat 2023). A mesh is cut at the plane, one half is kept, mirrored and welded.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from trimesh.intersections import slice_faces_plane

from fmb.geometry.distances import cut, nearest_on
from fmb.geometry.symmetry import Plane

SNAP = 1e-7  # of the longest side: vertices nearer to the plane lie on it
SHARES = {"left_to_right": 0.0, "right_to_left": 1.0, "centre": 0.5}  # how much of the other side a mode takes
BAND = 0.25  # of a slice's width: over this length one mode turns into the next


class Mirrored(NamedTuple):
    """A closed mesh whose halves mirror each other: the vertices of one half, those on the plane among them.

    `faces` are those of the whole mesh, whose vertices are those of the half, then the mirrored ones, see `whole`.
    """

    half: Float[np.ndarray, "half 3"]
    seam: Bool[np.ndarray, " half"]  # on the plane: they are their own mirror images
    faces: Int[np.ndarray, "face 3"]
    plane: Plane

    @property
    def opposite(self) -> Int[np.ndarray, " vertex"]:
        """The index of the mirror image of each vertex of the whole mesh."""
        count, free = len(self.half), np.flatnonzero(~self.seam)
        there = np.arange(count)
        there[free] = count + np.arange(len(free))
        return np.concatenate([there, free])

    @property
    def parameters(self) -> int:
        """Free numbers: three for a vertex beside the plane, two for one on it."""
        return 3 * len(self.half) - int(np.count_nonzero(self.seam))

    def mesh(self) -> trimesh.Trimesh:
        """The whole mesh."""
        return trimesh.Trimesh(whole(self.half, self.seam, self.plane), self.faces, process=False)


def whole(half: Float[np.ndarray, "half 3"], seam: Bool[np.ndarray, " half"], plane: Plane) -> np.ndarray:
    """The vertices of the half, then the mirror images of those that are not on the plane."""
    return np.concatenate([half, reflected(half[~seam], plane)])


def height(points: Float[np.ndarray, "*point 3"], plane: Plane) -> Float[np.ndarray, "*point"]:
    """Signed distance from the plane, positive on the right."""
    return np.asarray(points @ np.asarray(plane.normal, float) - float(plane.offset))


def reflected(points: Float[np.ndarray, "*point 3"], plane: Plane) -> Float[np.ndarray, "*point 3"]:
    """The mirror images."""
    return points - 2.0 * height(points, plane)[..., None] * np.asarray(plane.normal, float)


def mirrored_mesh(mesh: trimesh.Trimesh, plane: Plane, right: bool = False) -> Mirrored:
    """The left half of a mesh, or its right half, with its mirror image: watertight where the mesh is.

    Raises ValueError where the plane misses the mesh, so that a half is empty.
    """
    side = 1.0 if right else -1.0
    toward = Plane(side * np.asarray(plane.normal, float), np.asarray(side * float(plane.offset)))
    vertices, faces = np.array(mesh.vertices, float), np.asarray(mesh.faces)
    normal, longest = np.asarray(toward.normal, float), float(np.ptp(vertices, axis=0).max())
    high = height(vertices, toward)
    if not (high.max() > SNAP * longest and high.min() < -SNAP * longest):
        reach = f"from {height(vertices, plane).min():.4g} to {height(vertices, plane).max():.4g} along its normal"
        raise ValueError(f"the plane misses the mesh, which lies {reach}: one half would be empty")
    near = np.abs(high) <= SNAP * longest
    vertices[near] -= high[near, None] * normal
    half, kept, *_ = slice_faces_plane(vertices, faces, normal, float(toward.offset) * normal)
    return joined(half, kept, toward, SNAP * longest)


def joined(vertices: np.ndarray, faces: np.ndarray, plane: Plane, snap: float) -> Mirrored:
    """A half, which lies right of the plane, with its mirror image.

    Vertices in one place are one on the plane alone, where the cut made several, and a seam must be closed.
    """
    seam = np.abs(height(vertices, plane)) <= snap
    vertices = np.where(seam[:, None], vertices - height(vertices, plane)[:, None] * plane.normal, vertices)
    same = np.arange(len(vertices))
    _, first, place = np.unique(
        np.rint(vertices[seam] / max(snap, np.finfo(float).tiny)), axis=0, return_index=True, return_inverse=True
    )
    same[seam] = np.flatnonzero(seam)[first][place.ravel()]
    faces = same[faces]
    distinct = np.all(faces != np.roll(faces, 1, axis=1), axis=1)
    faces = faces[distinct & ~seam[faces].all(axis=1)]  # what lies in the plane would be there twice, and cancels
    used, faces = np.unique(faces, return_inverse=True)
    half, seam, faces = vertices[used], seam[used], faces.reshape(-1, 3)
    made = Mirrored(half, seam, faces, plane)
    return made._replace(faces=np.concatenate([faces, made.opposite[faces][:, ::-1]]))


def symmetrised(mesh: trimesh.Trimesh, plane: Plane, modes: Sequence[str] = ("centre",)) -> Mirrored:
    """The mesh made symmetric about the plane by one mode of SHARES, or by several, one for each slice.

    One side is taken as it is, mirrored. "centre" is the mean of both: each vertex of the left half goes half way to
    the nearest place of the mirrored mesh; so what only one side has, such as a horn, shrinks by half or more. Slices
    are of equal width along the longest side of the mesh that lies in the plane; beside their borders one mode turns
    into the next, so the mesh stays closed.
    Raises ValueError for an unknown mode, and as `mirrored_mesh`.
    """
    unknown = [mode for mode in modes if mode not in SHARES]
    if unknown or not modes:
        raise ValueError(f"reflection mode '{unknown[0] if unknown else ''}': allowed are {', '.join(SHARES)}")
    made = mirrored_mesh(mesh, plane, right=set(modes) == {"right_to_left"})
    if set(modes) in ({"left_to_right"}, {"right_to_left"}):
        return made
    image = trimesh.Trimesh(reflected(np.asarray(mesh.vertices, float), plane), mesh.faces[:, ::-1], process=False)
    share = shares_along(made.half, plane, modes)
    moved = made.half + share[:, None] * (nearest_on(cut(image), made.half).point - made.half)
    on_plane = moved - height(moved, plane)[:, None] * np.asarray(plane.normal, float)
    return made._replace(half=np.where(made.seam[:, None], on_plane, moved))


def shares_along(points: Float[np.ndarray, "point 3"], plane: Plane, modes: Sequence[str]) -> np.ndarray:
    """How much of the other side each point takes: that of its slice, and between two slices something between."""
    share, axis = np.array([SHARES[mode] for mode in modes]), long_axis(points, plane)
    along = points @ axis
    place = (along - along.min()) / max(np.ptp(along), np.finfo(float).tiny) * len(modes)  # slice k: from k to k + 1
    borders = np.arange(1, len(modes))
    knots = np.stack([borders - BAND / 2, borders + BAND / 2], axis=1).ravel()
    values = np.stack([share[:-1], share[1:]], axis=1).ravel()
    return np.interp(place, knots, values) if len(modes) > 1 else np.full(len(points), share[0])


def long_axis(points: Float[np.ndarray, "point 3"], plane: Plane) -> Float[np.ndarray, "3"]:
    """The principal axis in the plane along which points spread most; its largest entry is positive."""
    flat = points - height(points, plane)[:, None] * np.asarray(plane.normal, float)
    axis = np.linalg.eigh(np.cov((flat - flat.mean(axis=0)).T))[1][:, -1]
    return axis * np.sign(axis[np.argmax(np.abs(axis))])


def opposite_vertices(vertices: Float[np.ndarray, "vertex 3"], plane: Plane) -> Int[np.ndarray, " vertex"] | None:
    """For each vertex the one nearest to its mirror image; None where these are no pairs, as in most scanned meshes."""
    there = cKDTree(vertices).query(reflected(vertices, plane))[1]
    return there if np.array_equal(there[there], np.arange(len(vertices))) else None


class SymmetryError(NamedTuple):
    """Mean and largest distance from a mirror image, in widths: extents along the plane's normal."""

    mean: float
    largest: float


def index_error(
    vertices: Float[np.ndarray, "vertex 3"], opposite: Int[np.ndarray, " vertex"], plane: Plane
) -> SymmetryError:
    """Index symmetry error |V_i - R V_opp(i)| / width of vertices that are paired."""
    away = np.linalg.norm(vertices - reflected(vertices[opposite], plane), axis=1) / width(vertices, plane)
    return SymmetryError(float(away.mean()), float(away.max()))


def geometric_error(mesh: trimesh.Trimesh, plane: Plane) -> SymmetryError:
    """Geometric symmetry error: distances from the mirrored vertices to the surface.

    One direction is enough: a reflection maps each on the other. The largest is at most the Hausdorff distance, which
    may lie inside a triangle.
    """
    vertices = np.asarray(mesh.vertices, float)
    away = nearest_on(cut(mesh), reflected(vertices, plane)).distance / width(vertices, plane)
    return SymmetryError(float(away.mean()), float(away.max()))


def width(vertices: Float[np.ndarray, "vertex 3"], plane: Plane) -> float:
    """Extent along the plane's normal. Raises ValueError where there is none."""
    extent = float(np.ptp(height(vertices, plane)))
    if not extent > 0.0:
        raise ValueError("the mesh has no width across the plane")
    return extent
