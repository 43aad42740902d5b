"""What a fit looks at, in the canonical frame: views of a mesh, drawn beside other work, or those of a capture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from fmb.config import Config
from fmb.files.captures.assembly import Planned
from fmb.files.captures.read import AUTO, Capture, plan_capture, read_masks, read_whole
from fmb.files.captures.stored import Stored
from fmb.files.meshes import read_mesh
from fmb.files.options import CaptureOptions
from fmb.geometry.frames import Frame, canonical_frame
from fmb.geometry.ground_truth import start_ground_truth
from fmb.geometry.interior import sample_surface
from fmb.geometry.views import Views, scene_cameras, select_views, split_views
from fmb.hull.frame import framed_hull, hull_points
from fmb.hull.rough import settled
from fmb.hull.turntable import solve_turntable
from fmb.hull.votes import points_in_masks, voting_views
from fmb.options import NONE
from fmb.shape.start import start_points
from fmb.shape.streaming import ViewStream

NOVEL_VIEWS = 32  # of a mesh, that no fit has seen, as in section 7.2
SURFACE_POINTS = 10_000  # of a mesh, where points are asked for
HULL_GRID = 96  # voxels on an edge of the hull that a start is drawn from
NAMED = 10  # views in a notice
ROUGH = 5.0  # degrees: cameras that may be off by so much are moved before any fit, which could not begin with them


class Seen(NamedTuple):
    """The views to fit to, "train", and those that no fit sees, "novel", where there are some; who made them.

    `names` are those of the first, then those of the others.
    """

    views: dict[str, Views]
    names: tuple[str, ...]
    source: str
    notices: tuple[str, ...]


class Scene(NamedTuple):
    """An object in its canonical frame; `look()` waits for its views, of which `shape` tells those to fit to."""

    name: str
    frame: Frame
    mesh: trimesh.Trimesh | None
    inside: Float[np.ndarray, "point 3"] | None  # points of the visual hull, for a start without a mesh
    surface: Float[np.ndarray, "point 3"] | None  # points measured on the surface, or drawn from the mesh's
    shape: tuple[int, int, int]
    look: Callable[[], Seen]
    stream: ViewStream | None = None  # all views to fit to, where only some of them are in memory


def open_scene(config: Config, generator: np.random.Generator) -> Scene:
    """The scene of the capture, if `config` names one, else of the mesh. Raises ValueError as the readers do."""
    if config.capture.data == NONE:
        return scene_of_mesh(config, generator, read_mesh(config.io.mesh_file))
    return scene_of_capture(config, generator, read_placed(config.capture, needed_of(config)))


def needed_of(config: Config) -> list[str]:
    """What of a capture beside its masks must be readable, since it has a weight."""
    weights = {"depth": config.optimization.depth_weight, "points": config.optimization.point_weight}
    return [name for name, weight in weights.items() if weight]


def read_placed(options: CaptureOptions, needed: Sequence[str] = (), planned: Planned | None = None) -> Capture:
    """The capture that the options name, with its own cameras or, of a turntable, with those that its masks tell.

    `planned` is the capture before its pixels are read, where that is known. Cameras from masks follow from those to
    fit to alone. Raises ValueError as `read_capture` and `solve_turntable` do, and for a format or what is needed of a
    turntable, of which only masks and colours are read.
    """
    degrees = options.turntable_degrees
    if not degrees:
        found = planned or plan_capture(options.data, options.format, options.longest_side, needed)
        capture = read_whole(found)
        rough = options.refine_cameras and options.camera_degrees >= ROUGH
        return with_settled_cameras(capture, options) if rough else capture
    if options.format != AUTO or needed:
        what = f"format is {options.format}" if options.format != AUTO else f"{needed[0]} is asked for"
        raise ValueError(f"turntable_degrees is {degrees:g} and {what}; of a turntable only masks and colours are read")
    capture = read_masks(options.data, options.longest_side)
    train, _ = held_out(capture, options.hold_out)
    found = solve_turntable(capture.views, degrees, train)
    views = capture.views._replace(cameras=found.cameras)
    return capture._replace(views=views, notices=(*capture.notices, found.words))


def with_settled_cameras(capture: Capture, options: CaptureOptions) -> Capture:
    """The capture, the cameras of the views to fit to moved until their masks agree."""
    train, _ = held_out(capture, options.hold_out)
    found = settled(select_views(capture.views, train), options.camera_degrees)
    pose = np.array(capture.views.cameras.world_from_camera, float)
    pose[train] = found.world_from_camera
    views = capture.views._replace(cameras=capture.views.cameras._replace(world_from_camera=pose))
    told = f"{len(train)} cameras known to {options.camera_degrees:g} degrees were moved until their masks agree"
    return capture._replace(views=views, notices=(*capture.notices, told))


def scene_of_mesh(config: Config, generator: np.random.Generator, mesh: trimesh.Trimesh) -> Scene:
    """The mesh, and the start of drawing its views."""
    frame = canonical_frame(mesh)
    mesh, count = frame.mesh_to_canonical(mesh), config.rendering.num_views
    image_size = (config.rendering.image_height, config.rendering.image_width)
    cameras = scene_cameras(generator, count + NOVEL_VIEWS, config.rendering)
    job = start_ground_truth(mesh, cameras, image_size, config.rendering.ground_truth)

    def look() -> Seen:
        truth = job.result()
        names = tuple(f"{view:03d}" for view in range(count + NOVEL_VIEWS))
        return Seen(split_views(truth.views, count), names, truth.backend, (truth.notice,))

    surface = sample_surface(mesh, SURFACE_POINTS, generator) if config.optimization.point_weight else None
    return Scene(Path(config.io.mesh_file).stem, frame, mesh, None, surface, (count, *image_size), look)


def scene_of_capture(config: Config, generator: np.random.Generator, capture: Capture) -> Scene:
    """The capture in the canonical frame of the visual hull of the views to fit to."""
    train, novel = held_out(capture, config.capture.hold_out)
    shown = voting_views(select_views(capture.views, train))
    train, left_out = without_empty(capture.names, train, shown)
    return placed_scene(config, generator, capture, (train, novel), left_out)


def placed_scene(
    config: Config,
    generator: np.random.Generator,
    capture: Capture,
    parts: tuple[np.ndarray, np.ndarray],
    notices: Sequence[str],
) -> Scene:
    """The scene of those views to fit to and those of the others, in the frame of the hull of the first."""
    train, novel = parts
    frame, hull = framed_hull(select_views(capture.views, train), HULL_GRID)
    scale = np.float32(frame.scale)
    depth = None if capture.views.depth is None else capture.views.depth / scale
    views = capture.views._replace(cameras=frame.cameras_to_canonical(capture.views.cameras), depth=depth)
    sets = {"train": select_views(views, train)} | ({"novel": select_views(views, novel)} if len(novel) else {})
    inside = hull_points(hull, start_points(config.model), generator)
    surface, kept = None, ()
    if capture.points is not None and config.optimization.point_weight:
        surface, kept = points_of_object(sets["train"], frame.to_canonical(capture.points))
    names = tuple(capture.names[view] for view in (*train, *novel))
    seen = Seen(sets, names, capture.kind, (*capture.notices, *notices, *kept))
    name = Path(config.capture.data).resolve().name
    return Scene(name, frame, None, inside, surface, sets["train"].silhouette.shape, lambda: seen)


def held_out(capture: Capture | Stored, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the views to fit to, and of those to leave out: the capture's own choice, else one in `every`.

    For `every` 0 nothing is left out, not even what the capture would leave out. Raises ValueError where fewer than 2
    views would be left to fit to.
    """
    out = np.array(capture.held_out) & (every > 0)
    if every and not out.any():
        out[every - 1 :: every] = True
    if np.count_nonzero(~out) < 2:
        raise ValueError(f"{np.count_nonzero(~out)} of {len(out)} views are left to fit to; at least 2 must be")
    return np.flatnonzero(~out), np.flatnonzero(out)


def without_empty(names: Sequence[str], train: np.ndarray, voting: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The views to fit to without those that do not vote, see `voting_views`; and a notice that names them.

    A mask without an object is a failure of whatever made it: a fit would carve away what all others see.
    """
    empty = [names[view] for view in train[~voting]]
    if not empty:
        return train, ()
    some = ", ".join(empty[:NAMED]) + (", ..." if len(empty) > NAMED else "")
    return train[voting], (f"{len(empty)} of {len(train)} masks are empty: left out of the fit: {some}",)


def points_of_object(
    views: Views, points: Float[np.ndarray, "point 3"]
) -> tuple[Float[np.ndarray, "kept 3"] | None, tuple[str, ...]]:
    """Those of the points that the masks take for the object's, None if there are none; and a notice of how many.

    The points of a reconstruction are those of the background, too.
    """
    inside = points[points_in_masks(views, points)]
    notice = f"{len(inside):,} of {len(points):,} points lie inside the masks: only these are taken for the surface's"
    return (inside if len(inside) else None), (notice,)
