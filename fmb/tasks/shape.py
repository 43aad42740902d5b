"""Task `shape`: views of a mesh or a capture -> mixture to start from -> fit -> files."""

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fm_render import Mixture
from fmb import machine
from fmb.config import Config
from fmb.fields.looks import evaluate, shown
from fmb.files.options import CaptureOptions
from fmb.fit.cluster import check_alike, join
from fmb.geometry.views import Images
from fmb.joint import JointOptions, fit_shape_and_cameras
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.pictures import draw
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.painter import Painter
from fmb.pictures.sheets import Scale, depth_scale
from fmb.shape.distillation import ADVISED, FEW, of_real_views, taught
from fmb.shape.options import COUNTED
from fmb.shape.recipe import Hooks, ShapeFit, ShapeProgram, compile_shape_fit
from fmb.shape.start import other_starts, start_mixture
from fmb.shape.stream_fit import compile_stream_fit, fit_to_stream
from fmb.shape.symmetry_fit import Aim, SymmetryFound, fit_with_symmetry, symmetry_record
from fmb.tasks.check import check_capture
from fmb.tasks.counted import with_count
from fmb.tasks.export import surface_facts
from fmb.tasks.shape_course import check_resume, record_of, unfinished_shape
from fmb.tasks.shape_files import (
    Run,
    deviations,
    images_of,
    show_end,
    show_portrait,
    subject_of,
    write_files,
    write_film,
    write_page,
)
from fmb.tasks.shell import KEPT, Followers, check_before, circumstances, task_folder
from fmb.tasks.streamed import open_views
from fmb.tasks.unfinished import Unfinished
from fmb.whole import METRICS, whole_folder


def shape(config: Config, clock: Clock) -> None:
    """Views of a mesh or a capture -> mixture to start from -> fit to them (sections 4.3 and 7.2) -> files."""
    if config.check_cameras:
        return check_capture(config)
    check_resume(config)
    if config.optimization.fit_devices != 1:
        machine.several_cpu_devices(config.optimization.fit_devices or os.cpu_count() or 1)
    if join(config.cluster):
        return follow(config, clock)
    place = task_folder(config)
    check_before(config, place)
    with ExitStack() as live:  # the live page stays when the files are in place
        with whole_folder(place) as folder:
            run = begin(config, clock, folder)
            config, settings = run.config, run.program.supervision.settings
            followers = live.enter_context(Followers(config, run.seen.views, settings, run.start.mixture))
            record = record_of(config, run.start.mixture, run.seen.views["train"], run.scene.stream)
            check_alike(record["data"])
            unfinished = unfinished_shape(config, record)
            with unfinished.kept():
                metrics = reconstruct(run, followers, unfinished)
        unfinished.remove()
        tell(machine.summary(metrics, place))
        followers.wait()


def follow(config: Config, clock: Clock) -> None:
    """What a host that is not the first does: its share of the fit."""
    with TemporaryDirectory() as folder:
        run = begin(config, clock, Path(folder))
        config, train, stream = run.config, run.seen.views["train"], run.scene.stream
        check_alike(record_of(config, run.start.mixture, train, stream)["data"])
        if stream is not None:
            fit_to_stream(run.program, run.start.mixture, stream, streams(config)[1], Hooks(), run.scene.surface)
            return
        program, aim = aimed(run, Aim(train, config.optimization, streams(config)[1], run.scene.surface))
        fit_with_symmetry(config.model.symmetry, program, run.start.mixture, aim)


def reconstruct(run: Run, followers: Followers, unfinished: Unfinished) -> dict[str, Any]:
    """Fits and writes all files; what metrics.json tells."""
    config, clock = run.config, run.clock
    with Painter(run.folder) as painter:  # it draws beside the fit
        initial, depth = show_start(run, painter)
        with clock("optimize"):
            run, fit, symmetry = fitted(run, followers, unfinished)
            followers.finish(fit)
        tell(KEPT if fit.kept_start else "")
        seen, errors = seen_at_end(run, fit.mixture)
        joint = config.capture.refine_cameras  # its history is that of the last round
        history = followers.filled(fit.history, None if joint else initial, errors)
        show_end(run, painter, seen, history, depth, KEPT if fit.kept_start else "")
        facts = facts_of(run, fit, symmetry) | {**errors, "initial": initial}
        with clock("export"):
            known = deviations(run, fit.mixture, painter)
            subject = subject_of(run, fit.mixture)._replace(deviations=known)
            show_portrait(run, painter, subject)
            pictures = painter.draw(read_pictures) if config.export.report else None
            facts |= surface_facts(subject, run.scene.mesh, config.random_seed)
            machine.write_columns(run.folder / "history.csv", history._asdict())
            write_files(run, painter, subject, facts)
            write_film(run, followers.recorder.snapshots)
        with clock("figures"):
            painter.finish()
    metrics = {**facts, "seconds": clock.seconds()}
    machine.write_metrics(run.folder / METRICS, metrics)
    if pictures is not None:
        write_page(run, subject, history, metrics, pictures.result())
    return metrics


