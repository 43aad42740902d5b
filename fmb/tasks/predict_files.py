"""What task `predict` leaves: the model, its surface, its camera, pictures, numbers and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fm_render import Cameras
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.looks import look
from fmb.fields.mixtures import in_single
from fmb.files.captures.plain import write_cameras
from fmb.files.meshes import read_mesh
from fmb.geometry.comparison import voxel_iou
from fmb.geometry.frames import Frame
from fmb.geometry.images import view_ious
from fmb.geometry.views import Views
from fmb.machine import Clock
from fmb.options import NONE
from fmb.pictures import single_view as drawn
from fmb.pictures.clouds import ball_of, looks
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.single_view.blobs import Blobs
from fmb.single_view.families import unit_ball
from fmb.single_view.prediction import Ranked
from fmb.tasks.export import Subject, export, surface_facts, with_mesh, write_mixture
from fmb.tasks.made import made_by
from fmb.tasks.textures import write_texture
from fmb.whole import METRICS

FAR = "far from what the encoder has learnt: believe the shape little"
MIDDLING = "less well than most of what the encoder has learnt: look before you believe the shape"
NEAR = "as well as most of what the encoder has learnt"
SIDE = 256  # pixels of the picture's panels
TURNS = 4


class Predicted(NamedTuple):
    """A prediction in the unit ball, its cameras, and what it was made from; `refined` after a fit, else None."""

    blobs: Blobs
    assignment: Float[np.ndarray, " mean"]
    ranked: Ranked
    color: Float[np.ndarray, "size size 3"]
    silhouette: Bool[np.ndarray, "size size"]
    colored: bool
    given: bool  # whether the camera was told
    refined: Blobs | None = None
    fine: Views | None = None  # what a texture takes its colours from, beside those of the components

    @property
    def result(self) -> Blobs:
        """The refined shape, or the predicted one."""
        return self.blobs if self.refined is None else self.refined

    def camera(self) -> Cameras:
        """The first camera, alone."""
        return Cameras(*(np.asarray(field)[:1] for field in self.ranked.cameras))

    def views(self) -> Views:
        """The square as a view from the first camera."""
        color = self.color[None].astype(np.float32)
        return Views(self.camera(), self.silhouette[None].astype(np.float32), color=color)


def write_results(
    config: Config, found: Predicted, training: Mapping[str, Any], folder: Path, clock: Clock
) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    facts = facts_of(found, training)
    with clock("export"):
        frame = Frame(np.zeros(3), np.asarray(1.0))
        result = found.result
        subject = Subject(in_single(result.mixture), frame, np.asarray(result.color), found.views())
        subject = with_mesh(subject, config.export)
        facts |= {**surface_facts(subject, None, config.random_seed), **against(config, subject)}
        write_mixture(folder / "model.npz", subject, facts)
        size = found.silhouette.shape
        write_cameras(
            folder / "cameras.json", found.camera(), size, (Path(config.io.image_file).name,), np.zeros(1, bool)
        )
        machine.write_text(folder / "config.yaml", to_yaml(config))
        export(subject, config.export, folder)
        if config.prediction.texture:
            write_texture(subject, found.fine, config.prediction.texture, folder)
    with clock("figures"):
        draw_sheet(folder / "01_prediction.png", sheet(found, subject, facts))
    metrics = facts | {"seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    if config.export.report:
        write_page(config, found, subject, metrics, folder)
    return metrics


def facts_of(found: Predicted, training: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to tell: cameras, mean shapes, and how the own silhouette compares with those of the training."""
    own = float(found.ranked.iou[0])
    facts: dict[str, Any] = {"task": "predict", "own_iou": own, "camera_given": found.given}
    facts["hypotheses"] = [
        {"iou": float(iou), "log_probability": float(score)}
        for iou, score in zip(found.ranked.iou, found.ranked.score, strict=True)
    ]
    facts |= {"mean_shapes": found.assignment, "num_mixtures": len(found.result.color)}
    usual = training.get("own_iou")
    if isinstance(usual, dict) and all(isinstance(usual.get(name), float) for name in ("low", "median")):
        facts |= {"usual_iou": usual, "verdict": verdict_of(own, usual)}
    if found.refined is not None:
        seen = look(in_single(found.refined.mixture), found.camera(), found.silhouette.shape).alpha
        facts["refined_iou"] = float(view_ious(seen, found.silhouette[None].astype(float))[0])
    return facts


