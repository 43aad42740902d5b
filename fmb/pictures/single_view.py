"""Pictures of shapes from one image: input, prediction and truth from two sides, and a film of a training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fmb.pictures.film import FOOT, MARGIN, PAPER, TRACK, lettered, overlay, rgb
from fmb.pictures.sheets import AGREE, BLUE, ORANGE, SEAM, Sheet
from fmb.pictures.turntable import on_white

PANEL = 128  # pixels of an image in a sheet
FILM_PANEL = 96  # and in a film
COLUMNS = 4  # of a film


class Shown(NamedTuple):
    """Images of some shapes: what the encoder sees, what it makes of that, and both from another side; on white."""

    image: UInt8[np.ndarray, "shape size size 3"]
    prediction: UInt8[np.ndarray, "shape size size 3"]
    aside: UInt8[np.ndarray, "shape size size 3"]
    truth: UInt8[np.ndarray, "shape size size 3"]


def shown(
    color: Float[np.ndarray, "shape view size size 3"],
    silhouette: Float[np.ndarray, "shape view size size"],
    predicted: Float[np.ndarray, "shape view size size 3"],
    alpha: Float[np.ndarray, "shape view size size"],
) -> Shown:
    """Of two views of each shape, the first of them the input: all four on white."""
    given, made = on_white(color, silhouette), on_white(predicted, alpha)
    return Shown(given[:, 0], made[:, 0], made[:, 1], given[:, 1])


def prediction_sheet(found: Shown, labels: Sequence[str], note: str) -> Sheet:
    """The four images of every shape side by side."""
    tiles = np.concatenate(with_seams(found), axis=2)
    return Sheet("Shapes from one image", note, tiles, list(labels))


def with_seams(found: Shown) -> list[np.ndarray]:
    """The parts with a white line to the right of all but the last."""
    parts = [enlarged(part, PANEL) for part in found]
    seam = np.full((*parts[0].shape[:2], SEAM, 3), 255, np.uint8)
    return [np.concatenate([part, seam], axis=2) for part in parts[:-1]] + parts[-1:]


def enlarged(images: UInt8[np.ndarray, "shape size wide 3"], side: int) -> UInt8[np.ndarray, "shape tall wider 3"]:
    """The images by the whole factor that brings them nearest to `side` pixels; never smaller."""
    factor = max(1, round(side / images.shape[1]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def film_frame(found: Shown, words: str, progress: float) -> UInt8[np.ndarray, "tall wide 3"]:
    """Image and prediction of every shape, words under them, and a bar over the part `progress` of the width."""
    pairs = np.concatenate([enlarged(found.image, FILM_PANEL), enlarged(found.prediction, FILM_PANEL)], axis=2)
    count, tall, wide = pairs.shape[:3]
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    high, broad = tall + SEAM, wide + 2 * SEAM
    page = np.full((rows * high + 2 * MARGIN + FOOT, columns * broad - 2 * SEAM + 2 * MARGIN, 3), PAPER, np.uint8)
    for number, pair in enumerate(pairs):
        top, left = MARGIN + number // columns * high, MARGIN + number % columns * broad
        page[top : top + tall, left : left + wide] = pair
    line = MARGIN + rows * high + 4
    page[line : line + 3, MARGIN:-MARGIN] = TRACK
    page[line : line + 3, MARGIN : MARGIN + round(progress * (page.shape[1] - 2 * MARGIN))] = rgb(BLUE)
    return lettered(page, words, (MARGIN, line + 9))


def shape_sheet(
    color: Float[np.ndarray, "size size 3"],
    silhouette: Bool[np.ndarray, "size size"],
    alpha: Float[np.ndarray, "size size"],
    around: Sequence[UInt8[np.ndarray, "side side 3"]],
    labels: Sequence[str],
    note: str,
) -> Sheet:
    """The image, both masks over one another, and the shape from all around; all of one size."""
    side = around[0].shape[0] if len(around) else 2 * PANEL
    masks = overlay(alpha[None], silhouette[None].astype(float))
    images = np.concatenate([on_white(color, np.ones(silhouette.shape))[None], masks])
    factor = max(1, side // len(silhouette))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    page = np.full((len(images), side, side, 3), 255, np.uint8)
    room = (side - images.shape[1]) // 2
    page[:, room : room + images.shape[1], room : room + images.shape[2]] = images
    legend = {"in both": AGREE, "missing from the shape": ORANGE, "extra in the shape": BLUE}
    return Sheet("A shape from one image", note, np.concatenate([page, *(x[None] for x in around)]), labels, (), legend)
