"""Meshes of fitted mixtures against the meshes they were fitted to views of.

    python -m benchmarks.bench_mesh --models ../shared/data/models [--names bunny ...] [--seed 0]
        [--fields hull density] [--resolution 128] [--results docs/results/mesh.md]

Each mesh is fitted as in table 3: 32 clean silhouettes of 64 x 64, 40 components, nothing else. Then each way to make a
mesh of the mixture (FIELDS) is judged on 32 unseen views and against the surface of the reference.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.study import provenance, table, told
from benchmarks.table3.methods import Settings
from benchmarks.table3.runs import canonical, clean_data
from fm_render import Mixture
from fmb.fields.looks import look
from fmb.fields.metaballs import FIELDS, MeshOptions, mesh_iou, mesh_mixture
from fmb.geometry.metrics import MeshErrors, iou, mesh_errors
from fmb.geometry.views import Views
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_shape
from fmb.shape.start import start_mixture

PAPER = ("arma", "buddha", "bunny", "dragon", "eiffel", "gear", "human", "lucy", "plane", "yoga")


class Row(NamedTuple):
    """What became of one model by one field."""

    name: str
    field: str
    mixture_iou: float
    mesh_iou: float
    errors: MeshErrors
    level: float
    faces: int
    watertight: bool
    seconds: float


def measure_mesh(name: str, field: str, mixture: Mixture, data: tuple[Views, Views, Path], resolution: int) -> Row:
    """The mesh of the mixture by that field, its level searched for with the training views."""
    train, unseen, path = data
    seen = look(mixture, unseen.cameras, unseen.silhouette.shape[1:])
    start = time.perf_counter()
    made = mesh_mixture(mixture, MeshOptions(field=field, resolution=resolution), train)
    seconds = time.perf_counter() - start
    return Row(
        name,
        field,
        iou(seen.alpha, unseen.silhouette),
        mesh_iou(made.mesh, unseen),
        mesh_errors(made.mesh, canonical(path), np.random.default_rng(0)),
        made.level,
        len(made.mesh.faces),
        made.mesh.is_watertight,
        seconds,
    )


def rows_table(rows: list[Row]) -> str:
    """One line a model, and the mean, for each field."""
    head = ("", "mixture: IoU", "mesh: IoU", "Chamfer, %", "floor, %", "normals, deg", "level", "faces", "seconds")
    parts = []
    for field in dict.fromkeys(row.field for row in rows):
        chosen = [row for row in rows if row.field == field]
        numbers = np.array(
            [
                (r.mixture_iou, r.mesh_iou, 100 * r.errors.chamfer, 100 * r.errors.floor, r.errors.normal_degrees)
                + (r.level, r.faces, r.seconds)
                for r in chosen
            ]
        )
        lines = [
            (name, *(f"{v:.4f}" for v in line[:2]), *(f"{v:.2f}" for v in line[2:4]), f"{line[4]:.1f}")
            + (f"{line[5]:.2f}", f"{line[6]:,.0f}", f"{line[7]:.1f}")
            for name, line in zip([*(r.name for r in chosen), "mean"], [*numbers, numbers.mean(axis=0)], strict=True)
        ]
        closed = sum(row.watertight for row in chosen)
        parts.append(f"Field: {field}; {closed} of {len(chosen)} meshes watertight.\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def main(argv: list[str]) -> int:
    """Fits, makes meshes, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of meshes")
    parser.add_argument("--names", nargs="+", default=list(PAPER))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fields", nargs="+", choices=tuple(FIELDS), default=list(FIELDS))
    parser.add_argument("--resolution", type=int, default=MeshOptions().resolution)
    parser.add_argument("--views", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=OptimizationOptions().num_epochs)
    parser.add_argument("--components", type=int, default=40)
    parser.add_argument("--results", type=Path, help="Markdown file whose section mesh is replaced")
    flags = parser.parse_args(argv)
    settings = Settings(views=flags.views, components=flags.components)
    options = OptimizationOptions(num_epochs=flags.epochs)
    start = start_mixture(None, ModelOptions(flags.components, init="sphere"), flags.seed).mixture
    program = compile_shape_fit(start, (flags.views, settings.size, settings.size), options)
    rows = []
    for name in flags.names:
        path = flags.models / f"{name}.ply"
        data = clean_data(path, flags.seed, settings)
        fit = fit_shape(program, start, data.train, np.random.default_rng([flags.seed, 3]))
        mixture = jax.block_until_ready(fit.mixture)
        rows += [measure_mesh(name, field, mixture, (*data, path), flags.resolution) for field in flags.fields]
        print(name, file=sys.stderr, flush=True)
    text = (
        f"## Meshes\n\n{provenance('bench_mesh', argv)}\n\n"
        f"IoU on {settings.unseen} unseen views of {settings.unseen_size} x {settings.unseen_size}. "
        "Chamfer distance in % of the object's scale, between 30,000 points on each surface; the floor is that of two "
        "samplings of the reference. Seconds with the search for the level.\n\n" + rows_table(rows)
    )
    return told(lambda: text, flags.results, "mesh")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
