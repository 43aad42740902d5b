"""Errors of images, poses and surfaces against references, in float64 NumPy."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.images import foreground
from fmb.geometry.images import view_ious as view_ious

MEDIAN_TO_DEVIATION = 1.4826  # of a normal distribution, from the median of absolute deviations
ALPHA_MARGIN = 1e-6  # the paper clips alpha to [1e-6, 1 - 1e-6] before it reports figures


class PoseError(NamedTuple):
    """Error of a pose; `combined`, the geometric mean of the other two, is the figure of the paper."""

    rotation_degrees: float
    translation_percent: float
    combined: float


def cross_entropy(
    alpha: Float[ANY_ARRAY, "*pixel"],
    silhouette: Float[ANY_ARRAY, "*pixel"],
    valid: ANY_ARRAY | None = None,
) -> float:
    """Mean cross-entropy over the valid pixels, alpha clipped to [1e-6, 1 - 1e-6] (section 7.1).

    Raises ValueError if no pixel is valid.
    """
    alpha, silhouette = _valid(valid, alpha, silhouette)
    alpha = np.clip(alpha, ALPHA_MARGIN, 1.0 - ALPHA_MARGIN)
    return float(-np.mean(silhouette * np.log(alpha) + (1.0 - silhouette) * np.log1p(-alpha)))


def iou(
    alpha: Float[ANY_ARRAY, "*pixel"],
    silhouette: Float[ANY_ARRAY, "*pixel"],
    valid: ANY_ARRAY | None = None,
) -> float:
    """Intersection over union of both foregrounds over all valid pixels; 1 if both are empty.

    Raises ValueError if no pixel is valid.
    """
    alpha, silhouette = _valid(valid, alpha, silhouette)
    rendered, observed = foreground(alpha), foreground(silhouette)
    union = np.count_nonzero(rendered | observed)
    return float(np.count_nonzero(rendered & observed) / union) if union else 1.0


def depth_mae(
    depth: Float[ANY_ARRAY, "*pixel"],
    observed_depth: Float[ANY_ARRAY, "*pixel"],
    alpha: Float[ANY_ARRAY, "*pixel"],
    valid: ANY_ARRAY | None = None,
) -> float:
    """Mean absolute error of the depth, in its unit, over the valid pixels that are foreground in both; NaN if none is.

    A pixel is foreground where alpha is, and where the observed depth is finite. A pixel whose own depth is not finite
    does not count.

    Raises ValueError if no pixel is valid.
    """
    depth, observed_depth, alpha = _valid(valid, depth, observed_depth, alpha)
    both = np.isfinite(depth) & np.isfinite(observed_depth) & foreground(alpha)
    return float(np.mean(np.abs(depth[both] - observed_depth[both]))) if both.any() else float("nan")


def pose_error(
    world_from_camera: Float[ANY_ARRAY, "4 4"], reference: Float[ANY_ARRAY, "4 4"], size: float
) -> PoseError:
    """Angle between two camera poses, and the distance of the cameras in percent of the model's `size`.

    Raises ValueError for a size that is not positive.
    """
    if not size > 0.0:
        raise ValueError(f"model size {size}: must be positive")
    pose, reference = np.asarray(world_from_camera, float), np.asarray(reference, float)
    turn = pose[:3, :3].T @ reference[:3, :3]
    # both sine and cosine: the arc cosine alone loses half the digits near 0 and 180 degrees
    sine = np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    degrees = np.rad2deg(np.arctan2(sine, np.trace(turn) - 1.0))
    percent = 100.0 * np.linalg.norm(pose[:3, 3] - reference[:3, 3]) / size
    return PoseError(float(degrees), float(percent), float(np.sqrt(degrees * percent)))


def object_pose_error(
    camera_from_object: Float[ANY_ARRAY, "4 4"],
    reference: Float[ANY_ARRAY, "4 4"],
    size: float,
    centre: Float[ANY_ARRAY, "3"] | None = None,
) -> PoseError:
    """Angle between two poses of an object, and the distance of the two places of its `centre` in percent of `size`.

    Without `centre` its origin is taken. In contrast to `pose_error`, a turn about the centre is no shift.

    Raises ValueError for a size that is not positive.
    """
    at_centre = np.eye(4)
    at_centre[:3, 3] = 0.0 if centre is None else np.asarray(centre, float)
    return pose_error(np.asarray(camera_from_object) @ at_centre, np.asarray(reference) @ at_centre, size)


def average_distance(
    camera_from_object: Float[ANY_ARRAY, "4 4"], reference: Float[ANY_ARRAY, "4 4"], points: Float[ANY_ARRAY, "point 3"]
) -> float:
    """ADD: mean distance between the points of an object in two poses, in their unit (Hinterstoisser et al. 2012).

    Raises ValueError if there are no points.
    """
    here, there = _placed(camera_from_object, reference, points)
    return float(np.mean(np.linalg.norm(here - there, axis=1)))


def average_nearest_distance(
    camera_from_object: Float[ANY_ARRAY, "4 4"], reference: Float[ANY_ARRAY, "4 4"], points: Float[ANY_ARRAY, "point 3"]
) -> float:
    """ADD-S, for symmetric objects: mean distance from each point of the reference to the nearest of the estimate.

    Raises ValueError if there are no points.
    """
    here, there = _placed(camera_from_object, reference, points)
    return float(np.mean(cKDTree(here).query(there)[0]))


def largest_symmetric_distance(
    camera_from_object: Float[ANY_ARRAY, "4 4"],
    reference: Float[ANY_ARRAY, "4 4"],
    points: Float[ANY_ARRAY, "point 3"],
    maps: Float[ANY_ARRAY, "map 4 4"],
) -> float:
    """MSSD: largest distance of a point in two poses, for the map of the symmetry that makes it least (Hodan 2020).

    `maps` are those of the object's frame that leave it as it is, the identity among them.
    Raises ValueError if there are no points.
    """
    largest = []
    for one in np.asarray(maps, float):
        here, there = _placed(camera_from_object, np.asarray(reference, float) @ one, points)
        largest.append(float(np.linalg.norm(here - there, axis=1).max()))
    return min(largest)


class PointErrors(NamedTuple):
    """Errors of a pose on points of the object, in their unit."""

    add: float
    adds: float
    mssd: float


def point_errors(
    camera_from_object: Float[ANY_ARRAY, "4 4"],
    reference: Float[ANY_ARRAY, "4 4"],
    points: Float[ANY_ARRAY, "point 3"],
    maps: Float[ANY_ARRAY, "map 4 4"],
) -> PointErrors:
    """ADD, ADD-S, and MSSD with the maps, as `largest_symmetric_distance` wants them.

    Raises ValueError if there are no points.
    """
    pair = camera_from_object, reference, points
    mssd = largest_symmetric_distance(*pair, maps)
    return PointErrors(average_distance(*pair), average_nearest_distance(*pair), mssd)


def chamfer_distance(points: Float[ANY_ARRAY, "point 3"], reference: Float[ANY_ARRAY, "other 3"]) -> float:
    """Mean distance to the nearest point of the other cloud, averaged over both directions.

    It is not 0 for two samplings of one surface: report that floor beside the value.

    Raises ValueError if a cloud is empty.
    """
    (there, _), (back, _) = _nearest(points, reference)
    return float(0.5 * (there.mean() + back.mean()))


def hausdorff_distance(points: Float[ANY_ARRAY, "point 3"], reference: Float[ANY_ARRAY, "other 3"]) -> float:
    """Largest distance to the nearest point of the other cloud, in either direction.

    Raises ValueError if a cloud is empty.
    """
    (there, _), (back, _) = _nearest(points, reference)
    return float(max(there.max(), back.max()))


def _valid(valid: ANY_ARRAY | None, *images: ANY_ARRAY) -> list[np.ndarray]:
    images = [np.asarray(image, float) for image in images]
    keep = np.ones(images[0].shape, bool) if valid is None else np.asarray(valid, bool)
    if not keep.any():
        raise ValueError("no valid pixel to measure")
    return [image[keep] for image in images]


def _placed(pose: ANY_ARRAY, reference: ANY_ARRAY, points: ANY_ARRAY) -> list[np.ndarray]:
    points = np.asarray(points, float)
    if not len(points):
        raise ValueError("no points of the object to measure with")
    return [
        points @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (np.asarray(pose, float), np.asarray(reference, float))
    ]


def _nearest(points: ANY_ARRAY, reference: ANY_ARRAY) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each point the distance and the index of the nearest one in the other cloud, and the other way round."""
    points, reference = np.asarray(points, float), np.asarray(reference, float)
    if not len(points) or not len(reference):
        raise ValueError(f"clouds of {len(points)} and {len(reference)} points: neither may be empty")
    return [cKDTree(reference).query(points), cKDTree(points).query(reference)]


