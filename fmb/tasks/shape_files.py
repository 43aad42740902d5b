"""What task `shape` leaves: pictures, the model, its capture, files for other programs, a film and a page."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fm_render import Mixture
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.looks import look, shown
from fmb.fields.mixtures import in_double
from fmb.fit.history import History
from fmb.geometry.cameras import UP
from fmb.geometry.views import Images, Views, select_views
from fmb.machine import Clock, tell
from fmb.options import NONE
from fmb.pictures import draw
from fmb.pictures.film import Snapshot, film
from fmb.pictures.page_pictures import Picture
from fmb.pictures.painter import Painter
from fmb.pictures.portrait import portrait_sheet
from fmb.pictures.report import Report, shape_numbers, write_report
from fmb.pictures.report_scene import PageScene
from fmb.pictures.sheets import Scale, depth_sheet
from fmb.pictures.turntable import common_up
from fmb.pictures.uncertainty import deviation_sheet
from fmb.shape.color import fit_color
from fmb.shape.recipe import ShapeProgram
from fmb.shape.start import Start
from fmb.shape.uncertainty import fit_covariance, look_deviation
from fmb.tasks.capture_files import write_capture
from fmb.tasks.export import Subject, export, with_mesh, write_mixture, write_moving
from fmb.tasks.made import made_by
from fmb.tasks.scenes import Scene, Seen
from fmb.tasks.shell import KEPT

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
    counted: dict[str, Any] = {}  # what there is to tell of a number of components that the data told


def show_end(run: Run, painter: Painter, seen: Images, history: History, depth: Scale, remark: str) -> None:
    """Pictures of the fit, of which the training views have `seen` that."""
    train, unit = run.seen.views["train"], float(run.scene.frame.scale)
    painter.draw(draw.draw_after, images_of(train, unit), seen, history, depth, remark)
    if train.depth is not None:
        blended = run.program.supervision.settings.betas is not None  # as `evaluate` has it
        what = "the fit's blended depth" if blended else "the fit's surface"
        sheet = depth_sheet(unit * train.depth, seen.depth, depth, machine.UNIT, what)
        painter.draw(draw.draw_sheets, {"09_depth_comparison": sheet})


def show_portrait(run: Run, painter: Painter, subject: Subject) -> None:
    """The picture of the fitted mixture from one side."""
    up = np.array(UP) if run.scene.mesh is not None else common_up(run.seen.views["train"].cameras)
    sheet = portrait_sheet(subject.mixture, up, subject.color, subject.mesh, run.scene.mesh)
    painter.draw(draw.draw_sheets, {"12_portrait": sheet})


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
        tell(f"{error}; so the result has no {'surface' if subject.color is not None else 'colours and no surface'}")
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


def write_files(run: Run, painter: Painter, subject: Subject, facts: dict[str, Any]) -> None:
    """The model, its capture, which --data reads, and what else the options name, in the input's frame and unit."""
    write_mixture(run.folder / "model.npz", subject, facts)
    machine.write_text(run.folder / "config.yaml", to_yaml(run.config))
    write_capture(run.folder, run.seen.views, subject.frame, run.seen.names, painter.draw)
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
    count = metrics.get("streamed_views", len(views.silhouette))
    note = f"{metrics['num_mixtures']} components from {count} silhouettes"
    note += f"; {KEPT}" if metrics["kept_start"] else ""
    report = Report(
        run.scene.name, note, page, highlights, errors, history, pictures, metrics, made=made_of(run, metrics)
    )
    write_report(run.folder / "report.html", report)


def made_of(run: Run, metrics: dict[str, Any]) -> dict[str, str]:
    """How the run was made: the command, its input, views and seed."""
    sets = {name: part.silhouette.shape for name, part in run.seen.views.items()}
    views = ", ".join(f"{count} {machine.SETS[name]}" for name, (count, _, _) in sets.items())
    height, width = sets["train"][1:]
    how = "drawn by" if run.config.capture.data == NONE else "read as"
    source = f"{how} {metrics['ground_truth_backend']}"
    if run.scene.stream is not None:
        source += f"; {run.scene.stream.count} views were fitted to, from disk"
    return made_by(run.config, metrics["device"]) | {
        "views": f"{views}, of {width} \N{MULTIPLICATION SIGN} {height} pixels, {source}"
    }
