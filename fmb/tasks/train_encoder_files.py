"""What task `train-encoder` leaves: the encoder, its errors on unseen shapes, tables, pictures, a film and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from fm_render import Cameras
from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.files.safe import read_arrays
from fmb.fit.checkpoints import columns_of
from fmb.fit.history import History
from fmb.machine import Clock, write_columns
from fmb.options import NONE
from fmb.pictures import single_view as drawn
from fmb.pictures.clouds import draw_terms, film_of
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.single_view.evaluation import Measured, evaluate, known_shapes, looked_at, mesh_of, summary
from fmb.single_view.layout import Layout
from fmb.single_view.network import Encoder, parameter_count
from fmb.single_view.prediction import blobs_from, render_numbers
from fmb.single_view.sights import BYTE, Collection, family_mesh, family_of, first_views, subset
from fmb.tasks.encoders import ENCODER, SIGHTS, write_encoder, write_sights
from fmb.tasks.export import write_moving
from fmb.tasks.made import made_by
from fmb.tasks.unfinished import Unfinished
from fmb.whole import METRICS

SHOWN = 16  # shapes in the picture
FILM_SECONDS = 6.0
USUAL = 5.0  # percentile of the unseen shapes' own IoU: below it, an image is far from what was learnt


class Trained(NamedTuple):
    """A training, what it was made from, what it was measured with, and how it went."""

    config: Config
    layout: Layout
    encoder: Encoder
    seen: Collection
    unseen: Collection
    course: Mapping[str, np.ndarray]  # step, IoU and film frames of every look


def write_results(made: Trained, folder: Path, unfinished: Unfinished, clock: Clock) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    config = made.config
    with clock("evaluate"):
        truths = truths_of(made)
        measured = evaluate(made.encoder, made.layout, made.unseen, truths)
        write_columns(folder / "eval_metrics.csv", {"number": np.arange(len(measured[0])), **measured._asdict()})
    with clock("export"):
        history = write_training(made, unfinished, folder)
        facts = facts_of(made, measured, history)
        write_encoder(folder / ENCODER, made.encoder, made.layout, facts)
        machine.write_text(folder / "config.yaml", to_yaml(config))
        unfinished.hand_over(folder)
        if config.encoding.save_sights:
            write_sights(folder / SIGHTS, made.seen)
    with clock("figures"):
        draw_sheet(folder / "01_unseen_shapes.png", sheet_of(made.encoder, made.layout, made.unseen, measured))
        draw_terms(folder / "02_convergence.png", history, "")
        if config.export.film != NONE:
            write_moving(folder / f"film.{config.export.film}", film_of(list(made.course["frame"])), FILM_SECONDS)
    metrics = facts | {"seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    if config.export.report:
        write_page(made, history, metrics, folder)
    return metrics


def truths_of(made: Trained) -> dict[int, trimesh.Trimesh]:
    """The true meshes of the unseen shapes, by number, where they were made here."""
    found, seed = {}, made.config.random_seed
    for number, name in enumerate(made.unseen.names):
        known = family_of(name)
        if not made.config.several and known is not None:
            found[number] = family_mesh(known[0], seed, known[1])
    return found


def write_training(made: Trained, unfinished: Unfinished, folder: Path) -> dict[str, np.ndarray]:
    """All losses of every step, and the looks at unseen shapes, as tables."""
    columns = columns_of(read_arrays(unfinished.path(unfinished.steps()[-1])))
    history = {name: np.concatenate(parts) for name, parts in columns.items()}
    write_columns(folder / "train_metrics.csv", {"step": np.arange(1, len(history["loss"]) + 1), **history})
    looks = {name: made.course[name] for name in ("step", "input_iou", "novel_iou")}
    write_columns(folder / "looks.csv", looks)
    return history


def facts_of(made: Trained, measured: Measured, history: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What there is to tell of the run and its encoder."""
    facts = {"task": "train-encoder", "shapes": len(made.seen.names), "images": len(made.seen.sights.shape)}
    facts |= {"unseen_shapes": len(made.unseen.names), "steps": len(history["loss"]), "seed": made.config.random_seed}
    facts |= {"parameters": parameter_count(made.encoder), "layout": made.layout._asdict(), "mean": summary(measured)}
    low, median = np.percentile(measured.camera_iou, (USUAL, 50.0))
    facts["own_iou"] = {"low": float(low), "median": float(median)}  # what predict compares an image with
    kinds = [(family_of(name) or ("others", 0))[0] for name in made.unseen.names]
    if len(set(kinds)) > 1:
        rows = {kind: np.array([other == kind for other in kinds]) for kind in dict.fromkeys(kinds)}
        facts["families"] = {kind: summary(measured, some) for kind, some in rows.items()}
    return machine.plain(facts)


