"""The camera's pose in a sequence of images (`track`): simulated, or from folders of depth images and masks."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.looks import look, shown
from fmb.fields.mixtures import in_single
from fmb.files.media import write_gif
from fmb.files.poses import Track, write_track
from fmb.files.safe import SUFFIXES
from fmb.geometry.cameras import Cameras, orbit_cameras, pinhole_intrinsics
from fmb.geometry.poses import PoseEstimate
from fmb.geometry.views import Images
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.pictures.pose import FilmText, Trace, as_images, film
from fmb.pictures.sheets import ORANGE
from fmb.pose.estimate import compile_pose
from fmb.pose.observation import image_size
from fmb.pose.options import PoseOptions
from fmb.pose.simulation import Perturbation, perturbed, simulated
from fmb.pose.tracking import Tracker
from fmb.pose.tracking import track as follow
from fmb.pose.visibility import find_visible
from fmb.tasks.models import PoseModel, pose_model
from fmb.tasks.pose import IMAGES, Case, case_of_files, distances_along, errors_along, from_nothing
from fmb.tasks.shell import task_folder
from fmb.whole import METRICS, whole_folder

NOD = 0.35  # radians: how far a simulated camera rises and sinks on its way around
KINDS = (*SUFFIXES, ".npy", ".exr")  # of images; of the last the reader says that it reads none
DISTANCES = ("add", "adds", "mssd")  # errors on points of the model, in its unit
FILM_FRAMES, FILM_SECONDS = 90, 0.05  # at most, and each


def track(config: Config, clock: Clock) -> None:
    """Model -> a sequence, simulated or from files -> the pose in each frame, started from the last -> files."""
    with whole_folder(task_folder(config)) as folder:
        facts = followed(config, clock, folder)
    tell(summary(facts), f"poses and film in {task_folder(config)}/")


def followed(config: Config, clock: Clock, folder: Path) -> dict[str, Any]:
    """Follows the camera and writes all files into the folder; what metrics.json tells."""
    with clock("load"):
        alone, device = from_nothing(config), choose_device(config.cpu)
    with clock("gmm"):
        model = pose_model(config)
        cases = simulated_cases(config, model) if alone else cases_of_files(config, model)
        surface, turns = model.surface, model.turns
    tell(device.hint, *cases[0].notices)
    mixture = in_single(model.mixture)
    size, first = image_size(cases[0].observation), cases[0]
    with clock("compile"):
        search, options = compile_pose(mixture, size, config.pose), following(config)
        program = search if search.options == options else compile_pose(mixture, size, options)
    with clock("optimize"):
        finder = search if config.pose.num_starts else None
        tracker = Tracker(program, mixture, surface=surface, search=finder, turns=turns)
        start = find_visible(search, mixture, first.observation, first.start, 1.0, surface).world_from_camera
        fits, seconds = timed(follow(tracker, [case.observation for case in cases], start))
    found = tracked(model, cases, fits, seconds)
    with clock("figures"):
        draw_track(folder, mixture, cases, fits, found)
    write_track(folder / "track.csv", found)
    facts = {"task": "track", "frames": len(fits), "hertz": float(1 / np.median(seconds)), **errors_of(found)}
    facts |= {
        "symmetry": turns.words,
        "lost": int(np.count_nonzero(~found.success)),
        "image": f"{size[1]} x {size[0]}",
        "device": device.name,
    }
    machine.write_metrics(folder / METRICS, {**facts, "seconds": clock.seconds()})
    machine.write_text(folder / "config.yaml", to_yaml(config))
    return facts


def following(config: Config) -> PoseOptions:
    """The options for all frames but the first, each started from the last alone."""
    return replace(config.pose, num_starts=0)


def simulated_cases(config: Config, model: PoseModel) -> list[Case]:
    """A camera that goes around the model's mesh and nods, and a start beside its first pose."""
    start_generator, sensor_generator = np.random.default_rng(config.random_seed).spawn(2)
    height, width, count = config.rendering.image_height, config.rendering.image_width, config.pose.num_frames
    lens = pinhole_intrinsics(height, width, config.rendering.vfov_degrees)
    tilt = NOD * np.sin(4.0 * np.pi * np.arange(count) / count)
    rings = [orbit_cameras(count, config.rendering.camera_distance, lens, float(angle)) for angle in tilt]
    pose = np.stack([ring.world_from_camera[frame] for frame, ring in enumerate(rings)])
    cameras = Cameras(pose, rings[0].intrinsics)
    seen = simulated(model.mesh, cameras, (height, width), sensor_generator, config.pose.sensor_noise)
    largest = Perturbation(config.pose.perturb_degrees, config.pose.perturb_size)
    start = np.linalg.inv(perturbed(np.linalg.inv(pose[0]), start_generator, largest))
    return [Case(image, start, truth) for image, truth in zip(seen, pose, strict=True)]


