"""Tables of the renderer's benchmark, as text."""

from typing import NamedTuple

from benchmarks.markdown import number, table
from benchmarks.measure import Rates, Timing
from benchmarks.render.methods import Work


class Comparison(NamedTuple):
    """One task by the renderer and by its naive twin (None: does not fit); `goal` is the least ratio asked for."""

    task: str
    components: int
    rays: int
    ours: Timing
    naive: Timing | None
    goal: float | None


class Limit(NamedTuple):
    """Nanoseconds per pair that the arithmetic takes at the machine's own rates, and that were measured.

    `met`: the share of all (component, pixel) pairs that the work is done for; times are per pair that is met.
    """

    task: str
    work: Work
    met: float
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


def limit_table(rows: list[Limit]) -> str:
    """Operations per pair and the part of the machine's rate that is reached."""
    head = ("per pair that is met", "flop", "divisions", "exponentials", "bytes a pixel", "pairs met")
    head += ("at the machine's rate, ns", "measured, ns", "reached", "ns per pair of all")
    return table(
        head,
        (
            (
                row.task,
                *(str(x) for x in row.work),
                f"{row.met:.1%}",
                f"{row.least:.2f}",
                f"{row.reached:.2f}",
                f"{row.least / row.reached:.0%}",
                f"{row.reached * row.met:.3f}",
            )
            for row in rows
        ),
    )


def rates_line(rates: Rates) -> str:
    """The machine's own rates in one sentence."""
    return (
        f"Measured in the same run, all cores, data in cache, through XLA: {rates.flop:.0f} Gflop/s of multiply-adds, "
        f"{rates.division:.1f} G divisions/s, {rates.exponential:.1f} G exponentials/s; from memory {rates.byte:.1f} "
        "GB/s."
    )


def section(run: list[str], compared: list[Comparison], limits: list[Limit], rates: Rates) -> str:
    """The section's text; `run` says with what, when and where."""
    return "\n\n".join(
        (
            "## Renderer",
            *run,
            "Milliseconds, median (minimum) of calls in turns in one process, float32. Mixtures are GMMs of the volume "
            "of data/ibex.ply, seen at distance 3 with 45 degrees; the rays of gradients are the shuffled ones of 20 "
            "views of 64 x 64. The naive twin is benchmarks/render/naive.py: the same formulas per pair, vmap and jit.",
            comparison_table(compared),
            rates_line(rates) + " What limits one image, by every way that we have (benchmarks/render/methods.py): a "
            "multiply-add is two flop, and the blend of depths is not asked for here.",
            limit_table(limits),
        )
    )
