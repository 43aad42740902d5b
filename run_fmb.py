"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import util
from fm_render import Settings
from fmb.clock import BEGAN, Clock
from fmb.color import fit_color
from fmb.config import load_config, to_yaml
from fmb.device import choose_device
from fmb.evaluation import evaluate, shown
from fmb.film import film
from fmb.mixture import in_double
from fmb.options import NONE, Config
from fmb.painter import Painter
from fmb.report import Report, shape_numbers
from fmb.report_scene import Scene as PageScene
from fmb.scenes import Scene, Seen, open_scene
from fmb.shape import compile_shape_fit, fit_shape
from fmb.sheets import History, Images, depth_scale
from fmb.start import start_mixture
from fmb.supervision import DEPTH_SETTINGS
from fmb.tasks.assets import convert, export_model
from fmb.tasks.cameras import check_capture
from fmb.tasks.pose import pose
from fmb.tasks.shell import Followers, circumstances, say, write_mixture
from fmb.tasks.track import track
from fmb.views import Views, select_views
from fmb.writers.assets import Subject, export, with_mesh, write_moving
from fmb.writers.cameras import write_cameras
from fmb.writers.report import read_pictures, write_report

FILM_VIEWS, FILM_SECONDS = 6, 5.0


def shape(config: Config, clock: Clock) -> None:
    """Views of a mesh or a capture -> mixture to start from -> fit to them (sections 4.3 and 7.2) -> files."""
    if config.check_cameras:
        return check_capture(config)
    with clock("load"):
        device = choose_device(config.cpu)
        views_generator, fit_generator = np.random.default_rng(config.random_seed).spawn(2)
        scene = open_scene(config, views_generator)
        folder, unit = util.prepare_output_dir(config.io.output_dir), float(scene.frame.scale)
    with clock("gmm"):
        recipe = config.optimization.recipe
        start = start_mixture(scene.mesh, config.model, config.random_seed, recipe, scene.inside)
    with clock("compile"):
        settings = DEPTH_SETTINGS if config.optimization.depth_weight else Settings()
        program = compile_shape_fit(start.mixture, scene.shape, config.optimization, settings)
    with clock("ground_truth"):
        seen = scene.look()
    say(device.hint, start.notice, *seen.notices)
    train = seen.views["train"]

    # the painter draws in a process of its own, beside the fit
    with Painter(folder) as painter, Followers(config, train, seen.views.get("novel")) as followers:
        with clock("evaluate"):
            before, initial_errors = evaluate(start.mixture, seen.views, unit, settings)
        reference, initial = images_of(train, unit), shown(before["train"], unit)
        depth = depth_scale([reference.depth, initial.depth], util.UNIT)
        painter.draw(util.draw_before, reference, initial, depth)
        with clock("optimize"):
            fit = fit_shape(program, start.mixture, train, fit_generator, followers, scene.surface)
        with clock("evaluate"):
            after, errors = evaluate(fit.mixture, seen.views, unit, settings)
        history = followers.filled(fit.history)
        painter.draw(util.draw_after, reference, shown(after["train"], unit), history, depth)
        facts = {"task": "shape", **errors, "initial": initial_errors, "steps": len(history.step)}
        facts |= {"init": start.kind, "scale": unit, "device": device.name, "ground_truth_backend": seen.source}
        facts |= {"view_iou": fit.view_iou, "view_weight": fit.view_weight, **circumstances(config)}
        with clock("export"):
            color = fit_color(fit.mixture, train) if config.capture.fit_color and train.color is not None else None
            subject = with_mesh(Subject(fit.mixture, scene.frame, color, train), config.export)
            util.write_history(folder / "history.csv", history)
            write_files(config, folder, subject, seen, facts)
            if config.export.film != NONE:
                few = select_views(train, np.arange(min(FILM_VIEWS, len(train.silhouette))))
                write_moving(
                    folder / f"film.{config.export.film}", film(followers.recorder.snapshots, few), FILM_SECONDS
                )
        with clock("figures"):
            painter.finish()
        metrics = {**facts, "seconds": clock.seconds()}
        util.write_metrics(folder / "metrics.json", metrics)
        if config.export.report:
            write_page(folder, scene, subject, history, metrics)
        say(util.summary(metrics, folder))
        followers.wait()


def images_of(views: Views, unit: float) -> Images:
    """What the views show, depths in the input's unit."""
    return Images(views.silhouette, None if views.depth is None else unit * views.depth, views.color)


def write_files(config: Config, folder: Path, subject: Subject, seen: Seen, facts: dict[str, Any]) -> None:
    """The model, its cameras and what else the options name, in the input's frame and unit."""
    parts = list(seen.views.values())
    cameras = jax.tree.map(lambda *fields: np.concatenate(fields), *(part.cameras for part in parts))
    held_out = np.arange(len(seen.names)) >= len(parts[0].silhouette)
    write_mixture(folder / "model.npz", subject, facts)
    util.write_text(folder / "config.yaml", to_yaml(config))
    size, cameras = parts[0].silhouette.shape[1:], subject.frame.cameras_to_world(cameras)
    write_cameras(folder / "cameras.json", cameras, size, seen.names, held_out)
    export(subject, config.export, folder)


def write_page(folder: Path, scene: Scene, subject: Subject, history: History, metrics: dict[str, Any]) -> None:
    """The page of numbers and pictures, with a view to turn, in the input's frame and unit."""
    frame, views = subject.frame, subject.views
    views = views._replace(cameras=frame.cameras_to_world(views.cameras))
    made, given = (None if mesh is None else frame.mesh_to_world(mesh) for mesh in (subject.mesh, scene.mesh))
    page = PageScene(frame.mixture_to_world(in_double(subject.mixture)), subject.color, views, made, given)
    highlights, errors = shape_numbers(metrics)
    note = f"{metrics['num_mixtures']} components from {len(views.silhouette)} silhouettes"
    pictures = read_pictures(folder)
    report = Report(scene.name, note, page, highlights, errors, history, pictures, metrics)
    write_report(folder / "report.html", report)


TASKS: dict[str, Callable[[Config, Clock], None]] = {
    "shape": shape,
    "pose": pose,
    "track": track,
    "export": export_model,
    "convert": convert,
}


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
