"""Task `compare`: two shapes -> all measures of how well they agree, pictures of where they do not, and a page."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import PROGRAM, Config
from fmb.files.mesh_output import write_mesh
from fmb.files.points import write_points
from fmb.files.shapes import read_shape
from fmb.geometry import comparison
from fmb.geometry.alignment import ALIGNMENTS, Motion
from fmb.geometry.cloud import Cloud
from fmb.geometry.comparison import Shape, Worst, check_frames, check_units, with_worst
from fmb.geometry.metrics import POINTS
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.pictures import comparison as drawn
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.tasks.made import made_by
from fmb.tasks.shell import check_before, task_folder
from fmb.whole import METRICS, whole_folder

PERCENT = 100.0
ROWS = {  # of the page's table
    "chamfer": "Chamfer (mean-mean)",
    "max_mean": "larger mean (max-mean)",
    "hausdorff": "Hausdorff (max-max)",
    "from_reference": "reference to first shape, mean",
    "to_reference": "first shape to reference, mean",
    "farthest_from_reference": "reference to first shape, largest",
    "farthest_to_reference": "first shape to reference, largest",
}


class Pair(NamedTuple):
    """Two shapes in one frame, what was done to the first, their names, and the worst points of each."""

    first: Shape
    second: Shape
    motion: Motion
    names: tuple[str, str]
    worst: tuple[Worst, Worst]


def compare(config: Config, clock: Clock) -> None:
    """Two shapes -> metrics.json, pictures, a page and, where it was moved, the first shape as it was compared."""
    files = config.io.shape_file, config.io.reference_file
    if NONE in files:
        raise ValueError(f"compare needs two files: {PROGRAM} compare mesh.ply truth.obj")
    place = task_folder(config)
    check_before(config, place)
    with whole_folder(place) as folder:
        with clock("load"):
            choose_device(config.cpu)
            first, second = (read_shape(file, config.export) for file in files)
        with clock("align"):
            first, motion = placed(config, first, second)
        with clock("evaluate"):
            seed, threshold = config.random_seed, config.comparison.f_threshold
            found = comparison.compared(first, second, POINTS, seed, None, threshold)
            worst = comparison.worst_pairs(found, first, second)
            found = found._replace(record=with_worst(found.record, *worst))
        pair = Pair(first, second, motion, names_of(*files), worst)
        metrics = write_all(config, pair, found, folder, clock)
    tell(*summary(metrics), f"numbers, pictures and page in {place}/")


def placed(config: Config, first: Shape, second: Shape) -> tuple[Shape, Motion]:
    """The first shape in the unit and the frame in which it is compared, and the motion to there.

    Raises ValueError, before any work, where units differ, and where frames do and nothing is to be aligned.
    """
    first, align = moved(first, lambda points: config.comparison.length_factor * points), config.comparison.align
    checks = check_frames if align == NONE else check_units
    try:
        checks(first.bounds, second.bounds)
    except ValueError as error:
        hint = "--length-factor changes the first shape's unit, --align icp its frame"
        raise ValueError(f"{config.io.shape_file} and {config.io.reference_file}: {error}; {hint}") from None
    motion = ALIGNMENTS[align](first, second, np.random.default_rng(config.random_seed))
    return (first if align == NONE else moved(first, motion, motion.rotation)), motion


def moved(shape: Shape, motion: Any, rotation: np.ndarray | None = None) -> Shape:
    """A copy of the shape with its points moved, and its normals turned."""
    if isinstance(shape, Cloud):
        turned = shape.normal if shape.normal is None or rotation is None else shape.normal @ rotation.T
        return shape._replace(point=motion(np.asarray(shape.point, float)), normal=turned)
    copy = shape.copy()
    copy.vertices = motion(np.asarray(shape.vertices, float))
    return copy


def names_of(first: str, second: str) -> tuple[str, str]:
    """What the shapes are called: their files, with their folders where these have one name."""
    paths = Path(first), Path(second)
    same = paths[0].name == paths[1].name
    names = [f"{path.resolve().parent.name}/{path.name}" if same else path.name for path in paths]
    return names[0], names[1]


def write_all(config: Config, pair: Pair, found: comparison.Compared, folder: Path, clock: Clock) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    facts = {"task": "compare", "first": kind_of(pair.first), "second": kind_of(pair.second)}
    facts |= {"align": config.comparison.align, "length_factor": config.comparison.length_factor}
    facts |= {"moved_by": pair.motion.matrix()}
    with clock("export"):
        machine.write_text(folder / "config.yaml", to_yaml(config))
        if config.comparison.align != NONE:
            write_aligned(pair.first, folder)
    with clock("figures"):
        ball, unit = drawn.ball_of((pair.first, pair.second)), found.record["unit"]
        parts = [drawn.painted(*both, ball, unit) for both in ((pair.first, pair.second), (pair.second, pair.first))]
        draw_sheet(folder / "01_errors.png", drawn.compared_sheet(parts, pair.worst, pair.names, ball))
        draw_sheet(folder / "02_both.png", drawn.overlay_sheet(parts, pair.names, ball))
        threshold = found.record["threshold"]
        drawn.draw_shares(folder / "03_shares.png", found.exact, found.floor, unit, threshold)
    metrics = {**facts, "errors": found.record, "seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    if config.export.report:
        write_page(pair, metrics, drawn.layers_of(parts, pair.worst, pair.names, ball), config, folder)
    return metrics


def write_aligned(shape: Shape, folder: Path) -> Path:
    """The first shape as it was compared."""
    if isinstance(shape, Cloud):
        return write_points(folder / "aligned.ply", shape)
    return write_mesh(folder / "aligned.ply", shape)


def kind_of(shape: Shape) -> dict[str, Any]:
    """What a shape is, and its size."""
    size = {"longest_side": float(np.ptp(shape.bounds, axis=0).max())}
    if isinstance(shape, Cloud):
        return {"kind": "points", "points": len(shape.point), **size}
    return {"kind": "mesh", "faces": len(shape.faces), **size}


def write_page(pair: Pair, metrics: dict[str, Any], layers: list, config: Config, folder: Path) -> None:
    """The page of numbers and pictures, with a view to turn."""
    errors = metrics["errors"]
    note = f"compared with {pair.names[1]}; lengths in % of its longest side, {errors['unit']:.4g}; "
    note += f"aligned: {metrics['align']}"
    table = {
        words: {kind: f"{PERCENT * errors[kind][name]:.4g} %" for kind in ("exact", "sampled", "floor")}
        for name, words in ROWS.items()
    }
    table["F-score"] = {kind: f"{errors[kind]['f_score']:.4f}" for kind in ("exact", "sampled", "floor")}
    if "normal_degrees" in errors["exact"]:
        table["normals, mean angle"] = {
            kind: f"{errors[kind]['normal_degrees']:.2f}\N{DEGREE SIGN}" for kind in ("exact", "sampled", "floor")
        }
    report = Report(
        pair.names[0],
        note,
        PageScene(None, layers=layers),
        highlights(metrics),
        table,
        None,
        read_pictures(folder),
        metrics,
        made=made_by(config),
    )
    write_report(folder / "report.html", report)


def highlights(metrics: dict[str, Any]) -> list[Highlight]:
    """The numbers that stand out."""
    errors = metrics["errors"]
    exact, floor = errors["exact"], f"floor between samples {PERCENT * errors['floor']['chamfer']:.3f} %"
    shown = [
        Highlight("Chamfer distance", f"{PERCENT * exact['chamfer']:.3f} %", f"exact; {floor}"),
        Highlight("Hausdorff distance", f"{PERCENT * exact['hausdorff']:.2f} %", "largest of both directions"),
        Highlight("F-score", f"{exact['f_score']:.3f}", f"within {PERCENT * errors['threshold']:g} %"),
    ]
    if "normal_degrees" in exact:
        shown.append(Highlight("normals", f"{exact['normal_degrees']:.1f}\N{DEGREE SIGN}", "mean angle"))
    if "voxel_iou" in errors:
        shown.append(Highlight("voxel IoU", f"{errors['voxel_iou']:.3f}", "cells of 1/100 of the diagonal"))
    return shown


def summary(metrics: dict[str, Any]) -> list[str]:
    """What a run says at its end."""
    errors = metrics["errors"]
    exact, sampled_, floor = errors["exact"], errors["sampled"], errors["floor"]
    lines = [
        f"Chamfer {PERCENT * exact['chamfer']:.3f} %, max-mean {PERCENT * exact['max_mean']:.3f} %, Hausdorff "
        f"{PERCENT * exact['hausdorff']:.2f} % of the reference's longest side, {errors['unit']:.4g}; between samples "
        f"{PERCENT * sampled_['chamfer']:.3f} % (floor {PERCENT * floor['chamfer']:.3f} %)"
    ]
    words = [f"F-score {exact['f_score']:.4f} within {PERCENT * errors['threshold']:g} %"]
    if "normal_degrees" in exact:
        words.append(f"normals {exact['normal_degrees']:.2f} degrees")
    if "voxel_iou" in errors:
        words.append(f"voxel IoU {errors['voxel_iou']:.4f}")
    lines.append(", ".join(words))
    for name, part in (("first", errors), ("reference", errors.get("reference", {}))):
        if "euler" in part:
            closed = "watertight" if part["watertight"] else "not watertight"
            count = f"{part['components']} piece{'s' * (part['components'] != 1)}"
            lines.append(f"{name}: Euler number {part['euler']}, {count}, {closed}")
    return lines
