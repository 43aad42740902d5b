"""Every option of the program, in sections."""

from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

from fmb.clouds.options import PointsOptions
from fmb.fields.options import MeshOptions
from fmb.files.options import CaptureOptions
from fmb.fit.cluster_options import ClusterOptions
from fmb.geometry.options import ComparisonOptions, ReflectionOptions, RenderingOptions
from fmb.latent.morph_options import MorphOptions
from fmb.latent.options import SpaceOptions
from fmb.options import NONE, Option, option, switch
from fmb.pose.options import PoseTaskOptions
from fmb.shape.batch_options import BatchOptions
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.template_options import TemplateOptions
from fmb.shape.tune_options import TuneOptions
from fmb.single_view.options import EncoderOptions, PredictionOptions

AUTO = "auto"
CHECKOUT = Path(__file__).resolve().parents[1]
INSTALLED = Path(__file__).resolve().with_name("defaults")  # where a wheel keeps config.yaml and data/
DEFAULT_FILE = (INSTALLED if INSTALLED.is_dir() else CHECKOUT) / "config.yaml"
PROGRAM = "fuzzy-metaballs" if INSTALLED.is_dir() else "run_fmb.py"


@dataclass(frozen=True)
class ExportOptions(MeshOptions):
    """Files for other programs, in the input's frame and unit."""

    points: str = option(
        NONE, "Format of points in the volume and of points with normals on the surface", choices=(NONE, "ply", "npy")
    )
    num_points: int = option(20_000, "Number of points in the volume", at_least=1, at_most=10**8)
    splats: bool = option(False, "Write Gaussian splats for splat viewers")
    turntable: str = option(NONE, "Format of a film of the turning mixture", choices=(NONE, "gif", "mp4"))
    film: str = option(NONE, "Format of a film of the masks during the fit", choices=(NONE, "gif", "mp4"))
    uncertainty: bool = option(False, "Write how sure each component is into model.npz, and draw it (some seconds)")
    report: bool = option(True, "Write report.html, a page with all results and a 3-D view")


@dataclass(frozen=True)
class IoOptions:
    """Files and folders."""

    mesh_file: str = option("data/ibex.ply", "Mesh to work on (obj, ply, stl, off, glb or gltf)")
    model_file: str = option(NONE, "Mixture to work on (model.npz, splats as ply or splat, pkl as released)")
    cloud_file: str = option(NONE, "Points to work on (npy, xyz, txt, ply, pts or pcd; a mesh is sampled)")
    shapes: str = option(NONE, "Folder of a space of shapes that task learn has written")
    image_file: str = option(NONE, "Image of an object to make a shape of (png, jpg, ...)")
    shape_file: str = option(NONE, "Shape to compare: a mesh, model.npz or points, of any format that is read")
    reference_file: str = option(NONE, "Shape that it is compared with, of any of these kinds")
    output_dir: str = option(
        AUTO, "Folder of the results (auto: output for shape, that of the model for export, else output/TASK)"
    )


@dataclass(frozen=True)
class Config:
    """All options of a run; `task`, `several` and the switches belong to the command line alone.

    `several` are the files and folders named after a task that works on more than one.
    """

    model: ModelOptions = ModelOptions()
    rendering: RenderingOptions = RenderingOptions()
    optimization: OptimizationOptions = OptimizationOptions()
    capture: CaptureOptions = CaptureOptions()
    pose: PoseTaskOptions = PoseTaskOptions()
    cloud: PointsOptions = PointsOptions()
    space: SpaceOptions = SpaceOptions()
    morph: MorphOptions = MorphOptions()
    comparison: ComparisonOptions = ComparisonOptions()
    reflection: ReflectionOptions = ReflectionOptions()
    template: TemplateOptions = TemplateOptions()
    batch: BatchOptions = BatchOptions()
    tune: TuneOptions = TuneOptions()
    cluster: ClusterOptions = ClusterOptions()
    encoding: EncoderOptions = EncoderOptions()
    prediction: PredictionOptions = PredictionOptions()
    export: ExportOptions = ExportOptions()
    io: IoOptions = IoOptions()
    random_seed: int = option(42, "Seed of every random choice", at_least=0, at_most=2**32 - 1)
    task: str = ""
    several: tuple = ()
    cpu: bool = switch("Use the CPU even if there is a GPU")
    resume: bool = switch("Let shape, points, learn or train-encoder go on with the run that was interrupted")
    overwrite: bool = switch("Let export write into a folder that holds other files, and batch replace other results")
    fast: bool = switch("Let morph evaluate the field only along its last surface, and on a coarse comb")
    json: bool = switch("Let doctor print JSON")
    view: bool = switch("Show the fit in a browser while it runs (shape needs the extra `view`)")
    check_cameras: bool = switch("Only check whether the cameras and masks of --data agree")


@cache
def sections() -> dict[str, type]:
    """The options class of every section by name, in order."""
    return {entry.name: entry.type for entry in fields(Config) if is_dataclass(entry.type)}


@cache
def declared() -> dict[str, Option]:
    """Every option by name, in order; names are unique over all sections, as flags must be."""
    found = [(section, entry) for section, kind in {**sections(), "": Config}.items() for entry in fields(kind)]
    found = [(section, entry) for section, entry in found if "text" in entry.metadata]
    return {e.name: Option(section, e.name, e.type, e.default, e.metadata) for section, e in found}


@cache
def switches() -> dict[str, str]:
    """The help of every flag without a value, by name."""
    return {entry.name: entry.metadata["switch"] for entry in fields(Config) if "switch" in entry.metadata}
