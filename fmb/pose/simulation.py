"""Simulated images of a known pose, and starts beside it, on which the search is measured (section 7.1)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import Cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.noise import damaged
from fmb.geometry.views import FOREGROUND, Views
from fmb.pose.observation import Observation


class Perturbation(NamedTuple):
    """Largest turn about the object's centre, in degrees, and largest shift, in the unit of the pose."""

    degrees: float
    shift: float


def perturbed(
    camera_from_object: Float[np.ndarray, "4 4"], generator: np.random.Generator, largest: Perturbation
) -> Float[np.ndarray, "4 4"]:
    """The pose turned about the object's centre and moved, each by a uniform amount in a uniform direction."""
    axis, direction = generator.normal(size=(2, 3))
    angle, shift = generator.uniform(-largest.degrees, largest.degrees), generator.uniform(0.0, largest.shift)
    pose = np.array(camera_from_object)
    pose[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis)).as_matrix() @ pose[:3, :3]
    pose[:3, 3] += shift * direction / np.linalg.norm(direction)
    return pose


def simulated(
    mesh: trimesh.Trimesh,
    cameras: Cameras,
    image_size: tuple[int, int],
    generator: np.random.Generator,
    noise: float = 0.0,
) -> list[Observation]:
    """What a depth camera with noise of that strength sees of the mesh, whose scale is 1, from each camera."""
    views = render_ground_truth(mesh, cameras, image_size, "raycast").views
    seen = []
    for view, stream in enumerate(generator.spawn(len(views.silhouette))):
        lens = np.asarray(cameras.intrinsics[view], float)
        exposure = Exposure(np.asarray(views.depth[view]), np.asarray(views.silhouette[view], float), lens)
        exposure = simulate_sensor(exposure, stream, noise)
        seen.append(Observation(lens, exposure.depth, exposure.silhouette))
    return seen


METRES_PER_SCALE = 0.3  # size of a thing on a table; at distance 3 it is 0.9 m from the camera
AXIAL = 1.425e-3  # per metre: deviation of depth = AXIAL z^2, half a pixel of disparity there [K, Eq. 12]
GRAZING = 1e-4  # sqrt(m^3): beside it GRAZING / sqrt(z) (a / (pi/2 - a))^2 for a surface at incidence a [N, Eq. 3]
LATERAL, LATERAL_GRAZING = 0.8, 0.035  # pixels of the sensor: 0.8 + 0.035 a / (pi/2 - a) [N, Eq. 1]
SENSOR_FOCAL = 585.0  # pixels of the sensor per unit of tangent [N]
FOCAL_BASELINE = 585.0 * 0.075  # pixels x metres: disparity = FOCAL_BASELINE / z [K]
DISPARITY_STEP = 1 / 8  # pixel: disparities are whole multiples of it [K]
STEEPEST = np.deg2rad(80.0)  # incidence at which the terms that diverge at 90 degrees stop growing
FADES, GONE = np.deg2rad(65.0), np.deg2rad(85.0)  # incidence between which returns get lost: [N] measured up to 70
EDGE_SLOPE = 6.0  # widths of a pixel there; a larger step in depth (81 degrees) is an edge
EDGE_LOSS = 0.5  # chance that a pixel beside an edge measures nothing
BOARD_GAP = (0.1, 1.0)  # scales between the object's nearest point and the board that hides a part of it
DAMAGE = 1 / 8  # share of the mask that is missing (under-segmentation, section 7.2)


class Exposure(NamedTuple):
    """One image of a depth camera; `scale` is the object's scale in the unit of the depth."""

    depth: Float[np.ndarray, "height width"]  # along the optical axis; NaN: nothing measured
    silhouette: Float[np.ndarray, "height width"]  # 0 to 1
    intrinsics: Float[np.ndarray, "3 3"]
    scale: float = 1.0

    @property
    def metres(self) -> np.ndarray:
        """The depth in metres of the simulated sensor."""
        return self.depth * (METRES_PER_SCALE / self.scale)


