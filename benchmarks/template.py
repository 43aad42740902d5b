"""Templates bent to silhouettes, free, symmetric and refined, beside metaballs fitted to the same views.

    python -m benchmarks.template --models FOLDER --results docs/results/symmetry.md

Every shape, number of views and seed has cameras of its own in random directions, views of 64 x 64, and 32 views that
no fit sees. All surfaces are measured as meshes: silhouettes by ray casting, exact Chamfer distance.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh

from benchmarks.markdown import table
from benchmarks.study import provenance, told
from fmb.fields.metaballs import mesh_iou, mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.geometry.comparison import compare
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views, scene_cameras, split_views
from fmb.hull.frame import framed_hull, hull_points
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture
from fmb.shape.template_fit import HULL_GRID, HULL_POINTS, Template, fit_template
from fmb.shape.template_options import TemplateOptions

NOVEL, SIDE, SAMPLES = 32, 64, 10_000
COMPONENTS, CELLS = 40, 64
BATCH = 2048


METABALLS = "metaballs"
Made = tuple[str, int, trimesh.Trimesh, float, np.ndarray | None]
TEMPLATES = {  # what is bent; those with colours are for shapes that have some
    "free": TemplateOptions(template_mirror=False, template_color=0.0),
    "symmetric": TemplateOptions(template_color=0.0),
    "symmetric, with colours": TemplateOptions(),
    "hull": TemplateOptions(template_mesh="hull", template_color=0.0),
    "hull, with colours": TemplateOptions(template_mesh="hull"),
}


class Outcome(NamedTuple):
    """What one fit of one case came to."""

    shape: str
    views: int
    seed: int
    method: str
    parameters: int
    iou: float  # on unseen views
    chamfer: float  # percent of the longest side
    degrees: float  # of the plane from x = 0, NaN without one
    seconds: float  # of processor time


def bird() -> trimesh.Trimesh:
    """A body with a head, two wings and a tail, symmetric at x = 0."""
    parts = (
        ((0.35, 1.0, 0.4), (0.0, 0.0, 0.0)),
        ((0.22, 0.25, 0.22), (0.0, 1.1, 0.25)),
        ((1.3, 0.3, 0.12), (0.0, 0.25, 0.1)),
        ((0.45, 0.25, 0.08), (0.0, -1.0, 0.05)),
    )
    return ellipsoids(parts)


def chair() -> trimesh.Trimesh:
    """Four thick legs, a seat and a back, symmetric at x = 0."""
    legs = [((0.16, 0.16, 0.5), (x, y, -0.5)) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]
    return ellipsoids((*legs, ((0.8, 0.8, 0.2), (0.0, 0.0, 0.0)), ((0.8, 0.2, 0.7), (0.0, -0.6, 0.6))))


def bowl() -> trimesh.Trimesh:
    """A painted, flattened ball with a deep dent above, which no silhouette shows; symmetric at x = 0."""
    mesh = trimesh.creation.icosphere(5)
    place = np.array(mesh.vertices)
    around = np.hypot(place[:, 0], place[:, 1])
    mesh.vertices = place * [1.0, 0.8, 0.7]
    mesh.vertices[:, 2] -= 0.9 * np.exp(-((around / 0.45) ** 2)) * (place[:, 2] > 0.0)
    folded = np.abs(place) * [1.0, 0.0, 0.0] + place * [0.0, 1.0, 1.0]
    waves = np.stack([folded @ np.array(wave) for wave in WAVES], axis=1)
    colors = np.column_stack([0.5 + 0.4 * np.sin(waves), np.ones(len(place))])
    mesh.visual.vertex_colors = np.rint(255.0 * colors).astype(np.uint8)
    return mesh


WAVES = ((7.0, 3.0, 2.0), (2.0, -8.0, 3.0), (5.0, 4.0, -6.0))  # radians over the ball's radius, of red, green and blue


def ellipsoids(parts: Sequence[tuple[Sequence[float], Sequence[float]]]) -> trimesh.Trimesh:
    """Ellipsoids by their radii and middles, in one mesh."""
    made = []
    for radii, middle in parts:
        part = trimesh.creation.icosphere(4)
        part.vertices = part.vertices * np.array(radii) + np.array(middle)
        made.append(part)
    return trimesh.util.concatenate(made)


OWN: dict[str, Callable[[], trimesh.Trimesh]] = {"bird": bird, "chair": chair, "bowl": bowl}


def case(mesh: trimesh.Trimesh, count: int, seed: int) -> tuple[trimesh.Trimesh, dict[str, Views]]:
    """The mesh in its canonical frame, `count` views to fit to and others; of a mesh without colours masks alone."""
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    cameras = scene_cameras(np.random.default_rng(seed), count + NOVEL, RenderingOptions(camera_roll=True))
    views = render_ground_truth(mesh, cameras, (SIDE, SIDE), "raycast").views
    return mesh, split_views(views if mesh.visual.kind else views._replace(color=None), count)


def templates(views: Views, seed: int, methods: Sequence[str]) -> list[Made]:
    """Method, numbers, mesh, processor seconds and normal of those of TEMPLATES, and of the symmetric ones refined."""
    made = []
    for method, options in ((name, TEMPLATES[name]) for name in methods if name in TEMPLATES):
        begun = time.process_time()

        def keep(name: str, state: Template, method: str = method, begun: float = begun) -> None:
            if name in ("fine", "refined"):
                normal = None if state.plane is None else np.asarray(state.plane.normal)
                words = f"template, {method}" + ", refined" * (name == "refined")
                made.append((words, state.parameters, state.world(), time.process_time() - begun, normal))

        if views.color is not None or not options.template_color:
            fit_template(views, np.random.default_rng(seed), options, None, keep)
    return made


def metaballs(views: Views, seed: int) -> tuple[str, int, trimesh.Trimesh, float, None]:
    """The same of metaballs that start in the visual hull, without the mesh."""
    begun, generator = time.process_time(), np.random.default_rng(seed)
    frame, volume = framed_hull(views, HULL_GRID)
    inside = frame.to_world(hull_points(volume, HULL_POINTS, generator))
    start = start_mixture(None, ModelOptions(num_mixtures=COMPONENTS), seed, inside=inside).mixture
    program = compile_shape_fit(start, views.silhouette.shape, OptimizationOptions(batch_size=BATCH))
    mixture = fit_to_views(program, start, views, generator).mixture
    mesh = mesh_mixture(mixture, MeshOptions(mesh_resolution=CELLS), views).mesh
    return METABALLS, 10 * COMPONENTS, mesh, time.process_time() - begun, None


def outcomes(name: str, mesh: trimesh.Trimesh, count: int, seed: int, methods: Sequence[str]) -> list[Outcome]:
    """The methods on one case."""
    mesh, views = case(mesh, count, seed)
    across = np.eye(3)[0]
    found = []
    fits = templates(views["train"], seed, methods)
    fits += [metaballs(views["train"], seed)] if METABALLS in methods else []
    for method, parameters, made, seconds, normal in fits:
        degrees = np.nan if normal is None else float(np.rad2deg(np.arccos(min(1.0, abs(normal @ across)))))
        chamfer = 100.0 * compare(made, mesh, SAMPLES)["exact"]["chamfer"]
        novel = mesh_iou(made, views["novel"])
        found.append(Outcome(name, count, seed, method, parameters, novel, chamfer, degrees, seconds))
        print(*found[-1], sep=" | ", flush=True)
    return found


def rows(found: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A line of the table for each shape, number of views and method: mean and standard deviation over the seeds."""
    lines = []
    for shape, views, method in dict.fromkeys((one.shape, one.views, one.method) for one in found):
        some = [one for one in found if (one.shape, one.views, one.method) == (shape, views, method)]
        iou, chamfer, degrees, seconds = (
            np.array([getattr(one, name) for one in some]) for name in ("iou", "chamfer", "degrees", "seconds")
        )
        plane = "" if np.isnan(degrees).any() else f"{np.median(degrees):.1f} ({degrees.max():.1f})"
        numbers = f"{np.mean([one.parameters for one in some]):.0f}"
        spread = f"{iou.mean():.3f} ± {iou.std():.3f}", f"{chamfer.mean():.2f} ± {chamfer.std():.2f}"
        lines.append((shape, str(views), method, numbers, *spread, plane, f"{seconds.mean():.0f}", str(len(some))))
    return lines


