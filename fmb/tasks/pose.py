"""The camera's pose from one image (`pose`): simulated, from files, or all of a scene in BOP's format."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.depths import surface_depth
from fmb.fields.looks import look
from fmb.fields.mixtures import in_single
from fmb.files.media import write_gif
from fmb.files.poses import (
    ObservationFiles,
    read_observation,
    read_pose,
    standard_deviation,
    write_pose,
)
from fmb.geometry.cameras import Cameras
from fmb.geometry.metrics import PointErrors, PoseError, object_pose_error, point_errors
from fmb.geometry.poses import PoseEstimate
from fmb.geometry.views import Images, foreground, scene_cameras
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.pictures import draw
from fmb.pictures.pose import (
    UNSHOWN,
    FilmText,
    PoseCourse,
    Trace,
    as_images,
    convergence_page,
    film,
    pose_sheets,
)
from fmb.pictures.sheets import ORANGE
from fmb.pose.estimate import compile_pose
from fmb.pose.observation import Observation, check_observation, image_size, nothing_seen
from fmb.pose.simulation import Perturbation, perturbed, simulated
from fmb.pose.symmetry import all_maps
from fmb.pose.visibility import find_visible
from fmb.tasks.bop import bop
from fmb.tasks.models import PoseModel, pose_model
from fmb.tasks.shell import POSE_RECORDS, task_folder
from fmb.whole import whole_folder

FILM_SECONDS = 0.12  # a step
IMAGES = ("depth_file", "mask_file", "unknown_file")  # options that name an image, in the order of its parts


class Case(NamedTuple):
    """An image, where to start, and the truth where it is known; canonical, poses world_from_camera."""

    observation: Observation
    start: Float[np.ndarray, "4 4"]
    truth: Float[np.ndarray, "4 4"] | None = None
    notices: tuple[str, ...] = ()  # what was done to the files


def pose(config: Config, clock: Clock) -> None:
    """Model -> image, simulated or from files -> the camera's pose and how sure it is (section 7.1) -> files."""
    if config.pose.bop_dir != NONE:
        return bop(config, clock)
    with whole_folder(task_folder(config), POSE_RECORDS) as folder:
        fit, errors, seconds = found_pose(config, clock, folder)
    tell(*summary(fit, errors, seconds), f"pose, pictures and film in {task_folder(config)}/")


def found_pose(config: Config, clock: Clock, folder: Path) -> tuple[PoseEstimate, dict, float]:
    """Finds the pose and writes all files into the folder; the pose, its errors and the seconds it took."""
    with clock("load"):
        alone, device = from_nothing(config), choose_device(config.cpu)
    with clock("gmm"):
        model = pose_model(config)
        files = [given(getattr(config.pose, name)) for name in IMAGES]
        case = simulated_case(config, model) if alone else case_of_files(config, model, files)
        surface = model.surface
    tell(device.hint, *case.notices)
    mixture = in_single(model.mixture)
    with clock("compile"):
        program = compile_pose(mixture, image_size(case.observation), config.pose)
    with clock("optimize"):
        began = time.perf_counter()
        fit = find_visible(program, mixture, case.observation, case.start, 1.0, surface)
        seconds = time.perf_counter() - began
    with clock("figures"):
        draw_pose(folder, mixture, case, fit)
    errors = described(case, fit, model)
    like = model.frame.poses_to_world(model.turns.maps @ fit.world_from_camera)
    more = {
        "seconds": seconds,
        **errors,
        "symmetry": {"kind": model.turns.words, "poses": like},
        "scale": float(model.frame.scale),
        "standard_deviation_percent": 100 * standard_deviation(fit.covariance)["camera_position"],
        "seconds_by_part": clock.seconds(),
    }
    write_pose(folder / "pose.json", fit.to_world(model.frame), more)
    machine.write_text(folder / "config.yaml", to_yaml(config))
    return fit, errors, seconds


