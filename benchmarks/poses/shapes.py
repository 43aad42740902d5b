"""Bodies that no data set has, from signed distances: parts with flat faces, holes and handles, and symmetric ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from skimage.measure import marching_cubes

CELLS = 88  # along each side of the grid from which a surface is taken
REACH = 1.0  # half of the grid's side
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def box(p: Points, middle: tuple, half: tuple) -> np.ndarray:
    """Distance from a box, exact outside its edges."""
    q = np.stack([np.abs(x - m) - h for x, m, h in zip(p, middle, half, strict=True)])
    return np.linalg.norm(np.maximum(q, 0), axis=0) + np.minimum(q.max(0), 0)


def rod(p: Points, axis: int, middle: tuple, radius: float, half: float) -> np.ndarray:
    """Distance from a cylinder along an axis."""
    x, y, z = (p[(axis + k) % 3] - middle[(axis + k) % 3] for k in range(3))
    return np.maximum(np.hypot(y, z) - radius, np.abs(x) - half)


def ring(p: Points, middle: tuple, large: float, small: float) -> np.ndarray:
    """Distance from a torus about the y axis' parallel through its middle."""
    x, y, z = (a - m for a, m in zip(p, middle, strict=True))
    return np.hypot(np.hypot(x, z) - large, y) - small


def bracket(p: Points) -> np.ndarray:
    """Two plates at a right angle, one with a hole, and a rib that is not in the middle."""
    plates = np.minimum(box(p, (0, 0, -0.5), (0.7, 0.45, 0.08)), box(p, (-0.62, 0, 0), (0.08, 0.45, 0.55)))
    ribbed = np.minimum(plates, np.maximum(box(p, (-0.3, 0.3, -0.2), (0.3, 0.06, 0.3)), p[0] + p[2] + 0.35))
    return np.maximum(ribbed, -rod(p, 2, (0.35, -0.1, -0.5), 0.18, 0.3))


def mug(p: Points) -> np.ndarray:
    """A cup with a handle."""
    wall = np.maximum(rod(p, 2, (0, 0, 0), 0.45, 0.5), -rod(p, 2, (0, 0, 0.1), 0.38, 0.5))
    handle = np.maximum(ring(p, (0.45, 0, 0), 0.28, 0.07), 0.42 - np.hypot(p[0], p[1]))
    return np.minimum(wall, handle)


def tee(p: Points) -> np.ndarray:
    """Three pipes of unequal length and width."""
    return np.minimum(
        np.minimum(rod(p, 0, (0.1, 0, 0), 0.2, 0.8), rod(p, 2, (-0.15, 0, 0.35), 0.15, 0.45)),
        rod(p, 1, (0.45, 0.3, 0), 0.12, 0.35),
    )


def stair(p: Points) -> np.ndarray:
    """A block with two steps and a peg on its side."""
    steps = [box(p, (-0.3, 0, -0.2), (0.3, 0.4, 0.4)), box(p, (0.2, 0, -0.4), (0.4, 0.4, 0.2))]
    return np.minimum(np.minimum(*steps), rod(p, 1, (-0.3, 0.55, 0), 0.1, 0.25))


def jug(p: Points) -> np.ndarray:
    """A body with a neck, a handle on one side and a spout on another."""
    body = np.minimum(
        np.sqrt(p[0] ** 2 + p[1] ** 2 + (p[2] + 0.2) ** 2 * 0.8) - 0.5, rod(p, 2, (0, 0, 0.35), 0.18, 0.3)
    )
    handle = np.maximum(ring(p, (0.35, 0, 0.2), 0.25, 0.06), 0.15 - np.hypot(p[0], p[1]))
    return np.minimum(np.minimum(body, handle), rod(p, 1, (0, 0.5, -0.1), 0.09, 0.3))


def can(p: Points) -> np.ndarray:
    """A cylinder."""
    return rod(p, 2, (0, 0, 0), 0.4, 0.6)


def brick(p: Points) -> np.ndarray:
    """A box of three unequal sides."""
    return box(p, (0, 0, 0), (0.7, 0.45, 0.28))


SHAPES: dict[str, Callable[[Points], np.ndarray]] = {
    "bracket": bracket,
    "mug": mug,
    "tee": tee,
    "stair": stair,
    "jug": jug,
}
SYMMETRIC: dict[str, Callable[[Points], np.ndarray]] = {"can": can, "brick": brick}


def write_shapes(folder: Path, shapes: dict[str, Callable[[Points], np.ndarray]]) -> list[Path]:
    """The shapes as NAME.ply in the folder, made where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    axis = np.linspace(-REACH, REACH, CELLS)
    found = []
    for name, distance in shapes.items():
        found.append(folder / f"{name}.ply")
        if not found[-1].exists():
            values = distance(tuple(np.meshgrid(axis, axis, axis, indexing="ij")))
            vertex, face, *_ = marching_cubes(values, 0.0, spacing=(axis[1] - axis[0],) * 3)
            mesh = trimesh.Trimesh(vertex - REACH, face)
            mesh.invert() if mesh.volume < 0 else None
            mesh.export(found[-1])
    return found
