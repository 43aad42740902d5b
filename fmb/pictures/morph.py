"""Pictures of a morph: the mesh in the colours of its pull with silhouettes beside it, the course, the way of codes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.metrics import iou
from fmb.geometry.views import Views
from fmb.machine import DOTS_PER_INCH, write_picture
from fmb.pictures.clouds import looks
from fmb.pictures.draw import FAINT, INK, pixels_of, plain_style, scale_up
from fmb.pictures.ellipsoids import Ball
from fmb.pictures.film import HOLD, MARGIN, lettered, overlay
from fmb.pictures.sheets import BLUE, ORANGE, SEAM, Scale, paint

SIDE = 360  # pixels of the mesh in a frame; the silhouettes are as high together
FOOT = 46  # pixels for two lines of words
TOP = 98.0  # percentile of the pull at which colours end
MOST_VIEWS = 4  # beside the mesh


class Shot(NamedTuple):
    """The mesh before a step, the pull at its vertices, and words."""

    mesh: trimesh.Trimesh
    pull: Float[np.ndarray, " vertex"]
    words: str


def pull_scale(shots: Sequence[Shot]) -> Scale:
    """One scale for all frames: blue moves inward, red outward."""
    size = np.concatenate([np.abs(density(shot)) for shot in shots])
    top = max(float(np.percentile(size, TOP)), 1e-12)
    return Scale("coolwarm", (-top, top), "pull, outward", "both")


def density(shot: Shot) -> Float[np.ndarray, " vertex"]:
    """Pull for each unit of area."""
    area = np.bincount(shot.mesh.faces.ravel(), np.repeat(shot.mesh.area_faces / 3.0, 3), len(shot.mesh.vertices))
    return shot.pull / np.maximum(area, 1e-12 + 0.05 * area.mean())


def colored(shot: Shot, scale: Scale) -> trimesh.Trimesh:
    """The mesh, each face in the colour of its pull."""
    face = density(shot)[shot.mesh.faces].mean(axis=1)
    top = scale.limits[1]
    value = top * np.sign(face) * np.minimum(np.abs(face) / top, 1.0) ** 0.5
    made = trimesh.Trimesh(shot.mesh.vertices, shot.mesh.faces, process=False)
    made.visual.face_colors = paint(value, scale)
    return made


def frame(shot: Shot, scale: Scale, views: Views, ball: Ball) -> UInt8[np.ndarray, "tall wide 3"]:
    """The mesh, and beside it its silhouettes over the target's, with words below."""
    picture = looks(colored(shot, scale), ball, 1, SIDE)[0]
    beside, overlap = silhouettes(shot.mesh, views)
    page = np.full((SIDE + 2 * MARGIN + FOOT, 2 * MARGIN + SIDE + SEAM + beside.shape[1], 3), 255, np.uint8)
    page[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE] = picture
    page[MARGIN : MARGIN + beside.shape[0], MARGIN + SIDE + SEAM : -MARGIN] = beside
    page = lettered(page, f"{shot.words}   IoU {overlap:.3f}", (MARGIN, MARGIN + SIDE + 4))
    legend = "red: pulled outward, blue: inward; orange: missing, blue: too much"
    return lettered(page, legend, (MARGIN, MARGIN + SIDE + 24))


def silhouettes(mesh: trimesh.Trimesh, views: Views) -> tuple[UInt8[np.ndarray, "side wide 3"], float]:
    """The silhouettes of some views over the target's, in a square of the frame's height; the IoU of all views."""
    seen = cast_silhouettes(mesh, views.cameras, views.silhouette.shape[1:])
    overlap = iou(seen, views.silhouette, views.valid)
    chosen = np.unique(np.linspace(0, len(seen) - 1, min(len(seen), MOST_VIEWS)).astype(int))
    wanted = np.asarray(views.silhouette, float)
    tiles = overlay(seen[chosen].astype(float), wanted[chosen])
    columns = math.ceil(math.sqrt(len(tiles)))
    side = SIDE // columns
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        fitted = resized(tile, side - SEAM)
        top, left = number // columns * side, number % columns * side
        square[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return square, overlap


def resized(tile: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[np.ndarray, "tall wide 3"]:
    """The tile with its longer side `side` pixels long."""
    from PIL import Image

    factor = side / max(tile.shape[:2])
    size = (max(1, round(factor * tile.shape[1])), max(1, round(factor * tile.shape[0])))
    return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.NEAREST if factor > 1 else 4))


