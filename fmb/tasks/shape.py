"""Task `shape`: views of a mesh or a capture -> mixture to start from -> fit -> files."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fm_render import Mixture
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.looks import evaluate, look, shown
from fmb.fields.mixtures import in_double
from fmb.files.captures.plain import write_cameras
from fmb.files.options import CaptureOptions
from fmb.fit.history import History
from fmb.geometry.views import Images, Views, select_views
from fmb.joint import JointOptions, fit_shape_and_cameras
from fmb.machine import Clock, choose_device, say
from fmb.options import NONE
from fmb.pictures import draw
from fmb.pictures.film import Snapshot, film
from fmb.pictures.page_pictures import Picture, read_pictures
from fmb.pictures.painter import Painter
from fmb.pictures.report import Report, shape_numbers, write_report
from fmb.pictures.report_scene import PageScene
from fmb.pictures.sheets import Scale, depth_scale
from fmb.pictures.uncertainty import deviation_sheet
from fmb.shape.color import fit_color
from fmb.shape.distillation import ADVISED, FEW, of_real_views, taught
from fmb.shape.recipe import ShapeFit, ShapeProgram, compile_shape_fit, fit_to_views
from fmb.shape.start import Start, other_starts, start_mixture
from fmb.shape.symmetry_fit import Aim, SymmetryFound, fit_with_symmetry, symmetry_record
from fmb.shape.uncertainty import fit_covariance, look_deviation
from fmb.tasks.check import check_capture
from fmb.tasks.export import Subject, export, surface_facts, with_mesh, write_mixture, write_moving
from fmb.tasks.scenes import Scene, Seen, open_scene
from fmb.tasks.shell import Followers, check_before, circumstances
from fmb.whole import METRICS, whole_folder

FILM_VIEWS, FILM_SECONDS = 6, 5.0


class Run(NamedTuple):
    """What a reconstruction works with."""

    config: Config
    clock: Clock
    folder: Path
    device: str
    scene: Scene
    start: Start
    program: ShapeProgram
    seen: Seen


def shape(config: Config, clock: Clock) -> None:
    """Views of a mesh or a capture -> mixture to start from -> fit to them (sections 4.3 and 7.2) -> files."""
    if config.check_cameras:
        return check_capture(config)
    check_before(config, Path(config.io.output_dir))
    with ExitStack() as live:  # the live page stays when the files are in place
        with whole_folder(config.io.output_dir) as folder:
            run = begin(config, clock, folder)
            followers = live.enter_context(Followers(config, run.seen.views))
            metrics = reconstruct(run, followers)
        say(machine.summary(metrics, Path(config.io.output_dir)))
        followers.wait()


def reconstruct(run: Run, followers: Followers) -> dict[str, Any]:
    """Fits and writes all files; what metrics.json tells."""
    config, clock = run.config, run.clock
    with Painter(run.folder) as painter:  # it draws beside the fit
        initial, depth = show_start(run, painter)
        with clock("optimize"):
            run, fit, symmetry = fitted(run, followers)
            followers.finish(fit)
        history = followers.filled(fit.history)
        errors = show_end(run, painter, fit.mixture, history, depth)
        facts = {"task": "shape", **errors, "initial": initial, "steps": len(history.step), "init": run.start.kind}
        facts |= {"scale": float(run.scene.frame.scale), "device": run.device, "ground_truth_backend": run.seen.source}
        facts |= {} if symmetry is None else {"symmetry": symmetry_record(symmetry, fit, run.scene.frame)}
        facts |= {"view_iou": fit.view_iou, "view_weight": fit.view_weight, **circumstances(config)}
        with clock("export"):
            known = deviations(run, fit.mixture, painter)
            pictures = painter.draw(read_pictures) if config.export.report else None
            subject = subject_of(run, fit.mixture)._replace(deviations=known)
            facts |= surface_facts(subject, run.scene.mesh, config.random_seed)
            machine.write_columns(run.folder / "history.csv", history._asdict())
            write_files(run, subject, facts)
            write_film(run, followers.recorder.snapshots)
        with clock("figures"):
            painter.finish()
    metrics = {**facts, "seconds": clock.seconds()}
    machine.write_metrics(run.folder / METRICS, metrics)
    if pictures is not None:
        write_page(run, subject, history, metrics, pictures.result())
    return metrics


def begin(config: Config, clock: Clock, folder: Path) -> Run:
    """Reads, starts the drawing of a mesh's views, and meanwhile makes the start and compiles the fit."""
    with clock("load"):
        device = choose_device(config.cpu)
        scene = open_scene(config, streams(config)[0])
    with clock("gmm"):
        recipe = config.optimization.recipe
        start = start_mixture(scene.mesh, config.model, config.random_seed, recipe, scene.inside)
    with clock("compile"):
        program = compile_shape_fit(start.mixture, scene.shape, config.optimization)
    with clock("ground_truth"):
        seen = scene.look()
    say(device.hint, start.notice, *seen.notices)
    return Run(config, clock, folder, device.name, scene, start, program, seen)


