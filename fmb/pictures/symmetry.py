"""Pictures of a symmetry: planes and axis in the scene, the image over the object, and a film of the search."""

from collections.abc import Sequence

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.symmetry import Symmetry, apply_to_points
from fmb.geometry.views import Views
from fmb.pictures.clouds import FILM_SIDE, FILM_TURNS, UP, ball_of, degrees_around, error_sheet, fewer
from fmb.pictures.ellipsoids import Ball
from fmb.pictures.film import HOLD, MARGIN, lettered
from fmb.pictures.sheets import BLUE, ORANGE, Sheet, fit_tiles, overlay_sheet
from fmb.pictures.turntable import on_white, turn_cameras

SIDE, TURNS = 320, 6  # pixels of a view, and views around
MOST_VERTICES = 8_000  # of a mesh that is drawn
ROOM = 1.15  # radii: of a plane's disc, and how far an axis reaches
THICKNESS = {"plane": 0.014, "axis": 0.015}  # radii
PLANE_COLOR, AXIS_COLOR = (230, 159, 0), (0, 114, 178)  # ORANGE and BLUE
IN_FRONT, BEHIND = 0.5, 0.12  # opacity of planes and axis before and behind the object
PERCENT = 100.0


def marks(symmetry: Symmetry, ball: Ball) -> list[tuple[trimesh.Trimesh, tuple[int, int, int]]]:
    """Discs for the planes and a rod for the axis, each with its colour, about the middle of the ball."""
    found, radius = [], ROOM * ball.radius
    for plane in symmetry.planes:
        normal = np.asarray(plane.normal, float)
        middle = ball.centre + (float(plane.offset) - normal @ ball.centre) * normal
        found.append((_rod(radius, THICKNESS["plane"] * ball.radius, normal, middle), PLANE_COLOR))
    if symmetry.axis is not None:
        direction, point = (np.asarray(field, float) for field in symmetry.axis)
        middle = point + direction @ (ball.centre - point) * direction
        found.append((_rod(THICKNESS["axis"] * ball.radius, 2.0 * radius, direction, middle), AXIS_COLOR))
    return found


def _rod(radius: float, height: float, direction: np.ndarray, middle: np.ndarray) -> trimesh.Trimesh:
    rod = trimesh.creation.cylinder(radius, height, sections=64)
    place = trimesh.geometry.align_vectors([0.0, 0.0, 1.0], direction)
    place[:3, 3] = middle
    return rod.apply_transform(place)


def marked_looks(
    mesh: trimesh.Trimesh, symmetry: Symmetry, ball: Ball, count: int, side: int
) -> UInt8[np.ndarray, "view side side 3"]:
    """The mesh from all around, with its planes and its axis see-through, fainter behind it."""
    cameras = turn_cameras(ball._replace(radius=ROOM * ball.radius), count, side, UP)

    def seen(part: trimesh.Trimesh) -> Views:
        return render_ground_truth(part, cameras, (side, side), "raycast").views

    body = seen(mesh)
    picture = on_white(body.color, body.silhouette).astype(float)
    depth = np.where(np.isfinite(body.depth), body.depth, np.inf)
    for part, color in marks(symmetry, ball):
        mark = seen(part)
        near = np.nan_to_num(mark.depth, nan=np.inf) <= depth
        share = (mark.silhouette * np.where(near, IN_FRONT, BEHIND))[..., None]
        picture = (1.0 - share) * picture + share * np.array(color, float)
    return np.round(picture).astype(np.uint8)


def symmetry_sheet(mesh: trimesh.Trimesh, symmetry: Symmetry, words: str) -> Sheet:
    """The object from all sides with its planes and axis."""
    small = fewer(mesh, MOST_VERTICES)
    tiles = marked_looks(small, symmetry, ball_of(small), TURNS, SIDE)
    legend = ({"plane": ORANGE} if symmetry.planes else {}) | ({"axis": BLUE} if symmetry.axis is not None else {})
    return Sheet("Symmetry", words, fit_tiles(tiles), degrees_around(TURNS), (), legend)


def image_of(mesh: trimesh.Trimesh, symmetry: Symmetry) -> trimesh.Trimesh:
    """The mesh under the first map of the group that moves it; mirrored faces are turned over."""
    orbit = symmetry.orbit
    faces = mesh.faces if np.linalg.det(orbit.rotation[1]) > 0.0 else mesh.faces[:, ::-1]
    return trimesh.Trimesh(apply_to_points(orbit, np.asarray(mesh.vertices))[1], faces, process=False)


def image_sheet(mesh: trimesh.Trimesh, symmetry: Symmetry) -> Sheet:
    """Silhouettes of the object and of its image, from all sides."""
    small = fewer(mesh, MOST_VERTICES)
    cameras = turn_cameras(ball_of(small), TURNS, SIDE, UP)
    both = [
        render_ground_truth(part, cameras, (SIDE, SIDE), "raycast").views.silhouette
        for part in (small, image_of(small, symmetry))
    ]
    sheet = overlay_sheet(*both)
    names = ("in both", "of the object alone", "of its image alone", "in neither")
    legend = dict(zip(names, sheet.legend.values(), strict=True))
    note = "silhouettes of the object and of its image; the number is their IoU"
    labels = [f"{a}   {old.split()[-1]}" for a, old in zip(degrees_around(TURNS), sheet.labels, strict=True)]
    return sheet._replace(title="Object and image", note=note, labels=labels, legend=legend)


def difference_sheet(
    mesh: trimesh.Trimesh, symmetry: Symmetry, errors: tuple[Float[np.ndarray, " vertex"], ...], unit: float
) -> Sheet:
    """Object and image in the colours of their distance from each other; `errors` of their vertices, over `unit`."""
    image = image_of(mesh, symmetry)
    first, second = (PERCENT * error / unit for error in errors)
    return error_sheet(mesh, image, (first, second), ball_of(mesh))._replace(
        title="Where the symmetry holds",
        note="left, the object; right, its image: distance of each point from the other surface",
        panels=("object", "image"),
    )


def search_film(mesh: trimesh.Trimesh, steps: Sequence[tuple[Symmetry, str]]) -> UInt8[np.ndarray, "frame tall wide 3"]:
    """The object with the places that a search went through, each with its words; the last one held."""
    small = fewer(mesh, MOST_VERTICES)
    ball, frames = ball_of(small), []
    for symmetry, words in steps:
        tiles = marked_looks(small, symmetry, ball, FILM_TURNS, FILM_SIDE)
        page = np.full((FILM_SIDE + 2 * MARGIN + 20, FILM_TURNS * FILM_SIDE + 2 * MARGIN, 3), 255, np.uint8)
        page[MARGIN : MARGIN + FILM_SIDE, MARGIN:-MARGIN] = np.concatenate(tiles, axis=1)
        frames.append(lettered(page, words, (MARGIN, MARGIN + FILM_SIDE + 6)))
    return np.stack([*frames, *(HOLD - 1) * [frames[-1]]])
