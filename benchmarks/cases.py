"""Small reproducers of what users have, run one by one: does each end well, and is its result right?

    python -m benchmarks.cases --cases FOLDER

A case is a folder with a file `run`: a line for bash that finds the Python of this environment as $PY, this checkout as
$REPO, and a folder for its output as $OUT. It ends well with results, or with one line on stderr and exit code 2.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.markdown import table
from benchmarks.study import ROOT, provenance, told
from fmb.machine import prepare_output_dir, write_metrics, write_text

LEFT_BEHIND = re.compile(r"\.(partial|old)$|^\.drawing")
TRACEBACK = "Traceback (most recent call last)"


class End(NamedTuple):
    """How a case ended."""

    name: str
    code: int | None  # None: it ran past the limit and was ended
    seconds: float
    output: str  # stdout and stderr together
    folder: Path

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.code is None:
            return "HANG"
        if TRACEBACK in self.output:
            return "TRACEBACK"
        if any(LEFT_BEHIND.search(path.name) for path in self.folder.rglob("*")):
            return "LEFT FILES"
        if any(line.startswith("error:") for line in self.output.splitlines()):
            return "refused"
        return "ran" if self.code == 0 else f"EXIT {self.code}"

    @property
    def said(self) -> str:
        """The line that a user would look at: the error, else the last one."""
        lines = [line for line in re.split(r"[\r\n]+", self.output) if line.strip()]
        errors = [line for line in lines if line.startswith("error:") or "Error" in line]
        return (errors or lines or [""])[-1].strip()


def run(case: Path, folder: Path, limit: float) -> End:
    """Runs a case in a session of its own, so that whatever it started can be ended with it."""
    variables = {"PY": sys.executable, "REPO": str(ROOT), "OUT": str(folder)}
    begin = time.monotonic()
    with subprocess.Popen(
        ["bash", str(case / "run")],
        cwd=case,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, code = process.communicate(timeout=limit)[0], process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, code = process.communicate()[0], None
    return End(case.name, code, time.monotonic() - begin, output.decode("utf-8", "replace"), folder)


def found(folder: Path) -> Iterator[str]:
    """What the results of a case say of themselves: overlap with its masks, error of its pose, volume of its mesh."""
    for path in sorted(folder.rglob("metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        yield from (
            f"{part} IoU {metrics[part]['iou']:.3f}" for part in ("train", "novel") if "iou" in metrics.get(part, {})
        )
        yield from (
            f"{name} {value:.3g}" for name, value in metrics.items() if "degrees" in name and isinstance(value, float)
        )
    for path in sorted(folder.rglob("mesh.*")):
        yield f"{path.name} {volume(path)}"


def volume(path: Path) -> str:
    """Volume and corner of a mesh's box, in double."""
    import trimesh

    mesh = trimesh.load(path, force="mesh", process=False)
    return (
        f"volume {mesh.volume:.4g} from {', '.join(f'{x:.8g}' for x in mesh.bounds[0])}" if len(mesh.faces) else "empty"
    )


def row(end: End) -> tuple[str, ...]:
    """A line of the table."""
    said = end.said.replace("|", "\\|")
    return end.name, end.verdict, f"{end.seconds:.0f}", "; ".join(found(end.folder)), said[:150]


def work(options: argparse.Namespace) -> str:
    """The table of all cases."""
    chosen = sorted(path.parent for path in options.cases.glob("*/run"))
    chosen = [case for case in chosen if not options.names or any(re.match(name, case.name) for name in options.names)]
    if not chosen:
        raise ValueError(f"{options.cases}: no folder with a file `run`, or none of the names asked for")
    folder = prepare_output_dir(options.output)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # cases send it; a job in the background would ignore it

    def one(case: Path) -> End:
        end = run(case.resolve(), prepare_output_dir(folder / "out" / case.name).resolve(), options.limit)
        write_text(folder / f"{case.name}.log", end.output)
        print(*row(end), sep=" | ", flush=True)
        return end

    with ThreadPoolExecutor(options.jobs) as pool:
        ends = list(pool.map(one, chosen))
    counts = {verdict: sum(end.verdict == verdict for end in ends) for verdict in sorted({end.verdict for end in ends})}
    write_metrics(folder / "cases.json", {end.name: {"verdict": end.verdict, "code": end.code} for end in ends})
    lines = table(("case", "end", "s", "found", "said"), map(row, ends))
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{len(ends)} cases: {total}.\n\n{lines}\n\n{provenance('cases', options.argv)}"


def main(argv: Sequence[str]) -> int:
    """The table on stdout, logs of the cases in the output folder."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.cases", description=__doc__, formatter_class=style)
    parser.add_argument("--cases", type=Path, required=True, help="folder of the cases")
    parser.add_argument("--names", nargs="+", default=[], help="which of them, by how their names begin; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time; default: %(default)s")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds a case may take; default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("output/cases"), help="folder of logs and outputs")
    parser.add_argument("--results", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args(argv, argparse.Namespace(argv=argv))
    return told(lambda: work(options), options.results, "cases")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
