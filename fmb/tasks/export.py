"""Assets from a model (`export`), and a model from a mesh (`convert`)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import trimesh
from jaxtyping import Float

from fm_render import Mixture
from fmb import machine
from fmb.config import AUTO, PROGRAM, Config, ExportOptions
from fmb.fields.metaballs import mesh_mixture, vertex_colors
from fmb.fields.mixtures import in_double
from fmb.fields.points import Cloud, cloud_to_world, surface_points, volume_points
from fmb.fields.tunnels import genus
from fmb.files.media import write_gif, write_video
from fmb.files.mesh_output import write_mesh
from fmb.files.models import level_of, read_mixture, write_model
from fmb.files.points import write_points
from fmb.files.splat_files import write_splats
from fmb.files.splats import splats_from_mixture
from fmb.geometry.cameras import ANY_ARRAY, Cameras, orbit_cameras, pinhole_intrinsics
from fmb.geometry.frames import Frame
from fmb.geometry.metrics import mesh_errors
from fmb.geometry.views import Views
from fmb.machine import Clock, choose_device, say
from fmb.options import NONE
from fmb.pictures.ellipsoids import Ball, enclosing_ball
from fmb.pictures.turntable import ROOM, Look, common_up, side_by_side, turntable
from fmb.tasks.shell import check_before, task_folder
from fmb.whole import METRICS, whole_folder


def export_model(config: Config, clock: Clock) -> None:
    """Model -> files for other programs, in output_dir or beside the model.

    Raises ValueError where no model is named, or nothing is asked for.
    """
    if config.io.model_file == NONE:
        raise ValueError(f"export needs a model: {PROGRAM} export output/model.npz --mesh glb --splats true")
    with clock("load"):
        choose_device(config.cpu)
        place = export_folder(config)
        check_before(config, place)
        wanted = config.export
        if not wanted.splats and {wanted.mesh, wanted.points, wanted.turntable} == {NONE}:
            raise ValueError("export: nothing is asked for; choose --mesh, --points, --splats or --turntable")
        model = read_mixture(config.io.model_file)
    level = level_of(model.facts)  # as the masks chose it when the model was made
    subject = Subject(model.mixture, model.frame, model.color, seed=config.random_seed, level=level)
    with whole_folder(place, records=()) as folder, clock("export"), machine.progress_bar("export") as on_progress:
        written = export(subject, config.export, folder, on_progress)
    say(*(str(place / path.name) for path in written))


def export_folder(config: Config) -> Path:
    """Where to export to: where none is named, beside the model of a run; else a folder that is empty or new.

    Raises ValueError for another, unless what lies there may be replaced.
    """
    folder, own = task_folder(config), Path(config.io.model_file).parent
    if config.io.output_dir == AUTO and (own / METRICS).is_file():
        folder = own
    other = folder.resolve() != Path(config.io.model_file).resolve().parent
    if other and not config.overwrite and os.path.isdir(folder) and any(folder.iterdir()):
        raise ValueError(f"{folder}: is neither empty nor the model's folder; choose another, or --overwrite")
    return folder


TURN_FRAMES, TURN_SIDE = 48, 256
TURN_SECONDS = 4.0
ROUND = 24  # cameras around the object that see its surface, where it comes without views
ROUND_SIDE, ROUND_LARGEST, ROUND_FIELD = 96, 256, 45.0  # pixels of an object of radius 1, most pixels, degrees
ELEVATIONS = (-0.9, -0.3, 0.3, 0.9)  # radians


class Subject(NamedTuple):
    """A mixture in the canonical frame, what is known of it, and where that frame lies in the input's."""

    mixture: Mixture
    frame: Frame
    color: Float[ANY_ARRAY, "mixture 3"] | None = None
    views: Views | None = None  # whose silhouettes the mesh should have
    mesh: trimesh.Trimesh | None = None  # its surface, see `with_mesh`
    level: float = 0.0  # of the surface; 0: to be searched for, where there are views
    iou: float | None = None  # of the surface's silhouettes and the views'
    narrow: int = 0  # tunnels of the surface that are narrower than two pixels of the views
    seed: int = 0
    deviations: dict[str, np.ndarray] | None = None  # how sure each component is, in the input's unit


