"""Closed meshes from a few parts: signed distances that are joined smoothly, mirrored at x = 0, then marching cubes.

A part is a function of points [point, 3] with x >= 0 that is negative inside; only its sign, and its slope near the
surface, matter. x is to the side, y up, z forward.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from fmb.fields.contour import Grid, contour, tidy

CELLS, COARSE_CELLS = 56, 30  # along the longest side of a shape, and along that of the box it is first looked for in
BOX = 2.4  # the parts lie between -BOX and BOX
LEAST_PIECE = 0.02  # of the largest piece's volume
MARGIN = 2  # cells around the shape
COLOR_BLEND = 0.02  # length over which the colours of neighbouring parts mix

Points = Float[np.ndarray, "point 3"]
Distance = Callable  # of points, see above
Triple = Sequence | Float[np.ndarray, "3"]


class Part(NamedTuple):
    """A part, the name of its colour, and the length over which it is joined to what is before it."""

    distance: Distance
    paint: str
    blend: float = 0.0


def tube(start: Triple, end: Triple, radii: tuple[float, float]) -> Distance:
    """A rounded cone between two points."""
    start, along = np.asarray(start, float), np.subtract(end, start)

    def distance(points: Points) -> np.ndarray:
        share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        off = points - start - share[:, None] * along
        return np.sqrt(np.einsum("pi,pi->p", off, off)) - radii[0] - share * (radii[1] - radii[0])

    return distance


def ball(middle: Triple, half: Triple) -> Distance:
    """An ellipsoid with these half axes."""

    def distance(points: Points) -> np.ndarray:
        return (np.linalg.norm((points - middle) / half, axis=1) - 1.0) * min(half)

    return distance


def box(middle: Triple, half: Triple, rounding: float, taper: float = 0.0, lean: float = 0.0) -> Distance:
    """A rounded box; at its top its sides are shorter by the share `taper`, and it is moved by `lean` along z."""
    middle, half = np.asarray(middle, float), np.asarray(half, float)

    def distance(points: Points) -> np.ndarray:
        place = points - middle
        rise = np.clip((place[:, 1] / half[1] + 1.0) / 2.0, 0.0, 1.0)
        place = place - np.stack([0 * rise, 0 * rise, lean * rise], axis=1)
        place = place / np.stack([1.0 - taper * rise, np.ones_like(rise), 1.0 - taper * rise], axis=1)
        off = np.abs(place) - half + rounding
        return np.linalg.norm(np.maximum(off, 0.0), axis=1) + np.minimum(off.max(axis=1), 0.0) - rounding

    return distance


def disc(middle: Triple, radius: float, half_width: float) -> Distance:
    """A cylinder along x, as a wheel."""

    def distance(points: Points) -> np.ndarray:
        place = points - middle
        return np.maximum(np.hypot(place[:, 1], place[:, 2]) - radius, np.abs(place[:, 0]) - half_width)

    return distance


def plate(root: Triple, span: float, chords: tuple[float, float], thick: float, tilt: tuple) -> Distance:
    """A wing from `root` along x: its chords at root and tip, and how far z falls and y rises for each length of x."""
    sweep, rise = tilt

    def distance(points: Points) -> np.ndarray:
        out = points[:, 0] - root[0]
        share = np.clip(out / span, 0.0, 1.0)
        half = (chords[0] + share * (chords[1] - chords[0])) / 2.0
        along, across = points[:, 2] - root[2] + sweep * out, points[:, 1] - root[1] - rise * out
        bulge = thick * np.sqrt(np.maximum(1.0 - (along / half) ** 2, 0.0)) * (1.0 - 0.4 * share)
        return np.maximum.reduce([np.abs(along) - half, np.abs(across) - np.maximum(bulge, thick / 2), out - span])

    return distance


def smooth_minimum(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """The minimum, rounded where the two differ by less than `blend`."""
    if blend == 0.0:
        return np.minimum(first, second)
    near = np.maximum(blend - np.abs(first - second), 0.0)
    return np.minimum(first, second) - near**2 / (4.0 * blend)


def joined(parts: Sequence[Part], points: Points) -> Float[np.ndarray, " point"]:
    """Signed distance, nearly, to all parts and their mirror images."""
    points = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], axis=1)
    found = parts[0].distance(points)
    for part in parts[1:]:
        found = smooth_minimum(found, part.distance(points), part.blend)
    return found


def sculpt(parts: Sequence[Part], cells: int = CELLS) -> trimesh.Trimesh:
    """The closed surface of the parts, outward, exactly symmetric, with `cells` along its longest side.

    Raises ValueError where the parts leave the box in which they are looked for.
    """
    lower, upper = bounds(parts)
    spacing = float(np.max(upper - lower)) / cells
    half = int(np.ceil(upper[0] / spacing)) + MARGIN  # nodes at one side of the mirror, which lies on nodes
    count = np.ceil((upper - lower) / spacing).astype(int) + 2 * MARGIN
    y, z = (lower[axis] + spacing * (np.arange(count[axis] + 1) - MARGIN) for axis in (1, 2))
    nodes = np.stack(np.meshgrid(spacing * np.arange(half + 1), y, z, indexing="ij"), axis=-1)
    value = joined(parts, nodes.reshape(-1, 3)).reshape(nodes.shape[:3])
    whole = np.concatenate([value[:0:-1], value])
    origin = np.array([-half * spacing, y[0], z[0]])
    return tidy(contour(Grid(whole, origin, spacing)), LEAST_PIECE)


def bounds(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """A box around the parts, to a coarse cell."""
    axis = np.linspace(-BOX, BOX, 2 * COARSE_CELLS + 1)
    nodes = np.stack(np.meshgrid(axis[COARSE_CELLS:], axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    step = axis[1] - axis[0]
    inside = nodes[joined(parts, nodes) < step]  # a thin part may lie between the nodes
    lower, upper = inside.min(axis=0) - step, inside.max(axis=0) + step
    if max(upper[0], *np.abs(lower[1:]), *np.abs(upper[1:])) > BOX + step / 2:
        raise ValueError(
            f"the parts reach from {lower} to {upper}; must lie between -{BOX - step:.2f} and {BOX - step:.2f}"
        )
    lower[0] = -upper[0]
    return lower, upper


def painted(
    parts: Sequence[Part], colors: dict[str, Float[np.ndarray, "3"]], points: Points
) -> Float[np.ndarray, "point 3"]:
    """The colour of the nearest part at each point, mixed where parts meet."""
    points = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], axis=1)
    near = -np.stack([part.distance(points) for part in parts]) / COLOR_BLEND
    weight = np.exp(near - near.max(axis=0))
    return (weight / weight.sum(axis=0)).T @ np.stack([colors[part.paint] for part in parts])
