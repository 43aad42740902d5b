"""Pictures of two shapes compared: errors on both surfaces with the worst points marked, both at once, shares."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from scipy.spatial import cKDTree
from trimesh.remesh import subdivide_to_size

from fmb.geometry.cameras import Cameras, project
from fmb.geometry.cloud import Cloud
from fmb.geometry.comparison import Shape, Sides, Worst
from fmb.geometry.distances import cut, distance_to, nearest_on
from fmb.geometry.ground_truth import render_ground_truth
from fmb.machine import DOTS_PER_INCH, write_picture
from fmb.pictures.draw import FAINT, INK, pixels_of, plain_style
from fmb.pictures.ellipsoids import Ball
from fmb.pictures.report_scene import Layer
from fmb.pictures.sheets import BLUE, ORANGE, SEAM, Scale, Sheet, fit_tiles, paint
from fmb.pictures.surface_error import error_scale
from fmb.pictures.turntable import on_white, turn_cameras

SIDE, TURNS = 300, 4  # pixels of a view, and views around the shapes
UP = (0.0, 1.0, 0.0)
PERCENT = 100.0
FINEST_EDGE = 50  # edges are cut until none is longer than the box's diagonal over this, so that colours follow errors
MOST_VERTICES, MOST_BEADS = 10_000, 10_000  # of a mesh, points of a cloud: where there are more, fewer are drawn
BEAD, LEAST_BEAD = 0.6, 0.004  # radius of a drawn point: in spacings, and at least in radii of the ball
RING, HALO = 9, 2  # pixels: radius of the mark of a worst point, and the white around its lines
HIDDEN = 0.02  # radii: a mark that lies deeper behind the surface is drawn hollow
MARK = "#00b3a4"
STICK = 0.012  # radii: thickness of the line between two worst points on the page


class Painted(NamedTuple):
    """A shape as triangles, and the distance of each vertex from the other shape in percent of the reference's side.

    `thinned`: how many vertices or points the shape has, where fewer are drawn; else 0.
    """

    mesh: trimesh.Trimesh
    error: Float[np.ndarray, " vertex"]
    thinned: int = 0


def painted(shape: Shape, other: Shape, ball: Ball, unit: float) -> Painted:
    """The shape in triangles small enough to show where it errs, and its errors.

    A mesh of many vertices is drawn with fewer, in the errors of the whole mesh at its places next to them.
    """
    if isinstance(shape, Cloud):
        mesh, owner = beads(shape, ball)
        chosen, place = np.unique(owner, return_inverse=True)
        error, every = distances_from(other, shape.point[chosen])[place], len(shape.point)
        return Painted(mesh, PERCENT * error / unit, every * (every > MOST_BEADS))
    mesh, every = fine(shape), len(shape.vertices)
    places = np.asarray(mesh.vertices, float)
    if every > MOST_VERTICES:
        places = nearest_on(cut(shape), places).point
    return Painted(mesh, PERCENT * distances_from(other, places) / unit, every * (every > MOST_VERTICES))


def distances_from(shape: Shape, places: Float[np.ndarray, "place 3"]) -> Float[np.ndarray, " place"]:
    """Exact distances from a mesh, or from the nearest point of a cloud."""
    return cKDTree(shape.point).query(places)[0] if isinstance(shape, Cloud) else distance_to(shape, places)


def fine(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with no more than about MOST_VERTICES vertices, then without long edges."""
    if len(mesh.vertices) > MOST_VERTICES:
        mesh = mesh.simplify_quadric_decimation(face_count=2 * MOST_VERTICES)
    longest = float(np.linalg.norm(np.ptp(mesh.bounds, axis=0))) / FINEST_EDGE
    if mesh.edges_unique_length.max() <= longest:
        return mesh
    return trimesh.Trimesh(*subdivide_to_size(mesh.vertices, mesh.faces, longest, max_iter=20))


