"""Pictures of a space of shapes: truth beside reconstruction, the codes in a plane, and meshes along a line."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fmb.geometry.cameras import Cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.machine import DOTS_PER_INCH, write_picture
from fmb.pictures.clouds import UP
from fmb.pictures.draw import FAINT, INK, pixels_of, plain_style
from fmb.pictures.ellipsoids import Ball
from fmb.pictures.sheets import BLUE, ORANGE, Sheet, fit_tiles
from fmb.pictures.turntable import on_white, turn_cameras

SIDE, THUMBNAIL = 240, 150  # pixels of a view
BALL = Ball(np.zeros(3), 0.72)  # around shapes in the box of side 1, but for corners that hardly any has
TURNS, SEEN_FROM = 8, 1  # of cameras all around, the one that sees a shape from ahead and aside
MOST_SHOWN = 24  # shapes with a picture
MARGIN = 0.26  # of the plane of codes around them, in its width
CROWDED = 0.055  # of the plane's width: pictures whose codes are nearer to one another are left out


class Plane(NamedTuple):
    """Codes in the plane of their largest variance, the share of it in that plane, and the axes' words."""

    place: Float[np.ndarray, "shape 2"]
    share: float
    axes: tuple[str, str]


def view(mesh: trimesh.Trimesh | None, side: int = SIDE) -> UInt8[np.ndarray, "side side 3"]:
    """A shape of the space, in its canonical frame, on white; all white where there is none."""
    if mesh is None:
        return np.full((side, side, 3), 255, np.uint8)
    cameras = turn_cameras(BALL, TURNS, side, UP)
    camera = Cameras(*(np.asarray(part)[SEEN_FROM : SEEN_FROM + 1] for part in cameras))
    seen = render_ground_truth(mesh, camera, (side, side), "raycast").views
    return on_white(seen.color, seen.silhouette)[0]


def reconstruction_sheet(
    truths: Sequence[trimesh.Trimesh | None], found: Sequence[trimesh.Trimesh | None], labels: Sequence[str]
) -> Sheet:
    """Truth beside reconstruction, as many as have room."""
    pairs = list(zip(truths, found, strict=True))[:MOST_SHOWN]
    tiles = np.stack([np.concatenate([view(first), view(second)], axis=1) for first, second in pairs])
    note = "left: the mesh; right: what the network makes of its code"
    note += f"; the first {MOST_SHOWN} of {len(found)} shapes" * (len(found) > MOST_SHOWN)
    return Sheet("Reconstructions", note, tiles, list(labels[:MOST_SHOWN]))


def line_sheet(meshes: Sequence[trimesh.Trimesh | None], shares: Sequence[float], names: tuple[str, str]) -> Sheet:
    """Meshes of codes along the line from one shape to another."""
    labels = []
    for mesh, share in zip(meshes, shares, strict=True):
        words = "no surface" if mesh is None else f"Euler number {mesh.euler_number}"
        labels.append(f"{share:.0%}: {words}")
    tiles = fit_tiles(np.stack([view(mesh) for mesh in meshes]))
    return Sheet(
        f"From {names[0]} to {names[1]}",
        f"meshes of codes along the line between the two, by the share of {names[1]}",
        tiles,
        labels,
    )


def plane_of(codes: Float[np.ndarray, "shape code"]) -> Plane:
    """The codes themselves where they have two numbers, else their two principal components."""
    if codes.shape[1] == 2:
        return Plane(codes, 1.0, ("first number of the code", "second number of the code"))
    centred = codes - codes.mean(axis=0)
    size, axes = np.linalg.svd(centred, full_matrices=False)[1:]
    place = np.zeros((len(codes), 2))
    place[:, : len(axes[:2])] = centred @ axes[:2].T
    share = float(np.sum(size[:2] ** 2) / max(np.sum(size**2), np.finfo(float).tiny))
    return Plane(place, share, ("first principal component of the codes", "second principal component"))


@plain_style
def draw_codes(
    path: Path,
    codes: Float[np.ndarray, "shape code"],
    names: Sequence[str],
    found: Sequence[trimesh.Trimesh | None],
    line: tuple[int, int],
) -> Path:
    """Where the codes of all shapes lie, with names and shapes; the dashed line is that of the next picture."""
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    plane = plane_of(codes)
    figure = Figure(figsize=(9.6, 8.0), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0.085, 0.08, 0.885, 0.8))
    figure.text(0.03, 0.955, f"Codes of {len(names)} shapes", size=12, weight="bold", color=INK)
    what = "all of their variance" if plane.share == 1.0 else f"{plane.share:.0%} of their variance"
    figure.text(0.03, 0.925, f"{codes.shape[1]} numbers each; the plane shows {what}", size=8, color=FAINT)
    axes.plot(*plane.place[list(line)].T, "--", color=ORANGE, linewidth=1.2)
    width = max(float(np.ptp(plane.place, axis=0).max()), np.finfo(float).tiny)
    middle = (plane.place.min(axis=0) + plane.place.max(axis=0)) / 2
    shown: list[np.ndarray] = []
    for place, name, mesh in zip(plane.place, names, found, strict=True):
        crowded = any(np.linalg.norm(place - other) < CROWDED * width for other in shown)
        if mesh is not None and not crowded and len(shown) < MOST_SHOWN:
            shown.append(place)
            picture = OffsetImage(view(mesh, THUMBNAIL), zoom=72.0 / DOTS_PER_INCH)
            axes.add_artist(AnnotationBbox(picture, place, frameon=False, box_alignment=(0.5, -0.06), zorder=1))
        axes.annotate(name, place, (0, -12), textcoords="offset points", size=8, color=INK, ha="center", zorder=3)
    axes.plot(*plane.place.T, "o", color=BLUE, markersize=5, zorder=2)
    half = (0.5 + MARGIN) * width
    for limits, centre in ((axes.set_xlim, middle[0]), (axes.set_ylim, middle[1])):
        limits(centre - half, centre + half)
    axes.set_xlabel(plane.axes[0], size=9, color=INK)
    axes.set_ylabel(plane.axes[1], size=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    return write_picture(path, pixels_of(figure))
