"""How well a surface agrees with a reference: every measure of it in one record, with all that it depends on.

Distances are exact, from samples of one surface to the whole other one, so they are 0 for equal surfaces. Beside them
stand distances between samples, as most papers print them. These have a floor: that of two samplings of the reference.
"""

from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.geometry.cloud import Cloud
from fmb.geometry.distances import Pieces, cut, nearest_on
from fmb.geometry.interior import solid_cells
from fmb.geometry.metrics import POINTS

THRESHOLD = 0.01  # of the reference's longest side: nearer points count as found in the F-score
CELLS_PER_DIAGONAL = 100  # of the voxels, along the diagonal of the box of both surfaces
FARTHEST_CENTRES, LARGEST_RATIO = 3.0, 10.0  # of the boxes, in longest sides: beyond, frames differ


Shape = trimesh.Trimesh | Cloud


class Sides(NamedTuple):
    """Distances, and angles of normals in degrees, from samples of each surface to the other; None: not known."""

    there: Float[np.ndarray, " point"]  # from the reference to the mesh: what the mesh lacks
    back: Float[np.ndarray, " other"]  # from the mesh to the reference: what it has too much
    there_degrees: Float[np.ndarray, " point"] | None
    back_degrees: Float[np.ndarray, " other"] | None


class Sampled(NamedTuple):
    """A surface, its pieces, samples of it and their normals; of a cloud, its points alone."""

    pieces: Pieces | None
    point: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"] | None
    face_normal: Float[np.ndarray, "face 3"] | None


def compare(
    mesh: Shape,
    reference: Shape,
    count: int = POINTS,
    seed: int = 0,
    unit: float | None = None,
    threshold: float = THRESHOLD,
) -> dict[str, Any]:
    """The record of a mesh against its reference, both in one frame; ready for JSON.

    Distances are in units of `unit`, by default the longest side of the reference's box. "exact" and "sampled" have
    Chamfer (mean of both directions), the mean of each direction, the mean square, Hausdorff (largest of both), its
    variants, the angle of normals in degrees, and the F-score at `threshold`, see `summary`. "floor" has what "sampled"
    is between two samplings of the reference.

    Either may be a cloud. It is then measured by its points, to which the nearest of them counts in "exact" too; the
    floor of a cloud is that of its two halves, chosen at random. What needs a body is left out: voxels, Euler number.
    Raises ValueError for an empty mesh, and where the two can hardly be in one frame.
    """
    return compared(mesh, reference, count, seed, unit, threshold).record


class Compared(NamedTuple):
    """The record of two shapes, and what it is made of."""

    record: dict[str, Any]
    here: Sampled
    there: Sampled
    exact: Sides
    floor: Sides


def compared(mesh: Shape, reference: Shape, count: int, seed: int, unit: float | None, threshold: float) -> Compared:
    """The record of `compare`, and the distances that it sums up."""
    check_frames(mesh.bounds, reference.bounds)
    generator = np.random.default_rng(seed)
    unit = float(np.ptp(reference.bounds, axis=0).max()) if unit is None else unit
    here, there = sampled(mesh, count, generator), sampled(reference, count, generator)
    exact, floor = exact_sides(here, there), sampled_sides(*twice(reference, there, generator))
    record = {
        "exact": summary(exact, unit, threshold),
        "sampled": summary(sampled_sides(here, there), unit, threshold),
        "floor": summary(floor, unit, threshold),
    }
    if isinstance(mesh, trimesh.Trimesh) and isinstance(reference, trimesh.Trimesh):
        record["voxel_iou"] = voxel_iou(mesh, reference)
    record |= topology(mesh) if isinstance(mesh, trimesh.Trimesh) else {}
    record |= {"reference": topology(reference)} if isinstance(reference, trimesh.Trimesh) else {}
    record |= {"samples": count, "seed": seed, "unit": unit, "threshold": threshold}
    return Compared(record | {"cells_per_diagonal": CELLS_PER_DIAGONAL}, here, there, exact, floor)


def check_frames(box: Float[np.ndarray, "2 3"] | None, reference: Float[np.ndarray, "2 3"] | None) -> None:
    """Raises ValueError where boxes, lower and upper corner, are so far apart or unlike that frames must differ."""
    expected = check_units(box, reference)
    away = float(np.linalg.norm(box.mean(axis=0) - reference.mean(axis=0))) / expected
    if away > FARTHEST_CENTRES:
        raise ValueError(
            f"reference in another frame: the centres are {away:.3g} sizes apart, at most {FARTHEST_CENTRES:g}"
        )