def export(
    subject: Subject,
    options: ExportOptions,
    folder: Path,
    on_progress: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> list[Path]:
    """Writes into `folder` whatever `options` name; the files written. Raises ValueError as the writers do."""
    return [path for write in EXPORTS.values() for path in write(subject, options, folder, on_progress)]


def export_mesh(subject: Subject, options: ExportOptions, folder: Path, on_progress: Callable) -> list[Path]:
    """The closed surface."""
    if options.mesh == NONE:
        return []
    mesh = with_mesh(subject, options, on_progress).mesh
    return [write_mesh(folder / f"mesh.{options.mesh}", subject.frame.mesh_to_world(mesh))]


def with_mesh(
    subject: Subject, options: ExportOptions, on_progress: Callable = lambda step, total, loss: None
) -> Subject:
    """The subject with its closed surface, coloured where the mixture is, unless it has one or none is wanted."""
    if options.mesh == NONE or subject.mesh is not None:
        return subject
    mesh, level, overlap, narrow = mesh_mixture(
        subject.mixture, options, subject.views, subject.level, lambda done, total: on_progress(done, total, np.nan)
    )
    if subject.color is not None:
        colors = vertex_colors(subject.mixture, subject.color, np.asarray(mesh.vertices))
        mesh.visual.vertex_colors = np.rint(255.0 * np.clip(colors, 0.0, 1.0)).astype(np.uint8)
    return subject._replace(mesh=mesh, level=level, iou=overlap, narrow=narrow)


def surface_facts(subject: Subject, reference: trimesh.Trimesh | None, seed: int) -> dict[str, Any]:
    """How good the surface is: its level, IoU with the views, errors against a reference in percent of the scale.

    Also its pieces, tunnels (None where it is not closed) and volume, in cubes of the input's unit.
    """
    if subject.mesh is None:
        return {}
    facts = {"level": subject.level, "train_iou": subject.iou, "faces": len(subject.mesh.faces)}
    closed, unit = bool(subject.mesh.is_watertight), float(subject.frame.scale)
    facts |= {"components": int(subject.mesh.body_count), "genus": genus(subject.mesh) if closed else None}
    facts |= {"narrow_tunnels": subject.narrow, "volume": unit**3 * float(subject.mesh.volume)}
    if reference is not None:
        found = mesh_errors(subject.mesh, reference, np.random.default_rng(seed))
        facts |= {"chamfer_percent": 100 * found.chamfer, "chamfer_floor_percent": 100 * found.floor}
        facts |= {"normal_degrees": found.normal_degrees}
    return {"mesh": facts}


def export_points(subject: Subject, options: ExportOptions, folder: Path, on_progress: Callable) -> list[Path]:
    """Points drawn from the volume, and those of the surface that cameras all around see."""
    if options.points == NONE:
        return []
    generator = np.random.default_rng(subject.seed)
    cameras, size = cameras_around(enclosing_ball(subject.mixture))
    clouds: dict[str, Cloud] = {
        "points": volume_points(in_double(subject.mixture), options.num_points, generator),
        "surface_points": surface_points(subject.mixture, cameras, size, subject.color),
    }
    return [
        write_points(folder / f"{name}.{options.points}", cloud_to_world(cloud, subject.frame))
        for name, cloud in clouds.items()
    ]


def cameras_around(ball: Ball) -> tuple[Cameras, tuple[int, int]]:
    """Cameras on rings around the ball, which fills their images, and the images' height and width."""
    side = int(np.clip(np.ceil(ROUND_SIDE * ball.radius), ROUND_SIDE, ROUND_LARGEST))
    distance = ROOM * ball.radius / np.sin(np.deg2rad(ROUND_FIELD) / 2.0)
    lens = pinhole_intrinsics(side, side, ROUND_FIELD)
    rings = [orbit_cameras(ROUND // len(ELEVATIONS), distance, lens, tilt) for tilt in ELEVATIONS]
    cameras = jax.tree.map(lambda *parts: np.concatenate(parts), *rings)
    cameras.world_from_camera[:, :3, 3] += ball.centre
    return cameras, (side, side)


def export_splats(subject: Subject, options: ExportOptions, folder: Path, on_progress: Callable) -> list[Path]:
    """Gaussian splats that look alike."""
    if not options.splats:
        return []
    mixture = subject.frame.mixture_to_world(in_double(subject.mixture))
    return [write_splats(folder / "splats.ply", splats_from_mixture(mixture, subject.color))]


def export_turntable(subject: Subject, options: ExportOptions, folder: Path, on_progress: Callable) -> list[Path]:
    """Colour, depth, normals and components, turning once."""
    if options.turntable == NONE:
        return []
    up = (0.0, 1.0, 0.0) if subject.views is None else common_up(subject.views.cameras)
    turn = turntable(
        subject.mixture, TURN_FRAMES, TURN_SIDE, Look(subject.color, up), lambda n, total: on_progress(n, total, np.nan)
    )
    return [write_moving(folder / f"turntable.{options.turntable}", side_by_side(turn), TURN_SECONDS)]


def write_moving(path: Path, frames: np.ndarray, seconds: float) -> Path:
    """Writes frames as a GIF or MP4 that lasts so long, by the suffix."""
    if path.suffix == ".gif":
        return write_gif(path, frames, seconds / len(frames), 0.0)
    return write_video(path, frames, len(frames) / seconds)


EXPORTS: dict[str, Callable[[Subject, ExportOptions, Path, Callable], list[Path]]] = {
    "mesh": export_mesh,
    "points": export_points,
    "splats": export_splats,
    "turntable": export_turntable,
}


def write_mixture(path: Path, subject: Subject, facts: dict[str, Any]) -> Path:
    """Writes the mixture, in the input's frame and unit, with its colours and what there is to tell of it."""
    mixture = subject.frame.mixture_to_world(in_double(subject.mixture))
    color = None if subject.color is None else np.asarray(subject.color, float)
    return write_model(path, *mixture, facts, {"color": color, **(subject.deviations or {})})