def verdict_of(own: float, usual: Mapping[str, float]) -> str:
    """What the IoU of the own silhouette says: against the fifth percentile and the median of unseen shapes."""
    return FAR if own < usual["low"] else MIDDLING if own < usual["median"] else NEAR


def against(config: Config, subject: Subject) -> dict[str, Any]:
    """The IoU with the true solid, brought into the unit ball, where one is given."""
    path = config.cloud.reference_mesh
    if path == NONE or subject.mesh is None:
        return {}
    truth = read_mesh(path)
    return {"voxel_iou": voxel_iou(subject.mesh, unit_ball(truth).mesh_to_canonical(truth))}


def sheet(found: Predicted, subject: Subject, facts: Mapping[str, Any]) -> drawn.Sheet:
    """The square, what the shape looks like there, and from all around."""
    seen = look(subject.mixture, found.camera(), found.silhouette.shape)
    words = [
        f"image, {found.silhouette.shape[1]} pixels",
        f"masks, IoU {facts.get('refined_iou', facts['own_iou']):.3f}",
    ]
    around = [] if subject.mesh is None else list(looks(subject.mesh, ball_of(subject.mesh), TURNS, SIDE))
    words += [f"{360 * turn // TURNS}° around" for turn in range(len(around))]
    note = facts.get("verdict", "the encoder does not tell what is usual")
    if "usual_iou" in facts:
        usual = facts["usual_iou"]
        note = f"own silhouette {facts['own_iou']:.3f}, of unseen shapes {usual['median']:.3f} in the median; {note}"
    return drawn.shape_sheet(found.color, found.silhouette, seen.alpha[0], around, words, note)


def write_page(config: Config, found: Predicted, subject: Subject, metrics: Mapping[str, Any], folder: Path) -> None:
    """The page of numbers and pictures, with a view to turn."""
    scene = PageScene(subject.mixture, subject.color, subject.views, subject.mesh)
    shown = [Highlight("mask IoU", f"{metrics['own_iou']:.3f}", "of its own silhouette")]
    if "usual_iou" in metrics:
        shown.append(Highlight("usual", f"{metrics['usual_iou']['median']:.3f}", metrics["verdict"]))
    if "refined_iou" in metrics:
        shown.append(Highlight("mask IoU", f"{metrics['refined_iou']:.3f}", "after the fit to it"))
    if "voxel_iou" in metrics:
        shown.append(Highlight("voxel IoU", f"{metrics['voxel_iou']:.3f}", "with the reference"))
    rows = {
        str(number): {"IoU": f"{row['iou']:.3f}", "probability": f"{np.exp(row['log_probability']):.3f}"}
        for number, row in enumerate(metrics["hypotheses"])
    }
    name, note = Path(config.io.image_file).name, f"{metrics['num_mixtures']} components; cameras in their order"
    pictures, made = read_pictures(folder), made_by(config)
    report = Report(f"Shape of {name}", note, scene, shown, rows, None, pictures, metrics, made=made)
    write_report(folder / "report.html", report)


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """What a run says at its end."""
    lines = [f"own silhouette: IoU {metrics['own_iou']:.3f}"]
    if "usual_iou" in metrics:
        lines[0] += f", of unseen shapes {metrics['usual_iou']['median']:.3f} in the median; {metrics['verdict']}"
    if "refined_iou" in metrics:
        lines.append(f"after the fit to it: IoU {metrics['refined_iou']:.3f}")
    if "voxel_iou" in metrics:
        lines.append(f"voxel IoU with the reference {metrics['voxel_iou']:.3f}")
    return [*lines, machine.seconds_told(metrics["seconds"])]