def beads(cloud: Cloud, ball: Ball) -> tuple[trimesh.Trimesh, np.ndarray]:
    """An octahedron for each point, or for as many as are drawn, and the point that each vertex belongs to."""
    chosen = np.unique(np.linspace(0, len(cloud.point) - 1, min(len(cloud.point), MOST_BEADS)).astype(int))
    point = cloud.point[chosen]
    spacing = float(np.median(cKDTree(point).query(point, 2)[0][:, 1]))
    radius = max(BEAD * spacing, LEAST_BEAD * ball.radius)
    bead = trimesh.creation.icosphere(0, radius)
    corners = len(bead.vertices)
    vertices = (point[:, None] + np.asarray(bead.vertices)).reshape(-1, 3)
    faces = (np.arange(len(point))[:, None, None] * corners + np.asarray(bead.faces)).reshape(-1, 3)
    return trimesh.Trimesh(vertices, faces, process=False), np.repeat(chosen, corners)


def ball_of(shapes: Sequence[Shape]) -> Ball:
    """The ball about the middle of the box of all shapes that holds them."""
    points = np.concatenate([shape.point if isinstance(shape, Cloud) else shape.vertices for shape in shapes])
    centre = (points.min(axis=0) + points.max(axis=0)) / 2.0
    return Ball(centre, float(np.linalg.norm(points - centre, axis=1).max()))


def colored(part: Painted, scale: Scale) -> trimesh.Trimesh:
    """The triangles in the colours of their errors."""
    mesh = part.mesh
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=paint(part.error, scale), process=False)


def compared_sheet(parts: Sequence[Painted], worst: Sequence[Worst], names: tuple[str, str], ball: Ball) -> Sheet:
    """Both shapes side by side from all sides in the colours of their errors; a ring marks the worst point of each.

    A line leads from it to the nearest place of the other shape. Where the surface hides it, it is drawn thin.
    """
    scale, cameras = error_scale(np.concatenate([part.error for part in parts])), turn_cameras(ball, TURNS, SIDE, UP)
    panels = []
    for part, pair in zip(parts, worst, strict=True):
        seen = render_ground_truth(colored(part, scale), cameras, (SIDE, SIDE), "raycast").views
        tiles = on_white(seen.color, seen.silhouette)
        views = zip(tiles, seen.depth, views_of(cameras), strict=True)
        panels.append(np.stack([marked(*view, pair, ball) for view in views]))
    seam = np.full((TURNS, SIDE, SEAM, 3), 255, np.uint8)
    away = " and ".join(f"{pair.distance:.3g}" for pair in worst)
    note = f"distance from the other shape; ring: the worst point, {away} away from the end of its line"
    note += fewer(parts, names)
    tiles = np.concatenate([panels[0], seam, panels[1]], axis=2)
    return Sheet("Errors on the surface", note, tiles, degrees_around(TURNS), (scale,), {}, names)


def fewer(parts: Sequence[Painted], names: tuple[str, str]) -> str:
    """Which shapes are drawn with fewer points than they have, in words; nothing where all are drawn."""
    told = [
        f"; {name}: fewer than its {part.thinned:,} points are drawn, in their own errors"
        for name, part in zip(names, parts, strict=True)
        if part.thinned
    ]
    return "".join(told)


def views_of(cameras: Cameras) -> list[Cameras]:
    """Each camera by itself."""
    return [Cameras(*(field[view : view + 1] for field in cameras)) for view in range(len(cameras.intrinsics))]


def degrees_around(count: int) -> list[str]:
    """The direction of each view."""
    return [f"{360 * view // count}\N{DEGREE SIGN}" for view in range(count)]


