"""Silhouettes on whatever accelerator JAX finds: is it as exact as the CPU, and how fast? Its report is two files.

    python -m benchmarks.gpu --output FOLDER [--minutes 4.5] [--sizes 40x256 1000x1024 10000x1024] [--names render ...]

The rows of methods need jax, jaxtyping and numpy alone, no mesh and no network; whole fits (benchmarks/gpu_fits.py) are
added where the program's other packages are there: components fill a ball, whose mask is known. Every method
of benchmarks/render/methods.py draws it (forward) and gives loss and gradient (both), on the accelerator and, where
time is left, on the CPU beside it. FOLDER/gpu.json and gpu.md are written anew after each row. Nothing is begun that
would end after so many minutes. The exit code is 1 where a method is further from the CPU than it may be.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.markdown import number, table
from benchmarks.measure import Rates, Timing, alone, machine, machine_rates
from benchmarks.render.methods import METHODS, RAYS, Scene
from fm_render import Mixture
from fmb.geometry.cameras import pinhole_intrinsics, pixel_rays, random_cameras

SIZES = ("40x256", "1000x1024", "10000x1024")
PARITY = ("40x256", "1000x256", "10000x64")
RADIUS = 0.5  # of the ball, seen from distance 3 with 45 degrees: an eighth of the image
DISTANCE, FIELD_OF_VIEW = 3.0, 45.0
WIDTH = 0.6  # standard deviation of a component, of the side of the cube that it would fill alone
ALPHA_TOLERANCE, LOSS_TOLERANCE = 2e-5, 2e-5  # float32: a density of 16 or less is off by 1e-6 of itself
COMPILING = 15.0  # seconds, to be on the safe side
KINDS = {"forward": "image", "both": "loss and gradient"}


class Size(NamedTuple):
    """Components, and pixels on a side of the image."""

    components: int
    side: int

    @property
    def pairs(self) -> int:
        """Of a component and a pixel."""
        return self.components * self.side**2

    def __str__(self) -> str:
        return f"{self.components:,} x {self.side:,}²"


class Case(NamedTuple):
    """What is timed."""

    platform: str
    name: str
    size: Size
    kind: str


def ball(size: Size) -> tuple[Mixture, Scene]:
    """Components of random shape all over a ball, and the view of one camera; float32."""
    generator = np.random.default_rng(0)
    direction = generator.normal(size=(size.components, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    mean = RADIUS * generator.uniform(size=(size.components, 1)) ** (1 / 3) * direction
    turn = np.linalg.qr(generator.normal(size=(size.components, 3, 3)))[0]
    edge = RADIUS * (4.0 / 3.0 * np.pi / size.components) ** (1 / 3)
    deviation = WIDTH * edge * generator.uniform(0.5, 1.5, size=(size.components, 3))
    precision = np.einsum("nij,nj,nkj->nik", turn, deviation**-2.0, turn)
    mixture = Mixture(mean, np.linalg.cholesky(precision), generator.normal(size=size.components))
    cameras = random_cameras(generator, 1, DISTANCE, pinhole_intrinsics(size.side, size.side, FIELD_OF_VIEW))
    rays = jax.tree.map(lambda x: np.asarray(x).reshape(-1, 3), pixel_rays(cameras, size.side, size.side))
    # the ball's centre is the world's: its distance from each ray
    along = (rays.origin * rays.direction).sum(axis=1) / np.linalg.norm(rays.direction, axis=1)
    missed = np.sqrt(np.maximum((rays.origin**2).sum(axis=1) - along**2, 0.0))
    scene = Scene(cameras, rays, (missed < RADIUS).reshape(1, size.side, size.side))
    return jax.tree.map(lambda x: np.asarray(x, np.float32), (mixture, scene))


def parity(names: Sequence[str], sizes: Sequence[Size], device: jax.Device) -> Iterator[dict[str, Any]]:
    """How far each method on the device is from `render` on the CPU: alpha, loss, gradient, and whether it may be."""

    def run(name: str, where: jax.Device, size: Size) -> tuple[np.ndarray, tuple[np.ndarray, Mixture]]:
        arguments = jax.device_put(ball(size), where)
        density, (loss, slope) = (jax.jit(f)(*arguments) for f in (METHODS[name].density, METHODS[name].gradient))
        # a renderer may say anything of what is zero above the diagonal
        slope = slope._replace(precision_cholesky=jnp.tril(slope.precision_cholesky))
        return jax.device_get((density, (loss, slope)))

    for size in sizes:
        density, (loss, slope) = run(RAYS, jax.devices("cpu")[0], size)
        for name in names:
            other_density, (other_loss, other_slope) = run(name, device, size)
            alpha = float(np.abs(np.exp(-other_density) - np.exp(-density)).max())
            wrong = abs(float(other_loss) / float(loss) - 1.0)
            off = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(other_slope, slope, strict=True)]
            good = alpha <= ALPHA_TOLERANCE and wrong <= LOSS_TOLERANCE and max(off) <= METHODS[name].tolerance
            yield {"method": name, **size._asdict(), "alpha": alpha, "loss": wrong, "gradient": max(off), "good": good}


def plan(names: Sequence[str], sizes: Sequence[Size], platforms: Sequence[str]) -> list[Case]:
    """The accelerator first, then what is quick; what a method takes badly comes last."""
    cases = [Case(*parts, kind) for kind in KINDS for parts in _product(platforms, names, sizes)]

    def late(case: Case) -> tuple:
        return platforms.index(case.platform), case.size.pairs > METHODS[case.name].most, case.size.pairs

    return sorted(cases, key=late)


def _product(platforms: Sequence[str], names: Sequence[str], sizes: Sequence[Size]) -> Iterator[tuple]:
    return ((platform, name, size) for platform in platforms for name in names for size in sizes)


def timed(case: Case, seconds: float) -> dict[str, Any]:
    """Milliseconds of one case, and MiB of what its program keeps between its inputs and its outputs."""
    method = METHODS[case.name]
    arguments = jax.device_put(ball(case.size), jax.devices(case.platform)[0])
    function = method.density if case.kind == "forward" else method.gradient
    timing, kept = alone(function, arguments, seconds)
    return {**timing._asdict(), "mebibytes": kept, "ns_per_pair": 1e6 * timing.median / case.size.pairs}


def measure(cases: Sequence[Case], seconds: float, end: float) -> Iterator[dict[str, Any]]:
    """A row for each case; in place of times a word where it was not begun or did not fit."""
    pace: dict[tuple[str, str, str], float] = {}
    for case in cases:
        row = case._asdict() | {"size": str(case.size), "pairs": case.size.pairs}
        # called twice at least; the first of a kind is small
        expected = COMPILING + 2e-9 * pace.get((case.platform, case.name, case.kind), 0.0) * case.size.pairs
        if time.monotonic() + expected > end:
            yield row | {"failed": f"not begun, about {expected:.0f} s"}
            continue
        try:
            row |= timed(case, seconds)
            pace[case.platform, case.name, case.kind] = row["ns_per_pair"]
        except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
            # the others shall have their turn: such a machine is rare
            row["failed"] = (str(error).splitlines() or [type(error).__name__])[0][:160]
        yield row


def report(found: dict[str, Any]) -> str:
    """The section's text."""
    parity_lines = (
        (
            f"{row['method']}, {Size(row['components'], row['side'])}",
            *(f"{row[name]:.1e}" for name in ("alpha", "loss", "gradient")),
            f"{METHODS[row['method']].tolerance:.0e}",
            "yes" if row["good"] else "NO",
        )
        for row in found["parity"]
    )
    return "\n\n".join(
        (
            "## Renderer on an accelerator",
            f"Command: `python -m benchmarks.gpu {found['arguments']}`, {found['seconds']:.0f} s. {found['machine']}.",
            "Silhouette of a ball full of components, float32, median of calls after compilation; the loss is the "
            "cross-entropy, the gradient that of all 10 numbers of each component. The naive twin has the formulas of "
            "the released code: a pair by itself, vmap over both, autodiff. MiB: what the program keeps in between.",
            f"Distance from `{RAYS}` on the CPU. Allowed: alpha {ALPHA_TOLERANCE:.0e}, loss {LOSS_TOLERANCE:.0e} "
            "relative, gradient as named, of its largest entry.",
            table(("", "alpha", "loss", "gradient", "allowed", "good"), parity_lines),
            time_table(found["rows"]),
            rates_words(Rates(**found["rates"])) if found["rates"] else "",
            fits_words(found["fits"]),
        )
    ).strip()


