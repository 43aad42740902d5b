"""Tables of the renderer's benchmark, as text."""

from typing import NamedTuple

from benchmarks.markdown import number, table
from benchmarks.measure import Rates, Timing
from benchmarks.render.cases import Work
from benchmarks.render.growth import Growth

# Milliseconds forward / forward and backward of the silhouette loss by image size (width, height); None: not measured.
# Not of this run: they were measured once, on another machine with 2 cores and no GPU, when this project began.
PEERS: dict[str, dict[tuple[int, int], tuple[float | None, float]]] = {
    "PyTorch3D 0.7.9 Pulsar, 470 spheres": {(80, 60): (1.6, 2.3), (160, 120): (3.2, 4.2), (256, 256): (6.1, 8.4)},
    "PyTorch3D 0.7.9 points": {(80, 60): (4.5, 5.4), (160, 120): (16, 18), (256, 256): (56, 63)},
    "PyTorch3D 0.7.9 SoftRas mesh, 170 and 2,500 faces": {(80, 60): (6.7, 112), (256, 256): (532, 7788)},
    "released JAX code": {(80, 60): (3.4, 5.0), (160, 120): (None, 51)},
    "goal": {(80, 60): (0.5, 1.0), (160, 120): (1.5, 3.0), (256, 256): (4.0, 8.0)},
}


class Comparison(NamedTuple):
    """One task by the renderer and by its naive twin (None: does not fit); `goal` is the least ratio asked for."""

    task: str
    components: int
    rays: int
    ours: Timing
    naive: Timing | None
    goal: float | None


class ImageTime(NamedTuple):
    """Silhouette loss of one image, and the same with its gradient."""

    width: int
    height: int
    forward: Timing
    both: Timing


class Limit(NamedTuple):
    """Nanoseconds per pair that the arithmetic takes at the machine's own rates, and that were measured."""

    task: str
    work: Work
    least: float
    reached: float


def time_of(timing: Timing | None) -> str:
    """Median (minimum)."""
    return "-" if timing is None else f"{number(timing.median)} ({number(timing.minimum)})"


def comparison_table(rows: list[Comparison]) -> str:
    """Against the naive twin."""
    head = ("task", "components x rays", "ours, ms", "naive, ms", "ratio of medians (minima)", "goal")
    return table(
        head,
        (
            (
                row.task,
                f"{row.components:,} x {row.rays:,}",
                time_of(row.ours),
                time_of(row.naive),
                f"{row.naive.median / row.ours.median:.1f} ({row.naive.minimum / row.ours.minimum:.1f})"
                if row.naive
                else "-",
                f"{row.goal:g}" if row.goal else "-",
            )
            for row in rows
        ),
    )


def image_table(rows: list[ImageTime]) -> str:
    """Milliseconds beside those of peers."""
    head = ("forward / forward and backward, ms", *(f"{row.width} x {row.height}" for row in rows))
    medians = tuple(f"{number(row.forward.median)} / {number(row.both.median)}" for row in rows)
    minima = tuple(f"{number(row.forward.minimum)} / {number(row.both.minimum)}" for row in rows)
    lines = [("ours, 40 components: medians", *medians), ("ours: minima", *minima)]
    for name, times in PEERS.items():
        found = (times.get((row.width, row.height)) for row in rows)
        lines.append(
            (name, *(" / ".join("-" if x is None else f"{x:g}" for x in pair) if pair else "-" for pair in found))
        )
    return table(head, lines)


def growth_table(rows: list[Growth]) -> str:
    """Times and peaks by size."""
    head = (
        "components x rays",
        "loss, ms",
        "and gradient, ms",
        "ns per pair",
        "peak, MiB",
        "and gradient",
        "before, MiB",
    )
    return table(
        head,
        (
            (
                f"{row.components:,} x {row.rays:,}",
                number(row.forward_milliseconds),
                number(row.both_milliseconds),
                f"{1e6 * row.both_milliseconds / row.components / row.rays:.2f}",
                *(f"{x:,.0f}" for x in (row.forward_mebibytes, row.both_mebibytes, row.idle_mebibytes)),
            )
            for row in rows
        ),
    )


def limit_table(rows: list[Limit]) -> str:
    """Operations per pair and the part of the machine's rate that is reached."""
    head = ("per pair", "flop", "divisions", "exponentials", "at the machine's rate, ns", "measured, ns", "reached")
    return table(
        head,
        (
            (
                row.task,
                *(str(x) for x in row.work),
                f"{row.least:.2f}",
                f"{row.reached:.2f}",
                f"{row.least / row.reached:.0%}",
            )
            for row in rows
        ),
    )


def rates_line(rates: Rates) -> str:
    """The machine's own rates in one sentence."""
    return (
        f"Measured in the same run, all cores, data in cache, through XLA: {rates.flop:.0f} Gflop/s of multiply-adds, "
        f"{rates.division:.1f} G divisions/s, {rates.exponential:.1f} G exponentials/s."
    )


def section(
    run: list[str],
    compared: list[Comparison],
    absolute: list[ImageTime],
    limits: tuple[list[Limit], Rates],
    grown: list[Growth],
) -> str:
    """The section's text; `run` says with what, when and where."""
    return "\n\n".join(
        (
            "## Renderer",
            *run,
            "Milliseconds, median (minimum) of calls in turns in one process, float32. Mixtures are GMMs of the volume "
            "of data/ibex.ply, seen at distance 3 with 45 degrees; the rays of gradients are the shuffled ones of 20 "
            "views of 64 x 64. The naive twin is benchmarks/render/naive.py: the same formulas per pair, vmap and jit.",
            comparison_table(compared),
            "Silhouette loss of one image. Peers were measured on another machine with 2 cores, without GPU.",
            image_table(absolute),
            rates_line(limits[1])
            + " A multiply-add is two flop; what the blend of depths needs is not asked for here.",
            limit_table(limits[0]),
            "Time and peak memory by size, a process each; before: Python, JAX and the rays. Components other than 40 "
            "are as those, smaller, scattered in the volume. Plot: docs/figures/bench.png.",
            growth_table(grown),
        )
    )
