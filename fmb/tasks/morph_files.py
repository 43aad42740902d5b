"""What task `morph` leaves: target, start, film, meshes, the way of the code, a log and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import trimesh

from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.latent import Space
from fmb.fields.mixtures import in_single
from fmb.files.media import write_gif, write_video
from fmb.files.mesh_output import write_mesh
from fmb.fit.history import History
from fmb.fit.schedules import SCHEDULES
from fmb.geometry.comparison import THRESHOLD, exact_sides, sampled, topology
from fmb.geometry.comparison import summary as summary_of
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.metrics import iou
from fmb.geometry.views import Views
from fmb.latent.losses import LOSSES
from fmb.latent.morph import Morphed, Stage
from fmb.latent.placed import Placed
from fmb.machine import Clock, write_columns
from fmb.options import NONE
from fmb.pictures import morph as drawn
from fmb.pictures.clouds import ball_of
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import Picture, page_picture
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.pictures.sheets import OPACITY, overlay_sheet, value_sheet
from fmb.shape.edges import Edges, mixture_from_edges
from fmb.tasks.capture_files import write_capture
from fmb.tasks.export import Subject, write_mixture
from fmb.tasks.made import made_by
from fmb.tasks.morph_targets import Aim, loss_name
from fmb.whole import METRICS

SAMPLES = 4_000  # of each surface that is measured
FRAMES, FRAMES_PER_SECOND = 40, 10.0  # of the film
COMPARING = LOSSES.keys() - {"volume"}  # losses that are least at the target
STUCK = 0.9  # IoU of silhouettes, below which a run says that the target was not reached
PERCENT = 100.0
PICTURES = {
    "target.png": "Target",
    "initialization.png": "Start against the target",
    "final.png": "End against the target",
    "codes.png": "Way through the space of codes",
    "course.png": "Course",
}


class Result(NamedTuple):
    """A morph with its target, and its surfaces at start and end in the frame of the morph."""

    config: Config
    aim: Aim
    found: Morphed
    start: trimesh.Trimesh
    end: trimesh.Trimesh
    space: Space | None

    @property
    def views(self) -> Views:
        """The target's views; every target has some."""
        return self.aim.target.views

    @property
    def source(self) -> str:
        """Name of the shape that was asked for as the start, or of the mixture's file."""
        if self.space is None:
            return Path(self.config.io.model_file).stem
        return self.space.names[0] if self.config.morph.source == NONE else self.config.morph.source


def write_results(result: Result, folder: Path, clock: Clock) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    with clock("export"):
        write_meshes(result, folder)
        columns = columns_of(result.found)
        write_columns(folder / "code_path.csv", columns)
        machine.write_text(folder / "config.yaml", to_yaml(result.config))
        if result.aim.mesh is not None:  # else the views are those of a capture
            write_capture(folder, {"target": result.views}, result.aim.frame)
    with clock("evaluate"):
        metrics = measured(result)
    with clock("figures"):
        draw(result, folder, columns)
    metrics["seconds"] = clock.seconds()
    machine.write_metrics(folder / METRICS, metrics)
    machine.write_metrics(folder / "log.json", {"stages": rows_of(columns), **metrics})
    if result.config.export.report:
        write_page(result, folder, metrics, columns)
    return metrics


def write_meshes(result: Result, folder: Path) -> None:
    """Start, end and, where it is known, the target, in the frame of the target's file; a mixture as model.npz, too."""
    kind = result.config.export.mesh
    named = {"start": result.start, "end": result.end, "target": result.aim.mesh}
    for name, mesh in named.items():
        if mesh is not None and kind != NONE:
            write_mesh(folder / f"{name}.{kind}", result.aim.frame.mesh_to_world(mesh))
    if isinstance(result.found.parameters, Edges):
        mixture = in_single(mixture_from_edges(result.found.parameters))
        facts = {"task": "morph", "unit": "the target's", "mesh": {"field": "density"}}
        write_mixture(folder / "model.npz", Subject(mixture, result.aim.frame), facts)


def columns_of(found: Morphed) -> dict[str, np.ndarray]:
    """A column of each number of the stages: step, loss, Euler number, evaluated nodes, and the code."""
    stages = found.stages
    columns = {
        "step": np.array([stage.step for stage in stages]),
        "loss": np.array([stage.loss for stage in stages]),
        "euler": np.array([stage.mesh.euler_number for stage in stages]),
        "points": np.array([stage.points for stage in stages]),
    }
    if not isinstance(stages[0].parameters, Placed):
        return columns
    for name in Placed._fields:
        values = np.stack([np.atleast_1d(np.asarray(getattr(s.parameters, name), float)) for s in stages])
        columns |= {f"{name}_{number}" if values.shape[1] > 1 else name: part for number, part in enumerate(values.T)}
    return columns