def check_units(box: Float[np.ndarray, "2 3"] | None, reference: Float[np.ndarray, "2 3"] | None) -> float:
    """The reference's longest side.  Raises ValueError where one of both is empty, or their sizes too unlike."""
    if box is None or reference is None:
        raise ValueError("a mesh without faces cannot be compared")
    size, expected = (float(np.ptp(corners, axis=0).max()) for corners in (box, reference))
    if not size > 0.0 or not expected > 0.0:
        raise ValueError("all points lie in one place")
    if not 1.0 / LARGEST_RATIO <= size / expected <= LARGEST_RATIO:
        ratio, most = max(size / expected, expected / size), f"at most {LARGEST_RATIO:g} times as large"
        words = f"reference in another unit: the sizes are {size:.4g} and {expected:.4g}, {most}"
        raise ValueError(f"sizes differ {ratio:.4g} times: {words}")
    return expected


def sampled(shape: Shape, count: int, generator: np.random.Generator, pieces: Pieces | None = None) -> Sampled:
    """The mesh with `count` samples of it, uniform by area, each with the normal of the face that it lies on.

    Of a cloud that has more points, `count` of them.
    """
    if isinstance(shape, Cloud):
        chosen = slice(None) if len(shape.point) <= count else generator.permutation(len(shape.point))[:count]
        normal = None if shape.normal is None else np.asarray(shape.normal, float)[chosen]
        return Sampled(None, np.asarray(shape.point, float)[chosen], normal, None)
    pieces = pieces or cut(shape)
    point, face = sample_surface(shape, count, seed=generator)
    corner = np.asarray(shape.triangles, float)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    return Sampled(pieces, np.asarray(point), normal[face], normal)


def twice(reference: Shape, known: Sampled, generator: np.random.Generator) -> tuple[Sampled, Sampled]:
    """Two samplings of the reference, one of them the known; of a cloud, its two halves."""
    if isinstance(reference, trimesh.Trimesh):
        return sampled(reference, len(known.point), generator, known.pieces), known
    halves = np.array_split(generator.permutation(len(known.point)), 2)
    first, second = (
        known._replace(point=known.point[half], normal=None if known.normal is None else known.normal[half])
        for half in halves
    )
    return first, second


def exact_sides(mesh: Sampled, reference: Sampled) -> Sides:
    """From the samples of each to the other's surface."""
    (there, mesh_normal), (back, reference_normal) = onto(mesh, reference.point), onto(reference, mesh.point)
    return Sides(there, back, *_degrees(reference.normal, mesh_normal, mesh.normal, reference_normal))


def onto(shape: Sampled, points: Float[np.ndarray, "point 3"]) -> tuple[np.ndarray, np.ndarray | None]:
    """How far points are from a surface, or from the nearest point of a cloud, and the normals there."""
    if shape.pieces is None:
        distance, place = cKDTree(shape.point).query(points)
        return distance, None if shape.normal is None else shape.normal[place]
    nearest = nearest_on(shape.pieces, points)
    return nearest.distance, shape.face_normal[nearest.face]


def sampled_sides(mesh: Sampled, reference: Sampled) -> Sides:
    """From the samples of each to the other's samples."""
    return exact_sides(mesh._replace(pieces=None), reference._replace(pieces=None))


