"""What task `learn` leaves: the space, reconstructions with their errors, tables, pictures and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from fmb import machine
from fmb.clouds.surface import extract
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.field import evaluated
from fmb.fields.latent import Space
from fmb.files.distances import write_distances
from fmb.files.mesh_output import write_mesh
from fmb.files.safe import read_arrays
from fmb.files.spaces import write_space
from fmb.fit.checkpoints import columns_of
from fmb.fit.loop import History
from fmb.geometry.comparison import compare, topology
from fmb.latent.samples import Samples
from fmb.machine import Clock, write_columns
from fmb.options import NONE
from fmb.pictures import spaces as drawn
from fmb.pictures.clouds import draw_terms
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.tasks.made import made_by
from fmb.tasks.unfinished import Unfinished
from fmb.whole import METRICS

PERCENT = 100.0
LINE, LINE_CELLS = 8, 64  # meshes along a line between two codes, and cells along their longest side


class Learnt(NamedTuple):
    """A training, what it was made from, and the meshes where there are some, each in its file's frame."""

    config: Config
    space: Space
    samples: list[Samples]
    meshes: list[trimesh.Trimesh | None]


def write_results(learnt: Learnt, folder: Path, unfinished: Unfinished, clock: Clock) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    config = learnt.config
    with clock("export"):
        found = reconstructions(learnt)
        write_space(folder, learnt.space)
        machine.write_text(folder / "config.yaml", to_yaml(config))
        unfinished.hand_over(folder)
        write_meshes(learnt, found, folder)
        history = write_training(unfinished, folder)
    with clock("evaluate"):
        rows = [row(learnt, number, found[number]) for number in range(len(found))]
        write_table(folder / "eval_metrics.csv", rows)
    with clock("figures"):
        draw(learnt, found, rows, folder)
        draw_terms(folder / "04_convergence.png", history)
    metrics = facts_of(learnt, rows, history) | {"seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    if config.export.report:
        write_page(learnt, found, history, metrics, folder)
    return metrics


def reconstructions(learnt: Learnt) -> list[trimesh.Trimesh | None]:
    """The surface of every shape's code, in its canonical frame; None where there is none.

    Raises ValueError where there is none of any.
    """
    found = []
    with machine.progress_bar("surfaces") as on_progress:
        for number, code in enumerate(learnt.space.codes):
            found.append(surface(learnt.space, code, learnt.config.space.learn_resolution))
            on_progress(number + 1, len(learnt.samples), np.nan)
    if not any(mesh is not None for mesh in found):
        raise ValueError("no shape has a surface after the training; try more learn_steps or a smaller decoder_rate")
    return found


def surface(space: Space, code: np.ndarray, cells: int) -> trimesh.Trimesh | None:
    """The surface of a code; None where there is none."""
    try:
        return extract(space.field(code), cells)
    except ValueError:
        return None


def write_meshes(learnt: Learnt, found: list[trimesh.Trimesh | None], folder: Path) -> None:
    """Every reconstruction in the frame of its file, and the samples where they are wanted."""
    config = learnt.config
    for part, mesh in zip(learnt.samples, found, strict=True):
        if mesh is not None and config.export.mesh != NONE:
            (folder / "meshes").mkdir(exist_ok=True)
            write_mesh(folder / "meshes" / f"{part.name}.{config.export.mesh}", part.frame.mesh_to_world(mesh))
        if config.space.save_samples:
            (folder / "samples").mkdir(exist_ok=True)
            write_distances(folder / "samples" / f"{part.name}.npz", part.pos, part.neg)


def write_training(unfinished: Unfinished, folder: Path) -> dict[str, np.ndarray]:
    """The terms of every step, as a table."""
    columns = columns_of(read_arrays(unfinished.path(unfinished.steps()[-1])))
    history = {name: np.concatenate(parts) for name, parts in columns.items()}
    write_columns(folder / "train_metrics.csv", {"step": np.arange(1, len(history["loss"]) + 1), **history})
    return history


def row(learnt: Learnt, number: int, mesh: trimesh.Trimesh | None) -> dict[str, Any]:
    """How well a shape came back; lengths in its longest sides."""
    part, truth = learnt.samples[number], learnt.meshes[number]
    places = np.concatenate([part.pos, part.neg])
    value = evaluated(learnt.space.field(learnt.space.codes[number]), places[:, :3])
    clamp = learnt.config.space.clamp
    record = {
        "shape": part.name,
        "code_length": float(np.linalg.norm(learnt.space.codes[number])),
        "distance_error": float(np.mean(np.abs(value - np.clip(places[:, 3], -clamp, clamp)))),
        "wrong_side": float(np.mean((value > 0.0) != (places[:, 3] > 0.0))),
    }
    if mesh is None:
        return record
    own = topology(mesh)
    record |= {"euler": own["euler"], "components": own["components"]}
    if truth is None:
        return record
    errors = compare(part.frame.mesh_to_world(mesh), truth)
    return record | {
        "chamfer": errors["sampled"]["chamfer"],
        "chamfer_floor": errors["floor"]["chamfer"],
        "exact_chamfer": errors["exact"]["chamfer"],
        "exact_hausdorff": errors["exact"]["hausdorff"],
        "normal_degrees": errors["exact"]["normal_degrees"],
        "voxel_iou": errors["voxel_iou"],
        "reference_euler": errors["reference"]["euler"],
        "reference_components": errors["reference"]["components"],
    }


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """A line a shape, by its number; names stand in metrics.json, since tables hold numbers."""
    names = list(dict.fromkeys(name for entry in rows for name in entry if name != "shape"))
    columns = {name: np.array([entry.get(name, np.nan) for entry in rows], float) for name in names}
    write_columns(path, {"number": np.arange(1, len(rows) + 1), **columns})


def facts_of(learnt: Learnt, rows: list[dict[str, Any]], history: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What there is to tell of the run and its space."""
    samples = [len(part.pos) + len(part.neg) for part in learnt.samples]
    facts = {"task": "learn", "shapes": list(learnt.space.names), "samples": samples}
    facts |= {"steps": len(history["loss"]), "network": learnt.space.shape._asdict(), "errors": rows}
    return facts | {"mean": {name: mean(rows, name) for name in ("chamfer", "chamfer_floor", "exact_chamfer")}}


def mean(rows: list[dict[str, Any]], name: str) -> float:
    """The mean over the shapes of which it is known; NaN where it is of none."""
    known = [entry[name] for entry in rows if name in entry]
    return float(np.mean(known)) if known else float("nan")


def draw(learnt: Learnt, found: list[trimesh.Trimesh | None], rows: list[dict[str, Any]], folder: Path) -> None:
    """Truth beside reconstruction, the codes, and meshes between the first two shapes."""
    space = learnt.space
    truths = [
        None if mesh is None else part.frame.mesh_to_canonical(mesh)
        for part, mesh in zip(learnt.samples, learnt.meshes, strict=True)
    ]
    labels = [label(entry) for entry in rows]
    draw_sheet(folder / "01_reconstructions.png", drawn.reconstruction_sheet(truths, found, labels))
    drawn.draw_codes(folder / "02_codes.png", space.codes, space.names, found, (0, 1))
    shares = [step / (LINE - 1) for step in range(LINE)]
    between = [surface(space, (1 - share) * space.codes[0] + share * space.codes[1], LINE_CELLS) for share in shares]
    draw_sheet(folder / "03_line.png", drawn.line_sheet(between, shares, (space.names[0], space.names[1])))


def label(entry: Mapping[str, Any]) -> str:
    """A shape's name and errors in a line."""
    words = entry["shape"]
    if "euler" not in entry:
        return f"{words}: no surface"
    if "chamfer" in entry:
        words += f": Chamfer {PERCENT * entry['exact_chamfer']:.3f} %, Euler {entry['euler']}"
        return words + ("" if topology_right(entry) else f", should be {entry['reference_euler']}")
    return f"{words}: Euler {entry['euler']}"


def topology_right(entry: Mapping[str, Any]) -> bool:
    """Whether Euler number and number of pieces are those of the mesh."""
    return all(entry.get(name) == entry.get(f"reference_{name}") for name in ("euler", "components"))


def write_page(
    learnt: Learnt,
    found: list[trimesh.Trimesh | None],
    history: Mapping[str, np.ndarray],
    metrics: Mapping[str, Any],
    folder: Path,
) -> None:
    """The page of numbers and pictures, with a view to turn of the first shape."""
    count, terms = len(learnt.samples), history
    first = next(number for number, mesh in enumerate(found) if mesh is not None)
    scene = PageScene(
        None, mesh=learnt.samples[first].frame.mesh_to_world(found[first]), reference=learnt.meshes[first]
    )
    report = Report(
        "Space of shapes",
        f"{count} shapes; the view shows {learnt.space.names[first]}",
        scene,
        highlights(metrics),
        table(metrics["errors"]),
        History(np.arange(1, len(terms["loss"]) + 1), terms["loss"], terms["learning_rate"]),
        read_pictures(folder),
        metrics,
        "loss, longest sides",
        made_by(learnt.config),
    )
    write_report(folder / "report.html", report)


def highlights(metrics: Mapping[str, Any]) -> list[Highlight]:
    """The numbers that stand out."""
    shown, rows = [], metrics["errors"]
    measured = [entry for entry in rows if "chamfer" in entry]
    if measured:
        value = metrics["mean"]["exact_chamfer"]
        shown.append(Highlight("Chamfer distance", f"{PERCENT * value:.3f} %", "exact, mean over shapes, of a side"))
        right = sum(map(topology_right, measured))
        shown.append(Highlight("right topology", f"{right} of {len(measured)}", "Euler number and pieces"))
    shown.append(Highlight("numbers in a code", str(metrics["network"]["code"])))
    shown.append(Highlight("seconds", f"{metrics['seconds']['total']:.1f}"))
    return shown


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The table of the page: a row a shape."""
    made = {}
    for entry in rows:
        cells = {"Euler number": str(entry.get("euler", "no surface"))}
        if "chamfer" in entry:
            cells["of the mesh"] = str(entry["reference_euler"])
            for name, title in (
                ("chamfer", "Chamfer, samples"),
                ("chamfer_floor", "floor"),
                ("exact_chamfer", "exact"),
            ):
                cells[title] = f"{PERCENT * entry[name]:.3f} %"
        made[entry["shape"]] = cells
    return made


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """What a run says at its end."""
    lines = [label(entry) for entry in metrics["errors"]]
    if np.isfinite(metrics["mean"]["chamfer"]):
        exact, sampled, floor = (PERCENT * metrics["mean"][n] for n in ("exact_chamfer", "chamfer", "chamfer_floor"))
        lines.append(
            f"mean Chamfer {exact:.3f} % of the longest side; between samples {sampled:.3f} % (floor {floor:.3f} %)"
        )
    return [*lines, f"{metrics['seconds']['total']:.1f} s"]
