"""Disk, screen, clock and device: everything that touches the machine.

A file is written beside its name and then moved there, so a reader never sees half of a file.
"""

import csv
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

DOTS_PER_INCH = 150
UNIT = "input units"  # of depths: those of the mesh


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what was written replaces `path` if nothing went wrong.

    Raises ValueError where the system refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({(error.strerror or 'input/output error').lower()})") from error
    finally:
        partial.unlink(missing_ok=True)


def write_picture(path: Path, pixels: UInt8[np.ndarray, "height width 3"]) -> Path:
    """Writes pixels as PNG."""
    from PIL import Image

    with replacing(path) as partial:
        # Levels 1 to 3 take the same time; 6 takes twice as long and makes the ten files a quarter smaller.
        Image.fromarray(pixels).save(partial, format="png", compress_level=3, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return path


def prepare_output_dir(folder: str | Path) -> Path:
    """The folder, made where it is missing and tried by writing to it.

    Raises ValueError where it is a file or cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise ValueError(f"{folder}: is a file; the output folder must be a folder") from None
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot write to the output folder ({(error.strerror or 'error').lower()})"
        ) from None
    return folder


def write_text(path: Path, text: str) -> Path:
    """Writes text as UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return path


def write_columns(path: Path, columns: Mapping[str, np.ndarray | None]) -> Path:
    """Writes columns of numbers as CSV; NaN is an empty cell, and a column that is None is left out."""
    columns = {name: values for name, values in columns.items() if values is not None}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path.name}: columns of unequal length: {lengths}")
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        for row in zip(*(values.tolist() for values in columns.values()), strict=True):
            rows.writerow(["" if isinstance(v, float) and math.isnan(v) else format(v, ".9g") for v in row])
    return path


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> Path:
    """Writes nested numbers as JSON in their order, to six digits; what is not finite becomes null."""
    return write_text(path, json.dumps(plain(metrics), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The value in JSON's own types: arrays become lists, numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int, float], None]]:
    """A bar on stderr for as long as the context lasts; gives what to call with (step, all steps, loss)."""
    from tqdm import tqdm

    with tqdm(desc=name, unit="step", leave=False) as bar:

        def move(step: int, total: int, loss: float) -> None:
            bar.total = total
            if math.isfinite(loss):
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update(step - bar.n)

        yield move


def summary(metrics: Mapping[str, Any], folder: Path) -> str:
    """What a run says at its end: errors before and after, where the time went, where the files are."""
    lines = []
    for part, name in (("train", "training views"), ("novel", "unseen views  ")):
        old, new = metrics["initial"].get(part), metrics.get(part)
        if new is None:
            continue
        errors = f"cross-entropy {old['cross_entropy']:.4f} -> {new['cross_entropy']:.4f}, "
        errors += f"IoU {old['iou']:.3f} -> {new['iou']:.3f}"
        if "depth_mae" in new:
            errors += f", depth error {old['depth_mae']:.4g} -> {new['depth_mae']:.4g} {UNIT}"
        lines.append(f"{name}  {errors}")
    seconds = ", ".join(f"{part} {value:.1f}" for part, value in metrics["seconds"].items() if part != "total")
    where = f"{metrics['seconds']['total']:.1f} s on {metrics['device']}: {seconds}"
    return "\n".join([*lines, where, f"pictures, model and numbers in {folder}/"])


BEGAN = time.perf_counter()  # when this was imported: near enough to when the program was started


class Clock:
    """Seconds since `began` (now, if None) and by named part; what has passed already belongs to part "load"."""

    def __init__(self, began: float | None = None):
        now = time.perf_counter()
        self.began = now if began is None else began
        self.parts = {"load": now - self.began}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time within to that of `part`."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """The total so far and the parts."""
        return {"total": time.perf_counter() - self.began, **self.parts}


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fuzzy-metaballs"
CUDA_HINT = "an NVIDIA GPU is here, but JAX runs on the CPU; for the GPU: pixi run -e cuda, or uv run --extra cuda"


class Device(NamedTuple):
    """What JAX computes on, and a hint of one line where that could be better."""

    name: str
    hint: str


def choose_device(cpu: bool) -> Device:
    """The device JAX will use; `cpu` asks for the CPU even beside a GPU.

    Compiled programs are kept in the user's cache folder, so that a second run need not compile them again.

    Raises ValueError where JAX_PLATFORMS asks for what JAX cannot use here.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    if cpu:
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", str(CACHE))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # the second where CUDA is asked for and not installed
        asked = jax.config.jax_platforms
        raise ValueError(f"JAX_PLATFORMS is {asked!r}, which JAX cannot use here; unset it, or use --cpu") from error
    without_cuda = device.platform == "cpu" and not cpu and shutil.which("nvidia-smi") is not None
    return Device(device.platform, CUDA_HINT if without_cuda else "")


def say(*lines: str) -> None:
    """Prints the lines that say something."""
    for line in filter(None, lines):
        print(line, flush=True)
