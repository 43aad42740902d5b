"""Task `batch`: many inputs -> views in worker processes -> fits at once on all devices -> a folder for each.

A shape is done when its folder is there, which happens in one step. So a batch that was ended at any moment goes on
when the same command is given again; it has lost no more than the shapes under way.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import jax

from fmb import machine
from fmb.config import PROGRAM, Config
from fmb.geometry.opengl_process import end_with_parent
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.shape.batch import Fits, kind_of
from fmb.shape.batch_options import BatchOptions
from fmb.shape.recipe import plan_shape_fit
from fmb.tasks.batch_files import (
    check_record,
    claimed,
    note_failure,
    record_of,
    split,
    write_overview,
)
from fmb.tasks.batch_jobs import Job, Outcome, jobs_of, shard_of
from fmb.tasks.batch_slurm import submit
from fmb.tasks.batch_work import Ready, aims_of, finished, of_one, pointed, prepared
from fmb.tasks.shell import check_before, task_folder

AHEAD = 2  # inputs that are prepared in advance, for each worker
TOLD = 10  # failures that are told one by one


def batch(config: Config, clock: Clock) -> None:
    """Many inputs -> a folder for each, a table and a page.

    Raises ValueError, at the end, where an input could not be used, and before it, where nothing can be written.
    """
    if not config.several:
        raise ValueError(f"batch needs meshes, captures or points: {PROGRAM} batch models/ --output-dir output/all")
    check_options(config)
    place, shard = task_folder(config), shard_of(config.batch.shard)
    check_before(config, place)
    jobs = jobs_of(config, place)
    machine.prepare_output_dir(place / "shapes")
    if config.batch.slurm_jobs:
        return submitted(config, place, len(jobs))
    with claimed(place, shard):
        digest = check_record(place, record_of(config), config.overwrite)
        mine = jobs[shard[0] - 1 :: shard[1]]
        done, open_ = split(mine, digest, config.overwrite)
        tell(f"{len(done)} of {len(mine)} shapes are done already" if done else "")
        count = config.batch.batch_devices or os.cpu_count() or 1
        machine.several_cpu_devices(count)
        tell(choose_device(config.cpu).hint)
        try:
            with clock("batch"):
                outcomes = carried_out(config, open_, place)
        finally:
            notices = write_overview(jobs, place, digest)
    facts = {"task": "batch", "shapes": len(mine), "done_before": len(done), **told(outcomes, clock)}
    name = "metrics.json" if shard[1] == 1 else f"metrics-{shard[0]}-of-{shard[1]}.json"
    machine.write_metrics(place / name, facts | {"seconds": clock.seconds()})
    tell(*notices, summary(facts), f"table.csv, index.html and shapes/ in {place}/")
    complain([outcome for outcome in outcomes if outcome.error], len(mine), place)


def submitted(config: Config, place: Path, count: int) -> None:
    """Has the shards done by jobs of a cluster."""
    if config.batch.shard != BatchOptions.shard:
        raise ValueError(f"shard is {config.batch.shard}; --slurm-jobs makes the shards itself")
    check_record(place, record_of(config), config.overwrite)
    numbers = ", ".join(job.job_id for job in submit(config, place))
    tell(f"jobs {numbers} take {count} shapes; their logs are in {place}/slurm/")


def check_options(config: Config) -> None:
    """Raises ValueError for what a batch does not do, which a file may ask for."""
    if config.capture.stream_views == "always":
        raise ValueError("stream_views is always; a batch has all views of a capture in memory")
    unused = {"symmetry": config.model.symmetry, "film": config.export.film}
    for name, value in unused.items():
        if value != NONE and config.batch.batch_task != "points":
            raise ValueError(f"{name} is {value}; a batch has none, so it must be {NONE}")
    unused = {"refine_cameras": config.capture.refine_cameras, "uncertainty": config.export.uncertainty}
    for name, value in {**unused, "teachers": config.optimization.teachers}.items():
        if value:
            raise ValueError(f"{name} is {str(value).lower()}; a batch does not do that")
    if config.optimization.fit_devices != 1:
        words = f"fit_devices is {config.optimization.fit_devices}; a batch spreads whole fits, by batch_devices"
        raise ValueError(f"{words}, so it must be 1")


def told(outcomes: Sequence[Outcome], clock: Clock) -> dict[str, Any]:
    """How much was done, and how fast."""
    failed = sum(bool(outcome.error) for outcome in outcomes)
    minutes = clock.parts.get("batch", 0.0) / 60.0
    made = len(outcomes) - failed
    pace = {"shapes_per_minute": made / minutes if minutes else 0.0, "process_cpu_seconds": time.process_time()}
    return {"done_now": made, "failed": failed, **pace}


def summary(facts: dict[str, Any]) -> str:
    """What a run says at its end."""
    words = (
        f"{facts['done_before'] + facts['done_now']} of {facts['shapes']} shapes done, {facts['done_now']} of them now"
    )
    return f"{words}, {facts['shapes_per_minute']:.1f} a minute"


def complain(failed: Sequence[Outcome], count: int, place: Path) -> None:
    """Raises ValueError with the inputs that could not be used, so that the exit code tells of them."""
    if not failed:
        return
    machine.warn(*(outcome.error for outcome in failed[:TOLD]))
    more = f" ({len(failed) - TOLD} more)" if len(failed) > TOLD else ""
    raise ValueError(f"{len(failed)} of {count} inputs could not be used{more}; table.csv in {place} says why")


def carried_out(config: Config, jobs: Sequence[Job], place: Path) -> list[Outcome]:
    """Does the jobs; what became of each."""
    run = Run(config, deque(jobs), place)
    with run.workers(), machine.counting_bar("shapes", len(jobs)) as run.on_count:
        run.work()
    return run.outcomes


class Here(Executor):
    """Does each task at once, in this process."""

    def submit(self, function: Callable, /, *arguments: Any) -> Future:
        """A future that is there already."""
        future: Future = Future()
        future.set_result(function(*arguments))
        return future


class Run:
    """A batch under way: inputs to do, tasks of the workers, fits that wait, and those in slots."""

    def __init__(self, config: Config, todo: deque[Job], place: Path):
        self.config, self.todo, self.place = config, todo, place
        self.asked: set[Future] = set()
        self.waiting: deque[Ready] = deque()
        self.ready: dict[str, Ready] = {}  # of the fits in slots
        self.fits: Fits | None = None
        self.outcomes: list[Outcome] = []
        self.on_count: Callable[[int, str], None] = lambda count, words: None

    @contextmanager
    def workers(self) -> Any:
        """The processes beside this one; they end with it."""
        self.count = self.config.batch.batch_workers or os.cpu_count() or 1
        if self.count == 1:
            self.pool: Executor = Here()
            yield
            return
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload(["fmb.tasks.batch_work"])
        self.pool = ProcessPoolExecutor(self.count, context, initialise)
        try:
            yield
        finally:
            self.pool.shutdown(cancel_futures=True)

    def work(self) -> None:
        """Goes on until nothing is left to do.  Raises ValueError where a worker died, or nothing can be written."""
        try:
            while self.todo or self.asked or self.waiting or self.ready:
                self.ask()
                self.collect(block=not self.waiting and not self.ready)
                self.fill()
                for ended in self.fits.advance() if self.ready else ():
                    self.asked.add(self.pool.submit(finished, self.config, self.ready.pop(ended.ticket), ended))
        except jax.errors.JaxRuntimeError as error:
            words = machine.device_words(error)
            raise ValueError(f"{self.place}: {words}; the same command goes on, with fewer --batch-slots") from error
        except BrokenProcessPool:
            names = ", ".join([*self.ready, *(ready.job.name for ready in self.waiting)][:TOLD]) or "unknown"
            words = f"a worker process has died (out of memory?), under way were: {names}"
            raise ValueError(f"{self.place}: {words}; the same command goes on with the rest") from None

    def ask(self) -> None:
        """Has inputs prepared, so many that no slot waits and no more than memory needs."""
        slots = self.fits.free if self.fits else 2 * self.count
        task = pointed if self.config.batch.batch_task == "points" else prepared
        while self.todo and len(self.asked) + len(self.waiting) < slots + AHEAD * self.count:
            self.asked.add(self.pool.submit(task, self.config, self.todo.popleft()))

    def collect(self, block: bool) -> None:
        """Takes what workers have done; waits for something if there is nothing else to do."""
        if not self.asked:
            return
        done, self.asked = wait(self.asked, None if block else 0.0, FIRST_COMPLETED)
        for future in done:
            found = future.result()
            if isinstance(found, Ready):
                self.waiting.append(found)
            else:
                self.conclude(found)

    def conclude(self, outcome: Outcome) -> None:
        """Notes what became of an input.  Raises ValueError where results can no longer be written."""
        if outcome.stops:
            raise ValueError(f"{outcome.error}; the same command goes on with the rest")
        note_failure(self.place, outcome)
        self.outcomes.append(outcome)
        failed = sum(bool(one.error) for one in self.outcomes)
        self.on_count(len(self.outcomes), f"{failed} failed" if failed else "")

    def fill(self) -> None:
        """Gives free slots to fits that wait; those of other shapes begin once the ones before them have ended."""
        if not self.waiting:
            return
        first = self.waiting[0]
        if not self.ready and (self.fits is None or self.fits.kind != kind_of(first.work)):
            options = self.config.batch
            plan = plan_shape_fit(
                first.start, first.views["train"].silhouette.shape, aims_of(of_one(self.config, first.job))
            )
            self.fits = Fits(plan, first.work, options.batch_devices, options.batch_slots)
        alike = [ready for ready in self.waiting if kind_of(ready.work) == self.fits.kind]
        for ready in alike[: self.fits.free]:
            self.waiting.remove(ready)
            self.ready[ready.job.name] = ready
            self.fits.put(ready.job.name, ready.work)


def initialise() -> None:
    """What a worker does first: it ends with the batch, leaves Ctrl-C to it, and uses the CPU."""
    end_with_parent()  # which may be a server of processes
    threading.Thread(target=end_with_batch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    choose_device(True)


def end_with_batch() -> None:
    """Waits until the batch has ended, and ends this process: a server would keep both alive once it was killed."""
    wait_for([multiprocessing.parent_process().sentinel])
    os._exit(1)
