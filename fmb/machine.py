"""Disk, screen, clock and device: everything that touches the machine.

A file is written beside its name and then moved there, so a reader never sees half of a file.
"""

import csv
import io
import json
import math
import os
import shutil
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from fmb import waiting

DOTS_PER_INCH = 150
UNIT = "input units"  # of depths: those of the mesh
COLUMNS = 80  # of a terminal
LINE_SECONDS = 30.0  # between two lines of a long run that writes to a file
LONGEST = 180  # bytes of a name that leave room for the rest of a hidden one's


class Unwritable(ValueError):
    """Results cannot be written: no input is to blame, and others will fare no better."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path` to write to; what was written replaces `path` if nothing went wrong.

    Nobody can guess its name, and it is made new, so that no link leads elsewhere. Raises Unwritable where the system
    refuses.
    """
    start = os.fsdecode(os.fsencode(path.name)[:LONGEST])
    partial = path.with_name(f".{start}.{os.getpid()}.{os.urandom(8).hex()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise Unwritable(f"{path}: cannot be written ({reason(error)})") from error
    finally:
        partial.unlink(missing_ok=True)


def reason(error: BaseException) -> str:
    """What the error says, in one short line; what the system says in small letters."""
    said = (getattr(error, "strerror", None) or "").lower() or str(error)
    line = "".join(c if c.isprintable() else " " for c in (said.splitlines() or [""])[0])
    return line[:160].strip() or type(error).__name__


def write_picture(path: Path, pixels: UInt8[np.ndarray, "height width 3"], title: str = "") -> Path:
    """Writes pixels as PNG, with its title, which the page shows as its caption."""
    from PIL import Image, PngImagePlugin

    words = PngImagePlugin.PngInfo()
    if title:
        words.add_itxt("Title", title)
    with replacing(path) as partial:
        # Levels 1 to 3 take the same time; 6 takes twice as long and makes the ten files a quarter smaller.
        Image.fromarray(pixels).save(
            partial, format="png", compress_level=3, dpi=(DOTS_PER_INCH, DOTS_PER_INCH), pnginfo=words
        )
    return path


def prepare_output_dir(folder: str | Path) -> Path:
    """The folder, made where it is missing and tried by writing to it.

    Raises Unwritable where it is a file or cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # without a name, so that none is left where the run is killed
            pass
    except FileExistsError:
        raise Unwritable(f"{folder}: is a file; the output folder must be a folder") from None
    except OSError as error:
        raise Unwritable(f"{folder}: cannot write to the output folder ({reason(error)})") from None
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
    """A bar on stderr for as long as the context lasts; gives what to call with (step, all steps, loss).

    Where stderr is no terminal, only what it shows last is told: with the part that it stands in, or as one line.
    """
    from tqdm import tqdm

    began, last, screen = time.perf_counter(), "", waiting.is_terminal()
    with waiting.bar(), tqdm(desc=name, leave=False, file=sys.stderr, disable=not screen, ncols=79) as bar:

        def move(step: int, total: int, loss: float) -> None:
            nonlocal last
            waiting.release()
            last = f"{step} of {total}" + (f" steps, loss {loss:.4f}" if math.isfinite(loss) else "")
            if screen:
                bar.total = total
                if math.isfinite(loss):
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update(step - bar.n)

        yield move
    if last and not waiting.note(last):
        seconds = time.perf_counter() - began
        print(f"{name:<18}{seconds:7.1f} s   {last}", file=sys.stderr)


@contextmanager
def counting_bar(name: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar of things that take seconds each, with how many a minute; gives what to call with (count, words).

    Where stderr is no terminal, a line says so every LINE_SECONDS, and at the end.
    """
    from tqdm import tqdm

    screen, began = waiting.is_terminal(), time.perf_counter()
    shown, form = began, "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
    with tqdm(
        desc=name, total=total, file=sys.stderr if screen else io.StringIO(), bar_format=form, leave=False
    ) as bar:

        def move(count: int, words: str) -> None:
            nonlocal shown
            now = time.perf_counter()
            pace = f"{60.0 * count / max(now - began, 1e-9):.1f} a minute"
            bar.set_postfix_str(", ".join(filter(None, (pace, words))), refresh=False)
            bar.update(count - bar.n)
            if not screen and (now > shown + LINE_SECONDS or count == total):
                shown = now
                print(bar, file=sys.stderr, flush=True)

        yield move


KINDS = {  # errors against views: their names on the screen, the page and in plots, by those in metrics.json
    "cross_entropy": "cross-entropy (nats per ray)",
    "iou": "IoU of the masks",
    "depth_mae": f"depth error ({UNIT})",
    "rendered_depth_mae": "depth error, as rendered",  # beside that of the surface, which is the one above
}
SURFACE = "surface_depth_mae"
SETS = {"train": "training views", "novel": "unseen views"}
TRAINING = ("training loss of each batch", "training loss, smoothed")  # curves of a fit
ARROW = "->"


def error_names(errors: Mapping[str, Any]) -> Mapping[str, str]:
    """KINDS for these errors: after a fit to depths "depth_mae" is as rendered, and the surface's stands beside it."""
    if SURFACE not in errors:
        return KINDS
    names = dict(KINDS)
    surface, names["depth_mae"] = names["depth_mae"], names.pop("rendered_depth_mae")
    return {**names, SURFACE: surface}


def summary(metrics: Mapping[str, Any], folder: Path, content: str = "pictures, model and numbers") -> str:
    """What a run says at its end: errors before and after, a row for each, how long it took, where the files are."""
    sets = [name for name in SETS if metrics.get(name) is not None]
    lines = [" " * 31 + "".join(f"{SETS[name]:<24}" for name in sets)] if sets else []
    for kind, words in (error_names(metrics[sets[0]]) if sets else KINDS).items():
        cells = [changed(metrics, name, kind) for name in sets]
        if any(cells):
            lines.append(f"{words:<31}" + "".join(f"{cell:<24}" for cell in cells))
    lines += surface_lines(metrics.get("mesh"))
    where = f"{metrics['seconds']['total']:.1f} s on {metrics['device']}"
    return "\n".join([*(line.rstrip() for line in lines), f"{where}; {content} in {folder}/"])


def changed(metrics: Mapping[str, Any], part: str, kind: str, arrow: str = ARROW) -> str:
    """An error against the views named `part` before and after the fit, in words; "" where it is not known."""
    new, old = metrics[part].get(kind), metrics["initial"].get(part, {}).get(kind)
    if new is None:
        return ""
    return f"{new:.4g}" if old is None else f"{old:.4g} {arrow} {new:.4g}"


def surface_lines(mesh: Mapping[str, Any] | None) -> list[str]:
    """What a run says of its surface: pieces, tunnels, those that may be errors of the masks, volume; or nothing."""
    if mesh is None:
        return []
    pieces = f"{mesh['components']} piece{'' if mesh['components'] == 1 else 's'}"
    tunnels = "not closed" if mesh["genus"] is None else f"genus {mesh['genus']}"
    lines = [f"surface         {pieces}, {tunnels}, volume {mesh['volume']:.4g} cubic {UNIT}"]
    if mesh["narrow_tunnels"]:
        few = f"{mesh['narrow_tunnels']} of its {mesh['genus']} tunnels"
        lines.append(f"                {few} may not be real: narrower than two pixels; finer masks would tell")
    return lines


class Clock:
    """Seconds since `began` (now, if None) and by named part; what has passed already belongs to part "load"."""

    def __init__(self, began: float | None = None):
        now = time.perf_counter()
        self.began = now if began is None else began
        self.parts = {"load": now - self.began}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time within to that of `part`, which the screen shows."""
        start = time.perf_counter()
        with waiting.part(part):
            yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """The total so far and the parts."""
        return {"total": time.perf_counter() - self.began, **self.parts}


def seconds_told(seconds: Mapping[str, float]) -> str:
    """The total of a clock and its parts, by the names that the screen has for them."""
    parts = {waiting.PARTS.get(name, name): value for name, value in seconds.items() if name != "total"}
    return f"{seconds['total']:.1f} s: {', '.join(f'{name} {value:.1f}' for name, value in parts.items())}"


def cache_folder() -> Path | None:
    """Where the user's caches belong; None where there is no such place, as for a user without a home."""
    try:
        chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))  # to be ignored unless absolute
        return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "fuzzy-metaballs"
    except RuntimeError:
        return None