def from_nothing(config: Config) -> bool:
    """Whether no image is given. Raises ValueError where one is given without what it, or the evidence, needs."""
    given = [name for name in ("depth_file", "mask_file") if getattr(config.pose, name) != NONE]
    if given and config.pose.intrinsics_file == NONE:
        raise ValueError(f"--{given[0].replace('_', '-')} is given, but no --intrinsics-file")
    if given and config.pose.initial_pose_file == NONE:
        raise ValueError(f"--{given[0].replace('_', '-')} is given, but no --initial-pose-file")
    if config.pose.unknown_file != NONE and not given:
        raise ValueError("--unknown-file is given, but neither --depth-file nor --mask-file")
    wanted = config.pose.evidence
    if given and wanted != "both" and f"{wanted}_file" not in given:
        raise ValueError(f"--evidence {wanted}, but no --{wanted}-file")
    return not given


def simulated_case(config: Config, model: PoseModel) -> Case:
    """A random view of the model's mesh, and a start beside its pose."""
    view_generator, start_generator, sensor_generator = np.random.default_rng(config.random_seed).spawn(3)
    camera = scene_cameras(view_generator, 1, config.rendering)
    size = (config.rendering.image_height, config.rendering.image_width)
    (observation,) = simulated(model.mesh, camera, size, sensor_generator, config.pose.sensor_noise)
    truth = np.asarray(camera.world_from_camera[0], float)
    largest = Perturbation(config.pose.perturb_degrees, config.pose.perturb_size)
    start = np.linalg.inv(perturbed(np.linalg.inv(truth), start_generator, largest))
    return Case(observation, start, truth)


def case_of_files(config: Config, model: PoseModel, files: Sequence[Path | None], may_be_empty: bool = False) -> Case:
    """An image of the user's and the start, canonical; what is wrong with them is said in the user's unit.

    `files` are those that IMAGES name. Raises ValueError also where the image shows nothing, unless it may be empty.
    """
    (depth, mask, unknown), scale, unit = files, float(model.frame.scale), config.pose.depth_unit
    lens = Path(config.pose.intrinsics_file)
    parts = ObservationFiles(lens, depth, mask, unit, may_be_empty=may_be_empty, unknown=unknown)
    found = read_observation(parts)
    observation = Observation(found.intrinsics, found.depth, found.silhouette, found.valid)
    if not (may_be_empty and nothing_seen(observation)):
        try:
            check_observation(str(depth or mask), observation, scale)
        except ValueError as error:
            hint = f" (--depth-unit {unit:g} is for whole numbers; floating ones are taken as they are)"
            raise ValueError(f"{error}{hint if 'median depth' in str(error) else ''}") from error
    start = read_pose(Path(config.pose.initial_pose_file))
    start = model.frame.cameras_to_canonical(Cameras(start[None], found.intrinsics[None])).world_from_camera[0]
    measured = None if found.depth is None else found.depth / scale
    return Case(Observation(found.intrinsics, measured, found.silhouette, found.valid), start, notices=found.notices)


def given(name: str) -> Path | None:
    """The file of that name, if there is one."""
    return None if name == NONE else Path(name)


def depth_at(mixture: Mixture, cameras: Cameras, seen: Images, at: slice) -> Float[np.ndarray, "view height width"]:
    """Depth of the mixture's surface, as a depth camera would see it, where its mask is."""
    depth = surface_depth(mixture, Cameras(*(field[at] for field in cameras)), seen.alpha.shape[1:])
    return np.where(foreground(seen.alpha[at]), depth, np.nan)


