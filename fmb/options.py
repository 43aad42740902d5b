"""Every option once: its name, type, default, text and limits feed config.yaml, the flags and `--help`."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Real
from typing import Any, NamedTuple

WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(r"[+-]?\.?(inf|infinity|nan)", re.IGNORECASE)
NONE = "none"  # stands for no file
# What each task may be told to work on.
READS = {
    "shape": ("mesh_file", "data"),
    "pose": ("mesh_file", "model_file"),
    "track": ("mesh_file", "model_file"),
    "export": ("model_file",),
    "convert": ("mesh_file",),
}
FORMATS = ("auto", "transforms", "colmap", "co3d", "idr", "projections", "krt", "plain")
EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "printable text"}


class ConfigError(ValueError):
    """One line that names the file or flag, the value found and what is allowed."""


def option(
    default: Any,
    text: str,
    at_least: Real | None = None,
    above: Real | None = None,
    at_most: Real | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field; `text` is its help, its comment in config.yaml and its only documentation."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "choices": choices}
    return field(default=default, metadata={"text": text, **limits})


def switch(text: str) -> Any:
    """A field of the command line alone: a flag without a value; `text` is its help."""
    return field(default=False, metadata={"switch": text})


@dataclass(frozen=True)
class ModelOptions:
    """The mixture and its start."""

    num_mixtures: int = option(40, "components of the mixture", at_least=1, at_most=100_000)
    init: str = option(
        "auto",
        "start; auto is volume_gmm, of mesh or hull",
        choices=("auto", "volume_gmm", "surface_gmm", "sphere"),
    )
    gmm_points: int = option(20_000, "points of the mesh that a GMM start is fitted to", at_least=10, at_most=10**7)
    gmm_init_scale: float = option(1.0, "factor on the weights of the start", above=0, at_most=1000)
    rand_sphere_size: float = option(
        30.0, "precision of a sphere start: larger means smaller blobs", above=0, at_most=1e6
    )


@dataclass(frozen=True)
class RenderingOptions:
    """The views of the mesh that are fitted to."""

    num_views: int = option(20, "views in random directions", at_least=1, at_most=10_000)
    image_width: int = option(64, "width of a view in pixels", at_least=8, at_most=8192)
    image_height: int = option(64, "height of a view in pixels", at_least=8, at_most=8192)
    vfov_degrees: float = option(45.0, "vertical field of view in degrees", at_least=1, at_most=150)
    camera_distance: float = option(3.0, "distance to the middle of the object in object scales", above=1, at_most=1000)
    ground_truth: str = option(
        "auto",
        "of the mesh; auto is pyrender where OpenGL works, else raycast",
        choices=("auto", "pyrender", "raycast"),
    )


@dataclass(frozen=True)
class OptimizationOptions:
    """The fit of the mixture to the silhouettes."""

    recipe: str = option(
        "best",
        "way to fit; predecessor is the released one, with numbers of its own",
        choices=("best", "predecessor"),
    )
    num_epochs: int = option(
        100, "passes over the rays: all near an outline, a quarter of the others", at_least=1, at_most=100_000
    )
    batch_size: int = option(2048, "rays of one step", at_least=1, at_most=10**7)
    initial_lr: float = option(0.06, "largest learning rate of Adam", above=0, at_most=10)
    schedule: str = option(
        "cosine", "course of the learning rate", choices=("cosine", "one_cycle", "plateau", "constant")
    )
    early_stop: bool = option(True, "end sooner once the loss has stalled")
    opt_shape_scale: float = option(
        2.2, "scale of the object while it is fitted; matters to recipe predecessor alone", above=0, at_most=1000
    )
    depth_weight: float = option(
        0.0, "of depth errors, in object scales, beside silhouettes'; convert takes 3 for 0", at_least=0, at_most=1000
    )
    point_weight: float = option(
        0.0, "of how far given points of the surface are off it, likewise; needs points", at_least=0, at_most=1000
    )


# What recipe "predecessor" uses, whatever config.yaml says; flags that say otherwise are refused.
RELEASED = {"num_epochs": 10, "batch_size": 800, "initial_lr": 0.1, "schedule": "plateau", "early_stop": True}


@dataclass(frozen=True)
class CaptureOptions:
    """A capture, photographs with masks and cameras, to fit to in place of a mesh."""

    data: str = option(NONE, "folder of the capture, or none")
    format: str = option("auto", "of the capture", choices=FORMATS)
    longest_side: int = option(
        160, "longest side of an image once it is thinned; 0 keeps all pixels", at_least=0, at_most=65_536
    )
    hold_out: int = option(
        5, "one view in so many is left out of the fit and measures it; 0 leaves out none", at_least=0, at_most=10_000
    )
    refine_cameras: bool = option(False, "fit the cameras, too: by turns with the shape, each to its own mask")
    fit_color: bool = option(True, "give each component a colour, where the images have some")


@dataclass(frozen=True)
class PoseTaskOptions:
    """The camera's pose from depth and mask, simulated or from files (tasks pose and track)."""

    method: str = option(
        "levenberg_marquardt",
        "way to the pose; first_order is the paper's",
        choices=("levenberg_marquardt", "first_order"),
    )
    evidence: str = option("both", "what the pose is found from", choices=("both", "depth", "mask"))
    num_starts: int = option(24, "poses around the given one that are tried; 0 tries none", at_least=0, at_most=200)
    depth_file: str = option(NONE, "depth image (png of 16 bits or npy), or none")
    depth_unit: float = option(
        0.001, "length of 1 in a depth png of whole numbers, in the model's unit", above=0, at_most=1e6
    )
    mask_file: str = option(NONE, "mask, or none; without depth and mask a random view is simulated")
    intrinsics_file: str = option(NONE, "focal lengths and principal point (json or a 3 x 3 matrix in txt)")
    initial_pose_file: str = option(NONE, "pose to start from (json, npy or txt)")
    perturb_degrees: float = option(45.0, "largest turn of a simulated start", at_least=0, at_most=180)
    perturb_size: float = option(0.5, "largest move of a simulated start, in object scales", at_least=0, at_most=10)
    sensor_noise: float = option(0.0, "strength of a depth camera's noise; 1 is a common one", at_least=0, at_most=10)
    num_frames: int = option(90, "frames of a simulated track", at_least=2, at_most=10_000)
    bop_dir: str = option(NONE, "scene in BOP's format: all its objects are looked for, from starts near the truth")