def fits_words(rows: Sequence[dict[str, Any]]) -> str:
    """What was measured of whole fits, or why nothing was."""
    if not rows or "missing" in rows[0]:
        return f"Whole fits: not measured, {rows[0]['missing'] if rows else 'no time was left'}."
    head = ("whole fits", "s", "s to compile", "pace", "IoU of the views")
    return "Three balls, their masks known; the recipe of `shape`.\n\n" + table(head, [row["told"] for row in rows])


def fits(end: float) -> Iterator[dict[str, Any]]:
    """Rows of whole fits on JAX's first device, or one that says what is missing."""
    try:
        from benchmarks.gpu_fits import measure_fits, told
    except ImportError as error:
        yield {"missing": f"{error.name} is not installed"}
        return
    for row in measure_fits(end):
        yield {**row, "told": told(row)}


def rates_words(rates: Rates) -> str:
    """The device's own rates."""
    return (
        f"The device, through XLA: {rates.flop:,.0f} Gflop/s of float32 multiply-adds, {rates.division:,.0f} G "
        f"divisions/s, {rates.exponential:,.0f} G exponentials/s, {rates.byte:,.0f} GB/s from memory."
    )


def time_table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each case."""
    head = ("", "", "components x pixels", "ms", "least", "ns per pair", "MiB")
    lines = []
    for row in rows:
        words = (f"{row['name']}, {row['platform']}", KINDS[row["kind"]], row["size"])
        if "failed" in row:
            lines.append((*words, row["failed"].replace("|", "\\|"), "-", "-", "-"))
            continue
        timing = Timing(*(row[name] for name in Timing._fields))
        kept = "-" if row["mebibytes"] is None else number(row["mebibytes"])
        lines.append((*words, number(timing.median), number(timing.minimum), f"{row['ns_per_pair']:.2g}", kept))
    return table(head, lines)


def size_of(text: str) -> Size:
    """From COMPONENTSxSIDE."""
    components, _, side = text.partition("x")
    if not (components.isdecimal() and side.isdecimal() and int(components) > 0 and int(side) > 0):
        raise argparse.ArgumentTypeError(f"{text}: must be COMPONENTSxSIDE, as 40x256")
    return Size(int(components), int(side))


def flags() -> argparse.ArgumentParser:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__, formatter_class=style)
    parser.add_argument("--output", type=Path, required=True, help="folder of the report")
    parser.add_argument("--minutes", type=float, default=4.5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case; default: %(default)s")
    parser.add_argument("--names", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=size_of, default=[size_of(text) for text in SIZES])
    parser.add_argument("--parity", nargs="+", type=size_of, default=[size_of(text) for text in PARITY])
    return parser


def main(argv: list[str]) -> int:
    """Measures, writes as it goes, prints the report."""
    start = time.monotonic()
    options = flags().parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0]
    platforms = list(dict.fromkeys([device.platform, "cpu"]))
    found = {"arguments": " ".join(argv), "machine": machine(), "parity": [], "rates": None, "rows": [], "fits": []}

    def keep() -> None:
        found["seconds"] = time.monotonic() - start
        (options.output / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (options.output / "gpu.md").write_text(report(found) + "\n", encoding="utf-8")
        print(f"{found['seconds']:.0f} s: {len(found['parity'])} + {len(found['rows'])} rows", file=sys.stderr)

    for row in parity(options.names, options.parity, device):
        found["parity"].append(row)
        keep()
    found["rates"] = machine_rates(options.seconds)._asdict()
    for row in fits(start + 60.0 * options.minutes):
        found["fits"].append(row)
        keep()
    cases = plan(options.names, options.sizes, platforms)
    for row in measure(cases, options.seconds, start + 60.0 * options.minutes):
        found["rows"].append(row)
        keep()
    keep()
    print(report(found))
    return 0 if all(row["good"] for row in found["parity"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