def pairs_of(collection: Collection, shapes: Sequence[int]) -> np.ndarray:
    """The first two sights of shapes, [shape, 2]."""
    first = first_views(collection)[np.asarray(shapes)]
    return np.stack([first, first + 1], axis=1)


def shown_of(encoder: Encoder, layout: Layout, collection: Collection, shapes: Sequence[int]) -> drawn.Shown:
    """What the encoder makes of shapes, as pictures."""
    numbers = known_shapes(encoder, layout, looked_at(encoder, layout, collection), collection)
    pairs = pairs_of(collection, shapes)
    sights = collection.sights
    cameras = Cameras(sights.world_from_camera[pairs], sights.intrinsics[pairs])
    seen = render_numbers(encoder, layout, numbers[np.asarray(shapes)], cameras)
    color, silhouette = sights.color[pairs] / BYTE, sights.silhouette[pairs].astype(float)
    return drawn.shown(color, silhouette, seen.color, seen.alpha)


def sheet_of(
    encoder: Encoder, layout: Layout, unseen: Collection, measured: Measured, most: int = SHOWN
) -> drawn.Sheet:
    """Some unseen shapes: image, prediction, and both from another side."""
    count = len(unseen.names)
    shapes = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()
    names = [(family_of(name) or (name,))[0] for name in unseen.names]
    labels = [f"{names[n]}: IoU {measured.input_iou[n]:.2f}, other views {measured.novel_iou[n]:.2f}" for n in shapes]
    note = "unseen shapes, left to right: image, prediction; from another side: prediction, truth"
    return drawn.prediction_sheet(shown_of(encoder, layout, unseen, shapes), labels, note)


def write_page(made: Trained, history: Mapping[str, np.ndarray], metrics: Mapping[str, Any], folder: Path) -> None:
    """The page of numbers and pictures, with a view to turn of the first unseen shape."""
    encoder, layout, first = made.encoder, made.layout, subset(made.unseen, [0])
    numbers = known_shapes(encoder, layout, looked_at(encoder, layout, first), first)[0]
    blobs, mesh = blobs_from(encoder, layout, numbers), mesh_of(encoder, layout, numbers)
    scene = PageScene(blobs.mixture, blobs.color, mesh=mesh, reference=truths_of(made).get(0))
    report = Report(
        "Encoder of shapes from one image",
        f"{metrics['shapes']} shapes, {metrics['images']} images; the view shows {made.unseen.names[0]}, unseen",
        scene,
        highlights(metrics),
        table(metrics),
        History(np.arange(1, len(history["loss"]) + 1), history["loss"], history["learning_rate"]),
        read_pictures(folder),
        metrics,
        "loss",
        made_by(made.config),
    )
    write_report(folder / "report.html", report)


def highlights(metrics: Mapping[str, Any]) -> list[Highlight]:
    """The numbers that stand out."""
    mean = metrics["mean"]
    found = [
        Highlight("mask IoU", f"{mean['input_iou']:.3f}", "unseen shapes, view that is given"),
        Highlight("mask IoU", f"{mean['novel_iou']:.3f}", "unseen shapes, other views"),
    ]
    if "voxel_iou" in mean:
        found.append(Highlight("voxel IoU", f"{mean['voxel_iou']:.3f}", "unseen shapes"))
    found.append(Highlight("turn of the camera", f"{mean['rotation_degrees']:.1f}°", "camera unknown, median"))
    return [*found, Highlight("parameters", f"{metrics['parameters']:,}")]


def table(metrics: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The table of the page: a row a family."""
    rows = metrics.get("families", {}) | {"all": metrics["mean"]}
    titles = {
        "input_iou": "mask IoU, given view", "novel_iou": "other views", "voxel_iou": "voxel IoU",
        "rotation_degrees": "turn, degrees", "best_rotation_degrees": "best hypothesis",
    }  # fmt: skip
    return {
        kind: {
            titles[name]: f"{row[name]:.1f}" if "degrees" in name else f"{row[name]:.3f}"
            for name in titles
            if name in row
        }
        for kind, row in rows.items()
    }
