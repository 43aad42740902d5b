"""Poses of all objects of a scene in BOP's format, from starts near the truth, and how far off they are."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import util
from fm_render import Mixture
from fmb.clock import Clock
from fmb.device import choose_device
from fmb.frames import Frame
from fmb.metrics import average_distance, average_nearest_distance, object_pose_error
from fmb.options import Config
from fmb.pose import PoseProgram, compile_pose, estimate_pose
from fmb.pose_observation import Observation
from fmb.readers.bop import BopModel, BopResult, BopView, bop_targets, read_bop_model, read_bop_view
from fmb.simulation import Perturbation, perturbed
from fmb.tasks.models import model_of_mesh, solver
from fmb.tasks.shell import say, task_folder
from fmb.writers.pose import write_bop_results

SAMPLES = 2_000  # points of a model that ADD and ADD-S are measured on


class Known(NamedTuple):
    """An object of the data set: its file, its mixture in the canonical frame, and that frame."""

    model: BopModel
    mixture: Mixture
    frame: Frame


def bop(config: Config, clock: Clock) -> None:
    """Scene -> mixtures of its models -> pose of every object in every image -> results in BOP's CSV, and errors."""
    scene = Path(config.pose.bop_dir)
    with clock("load"):
        device = choose_device(config.cpu)
        folder = util.prepare_output_dir(task_folder(config))
        targets = bop_targets(scene)
    say(device.hint)
    generator = np.random.default_rng(config.random_seed)
    known: dict[int, Known] = {}
    programs: dict[tuple[int, int], PoseProgram] = {}
    results, rows = [], []
    with util.progress_bar("poses") as on_progress:
        for done, target in enumerate(targets):
            view = read_bop_view(scene, target)
            if target.object not in known:
                with clock("gmm"):
                    known[target.object] = read_known(scene, target.object, config)
            size = view.depth.shape
            if size not in programs:
                with clock("compile"):
                    programs[size] = compile_pose(known[target.object].mixture, size, solver(config))
            with clock("optimize"):
                result, row = solved(programs[size], known[target.object], view, generator, config)
            results.append(result)
            rows.append(row)
            on_progress(done + 1, len(targets), row["combined"])
    write_bop_results(folder / "bop_results.csv", results)
    means = {name: float(np.median([row[name] for row in rows])) for name in rows[0] if name != "symmetric"}
    metrics = {"task": "pose", "median": means, "objects": rows, "seconds": clock.seconds()}
    util.write_metrics(folder / "bop_errors.json", metrics)
    words = f"{len(rows)} poses: in the median {means['degrees']:.2f} degrees, {means['percent']:.2f} % of the diameter"
    say(words, f"results and errors in {folder}/")


def read_known(scene: Path, number: int, config: Config) -> Known:
    """An object of the data set that the scene belongs to, models/ beside the folder of scenes."""
    model = read_bop_model(scene.resolve().parent.parent / "models", number)
    made = model_of_mesh(model.mesh, config.model, config.random_seed)
    return Known(model, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), made.mixture), made.frame)


def solved(
    program: PoseProgram, known: Known, view: BopView, generator: np.random.Generator, config: Config
) -> tuple[BopResult, dict[str, Any]]:
    """The pose of one target, and its errors; lengths in millimetres, as everything in BOP."""
    scale, truth = float(known.frame.scale), to_canonical(view.camera_from_object, known.frame)
    largest = Perturbation(config.pose.perturb_degrees, config.pose.perturb_size)
    start = np.linalg.inv(perturbed(truth, generator, largest))
    began = time.perf_counter()
    fit = estimate_pose(
        program, known.mixture, Observation(view.intrinsics, view.depth / scale, view.silhouette), start, 1.0
    )
    seconds = time.perf_counter() - began
    pose = from_canonical(np.linalg.inv(fit.world_from_camera), known.frame)
    centre = np.asarray(known.frame.centre, float)
    error = object_pose_error(pose, view.camera_from_object, known.model.diameter, centre)
    points = np.asarray(known.model.mesh.sample(SAMPLES, seed=0))
    row = {"scene": view.target.scene, "image": view.target.image, "object": view.target.object, "success": fit.success}
    row |= {"degrees": error.rotation_degrees, "percent": error.translation_percent, "combined": error.combined}
    row |= {"add": average_distance(pose, view.camera_from_object, points), "seconds": seconds}
    row |= {"adds": average_nearest_distance(pose, view.camera_from_object, points), "symmetric": known.model.symmetric}
    result = BopResult(*view.target[:2], view.target.object, float(fit.success), pose, seconds)
    return result, row


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
