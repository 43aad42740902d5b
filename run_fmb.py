"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import os
import sys
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

import util
from fmb.clock import BEGAN, Clock
from fmb.config import load_config, to_yaml
from fmb.device import choose_device
from fmb.evaluation import evaluate, shown
from fmb.frames import canonical_frame
from fmb.ground_truth import start_ground_truth
from fmb.mixture import in_double
from fmb.options import Config
from fmb.painter import Painter
from fmb.readers.mesh import read_mesh
from fmb.shape import compile_shape_fit, fit_shape
from fmb.sheets import Images, depth_scale
from fmb.start import start_mixture
from fmb.views import scene_cameras, split_views

NOVEL_VIEWS = 32  # that no fit has seen, as in section 7.2
VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "trimesh", "pyrender", "embreex", "matplotlib")


def shape(config: Config, clock: Clock) -> None:
    """Mesh -> mixture to start from -> silhouettes -> fit to the silhouettes alone (sections 4.3 and 7.2) -> files."""
    with clock("load"):
        device = choose_device(config.cpu)
        mesh = read_mesh(config.io.mesh_file)
        folder = util.prepare_output_dir(config.io.output_dir)
        frame = canonical_frame(mesh)
        mesh, unit = frame.mesh_to_canonical(mesh), float(frame.scale)
    views_generator, fit_generator = np.random.default_rng(config.random_seed).spawn(2)
    count, image_size = config.rendering.num_views, (config.rendering.image_height, config.rendering.image_width)
    cameras = scene_cameras(views_generator, count + NOVEL_VIEWS, config.rendering)
    images = start_ground_truth(mesh, cameras, image_size, config.rendering.ground_truth)
    with clock("gmm"):
        start = start_mixture(mesh, config.model, config.random_seed, config.optimization.recipe)
    with clock("compile"):
        program = compile_shape_fit(start.mixture, (count, *image_size), config.optimization)
    with clock("ground_truth"):
        truth = images.result()
        views = split_views(truth.views, count)
    report(device.hint, start.notice, truth.notice)

    with Painter(folder) as painter:  # draws in a process of its own, beside the fit
        with clock("evaluate"):
            before, initial_errors = evaluate(start.mixture, views, unit)
        reference = Images(views["train"].silhouette, unit * views["train"].depth, views["train"].color)
        depth = depth_scale([reference.depth], util.UNIT)
        painter.draw(util.draw_before, reference, shown(before["train"], unit), depth)
        with clock("optimize"), util.progress_bar("fit") as on_progress:
            fit = fit_shape(program, start.mixture, views["train"], fit_generator, on_progress)
        with clock("evaluate"):
            after, errors = evaluate(fit.mixture, views, unit)
        painter.draw(util.draw_after, reference, shown(after["train"], unit), fit.history, depth)
        facts = {**errors, "initial": initial_errors, "steps": len(fit.history.step), "init": start.kind, "scale": unit}
        facts |= {"device": device.name, "ground_truth_backend": truth.backend, **circumstances(config)}
        util.write_model(folder / "model.npz", *frame.mixture_to_world(in_double(fit.mixture)), facts)
        util.write_history(folder / "history.csv", fit.history)
        util.write_text(folder / "config.yaml", to_yaml(config))
        with clock("figures"):
            painter.finish()
    metrics = {**facts, "seconds": clock.seconds()}
    util.write_metrics(folder / "metrics.json", metrics)
    report(util.summary(metrics, folder))


def circumstances(config: Config) -> dict:
    """What else a result should tell of how it was made."""
    versions = {name: version(name) for name in VERSIONS}
    return {"num_mixtures": config.model.num_mixtures, "recipe": config.optimization.recipe, "versions": versions}


def report(*lines: str) -> None:
    """Prints the lines that say something."""
    for line in filter(None, lines):
        print(line, flush=True)


TASKS: dict[str, Callable[[Config, Clock], None]] = {"shape": shape}


def main(argv: list[str], began: float | None = None) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend, or all of it if $FMB_TRACEBACK is set."""
    try:
        config = load_config(argv, tuple(TASKS))
        TASKS[config.task](config, Clock(began))
    except (ValueError, FloatingPointError, MemoryError) as error:
        if os.environ.get("FMB_TRACEBACK"):
            raise
        print(f"error: {error or 'not enough memory'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], BEGAN))
