"""Morphs between two shapes of trained spaces: losses, views and grids against one another, a row each.

    python -m benchmarks.latent.morphs SPACE SPACE SPACE --references bob.ply --results docs/results/latent.md

Each space was trained with another seed; a row has the mean over them and the spread (largest less smallest).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from benchmarks.markdown import number, table
from benchmarks.study import provenance, told
from fmb.clouds.surface import REACH, extract
from fmb.fields.latent import Space
from fmb.files.meshes import read_mesh
from fmb.files.spaces import read_space
from fmb.geometry.comparison import compare
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.interior import sample_surface
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views
from fmb.latent.losses import Target, find_loss
from fmb.latent.morph import Plan, morph
from fmb.latent.placed import coordinates, family_of, placed, starts_of
from fmb.tasks.morph_targets import ring

HEAD = ("loss", "views", "starts", "grid", "Euler", "Chamfer x 100", "over own", "code off", "nodes a step", "CPU s")
SIDE, STEPS, RATE, CELLS, FINE = 64, 100, 0.05, 40, 96
PERCENT = 100.0


class Case(NamedTuple):
    """A way to morph."""

    loss: str
    views: int
    starts: int
    fast: bool


CASES = {
    "silhouettes": Case("silhouettes", 4, 1, False),
    "fast": Case("silhouettes", 4, 1, True),
    "spots": Case("spots", 4, 1, True),
    "fuzzy": Case("fuzzy", 4, 1, True),
    "chamfer": Case("chamfer", 4, 1, True),
    "one": Case("silhouettes", 1, 1, True),
    "one_of_five": Case("silhouettes", 1, 5, True),
}


def row(space: Space, case: Case, reference: trimesh.Trimesh, seed: int) -> dict[str, Any]:
    """One morph from the first to the second shape, whose masks alone are given; the reference is the second's mesh."""
    family, (source, aim) = family_of(space), space.codes[:2]
    truth = space.frames[1].mesh_to_canonical(reference)
    own = extract(family(placed(aim)), FINE)
    cameras = ring(case.views, RenderingOptions(image_width=SIDE, image_height=SIDE))
    generator = np.random.default_rng(seed)
    views = Views(cameras, cast_silhouettes(own, cameras, (SIDE, SIDE)))
    target = Target(views, sample_surface(own, 4000, generator))
    plan = Plan(family, find_loss(case.loss, target), coordinates(0.0), STEPS, RATE, CELLS, REACH, case.fast)
    began = time.process_time()
    found = morph(plan, starts_of(space, source, case.starts, generator))
    seconds = time.process_time() - began
    mesh = extract(family(found.parameters), FINE)
    errors = [PERCENT * compare(part, truth, 10_000)["exact"]["chamfer"] for part in (mesh, own)]
    return {
        "euler": int(mesh.euler_number),
        "chamfer": errors[0],
        "over": errors[0] / errors[1],
        "off": float(np.linalg.norm(np.asarray(found.parameters.code) - aim) / np.linalg.norm(source - aim)),
        "points": float(np.mean([stage.points for stage in found.stages])),
        "seconds": seconds,
    }


def line(case: Case, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The line of the table: means, and the spread of the Chamfer distance."""
    values = {name: [row[name] for row in rows] for name in rows[0]}
    mean = {name: number(float(np.mean(part))) for name, part in values.items() if name != "euler"}
    euler = " ".join(map(str, values["euler"]))
    chamfer = f"{mean['chamfer']} ({number(float(np.ptp(values['chamfer'])))})"
    grid = "followed" if case.fast else "whole"
    return (
        *(case.loss, str(case.views), str(case.starts), grid, euler, chamfer),
        *(mean[name] for name in ("over", "off", "points", "seconds")),
    )


def main(argv: list[str]) -> int:
    """The table; 2 and one line for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent.morphs", description=__doc__.splitlines()[0])
    parser.add_argument("spaces", nargs="+", type=Path, help="folders of spaces of two shapes, one a seed")
    parser.add_argument("--reference", type=Path, required=True, help="mesh of the second shape")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv)

    def work() -> str:
        spaces, reference = [read_space(path) for path in options.spaces], read_mesh(options.reference)
        lines = []
        for name in options.cases:
            rows = [row(space, CASES[name], reference, seed) for seed, space in enumerate(spaces)]
            lines.append(line(CASES[name], rows))
            print(lines[-1], flush=True)
        words = f"From {spaces[0].names[0]} to {spaces[0].names[1]}, whose masks of {SIDE} x {SIDE} pixels are given; "
        words += f"{STEPS} steps, {CELLS} cells. Euler numbers of all spaces; Chamfer distance to the mesh in % of the "
        words += "longest side, mean and (spread) over the spaces; over own: over that of the decoder at the shape's "
        words += "own code; code off: distance of the codes in that of the two shapes."
        return "\n\n".join(["## Morphs", provenance("latent.morphs", argv), words, table(HEAD, lines)])

    return told(work, options.results, "morphs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
