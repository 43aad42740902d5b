"""What a morph aims at: a shape of the space, a mesh, a capture with cameras, or one image with a pose."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import trimesh

from fmb.clouds.surface import REACH, extract
from fmb.config import Config
from fmb.fields.field import Field
from fmb.fields.following import whole_grid
from fmb.fields.isosurface import padded, padded_mesh, settled
from fmb.fields.latent import Space
from fmb.files.captures.read import read_capture
from fmb.files.depth_clouds import read_depth_cloud
from fmb.files.meshes import read_mesh
from fmb.files.options import FILE_SUFFIXES
from fmb.files.poses import ObservationFiles, read_observation, read_pose
from fmb.geometry.cameras import Cameras, look_at, pinhole_intrinsics
from fmb.geometry.comparison import check_frames
from fmb.geometry.distances import cut, nearest_on
from fmb.geometry.frames import Frame, box_frame
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.interior import sample_surface
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views, select_views
from fmb.hull.frame import framed_hull, hull_points
from fmb.latent.losses import Target
from fmb.options import NONE
from fmb.tasks.scenes import held_out, without_empty

ELEVATION, AZIMUTH = 30.0, 45.0  # degrees: the direction of MeshSDF's camera, the first of all
RADIUS = 0.75  # longest sides, that images show around the middle of the box
POINTS = 4000  # of a target's surface, for losses of points
LONGEST_EDGE = 0.03  # of a target's triangles for silhouettes, which take triangles for small
TARGET_CELLS = 96  # along the longest side of a shape of the space that is a target
HULL_GRID, HULL_POINTS = 64, 4000


class Aim(NamedTuple):
    """A target in the frame of the morph, that frame, and what there is to measure against; None: not known.

    `loose`: where the object lies is to be found, too. `mesh` is what the views show, `reference` the user's mesh.
    """

    name: str
    target: Target
    frame: Frame
    mesh: trimesh.Trimesh | None = None
    reference: trimesh.Trimesh | None = None
    loose: bool = False
    notices: tuple[str, ...] = ()


def loss_name(config: Config) -> str:
    """The loss that is asked for; where a depth image is given and none is asked for, points count as well."""
    name, depth = config.morph.loss, config.pose.depth_file != NONE
    return "silhouettes+points" if depth and name == "silhouettes" else name


def aim_of(
    config: Config, space: Space, source: str, field_of: Callable[[str], Field], generator: np.random.Generator
) -> Aim:
    """The one target that the options name.  Raises ValueError where they name none or several."""
    given = {
        "--target": config.morph.target != NONE,
        "--data": config.capture.data != NONE,
        "--depth-file or --mask-file": config.pose.depth_file != NONE or config.pose.mask_file != NONE,
    }
    chosen = [flag for flag, is_given in given.items() if is_given]
    if len(chosen) != 1:
        names = f"; the shapes are {', '.join(space.names)}"
        raise ValueError(f"morph needs one target, has {' and '.join(chosen) or 'none'}: {', '.join(given)}{names}")
    if chosen[0] == "--data":
        return aim_of_capture(config, generator)
    if chosen[0] != "--target":
        return aim_of_image(config, space.frames[space.names.index(source)], source, generator)
    name = config.morph.target
    if name not in space.names and name.lower().endswith(FILE_SUFFIXES):
        return aim_of_mesh(config, *framed(name), generator)
    if name not in space.names:
        raise ValueError(
            f"--target {name}: no such shape in this space, and no mesh file; it has {', '.join(space.names)}"
        )
    frame = space.frames[space.names.index(name)]
    field = field_of(name)
    aim = aim_of_mesh(config, extract(field, TARGET_CELLS), frame, generator)
    # triangles as those of the morph, so that the loss is 0 at the code itself
    spacing = 2.0 * REACH / config.morph.morph_cells
    rough = padded(whole_grid(field, REACH, config.morph.morph_cells).grid)
    surface = jax.jit(settled, static_argnums=2)(field, rough, spacing)
    return aim._replace(name=name, target=aim.target._replace(surface=surface))


def framed(name: str) -> tuple[trimesh.Trimesh, Frame]:
    """The mesh of a file in the frame of its box, and that frame."""
    mesh = read_mesh(name)
    frame = box_frame(np.asarray(mesh.vertices, float))
    return frame.mesh_to_canonical(mesh), frame


def aim_of_mesh(config: Config, mesh: trimesh.Trimesh, frame: Frame, generator: np.random.Generator) -> Aim:
    """A mesh in its canonical frame, from cameras around it."""
    height, width = config.rendering.image_height, config.rendering.image_width
    cameras = ring(config.morph.morph_views, config.rendering)
    views = Views(cameras, cast_silhouettes(mesh, cameras, (height, width)))
    points = sample_surface(mesh, POINTS, generator)
    normals = np.asarray(mesh.face_normals)[nearest_on(cut(mesh), points).face]
    target = Target(views, points, normals, float(mesh.volume), padded_mesh(in_small(mesh)))
    name = Path(config.morph.target).stem
    return Aim(name, target, frame, mesh, reference_of(config, frame))


def in_small(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh, its triangles cut until no edge is longer than LONGEST_EDGE."""
    pieces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, LONGEST_EDGE)
    return trimesh.Trimesh(*pieces, process=False)