POINTS = 30_000  # on each surface


class MeshErrors(NamedTuple):
    """Distances in the unit of the meshes; `floor` is the Chamfer distance of two samplings of the reference."""

    chamfer: float
    floor: float
    normal_degrees: float  # mean angle of the normals at nearest points, over both directions


def mesh_errors(
    mesh: trimesh.Trimesh, reference: trimesh.Trimesh, generator: np.random.Generator, count: int = POINTS
) -> MeshErrors:
    """Errors between `count` points on each surface; the floor is that of two samplings of the reference."""
    point, normal = _oriented(mesh, count, generator)
    other, other_normal = _oriented(reference, count, generator)
    again, _ = _oriented(reference, count, generator)
    (there, nearest), (back, nearest_back) = _nearest(point, other)
    angles = [_angles(normal, other_normal[nearest]), _angles(other_normal, normal[nearest_back])]
    degrees = float(np.rad2deg(np.mean(angles)))
    return MeshErrors(float(0.5 * (there.mean() + back.mean())), chamfer_distance(again, other), degrees)


def _oriented(mesh: trimesh.Trimesh, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    point, face = sample_surface(mesh, count, seed=generator)
    corner = np.asarray(mesh.triangles)[face]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return np.asarray(point), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _angles(normal: Float[np.ndarray, "point 3"], other: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, " point"]:
    return np.arccos(np.clip(np.sum(normal * other, axis=1), -1.0, 1.0))
