"""Fits of table 3 by two checkouts, compared seed by seed: is the new one as good, and how much faster?

    python -m benchmarks.table3.pairs --models FOLDER --old OLD [--new NEW] --json FILE.json
        [--names arma ...] [--seeds 0 1 2] [--views 32] [--size 64] [--components 40]

OLD and NEW are folders of checkouts, or files that an earlier run of this command wrote. Both sides fit the same views
of every model, clean and damaged. Two checkouts take turns, one fit at a time in a process each, so that whatever else
the machine does meets both; seconds from a file are of another hour: compare its errors, not its seconds.
FILE gets every row, means with their spread, and of old and new the differences pair by pair.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.markdown import table
from benchmarks.measure import machine
from benchmarks.study import Rows, chosen, find_meshes, told
from benchmarks.table3.__main__ import PAPER_NAMES
from benchmarks.table3.methods import Settings
from benchmarks.table3.report import DAMAGED, spread
from benchmarks.table3.runs import CLEAN
from fmb.machine import plain, reason, write_text

WORKER = Path(__file__).with_name("fit_process.py")
FIELDS = ("cross_entropy", "iou", "depth_percent", "seconds", "cpu_seconds")


class Case(NamedTuple):
    """What both sides fit."""

    mesh: Path
    noise: str
    seed: int

    def __str__(self) -> str:
        return f"{self.mesh.stem} {self.noise} {self.seed}"


class Side(NamedTuple):
    """A checkout or an earlier file, and its rows."""

    source: str
    commit: str
    rows: list[dict[str, Any]]


@contextmanager
def worker(checkout: Path, models: Path, settings: Mapping[str, Any]) -> Iterator[subprocess.Popen]:
    """A process that fits with the checkout's own sources; it ends with the block."""
    command = [sys.executable, "-P", str(WORKER), str(models.resolve()), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    with subprocess.Popen(
        command, cwd=checkout, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()


def ask(process: subprocess.Popen, case: Case, checkout: str) -> dict[str, Any]:
    """The row of one fit. Raises ValueError where the process ended instead; its own words are on stderr."""
    with suppress(BrokenPipeError):
        print(json.dumps([case.mesh.name, case.noise, case.seed]), file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise ValueError(f"{case}: the process in {checkout} ended without a row")
    return json.loads(line)


def commit_of(checkout: Path) -> str:
    """The commit, with a plus where files were changed since; empty where git knows nothing of it."""
    git = ["git", "-C", str(checkout)]
    said = [
        subprocess.run([*git, *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return said[0] + ("+" if said[1] else "")


def open_side(source: Path, name: str, cases: Sequence[Case], settings: Mapping[str, Any]) -> Side:
    """An earlier file's rows of these cases, or a checkout without any yet.

    Raises ValueError for a file of other settings or without one of the cases, and for what is neither.
    """
    if source.is_dir():
        if not (source / "fm_render.py").is_file():
            raise ValueError(f"{source}: no fm_render.py there; must be a checkout, or a file of this command")
        return Side(str(source), commit_of(source), [])
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: {reason(error)}") from error
    if found["settings"] != settings:
        raise ValueError(f"{source}: settings {found['settings']}; must be {settings}")
    side = found["sides"].get(name) or found["sides"]["old"]
    rows = {f"{row['model']} {row['noise']} {row['seed']}": row for row in side["rows"]}
    missing = [case for case in cases if str(case) not in rows]
    if missing:
        raise ValueError(f"{source}: no row of {missing[0]}")
    return Side(side["source"], side["commit"], [rows[str(case)] for case in cases])


def fit_all(sides: Sequence[Side], cases: Sequence[Case], models: Path, settings: Mapping[str, Any]) -> None:
    """Fills the rows of those sides that have none, in turns; who begins changes from case to case."""
    with ExitStack() as stack:
        turns = [
            (side, stack.enter_context(worker(Path(side.source), models, settings))) for side in sides if not side.rows
        ]
        for case in tqdm(cases if turns else (), desc="fits of table 3", leave=False):
            for side, process in turns:
                side.rows.append(ask(process, case, side.source))
            turns.reverse()


def summary(rows: Rows) -> dict[str, Any]:
    """For each noise the mean of every field, its deviation over models, and over seeds of the mean."""
    noises = {noise: chosen(rows, noise=noise) for noise in (CLEAN, DAMAGED)}
    return {noise: {field: spread(part, field)._asdict() for field in FIELDS} for noise, part in noises.items()}


def differences(old: Rows, new: Rows) -> dict[str, Any]:
    """New less old, pair by pair: mean, its standard error, extremes, and in how many pairs new is the lower."""
    found: dict[str, Any] = {}
    for noise in (CLEAN, DAMAGED):
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if a["noise"] == noise]
        found[noise] = {}
        for field in FIELDS:
            change = np.array([b[field] - a[field] for a, b in pairs])
            error = float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else np.nan
            ratio = float(np.median([b[field] / a[field] for a, b in pairs]))
            extremes = {"least": float(change.min()), "most": float(change.max())}
            low = {"lower": int((change < 0).sum()), "pairs": len(change)}
            found[noise][field] = {"mean": float(change.mean()), "error": error, "ratio": ratio, **extremes, **low}
    return found


def report(sides: Mapping[str, Side]) -> str:
    """A line for each noise and side, and beneath two the difference of their pairs."""
    lines = []
    for noise in (CLEAN, DAMAGED):
        for name, side in sides.items():
            found = summary(side.rows)[noise]
            error = "{mean:.5f} ± {over_models:.4f} ({over_seeds:.4f})".format(**found["cross_entropy"])
            rest = (f"{found[field]['mean']:.4g}" for field in FIELDS[1:])
            lines.append((f"{noise}, {name} {side.commit}", error, *rest))
        if len(sides) == 2:
            found = differences(*(side.rows for side in sides.values()))[noise]
            error = "{mean:+.5f} ± {error:.5f}, lower in {lower} of {pairs}".format(**found["cross_entropy"])
            rest = (f"{found[field]['mean']:+.4g} (x {found[field]['ratio']:.3g})" for field in FIELDS[1:])
            lines.append((f"{noise}, new less old", error, *rest))
    return table(("", "cross-entropy", "IoU", "depth error, %", "seconds", "of all cores"), lines)


def flags() -> argparse.ArgumentParser:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.table3.pairs", description=__doc__, formatter_class=style)
    parser.add_argument("--models", type=Path, required=True, help="folder of the meshes")
    parser.add_argument("--old", type=Path, required=True, help="checkout, or a file of this command")
    parser.add_argument("--new", type=Path, help="checkout, or a file of this command")
    parser.add_argument("--json", type=Path, required=True, help="file that gets all rows")
    parser.add_argument("--names", nargs="+", default=[], help="which meshes; default: the ten of the table")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    for name in ("views", "size", "components"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings(), name), help="default: %(default)s")
    return parser


def main(argv: Sequence[str]) -> int:
    """The table on stdout; 2 and one line for what the user can mend."""
    options = flags().parse_args(argv)
    settings = {name: getattr(options, name) for name in ("views", "size", "components")}

    def work() -> str:
        where = machine()
        meshes = find_meshes(options.models, options.names, PAPER_NAMES)
        cases = [Case(mesh, noise, seed) for mesh in meshes for seed in options.seeds for noise in (CLEAN, DAMAGED)]
        sources = {"old": options.old, "new": options.new}
        sides = {name: open_side(source, name, cases, settings) for name, source in sources.items() if source}
        fit_all(list(sides.values()), cases, options.models, settings)
        found = {"machine": where, "settings": settings, "sides": {n: side._asdict() for n, side in sides.items()}}
        found["summary"] = {name: summary(side.rows) for name, side in sides.items()}
        if len(sides) == 2:
            found["new less old"] = differences(sides["old"].rows, sides["new"].rows)
        write_text(options.json, json.dumps(plain(found), indent=1) + "\n")
        return f"{report(sides)}\n\n{where}."

    return told(work, None, "pairs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
