"""Assets from a model (`export`), and a model from a mesh (`convert`)."""

from dataclasses import replace
from pathlib import Path

import numpy as np

import util
from fmb.clock import Clock
from fmb.config import to_yaml
from fmb.conversion import CONVERSION, conversion_views, refine_mixture
from fmb.device import choose_device
from fmb.evaluation import evaluate
from fmb.frames import canonical_frame
from fmb.options import NONE, Config
from fmb.readers.mesh import read_mesh
from fmb.readers.mixtures import read_mixture
from fmb.start import start_mixture
from fmb.supervision import DEPTH_SETTINGS
from fmb.tasks.shell import circumstances, say, task_folder, write_mixture
from fmb.writers.assets import Subject, export, surface_facts, with_mesh


def export_model(config: Config, clock: Clock) -> None:
    """Model -> files for other programs, in output_dir.

    Raises ValueError where no model is named, or nothing is asked for.
    """
    if config.io.model_file == NONE:
        raise ValueError("export needs a model: run_fmb.py export output/model.npz --mesh glb --splats true")
    with clock("load"):
        choose_device(config.cpu)
        model = read_mixture(config.io.model_file)
        folder = util.prepare_output_dir(export_folder(config))
    level = float(model.facts.get("mesh", {}).get("level", 0.0))  # as the masks chose it when the model was made
    subject = Subject(model.mixture, model.frame, model.color, seed=config.random_seed, level=level)
    with clock("export"), util.progress_bar("export") as on_progress:
        written = export(subject, config.export, folder, on_progress)
    if not written:
        raise ValueError("export: nothing is asked for; choose --mesh, --points, --splats or --turntable")
    say(*(str(path) for path in written))


def export_folder(config: Config) -> Path:
    """Where to export to: the model's own folder, or one that is empty or new.

    Raises ValueError for another, unless what lies there may be replaced.
    """
    folder = Path(config.io.output_dir)
    other = folder.resolve() != Path(config.io.model_file).resolve().parent
    if other and not config.overwrite and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder}: is neither empty nor the model's folder; choose another, or --overwrite")
    return folder


def convert(config: Config, clock: Clock) -> None:
    """Mesh -> EM on its volume or surface -> fit to its silhouettes and depths -> files."""
    with clock("load"):
        device = choose_device(config.cpu)
        mesh = read_mesh(config.io.mesh_file)
        frame, folder = canonical_frame(mesh), util.prepare_output_dir(task_folder(config))
        mesh, unit = frame.mesh_to_canonical(mesh), float(frame.scale)
    fit_generator, novel_generator = np.random.default_rng(config.random_seed).spawn(2)
    with clock("gmm"):
        start = start_mixture(mesh, config.model, config.random_seed)
    say(device.hint, start.notice)
    with clock("optimize"), util.progress_bar("fit") as on_progress:
        wanted = replace(config.optimization, depth_weight=config.optimization.depth_weight or CONVERSION.depth_weight)
        fit = refine_mixture(mesh, start.mixture, fit_generator, wanted, config.rendering, on_progress)
    with clock("evaluate"):
        novel = {"novel": conversion_views(mesh, novel_generator, config.rendering)}
        before, after = (evaluate(mixture, novel, unit, DEPTH_SETTINGS)[1] for mixture in (start.mixture, fit.mixture))
    subject = with_mesh(Subject(fit.mixture, frame, views=novel["novel"], seed=config.random_seed), config.export)
    facts = {"task": "convert", **after, "initial": before, "scale": unit, "init": start.kind}
    facts |= {"device": device.name, **circumstances(config), **surface_facts(subject, mesh, config.random_seed)}
    write_mixture(folder / "model.npz", subject, facts)
    util.write_text(folder / "config.yaml", to_yaml(config))
    with clock("export"):
        export(subject, config.export, folder)
    metrics = {**facts, "seconds": clock.seconds()}
    util.write_metrics(folder / "metrics.json", metrics)
    say(util.summary(metrics, folder))
