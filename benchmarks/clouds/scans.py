"""What metaballs make of scans without a known surface: a picture of each, and what is known of it.

python -m benchmarks.clouds.scans ../shared/data/scans ../shared/data/pointclouds [--names helmet ...]
    [--components 40] [--figure docs/figures/clouds_scans.png] [--results docs/results/clouds.md]
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from benchmarks.markdown import number, table
from benchmarks.study import provenance, told
from fmb.clouds.blobs import fit_blobs
from fmb.clouds.evidence import bare_share, examine
from fmb.clouds.options import PointsOptions
from fmb.clouds.surface import certain_surface, supported, uncertainty
from fmb.files.clouds import CLOUDS, read_cloud
from fmb.geometry.distances import distance_to
from fmb.geometry.frames import box_frame
from fmb.pictures.clouds import ball_of, looks
from fmb.pictures.draw import draw_sheet
from fmb.pictures.sheets import Sheet, fit_tiles

CELLS, SIDE = 160, 240  # cells along the longest side of a surface, pixels of a view of it
HEAD = ("", "points", "spacing, %", "noise, %", "strays", "flooded, %", "bare, %", "distance, %", "Euler", "pieces")


class Made(NamedTuple):
    """A scan's surface from two sides, and its line of the table."""

    name: str
    look: UInt8[np.ndarray, "height width 3"]
    line: tuple[str, ...]


def made(path: Path, components: int) -> Made:
    """The surface of a scan."""
    generator = np.random.default_rng(0)
    cloud = read_cloud(path, 20_000, generator)
    points = box_frame(cloud.point).to_canonical(cloud.point)
    evidence = examine(points)
    state = fit_blobs(points, None, PointsOptions(components=components), generator, evidence=evidence)
    facts, reach = state.facts, uncertainty(state.field, points[evidence.kept])
    mesh = supported(certain_surface(state.field, CELLS, points, reach)[0], points, evidence.spacing)[0]
    views = looks(mesh, ball_of(mesh), 4, SIDE)[::2]
    shares = facts["flooded"], bare_share(mesh, points, facts["spacing"], generator)
    told = [facts["spacing"], facts["noise"], facts["strays"], *shares, distance_to(mesh, points).mean()]
    words = [number(value if place == 2 else 100 * value) for place, value in enumerate(told)]
    name = path.name.split(".")[0]
    line = (name, f"{len(points):,}", *words, str(mesh.euler_number), str(mesh.body_count))
    return Made(name, np.concatenate(list(views), axis=1), line)


def main(argv: list[str]) -> int:
    """The picture and the table; 2 and one line for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clouds.scans", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--names", nargs="+", default=[], help="beginnings of names; default: all")
    parser.add_argument("--components", type=int, default=40)
    parser.add_argument("--figure", type=Path, default=Path("output/clouds_scans.png"))
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv)

    def work() -> str:
        kinds = [f".{kind}" for kind in ("npy", *CLOUDS)]
        files = [path for folder in options.folders for path in sorted(folder.glob("*")) if path.suffix in kinds]
        files = [path for path in files if path.name.startswith(tuple(options.names) or "")]
        if not files:
            raise ValueError(f"{options.folders[0]}: no scan of that name ({', '.join(kinds)})")
        found = [made(path, options.components) for path in files]
        note = f"{options.components} metaballs, from two opposite sides"
        draw_sheet(
            options.figure, Sheet("Scans", note, fit_tiles(np.stack([x.look for x in found])), [x.name for x in found])
        )
        words = "Lengths in % of the longest side. Flooded: points that see the outside on both sides. Bare: surface "
        words += "without a point within three spacings. Distance: mean of the points from the surface."
        parts = ["## Scans", provenance("clouds.scans", argv), words, table(HEAD, [x.line for x in found])]
        return "\n\n".join(parts)

    return told(work, options.results, "clouds_scans")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
