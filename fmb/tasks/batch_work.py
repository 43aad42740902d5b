"""What worker processes do for task `batch`: views of an input and the start of its fit; and what becomes of the fit.

Nothing here waits for a device of fits: workers use the CPU.
"""

import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
import trimesh

from fm_render import Mixture
from fmb import machine
from fmb.config import Config
from fmb.fields.looks import evaluate
from fmb.files.meshes import read_mesh
from fmb.files.safe import read_json
from fmb.geometry.frames import Frame, canonical_frame
from fmb.geometry.ground_truth import AUTO
from fmb.geometry.views import Views
from fmb.machine import Clock
from fmb.options import NONE
from fmb.pictures.thumbnails import portrait, thumbnail
from fmb.shape.batch import Ended
from fmb.shape.color import fit_color
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import ShapeFit, Work, begin_work, conversion_options, conversion_views, end_work, plan_shape_fit
from fmb.shape.start import start_mixture
from fmb.tasks.batch_jobs import Job, Outcome, source_of
from fmb.tasks.export import Subject, export, surface_facts, with_mesh, write_mixture
from fmb.tasks.points import points
from fmb.tasks.scenes import open_scene
from fmb.tasks.shape import streams
from fmb.tasks.shell import circumstances
from fmb.whole import METRICS, whole_folder

LOG = "log.txt"


class Ready(NamedTuple):
    """A fit that can begin, with what its result is measured by; arrays are NumPy's."""

    job: Job
    start: Mixture
    work: Work
    views: dict[str, Views]
    frame: Frame
    mesh: trimesh.Trimesh | None
    facts: dict[str, Any]
    notices: tuple[str, ...]


def of_one(config: Config, job: Job) -> Config:
    """The options for one input of a batch: of a mesh, exact views, which need no process of their own."""
    drawn = "raycast" if config.rendering.ground_truth == AUTO else config.rendering.ground_truth
    capture = job.path.is_dir() or job.path.suffix == ".npz"
    return replace(
        config,
        task=config.batch.batch_task,
        io=replace(config.io, mesh_file=str(job.path)),
        capture=replace(config.capture, data=str(job.path) if capture else NONE),
        rendering=replace(config.rendering, ground_truth=drawn),
    )


def aims_of(config: Config) -> OptimizationOptions:
    """The options of the fits: a conversion looks at depths."""
    return conversion_options(config.optimization) if config.batch.batch_task == "convert" else config.optimization


def prepared(config: Config, job: Job) -> Ready | Outcome:
    """The fit that the input asks for, or why there is none."""
    start = time.process_time()
    try:
        source = source_of(job)
        ready = KINDS[config.batch.batch_task](of_one(config, job), job)
    except FAILURES as error:
        return failed(job, error)
    ready.facts.update(source)
    ready.facts["prepare_cpu_seconds"] = time.process_time() - start
    return ready


def of_views(config: Config, job: Job) -> Ready:
    """A fit to silhouettes, as task shape makes it."""
    scene_generator, fit_generator = streams(config)
    scene = open_scene(config, scene_generator)
    start = start_mixture(scene.mesh, config.model, config.random_seed, config.optimization.recipe, scene.inside)
    seen = scene.look()
    plan = plan_shape_fit(start.mixture, scene.shape, config.optimization)
    work = begin_work(plan, start.mixture, seen.views["train"], fit_generator, scene.surface)
    before = evaluate(start.mixture, seen.views, float(scene.frame.scale), plan.supervision.settings)[1]
    facts = {"initial": before, "init": start.kind, "ground_truth_backend": seen.source}
    notices = tuple(filter(None, (start.notice, *seen.notices)))
    return Ready(job, jax.device_get(start.mixture), plain(work), seen.views, scene.frame, scene.mesh, facts, notices)


def of_mesh(config: Config, job: Job) -> Ready:
    """A fit to silhouettes and depths, as task convert makes it."""
    mesh = read_mesh(job.path)
    frame = canonical_frame(mesh)
    mesh, aims = frame.mesh_to_canonical(mesh), aims_of(config)
    generator, novel_generator = np.random.default_rng(config.random_seed).spawn(2)
    views_generator, fit_generator = generator.spawn(2)
    start = start_mixture(mesh, config.model, config.random_seed)
    train = conversion_views(mesh, views_generator, config.rendering)
    views = {"novel": conversion_views(mesh, novel_generator, config.rendering)}
    plan = plan_shape_fit(start.mixture, train.silhouette.shape, aims)
    work = begin_work(plan, start.mixture, train, fit_generator)
    before = evaluate(start.mixture, views, float(frame.scale), plan.supervision.settings)[1]
    facts = {"initial": before, "init": start.kind}
    notices, views = tuple(filter(None, [start.notice])), {"train": train, **views}
    return Ready(job, jax.device_get(start.mixture), plain(work), views, frame, mesh, facts, notices)