def reference_of(config: Config, frame: Frame) -> trimesh.Trimesh | None:
    """The mesh to measure against, in the frame of the morph."""
    path = config.cloud.reference_mesh
    if path == NONE:
        return None
    mesh = frame.mesh_to_canonical(read_mesh(path))
    try:
        check_frames(np.array([[-0.5] * 3, [0.5] * 3]), np.asarray(mesh.bounds))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return mesh


def ring(count: int, options: RenderingOptions) -> Cameras:
    """Cameras around the origin, by turns above and below it, each so far away that its image shows RADIUS."""
    fov = np.deg2rad(options.vfov_degrees) * min(1.0, options.image_width / options.image_height)
    distance = RADIUS / np.sin(fov / 2.0)
    intrinsics = pinhole_intrinsics(options.image_height, options.image_width, options.vfov_degrees)
    azimuth = np.deg2rad(AZIMUTH + 360.0 * np.arange(count) / count)
    elevation = np.deg2rad(ELEVATION) * np.where(np.arange(count) % 2, -1.0, 1.0)
    flat = np.stack([np.sin(azimuth), np.zeros(count), np.cos(azimuth)], axis=1) * np.cos(elevation)[:, None]
    position = distance * (flat + np.sin(elevation)[:, None] * np.array([[0.0, 1.0, 0.0]]))
    return Cameras(look_at(position, np.zeros(3), (0.0, 1.0, 0.0)), np.tile(intrinsics, (count, 1, 1)))


def aim_of_capture(config: Config, generator: np.random.Generator) -> Aim:
    """Silhouettes with cameras; the box of their visual hull tells where the object is and how large, to begin with."""
    capture = read_capture(config.capture.data, config.capture.format, config.capture.longest_side, ())
    train, told = without_empty(capture, held_out(capture, config.capture.hold_out)[0])
    views = select_views(capture.views, train)
    frame, volume = framed_hull(views, HULL_GRID)
    frame = box_frame(frame.to_world(hull_points(volume, HULL_POINTS, generator)))
    views = views._replace(cameras=frame.cameras_to_canonical(views.cameras), depth=None, color=None)
    note = f"{len(train)} views; the object is taken to stand upright as the shapes of the space do"
    name = Path(config.capture.data).resolve().name
    return Aim(name, Target(views), frame, None, reference_of(config, frame), True, (*capture.notices, *told, note))


def aim_of_image(config: Config, frame: Frame, source: str, generator: np.random.Generator) -> Aim:
    """One image whose camera is known in the frame of the source's file."""
    depth, mask = (None if x == NONE else Path(x) for x in (config.pose.depth_file, config.pose.mask_file))
    for name in ("intrinsics_file", "initial_pose_file"):
        if getattr(config.pose, name) == NONE:
            raise ValueError(f"--{'depth' if depth else 'mask'}-file is given, but no --{name.replace('_', '-')}")
    files = ObservationFiles(Path(config.pose.intrinsics_file), depth, mask, config.pose.depth_unit)
    found = read_observation(files)
    pose = read_pose(Path(config.pose.initial_pose_file))
    cameras = frame.cameras_to_canonical(Cameras(pose[None], found.intrinsics[None]))
    silhouette = np.isfinite(found.depth) if found.silhouette is None else found.silhouette
    valid = None if found.valid is None else found.valid[None]
    views = Views(cameras, np.asarray(silhouette, np.float32)[None], valid=valid)
    points = None
    if depth is not None:
        seen = read_depth_cloud(files, POINTS, generator).point
        points = frame.to_canonical(seen @ pose[:3, :3].T + pose[None, :3, 3])
    note = f"one view; its camera is taken to be in the frame of {source}'s file"
    return Aim(str((mask or depth).stem), Target(views, points), frame, None, None, False, (*found.notices, note))
