"""Poses of all objects of a scene in BOP's format, from starts near the truth, and how far off they are."""

import math
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb import machine
from fmb.config import Config
from fmb.fields.mixtures import in_single
from fmb.files.bop import (
    BopModel,
    BopResult,
    BopView,
    bop_targets,
    read_bop_model,
    read_bop_records,
    read_bop_view,
    write_bop_results,
)
from fmb.files.bop_symmetries import BopSymmetries
from fmb.geometry.frames import Frame
from fmb.geometry.metrics import object_pose_error, point_errors
from fmb.geometry.poses import PoseEstimate
from fmb.geometry.views import Images
from fmb.machine import Clock, choose_device, tell
from fmb.pose.estimate import PoseProgram, compile_pose
from fmb.pose.observation import Observation
from fmb.pose.refinement import Surface
from fmb.pose.simulation import Perturbation, perturbed
from fmb.pose.symmetry import Turns, all_maps
from fmb.pose.visibility import find_visible
from fmb.tasks.bop_pictures import MOST_SHOWN, Found, draw_found
from fmb.tasks.models import model_of_shape
from fmb.tasks.shell import POSE_RECORDS, task_folder
from fmb.whole import whole_folder

MODELS = ("models", "models_eval", "models_cad", "models_reconst")  # the first that is there
TOLD, FOUND = "models_info.json", "surface"  # where symmetries come from
MEASURED = ("success", "degrees", "percent", "combined", "add", "adds", "mssd", "seconds")


class Known(NamedTuple):
    """An object of the data set: its file, its mixture in the canonical frame, that frame, points of its surface.

    `points` are in millimetres, `surface` and `turns`, which leave the object as it is, canonical.
    """

    model: BopModel
    mixture: Mixture
    frame: Frame
    surface: Surface
    turns: Turns
    points: Float[np.ndarray, "point 3"]


def bop(config: Config, clock: Clock) -> None:
    """Scene -> mixtures of its models -> pose of every object in every image -> results in BOP's CSV, and errors.

    Raises ValueError where none of them can be looked for.
    """
    with whole_folder(task_folder(config), POSE_RECORDS) as folder:
        medians, rows = found_poses(config, clock, folder)
    skipped = [row["skipped"] for row in rows if "skipped" in row]
    words = f"{len(rows) - len(skipped)} poses: in the median {medians['degrees']:.2f} degrees, "
    words += f"{medians['percent']:.2f} % of the diameter"
    notice = f"{len(skipped)} of {len(rows)} objects skipped, the first: {skipped[0]}" if skipped else ""
    tell(words, notice, f"results and errors in {task_folder(config)}/")


