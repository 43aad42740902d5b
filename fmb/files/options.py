"""Options of captures: what --data reads and how."""

from dataclasses import dataclass

from fmb.options import NONE, option

# Files that --mesh-file and --model-file can name. The command line knows them without loading the readers.
MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf")
MODEL_SUFFIXES = (".npz", ".pkl", ".ply", ".splat")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
FILE_SUFFIXES = tuple(dict.fromkeys((*MESH_SUFFIXES, *MODEL_SUFFIXES)))
FORMATS = ("auto", "transforms", "colmap", "co3d", "idr", "projections", "krt", "plain", "llff", "ners", "npz")


@dataclass(frozen=True)
class CaptureOptions:
    """A capture: photographs with masks and cameras, to fit to in place of a mesh."""

    data: str = option(NONE, "Folder of masks and cameras to fit to in place of a mesh")
    format: str = option("auto", "Its format", choices=FORMATS)
    longest_side: int = option(
        160, "Longest side in pixels to which images are reduced (0: full size)", at_least=0, at_most=65_536
    )
    stream_views: str = option(
        "auto",
        "Read views from disk during the fit (auto: where memory is short)",
        choices=("auto", "always", "never"),
    )
    hold_out: int = option(
        5, "Keep one view in so many out of the fit, to measure it (0: use all views)", at_least=0, at_most=10_000
    )
    refine_cameras: bool = option(False, "Fit the cameras as well, by turns with the shape")
    camera_degrees: float = option(
        2.0, "How far cameras to refine may be off, in degrees and in % of the size", above=0, at_most=60
    )
    turntable_degrees: float = option(
        0.0,
        "Turn from image to image, if only that is known of the cameras (0: they are known)",
        at_least=0,
        at_most=180,
    )
    fit_color: bool = option(True, "Give each component a colour, where the images have colours")
