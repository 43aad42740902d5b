"""Task `points`: a cloud of points -> a field -> its closed surface, in the frame of the points."""

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from fmb import machine
from fmb.clouds.recipe import Hooks, State
from fmb.clouds.surface import extract
from fmb.clouds.table import METHODS
from fmb.command.yaml_file import to_yaml
from fmb.config import PROGRAM, Config
from fmb.files.clouds import read_cloud
from fmb.files.mesh_output import write_mesh
from fmb.geometry.frames import Frame, box_frame
from fmb.machine import Clock, choose_device, say
from fmb.options import NONE
from fmb.tasks.shell import task_folder
from fmb.whole import METRICS, whole_folder


def points(config: Config, clock: Clock) -> None:
    """Points -> a field that is fitted to them -> a closed surface in their frame."""
    if config.io.cloud_file == NONE:
        raise ValueError(f"points needs a file of points: {PROGRAM} points scan.ply")
    with whole_folder(task_folder(config)) as folder:
        metrics = reconstructed(config, clock, folder)
    say(f"{metrics['seconds']['total']:.1f} s", f"surface and numbers in {task_folder(config)}/")


def reconstructed(config: Config, clock: Clock, folder: Path) -> dict[str, Any]:
    """Fits a surface and writes all files into the folder; what metrics.json tells."""
    with clock("load"):
        device = choose_device(config.cpu)
        cloud = read_cloud(config.io.cloud_file)
        frame = box_frame(cloud.point)
    say(device.hint)
    with clock("optimize"), machine.progress_bar("fit") as on_progress:
        fit = METHODS[config.cloud.points_method]
        generator = np.random.default_rng(config.random_seed)
        normals = cloud.normal if config.cloud.use_normals else None
        state = fit(frame.to_canonical(cloud.point), normals, config.cloud, generator, Hooks(on_progress))
    with clock("export"):
        mesh = write_surface(folder, state, frame, config)
    machine.write_text(folder / "config.yaml", to_yaml(config))
    facts = {"task": "points", "method": config.cloud.points_method, "euler": mesh.euler_number, **state.facts}
    metrics = {**facts, "seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    return metrics


def write_surface(folder: Path, state: State, frame: Frame, config: Config) -> trimesh.Trimesh:
    """The surface in the frame of the points."""
    mesh = frame.mesh_to_world(extract(state.field, config.cloud.surface_resolution))
    write_mesh(folder / f"mesh.{config.export.mesh}", mesh)
    return mesh
