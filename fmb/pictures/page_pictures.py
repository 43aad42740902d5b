"""Pictures as a page holds them: smaller, of few colours, as text. Imports little, for processes that draw."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

WIDEST = 1600  # pixels of a picture in the page; larger ones are thinned
COLORS = 256  # of a picture in the page: less than half of the bytes, without a visible difference


class Picture(NamedTuple):
    """A picture as a data URI, its size in pixels and its caption."""

    caption: str
    source: str
    width: int
    height: int


def page_picture(caption: str, pixels: UInt8[np.ndarray, "height width 3"]) -> Picture:
    """The picture for a page."""
    width = min(pixels.shape[1], WIDEST)
    height = max(round(pixels.shape[0] * width / pixels.shape[1]), 1)
    return Picture(caption, png_uri(pixels, (width, height), COLORS), width, height)


def png_uri(
    pixels: UInt8[np.ndarray, "height width channel"], size: tuple[int, int] | None = None, colors: int | None = None
) -> str:
    """The picture as a PNG data URI; `size` (width, height) and number of colours are changed where given."""
    from PIL import Image

    picture, file = Image.fromarray(pixels), io.BytesIO()
    if size is not None and size != picture.size:
        picture = picture.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if colors is not None:
        picture = picture.quantize(colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(file, format="png", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def read_pictures(folder: Path) -> list[Picture]:
    """The pictures NN_name.png of the run, in the order of their numbers; their captions are their titles.

    The portrait comes first. The convergence is left out, since the page draws it itself.
    """
    from PIL import Image

    pictures = []
    files = sorted(folder.glob("[0-9][0-9]_*.png"), key=lambda file: (not file.stem.endswith("_portrait"), file.name))
    for file in files:
        if file.stem.endswith("_convergence"):
            continue
        with Image.open(file) as image:
            pixels, title = np.asarray(image.convert("RGB")), str(getattr(image, "text", {}).get("Title", ""))
        pictures.append(page_picture(title or file.stem[3:].replace("_", " ").capitalize(), pixels))
    return pictures
