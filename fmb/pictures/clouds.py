"""Pictures of surfaces from points: the surface from all sides, its errors, level sets in slices, terms over steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fmb.fields.metaballs import decimate
from fmb.geometry.ground_truth import render_ground_truth
from fmb.machine import DOTS_PER_INCH, write_picture
from fmb.pictures.draw import FAINT, INK, pixels_of, plain_style, scale_up
from fmb.pictures.ellipsoids import Ball
from fmb.pictures.film import HOLD, MARGIN, lettered
from fmb.pictures.sheets import BLUE, ORANGE, Scale, Sheet, fit_tiles, moving_mean, paint
from fmb.pictures.turntable import on_white, turn_cameras

SIDE, TURNS = 320, 6  # pixels of a view of the surface, and views around it
ERROR_SIDE, ERROR_TURNS = 256, 4  # of the errors, two pictures a view
UP = (0.0, 1.0, 0.0)
ERROR_TOP = 99.0  # percentile of the errors at which their colours end
FILM_SIDE, FILM_TURNS = 320, 2
LEVELS = np.linspace(-0.3, 0.3, 13)  # of the level sets, in longest sides


class Slice(NamedTuple):
    """Distances from a surface on a grid in a plane, seen along `axis`, and points of the cloud near that plane."""

    axis: int
    place: float
    ticks: Float[np.ndarray, " tick"]  # of both axes
    value: Float[np.ndarray, "tick tick"]  # rows go along the second axis
    points: Float[np.ndarray, "point 2"]


def ball_of(mesh: trimesh.Trimesh) -> Ball:
    """The ball about the middle of the mesh's box that holds the mesh."""
    centre = mesh.bounds.mean(axis=0)
    return Ball(centre, float(np.linalg.norm(mesh.vertices - centre, axis=1).max()))


def box_mesh(points: Float[np.ndarray, "point 3"]) -> trimesh.Trimesh:
    """The box of the points as a mesh."""
    return trimesh.creation.box(bounds=np.stack([points.min(axis=0), points.max(axis=0)]))


def fewer(mesh: trimesh.Trimesh, vertices: int) -> trimesh.Trimesh:
    """The mesh with about so many vertices at most, for a picture."""
    return mesh if len(mesh.vertices) <= vertices else decimate(mesh, 2 * vertices)


def looks(mesh: trimesh.Trimesh, ball: Ball, count: int, side: int) -> UInt8[np.ndarray, "view side side 3"]:
    """The mesh, lit and in its colours, on white, from cameras all around the ball."""
    seen = render_ground_truth(mesh, turn_cameras(ball, count, side, UP), (side, side), "raycast").views
    return on_white(seen.color, seen.silhouette)


def surface_sheet(title: str, mesh: trimesh.Trimesh, ball: Ball) -> Sheet:
    """The surface from all sides."""
    note = f"{len(mesh.faces)} triangles; Euler number {mesh.euler_number}, number of pieces {mesh.body_count}"
    return Sheet(title, note, fit_tiles(looks(mesh, ball, TURNS, SIDE)), degrees_around(TURNS))


def degrees_around(count: int) -> list[str]:
    """The direction of each view."""
    return [f"{360 * view // count}\N{DEGREE SIGN}" for view in range(count)]


def error_sheet(
    mesh: trimesh.Trimesh,
    reference: trimesh.Trimesh,
    errors: tuple[Float[np.ndarray, " vertex"], Float[np.ndarray, " other"]],
    ball: Ball,
) -> Sheet:
    """The surface and the reference side by side, each vertex in the colour of its distance from the other surface.

    Errors are in percent of the reference's longest side.
    """
    top = max(float(np.percentile(np.concatenate(errors), ERROR_TOP)), 1e-6)
    scale = Scale("inferno", (0.0, top), "distance (% of the longest side)", "max")
    panels = []
    for part, error in zip((mesh, reference), errors, strict=True):
        painted = trimesh.Trimesh(part.vertices, part.faces, vertex_colors=paint(error, scale), process=False)
        panels.append(looks(painted, ball, ERROR_TURNS, ERROR_SIDE))
    tiles = np.concatenate(panels, axis=2)
    note = "distance from the other surface: left, what the surface has too much; right, what it lacks"
    names = ("surface", "reference")
    return Sheet("Errors", note, fit_tiles(tiles), degrees_around(ERROR_TURNS), (scale,), {}, names)