def cases_of_files(config: Config, model: PoseModel) -> list[Case]:
    """The images of the folders that the options of IMAGES name, in the order of their names.

    Any but the first may show nothing. Raises ValueError where one is no folder, is empty, or they differ in number or
    in size.
    """
    named = {name: [] for name in IMAGES}
    for name, paths in named.items():
        folder = Path(getattr(config.pose, name))
        if str(folder) == NONE:
            continue
        if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
            raise ValueError(f"{folder}: track takes a folder of images, in the order of their names")
        files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        paths += sorted(path for path in files if path.suffix.lower() in KINDS)
        if not paths:
            raise ValueError(f"{folder}: no images")
    lengths = {len(paths) for paths in named.values() if paths}
    if len(lengths) > 1:
        words = {"depth_file": "depth images", "mask_file": "masks", "unknown_file": "images of what is unknown"}
        counts = (f"{len(named[name])} {word}" for name, word in words.items() if named[name])
        raise ValueError(f"{' and '.join(counts)}; must be as many")
    (count,) = lengths
    each = [[paths[frame] if paths else None for paths in named.values()] for frame in range(count)]
    cases = [case_of_files(config, model, files, may_be_empty=frame > 0) for frame, files in enumerate(each)]
    sizes = [image_size(case.observation) for case in cases]
    for frame, (height, width) in enumerate(sizes):
        if sizes[frame] != sizes[0]:
            first = f"{sizes[0][1]} x {sizes[0][0]}"
            raise ValueError(f"frame {frame}: {width} x {height} pixels; the first has {first}, and all must have")
    return cases


def timed(fits) -> tuple[list[PoseEstimate], Float[np.ndarray, " frame"]]:
    """The fits, and the seconds that each took."""
    found, seconds, began = [], [], time.perf_counter()
    for fit in fits:
        seconds.append(time.perf_counter() - began)
        found.append(fit)
        began = time.perf_counter()
    return found, np.array(seconds)


def tracked(
    model: PoseModel, cases: list[Case], fits: list[PoseEstimate], seconds: Float[np.ndarray, " frame"]
) -> Track:
    """The track in the input's frame and unit."""
    lens = np.stack([np.asarray(case.observation.intrinsics, float) for case in cases])
    pose = model.frame.cameras_to_world(Cameras(np.stack([fit.world_from_camera for fit in fits]), lens))
    residual, success = np.array([fit.loss[-1] for fit in fits]), np.array([fit.success for fit in fits])
    steps = np.array([fit.iterations for fit in fits])
    found = Track(np.asarray(pose.world_from_camera), residual, success, steps, seconds)
    if cases[0].truth is None:
        return found
    errors = errors_along([fit.world_from_camera for fit in fits], [case.truth for case in cases])
    degrees, percent, _ = map(np.array, zip(*errors, strict=True))
    found = found._replace(rotation_error_degrees=degrees, translation_error_percent=percent)
    distances = distances_along([fit.world_from_camera for fit in fits], [case.truth for case in cases], model)
    if distances is None:
        return found
    return found._replace(**{name: np.array([getattr(one, name) for one in distances]) for name in DISTANCES})


def errors_of(found: Track) -> dict[str, float]:
    """Medians and largest errors, where the truth is known."""
    if found.rotation_error_degrees is None:
        return {}
    errors = {"degrees": found.rotation_error_degrees, "percent": found.translation_error_percent}
    errors |= {name: getattr(found, name) for name in DISTANCES if getattr(found, name) is not None}
    medians = {f"median_{name}": float(np.median(values)) for name, values in errors.items()}
    return medians | {f"largest_{name}": float(values.max()) for name, values in errors.items()}


def draw_track(folder: Path, mixture: Mixture, cases: list[Case], fits: list[PoseEstimate], found: Track) -> None:
    """The film of the track: what was seen, what is rendered, and the errors or residuals below."""
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), FILM_FRAMES)).astype(int))
    parts = [as_images(cases[frame].observation.depth, cases[frame].observation.silhouette) for frame in chosen]
    observed = Images(*(None if fields[0] is None else np.concatenate(fields) for fields in zip(*parts, strict=True)))
    lens = np.stack([np.asarray(cases[frame].observation.intrinsics, float) for frame in chosen])
    path = np.stack([fits[frame].world_from_camera for frame in chosen])
    seen = shown(look(mixture, Cameras(path, lens), image_size(cases[0].observation)), 1.0)
    traces, up = [Trace("residual", found.residual[chosen])], "residual"
    if found.rotation_error_degrees is not None:
        traces = [
            Trace("rotation (degrees)", found.rotation_error_degrees[chosen]),
            Trace("translation (% of the model's size)", found.translation_error_percent[chosen], ORANGE),
        ]
        up = "error"
    text = FilmText("Track", f"{len(cases)} frames, each started from the last", "frame", up)
    write_gif(folder / "track.gif", film(observed, seen, traces, text), FILM_SECONDS)


def summary(facts: dict) -> str:
    """What a run says at its end."""
    words = f"{facts['frames']} frames of {facts['image']} at {facts['hertz']:.0f} Hz, {facts['lost']} lost"
    if "median_degrees" in facts:
        words += f"; off by {facts['median_degrees']:.2f} degrees and {facts['median_percent']:.2f} % in the median, "
        words += f"{facts['largest_degrees']:.2f} and {facts['largest_percent']:.2f} at most"
    return words