def _degrees(*normals: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Angles of the first two and of the last two normals; if one surface is inside out, of the turned ones."""
    if any(normal is None for normal in normals):
        return None, None
    cosines = [np.clip(np.sum(normals[k] * normals[k + 1], axis=1), -1.0, 1.0) for k in (0, 2)]
    straight = [np.rad2deg(np.arccos(cosine)) for cosine in cosines]
    turned = [180.0 - angle for angle in straight]
    first, second = min((straight, turned), key=lambda pair: pair[0].mean() + pair[1].mean())
    return first, second


def summary(sides: Sides, unit: float, threshold: float) -> dict[str, float]:
    """Chamfer and the others, see `compare`; no angle where one of the two has no normals.

    "chamfer" is the mean of both means (mean-mean), "max_mean" the larger of them, "hausdorff" the larger of both
    maxima (max-max); "farthest_..." are these two.
    """
    there, back = sides.there / unit, sides.back / unit
    recall, precision = float(np.mean(there < threshold)), float(np.mean(back < threshold))
    found = {
        "chamfer": float(there.mean() + back.mean()) / 2,
        "from_reference": float(there.mean()),
        "to_reference": float(back.mean()),
        "max_mean": float(max(there.mean(), back.mean())),
        "squared": float(np.mean(there**2) + np.mean(back**2)) / 2,
        "hausdorff": float(max(there.max(), back.max())),
        "farthest_from_reference": float(there.max()),
        "farthest_to_reference": float(back.max()),
    }
    if sides.there_degrees is not None and sides.back_degrees is not None:
        found["normal_degrees"] = float(sides.there_degrees.mean() + sides.back_degrees.mean()) / 2
    return found | {"f_score": 2 * recall * precision / (recall + precision) if recall + precision else 0.0}


def voxel_iou(mesh: trimesh.Trimesh, reference: trimesh.Trimesh, cells: int = CELLS_PER_DIAGONAL) -> float:
    """Intersection over union of the solids, in cells over the box of both, so many along its diagonal.

    Raises ValueError where neither has a cell.
    """
    lower, upper = np.minimum(mesh.bounds[0], reference.bounds[0]), np.maximum(mesh.bounds[1], reference.bounds[1])
    side = float(np.linalg.norm(upper - lower)) / cells
    first, second, third = (int(n) for n in np.ceil((upper - lower) / side).astype(int) + 1)
    own, other = (solid_cells(part, lower - side / 2, side, (first, second, third)) for part in (mesh, reference))
    union = int(np.count_nonzero(own | other))
    if not union:
        raise ValueError(f"voxel IoU: neither surface encloses the middle of one of {cells} cells along the diagonal")
    return int(np.count_nonzero(own & other)) / union


def topology(mesh: trimesh.Trimesh) -> dict[str, Any]:
    """Euler number, connected pieces, and whether it is closed; where it is not, vertices at one place count once.

    Marching cubes may put several vertices at one place: to join those of a closed surface would tear it.
    """
    joined = mesh
    if not mesh.is_watertight:
        joined = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
        joined.update_faces(joined.nondegenerate_faces())
    return {
        "euler": int(joined.euler_number),
        "components": int(joined.body_count),
        "watertight": bool(joined.is_watertight),
    }


class Worst(NamedTuple):
    """The place of one shape that is farthest from another, the nearest place there, and how far that is."""

    start: Float[np.ndarray, "3"]
    end: Float[np.ndarray, "3"]
    distance: float


def worst_pairs(found: Compared, mesh: Shape, reference: Shape) -> tuple[Worst, Worst]:
    """The pair of worst points from the mesh to the reference, and the one from there: of samples and vertices."""
    back = worst_pair(mesh, found.here, found.there, found.exact.back)
    return back, worst_pair(reference, found.there, found.here, found.exact.there)


def worst_pair(shape: Shape, own: Sampled, other: Sampled, known: Float[np.ndarray, " point"]) -> Worst:
    """The place of a shape that is farthest from another: of its vertices, and of its samples at known distances."""
    places, distance = own.point, known
    if isinstance(shape, trimesh.Trimesh):
        vertices = np.asarray(shape.vertices, float)
        places, distance = np.concatenate([places, vertices]), np.append(known, onto(other, vertices)[0])
    start = places[[int(np.argmax(distance))]]
    end = nearest_on(other.pieces, start).point if other.pieces else other.point[cKDTree(other.point).query(start)[1]]
    return Worst(start[0], end[0], float(distance.max()))


def with_worst(record: dict[str, Any], back: Worst, there: Worst) -> dict[str, Any]:
    """The record with the worst pairs, and exact maxima that are no smaller: a spike may be too thin for samples."""
    exact, unit = dict(record["exact"]), record["unit"]
    for name, pair in (("farthest_to_reference", back), ("farthest_from_reference", there)):
        exact[name] = max(exact[name], pair.distance / unit)
        exact["hausdorff"] = max(exact["hausdorff"], exact[name])
    pairs = {name: pair._asdict() for name, pair in (("to_reference", back), ("from_reference", there))}
    return record | {"exact": exact, "worst": pairs}
