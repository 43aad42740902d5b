"""Task `convert`: a mesh as a mixture, from EM on its volume and a fit to its silhouettes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from fm_render import Mixture
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config, ExportOptions
from fmb.fields.looks import evaluate
from fmb.files.meshes import read_mesh
from fmb.geometry.frames import canonical_frame
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.shape.recipe import ShapeFit, conversion_options, conversion_views, refine_to_views
from fmb.shape.start import start_mixture
from fmb.shape.supervision import depth_settings
from fmb.shape.symmetry_fit import Aim, SymmetryFound, convert_with_symmetry, symmetry_record
from fmb.tasks.capture_files import write_capture
from fmb.tasks.counted import with_count
from fmb.tasks.export import Subject, export, surface_facts, with_mesh, write_mixture
from fmb.tasks.shell import KEPT, check_before, circumstances, task_folder
from fmb.whole import METRICS, whole_folder


def convert(config: Config, clock: Clock) -> None:
    """Mesh -> EM on its volume or surface -> fit to its silhouettes and depths -> files."""
    check_before(config, task_folder(config))
    with whole_folder(task_folder(config)) as folder:
        metrics = converted(config, clock, folder)
    tell(machine.summary(metrics, task_folder(config), written(config.export)))


def written(options: ExportOptions) -> str:
    """What a run leaves, in words."""
    asked = {"mesh": options.mesh, "points": options.points, "turntable": options.turntable}
    kinds = [name for name, value in asked.items() if value != NONE] + ["splats"] * options.splats
    return ", ".join(["model", *kinds, "capture"]) + " and numbers"


def converted(config: Config, clock: Clock, folder: Path) -> dict[str, Any]:
    """Makes the mixture and writes all files into the folder; what metrics.json tells."""
    with clock("load"):
        device = choose_device(config.cpu)
        mesh = read_mesh(config.io.mesh_file)
        frame = canonical_frame(mesh)
        mesh, unit = frame.mesh_to_canonical(mesh), float(frame.scale)
    fit_generator, novel_generator = np.random.default_rng(config.random_seed).spawn(2)
    wanted = conversion_options(config.optimization)
    views_generator, fit_generator = fit_generator.spawn(2)
    with clock("ground_truth"):
        train, novel = (conversion_views(mesh, made, config.rendering) for made in (views_generator, novel_generator))
    with clock("count"):
        config, counted = with_count(config, wanted, train, mesh)
    with clock("gmm"):
        start = start_mixture(mesh, config.model, config.random_seed)
    tell(device.hint, start.notice)
    with clock("optimize"), machine.progress_bar("fit") as on_progress:
        fit, found = fitted(config, mesh, start.mixture, Aim(train, wanted, fit_generator), on_progress)
    tell("" if found is None else found.words, KEPT if fit.kept_start else "")
    with clock("evaluate"):
        unseen, settings = {"novel": novel}, depth_settings(wanted.depth_weight)
        before, after = (evaluate(mixture, unseen, unit, settings)[1] for mixture in (start.mixture, fit.mixture))
    subject = with_mesh(Subject(fit.mixture, frame, views=novel, seed=config.random_seed), config.export)
    facts = {"task": "convert", **after, "initial": before, "scale": unit, "init": start.kind}
    facts |= {"steps": len(fit.history.step), "kept_start": fit.kept_start}
    facts |= counted
    facts |= {} if found is None else {"symmetry": symmetry_record(found, fit, frame)}
    facts |= {"device": device.name, **circumstances(config), **surface_facts(subject, mesh, config.random_seed)}
    write_mixture(folder / "model.npz", subject, facts)
    machine.write_text(folder / "config.yaml", to_yaml(config))
    with clock("export"):
        export(subject, config.export, folder)
        write_capture(folder, {"train": train, "novel": novel}, frame)
    metrics = {**facts, "seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    return metrics


def fitted(
    config: Config,
    mesh: trimesh.Trimesh,
    start: Mixture,
    aim: Aim,
    on_progress: Callable[[int, int, float], None],
) -> tuple[ShapeFit, SymmetryFound | None]:
    """The mixture that is fitted to the views of the mesh, and what there is to say of its symmetry."""
    kind = config.model.symmetry
    if kind == NONE:
        return refine_to_views(aim.views, start, aim.generator, aim.options, on_progress), None
    return convert_with_symmetry(kind, mesh, start, aim, lambda *now: on_progress(*now[:3]))