def facts_of(run: Run, fit: ShapeFit, symmetry: SymmetryFound | None) -> dict[str, Any]:
    """What there is to tell of the fit beside its errors."""
    facts = {"task": "shape", "steps": len(fit.history.step), "kept_start": fit.kept_start, "init": run.start.kind}
    facts |= {"scale": float(run.scene.frame.scale), "device": run.device, "ground_truth_backend": run.seen.source}
    facts |= {} if run.scene.stream is None else {"streamed_views": run.scene.stream.count}
    facts |= {} if symmetry is None else {"symmetry": symmetry_record(symmetry, fit, run.scene.frame)}
    facts |= run.counted
    return facts | {"view_iou": fit.view_iou, "view_weight": fit.view_weight, **circumstances(run.config)}


def begin(config: Config, clock: Clock, folder: Path) -> Run:
    """Reads, starts the drawing of a mesh's views, and meanwhile makes the start and compiles the fit."""
    with clock("load"):
        device = choose_device(config.cpu)
        scene = open_views(config, streams(config)[0])
    counted, seen = {}, None
    if config.model.num_mixtures == COUNTED:
        with clock("count"):
            seen = scene.look()
            shown = seen.views["train"], scene.mesh, scene.inside, scene.surface
            config, counted = with_count(config, config.optimization, *shown)
    with clock("gmm"):
        recipe = config.optimization.recipe
        start = start_mixture(scene.mesh, config.model, config.random_seed, recipe, scene.inside)
    with clock("compile"):
        if scene.stream is None:
            program = compile_shape_fit(start.mixture, scene.shape, config.optimization)
        else:
            program = compile_stream_fit(start.mixture, scene.stream, config.optimization)
    with clock("ground_truth"):
        seen = seen or scene.look()
    tell(device.hint, start.notice, *seen.notices)
    return Run(config, clock, folder, device.name, scene, start, program, seen, counted)


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


def fitted(run: Run, followers: Followers, unfinished: Unfinished) -> tuple[Run, ShapeFit, SymmetryFound | None]:
    """The fit and what there is to say of its symmetry; where cameras were fitted, too, the run has the new ones."""
    generator, kind, options = streams(run.config)[1], run.config.model.symmetry, run.config.optimization
    begun = unfinished.begin(run.config.resume)
    if run.scene.stream is not None:
        onlooker = Hooks(followers, unfinished.offer, begun)
        fit = fit_to_stream(run.program, run.start.mixture, run.scene.stream, generator, onlooker, run.scene.surface)
        return run, fit, None
    if run.config.capture.refine_cameras:
        run, fit = with_fitted_cameras(run, followers, generator)
        if kind == NONE and not options.teachers:
            return run, fit, None
    alone = kind == NONE and not run.config.capture.refine_cameras  # one fit, which can be gone on with
    onlooker = Hooks(followers, unfinished.offer, begun) if alone else followers
    train = run.seen.views["train"]
    program, aim = aimed(run, Aim(train, options, generator, run.scene.surface))
    fit, found = fit_with_symmetry(kind, program, run.start.mixture, aim, onlooker)
    tell("" if found is None else found.words)
    return run, of_real_views(fit, len(train.silhouette)), found


def with_fitted_cameras(run: Run, followers: Followers, generator: np.random.Generator) -> tuple[Run, ShapeFit]:
    """The run with cameras that were fitted by turns with the shape, and the last of these shapes."""
    if run.config.optimization.point_weight:
        raise ValueError("point_weight and refine_cameras cannot be used together")
    train, options = run.seen.views["train"], joint_options(run.config.capture)
    on_round = followers.on_round(options.rounds)
    joint = fit_shape_and_cameras(run.program, run.start.mixture, train, generator, options, on_round)
    turn, shift = np.rad2deg(joint.moved[-1, 0]), 100.0 * joint.moved[-1, 1]
    tell(f"cameras moved by {turn:.2f} degrees and {shift:.2f} % of the size (root mean squares); unseen ones did not")
    views = {**run.seen.views, "train": train._replace(cameras=joint.cameras)}
    return run._replace(seen=run.seen._replace(views=views)), joint.shape


def joint_options(options: CaptureOptions) -> JointOptions:
    """How shape and cameras are fitted together, by how well the cameras are known."""
    return JointOptions(degrees=options.camera_degrees, percent=options.camera_degrees)


def aimed(run: Run, aim: Aim) -> tuple[ShapeProgram, Aim]:
    """What to fit to and with: the views alone, or also what teachers say of other views."""
    teachers, few = run.config.optimization.teachers, len(aim.views.silhouette)
    if not teachers:
        tell("" if few > FEW else f"{few} views leave much open: --teachers {ADVISED} errs less, and takes longer")
        return run.program, aim
    config, scene, first = run.config, run.scene, run.start.mixture
    recipe = config.optimization.recipe
    starts = other_starts(first, scene.mesh, config.model, config.random_seed, recipe, scene.inside)
    with machine.progress_bar("teachers") as on_progress:
        return taught(run.program, starts, aim, teachers, lambda done, total: on_progress(done, total, np.nan))


def seen_at_end(run: Run, mixture: Mixture) -> tuple[Images, dict[str, Any]]:
    """What the training views see of the fit, and its errors from all."""
    with run.clock("evaluate"):
        unit = float(run.scene.frame.scale)
        seen, errors = evaluate(mixture, run.seen.views, unit, run.program.supervision.settings)
    return shown(seen["train"], unit), errors