def rows_of(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The columns as rows."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def measured(result: Result) -> dict[str, Any]:
    """Silhouettes and topology at start and end, distances from the meshes that are known, and what it took."""
    found, options = result.found, result.config.morph
    facts: dict[str, Any] = {"task": "morph", "source": result.source, "target": result.aim.name}
    facts |= {"loss": loss_name(result.config), "fast": result.config.fast, "steps": options.morph_steps}
    facts |= {"first_loss": found.stages[0].loss, "least_loss": found.best.loss, "tried": list(found.tried)}
    for name, mesh in (("start", result.start), ("end", result.end)):
        facts[name] = {"iou": overlap(mesh, result.views), **topology(mesh)}
        for other, reference in (("target", result.aim.mesh), ("reference", result.aim.reference)):
            if reference is not None:
                facts[name] |= {f"chamfer_to_{other}": chamfer(mesh, reference)}
    if result.aim.reference is not None and result.aim.mesh is not None:
        facts["chamfer_of_target"] = chamfer(result.aim.mesh, result.aim.reference)
    facts["points_per_step"] = float(np.mean([stage.points for stage in found.stages]))
    facts["nodes"] = (options.morph_cells + 1) ** 3
    facts["share_of_nodes"] = facts["points_per_step"] / facts["nodes"]
    if COMPARING & set(facts["loss"].split("+")):  # others, as a user's own, may well end elsewhere
        facts["reached"] = facts["end"]["iou"] >= STUCK
    if isinstance(found.parameters, Placed):
        facts["code"] = np.asarray(found.parameters.code)
        facts |= nearest_shape(result.space, np.asarray(found.parameters.code, float))
    facts["frame"] = {"centre": result.aim.frame.centre, "longest_side": float(result.aim.frame.scale)}
    return facts


def chamfer(mesh: trimesh.Trimesh, reference: trimesh.Trimesh) -> float:
    """Exact Chamfer distance in longest sides of the reference: `compare`'s, without its other measures."""
    generator = np.random.default_rng(0)
    parts = (sampled(part, SAMPLES, generator) for part in (mesh, reference))
    return summary_of(exact_sides(*parts), float(np.ptp(reference.bounds, axis=0).max()), THRESHOLD)["chamfer"]


def overlap(mesh: trimesh.Trimesh, views: Views) -> float:
    """IoU of the mesh's silhouettes with the target's."""
    return iou(cast_silhouettes(mesh, views.cameras, views.silhouette.shape[1:]), views.silhouette, views.valid)


def nearest_shape(space: Space, code: np.ndarray) -> dict[str, Any]:
    """The shape of the space with the nearest code, and the distance, in distances of the space's own neighbours."""
    away = np.linalg.norm(space.codes - code, axis=1)
    apart = np.linalg.norm(space.codes[:, None] - space.codes[None], axis=2)
    unit = float(np.median(np.where(apart > 0.0, apart, np.inf).min(axis=1)))
    return {"nearest_shape": space.names[int(np.argmin(away))], "code_distance": float(away.min()) / unit}


def draw(result: Result, folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Target and start, the film, the course, and the way of the code."""
    views = result.views
    wanted = np.asarray(views.silhouette, float)
    draw_sheet(folder / "target.png", value_sheet("Target silhouettes", wanted, OPACITY))
    for name, mesh, words in (("initialization", result.start, "start"), ("final", result.end, "end")):
        seen = cast_silhouettes(mesh, views.cameras, wanted.shape[1:]).astype(float)
        sheet = overlay_sheet(wanted, seen)
        legend = {key.replace("the fit", f"the {words}"): color for key, color in sheet.legend.items()}
        draw_sheet(folder / f"{name}.png", sheet._replace(title=f"Target against the {words}", legend=legend))
    drawn.draw_course(folder / "course.png", columns)
    if isinstance(result.found.parameters, Placed):
        way = np.stack([np.asarray(stage.parameters.code, float) for stage in result.found.stages])
        named = dict(zip(result.space.names, result.space.codes, strict=True))
        drawn.draw_codes(folder / "codes.png", named, way)
    write_film(result, folder)


def write_film(result: Result, folder: Path) -> None:
    """movie.gif and movie.mp4: some of the stages, more of them at the beginning, where most happens."""
    stages = result.found.stages
    last = len(stages) - 1
    chosen = np.unique(np.round(last * np.linspace(0.0, 1.0, min(FRAMES, last + 1)) ** 1.5).astype(int))
    shots = [shot(stages[number], last) for number in chosen]
    ball = ball_of(trimesh.util.concatenate([result.start, result.end]))
    frames = drawn.film_of_morph(shots, drawn.pull_scale(shots), result.views, ball)
    write_gif(folder / "movie.gif", frames, 1.0 / FRAMES_PER_SECOND, 0.0)
    write_video(folder / "movie.mp4", frames, FRAMES_PER_SECOND)


def shot(stage: Stage, total: int) -> drawn.Shot:
    """The stage as a frame shows it."""
    words = f"step {stage.step} of {total}   loss {stage.loss:.4f}   Euler number {stage.mesh.euler_number}"
    return drawn.Shot(stage.mesh, stage.pull, words)


def write_page(result: Result, folder: Path, metrics: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> None:
    """The page of numbers and pictures, with a view to turn."""
    frame, views = result.aim.frame, result.views
    world = views._replace(cameras=frame.cameras_to_world(views.cameras))
    reference = None if result.aim.mesh is None else frame.mesh_to_world(result.aim.mesh)
    page = PageScene(None, views=world, mesh=frame.mesh_to_world(result.end), reference=reference)
    steps = columns["step"].astype(float)
    part = jnp.asarray(steps / max(steps[-1], 1.0))
    rates = result.config.morph.morph_rate * np.asarray(SCHEDULES["cosine"](part), float)
    history = History(np.arange(1, len(steps) + 1), columns["loss"], rates)
    title = f"{metrics['source']} to {metrics['target']}" if result.space is not None else metrics["target"]
    report = Report(
        *(title, f"morph by the loss {metrics['loss']}", page, highlights(metrics), {}, history),
        *(pictures_in(folder), metrics, "Loss on vertices", made_by(result.config)),
    )
    write_report(folder / "report.html", report)


def pictures_in(folder: Path) -> list[Picture]:
    """The pictures of the run with their captions."""
    from PIL import Image

    pictures = []
    for name, caption in PICTURES.items():
        if (folder / name).is_file():
            with Image.open(folder / name) as image:
                pictures.append(page_picture(caption, np.asarray(image.convert("RGB"))))
    return pictures


def highlights(metrics: Mapping[str, Any]) -> list[Highlight]:
    """The numbers that stand out."""
    start, end = metrics["start"], metrics["end"]
    shown = [Highlight("IoU of the silhouettes", f"{end['iou']:.3f}", f"{start['iou']:.3f} before")]
    shown.append(Highlight("Euler number", str(end["euler"]), f"{start['euler']} before"))
    for name in ("target", "reference"):
        if f"chamfer_to_{name}" in end:
            value, before = (PERCENT * part[f"chamfer_to_{name}"] for part in (end, start))
            shown.append(Highlight(f"Chamfer distance to the {name}", f"{value:.2f} %", f"{before:.1f} % before"))
    share = f"{PERCENT * metrics['share_of_nodes']:.3g} % of the grid"
    shown.append(Highlight("nodes a step", f"{metrics['points_per_step']:.0f}", share))
    shown.append(Highlight("seconds", f"{metrics['seconds']['total']:.1f}"))
    return shown


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """What a run says at its end."""
    start, end = metrics["start"], metrics["end"]
    words = f"silhouettes: IoU {start['iou']:.3f} to {end['iou']:.3f}; Euler number {start['euler']} to {end['euler']}"
    for name in ("target", "reference"):
        if f"chamfer_to_{name}" in end:
            words += f"; Chamfer distance to the {name} {PERCENT * start[f'chamfer_to_{name}']:.2f} "
            words += f"to {PERCENT * end[f'chamfer_to_{name}']:.2f} % of the longest side"
    lines = [words]
    if "chamfer_of_target" in metrics:
        lines.append(f"the decoder's own surface of the target: {PERCENT * metrics['chamfer_of_target']:.2f} %")
    if not metrics.get("reached", True):
        hint = "stuck, or outside of what the space can show; try more --morph-views or --morph-starts"
        lines.append(f"note: the target was not reached (residual: IoU {end['iou']:.3f}): {hint}")
    share = f"{PERCENT * metrics['share_of_nodes']:.3g} %"
    lines.append(f"{metrics['points_per_step']:.0f} nodes a step of {metrics['nodes']} ({share})")
    return [*lines, f"{metrics['seconds']['total']:.1f} s"]