def streams(config: Config) -> list[np.random.Generator]:
    """Random numbers for the scene and for the fit, each its own: one moves nothing of the other."""
    return np.random.default_rng(config.random_seed).spawn(2)


def show_start(run: Run, painter: Painter) -> tuple[dict[str, Any], Scale]:
    """Errors of the start, and the range of the depths that all pictures share."""
    unit, train = float(run.scene.frame.scale), run.seen.views["train"]
    with run.clock("evaluate"):
        seen, errors = evaluate(run.start.mixture, run.seen.views, unit, run.program.supervision.settings)
    reference, initial = images_of(train, unit), shown(seen["train"], unit)
    depth = depth_scale([reference.depth, initial.depth], machine.UNIT)
    painter.draw(draw.draw_before, reference, initial, depth)
    return errors, depth


def fitted(run: Run, followers: Followers) -> tuple[Run, ShapeFit, SymmetryFound | None]:
    """The fit and what there is to say of its symmetry; where cameras were fitted, too, the run has the new ones."""
    generator, train, kind = streams(run.config)[1], run.seen.views["train"], run.config.model.symmetry
    if not run.config.capture.refine_cameras:
        program, aim = aimed(run, Aim(train, run.config.optimization, generator, run.scene.surface))
        fit, found = fit_with_symmetry(kind, program, run.start.mixture, aim, followers)
        say("" if found is None else found.words)
        return run, of_real_views(fit, len(train.silhouette)), found
    if kind != NONE:
        raise ValueError(f"symmetry is {kind}; must be {NONE} where refine_cameras is true")
    if run.config.optimization.point_weight:
        raise ValueError("point_weight and refine_cameras cannot be used together")
    options = joint_options(run.config.capture)
    on_round = followers.on_round(options.rounds)
    joint = fit_shape_and_cameras(run.program, run.start.mixture, train, generator, options, on_round)
    turn, shift = np.rad2deg(joint.moved[-1, 0]), 100.0 * joint.moved[-1, 1]
    say(f"cameras moved by {turn:.2f} degrees and {shift:.2f} % of the size (root mean squares); unseen ones did not")
    train, fit = train._replace(cameras=joint.cameras), joint.shape
    if run.config.optimization.teachers:
        program, aim = aimed(run, Aim(train, run.config.optimization, generator))
        taught_fit = fit_to_views(program, run.start.mixture, aim.views, generator, followers)
        fit = of_real_views(taught_fit, len(train.silhouette))
    return run._replace(seen=run.seen._replace(views={**run.seen.views, "train": train})), fit, None


def joint_options(options: CaptureOptions) -> JointOptions:
    """How shape and cameras are fitted together, by how well the cameras are known."""
    return JointOptions(degrees=options.camera_degrees, percent=options.camera_degrees)


def aimed(run: Run, aim: Aim) -> tuple[ShapeProgram, Aim]:
    """What to fit to and with: the views alone, or also what teachers say of other views."""
    teachers, few = run.config.optimization.teachers, len(aim.views.silhouette)
    if not teachers:
        say(
            ""
            if few > FEW
            else f"{few} views leave much open: --teachers {ADVISED} errs less on others, and takes longer"
        )
        return run.program, aim
    config, scene, first = run.config, run.scene, run.start.mixture
    recipe = config.optimization.recipe
    starts = other_starts(first, scene.mesh, config.model, config.random_seed, recipe, scene.inside)
    with machine.progress_bar("teachers") as on_progress:
        return taught(run.program, starts, aim, teachers, lambda done, total: on_progress(done, total, np.nan))


def show_end(run: Run, painter: Painter, mixture: Mixture, history: History, depth: Scale) -> dict[str, Any]:
    """Errors of the fit."""
    unit = float(run.scene.frame.scale)
    with run.clock("evaluate"):
        seen, errors = evaluate(mixture, run.seen.views, unit, run.program.supervision.settings)
    reference = images_of(run.seen.views["train"], unit)
    painter.draw(draw.draw_after, reference, shown(seen["train"], unit), history, depth)
    return errors


