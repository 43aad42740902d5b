"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import get_context

import numpy as np

import util
from fmb.config import load_config, to_yaml
from fmb.options import Config

NOVEL_VIEWS = 32  # that no fit has seen, as in section 7.2
VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "trimesh", "pyrender", "embreex", "matplotlib")


def shape(config: Config) -> None:
    """A mesh, its silhouettes, a mixture to start from, and the fit to the silhouettes alone (sections 4.3 and 7.2)."""
    clock = Clock()
    with clock("load"):
        # late, so that wrong flags are known at once and JAX hears of the device before anything else
        from fmb.device import choose_device

        device = choose_device(config.cpu)
        from fmb.cameras import pinhole_intrinsics, random_cameras
        from fmb.evaluation import look, measure, shown
        from fmb.fit import FitOptions
        from fmb.frames import canonical_frame
        from fmb.ground_truth import start_ground_truth
        from fmb.readers.mesh import read_mesh
        from fmb.shape import compile_shape_fit, fit_shape
        from fmb.start import start_mixture
        from fmb.views import select_views

        folder = util.prepare_output_dir(config.io.output_dir)
        mesh = read_mesh(config.io.mesh_file)
        frame = canonical_frame(mesh)
        mesh = frame.mesh_to_canonical(mesh)
    painter = ProcessPoolExecutor(1, get_context("spawn"))  # draws while the fit runs

    o = config.optimization
    rendering, unit = config.rendering, float(frame.scale)
    views_generator, fit_generator = np.random.default_rng(config.random_seed).spawn(2)
    image_size = rendering.image_height, rendering.image_width
    intrinsics = pinhole_intrinsics(*image_size, rendering.vfov_degrees)
    count = rendering.num_views + NOVEL_VIEWS
    cameras = random_cameras(views_generator, count, rendering.camera_distance, intrinsics)
    images = start_ground_truth(mesh, cameras, image_size, rendering.ground_truth)
    with clock("gmm"):
        start = start_mixture(mesh, config.model, config.random_seed)
    with clock("ground_truth"):
        truth = images.result()
    train = select_views(truth.views, slice(rendering.num_views))
    novel = select_views(truth.views, slice(rendering.num_views, count))
    with clock("compile"):
        program = compile_shape_fit(
            start.mixture,
            train.silhouette.shape,
            FitOptions(o.num_epochs, o.batch_size, o.initial_lr, o.schedule, o.early_stop),
        )
    with clock("optimize"):
        mixture, fit = fit_shape(program, start.mixture, train, o.opt_shape_scale, fit_generator, lambda *a: None)
    with clock("evaluate"):
        sights = {
            name: {part: look(shape, views.cameras, image_size) for part, views in (("train", train), ("novel", novel))}
            for name, shape in (("initial", start.mixture), ("final", mixture))
        }
        errors = {
            name: {"train": measure(sight["train"], train, unit), "novel": measure(sight["novel"], novel, unit)}
            for name, sight in sights.items()
        }
    with clock("figures"):
        reference = util.Images(train.silhouette, unit * train.depth, train.color)
        history = util.History(np.arange(len(fit.loss)), fit.loss, fit.learning_rate)
        initial, final = (shown(sights[name]["train"], unit) for name in ("initial", "final"))
        util.draw_pictures(folder, reference, initial, final, history)
    world = frame.mixture_to_world(mixture)
    metrics = {
        **errors["final"],
        "initial": errors["initial"],
        "seconds": clock.seconds(),
        "steps": len(fit.loss),
        "num_mixtures": config.model.num_mixtures,
        "init": start.kind,
        "scale": unit,
        "device": device[0],
        "ground_truth_backend": truth.backend,
        "versions": {name: version(name) for name in VERSIONS},
    }
    util.write_model(folder / "model.npz", *map(np.asarray, world), metrics)
    util.write_history(folder / "history.csv", history)
    util.write_text(folder / "config.yaml", to_yaml(config))
    util.write_metrics(folder / "metrics.json", metrics)
    print(metrics)


class Clock:
    """Seconds by part of the run."""

    def __init__(self):
        self.start, self.parts = time.perf_counter(), {}

    @contextmanager
    def __call__(self, part: str):
        """Counts the time within for `part`."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """All of them, after the total."""
        return {"total": time.perf_counter() - self.start, **self.parts}


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