def occluded(exposure: Exposure, generator: np.random.Generator, share: float) -> Exposure:
    """The image with a board before the object that hides about that share of it.

    The board has one straight edge in a random direction and stands up to a scale before the object's nearest point.
    It reaches to the border of the image and is seen in the depth; the silhouette is that of the visible part.
    Raises ValueError for a share outside [0, 1), and where nothing of the object has a depth.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"hidden share {share} of the object; must be at least 0 and below 1")
    angle, gap = generator.uniform(0.0, 2.0 * np.pi), generator.uniform(*BOARD_GAP)
    seen = exposure.silhouette >= FOREGROUND
    if not np.isfinite(exposure.depth[seen]).any():
        raise ValueError("occlusion: no pixel of the object has a depth")
    row, column = np.indices(exposure.depth.shape)
    along = np.cos(angle) * column + np.sin(angle) * row
    board = along > np.quantile(along[seen], 1.0 - share) if share > 0.0 else np.zeros_like(seen)
    depth = np.nanmin(exposure.depth[seen]) - gap * exposure.scale
    return exposure._replace(
        depth=np.where(board, depth, exposure.depth), silhouette=np.where(board, 0.0, exposure.silhouette)
    )


def simulate_sensor(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """The image with all of SENSOR_NOISES, in their order: a sensor's noise and a careless mask.

    `strength` multiplies deviations, steps, chances and shares; 0 changes nothing.
    Raises ValueError for a negative strength or a scale that is not positive.
    """
    if not strength >= 0.0:
        raise ValueError(f"strength {strength} of the sensor's noise; must be at least 0")
    if not exposure.scale > 0.0:
        raise ValueError(f"scale {exposure.scale} of the object; must be positive")
    # each kind has its own stream, so that none depends on what another draws
    for noise, stream in zip(SENSOR_NOISES.values(), generator.spawn(len(SENSOR_NOISES)), strict=True):
        exposure = noise(exposure, stream, strength) if strength > 0.0 else exposure
    return exposure


def grazing(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """No depth where the surface is seen at a grazing angle: the chance rises from 0 at FADES to 1 at GONE."""
    chance = strength * np.clip((incidence(exposure.depth, exposure.intrinsics) - FADES) / (GONE - FADES), 0.0, 1.0)
    return _without(exposure, generator.uniform(size=exposure.depth.shape) < chance)


def edges(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """No depth at some of the pixels beside a step in depth or beside pixels without depth."""
    lost = generator.uniform(size=exposure.depth.shape) < strength * EDGE_LOSS
    return _without(exposure, lost & beside_edge(exposure.depth, exposure.intrinsics))


def lateral(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """Depths of places a little aside: normal shifts in both directions times the slopes there [N].

    The deviation is an angle of the sensor, so in a coarser image it is fewer pixels.
    """
    angle = _bounded_incidence(exposure)
    deviation = strength * (LATERAL + LATERAL_GRAZING * angle / (np.pi / 2 - angle)) / SENSOR_FOCAL
    shift = generator.normal(size=(2, *exposure.depth.shape)) * deviation
    slopes = np.nan_to_num(np.stack(slope(exposure.depth)))  # a pixel without neighbours keeps its depth
    focal = exposure.intrinsics[[1, 0], [1, 0]].reshape(2, 1, 1)
    # a slope above EDGE_SLOPE is an edge, not a surface
    steepest = EDGE_SLOPE * np.nan_to_num(exposure.depth) / focal
    return exposure._replace(
        depth=exposure.depth + np.sum(np.clip(slopes, -steepest, steepest) * focal * shift, axis=0)
    )


def axial(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """Normal errors of depth, with a deviation that grows with z^2 [K] and with incidence [N]."""
    angle, metres = _bounded_incidence(exposure), exposure.metres
    grazed = GRAZING / np.sqrt(metres) * (angle / (np.pi / 2 - angle)) ** 2
    # [N] finds this term from 60 degrees on; below, only the law of z^2 holds
    deviation = AXIAL * metres**2 + np.where(angle > np.pi / 3, grazed, 0.0)
    error = strength * deviation * generator.normal(size=exposure.depth.shape)
    return exposure._replace(depth=exposure.depth + error * (exposure.scale / METRES_PER_SCALE))


def disparity(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """Depths rounded so that disparity is a multiple of `strength` DISPARITY_STEP; nothing is random."""
    step = strength * DISPARITY_STEP
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = FOCAL_BASELINE / (np.maximum(np.rint(FOCAL_BASELINE / exposure.metres / step), 1.0) * step)
    return exposure._replace(depth=metres * (exposure.scale / METRES_PER_SCALE))


def mask(exposure: Exposure, generator: np.random.Generator, strength: float = 1.0) -> Exposure:
    """A mask that lacks a cluster of `strength` DAMAGE of its pixels; depth is missing there, too."""
    twice = np.stack([exposure.silhouette] * 2)  # half of the views are damaged
    pose, matrix = np.tile(np.eye(4), (2, 1, 1)), np.tile(exposure.intrinsics, (2, 1, 1))
    found = damaged(Views(Cameras(pose, matrix), twice), generator, min(strength * DAMAGE, 0.5)).silhouette
    silhouette = np.minimum(found[0], found[1])
    return _without(exposure._replace(silhouette=silhouette), (silhouette == 0.0) & (exposure.silhouette > 0.0))


SENSOR_NOISES: dict[
    str, Callable[..., Exposure]
] = {  # (exposure, generator, strength) -> exposure, in the order of the sensor
    "grazing": grazing,
    "edges": edges,
    "lateral": lateral,
    "axial": axial,
    "disparity": disparity,
    "mask": mask,
}


def slope(depth: Float[np.ndarray, "height width"]) -> tuple[np.ndarray, np.ndarray]:
    """Change of depth from row to row and from column to column, to the nearer neighbour; NaN where there is none."""
    return _one_sided(depth), _one_sided(depth.T).T


def incidence(
    depth: Float[np.ndarray, "height width"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "height width"]:
    """Angle in radians between ray and surface normal, 0 where the surface faces the camera; NaN without a slope.

    Inverse depth w(u, v) of a plane is linear in the image, and its normal is K^T (w_u, w_v, w - u w_u - v w_v).
    """
    height, width = depth.shape
    inverse = np.divide(1.0, depth, where=depth > 0.0, out=np.full(depth.shape, np.nan))
    down, across = slope(inverse)
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    plane = np.stack([across, down, inverse - column * across - row * down], axis=-1)
    normal = plane @ intrinsics
    ray = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(intrinsics).T
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(ray, axis=-1)
    return np.arccos(np.clip(np.abs(np.sum(normal * ray, axis=-1)) / length, 0.0, 1.0))


def beside_edge(
    depth: Float[np.ndarray, "height width"], intrinsics: Float[np.ndarray, "3 3"]
) -> Bool[np.ndarray, "height width"]:
    """Pixels with depth that have a neighbour (of four) without depth or across a step in depth."""
    padded = np.pad(depth, 1, mode="edge")
    found = np.zeros(depth.shape, bool)
    for axis, neighbour in (
        (1, padded[1:-1, 2:]),
        (1, padded[1:-1, :-2]),
        (0, padded[2:, 1:-1]),
        (0, padded[:-2, 1:-1]),
    ):
        footprint = np.minimum(depth, neighbour) / intrinsics[1 - axis, 1 - axis]
        found |= ~(np.abs(neighbour - depth) <= EDGE_SLOPE * footprint)
    return found & np.isfinite(depth)


def _one_sided(values: np.ndarray) -> np.ndarray:
    """Difference along the first axis to the neighbour that is nearer in value."""
    step = np.diff(values, axis=0)
    border = np.full((1, values.shape[1]), np.nan)
    before, after = np.concatenate([border, step]), np.concatenate([step, border])
    pick = np.isnan(before) | (np.abs(after) < np.abs(before))
    return np.where(pick, after, before)


def _bounded_incidence(exposure: Exposure) -> np.ndarray:
    return np.minimum(np.nan_to_num(incidence(exposure.depth, exposure.intrinsics)), STEEPEST)


def _without(exposure: Exposure, lost: np.ndarray) -> Exposure:
    return exposure._replace(depth=np.where(lost, np.nan, exposure.depth))
