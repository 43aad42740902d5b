"""Options of captures: what --data reads and how."""

from dataclasses import dataclass

from fmb.options import NONE, option

FORMATS = ("auto", "transforms", "colmap", "co3d", "idr", "projections", "krt", "plain")


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