def draw_pose(folder: Path, mixture: Mixture, case: Case, fit: PoseEstimate) -> None:
    """Pictures of start and end, of the convergence, and the film of the descent.

    The last steps, on points of the surface, belong to no trial of the search: only the picture of the end shows them.
    """
    observed = as_images(case.observation.depth, case.observation.silhouette)
    path, steps, ended = fit.path, fit.iterations, not np.array_equal(fit.path[-1], fit.world_from_camera)
    shown = np.concatenate([path, fit.world_from_camera[None]])
    cameras = Cameras(shown, np.repeat(np.asarray(case.observation.intrinsics, float)[None], len(shown), axis=0))
    seen = look(mixture, cameras, image_size(case.observation))
    ends = [Images(seen.alpha[at], depth_at(mixture, cameras, seen, at)) for at in (slice(0, 1), slice(-1, None))]
    draw.draw_sheets(folder, pose_sheets(observed, *ends, "object scales"))
    course, traces, up = PoseCourse(fit.loss, steps, ended=ended), [Trace("loss", fit.loss)], "loss"
    if case.truth is not None:
        degrees, percent, _ = map(np.array, zip(*errors_along(path, [case.truth] * len(path)), strict=True))
        course, up = PoseCourse(fit.loss, steps, degrees, percent, ended), "error"
        traces = [Trace("rotation (degrees)", degrees), Trace("translation (% of the size)", percent, ORANGE)]
    machine.write_picture(folder / "convergence.png", convergence_page(course))
    note = f"{steps} steps, coarse to fine{UNSHOWN if ended else ''}"
    text = FilmText("Descent to the pose", note, "step", up, steps)
    write_gif(folder / "descent.gif", film(observed, Images(seen.alpha[:-1]), traces, text), FILM_SECONDS)


def errors_along(
    poses: Float[np.ndarray, "step 4 4"] | Sequence[Float[np.ndarray, "4 4"]],
    truths: Sequence[Float[np.ndarray, "4 4"]],
) -> list[PoseError]:
    """Of each camera, world_from_camera, as that of the object before it; canonical."""
    pairs = zip(poses, truths, strict=True)
    return [object_pose_error(np.linalg.inv(pose), np.linalg.inv(truth), 1.0) for pose, truth in pairs]


def distances_along(
    poses: Float[np.ndarray, "step 4 4"] | Sequence[Float[np.ndarray, "4 4"]],
    truths: Sequence[Float[np.ndarray, "4 4"]],
    model: PoseModel,
) -> list[PointErrors] | None:
    """ADD, ADD-S and MSSD of each camera, as in `errors_along`, in the model's unit; None where it has no surface."""
    if model.samples is None:
        return None
    maps, scale, found = all_maps(model.turns), float(model.frame.scale), []
    for pose, truth in zip(poses, truths, strict=True):
        errors = point_errors(np.linalg.inv(pose), np.linalg.inv(truth), model.samples, maps)
        found.append(PointErrors(*(scale * value for value in errors)))
    return found


def described(case: Case, fit: PoseEstimate, model: PoseModel) -> dict:
    """Errors at start and end, where the truth is known."""
    if case.truth is None:
        return {}
    pair = [case.start, fit.world_from_camera], [case.truth] * 2
    distances = distances_along(*pair, model) or [None, None]
    both = zip(("start", "end"), errors_along(*pair), distances, strict=True)
    return {"error": {name: one._asdict() | (more._asdict() if more else {}) for name, one, more in both}}


def summary(fit: PoseEstimate, errors: dict, seconds: float) -> list[str]:
    """What a run says at its end."""
    found = "found" if fit.success else "NOT found for sure"
    deviation = standard_deviation(fit.covariance)
    sure = f"{deviation['rotation_degrees']:.2g} degrees and {100 * deviation['camera_position']:.2g} % of the size"
    lines = [f"pose {found} in {seconds:.2f} s and {fit.iterations} steps", f"standard deviation {sure}"]
    for name, error in errors.get("error", {}).items():
        off = f"{error['rotation_degrees']:.2f} degrees and {error['translation_percent']:.2f} % of the size"
        lines.append(f"off at the {name} by {off}")
    return lines
