"""Draws spurious.png: level sets of what methods of task `points` make of a comb and of a cup.

python docs/make_spurious.py [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax.numpy as jnp
import numpy as np

from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import fit_network
from fmb.fields.field import Field
from fmb.machine import DOTS_PER_INCH, prepare_output_dir, write_picture
from fmb.pictures.clouds import LEVELS
from fmb.pictures.draw import INK, pixels_of
from fmb.pictures.sheets import ORANGE
from tests.clouds.shapes import comb, cup, shape_and_points

ROOT = Path(__file__).resolve().parents[1]
SEED, REACH, TICKS, BAND = 1, 0.6, 241, 0.01
SHORT = {"num_steps": 800, "points_per_step": 500}
CASES = (  # title, body, options
    ("IGR", comb, {"points_method": "igr", **SHORT}),
    ("DiffCD", comb, {"points_method": "diff_cd", "body_weight": 0.0, **SHORT}),
    ("DiffCD", cup, {"points_method": "diff_cd", "body_weight": 0.0}),
    ("diff_cd, with what lies surely outside", cup, {"points_method": "diff_cd"}),
)


def main(folder: Path) -> None:
    """Draws all four side by side."""
    from matplotlib.figure import Figure

    prepare_output_dir(folder)
    figure = Figure(figsize=(12.8, 3.6), dpi=DOTS_PER_INCH)
    for axes, (title, body, options) in zip(figure.subplots(1, len(CASES)), CASES, strict=True):
        _, points = shape_and_points(body)
        state = fit_network(points, None, PointsOptions(**options), np.random.default_rng(SEED))
        draw_plane(axes, state.field, points[np.abs(points[:, 2]) < BAND])
        axes.set_title(title, size=9, color=INK)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.02, wspace=0.04)
    write_picture(folder / "spurious.png", pixels_of(figure))


def draw_plane(axes: Any, field: Field, near: np.ndarray) -> None:
    """The level sets in the plane z = 0, the zero bold, and points near the plane."""
    ticks = np.linspace(-REACH, REACH, TICKS)
    places = np.stack([*(grid.ravel() for grid in np.meshgrid(ticks, ticks)), np.zeros(TICKS**2)], axis=1)
    value = np.asarray(field(jnp.asarray(places, jnp.float32))).reshape(TICKS, TICKS)
    axes.contourf(ticks, ticks, np.clip(value, LEVELS[0], LEVELS[-1]), LEVELS, cmap="RdBu")
    axes.contour(ticks, ticks, value, [0.0], colors=INK, linewidths=1.6)
    axes.plot(near[:, 0], near[:, 1], ".", color=ORANGE, markersize=1.5)
    axes.set_aspect("equal")
    axes.set_axis_off()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures")