def found_poses(config: Config, clock: Clock, folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Looks for all objects and writes the results into the folder; medians, and a row for each object."""
    scene = Path(config.pose.bop_dir)
    with clock("load"):
        device = choose_device(config.cpu)
        targets, records = bop_targets(scene), read_bop_records(scene)
    tell(device.hint, *records.notices)
    generator = np.random.default_rng(config.random_seed)
    known: dict[int, Known] = {}
    programs: dict[tuple[int, ...], PoseProgram] = {}
    results, rows, shown = [], [], []
    with machine.progress_bar("poses") as on_progress:
        for done, target in enumerate(targets):
            view = read_bop_view(records, target)
            if target.object not in known:
                with clock("gmm"):
                    known[target.object] = read_known(scene, target.object, config)
            with clock("compile"):
                program = program_for(programs, known[target.object].mixture, view, config)
            with clock("optimize"):
                result, row = solved(program, known[target.object], view, generator, config)
            results += [] if result is None else [result]
            if result is not None and len(shown) < MOST_SHOWN:
                shown.append(pictured(known[target.object], view, result))
            rows.append(row)
            on_progress(done + 1, len(targets), row.get("combined", math.nan))
    medians, skipped = medians_of(rows), [row["skipped"] for row in rows if "skipped" in row]
    if not results:
        raise ValueError(f"{scene}: no object can be looked for{': ' + skipped[0] if skipped else ''}")
    with clock("figures"):
        draw_found(folder, shown)
    write_bop_results(folder / "bop_results.csv", with_image_times(results))
    metrics = {"task": "pose", "median": medians, "objects": rows, "seconds": clock.seconds()}
    machine.write_metrics(folder / "bop_errors.json", metrics)
    return medians, rows


def program_for(
    programs: dict[tuple[int, ...], PoseProgram], mixture: Mixture, view: BopView, config: Config
) -> PoseProgram:
    """The search for the number of components and the size of the image, compiled when first asked for."""
    size = (view.silhouette if view.depth is None else view.depth).shape
    kind = (*size, len(mixture.mean))
    if kind not in programs:
        programs[kind] = compile_pose(mixture, size, config.pose)
    return programs[kind]


def pictured(known: Known, view: BopView, result: BopResult) -> Found:
    """What is drawn of a result."""
    empty = np.full((view.silhouette if view.depth is None else view.depth).shape, np.nan)
    depth = empty if view.depth is None else view.depth / float(known.frame.scale)
    seen = np.isfinite(depth).astype(float) if view.silhouette is None else view.silhouette
    name = f"image {result.image}, object {result.object}"
    pose = to_canonical(result.camera_from_object, known.frame)
    return Found(name, known.mixture, view.intrinsics, Images(seen[None], depth[None]), pose)


def read_known(scene: Path, number: int, config: Config) -> Known:
    """An object of the data set that the scene belongs to, MODELS beside the folder of scenes."""
    root = scene.resolve().parent.parent
    folder = next((name for name in MODELS if (root / name / "models_info.json").is_file()), MODELS[0])
    model = read_bop_model(root / folder, number)
    made = model_of_shape(model.shape, config.model, config.random_seed, f"object {number} of {root / folder}")
    if model.symmetries is not None:
        made = made.told(turns_told(model.symmetries, made.frame))
    points = made.frame.to_world(made.samples)
    return Known(model, in_single(made.mixture), made.frame, made.surface, made.turns, points)


def turns_told(told: BopSymmetries, frame: Frame) -> Turns:
    """The symmetries of a data set, which are in the object's own frame and unit, in the canonical frame."""
    to_world = frame_matrix(frame)
    maps = np.linalg.inv(to_world) @ told.maps @ to_world
    return Turns(maps, told.axis, frame.to_canonical(told.offset[None])[0])


def frame_matrix(frame: Frame) -> Float[np.ndarray, "4 4"]:
    """What maps canonical points to the object's own frame and unit."""
    matrix = np.diag([*np.full(3, float(frame.scale)), 1.0])
    matrix[:3, 3] = frame.centre
    return matrix


def solved(
    program: PoseProgram, known: Known, view: BopView, generator: np.random.Generator, config: Config
) -> tuple[BopResult | None, dict[str, Any]]:
    """The pose of one target, and its errors; lengths in millimetres, as everything in BOP.

    None, and the reason under "skipped", where its image shows too little of it or the search loses itself.
    """
    scale, truth = float(known.frame.scale), to_canonical(view.camera_from_object, known.frame)
    largest = Perturbation(config.pose.perturb_degrees, config.pose.perturb_size)
    start = np.linalg.inv(perturbed(truth, generator, largest))
    row = {"scene": view.target.scene, "image": view.target.image, "object": view.target.object, "success": False}
    began = time.perf_counter()
    measured = None if view.depth is None else view.depth / scale
    try:
        valid = None if view.hidden is None else ~view.hidden
        fit = searched(program, known, Observation(view.intrinsics, measured, view.silhouette, valid), start)
    except ValueError as error:
        return None, row | {"skipped": str(error)}
    seconds = time.perf_counter() - began
    pose = from_canonical(np.linalg.inv(fit.world_from_camera), known.frame)
    centre = np.asarray(known.frame.centre, float)
    error = object_pose_error(pose, view.camera_from_object, known.model.diameter, centre)
    row |= {"success": fit.success, "symmetric": known.model.symmetric, "seconds": seconds}
    row |= {"degrees": error.rotation_degrees, "percent": error.translation_percent, "combined": error.combined}
    row |= point_errors(pose, view.camera_from_object, known.points, in_world(all_maps(known.turns), known))._asdict()
    row |= {"symmetry": known.turns.words, "symmetry_source": TOLD if known.model.symmetric else FOUND}
    row |= {"poses": pose @ in_world(known.turns.maps, known), "disagreement": fit.disagreement}
    result = BopResult(*view.target[:2], view.target.object, float(fit.success), pose, seconds)
    return result, row


def in_world(maps: Float[np.ndarray, "map 4 4"], known: Known) -> Float[np.ndarray, "map 4 4"]:
    """Maps of the canonical frame as those of the object's own frame and unit."""
    to_world = frame_matrix(known.frame)
    return to_world @ maps @ np.linalg.inv(to_world)


def searched(program: PoseProgram, known: Known, seen: Observation, start: Float[np.ndarray, "4 4"]) -> PoseEstimate:
    """The pose found; canonical. Raises ValueError where there is too little to find it from."""
    if program.options.evidence == "mask" and seen.silhouette is None:
        raise ValueError("no mask, and the evidence is the mask alone")
    if program.options.evidence == "depth" and seen.depth is None:
        raise ValueError("no depth, and the evidence is the depth alone")
    fit = find_visible(program, known.mixture, seen, start, 1.0, known.surface)
    if not np.isfinite(fit.world_from_camera).all():
        raise ValueError("the search lost itself")
    return fit


def medians_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of each number, over the objects that were looked for."""
    found = [row for row in rows if "skipped" not in row]
    return {name: float(np.median([row[name] for row in found])) for name in MEASURED if found}


def with_image_times(results: list[BopResult]) -> list[BopResult]:
    """The results, each with the seconds of its whole image, as BOP wants them."""
    total = Counter()
    for result in results:
        total[result[:2]] += result.seconds
    return [result._replace(seconds=total[result[:2]]) for result in results]


def to_canonical(camera_from_object: Float[np.ndarray, "4 4"], frame: Frame) -> Float[np.ndarray, "4 4"]:
    """The pose of the canonical object, in a camera whose unit is the object's scale."""
    pose = np.array(camera_from_object, float)
    pose[:3, 3] = (pose[:3, 3] + pose[:3, :3] @ frame.centre) / frame.scale
    return pose


def from_canonical(camera_from_object: Float[np.ndarray, "4 4"], frame: Frame) -> Float[np.ndarray, "4 4"]:
    """The inverse of `to_canonical`."""
    pose = np.array(camera_from_object, float)
    pose[:3, 3] = frame.scale * pose[:3, 3] - pose[:3, :3] @ frame.centre
    return pose
