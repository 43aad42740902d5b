"""Images of a known pose, and starts beside it: what poses are tried and measured on (section 7.1)."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmb.cameras import Cameras
from fmb.ground_truth import render_ground_truth
from fmb.poses.observation import Observation
from fmb.poses.sensor import Exposure, simulate_sensor


class Perturbation(NamedTuple):
    """Largest turn about the object's centre, in degrees, and largest move, in the unit of the pose."""

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
    """What a depth camera sees of the mesh, whose scale is 1, from each camera; `noise`: strength of the sensor's."""
    views = render_ground_truth(mesh, cameras, image_size, "raycast").views
    seen = []
    for view, stream in enumerate(generator.spawn(len(views.silhouette))):
        lens = np.asarray(cameras.intrinsics[view], float)
        exposure = Exposure(np.asarray(views.depth[view]), np.asarray(views.silhouette[view], float), lens)
        exposure = simulate_sensor(exposure, stream, noise)
        seen.append(Observation(lens, exposure.depth, exposure.silhouette))
    return seen