@dataclass(frozen=True)
class ExportOptions:
    """What a run leaves beside its model, in the input's frame and unit (task export: of a model made earlier)."""

    mesh: str = option("ply", "closed surface", choices=(NONE, "ply", "obj", "glb", "stl"))
    mesh_field: str = option(
        "hull", "its surface: what all silhouettes allow, or a level of the density", choices=("hull", "density")
    )
    mesh_resolution: int = option(96, "cells along the longest side of it", at_least=16, at_most=1024)
    mesh_faces: int = option(0, "triangles of it, at most; 0 keeps all", at_least=0, at_most=10**8)
    points: str = option(NONE, "points in the volume, and on the surface with normals", choices=(NONE, "ply", "npy"))
    num_points: int = option(20_000, "points in the volume", at_least=1, at_most=10**8)
    splats: bool = option(False, "Gaussian splats, for their viewers")
    turntable: str = option(NONE, "the mixture turning", choices=(NONE, "gif", "mp4"))
    film: str = option(NONE, "the masks in the course of the fit", choices=(NONE, "gif", "mp4"))
    report: bool = option(True, "page of everything, with a view to turn")


@dataclass(frozen=True)
class IoOptions:
    """Files and folders."""

    mesh_file: str = option("data/ibex.ply", "mesh to fit to (obj, ply, stl, off, glb or gltf)")
    model_file: str = option("none", "mixture to work on: model.npz, splats (ply), a released pkl; or none")
    output_dir: str = option("output", "folder of the results; pose, track and convert have one of their own in it")