def marked(
    tile: UInt8[np.ndarray, "side side 3"],
    depth: Float[np.ndarray, "side side"],
    camera: Cameras,
    pair: Worst,
    ball: Ball,
) -> UInt8[np.ndarray, "side side 3"]:
    """The tile with a ring around the worst point and a line to its nearest place."""
    from PIL import Image, ImageDraw

    place, far = (np.asarray(part)[0] for part in project(camera, np.stack([pair.start, pair.end])))
    row, column = (int(np.clip(round(float(x)), 0, len(tile) - 1)) for x in place[0, ::-1])
    seen = depth[row, column]
    thick = 3 if not np.isfinite(seen) or far[0] <= seen + HIDDEN * ball.radius else 1
    picture = Image.fromarray(tile)
    pen, (start, end) = ImageDraw.Draw(picture), (tuple(map(float, point)) for point in place)
    box = (start[0] - RING, start[1] - RING, start[0] + RING, start[1] + RING)
    pen.line([start, end], "white", thick + HALO)
    pen.ellipse((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline="white", width=thick + HALO)
    pen.line([start, end], MARK, thick)
    pen.ellipse(box, outline=MARK, width=thick)
    return np.asarray(picture)


def overlay_sheet(parts: Sequence[Painted], names: tuple[str, str], ball: Ball) -> Sheet:
    """Both shapes in one place, each in a colour."""
    meshes = []
    for part, code in zip(parts, (BLUE, ORANGE), strict=True):
        rgb = [int(code[place : place + 2], 16) for place in (1, 3, 5)]
        colors = np.tile(np.array(rgb, np.uint8), (len(part.mesh.vertices), 1))
        meshes.append(trimesh.Trimesh(part.mesh.vertices, part.mesh.faces, vertex_colors=colors, process=False))
    seen = render_ground_truth(
        trimesh.util.concatenate(meshes), turn_cameras(ball, TURNS, SIDE, UP), (SIDE, SIDE), "raycast"
    )
    tiles = fit_tiles(on_white(seen.views.color, seen.views.silhouette))
    legend = {names[0]: BLUE, names[1]: ORANGE}
    return Sheet("Both shapes", "as they are compared", tiles, degrees_around(TURNS), (), legend)


@plain_style
def draw_shares(path: Path, sides: Sides, floor: Sides, unit: float, threshold: float) -> Path:
    """Which share of each shape lies within a distance of the other, with that of two samplings of one shape."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.2), dpi=DOTS_PER_INCH)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.1, right=0.97, top=0.85, bottom=0.12)
    figure.text(0.032, 0.935, "Share of each shape within a distance of the other", size=12, weight="bold", color=INK)
    note = "exact distances; dashed: between two samplings of the reference, the floor of sampled distances"
    figure.text(0.032, 0.89, note, size=8, color=FAINT)
    curves = (
        (sides.back, "first shape, to the reference", BLUE, "-"),
        (sides.there, "reference, to the first shape", ORANGE, "-"),
        (floor.there, "floor", FAINT, "--"),
    )
    for values, label, color, style in curves:
        ordered = np.sort(PERCENT * values / unit)
        shares = PERCENT * np.arange(1, len(ordered) + 1) / len(ordered)
        axes.plot(ordered, shares, style, color=color, linewidth=1.6, label=label)
    axes.axvline(PERCENT * threshold, color=INK, linewidth=0.8)
    axes.text(PERCENT * threshold, 4.0, " threshold of the F-score", size=7, color=FAINT)
    top = float(np.percentile(PERCENT * np.concatenate([sides.there, sides.back, floor.there]) / unit, 99.9))
    axes.set_xlim(0.0, 1.05 * max(top, PERCENT * threshold))
    axes.set_ylim(0.0, 102.0)
    axes.set_xlabel("distance (% of the reference's longest side)", size=9, color=INK)
    axes.set_ylabel("share of the surface (%)", size=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return write_picture(path, pixels_of(figure))


def layers_of(parts: Sequence[Painted], worst: Sequence[Worst], names: tuple[str, str], ball: Ball) -> list[Layer]:
    """The page's view: both shapes in the colours of their errors, and the pairs of worst points."""
    scale = error_scale(np.concatenate([part.error for part in parts]))
    shown = [
        Layer(f"Errors of {name}", colored(part, scale), name == names[0], scale=scale)
        for name, part in zip(names, parts, strict=True)
    ]
    rgb = tuple(int(MARK[place : place + 2], 16) / 255.0 for place in (1, 3, 5))
    sticks = trimesh.util.concatenate([stick(pair, ball) for pair in worst])
    return [*shown, Layer("Worst points", sticks, True, rgb)]


def stick(pair: Worst, ball: Ball) -> trimesh.Trimesh:
    """A ball at the worst point, and a rod to the nearest place of the other shape."""
    thick = STICK * ball.radius
    head = trimesh.creation.icosphere(2, 2.0 * thick)
    head.apply_translation(pair.start)
    if not pair.distance > thick / 10.0:
        return head
    rod = trimesh.creation.cylinder(thick, segment=np.stack([pair.start, pair.end]), sections=12)
    return trimesh.util.concatenate([head, rod])
