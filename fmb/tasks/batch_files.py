"""The folder of a batch: which inputs there are, which are done, and the table and page of all of them."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmb import machine
from fmb.config import Config
from fmb.files.safe import read_json
from fmb.files.tables import flat, write_csv, write_parquet
from fmb.pictures.thumbnails import write_thumbnails
from fmb.tasks.batch_jobs import Job, Outcome, unchanged
from fmb.whole import METRICS, is_free

RECORD = "batch.json"
SECTIONS = {  # whose options change what comes out
    "shape": ("model", "rendering", "optimization", "capture", "export"),
    "convert": ("model", "rendering", "optimization", "export"),
    "points": ("model", "cloud", "export"),
}


def record_of(config: Config) -> dict[str, Any]:
    """All that the results depend on but the inputs."""
    options = {
        name: value
        for part in SECTIONS[config.batch.batch_task]
        for name, value in asdict(getattr(config, part)).items()
    }
    left_out = ("data", "latent_space", "reference_mesh", "stream_views")
    options = {name: value for name, value in options.items() if name not in left_out}
    return json.loads(json.dumps({"batch_task": config.batch.batch_task, "random_seed": config.random_seed, **options}))


def check_record(place: Path, record: Mapping[str, Any], overwrite: bool) -> str:
    """The digest of the record, which is kept.  Raises ValueError where the folder has a batch with other options."""
    if (place / RECORD).is_file() and not overwrite:
        old = read_json(place / RECORD)
        for name, value in record.items():
            if old.get(name) != value:
                words = f"{name} was {old.get(name)} and is {value}"
                raise ValueError(
                    f"{place}: is a batch with other options, {words}; choose another --output-dir, or --overwrite"
                )
    machine.write_metrics(place / RECORD, record)
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def split(jobs: Sequence[Job], digest: str, overwrite: bool) -> tuple[list[Job], list[Job]]:
    """Those that are done with these options, and those that are not.

    Raises ValueError where a result was made of another input of that name, unless it may be replaced.
    """
    done, open_ = [], []
    for job in jobs:
        old = result_of(job)
        if old.get("options") == digest and job.path.exists():
            if unchanged(job, old):
                done.append(job)
                continue
            if not overwrite:
                raise ValueError(
                    f"{job.path}: is not what {job.place} was made of; choose another --output-dir, or --overwrite"
                )
        open_.append(job._replace(digest=digest))
    return done, open_


def result_of(job: Job) -> dict[str, Any]:
    """What the metrics of a job say; nothing where it is not done."""
    path = job.place / METRICS
    try:
        return read_json(path) if path.is_file() else {}
    except ValueError:
        return {}


@contextmanager
def claimed(place: Path, shard: tuple[int, int]) -> Iterator[None]:
    """The shard belongs to this process.  Raises ValueError where another one works on it."""
    path = place / f".shard-{shard[0]}-of-{shard[1]}.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not is_free(lock):
            raise ValueError(f"{place}: another run works on shard {shard[0]}/{shard[1]}; wait for it, or end it")
        yield
    finally:
        os.close(lock)  # the file stays: to remove it would let two runs hold locks of one name


def note_failure(place: Path, outcome: Outcome) -> None:
    """Keeps or forgets why an input failed, for tables that other jobs write."""
    path = place / "failed" / f"{outcome.job.name}.json"
    if outcome.error:
        path.parent.mkdir(exist_ok=True)
        machine.write_metrics(path, {"name": outcome.job.name, "input": str(outcome.job.path), "error": outcome.error})
    else:
        path.unlink(missing_ok=True)


def rows_of(jobs: Sequence[Job], place: Path, digest: str) -> list[dict[str, Any]]:
    """A row for each input that is done or has failed, numbers of its metrics by name."""
    rows = []
    for job in jobs:
        found, failure = result_of(job), place / "failed" / f"{job.name}.json"
        if found.get("options") == digest:
            left_out = ("versions", "notices", "files", "options", "modified", "name", "input", "task")
            numbers = flat({name: value for name, value in found.items() if name not in left_out})
            rows.append({"name": job.name, "input": str(job.path), "error": None, **numbers})
        elif failure.is_file():
            rows.append({"name": job.name, "input": str(job.path), "error": read_json(failure)["error"]})
    return rows


def write_overview(jobs: Sequence[Job], place: Path, digest: str) -> list[str]:
    """Writes the tables and the page of all that is done so far, by whatever job; notices."""
    rows = rows_of(jobs, place, digest)
    write_csv(place / "table.csv", rows)
    parquet = write_parquet(place / "table.parquet", rows)
    failed = sum(bool(row["error"]) for row in rows)
    note = f"{len(rows) - failed} of {len(jobs)} shapes are done. Left: what was given; right: the surface of the fit."
    write_thumbnails(place / "index.html", "Batch of shapes", note, [card(row, place) for row in rows])
    return [] if parquet else ["note: no table.parquet: it needs the package pyarrow (extra `batch`)"]


def card(row: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """What the page shows of a row."""
    folder = f"shapes/{row['name']}"
    picture = f"{folder}/thumbnail.png" if (place / folder / "thumbnail.png").is_file() else ""
    known = {"IoU of unseen views": row.get("novel_iou"), "of training views": row.get("train_iou")}
    line = ", ".join(f"{name} {value:.3f}" for name, value in known.items() if value is not None)
    return {"name": row["name"], "folder": folder, "picture": picture, "line": line, "error": row["error"] or ""}
