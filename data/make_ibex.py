"""Models ibex.ply, the default mesh: an alpine ibex, sculpted as a signed distance.

    python data/make_ibex.py [OUTPUT.ply]

The animal is a table of tubes along curves, joined smoothly; marching cubes turn its zero level into fine triangles,
and edge collapses (quadric error, Garland & Heckbert 1997) thin these out where the surface is flat.
Axes: x forward, y up, z to the animal's right; it stands on y = 0; the unit is about a metre.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from scipy.sparse import coo_array
from skimage.measure import marching_cubes

FACES = 4_000
VOXEL = 0.013
FAR = 0.2  # distances from a tube are not worked out beyond this
BLOCK = 6  # voxels along the side of a block, the unit that is sampled or skipped
PIECES = 6  # of a tube between two points of its curve
COLOR_BLEND = 0.008  # length over which colours of neighbouring parts mix
ROUNDING = 1e-3  # pull of a collapsed edge towards its middle, relative to the quadric
SHORTNESS = 1e-6  # weight of an edge's length in its cost
CHEAPEST = 0.4  # share of the edges that one round may take from
LEAST_TURN = 0.3  # cosine between a face's normals before and after a collapse
GROUND_BLEND = 0.01

FUR, PALE, DARK, HORN = (0.58, 0.42, 0.28), (0.82, 0.72, 0.58), (0.24, 0.18, 0.14), (0.40, 0.35, 0.30)


class Part(NamedTuple):
    """A tube along a curve through points "x y z radius, ..."; joined to what is before it over the length `blend`."""

    curve: str
    blend: float
    color: tuple[float, float, float] = FUR
    breadth: float = 1.0  # width over height
    mirror: bool = False  # also on the other side


PARTS = (
    # trunk: rump, loin, chest; brisket and belly; withers and neck
    Part("-.46 .83 0 .165, -.22 .835 0 .178, .04 .81 0 .200, .26 .80 0 .215, .40 .85 0 .155", 0.0, FUR, 0.92),
    Part("-.10 .73 0 .115, .10 .70 0 .140, .29 .70 0 .145", 0.10, PALE, 0.9),
    Part(".24 .93 0 .090, .42 .97 0 .125, .54 1.12 0 .098, .60 1.26 0 .080", 0.12, FUR, 0.80),
    # skull and muzzle, chin, eyes, beard
    Part(".585 1.315 0 .078, .66 1.31 0 .080, .78 1.245 0 .058, .87 1.19 0 .043", 0.05, FUR, 0.85),
    Part(".83 1.178 0 .030, .878 1.168 0 .032", 0.03, PALE),
    Part(".696 1.325 .056 .019, .708 1.321 .056 .019", 0.004, DARK, 1.0, True),
    Part(".76 1.18 0 .030, .765 1.12 0 .026, .74 1.05 0 .010", 0.03, DARK, 0.8),
    # tail
    Part("-.58 .92 0 .045, -.67 .93 0 .036, -.735 .86 0 .024", 0.04, DARK),
    # fore legs and hooves: the right one stands, the left one is lifted
    Part(
        ".33 .82 .10 .120, .33 .62 .115 .080, .30 .48 .115 .052, .325 .31 .115 .036, .315 .14 .115 .027,"
        ".345 .075 .115 .031",
        0.06,
    ),
    Part(".35 .07 .115 .036, .375 .02 .115 .044", 0.012, DARK),
    Part(
        ".34 .82 -.10 .120, .38 .64 -.115 .080, .43 .52 -.115 .054, .545 .42 -.115 .038, .52 .27 -.115 .027,"
        ".50 .215 -.115 .029",
        0.06,
    ),
    Part(".495 .205 -.115 .034, .47 .16 -.115 .038", 0.012, DARK),
    # hind legs and hooves: haunch, stifle, hock, fetlock; the left one a step behind
    Part(
        "-.44 .82 .078 .150, -.35 .63 .115 .108, -.42 .48 .12 .060, -.50 .36 .12 .040, -.455 .15 .12 .029,"
        "-.425 .078 .12 .032",
        0.07,
    ),
    Part("-.42 .07 .12 .037, -.395 .02 .12 .045", 0.012, DARK),
    Part(
        "-.46 .82 -.078 .150, -.44 .63 -.115 .108, -.55 .49 -.12 .060, -.66 .38 -.12 .040, -.665 .16 -.12 .029,"
        "-.64 .08 -.12 .032",
        0.07,
    ),
    Part("-.635 .072 -.12 .037, -.61 .02 -.12 .045", 0.012, DARK),
    # ears and horns
    Part(".585 1.345 .055 .022, .555 1.352 .120 .035, .51 1.335 .205 .010", 0.02, FUR, 1.0, True),
    Part(
        ".625 1.355 .038 .045, .64 1.48 .055 .043, .585 1.61 .085 .038, .47 1.70 .12 .033, .33 1.715 .155 .027,"
        ".22 1.65 .18 .020, .16 1.55 .19 .010",
        0.015,
        HORN,
        1.0,
        True,
    ),
)


def spline(curve: str) -> np.ndarray:
    """Points and radii [point, 4] along a Catmull-Rom curve."""
    knot = np.array([point.split() for point in curve.split(",")], float)
    knot = np.concatenate([2 * knot[:1] - knot[1:2], knot, 2 * knot[-1:] - knot[-2:-1]])
    t = np.arange(PIECES)[:, None] / PIECES
    before, start, end, after = (knot[k : len(knot) - 3 + k, None] for k in range(4))
    slope_start, slope_end = (end - before) / 2, (after - start) / 2
    bend = (
        start * (1 + 2 * t) * (1 - t) ** 2
        + slope_start * t * (1 - t) ** 2
        + end * t**2 * (3 - 2 * t)
        + slope_end * t**2 * (t - 1)
    )
    return np.concatenate([bend.reshape(-1, 4), knot[-2:-1]])


def tube_distance(points: np.ndarray, part: Part, side: float) -> np.ndarray:
    """Signed distance, nearly, to one tube; side -1 is its mirror image."""
    curve = spline(part.curve) * [1.0, 1.0, side, 1.0]
    distance = np.full(len(points), FAR)
    lower, upper = np.min(curve - curve[:, 3:], axis=0)[:3] - FAR, np.max(curve + curve[:, 3:], axis=0)[:3] + FAR
    near = np.flatnonzero(np.all((points > lower) & (points < upper), axis=1))
    squash = np.array([1.0, 1.0, part.breadth])
    place, curve = points[near] / squash, curve / [*squash, 1.0]
    nearest = np.full(len(near), np.inf)
    for start, end in zip(curve[:-1], curve[1:], strict=True):
        along = end[:3] - start[:3]
        t = np.clip((place - start[:3]) @ along / (along @ along), 0.0, 1.0)
        radius = start[3] + t * (end[3] - start[3])
        nearest = np.minimum(nearest, np.linalg.norm(place - start[:3] - t[:, None] * along, axis=1) - radius)
    distance[near] = np.minimum(FAR, nearest * min(1.0, part.breadth))
    return distance


def smooth_minimum(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """Minimum, rounded where the two differ by less than `blend`."""
    if blend == 0.0:
        return np.minimum(first, second)
    near = np.maximum(blend - np.abs(first - second), 0.0)
    return np.minimum(first, second) - near**2 / (4.0 * blend)


def sculpture(points: np.ndarray) -> np.ndarray:
    """Signed distance, nearly, to the animal; negative inside."""
    distance = np.full(len(points), FAR)
    for part in PARTS:
        for side in (1.0, -1.0) if part.mirror else (1.0,):
            distance = smooth_minimum(distance, tube_distance(points, part, side), part.blend)
    return -smooth_minimum(-distance, points[:, 1], GROUND_BLEND)


def fine_mesh(voxel: float = VOXEL) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the zero level, sampled only in blocks that it may pass."""
    curves = np.concatenate([spline(part.curve) * [1, 1, side, 1] for part in PARTS for side in (1, -1)])
    side = BLOCK * voxel
    lower = np.min(curves[:, :3] - curves[:, 3:], axis=0) - 2 * side
    blocks = np.ceil((np.max(curves[:, :3] + curves[:, 3:], axis=0) + side - lower) / side).astype(int)
    block = np.stack(np.unravel_index(np.arange(np.prod(blocks)), blocks), axis=1)
    middle = sculpture(lower + (block + 0.5) * side)
    near = np.abs(middle) < side  # half its diagonal is 0.87 sides
    within = np.stack(np.unravel_index(np.arange(BLOCK**3), (BLOCK,) * 3), axis=1)
    field = np.repeat(np.sign(middle)[:, None], BLOCK**3, axis=1)
    sampled = lower + (block[near, None] * BLOCK + within) * voxel
    field[near] = sculpture(sampled.reshape(-1, 3)).reshape(-1, BLOCK**3)
    volume = field.reshape(*blocks, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5).reshape(blocks * BLOCK)
    vertices, faces, _, _ = marching_cubes(volume, 0.0, spacing=(voxel,) * 3, gradient_direction="descent")
    mesh = trimesh.Trimesh(vertices.astype(float) + lower, faces)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def quadrics(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Per vertex the sum of squared distances to the planes of its faces, as a form [4, 4], weighted by area."""
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    normal = normal / np.maximum(area, np.finfo(float).tiny)[:, None]
    plane = np.column_stack([normal, -np.sum(normal * vertices[faces[:, 0]], axis=1)])
    form = np.zeros((len(vertices), 4, 4))
    for index in faces.T:
        np.add.at(form, index, area[:, None, None] * plane[:, :, None] * plane[:, None, :])
    return form


def collapse_round(vertices, faces, form, most: int):
    """One set of cheap edges that do not touch each other, at most `most`, each drawn together into a point."""
    first, second = faces, np.roll(faces, -1, axis=1)
    # every edge of a closed surface runs upwards in one of its two faces; this is quicker than a sort for doubles
    edge = np.stack([first[first < second], second[first < second]], axis=1)
    point, cost = collapse_points(vertices, edge, form)
    links = coo_array((np.ones(len(edge)), tuple(edge.T)), shape=(len(vertices),) * 2).tocsr()
    links = links + links.T
    # more than two common neighbours: a collapse would pinch the surface
    allowed = np.flatnonzero((cost <= np.quantile(cost, CHEAPEST)) & ((links @ links)[tuple(edge.T)] == 2))
    allowed = allowed[~turns_faces(vertices, faces, edge[allowed], point[allowed])]
    edge, point = edge[allowed], point[allowed]
    rank = np.argsort(np.argsort(cost[allowed], kind="stable"))
    lowest = np.full(len(vertices), len(edge))
    np.minimum.at(lowest, edge.ravel(), np.repeat(rank, 2))
    around = lowest.copy()  # also among the neighbours' edges
    for corner in range(3):
        np.minimum.at(around, faces[:, corner], lowest[faces].min(axis=1))
    chosen = np.flatnonzero(np.all(around[edge] == rank[:, None], axis=1))
    chosen = chosen[np.argsort(rank[chosen])][:most]
    kept, gone = edge[chosen].T
    vertices, form, new = vertices.copy(), form.copy(), np.arange(len(vertices))
    vertices[kept], new[gone] = point[chosen], kept
    form[kept] += form[gone]
    faces = new[faces]
    used, index = np.unique(faces[np.all(faces != np.roll(faces, 1, axis=1), axis=1)], return_inverse=True)
    return vertices[used], index.reshape(-1, 3), form[used]


def collapse_points(vertices, edge, form) -> tuple[np.ndarray, np.ndarray]:
    """Where each edge had best be drawn together, and the error this makes."""
    both = form[edge[:, 0]] + form[edge[:, 1]]
    square, middle = both[:, :3, :3], vertices[edge].mean(axis=1)
    size = np.trace(square, axis1=1, axis2=2)
    residual = np.einsum("eij,ej->ei", square, middle) + both[:, :3, 3]
    pulled = square + (ROUNDING * size)[:, None, None] * np.eye(3)
    whole = np.column_stack([middle - np.linalg.solve(pulled, residual[:, :, None])[:, :, 0], np.ones(len(edge))])
    length = np.sum((vertices[edge[:, 0]] - vertices[edge[:, 1]]) ** 2, axis=1)
    return whole[:, :3], np.einsum("ei,eij,ej->e", whole, both, whole) + SHORTNESS * length * size


def turns_faces(vertices, faces, edge, point) -> np.ndarray:
    """Whether a face around the edge would turn by too much when the edge is drawn together."""
    by_vertex = np.argsort(faces.ravel(), kind="stable")
    start = np.searchsorted(faces.ravel()[by_vertex], np.arange(len(vertices) + 1))
    turned = np.zeros(len(edge), bool)
    for end, other in (edge.T, edge.T[::-1]):
        degree = start[end + 1] - start[end]
        index = np.repeat(np.arange(len(edge)), degree)
        nth = np.arange(len(index)) - np.repeat(np.cumsum(degree) - degree, degree)
        face = faces[by_vertex[start[end][index] + nth] // 3]
        apart = ~np.any(face == other[index][:, None], axis=1)  # the two faces at the edge vanish
        index, face = index[apart], face[apart]
        corner = vertices[face]
        before = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        corner = np.where((face == end[index][:, None])[:, :, None], point[index][:, None], corner)
        after = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        sizes = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        turned[index[np.sum(before * after, axis=1) < LEAST_TURN * sizes]] = True
    return turned


def thinned(vertices: np.ndarray, faces: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """The same closed surface with `target` faces, or as near above as collapses come."""
    form = quadrics(vertices, faces)
    while len(faces) > target:
        before = len(faces)
        vertices, faces, form = collapse_round(vertices, faces, form, (before - target) // 2)
        if len(faces) == before:
            break
    return vertices, faces


def vertex_colors(vertices: np.ndarray) -> np.ndarray:
    """Colour of the part each vertex lies on, mixed where parts meet; 0 to 255."""
    closeness, color = [], []
    for part in PARTS:
        for side in (1.0, -1.0) if part.mirror else (1.0,):
            closeness.append(-tube_distance(vertices, part, side) / COLOR_BLEND)
            color.append(part.color)
    weight = np.exp(np.array(closeness) - np.max(closeness, axis=0))
    return np.rint(255.0 * (weight / weight.sum(axis=0)).T @ np.array(color)).astype(np.uint8)


def build(target: int = FACES, voxel: float = VOXEL) -> trimesh.Trimesh:
    """The animal with `target` faces, coloured."""
    vertices, faces = thinned(*fine_mesh(voxel), target)
    return trimesh.Trimesh(vertices, faces, vertex_colors=vertex_colors(vertices), process=False)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("ibex.ply")
    path.write_bytes(trimesh.exchange.ply.export_ply(build(), vertex_normal=False))