@dataclass(frozen=True)
class Config:
    """All options of a run; `task` and the switches belong to the command line alone."""

    model: ModelOptions = ModelOptions()
    rendering: RenderingOptions = RenderingOptions()
    optimization: OptimizationOptions = OptimizationOptions()
    capture: CaptureOptions = CaptureOptions()
    pose: PoseTaskOptions = PoseTaskOptions()
    export: ExportOptions = ExportOptions()
    io: IoOptions = IoOptions()
    random_seed: int = option(42, "seed of every random choice", at_least=0, at_most=2**32 - 1)
    task: str = ""
    cpu: bool = switch("use the CPU even where there is a GPU")
    overwrite: bool = switch("export into a folder that is neither empty nor the model's")
    view: bool = switch("show the fit in a browser while it runs (needs the extra `view`)")
    check_cameras: bool = switch("only tell whether the cameras and masks of --data agree")


class Option(NamedTuple):
    """A declared option; `section` is empty at the top level."""

    section: str
    name: str
    type: type
    default: Any
    limits: Mapping[str, Any]

    @property
    def flag(self) -> str:
        """The flag as it is typed."""
        return "--" + self.name.replace("_", "-")


def sections() -> dict[str, type]:
    """The options class of every section by name, in order."""
    return {entry.name: entry.type for entry in fields(Config) if is_dataclass(entry.type)}


def options() -> dict[str, Option]:
    """Every option by name, in order; names are unique over all sections, as flags must be."""
    declared = [(section, entry) for section, kind in sections().items() for entry in fields(kind)]
    declared += [("", entry) for entry in fields(Config) if "text" in entry.metadata]
    return {e.name: Option(section, e.name, e.type, e.default, e.metadata) for section, e in declared}


def switches() -> dict[str, str]:
    """The help of every flag without a value, by name."""
    return {entry.name: entry.metadata["switch"] for entry in fields(Config) if "switch" in entry.metadata}


def parse_value(declared: Option, text: str, label: str) -> Any:
    """The value that `text` spells: of the option's type and within its limits, else ConfigError after `label`."""
    wanted = expected(declared)
    if declared.type is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if declared.type is int and WHOLE.fullmatch(text):
        if len(text) < 20:
            return check_limits(declared, int(text), label)
        wanted = "a whole number of fewer than 20 digits"
    if declared.type is float and NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return check_limits(declared, float(text), label)
    if declared.type is float and (NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text)):
        wanted = "a finite number"
    choices = declared.limits["choices"]
    if choices is not None:
        if text in choices:
            return text
        raise ConfigError(f"{label} is {quote(text)}{did_you_mean(text, choices)}; must be {wanted}")
    if declared.type is str and text.strip() and text.isprintable():
        return text
    raise ConfigError(f"{label} is {quote(text)}; must be {wanted}")


def check_limits(declared: Option, value: Real, label: str) -> Real:
    """The number, unless it is out of the option's range."""
    low, above, high = (declared.limits[key] for key in ("at_least", "above", "at_most"))
    if low is not None and value < low:
        raise ConfigError(f"{label} is {value}; must be at least {low}")
    if above is not None and value <= above:
        raise ConfigError(f"{label} is {value}; must be above {above}")
    if high is not None and value > high:
        raise ConfigError(f"{label} is {value}; must be at most {high}")
    return value


def expected(declared: Option) -> str:
    """What kind of value the option takes, in words."""
    choices = declared.limits["choices"]
    return f"one of {', '.join(choices)}" if choices else EXPECTED[declared.type]


def description(declared: Option) -> str:
    """The option's text, after its choices where there are some."""
    choices = declared.limits["choices"]
    return (f"{' | '.join(choices)}: " if choices else "") + declared.limits["text"]


def quote(text: str) -> str:
    """The text between quotes, as one short line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """A question after the nearest name, or nothing where none is near."""
    close = difflib.get_close_matches(text, list(names), 1)
    return f" (did you mean {close[0]}?)" if close else ""