CACHE = cache_folder()
LARGEST_CACHE = 2**29  # bytes of compiled programs that are kept; those of one run take a few MB
NO_CACHE = "no folder to keep compiled programs in: each run compiles them anew (XDG_CACHE_HOME can name one)"
CUDA_HINT = "an NVIDIA GPU is here, but JAX runs on the CPU; for the GPU: pixi run -e cuda, or uv run --extra cuda"


class Device(NamedTuple):
    """What JAX computes on, and a hint of one line where that could be better."""

    name: str
    hint: str


def choose_device(cpu: bool) -> Device:
    """The device JAX will use; `cpu` asks for the CPU even beside a GPU.

    Compiled programs are kept in the user's cache folder, if there is one, so that a second run need not compile them.

    Raises ValueError where JAX_PLATFORMS asks for what JAX cannot use here.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    if cpu:
        jax.config.update("jax_platforms", "cpu")
    if cached := CACHE is not None and usable_cache(CACHE):
        jax.config.update("jax_compilation_cache_dir", str(CACHE))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        # half of a program, from a full disk or a killed run, is compiled again; that is no matter of the user's
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # the second where CUDA is asked for and not installed
        asked = jax.config.jax_platforms
        raise ValueError(f"JAX_PLATFORMS is {asked!r}, which JAX cannot use here; unset it, or use --cpu") from error
    without_cuda = device.platform == "cpu" and not cpu and shutil.which("nvidia-smi") is not None
    hints = [CUDA_HINT] * without_cuda + [NO_CACHE] * (not cached)
    return Device(device.platform, "\n".join(hints))


def device_words(error: RuntimeError) -> str:
    """What the failure of a device says, in a line; "" for an error of another kind."""
    import jax

    failed = isinstance(error, jax.errors.JaxRuntimeError)
    return f"a device has failed, or has no memory left ({reason(error)})" if failed else ""


def several_cpu_devices(count: int) -> None:
    """Has JAX take the CPU for so many devices, unless something else was said or it has begun already."""
    import jax

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)


def free_memory() -> int | None:
    """Bytes that this process can still take, of the machine's and of a container's limit; None where unknown."""
    known = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = int(facts.get("inactive_file", 0))  # files that were read: given up where memory is asked for
        known.append(max(0, limit - used + cached))
    return min(known, default=None)


def usable_cache(folder: Path) -> bool:
    """Whether programs can be kept in the folder; it is made, and kept below LARGEST_CACHE by forgetting the oldest.

    JAX's own limit needs a package more, and a look at the whole folder for each program that it adds.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        files = []
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):  # another run forgets it, too
                if entry.is_file(follow_symlinks=False):
                    files.append((entry.stat(), entry.path))
    except OSError:
        return False
    left = sum(made.st_size for made, _ in files)
    if left > LARGEST_CACHE:
        for made, path in sorted(files, key=lambda file: max(file[0].st_atime, file[0].st_mtime)):
            with suppress(OSError):
                os.unlink(path)
            left -= made.st_size
            if left <= LARGEST_CACHE / 2:
                break
    return True


def say(*lines: str, stream: Any = None) -> None:
    """Prints the lines that say something, as they are, to stdout if no stream is named: files' names, JSON."""
    with waiting.cleared():
        for line in filter(None, lines):
            print(line, file=stream, flush=True)


def tell(*lines: str) -> None:
    """Prints what a run has to say, in lines of at most COLUMNS; a path stays whole."""
    options = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": "  "}
    said = [part for line in lines for part in line.splitlines()]
    say(*(line if len(line) <= COLUMNS else textwrap.fill(line, COLUMNS, **options) for line in said))


def warn(*lines: str) -> None:
    """Says them on stderr: what is odd about a file, also in programs of others."""
    say(*lines, stream=sys.stderr)
