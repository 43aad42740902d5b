"""The program as functions: read, fit, render, find a pose, write. Everything is in the input's own frame and unit.

A `Model` keeps its mixture in a canonical frame, about its middle and in units of its size, together with that frame;
the functions here take and return cameras, depths and meshes in the input's frame.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import trimesh
from jaxtyping import Float

from fm_render import Mixture
from fmb.command.load import load_config
from fmb.config import declared
from fmb.fields.depths import surface_depth
from fmb.fields.looks import look, surface_normals
from fmb.fields.metaballs import HALF_DENSITY, best_level, mesh_mixture
from fmb.fields.mixtures import in_double, in_single
from fmb.fields.options import MeshOptions
from fmb.files.captures.read import Capture, read_capture
from fmb.files.mesh_output import write_mesh
from fmb.files.meshes import read_mesh
from fmb.files.models import Model, level_of, read_mixture, write_model
from fmb.files.options import CaptureOptions
from fmb.fit.programs import MOST_KINDS
from fmb.geometry.cameras import ANY_ARRAY, Cameras
from fmb.geometry.poses import PoseEstimate
from fmb.geometry.views import Images, Views
from fmb.pose.estimate import PoseProgram, compile_pose
from fmb.pose.observation import Observation, image_size
from fmb.pose.options import PoseOptions
from fmb.pose.visibility import find_visible
from fmb.shape.distillation import taught
from fmb.shape.recipe import compile_shape_fit
from fmb.shape.start import other_starts, start_mixture
from fmb.shape.symmetry_fit import Aim, fit_with_symmetry, symmetry_record
from fmb.tasks.counted import with_count
from fmb.tasks.scenes import open_scene, scene_of_capture, scene_of_mesh
from fmb.tasks.shape import streams

# Options, or sections of them, that only the program reads: what it writes, other tasks, cameras fitted by turns.
UNREAD = ("export", "io", "pose", "refine_cameras", "camera_degrees", "fit_color", "data", "stream_views")


def section_of(name: str) -> str:
    """The section of an option; nothing for a name that is none, which the options' own check refuses."""
    spec = declared().get(name)
    return spec.section if spec else ""


def load_mesh(path: str | Path) -> trimesh.Trimesh:
    """The triangles of a mesh file, cleaned, in the file's frame; what is odd about the file is told on stderr.

    Raises ValueError where there is nothing to use.
    """
    return read_mesh(path)


def load_capture(folder: str | Path, longest_side: int = CaptureOptions.longest_side) -> Capture:
    """Masks, images and cameras of a folder in a format that is recognised; images thinned to `longest_side` pixels.

    `capture.views.cameras` are in the data's frame. Raises ValueError where the folder is no capture.
    """
    return read_capture(str(folder), "auto", longest_side)


def load_model(path: str | Path) -> Model:
    """The mixture in a model.npz, a PLY of Gaussian splats or a file of the released program.

    Raises ValueError for another suffix or a damaged file.
    """
    return read_mixture(path)


def fit_shape(source: str | Path | trimesh.Trimesh | Capture, **options: Any) -> Model:
    """The mixture fitted to the silhouettes of a mesh or of a capture, loaded, or named by its file or folder.

    `options` are those of config.yaml by name: fit_shape("cow.obj", num_mixtures="auto"). What is loaded already is
    taken as it is, whatever options say of reading; of a capture, one view in five stays out of the fit (`hold_out`).
    The model has no colours. The first fit of a process compiles for some seconds. Raises ValueError for a wrong
    option or input or one that belongs to the program's files (UNREAD), and FloatingPointError where the loss is no
    longer finite.
    """
    unread = sorted(name for name in options if name in UNREAD or section_of(name) in UNREAD)
    if unread:
        raise ValueError(f"fit_shape does not read {unread[0]}; run the program for it")
    flags = [f"--{name.replace('_', '-')}={_text(value)}" for name, value in options.items()]
    named = [str(source)] if isinstance(source, (str, Path)) else []
    config = load_config(["shape", *named, *flags], ("shape",))
    scene_generator, fit_generator = streams(config)
    if named:
        scene = open_scene(config, scene_generator)
    else:
        scene_of = scene_of_mesh if isinstance(source, trimesh.Trimesh) else scene_of_capture
        scene = scene_of(config, scene_generator, source)
    views = scene.look().views["train"]
    config, counted = with_count(config, config.optimization, views, scene.mesh, scene.inside, scene.surface)
    start = start_mixture(scene.mesh, config.model, config.random_seed, config.optimization.recipe, scene.inside)
    program = compile_shape_fit(start.mixture, scene.shape, config.optimization)
    aim = Aim(views, config.optimization, fit_generator, scene.surface)
    if config.optimization.teachers:
        sources = scene.mesh, config.model, config.random_seed, config.optimization.recipe, scene.inside
        program, aim = taught(program, other_starts(start.mixture, *sources), aim, config.optimization.teachers)
    found, symmetry = fit_with_symmetry(config.model.symmetry, program, start.mixture, aim)
    facts = {} if symmetry is None else {"symmetry": symmetry_record(symmetry, found, scene.frame)}
    facts |= counted | {
        "scale": float(scene.frame.scale),
        "steps": len(found.history.step),
        **surface_level(found.mixture, views),
    }
    return Model(in_double(found.mixture), scene.frame, None, facts)


