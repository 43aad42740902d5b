"""Spaces of shapes: how well shapes come back from their codes, and what a space makes of a part of a shape.

python -m benchmarks.latent learn MESH MESH ... [--seeds 0 1 2] [--results docs/results/latent.md]
python -m benchmarks.latent complete SPACE MESH ... [--seeds 0 1 2] [--results docs/results/latent.md]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from benchmarks.markdown import number, table
from benchmarks.study import provenance, told
from fmb.clouds.options import PointsOptions
from fmb.clouds.surface import extract
from fmb.clouds.table import METHODS
from fmb.fields.latent import Space
from fmb.files.meshes import read_mesh
from fmb.files.spaces import read_space
from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.geometry.comparison import compare
from fmb.geometry.frames import Frame, box_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.interior import sample_surface
from fmb.latent.decoder import train
from fmb.latent.options import SpaceOptions
from fmb.latent.samples import sample_distances
from fmb.pictures.ellipsoids import Ball
from fmb.pictures.turntable import turn_cameras

CELLS = 128  # along the longest side of a surface
POINTS, PERCENT = 5_000, 100.0  # points of a part
SEEN = 160  # pixels along a side of a depth image
LEARN_HEAD = ("", "seconds, samples", "seconds, training", "Chamfer", "floor", "exact", "Euler", "should be")
COMPLETE_HEAD = ("", "method", "CPU s", "exact Chamfer", "Hausdorff", "normals, degrees", "Euler", "should be")


class Row(NamedTuple):
    """Errors of a surface, in % of the longest side."""

    sampled: float
    floor: float
    exact: float
    hausdorff: float
    degrees: float
    euler: int
    expected: int


def row(mesh: trimesh.Trimesh, truth: trimesh.Trimesh) -> Row:
    """The errors of a surface against its mesh."""
    found = compare(mesh, truth)
    lengths = found["sampled"]["chamfer"], found["floor"]["chamfer"], found["exact"]["chamfer"]
    lengths = [PERCENT * value for value in (*lengths, found["exact"]["hausdorff"])]
    return Row(*lengths, found["exact"]["normal_degrees"], found["euler"], found["reference"]["euler"])


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{number(float(np.mean(values)))} ± {number(float(np.std(values)))}"


def learn(paths: list[Path], seeds: list[int]) -> str:
    """The table of reconstructions: CPU seconds, and errors of each shape over the seeds."""
    meshes = {path.stem: read_mesh(path) for path in paths}
    rows: dict[str, list[Row]] = {name: [] for name in meshes}
    seconds: tuple[list[float], list[float]] = [], []
    options = SpaceOptions()
    for seed in seeds:
        start = time.process_time()
        samples = [
            sample_distances(mesh, name, options.learn_samples, np.random.default_rng([seed, place]))
            for place, (name, mesh) in enumerate(meshes.items())
        ]
        seconds[0].append(time.process_time() - start)
        start = time.process_time()
        space = train(samples, options, np.random.default_rng(seed))
        seconds[1].append(time.process_time() - start)
        for part in samples:
            surface = extract(space.field(space.code_of(part.name)), CELLS)
            rows[part.name].append(row(part.frame.mesh_to_world(surface), meshes[part.name]))
    lines = []
    for name, found in rows.items():
        cells = [spread([getattr(one, what) for one in found]) for what in ("sampled", "floor", "exact")]
        euler = " ".join(str(one.euler) for one in found)
        lines.append((name, "", "", *cells, euler, str(found[0].expected)))
    total = ("all", spread(seconds[0]), spread(seconds[1]), *[""] * 5)
    return table(LEARN_HEAD, [total, *lines])


def parts(mesh: trimesh.Trimesh, generator: np.random.Generator) -> Iterator[tuple[str, Float[np.ndarray, "point 3"]]]:
    """Half of a shape, and what one depth image shows of it; the frame is that of the mesh."""
    points = sample_surface(mesh, 4 * POINTS, generator)
    side = generator.normal(size=3)
    place = points @ side
    half = points[place > np.median(place)]
    yield "half", half[generator.permutation(len(half))[:POINTS]]
    frame = box_frame(np.asarray(mesh.vertices))
    cameras = turn_cameras(Ball(frame.centre, float(frame.scale)), 8, SEEN, (0.0, 1.0, 0.0))
    chosen = int(generator.integers(8))
    camera = Cameras(*(np.asarray(part, float)[chosen : chosen + 1] for part in cameras))
    yield "one view", _seen(mesh, camera, generator)


def _seen(mesh: trimesh.Trimesh, camera: Cameras, generator: np.random.Generator) -> Float[np.ndarray, "point 3"]:
    depth = np.asarray(render_ground_truth(mesh, camera, (SEEN, SEEN), "raycast").views.depth)
    rays = pixel_rays(camera, SEEN, SEEN)
    points = np.asarray(rays.origin + depth[..., None] * rays.direction)[np.isfinite(depth) & (depth > 0.0)]
    return points[generator.permutation(len(points))[:POINTS]].astype(float)


def completed(method: str, points: Float[np.ndarray, "point 3"], space: Space, seed: int) -> trimesh.Trimesh:
    """The surface that a method of task points makes of the points."""
    frame = box_frame(points)
    options = replace(PointsOptions(points_method=method), latent_space=space)
    state = METHODS[method].fit(frame.to_canonical(points), None, options, np.random.default_rng(seed))
    whole: Frame = frame if state.frame is None else frame.inner(state.frame)
    return whole.mesh_to_world(extract(state.field, CELLS))


def complete(space: Space, paths: list[Path], seeds: list[int], methods: list[str]) -> str:
    """The table of completions: with the space, and by methods that know nothing but the points."""
    lines = []
    for path in paths:
        mesh = read_mesh(path)
        found: dict[tuple[str, str], list[tuple[float, Row]]] = {}
        for seed in seeds:
            for what, points in parts(mesh, np.random.default_rng(seed)):
                for method in methods:
                    start = time.process_time()
                    surface = completed(method, points, space, seed)
                    taken = time.process_time() - start
                    found.setdefault((what, method), []).append((taken, row(surface, mesh)))
        for (what, method), results in found.items():
            rows = [one for _, one in results]
            cells = [spread([getattr(one, name) for one in rows]) for name in ("exact", "hausdorff", "degrees")]
            euler = " ".join(str(one.euler) for one in rows)
            taken = spread([seconds for seconds, _ in results])
            lines.append((f"{path.stem}, {what}", method, taken, *cells, euler, str(rows[0].expected)))
    return table(COMPLETE_HEAD, lines)


def main(argv: list[str]) -> int:
    """A table; 2 and one line for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("learn", "complete"))
    parser.add_argument("paths", nargs="+", type=Path, help="meshes; for complete, the folder of a space first")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["latent", "metaballs", "diff_cd"])
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv)
    words = "Lengths in % of the longest side; mean ± standard deviation over seeds "
    words += f"{', '.join(map(str, options.seeds))}. Seconds are those of the processor, of all cores together."
    made: Callable[[], str] = {
        "learn": lambda: learn(options.paths, options.seeds),
        "complete": lambda: complete(read_space(options.paths[0]), options.paths[1:], options.seeds, options.methods),
    }[options.what]
    title = {"learn": "## Reconstructions", "complete": "## Completions"}[options.what]

    def work() -> str:
        return "\n\n".join([title, provenance("latent", argv), words, made()])

    return told(work, options.results, f"latent_{options.what}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
