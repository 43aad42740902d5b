"""What a benchmark needs to be believed: interleaved timings, the machine's own rates, memory, and where it ran."""

import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

FEWEST, MOST = 5, 400  # repetitions
LENGTH, CHAINS = 16, 4  # operations on each number, so many that loading it does not count; chains of multiply-adds
RESIDENT = 2**17  # numbers, 512 KiB: they stay in the second-level caches of two cores
SIDE = 768  # of the matrices whose product is the other way to spend multiply-adds


class Timing(NamedTuple):
    """Milliseconds."""

    median: float
    minimum: float


class Rates(NamedTuple):
    """What this machine does per nanosecond, all cores together, on data in its caches, through XLA."""

    flop: float
    division: float
    exponential: float


def interleaved(
    functions: Mapping[str, Callable], arguments: tuple, seconds: float, fewest: int = FEWEST, warm: int = 2
) -> dict[str, Timing]:
    """Time of each function on the same arguments, called in turns so that what else runs here meets all of them.

    They are compiled first and called `warm` times before it counts; then for about `seconds`, at least `fewest` times.
    """
    compiled = {name: jax.jit(function).lower(*arguments).compile() for name, function in functions.items()}
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for function in [*compiled.values()] * warm:
        jax.block_until_ready(function(*arguments))
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < fewest or (time.perf_counter() < end and rounds < MOST):
        for name, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            spent[name].append(1e3 * (time.perf_counter() - start))
        rounds += 1
    return {name: Timing(statistics.median(times), min(times)) for name, times in spent.items()}


def machine_rates(seconds: float) -> Rates:
    """The best of many runs: multiply-adds elementwise or in a matrix product, divisions, exponentials.

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

    numbers = jnp.linspace(0.1, 0.9, RESIDENT, dtype=jnp.float32)
    square = jnp.linspace(0.1, 0.9, SIDE * SIDE, dtype=jnp.float32).reshape(SIDE, SIDE)
    kinds = {"multiply_add": multiply_adds, "division": divisions, "exponential": exponentials}
    best = {name: timing.minimum for name, timing in interleaved(kinds, (numbers,), seconds).items()}
    product = interleaved({"product": lambda x: x @ x}, (square,), seconds / 3)["product"].minimum
    count = 1e-6 * LENGTH * RESIDENT
    flop = max(2 * CHAINS * count / best["multiply_add"], 2e-6 * SIDE**3 / product)
    return Rates(flop, count / best["division"], count / best["exponential"])


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