def render(model: Model, cameras: Cameras, size: tuple[int, int]) -> Images:
    """Alpha [view, height, width], and depth and normals [..., 3] of the surface, NaN where a ray meets none.

    `cameras` (world_from_camera [view, 4, 4], intrinsics [view, 3, 3] in pixels; `Cameras.look_at` makes some), depths
    and normals are in the input's frame and unit, `size` is (height, width). Raises ValueError where shapes do not fit.
    For gradients call fm_render.render_views or views_loss on `model.mixture`, which is in the canonical frame, with
    `model.frame.cameras_to_canonical(cameras)`.
    """
    check_cameras(cameras, size)
    mixture, canonical = in_single(model.mixture), model.frame.cameras_to_canonical(cameras)
    depth = surface_depth(mixture, canonical, size)
    normal = surface_normals(mixture, canonical, depth)  # frames only scale and move, so axes are the input's
    return Images(look(mixture, canonical, size).alpha, float(model.frame.scale) * depth, None, normal)


def check_cameras(cameras: Cameras, size: tuple[int, int]) -> None:
    """Raises ValueError for cameras and a size of images that make no sense."""
    pose, lens = np.shape(cameras.world_from_camera), np.shape(cameras.intrinsics)
    if len(pose) != 3 or pose[1:] != (4, 4) or lens != (pose[0], 3, 3):
        raise ValueError(
            f"cameras of shapes {pose} and {lens}; must be (view, 4, 4) and (view, 3, 3), one view or more"
        )
    if np.shape(size) != (2,) or min(size) < 1:
        raise ValueError(f"size {size}: must be (height, width), at least 1 each")


def estimate_pose(
    model: Model,
    intrinsics: Float[ANY_ARRAY, "3 3"],
    start: Float[ANY_ARRAY, "4 4"],
    depth: Float[ANY_ARRAY, "height width"] | None = None,
    silhouette: Float[ANY_ARRAY, "height width"] | None = None,
) -> PoseEstimate:
    """The camera's pose before the model, world_from_camera, near `start`, from a depth image, a silhouette, or both.

    Intrinsics count pixels from the corner of the image: the centre of pixel (0, 0) is (0.5, 0.5). Depth is along the
    optical axis in the model's unit, NaN or 0 where nothing was measured; the silhouette is 0 to 1. Raises ValueError
    where these make no sense together. The first call for a size of image compiles for some seconds.
    """
    frame, mixture = model.frame, in_single(model.mixture)
    scaled = None if depth is None else np.asarray(depth, float) / float(frame.scale)
    observation = Observation(np.asarray(intrinsics, float), scaled, silhouette)
    evidence = "mask" if depth is None else "depth" if silhouette is None else "both"
    camera = Cameras(np.asarray(start, float)[None], observation.intrinsics[None])
    begun = frame.cameras_to_canonical(camera).world_from_camera[0]
    program = _pose_program(len(mixture.mean), image_size(observation), evidence)
    return find_visible(program, mixture, observation, begun, 1.0).to_world(frame)


@lru_cache(maxsize=MOST_KINDS)
def _pose_program(count: int, size: tuple[int, int], evidence: str) -> PoseProgram:
    mixture = in_single(Mixture(np.zeros((count, 3)), np.zeros((count, 3, 3)), np.zeros(count)))
    return compile_pose(mixture, size, PoseOptions(evidence=evidence))


def surface_level(mixture: Mixture, views: Views) -> dict[str, Any]:
    """The level at which the surface fits the views' silhouettes best, as the program writes it into model.npz."""
    try:
        return {"mesh": {"level": best_level(mixture, MeshOptions.mesh_field, views)}}
    except ValueError:  # too thin to have a surface; the fit is kept, and to_mesh says so
        return {}


def to_mesh(model: Model, level: float | None = None) -> trimesh.Trimesh:
    """The model's closed surface, outward, in the input's frame.

    `level` is the density of the field at the surface: lower is fatter. None takes the level that fits the silhouettes
    best, which the fit has written into the model, and ln 2 for a model from elsewhere. Raises ValueError for a level
    that is not positive and where nothing is dense enough.
    """
    known = level_of(model.facts) or HALF_DENSITY
    if level is not None and not level > 0.0:
        raise ValueError(f"level {level}: must be positive")
    found = mesh_mixture(in_single(model.mixture), level=float(known if level is None else level))
    return model.frame.mesh_to_world(found.mesh)


def save_model(path: str | Path, model: Model) -> Path:
    """Writes a model.npz in the input's frame and double precision; see docs/assets.md for what it holds.

    Raises ValueError for another suffix.
    """
    if Path(path).suffix.lower() != ".npz":
        raise ValueError(f"{path}: a model is written as .npz")
    mixture = model.frame.mixture_to_world(in_double(model.mixture))
    return write_model(Path(path), *jax.tree.map(np.asarray, mixture), model.facts, {"color": model.color})


def save_mesh(path: str | Path, mesh: trimesh.Trimesh) -> Path:
    """Writes a mesh as PLY, OBJ, GLB or STL, by the suffix. Raises ValueError for another one."""
    return write_mesh(Path(path), mesh)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
