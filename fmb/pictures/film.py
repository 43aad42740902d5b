"""A film of a fit as arrays of pixels: the masks of mixture and reference at each snapshot (as in Fig. 7), and it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from fm_render import Mixture
from fmb.fields.looks import look
from fmb.geometry.metrics import iou
from fmb.geometry.views import Views
from fmb.pictures.ellipsoids import enclosing_ball
from fmb.pictures.sheets import AGREE, BLUE, NOTHING, ORANGE, SEAM, grid_columns, lettered
from fmb.pictures.turntable import camera_pictures, common_up, turn_cameras

LEAST_WIDTH = 480  # pixels; small views are enlarged by a whole factor
FOOT, MARGIN = 40, 12  # pixels of the strip for words under the tiles, and around all
PAPER, TRACK = 255, 226
HOLD = 12  # frames for which the last picture of a film stays
LAST = 36  # frames for which the end of a fit turns
TURN, LARGEST = 72, 300  # frames of a whole turn of the mixture beside the masks, and most pixels of its side


class Snapshot(NamedTuple):
    """The state of a fit after `step` of `total` steps, in the frame of its views."""

    step: int
    total: int
    loss: float
    mixture: Mixture


class Recorder:
    """Keeps about `count` snapshots of a fit, more of them at its beginning, where most happens."""

    def __init__(self, count: int = 48):
        self.count, self.snapshots = count, []

    def __call__(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """Keeps this state if its turn has come; the last one is always kept."""
        if step >= total or step * self.count**2 >= total * len(self.snapshots) ** 2:
            self.snapshots.append(Snapshot(step, total, loss, mixture))


def film(
    snapshots: Sequence[Snapshot], views: Views, on_progress: Callable[[int, int], None] = lambda frame, total: None
) -> UInt8[np.ndarray, "frame tall wide 3"]:
    """A frame for each snapshot (LAST for the last): the masks of `views` and of the mixture, and it, lit and turning.

    Raises ValueError without snapshots.
    """
    if not snapshots:
        raise ValueError("film of a fit: no snapshots")
    reference, frames, count = np.asarray(views.silhouette, float), [], len(snapshots)
    side = min(tall_of(reference.shape), LARGEST)
    turn = turn_cameras(enclosing_ball(snapshots[-1].mixture), TURN, side, common_up(views.cameras))
    for number in range(count + LAST - 1):
        if number < count:
            shot = snapshots[number]
            alpha = look(shot.mixture, views.cameras, reference.shape[1:]).alpha
            page = frame(alpha, reference, words(shot, iou(alpha, reference, views.valid)), shot.step / shot.total)
        at = number % TURN
        camera = jax.tree.map(lambda field, at=at: field[at : at + 1], turn)
        frames.append(beside(page, camera_pictures(shot.mixture, camera, side).color))
        on_progress(number + 1, count + LAST - 1)
    return np.stack(frames)


def tall_of(shape: tuple[int, ...]) -> int:
    """Height of all tiles of a frame, for silhouettes of that shape."""
    count, height, width = shape
    columns = grid_columns(count, height, width)
    return math.ceil(count / columns) * (math.ceil(LEAST_WIDTH / (columns * width)) * height + SEAM) - SEAM


def beside(
    page: UInt8[np.ndarray, "tall wide 3"], picture: UInt8[np.ndarray, "side side 3"]
) -> UInt8[np.ndarray, "tall wider 3"]:
    """The page with a square picture to its right, in the middle of the tiles."""
    side = len(picture)
    wider = np.full((len(page), side + MARGIN, 3), PAPER, np.uint8)
    top = (len(page) - FOOT - side) // 2
    wider[top : top + side, :side] = picture
    return np.concatenate([page, wider], axis=1)


def words(shot: Snapshot, overlap: float) -> str:
    """The words under a frame."""
    loss = f"loss {shot.loss:.4f}   " if math.isfinite(shot.loss) else ""
    return f"step {shot.step} of {shot.total}   {loss}IoU {overlap:.3f}"


def frame(
    alpha: Float[np.ndarray, "view height width"],
    reference: Float[np.ndarray, "view height width"],
    text: str,
    progress: float,
) -> UInt8[np.ndarray, "tall wide 3"]:
    """The tiles of all views, `text` under them, and a bar over the part `progress` of the width."""
    tiles = overlay(alpha, reference)
    count, height, width = tiles.shape[:3]
    columns = grid_columns(count, height, width)
    rows, factor = math.ceil(count / columns), math.ceil(LEAST_WIDTH / (columns * width))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    tall, wide = tiles.shape[1] + SEAM, tiles.shape[2] + SEAM
    page = np.full((rows * tall + 2 * MARGIN + FOOT, columns * wide - SEAM + 2 * MARGIN, 3), PAPER, np.uint8)
    for view, tile in enumerate(tiles):
        top, left = MARGIN + view // columns * tall, MARGIN + view % columns * wide
        page[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    line = MARGIN + rows * tall + 4
    page[line : line + 3, MARGIN:-MARGIN] = TRACK
    page[line : line + 3, MARGIN : MARGIN + round(progress * (page.shape[1] - 2 * MARGIN))] = rgb(BLUE)
    return lettered(page, text, (MARGIN, line + 9))


def overlay(
    alpha: Float[np.ndarray, "view height width"], reference: Float[np.ndarray, "view height width"]
) -> UInt8[np.ndarray, "view height width 3"]:
    """The colours of `overlay_sheet`, mixed by both opacities: grey in both, orange missing, blue too much."""
    a, r = alpha[..., None], reference[..., None]
    parts = ((a * r, AGREE), ((1.0 - a) * r, ORANGE), (a * (1.0 - r), BLUE), ((1.0 - a) * (1.0 - r), NOTHING))
    return np.round(sum(share * rgb(color) for share, color in parts)).astype(np.uint8)


def rgb(code: str) -> Float[np.ndarray, "3"]:
    """Red, green and blue of #rrggbb, 0 to 255."""
    return np.array([int(code[start : start + 2], 16) for start in (1, 3, 5)], float)