KINDS: dict[str, Callable[[Config, Job], Ready]] = {"shape": of_views, "convert": of_mesh}


def plain(work: Work) -> Work:
    """The work with its arrays in NumPy, so that it can go from process to process."""
    arrays = jax.device_get((work.start, work.sample, work.cameras, work.care, work.attention))
    names = "start", "sample", "cameras", "care", "attention"
    return work._replace(**dict(zip(names, arrays, strict=True)))


def finished(config: Config, ready: Ready, ended: Ended) -> Outcome:
    """Measures the fit and writes its folder; a folder that cannot be written stops the batch, all else this input."""
    start, job, config = time.process_time(), ready.job, of_one(config, ready.job)
    if ended.error:
        return Outcome(job, f"{job.path}: {ended.error}")
    try:
        subject, facts = result_of(config, ready, ended)
        picture = thumbnail(ready.views["train"], ready.mesh, subject.mesh)
    except FAILURES as error:
        return failed(job, error, f"{job.path}: ")
    facts["finish_cpu_seconds"] = time.process_time() - start
    try:
        with whole_folder(job.place) as folder:
            write_mixture(folder / "model.npz", subject, facts)
            wanted = config.export if subject.mesh is not None else replace(config.export, mesh=NONE)
            export(subject, wanted, folder)
            machine.write_picture(folder / "thumbnail.png", picture)
            machine.write_metrics(folder / METRICS, facts)
    except FAILURES as error:
        return failed(job, error)
    return Outcome(job)


def result_of(config: Config, ready: Ready, ended: Ended) -> tuple[Subject, dict[str, Any]]:
    """What is exported, and what there is to tell."""
    train, aims = ready.views["train"], aims_of(config)
    plan = plan_shape_fit(ready.start, train.silhouette.shape, aims)
    fit: ShapeFit = end_work(plan, ended.work, train, ended.fit, ended.attention, ended.low)
    seen = ready.views if config.task == "shape" else {"novel": ready.views["novel"]}
    errors = evaluate(fit.mixture, seen, float(ready.frame.scale), plan.supervision.settings)[1]
    subject = Subject(fit.mixture, ready.frame, None, seen.get("train", seen["novel"]), seed=config.random_seed)
    notices = list(ready.notices)
    try:
        if config.task == "shape" and config.capture.fit_color and train.color is not None:
            subject = subject._replace(color=fit_color(fit.mixture, train, plan.supervision.settings))
        subject = with_mesh(subject, config.export)
    except ValueError as error:
        notices.append(str(error))  # too thin to have colours or a surface; the fit is kept
    facts = {"task": config.task, "name": ready.job.name, **errors, **ready.facts}
    facts |= {"steps": len(fit.history.step), "scale": float(ready.frame.scale), "loss": fit.loss}
    facts |= {"mean_view_iou": float(np.mean(fit.view_iou)), **surface_facts(subject, ready.mesh, config.random_seed)}
    return subject, {**facts, "notices": notices, **circumstances(config)}


def pointed(config: Config, job: Job) -> Outcome:
    """Task points on one cloud, with all its files; what it says goes into a file of its own."""
    try:
        with whole_folder(job.place) as folder:
            io = replace(config.io, cloud_file=str(job.path), output_dir=str(folder / "points"))
            one = replace(config, task="points", io=io)
            with (folder / LOG).open("w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
                points(one, Clock(time.perf_counter()))
            found = read_json(folder / "points" / METRICS)
            told = {name: found[name] for name in ("method", "points", "steps", "faces", "euler", "errors")}
            facts = {"task": "points", "name": job.name, **source_of(job), **told}
            for surface in (folder / "points").glob("mesh.*"):
                machine.write_picture(folder / "thumbnail.png", portrait(read_mesh(surface)))
            machine.write_metrics(folder / METRICS, facts)
    except OSError as error:  # of the log: all other files have words of their own
        return failed(job, machine.Unwritable(f"{job.place}: cannot be written ({machine.reason(error)})"))
    except FAILURES as error:
        return failed(job, error)
    return Outcome(job)


FAILURES = (ValueError, FloatingPointError, MemoryError)


def failed(job: Job, error: Exception, start: str = "") -> Outcome:
    """What became of an input whose work failed; a disk on which nothing can be written stops the batch."""
    return Outcome(job, start + (str(error) or "not enough memory"), isinstance(error, machine.Unwritable))
