"""What a benchmark needs to be believed: interleaved timings, the machine's own rates, memory, and where it ran."""

import math
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

FEWEST, MOST = 5, 400  # repetitions
SLOW = 1.0  # seconds after which a call is timed only once
LENGTH, CHAINS = 16, 4  # operations on each number, so many that loading it does not count; chains of multiply-adds
STREAMED = 2**26  # numbers, 256 MiB: no cache holds them
# Numbers that stay in the second-level caches of two cores (512 KiB), and the side of the matrices whose product is the
# other way to spend multiply-adds; elsewhere so many that starting a kernel does not count.
SIZES = {True: (2**17, 768), False: (2**24, 4096)}


class Timing(NamedTuple):
    """Milliseconds; the quartiles are those of all calls."""

    median: float
    minimum: float
    lower: float = math.nan
    upper: float = math.nan


class Rates(NamedTuple):
    """What this machine does per nanosecond through XLA, all cores together, on data in its caches."""

    flop: float
    division: float
    exponential: float
    byte: float = math.inf  # read from memory


def timing_of(milliseconds: Sequence[float]) -> Timing:
    """What is told of many calls."""
    lower, median, upper = (
        statistics.quantiles(milliseconds, n=4, method="inclusive") if len(milliseconds) > 1 else 3 * milliseconds
    )
    return Timing(median, min(milliseconds), lower, upper)


def in_turns(
    calls: Mapping[str, Callable[[], Any]], seconds: float, fewest: int = FEWEST, burst: int = 1
) -> dict[str, Timing]:
    """Time of each call, made in turns so that what else runs here meets all of them.

    For about `seconds`, but at least `fewest` rounds. A turn is `burst` calls, of which the first does not count where
    there are more: it pays for the caches and threads that the call before it left. A call longer than SLOW is alone.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < fewest or (time.perf_counter() < end and rounds < MOST):
        for name, call in calls.items():
            for turn in range(burst):
                start = time.perf_counter()
                jax.block_until_ready(call())
                taken = time.perf_counter() - start
                if turn or burst == 1 or taken > SLOW:
                    spent[name].append(1e3 * taken)
                if taken > SLOW:
                    break
        rounds += 1
    return {name: timing_of(times) for name, times in spent.items()}


def compiled_call(function: Callable, arguments: tuple, warm: int = 2) -> partial:
    """The function on these arguments, compiled for them and called `warm` times already."""
    compiled = jax.jit(function).lower(*arguments).compile()
    for _ in range(warm):
        jax.block_until_ready(compiled(*arguments))
    return partial(compiled, *arguments)


def interleaved(
    functions: Mapping[str, Callable], arguments: tuple, seconds: float, fewest: int = FEWEST, warm: int = 2
) -> dict[str, Timing]:
    """Time of each function on the same arguments, compiled and called in turns."""
    calls = {name: compiled_call(function, arguments, warm) for name, function in functions.items()}
    return in_turns(calls, seconds, fewest)


def alone(function: Callable, arguments: tuple, seconds: float) -> tuple[Timing, float | None]:
    """Time of a function by itself, and MiB that its program keeps between inputs and outputs, where XLA tells.

    It is compiled and called once before, and only once more where that took longer than SLOW.
    """
    call = compiled_call(function, arguments, warm=0)
    analysis = call.func.memory_analysis()
    start = time.perf_counter()
    jax.block_until_ready(call())
    slow = time.perf_counter() - start > SLOW
    timing = in_turns({"": call}, 0.0 if slow else seconds, 1 if slow else FEWEST)[""]
    return timing, analysis.temp_size_in_bytes / 2**20 if analysis else None


def machine_rates(seconds: float) -> Rates:
    """The best of many runs: multiply-adds elementwise or in a matrix product, divisions, exponentials, bytes.

    Several of each that do not wait for each other, on every number, so that it is the units that limit.
    """

    def multiply_adds(x):
        chains = [x + start for start in range(CHAINS)]
        for _ in range(LENGTH):
            chains = [y * x + 0.5 for y in chains]
        return sum(chains)

    def divisions(x):
        return sum(x / (x + shift) for shift in range(1, LENGTH + 1))

    def exponentials(x):
        return sum(jnp.exp(x * factor) for factor in range(1, LENGTH + 1))

    resident, side = SIZES[jax.default_backend() == "cpu"]
    numbers = jnp.linspace(0.1, 0.9, resident, dtype=jnp.float32)
    square = jnp.linspace(0.1, 0.9, side * side, dtype=jnp.float32).reshape(side, side)
    # summed over columns: what is written, new pages, does not count
    many = jnp.full((STREAMED // side, side), 0.5, jnp.float32)
    kinds = {"multiply_add": multiply_adds, "division": divisions, "exponential": exponentials}
    best = {name: timing.minimum for name, timing in interleaved(kinds, (numbers,), seconds).items()}
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    products = interleaved({"product": lambda x: product(x, x)}, (square,), seconds / 3)["product"].minimum
    streams = interleaved({"stream": lambda x: x.sum(axis=0)}, (many,), seconds / 3)["stream"].minimum
    count = 1e-6 * LENGTH * resident
    flop = max(2 * CHAINS * count / best["multiply_add"], 2e-6 * side**3 / products)
    return Rates(flop, count / best["division"], count / best["exponential"], 4e-6 * STREAMED / streams)


def peak_memory() -> float:
    """Most memory that this process has ever held, in MiB."""
    try:
        # not getrusage, which on Linux begins with the peak of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)[1]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def machine() -> str:
    """One line: processor, cores, load, device, versions."""
    device = jax.devices()[0]
    parts = [f"{processor()}, {len(cores())} cores, load {load()}", f"device {device.platform} ({device.device_kind})"]
    if device.platform == "cpu":
        parts.append("no GPU in this run")
    parts.append(f"Python {platform.python_version()}, jax {version('jax')}, jaxlib {version('jaxlib')}")
    return "; ".join(parts)


def load() -> str:
    """Processes that wanted to run, mean over 1, 5 and 15 minutes."""
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def processor() -> str:
    """Name of the processor, and of its instructions the widest that count."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    widest = next((kind for kind in ("avx512f", "avx2", "sse4_2") if kind in text), "")
    clock = re.search(r"^cpu MHz\s*:\s*([0-9.]+)$", text, re.MULTILINE)
    words = [name[1] if name else platform.machine(), widest, f"{float(clock[1]) / 1000:.1f} GHz" if clock else ""]
    return " ".join(filter(None, words))


def cores() -> set[int]:
    """Numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