def subject_of(run: Run, mixture: Mixture) -> Subject:
    """The mixture as it is exported: with its colours, where the views have some, and its surface.

    A fit that is too thin to have either is kept, and the run says so.
    """
    train = run.seen.views["train"]
    subject = Subject(mixture, run.scene.frame, None, train)
    try:
        if run.config.capture.fit_color and train.color is not None:
            subject = subject._replace(color=fit_color(mixture, train, run.program.supervision.settings))
        return with_mesh(subject, run.config.export)
    except ValueError as error:
        say(f"{error}; so the result has no {'surface' if subject.color is not None else 'colours and no surface'}")
        return subject


def images_of(views: Views, unit: float) -> Images:
    """What the views show, depths in the input's unit."""
    return Images(views.silhouette, None if views.depth is None else unit * views.depth, views.color)


def deviations(run: Run, mixture: Mixture, painter: Painter) -> dict[str, np.ndarray]:
    """How sure each component is, as `Uncertainty` says, in the input's unit; drawn. Nothing if it is not wanted."""
    if not run.config.export.uncertainty:
        return {}
    train, unit = run.seen.views["train"], float(run.scene.frame.scale)
    found = fit_covariance(mixture, train, settings=run.program.supervision.settings)
    few = select_views(train, np.arange(min(FILM_VIEWS, len(train.silhouette))))
    size = few.silhouette.shape[1:]
    seen = shown(look(mixture, few.cameras, size, run.program.supervision.settings), unit)
    expected = look_deviation(mixture, found, few.cameras, size, run.program.supervision.settings)
    own = unit * np.sqrt(np.mean(np.square(found.mean_deviation), axis=1))
    expected = expected._replace(depth=unit * expected.depth)
    sheet = deviation_sheet(seen, expected, few.cameras, mixture, own, machine.UNIT)
    painter.draw(draw.draw_uncertainty, sheet)
    told = found._asdict() | {"mean_deviation": unit * found.mean_deviation}
    return {name: told[name] for name in ("mean_deviation", "mean_axes", "size_deviation", "weight_deviation")}


def write_files(run: Run, subject: Subject, facts: dict[str, Any]) -> None:
    """The model, its cameras and what else the options name, in the input's frame and unit."""
    parts = list(run.seen.views.values())
    cameras = jax.tree.map(lambda *fields: np.concatenate(fields), *(part.cameras for part in parts))
    held_out = np.arange(len(run.seen.names)) >= len(parts[0].silhouette)
    write_mixture(run.folder / "model.npz", subject, facts)
    machine.write_text(run.folder / "config.yaml", to_yaml(run.config))
    size, cameras = parts[0].silhouette.shape[1:], subject.frame.cameras_to_world(cameras)
    write_cameras(run.folder / "cameras.json", cameras, size, run.seen.names, held_out)
    wanted = run.config.export if subject.mesh is not None else replace(run.config.export, mesh=NONE)
    with machine.progress_bar("export") as on_progress:
        export(subject, wanted, run.folder, on_progress)


def write_film(run: Run, snapshots: list[Snapshot]) -> None:
    """The masks in the course of the fit, if they are asked for."""
    kind, train = run.config.export.film, run.seen.views["train"]
    if kind != NONE and snapshots:
        few = select_views(train, np.arange(min(FILM_VIEWS, len(train.silhouette))))
        with machine.progress_bar("film") as on_progress:
            frames = film(snapshots, few, lambda frame, total: on_progress(frame, total, np.nan))
        write_moving(run.folder / f"film.{kind}", frames, FILM_SECONDS)


def write_page(run: Run, subject: Subject, history: History, metrics: dict[str, Any], pictures: list[Picture]) -> None:
    """The page of numbers and pictures, with a view to turn, in the input's frame and unit."""
    frame, views = subject.frame, subject.views
    views = views._replace(cameras=frame.cameras_to_world(views.cameras))
    made, given = (None if mesh is None else frame.mesh_to_world(mesh) for mesh in (subject.mesh, run.scene.mesh))
    page = PageScene(frame.mixture_to_world(in_double(subject.mixture)), subject.color, views, made, given)
    highlights, errors = shape_numbers(metrics)
    note = f"{metrics['num_mixtures']} components from {len(views.silhouette)} silhouettes"
    report = Report(run.scene.name, note, page, highlights, errors, history, pictures, metrics)
    write_report(run.folder / "report.html", report)