HEAD = (
    "shape",
    "views",
    "method",
    "numbers",
    "IoU unseen",
    "Chamfer, %",
    "plane off by, degrees: median (largest)",
    "s of processor time",
    "seeds",
)


def work(options: argparse.Namespace) -> str:
    """The table of all cases."""
    found: list[Outcome] = []
    for seed in range(options.seeds):
        for name in options.shapes:
            mesh = OWN[name]() if name in OWN else trimesh.load(options.models / f"{name}.ply", force="mesh")
            for count in options.views:
                found += outcomes(name, mesh, count, seed, options.methods)
                if options.json:
                    options.json.write_text(json.dumps([one._asdict() for one in found]))
    return f"{table(HEAD, rows(found))}\n\n{provenance('template', options.argv)}"


def main(argv: Sequence[str]) -> int:
    """The table on stdout."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.template", description=__doc__, formatter_class=style)
    parser.add_argument("--models", type=Path, default=Path(), help="folder of NAME.ply")
    shapes = f"names of meshes in the folder, and of {', '.join(OWN)}; default: these"
    parser.add_argument("--shapes", nargs="+", default=list(OWN), help=shapes)
    every = (*TEMPLATES, METABALLS)
    parser.add_argument("--methods", nargs="+", choices=every, default=every, help="default: all")
    parser.add_argument("--views", nargs="+", type=int, default=[32, 4], help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="file of every outcome")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv, argparse.Namespace(argv=argv))
    return told(lambda: work(options), options.results, "template")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
