"""Finer symmetric meshes: what symmetry saves in free parameters becomes more vertices of one half, mirrored too.

A mesh of N vertices has 3 N free numbers, its symmetric half about 3 N / 2. With as many vertices again on the half the
whole has 2 N vertices and the 3 N numbers of the mesh without symmetry (Naitsat 2023, there by centroids).
"""

from collections.abc import Callable

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from trimesh.remesh import subdivide_loop

from fmb.geometry.mesh_symmetry import Mirrored, mirrored_mesh

Half = tuple[Float[np.ndarray, "_ 3"], Int[np.ndarray, "_ 3"], Bool[np.ndarray, " _"]]  # vertices, faces, seam


def refined(mesh: Mirrored, rule: str = "midpoint") -> Mirrored:
    """The mesh with more vertices, by one of RULES; those of before come first in the half, where they were.

    Raises ValueError for an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"refinement '{rule}': allowed are {', '.join(RULES)}")
    return RULES[rule](mesh)


def by_centroids(mesh: Mirrored) -> Mirrored:
    """Twice the vertices: one in the middle of each of the largest triangles of the half, which become three."""
    faces, corner = half_faces(mesh), mesh.half[half_faces(mesh)]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    count, wanted = len(mesh.half), len(mesh.opposite) - len(mesh.half)
    chosen = np.sort(np.argsort(-area, kind="stable")[:wanted])
    middle = count + np.arange(len(chosen))
    a, b, c = faces[chosen].T
    thirds = np.concatenate([np.stack(three, axis=1) for three in ((a, b, middle), (b, c, middle), (c, a, middle))])
    vertices = np.concatenate([mesh.half, corner[chosen].mean(axis=1)])
    seam = np.append(mesh.seam, np.zeros(len(chosen), bool))
    return rejoined(mesh, (vertices, np.concatenate([np.delete(faces, chosen, axis=0), thirds]), seam))


def by_midpoints(mesh: Mirrored) -> Mirrored:
    """Twice the vertices: one in the middle of an edge that is the longest of its triangles, again and again."""
    half = (mesh.half, half_faces(mesh), mesh.seam)
    left = len(mesh.opposite) - len(mesh.half)
    while left:
        before = len(half[0])
        half = split_longest(half, left)
        left -= len(half[0]) - before
    return rejoined(mesh, half)


def split_longest(half: Half, most: int) -> Half:
    """The half with at most so many edges cut in two, the longest first, each the longest of its triangles."""
    vertices, faces, seam = half
    count, pairs = len(faces), np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2), axis=2).reshape(-1, 2)
    edges, place, shared = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    length -= np.arange(len(edges)) * np.finfo(float).eps * length.max()  # of equal ones the first is the longest
    own = place.reshape(count, 3)
    longest = own[np.arange(count), np.argmax(length[own], axis=1)]
    split = np.flatnonzero(np.bincount(longest, minlength=len(edges)) == shared)
    split = split[np.argsort(-length[split], kind="stable")][:most]
    middle = np.full(len(edges), -1)
    middle[split] = len(vertices) + np.arange(len(split))
    cut = np.flatnonzero(middle[longest] >= 0)
    first = np.argmax(length[own[cut]], axis=1)
    start, end, tip = (faces[cut, (first + k) % 3] for k in range(3))
    between = middle[longest[cut]]
    parts = np.concatenate([np.stack([start, between, tip], axis=1), np.stack([between, end, tip], axis=1)])
    vertices = np.concatenate([vertices, vertices[edges[split]].mean(axis=1)])
    seam = np.append(seam, (shared[split] == 1) & seam[edges[split]].all(axis=1))
    return vertices, np.concatenate([np.delete(faces, cut, axis=0), parts]), seam


def by_loop(mesh: Mirrored) -> Mirrored:
    """Four times the triangles, smoothed by Loop's rule, which moves the vertices of before, too."""
    whole = mesh.mesh()
    finer = trimesh.Trimesh(*subdivide_loop(whole.vertices, whole.faces, iterations=1), process=False)
    return mirrored_mesh(finer, mesh.plane, right=True)


RULES: dict[str, Callable[[Mirrored], Mirrored]] = {
    "centroid": by_centroids,
    "midpoint": by_midpoints,
    "loop": by_loop,
}


def half_faces(mesh: Mirrored) -> Int[np.ndarray, "face 3"]:
    """The triangles of the half."""
    return mesh.faces[: len(mesh.faces) // 2]


def rejoined(mesh: Mirrored, half: Half) -> Mirrored:
    """The half with its mirror image."""
    vertices, faces, seam = half
    made = Mirrored(vertices, seam, faces, mesh.plane)
    return made._replace(faces=np.concatenate([faces, made.opposite[faces][:, ::-1]]))
