"""Meshes of fitted mixtures against the meshes they were fitted to views of.

    python -m benchmarks.bench_mesh --models ../shared/data/models [--names bunny ...] [--seeds 0]
        [--fields hull density] [--resolution 128] [--results docs/results/mesh.md]

Each mesh is fitted as in table 3: 32 clean silhouettes of 64 x 64, 40 components, nothing else. Then each way to make a
mesh of the mixture (FIELDS) is judged on 32 unseen views and against the surface of the reference.
"""

import sys
import time
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.markdown import table
from benchmarks.study import Job, Rows, canonical, chosen, find_meshes, flags, key, provenance, study, told
from benchmarks.table3.methods import Settings
from benchmarks.table3.runs import clean_data
from fm_render import Mixture
from fmb.fields.looks import look
from fmb.fields.metaballs import FIELDS, mesh_iou, mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.fields.tunnels import genus
from fmb.geometry.metrics import iou, mesh_errors
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture

SOURCES = ("benchmarks/bench_mesh.py", "fm_render.py", "fmb/fields/metaballs.py", "fmb/fields/contour.py")
SOURCES += ("fmb/fields/tunnels.py", "fmb/fields/topology.py")
SOURCES += ("fmb/geometry/metrics.py", "fmb/shape/recipe.py", "fmb/fit/loop.py")
PAPER = ("arma", "buddha", "bunny", "dragon", "eiffel", "gear", "human", "lucy", "plane", "yoga")


@dataclass(frozen=True)
class Fit:
    """How the mixture is made: as in table 3."""

    seed: int
    views: int
    components: int
    epochs: int

    @property
    def settings(self) -> Settings:
        """Those of table 3."""
        return Settings(views=self.views, components=self.components)


@lru_cache(maxsize=1)
def fitted(path: Path, fit: Fit) -> Mixture:
    """The mixture of the model."""
    start = start_mixture(None, ModelOptions(fit.components, init="sphere"), fit.seed).mixture
    train = clean_data(path, fit.seed, fit.settings).train
    program = compile_shape_fit(start, train.silhouette.shape, OptimizationOptions(num_epochs=fit.epochs))
    return jax.block_until_ready(fit_to_views(program, start, train, np.random.default_rng([fit.seed, 3])).mixture)


def measured(path: Path, fit: Fit, field: str, resolution: int) -> dict[str, Any]:
    """One row: the mesh of the mixture by that field, its level searched for with the training views."""
    mixture, (train, unseen) = fitted(path, fit), clean_data(path, fit.seed, fit.settings)
    seen = look(mixture, unseen.cameras, unseen.silhouette.shape[1:])
    start = time.perf_counter()
    made = mesh_mixture(mixture, MeshOptions(mesh_field=field, mesh_resolution=resolution), train)
    seconds = time.perf_counter() - start
    errors = mesh_errors(made.mesh, canonical(path), np.random.default_rng(0))
    numbers = [iou(seen.alpha, unseen.silhouette), mesh_iou(made.mesh, unseen), 100 * errors.chamfer]
    numbers += [100 * errors.floor, errors.normal_degrees, made.level, len(made.mesh.faces), seconds]
    tunnels = {"genus": genus(made.mesh), "true_genus": genus(canonical(path))}
    return {"name": path.stem, "field": field, "closed": made.mesh.is_watertight, "numbers": numbers, **tunnels}


def rows_table(rows: Rows) -> str:
    """One line a model and seed, and the mean, for each field."""
    head = ("", "mixture: IoU", "mesh: IoU", "Chamfer, %", "floor, %", "normals, deg", "level", "faces", "seconds")
    digits = (".4f", ".4f", ".2f", ".2f", ".1f", ".2f", ",.0f", ".1f")
    parts = []
    for field in dict.fromkeys(row["field"] for row in rows):
        some = chosen(rows, field=field)
        named = [(row["name"], row["numbers"], f"{row['genus']} ({row['true_genus']})") for row in some]
        right = sum(row["genus"] == row["true_genus"] for row in some)
        mean = np.mean([row["numbers"] for row in some], axis=0)
        named.append(("mean", mean, f"{right} of {len(some)} right"))
        lines = [(name, *(map(format, numbers, digits)), tunnels) for name, numbers, tunnels in named]
        closed = sum(row["closed"] for row in some)
        table_of_field = table((*head, "genus (model's)"), lines)
        parts.append(f"Field: {field}; {closed} of {len(some)} meshes watertight.\n\n{table_of_field}")
    return "\n\n".join(parts)


def main(argv: list[str]) -> int:
    """Fits, makes meshes, prints the tables."""
    usual = {"resolution": MeshOptions().mesh_resolution, "views": 32, "epochs": OptimizationOptions().num_epochs}
    parser = flags(__doc__, "bench_mesh", usual | {"components": 40}, seeds=(0,))
    parser.add_argument("--fields", nargs="+", choices=tuple(FIELDS), default=list(FIELDS))
    options = parser.parse_args(argv)

    def work() -> str:
        jobs = []
        for path in find_meshes(options.models, options.names, PAPER):
            for fit in (Fit(seed, options.views, options.components, options.epochs) for seed in options.seeds):
                for field in options.fields:
                    mark = key(f"{path.stem}-{field}", [asdict(fit), options.resolution], SOURCES, [path])
                    jobs.append(Job(mark, partial(measured, path, fit, field, options.resolution)))
        settings = Settings()
        return (
            f"## Meshes\n\n{provenance('bench_mesh', argv)}\n\n"
            f"IoU on {settings.unseen} unseen views of {settings.unseen_size} x {settings.unseen_size}. "
            "Chamfer distance in % of the object's scale, between 30,000 points on each surface; the floor is that of "
            "two samplings of the reference. Seconds with the search for the level.\n\n"
            + rows_table(study(jobs, options.output, "mesh"))
        )

    return told(work, options.results, "mesh")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
