"""Videos: frames to MP4 (H.264), by the ffmpeg that imageio-ffmpeg brings or finds."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fmb.machine import replacing

FASTEST = 120  # frames per second
# yuv420p and an index in front: what every browser and slide program plays. The partial file's name has no .mp4.
OUTPUT = ("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4")


def write_video(
    path: Path,
    frames: UInt8[np.ndarray, "frame height width 3"],
    frames_per_second: float = 24.0,
    on_progress: Callable[[int, int], None] = lambda frame, total: None,
) -> Path:
    """Writes the frames as MP4; odd sides get one more row or column, a copy of the last, as the format asks.

    Raises ValueError without frames, for a speed outside (0, FASTEST], where there is no ffmpeg and where it fails.
    """
    if frames.size == 0:
        raise ValueError(f"{path.name}: no frames, or empty ones: shape {frames.shape}")
    if not 0.0 < frames_per_second <= FASTEST:
        raise ValueError(f"{path.name}: {frames_per_second:g} frames per second; must be above 0, at most {FASTEST}")
    even = np.pad(frames, [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)], mode="edge")
    size = f"{even.shape[2]}x{even.shape[1]}"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{frames_per_second:.6g}", "-i", "-")

    def pictures() -> Iterable[bytes]:
        for number, picture in enumerate(even):
            yield picture.tobytes()
            on_progress(number + 1, len(even))

    with replacing(path) as partial:
        # the word in front, as names may begin with a dash or what looks like a protocol
        run_ffmpeg([*source, *OUTPUT, f"file:{partial}"], pictures(), path.name)
    return path


def run_ffmpeg(arguments: list[str], chunks: Iterable[bytes], name: str) -> None:
    """Feeds the chunks to ffmpeg. Raises ValueError that begins with `name`, and has ffmpeg's words, where it fails."""
    # Not imageio-ffmpeg's own writer: it forks, which JAX's threads do not survive, and is silent about a full disk.
    command = [ffmpeg_program(name), "-y", "-loglevel", "error", "-nostdin", *arguments]
    with tempfile.TemporaryFile() as errors:  # a pipe would be full before anybody reads it
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as process:
            try:
                with suppress(BrokenPipeError):  # it has ended, and says why below
                    for chunk in chunks:
                        process.stdin.write(chunk)
            except BaseException:
                process.kill()
                raise
            finally:
                with suppress(BrokenPipeError):  # closing writes what is left
                    process.stdin.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if process.returncode != 0:
        raise ValueError(f"{name}: ffmpeg could not write it ({said[-1] if said else f'status {process.returncode}'})")


def ffmpeg_program(name: str) -> str:
    """Path of ffmpeg. Raises ValueError that begins with `name` where there is none."""
    import imageio_ffmpeg

    with suppress(RuntimeError):  # there is none
        program = imageio_ffmpeg.get_ffmpeg_exe()
        if shutil.which(program) is not None:
            return program
    raise ValueError(f"{name}: no ffmpeg to write it with; install it, or set IMAGEIO_FFMPEG_EXE")


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
