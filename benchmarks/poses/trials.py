"""One trial: an image of a body, hidden in part and noisy, a start beside its pose, and what the search makes of it."""

import time
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from benchmarks.study import canonical
from benchmarks.table2.methods import MANY, compiled_pose
from benchmarks.table2.scenes import mixture, sampled
from fmb.geometry.cameras import pinhole_intrinsics, random_cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import object_pose_error, point_errors
from fmb.pose.observation import Observation
from fmb.pose.options import PoseOptions
from fmb.pose.refinement import surface_of
from fmb.pose.simulation import Exposure, Perturbation, occluded, perturbed, simulate_sensor
from fmb.pose.symmetry import all_maps, turns_of
from fmb.pose.visibility import find_visible

DISTANCE, VFOV_DEGREES = 3.0, 45.0
SUCCESS = 5.0  # geometric mean of degrees and percent
FEW_POINTS = 2_000  # that ADD-S and MSSD are measured on
INSIDE = float(chi2.ppf(0.95, 6))  # of e' C^-1 e: the region that holds 95 %


class Condition(NamedTuple):
    """How an image is spoilt: the share of the object that is hidden, and the strength of the sensor's noise."""

    hidden: float
    noise: float


CONDITIONS = {
    "clean": Condition(0.0, 0.0),
    "noisy": Condition(0.0, 1.0),
    "30 % hidden": Condition(0.3, 0.0),
    "50 % hidden": Condition(0.5, 0.0),
    "30 % hidden, noisy": Condition(0.3, 1.0),
    "50 % hidden, noisy": Condition(0.5, 1.0),
}


class Setting(NamedTuple):
    """What a trial depends on beside body, condition and number."""

    width: int = 80
    height: int = 60
    components: int = 40
    degrees: float = 45.0
    shift: float = 0.5  # scales
    evidence: str = "both"
    refined: bool = True  # whether the search ends on points of the mesh
    seed: int = 0


class Trial(NamedTuple):
    """An image, and poses of the object in the camera: where to start, and the truth."""

    exposure: Exposure
    start: Float[np.ndarray, "4 4"]
    truth: Float[np.ndarray, "4 4"]


def trial(mesh: Path, number: int, condition: Condition, setting: Setting) -> Trial:
    """The same camera and start for every condition; each spoils the image by a stream of its own."""
    seeds = np.random.default_rng([setting.seed, zlib.crc32(mesh.stem.encode()), number]).spawn(4)
    size = setting.height, setting.width
    lens = pinhole_intrinsics(*size, VFOV_DEGREES)
    cameras = random_cameras(seeds[0], 1, DISTANCE, lens)
    seen = render_ground_truth(canonical(mesh), cameras, size, "raycast").views
    exposure = Exposure(np.asarray(seen.depth[0]), np.asarray(seen.silhouette[0], float), lens)
    if condition.hidden:
        exposure = occluded(exposure, seeds[2], condition.hidden)
    exposure = simulate_sensor(exposure, seeds[3], condition.noise)
    truth = np.linalg.inv(np.asarray(cameras.world_from_camera[0], float))
    return Trial(exposure, perturbed(truth, seeds[1], Perturbation(setting.degrees, setting.shift)), truth)


@lru_cache(maxsize=4)
def body(mesh: Path, setting: Setting, cache: Path) -> tuple:
    """The compiled search, the mixture of a mesh, and points of its surface to end on, if it does so."""
    options = PoseOptions(evidence=setting.evidence)
    program = compiled_pose(setting.components, (setting.height, setting.width), options)
    surface = surface_of(*sampled(canonical(mesh), MANY)) if setting.refined else None
    return program, mixture(mesh, setting.components, cache), surface


@lru_cache(maxsize=16)
def told_apart(mesh: Path, components: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points that ADD-S and MSSD are measured on, and the maps that leave the body as it is."""
    turns = turns_of(mixture(mesh, components, cache), canonical(mesh))
    return np.asarray(sampled(canonical(mesh), FEW_POINTS).points), all_maps(turns)


def measured(mesh: Path, number: int, condition: str, setting: Setting, cache: Path) -> dict[str, Any]:
    """A row: errors, seconds, the search's own word for success, and the error in units of its covariance."""
    program, model, surface = body(mesh, setting, cache)
    case = trial(mesh, number, CONDITIONS[condition], setting)
    depth = None if setting.evidence == "mask" else case.exposure.depth
    seen = Observation(case.exposure.intrinsics, depth, case.exposure.silhouette)
    began = time.process_time()
    fit = find_visible(program, model, seen, np.linalg.inv(case.start), 1.0, surface)
    seconds = time.process_time() - began
    pose = np.linalg.inv(fit.world_from_camera)
    error = object_pose_error(pose, case.truth, 1.0)
    apart = point_errors(pose, case.truth, *told_apart(mesh, setting.components, cache))
    change = case.truth @ fit.world_from_camera
    twist = np.concatenate([Rotation.from_matrix(change[:3, :3]).as_rotvec(), change[:3, 3]])
    row = {"model": mesh.stem, "condition": condition, "number": number, "seconds": seconds, "claimed": fit.success}
    row |= {"degrees": error.rotation_degrees, "percent": error.translation_percent, "error": error.combined}
    row |= {"adds": 100.0 * apart.adds, "mssd": 100.0 * apart.mssd}  # percent of the size, which is 1
    row |= {"cross_entropy": fit.cross_entropy, "depth_rms": fit.depth_rms, "against": fit.disagreement}
    return row | {"square": float(twist @ np.linalg.solve(fit.covariance, twist)), "twist": twist.tolist()}