def film_of_morph(
    shots: Sequence[Shot], scale: Scale, views: Views, ball: Ball
) -> UInt8[np.ndarray, "frame tall wide 3"]:
    """A frame for each shot, the last one held."""
    frames = [frame(shot, scale, views, ball) for shot in shots]
    return np.stack(frames + (HOLD - 1) * frames[-1:])


@plain_style
def draw_course(path: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """Loss, Euler number and evaluated nodes over the steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.4, 6.4), dpi=DOTS_PER_INCH)
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    figure.subplots_adjust(left=0.13, right=0.97, top=0.9, bottom=0.08, hspace=0.14)
    figure.text(0.032, 0.94, f"Course of the morph, {len(columns['loss'])} surfaces", size=12, weight="bold", color=INK)
    upper.plot(columns["step"], columns["loss"], color=BLUE, linewidth=1.6)
    scale_up(upper, columns["loss"])
    middle.step(columns["step"], columns["euler"], color=INK, linewidth=1.2, where="post")
    lower.plot(columns["step"], columns["points"] / 1000.0, color=ORANGE, linewidth=1.2)
    lower.set_ylim(bottom=0.0)
    for axes, words in ((upper, "loss"), (middle, "Euler number"), (lower, "evaluated nodes\n(thousands)")):
        axes.set_ylabel(words, size=9, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#ececec", linewidth=0.7)
        axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    lower.set_xlabel("step", size=9, color=INK)
    for axis in (middle.yaxis, lower.xaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    figure.align_ylabels()
    return write_picture(path, pixels_of(figure))


@plain_style
def draw_codes(
    path: Path,
    named: Mapping[str, Float[np.ndarray, " code"]],
    way: Float[np.ndarray, "step code"],
) -> Path:
    """The codes of the space and the way of the morph, in the plane of the way's and the codes' largest spread."""
    from matplotlib.figure import Figure

    codes = np.stack(list(named.values()))
    every = np.concatenate([codes, way])
    middle = every.mean(axis=0)
    axes_of = np.linalg.svd(every - middle, full_matrices=False)[2][:2]
    exact = codes.shape[1] == 2
    flat = codes if exact else (codes - middle) @ axes_of.T
    path_flat = way if exact else (way - middle) @ axes_of.T
    if flat.shape[1] == 1:
        flat, path_flat = (np.column_stack([part, np.zeros(len(part))]) for part in (flat, path_flat))
    figure = Figure(figsize=(6.4, 5.6), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0.12, 0.1, 0.84, 0.78))
    figure.text(0.04, 0.93, "Way through the space of codes", size=12, weight="bold", color=INK)
    axes.plot(*path_flat.T, color=BLUE, linewidth=1.6, marker=".", markersize=4)
    axes.plot(*path_flat[0], "o", color=BLUE, markersize=7, label="start")
    axes.plot(*path_flat[-1], "s", color=ORANGE, markersize=7, label="end")
    axes.plot(*flat.T, "*", color=INK, markersize=9, label="shapes of the space")
    for name, place in zip(named, flat, strict=True):
        axes.annotate(name, place, xytext=(6, 5), textcoords="offset points", size=8, color=INK)
    words = "code" if exact else "principal component"
    axes.set_xlabel(f"first {words}", size=9, color=INK)
    axes.set_ylabel(f"second {words}", size=9, color=INK)
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="#ececec", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    axes.legend(frameon=False, fontsize=8)
    return write_picture(path, pixels_of(figure))