@plain_style
def draw_slices(path: Path, slices: Sequence[Slice]) -> Path:
    """Level sets of the distance in planes through the middle, its zero bold, with the points near each plane."""
    from matplotlib.figure import Figure

    names = "xyz"
    figure = Figure(figsize=(12.6, 4.9), dpi=DOTS_PER_INCH)
    figure.text(0.02, 0.93, "Level sets", size=12, weight="bold", color=INK)
    figure.text(0.02, 0.88, "bold: the surface; orange: points near the plane", size=8, color=FAINT)
    for axes, part in zip(figure.subplots(1, len(slices)), slices, strict=True):
        across = [name for number, name in enumerate(names) if number != part.axis]
        value = np.clip(part.value, LEVELS[0], LEVELS[-1])
        filled = axes.contourf(part.ticks, part.ticks, value, LEVELS, cmap="RdBu", extend="both")
        axes.contour(part.ticks, part.ticks, part.value, LEVELS, colors=INK, linewidths=0.4)
        axes.contour(part.ticks, part.ticks, part.value, [0.0], colors=INK, linewidths=1.8)
        axes.plot(*part.points.T, ".", color=ORANGE, markersize=1.2)
        axes.set_aspect("equal")
        axes.set_title(f"{names[part.axis]} = {part.place:.3g}", size=9, color=INK)
        axes.set_xlabel(f"{across[0]} (longest sides)", size=8, color=INK)
        axes.set_ylabel(across[1], size=8, color=INK)
        axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
    figure.subplots_adjust(left=0.05, right=0.91, top=0.8, bottom=0.11, wspace=0.2)
    bar = figure.colorbar(filled, cax=figure.add_axes((0.935, 0.11, 0.012, 0.69)))
    bar.set_label("distance to first order, negative inside (longest sides)", size=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    return write_picture(path, pixels_of(figure))


@plain_style
def draw_terms(path: Path, terms: Mapping[str, Float[np.ndarray, " step"]], unit: str = " (longest sides)") -> Path:
    """Every term of the loss over the steps, smoothed, and below them the learning rate, where that is known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.6), dpi=DOTS_PER_INCH)
    known = "learning_rate" in terms
    panels = figure.subplots(1 + known, 1, sharex=True, height_ratios=(3, 1)[: 1 + known], squeeze=False)[:, 0]
    upper = panels[0]
    figure.subplots_adjust(left=0.12, right=0.97, top=0.9, bottom=0.09, hspace=0.1)
    count = len(terms["loss"])
    figure.text(0.032, 0.94, f"Convergence of the fit, {count} steps", size=12, weight="bold", color=INK)
    for name, column in terms.items():
        if name == "learning_rate":
            continue
        style = {"color": INK, "linewidth": 2.0} if name == "loss" else {"linewidth": 1.2}
        upper.plot(np.arange(1, count + 1), moving_mean(column), label=name.replace("_", " "), **style)
    shown = np.concatenate([line.get_ydata() for line in upper.lines])
    scale_up(upper, shown[shown > 0.0])
    upper.set_ylabel(f"terms, smoothed{unit}", size=9, color=INK)
    upper.legend(frameon=False, fontsize=8)
    if known:
        panels[1].plot(np.arange(1, count + 1), terms["learning_rate"], color=BLUE, linewidth=1.4)
        panels[1].set_ylabel("learning rate", size=9, color=INK)
    panels[-1].set_xlabel("step", size=9, color=INK)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#ececec", linewidth=0.7)
        axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    figure.align_ylabels()
    return write_picture(path, pixels_of(figure))


def film_frame(mesh: trimesh.Trimesh | None, ball: Ball, words: str) -> UInt8[np.ndarray, "tall wide 3"]:
    """The surface from two sides with words below; white where there is none."""
    blank = np.full((FILM_TURNS, FILM_SIDE, FILM_SIDE, 3), 255, np.uint8)
    tiles = blank if mesh is None else looks(mesh, ball, FILM_TURNS, FILM_SIDE)
    page = np.full((FILM_SIDE + 2 * MARGIN + 20, FILM_TURNS * FILM_SIDE + 2 * MARGIN, 3), 255, np.uint8)
    page[MARGIN : MARGIN + FILM_SIDE, MARGIN:-MARGIN] = np.concatenate(tiles, axis=1)
    return lettered(page, words, (MARGIN, MARGIN + FILM_SIDE + 6))


def film_of(frames: Sequence[UInt8[np.ndarray, "tall wide 3"]]) -> UInt8[np.ndarray, "frame tall wide 3"]:
    """The frames, the last one held."""
    return np.stack([*frames, *(HOLD - 1) * [frames[-1]]])
