"""Films: frames of pixels as one animated picture that any browser shows."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from util import replacing

COLORS = 256  # of a GIF's palette
HUNDREDTH = 10  # milliseconds: the unit of time in a GIF


def write_gif(path: Path, frames: UInt8[np.ndarray, "frame height width 3"], seconds: float, rest: float = 1.5) -> Path:
    """Writes the frames as a GIF that repeats, each shown for `seconds` and the last for `rest` longer.

    All frames share one palette, made from several of them: colours neither flicker nor drift. Between frames only what
    changes is stored. A GIF counts hundredths of a second, and browsers slow down below two of them.
    Raises ValueError for no frames, or a time below 0.02 s.
    """
    if not len(frames):
        raise ValueError(f"{path}: no frames to write")
    if not seconds >= 0.02:
        raise ValueError(f"{path}: {seconds} s a frame; must be at least 0.02")
    palette = _palette(frames)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration = [HUNDREDTH * round(100.0 * seconds)] * len(pictures)
    duration[-1] += HUNDREDTH * round(100.0 * rest)
    with replacing(path) as partial:
        pictures[0].save(
            partial,
            format="gif",
            save_all=True,
            append_images=pictures[1:],
            duration=duration,
            loop=0,
            optimize=False,
            disposal=1,
        )
    return path


def _palette(frames: np.ndarray) -> Image.Image:
    """The palette of some frames in one picture."""
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, 8).astype(int))]
    return Image.fromarray(chosen.reshape(-1, *chosen.shape[2:])).quantize(COLORS, method=Image.Quantize.MEDIANCUT)
