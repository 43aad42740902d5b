"""Points in the volume and on the surface of a mesh, uniformly.

A point is inside where the generalised winding number (Jacobson et al. 2013) is above one half: for a closed mesh,
everywhere it encloses; parts that overlap count once. Along a line this number is the sum of the signed crossings. So
points are drawn on many parallel lines, on the pieces that lie inside. A mesh with holes is first closed by caps. Its
own winding number is that of the closed mesh less that of the caps, which are few triangles.
"""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THRESHOLD = 0.5  # winding number of a point on the surface
LINES_PER_POINT = 2  # at first; more where few of them meet the mesh
FEWEST_LINES, MOST_LINES = 1_000, 1_000_000
MOST_POINTS_PER_LINE = 100  # if it would take more, the mesh has practically no volume
THINNEST = 1e-9  # of the box's side: shorter pieces of lines are rounding errors
SLACK = 1e-6  # of a square's side: allowance for rounding
MOST_ROUNDS = 12  # points tried in a mesh with holes, as a multiple of the points wanted
PAIRS_AT_ONCE = 100_000  # (triangle, point) pairs that stay in cache


class Solid(NamedTuple):
    """A closed mesh in a box with one corner at the origin, and which of its faces close holes."""

    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    caps: Int[np.ndarray, "cap 3"]
    box: Float[np.ndarray, "3"]


class Crossings(NamedTuple):
    """Where the lines of a lattice meet a mesh, line by line, upwards; the sign is that of the normal's height."""

    line: Int[np.ndarray, " crossing"]
    height: Float[np.ndarray, " crossing"]
    sign: Int[np.ndarray, " crossing"]


class Lattice(NamedTuple):
    """Vertical lines, one at a random place in each unit square of the base of a box."""

    rows: int
    columns: int
    place: Float[np.ndarray, "line 2"]


class Segments(NamedTuple):
    """Pieces of lines between crossings; `winding` counts the faces below that look down, less those that look up."""

    place: Float[np.ndarray, "segment 2"]
    low: Float[np.ndarray, " segment"]
    high: Float[np.ndarray, " segment"]
    winding: Int[np.ndarray, " segment"]


