"""Task `convert`: a mesh as a mixture, from EM on its volume and a fit to its silhouettes."""

import copy
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
from fmb.machine import Clock, choose_device, say, tell
from fmb.options import NONE
from fmb.shape.options import COUNTED
from fmb.shape.recipe import ShapeFit, conversion_options, conversion_views, refine_mixture
from fmb.shape.start import start_mixture
from fmb.shape.supervision import depth_settings
from fmb.shape.symmetry_fit import Aim, SymmetryFound, convert_with_symmetry, symmetry_record
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
    return ", ".join(["model", *kinds]) + " and numbers"


def converted(config: Config, clock: Clock, folder: Path) -> dict[str, Any]:
    """Makes the mixture and writes all files into the folder; what metrics.json tells."""
    with clock("load"):
        device = choose_device(config.cpu)
        mesh = read_mesh(config.io.mesh_file)
        frame = canonical_frame(mesh)
        mesh, unit = frame.mesh_to_canonical(mesh), float(frame.scale)
    fit_generator, novel_generator = np.random.default_rng(config.random_seed).spawn(2)
    wanted = conversion_options(config.optimization)
    with clock("count"):
        config, counted = with_conversion_count(config, mesh, fit_generator)
    with clock("gmm"):
        start = start_mixture(mesh, config.model, config.random_seed)
    say(device.hint, start.notice)
    with clock("optimize"), machine.progress_bar("fit") as on_progress:
        fit, found = fitted(config, mesh, start.mixture, fit_generator, on_progress)
    say("" if found is None else found.words, KEPT if fit.kept_start else "")
    with clock("evaluate"):
        novel = {"novel": conversion_views(mesh, novel_generator, config.rendering)}
        settings = depth_settings(wanted.depth_weight)
        before, after = (evaluate(mixture, novel, unit, settings)[1] for mixture in (start.mixture, fit.mixture))
    subject = with_mesh(Subject(fit.mixture, frame, views=novel["novel"], seed=config.random_seed), config.export)
    facts = {"task": "convert", **after, "initial": before, "scale": unit, "init": start.kind}
    facts |= {"steps": len(fit.history.step), "kept_start": fit.kept_start}
    facts |= counted
    facts |= {} if found is None else {"symmetry": symmetry_record(found, fit, frame)}
    facts |= {"device": device.name, **circumstances(config), **surface_facts(subject, mesh, config.random_seed)}
    write_mixture(folder / "model.npz", subject, facts)
    machine.write_text(folder / "config.yaml", to_yaml(config))
    with clock("export"):
        export(subject, config.export, folder)
    metrics = {**facts, "seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    return metrics


def with_conversion_count(
    config: Config, mesh: trimesh.Trimesh, generator: np.random.Generator
) -> tuple[Config, dict[str, Any]]:
    """The config with the number of components that suits what the mesh looks like, and what there is to tell of it."""
    if config.model.num_mixtures != COUNTED:
        return config, {}
    views = conversion_views(mesh, copy.deepcopy(generator).spawn(1)[0], config.rendering)  # those of the fit
    return with_count(config, conversion_options(config.optimization), views, mesh)


def fitted(
    config: Config,
    mesh: trimesh.Trimesh,
    start: Mixture,
    generator: np.random.Generator,
    on_progress: Callable[[int, int, float], None],
) -> tuple[ShapeFit, SymmetryFound | None]:
    """The mixture that is fitted to the mesh in its canonical frame, and what there is to say of its symmetry."""
    wanted, kind = conversion_options(config.optimization), config.model.symmetry
    if kind == NONE:
        return refine_mixture(mesh, start, generator, wanted, config.rendering, on_progress), None
    views_generator, fit_generator = generator.spawn(2)
    aim = Aim(conversion_views(mesh, views_generator, config.rendering), wanted, fit_generator)
    return convert_with_symmetry(kind, mesh, start, aim, lambda *now: on_progress(*now[:3]))
