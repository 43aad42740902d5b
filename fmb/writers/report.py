"""report.html: one file with everything in it."""

from pathlib import Path

import numpy as np

from fmb.show.report import Picture, Report, report_page
from util import write_text

ASSETS = Path(__file__).resolve().parents[1] / "show" / "report_assets"


def write_report(path: Path, report: Report) -> Path:
    """Writes the report as a page of HTML."""
    return write_text(path, report_page(report, read_assets()))


def read_assets() -> dict[str, str]:
    """The parts of the page by name of file."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(ASSETS.iterdir()) if file.is_file()}


def read_pictures(folder: Path) -> list[Picture]:
    """The run's own pictures, NN_name.png, in the order of their numbers, captions from their names.

    Without the convergence, which the page draws itself.
    """
    from PIL import Image

    pictures = []
    for file in sorted(folder.glob("[0-9][0-9]_*.png")):
        if file.stem.endswith("_convergence"):
            continue
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        pictures.append(Picture(file.stem[3:].replace("_", " ").capitalize(), pixels))
    return pictures
