"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import sys
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

import util
from fmb.clock import Clock
from fmb.config import load_config, to_yaml
from fmb.options import Config

NOVEL_VIEWS = 32  # that no fit has seen, as in section 7.2
VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "trimesh", "pyrender", "embreex", "matplotlib")


def shape(config: Config) -> None:
    """Mesh -> mixture to start from -> silhouettes -> fit to the silhouettes alone (sections 4.3 and 7.2) -> files."""
    clock = Clock()
    with clock("load"):
        # late, so that wrong flags are known at once and JAX hears of the device before anything else
        from fmb.device import choose_device

        device = choose_device(config.cpu)
        from fmb.evaluation import evaluate, shown
        from fmb.frames import canonical_frame
        from fmb.ground_truth import start_ground_truth
        from fmb.readers.mesh import read_mesh
        from fmb.shape import compile_shape_fit, fit_shape
        from fmb.sheets import Images, depth_scale
        from fmb.start import start_mixture
        from fmb.views import scene_cameras, select_views

        mesh = read_mesh(config.io.mesh_file)
        folder = util.prepare_output_dir(config.io.output_dir)
        frame = canonical_frame(mesh)
        mesh, unit = frame.mesh_to_canonical(mesh), float(frame.scale)

    views_generator, fit_generator = np.random.default_rng(config.random_seed).spawn(2)
    train_count = config.rendering.num_views
    image_size = config.rendering.image_height, config.rendering.image_width
    cameras = scene_cameras(views_generator, train_count + NOVEL_VIEWS, config.rendering)
    images = start_ground_truth(mesh, cameras, image_size, config.rendering.ground_truth)
    with clock("gmm"):
        start = start_mixture(mesh, config.model, config.random_seed, config.optimization.recipe)
    with clock("compile"):
        program = compile_shape_fit(start.mixture, (train_count, *image_size), config.optimization)
    with clock("ground_truth"):
        truth = images.result()
    train = select_views(truth.views, slice(train_count))
    views = {"train": train, "novel": select_views(truth.views, slice(train_count, None))}
    report(device.hint, start.notice, truth.notice)

    with util.painter() as draw:  # in a process of its own, beside the fit
        with clock("evaluate"):
            before, initial_errors = evaluate(start.mixture, views, unit)
        reference = Images(train.silhouette, unit * train.depth, train.color)
        initial = shown(before["train"], unit)
        depth = depth_scale([reference.depth, initial.depth], util.UNIT)
        draw(util.draw_before, folder, reference, initial, depth)
        with clock("optimize"), util.progress_bar("fit") as on_progress:
            fit = fit_shape(program, start.mixture, train, fit_generator, on_progress)
        with clock("evaluate"):
            after, errors = evaluate(fit.mixture, views, unit)
        with clock("figures"):
            draw(util.draw_after, folder, reference, shown(after["train"], unit), fit.history, depth)

    metrics = {
        **errors,
        "initial": initial_errors,
        "seconds": clock.seconds(),
        "steps": len(fit.history.step),
        "num_mixtures": config.model.num_mixtures,
        "init": start.kind,
        "scale": unit,
        "device": device.name,
        "ground_truth_backend": truth.backend,
        "versions": {name: version(name) for name in VERSIONS},
    }
    util.write_model(folder / "model.npz", *map(np.asarray, frame.mixture_to_world(fit.mixture)), metrics)
    util.write_history(folder / "history.csv", fit.history)
    util.write_text(folder / "config.yaml", to_yaml(config))
    util.write_metrics(folder / "metrics.json", metrics)
    report(util.summary(metrics, folder))


def report(*lines: str) -> None:
    """Prints the lines that say something."""
    for line in filter(None, lines):
        print(line, flush=True)


TASKS: dict[str, Callable[[Config], None]] = {"shape": shape}


def main(argv: list[str]) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend."""
    try:
        config = load_config(argv, tuple(TASKS))
        TASKS[config.task](config)
    except (ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
