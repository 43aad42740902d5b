"""What runs of task `points` have left, to compare them: their numbers, losses, and errors on the way."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fmb.files.door import refusing
from fmb.files.safe import read_json, read_text

Columns = Mapping[str, Float[np.ndarray, " row"]]
HEAD = ("run", "method", "points", "Chamfer, %", "Hausdorff, %", "normals, degrees", "points off, %")
HEAD += ("Euler number", "pieces", "seconds of the fit")


class Run(NamedTuple):
    """A run: the folder's name below the one searched, metrics.json, and columns of its two tables by name."""

    name: str
    metrics: Mapping[str, Any]
    steps: Columns  # train_metrics.csv
    checkpoints: Columns  # eval_metrics.csv, in the unit of the points


def find_runs(folder: Path) -> list[Run]:
    """The runs of `points` in a folder and all below it, by name. Raises ValueError where there is none."""
    found = []
    for path in sorted(folder.rglob("metrics.json")):
        metrics = read_json(path)
        if metrics.get("task") == "points" and path.with_name("train_metrics.csv").is_file():  # not a batch's record
            name = path.parent.resolve().relative_to(folder.resolve().parent).as_posix()
            name = name.removesuffix("/points").removeprefix(f"{folder.resolve().name}/")
            tables = (read_columns(path.with_name(f"{kind}_metrics.csv")) for kind in ("train", "eval"))
            found.append(Run(name, metrics, *tables))
    if not found:
        raise ValueError(f"{folder}: no results of points in this folder or below it")
    return found


def read_columns(path: Path) -> Columns:
    """The columns of a table of numbers by name; an empty cell is NaN. Raises ValueError that names the file."""
    with refusing(path, "no table of numbers"):
        head, *rows = csv.reader(read_text(path).splitlines(), strict=True)
        numbers = np.array([[float(cell or "nan") for cell in row] for row in rows]).reshape(len(rows), len(head))
    return dict(zip(head, numbers.T, strict=True))


def row_of(run: Run) -> tuple[str, ...]:
    """The run's line of a table below HEAD; what takes a reference is a dash without one."""
    metrics, errors = run.metrics, run.metrics["errors"]
    exact = errors.get("exact")
    against = (
        ("-", "-", "-")
        if exact is None
        else (f"{100 * exact['chamfer']:.3f}", f"{100 * exact['hausdorff']:.2f}", f"{exact['normal_degrees']:.1f}")
    )
    method = metrics["method"] + (f" {metrics['preset']}" if metrics["method"] != "metaballs" else "")
    numbers = f"{100 * errors['points_to_surface']:.3f}", str(metrics["euler"]), str(metrics["components"])
    return (run.name, method, f"{metrics['points']:,}", *against, *numbers, f"{metrics['seconds']['optimize']:.1f}")