def sample_interior(mesh: trimesh.Trimesh, count: int, generator: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """`count` points, uniform in the volume of the mesh, in its frame; more even than independent points.

    Raises ValueError for count < 1 and for a mesh that encloses no volume.
    """
    if count < 1:
        raise ValueError(f"number of interior points {count}: must be at least 1")
    lower, upper = mesh.triangles.min(axis=(0, 1)), mesh.triangles.max(axis=(0, 1))
    # lines run along the shortest side of the box, so that most meet the mesh; the cyclic order keeps the orientation
    axes = (np.argmin(upper - lower) + np.array([1, 2, 0])) % 3
    box = (upper - lower)[axes]
    if not box[1] > 0.0 or not box[0] > 0.0:
        raise ValueError("the mesh has no interior: all its vertices lie on one line")
    vertices, caps = capped((np.asarray(mesh.vertices) - lower)[:, axes], np.asarray(mesh.faces))
    solid = Solid(vertices, np.concatenate([mesh.faces, caps]), caps, box)
    points = np.empty((count, 3))
    if len(caps):
        points[:, axes] = _sample_open(solid, count, generator)
    else:
        points[:, axes], _ = _sample_capped(solid, count, generator)
    return points + lower


def sample_surface(mesh: trimesh.Trimesh, count: int, generator: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """`count` points, uniform on the surface of the mesh, in its frame; more even than independent points.

    Raises ValueError for count < 1.
    """
    if count < 1:
        raise ValueError(f"number of surface points {count}: must be at least 1")
    corner = np.asarray(mesh.triangles, float)
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    face, _ = _spread(np.linalg.norm(np.cross(first, second), axis=1), count, generator)
    weight = generator.random((count, 2))
    weight = np.where(weight.sum(axis=1, keepdims=True) > 1.0, 1.0 - weight, weight)  # folds the square in half
    return corner[face, 0] + weight[:, :1] * first[face] + weight[:, 1:] * second[face]


def solid_cells(
    mesh: trimesh.Trimesh, lower: Float[np.ndarray, "3"], side: float, shape: tuple[int, int, int]
) -> Bool[np.ndarray, "x y z"]:
    """Which cells of a grid from `lower` on have their middle within the mesh; its holes are closed by caps.

    Faces that lie outside the grid's first two axes do not count.
    """
    vertices, caps = capped((np.asarray(mesh.vertices) - lower) / side, np.asarray(mesh.faces))
    rows, columns, levels = shape
    corner = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    crossings = _crossings(vertices, np.concatenate([mesh.faces, caps]), Lattice(rows, columns, corner + 0.5))
    above = np.clip(np.ceil(crossings.height - 0.5).astype(int), 0, levels)  # the first middle above each crossing
    winding = np.zeros((rows * columns, levels + 1), int)
    np.add.at(winding, (crossings.line, above), -crossings.sign)
    return (np.cumsum(winding[:, :-1], axis=1) != 0).reshape(shape)


def winding_number(mesh: trimesh.Trimesh, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, " point"]:
    """Generalised winding number at any points: 1 inside a closed mesh, 0 outside; with holes, numbers between.

    Exact, in about linear time: the crossings below each point, less the solid angle of the caps that close holes.
    """
    corner = np.asarray(mesh.triangles, float)
    lower, upper = corner.min(axis=(0, 1)), corner.max(axis=(0, 1))
    axes = (np.argmin(upper - lower) + np.array([1, 2, 0])) % 3
    box = (upper - lower)[axes]
    vertices, caps = capped((np.asarray(mesh.vertices) - lower)[:, axes], np.asarray(mesh.faces))
    own = (np.asarray(points, float) - lower)[:, axes]
    winding = np.zeros(len(own))
    near = np.flatnonzero(np.all((own[:, :2] >= 0.0) & (own[:, :2] <= box[:2]), axis=1))
    if len(near) and box[0] > 0.0 and box[1] > 0.0:
        winding[near] = _crossed_below(vertices, np.concatenate([mesh.faces, caps]), box, own[near])
    return winding - _winding(own, vertices, caps) if len(caps) else winding


def _crossed_below(vertices: np.ndarray, faces: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Winding number of a closed mesh at points in its box: faces below that look down, less those that look up."""
    side = np.sqrt(box[0] * box[1] / len(points))
    rows, columns = (int(cells) for cells in np.ceil(box[:2] / side))
    place = points[:, :2] / side
    row, column = (np.minimum(place[:, k].astype(int), most - 1) for k, most in enumerate((rows, columns)))
    order = np.argsort(row * columns + column, kind="stable")
    first = np.searchsorted((row * columns + column)[order], np.arange(rows * columns + 1))
    face, square = _squares((vertices / side)[faces, :2], Lattice(rows, columns, place))
    full = first[square] < first[square + 1]  # squares in which there is a point
    pair, line = _counted(first[square[full]], first[square[full] + 1] - 1)
    met = _met(vertices / side, faces, face[full][pair], order[line], place)
    below = side * met.height < points[met.line, 2]
    return -np.bincount(met.line[below], met.sign[below], len(points)).astype(float)


def _sample_capped(solid: Solid, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points at which the winding number is not zero, and that number."""
    lines = int(np.clip(LINES_PER_POINT * count, FEWEST_LINES, MOST_LINES))
    while True:
        lattice, side = _lattice(solid.box, lines, generator)
        segments = _segments(solid.vertices / side, solid.faces, lattice)
        length = side * (segments.high - segments.low)
        length = np.where((segments.winding != 0) & (length > THINNEST * solid.box[0]), length, 0.0)
        hits = np.count_nonzero(length)
        if hits >= count or lines == MOST_LINES:
            break
        lines = min(MOST_LINES, int(lines * min(10.0, 1.0 + 1.5 * count / max(hits, 1))))
    if hits * MOST_POINTS_PER_LINE < count:
        raise ValueError(f"the mesh has no interior: {hits} of {lines} lines through its box meet one")
    segment, rest = _spread(length, count, generator)
    place, low = side * segments.place[segment], side * segments.low[segment]
    return np.column_stack([place, low + rest]), segments.winding[segment]


def _sample_open(solid: Solid, count: int, generator: np.random.Generator) -> np.ndarray:
    """Points of the capped mesh at which the winding number of the mesh alone is above the threshold."""
    inside, found, tried = [], 0, 0
    while found < count:
        if tried >= MOST_ROUNDS * count or found * MOST_ROUNDS < tried:
            raise ValueError(
                f"the mesh has no interior: it is open, and {found} of {tried} points within its holes' caps have a "
                f"winding number beyond {THRESHOLD}; {count} are needed"
            )
        points, winding = _sample_capped(solid, count - found + count // 20, generator)
        beyond = np.abs(winding - _winding(points, solid.vertices, solid.caps)) > THRESHOLD
        inside.append(points[beyond])
        found, tried = found + len(inside[-1]), tried + len(points)
    return generator.permutation(np.concatenate(inside))[:count]


def _lattice(box: np.ndarray, lines: int, generator: np.random.Generator) -> tuple[Lattice, float]:
    """A lattice of about `lines` lines or a few more, and the side of its squares."""
    side = np.sqrt(box[0] * box[1] / lines)
    rows, columns = (int(cells) for cells in np.ceil(box[:2] / side))
    corner = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return Lattice(rows, columns, corner + generator.random((rows * columns, 2))), float(side)


def _crossings(vertices: np.ndarray, faces: np.ndarray, lattice: Lattice) -> Crossings:
    """The crossings, unsorted. Two faces with a common edge agree on its side, so no line passes between them."""
    face, line = _squares(vertices[faces, :2], lattice)
    return _met(vertices, faces, face, line, lattice.place)


def _met(vertices: np.ndarray, faces: np.ndarray, face: np.ndarray, line: np.ndarray, place: np.ndarray) -> Crossings:
    """The crossings among pairs of a face and a line; `place` is that of every line."""
    area = _areas(vertices, faces, face, place[line])
    left = area > 0.0
    up = np.all(left, axis=1)
    met = up | ~np.any(left, axis=1)
    face, area = face[met], area[met]
    # the area beyond each edge is the weight of the corner that faces it
    total = area.sum(axis=1)
    height = np.sum(area * vertices[faces[face][:, [2, 0, 1]], 2], axis=1) / np.where(total == 0.0, 1.0, total)
    return Crossings(line[met], height, np.where(up[met], 1, -1))


def _areas(vertices: np.ndarray, faces: np.ndarray, face: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.stack([_side(vertices, faces[:, [k, (k + 1) % 3]], face, place) for k in range(3)], axis=1)


def _squares(corner: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Indices of triangles [face, 3, 2] and of the lines in the squares that each may reach into, pair by pair."""
    low, high = (np.clip(np.floor(end).astype(int), 0, lattice.rows - 1) for end in _ends(corner[:, :, 0], 1))
    face, row = _counted(low, high)
    # in each row the triangle reaches as far as its edges do
    first, last = np.full(len(face), np.inf), np.full(len(face), -np.inf)
    for k in range(3):
        (u, v), (u_next, v_next) = corner[:, k].T, corner[:, (k + 1) % 3].T
        level = u == u_next
        slope = np.where(level, 0.0, (v_next - v) / np.where(level, 1.0, u_next - u))
        (u_low, u_high), (v_low, v_high) = _ends(np.stack([u, u_next]), 0), _ends(np.stack([v, v_next]), 0)
        for bound in (row, row + 1):
            at = np.clip(v[face] + slope[face] * (bound - u[face]), v_low[face], v_high[face])
            at_low, at_high = np.where(level[face], v_low[face], at), np.where(level[face], v_high[face], at)
            met = (u_high[face] >= row - SLACK) & (u_low[face] <= row + 1 + SLACK)
            first = np.where(met, np.minimum(first, at_low), first)
            last = np.where(met, np.maximum(last, at_high), last)
    low, high = (np.clip(np.floor(end), 0, lattice.columns - 1).astype(int) for end in (first - SLACK, last + SLACK))
    strip, column = _counted(low, high)
    return face[strip], row[strip] * lattice.columns + column


def _ends(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    return values.min(axis=axis), values.max(axis=axis)


def _counted(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All whole numbers from `low` to `high` of every range, and the index of the range of each."""
    length = high - low + 1
    index = np.repeat(np.arange(len(low)), length)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(length) - length - low, length)


def _side(vertices: np.ndarray, edge: np.ndarray, face: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Twice the area of the triangle of edge and place, positive where the place is left of the edge."""
    start, end = vertices[edge.min(axis=1), :2], vertices[edge.max(axis=1), :2]
    along = (end - start)[face]
    offset = place - start[face]
    area = along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]
    return np.where((edge[:, 0] < edge[:, 1])[face], area, -area)


def _segments(vertices: np.ndarray, faces: np.ndarray, lattice: Lattice) -> Segments:
    line, height, sign = _crossings(vertices, faces, lattice)
    order = np.lexsort((height, line))
    line, height = line[order], height[order]
    winding = -np.cumsum(sign[order])  # the mesh is closed: every line ends at zero
    within = np.flatnonzero(line[1:] == line[:-1])
    return Segments(lattice.place[line[within]], height[within], height[within + 1], winding[within])


def _spread(weight: np.ndarray, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`count` indices in proportion to `weight`, one in each equal share, and how far into its weight each lies."""
    end = np.cumsum(weight)
    place = (np.arange(count) + generator.random(count)) * (end[-1] / count)
    index = np.minimum(np.searchsorted(end, place, side="right"), len(weight) - 1)
    return index, place - end[index] + weight[index]


def capped(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices with the middles of the holes after them, and the triangles that close the holes.

    The rim of a hole is a connected set of the edges whose faces do not cancel, each repeated as often as it is left
    over. The cap is the fan from the middle of the rim. This works for any set of triangles.
    """
    edge = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    undirected, index = np.unique(np.sort(edge, axis=1), axis=0, return_inverse=True)
    excess = np.zeros(len(undirected), int)
    np.add.at(excess, index.ravel(), np.where(edge[:, 0] < edge[:, 1], 1, -1))
    rim = np.repeat(np.where(excess[:, None] > 0, undirected[:, ::-1], undirected), np.abs(excess), axis=0)
    if len(rim) == 0:
        return vertices, np.empty((0, 3), int)
    links = coo_array((np.ones(len(rim)), tuple(rim.T)), shape=(len(vertices),) * 2)
    _, hole = np.unique(connected_components(links, directed=False)[1][rim[:, 0]], return_inverse=True)
    middle = np.stack([np.bincount(hole, vertices[rim[:, 0], axis]) / np.bincount(hole) for axis in range(3)], axis=1)
    return np.concatenate([vertices, middle]), np.column_stack([rim, len(vertices) + hole])


def _winding(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Winding number of triangles at points: their solid angles over 4 pi (van Oosterom & Strackee 1983)."""
    used, index = np.unique(faces, return_inverse=True)
    corner = vertices[used]
    index = index.reshape(faces.shape).T
    first, second, third = (corner[k] for k in index)
    across = np.cross(second - first, third - first)
    squared = [np.sum((corner[index[k]] - corner[index[k - 1]]) ** 2, axis=1)[:, None] for k in range(3)]
    winding = np.empty(len(points))
    step = max(1, PAIRS_AT_ONCE // len(faces))
    for begin in range(0, len(points), step):
        point = points[begin : begin + step]
        distance = np.linalg.norm(corner[:, None] - point, axis=-1)
        far = [distance[k] for k in index]
        volume = np.sum(across * first, axis=1)[:, None] - across @ point.T
        # twice van Oosterom's denominator, with 2 a.b = |a|² + |b|² - |a - b|²
        plane = 2.0 * far[0] * far[1] * far[2]
        for k in range(3):
            plane += (far[k] ** 2 + far[k - 1] ** 2 - squared[k]) * far[k - 2]
        winding[begin : begin + step] = np.arctan2(2.0 * volume, plane).sum(axis=0) / (2.0 * np.pi)
    return winding
