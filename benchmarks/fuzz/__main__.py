"""Damaged files for every reader: what is read, what is refused in one line, and what must not happen.

    python -m benchmarks.fuzz [--count 50000] [--seed 0] [--only mesh] [--output output/fuzz]
        [--results docs/results/robustness.md]

A good small file of each kind is damaged by a seed: bits, lengths, numbers, words and lines, also inside of archives
and packed data, and of each file in a folder. Then the program's own reader reads it, in a process that may take 1 GiB
more than for the good one, and 30 seconds a file. What ends badly is kept in the output folder. Needs the group dev.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from benchmarks.fuzz.corpus import FOLDERS, TARGETS
from benchmarks.fuzz.worker import ENDS, read_all
from fmb.machine import write_text

FOLDER_SHARE = 0.25  # of files for a folder: it takes five times as long to read
HEADS = ("kind", "files", "read", "refused", "traceback", "over 1 GiB", "over 30 s")


def main(argv: list[str]) -> int:
    """Runs everything; 1 where something ended badly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50_000, help="files in all (default 50000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first file (default 0)")
    parser.add_argument("--only", default="", help="kinds whose names have this word")
    parser.add_argument("--output", type=Path, default=Path("output/fuzz"), help="folder of what ends badly")
    parser.add_argument("--results", type=Path, help="page whose table is written again")
    options = parser.parse_args(argv)
    names = [name for name in TARGETS if options.only in name]
    weight = {name: FOLDER_SHARE if name in FOLDERS else 1.0 for name in names}
    counts: dict[str, Counter] = {}
    for name in tqdm(names, desc="kinds", disable=not sys.stderr.isatty()):
        count = round(options.count * weight[name] / sum(weight.values())) + 1
        seeds = range(options.seed, options.seed + count)
        counts[name] = Counter()
        for end in read_all(name, seeds, options.output):
            counts[name][end.kind] += 1
            if end.kind in ENDS[2:]:
                print(f"{name}, seed {end.seed}: {end.kind}: {end.said}", flush=True)
        print(row(name, counts[name]), flush=True)
    lines = table(counts)
    if options.results is not None:
        page = options.results.read_text(encoding="utf-8")
        write_text(options.results, re.sub(r"\| kind \|.*?(?=\n\n|\Z)", lambda _: lines, page, flags=re.DOTALL))
    print(lines)
    return int(any(counts[name][kind] for name in counts for kind in ENDS[2:]))


def table(counts: Mapping[str, Counter]) -> str:
    """The counts of all kinds of files, a row each, and their sum."""
    total = sum(counts.values(), Counter())
    rows = [row(name, found) for name, found in {**counts, "all": total}.items()]
    return "\n".join([f"| {' | '.join(HEADS)} |", "|---" + "|---:" * (len(HEADS) - 1) + "|", *rows])


def row(name: str, found: Counter) -> str:
    """The counts of a kind."""
    cells = (name, found.total(), *(found[kind] for kind in ENDS))
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
