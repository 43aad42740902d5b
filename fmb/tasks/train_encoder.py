"""Task `train-encoder`: families of shapes, or captures -> an encoder that makes a mixture of one image."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from fmb import machine
from fmb.config import Config
from fmb.files.safe import read_arrays
from fmb.fit.checkpoints import data_digest
from fmb.machine import Clock, choose_device, replacing, tell
from fmb.options import NONE
from fmb.pictures.single_view import film_frame
from fmb.single_view.evaluation import known_shapes, looked_at, silhouette_ious
from fmb.single_view.layout import Layout, layout_of
from fmb.single_view.network import Encoder, grown
from fmb.single_view.recipe import Hooks, State, train
from fmb.single_view.sights import Collection, subset
from fmb.tasks.encoders import read_encoder
from fmb.tasks.shell import check_before, task_folder
from fmb.tasks.sights import read_lessons
from fmb.tasks.train_encoder_files import Trained, shown_of, write_results
from fmb.tasks.unfinished import Unfinished
from fmb.whole import whole_folder

AFTERWARDS = ("save_sights",)  # options that the training itself does not see
COURSE = "course.npz"
WATCHED = 8  # unseen shapes that are looked at with every checkpoint


def train_encoder(config: Config, clock: Clock) -> None:
    """Sights -> a trained encoder, what it makes of shapes that it has not seen, and its errors."""
    layout = layout_of(config.encoding)
    place = task_folder(config)
    check_before(config, place)
    if config.optimization.fit_devices != 1:
        machine.several_cpu_devices(config.optimization.fit_devices or os.cpu_count() or 1)
    tell(choose_device(config.cpu).hint)
    with whole_folder(place) as folder:
        with clock("sights"):
            seen, unseen = read_lessons(config)
        unfinished = Unfinished(place, record_of(config, layout, seen), beside=(COURSE,))
        with unfinished.kept():
            with clock("train"):
                watch = Watch(layout, unseen, unfinished, config.encoding.encoder_steps)
                encoder = trained(config, layout, seen, watch)
            made = Trained(config, layout, encoder, seen, unseen, watch.seen())
            metrics = write_results(made, folder, unfinished, clock)
    unfinished.remove()
    words = summary_words(metrics)
    tell(*words, f"encoder, pictures and numbers in {place}/")


def record_of(config: Config, layout: Layout, seen: Collection) -> Mapping[str, Any]:
    """All that the training depends on: a run that goes on must be given the same."""
    options = {name: value for name, value in asdict(config.encoding).items() if name not in AFTERWARDS}
    facts = {"shapes": len(seen.names), "sights": data_digest(seen.sights), "seed": config.random_seed}
    return {**options, **layout._asdict(), **facts}


class Watch:
    """Looks at every checkpoint with a few shapes that the training does not see; keeps the last two, at the end one.

    What it saw lies beside the checkpoints, so that a run that goes on has it all: step, mean IoU of the silhouettes in
    the view that is given and in others, and a frame of the film.
    """

    def __init__(self, layout: Layout, unseen: Collection, unfinished: Unfinished, total: int):
        count = len(unseen.names)
        few = np.unique(np.linspace(0, count - 1, min(count, WATCHED)).astype(int))
        self.layout, self.few, self.total = layout, subset(unseen, list(map(int, few))), total
        self.unfinished, self.course = unfinished, {}

    def begin(self, resume: bool) -> Mapping[str, np.ndarray] | None:
        """The arrays to go on from, if the run goes on; what was seen up to there."""
        begun = self.unfinished.begin(resume)
        if begun is not None:
            seen = read_arrays(self.unfinished.folder / COURSE)
            kept = seen["step"] <= int(begun["step"])
            self.course = {name: [*column[kept]] for name, column in seen.items()}
        return begun

    def save(self, state: State) -> None:
        """Keeps the state in place of the one before the last, and looks at it."""
        before = self.unfinished.steps()
        self.see(state.step, state.encoder)
        with replacing(self.unfinished.folder / COURSE) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **self.seen())
        self.unfinished.save(state)
        for step in before[:-1] if state.step < self.total else before:
            if step != state.step:
                self.unfinished.path(step).unlink()

    def see(self, step: int, encoder: Encoder) -> None:
        """Measures an encoder after so many steps."""
        shapes = known_shapes(encoder, self.layout, looked_at(encoder, self.layout, self.few), self.few)
        given, novel = silhouette_ious(encoder, self.layout, shapes, self.few)
        words = f"step {step} of {self.total}   IoU of unseen shapes {given.mean():.3f}, other sides {novel.mean():.3f}"
        pictures = shown_of(encoder, self.layout, self.few, range(len(self.few.names)))
        row = {"step": step, "input_iou": given.mean(), "novel_iou": novel.mean()}
        for name, value in (row | {"frame": film_frame(pictures, words, step / self.total)}).items():
            self.course.setdefault(name, []).append(value)

    def seen(self) -> dict[str, np.ndarray]:
        """The columns of what was seen."""
        return {name: np.stack(column) for name, column in self.course.items()}


def trained(config: Config, layout: Layout, seen: Collection, watch: Watch) -> Encoder:
    """The training, from its start or from the last checkpoint."""
    start, begun = start_of(config, layout), watch.begin(config.resume)
    with machine.progress_bar("train") as on_progress:
        hooks = Hooks(on_progress, watch.save, watch.unfinished.offer, start, begun)
        generator, devices = np.random.default_rng(config.random_seed), config.optimization.fit_devices
        return train(seen.sights, config.encoding, layout, generator, hooks, devices)


def start_of(config: Config, layout: Layout) -> Encoder | None:
    """The encoder that the training starts from, if one is named; with fewer alignments it is given more.

    Raises ValueError for one of other sizes.
    """
    path = config.encoding.encoder_start
    if path == NONE:
        return None
    encoder, other, _ = read_encoder(path)
    if other._replace(alignments=layout.alignments) != layout or other.alignments > layout.alignments:
        names = [name for name, value in layout._asdict().items() if getattr(other, name) != value]
        words = ", ".join(f"{name} {getattr(other, name)} and not {getattr(layout, name)}" for name in names)
        raise ValueError(f"{path}: is an encoder of other sizes, {words}; the options must be the same")
    return grown(encoder, layout, np.random.default_rng(config.random_seed))


def summary_words(metrics: Mapping[str, Any]) -> list[str]:
    """What a run says at its end."""
    mean = metrics["mean"]
    words = (
        f"unseen shapes: mask IoU {mean['input_iou']:.3f} in the view that is given, {mean['novel_iou']:.3f} in others"
    )
    if "voxel_iou" in mean:
        words += f"; voxel IoU {mean['voxel_iou']:.3f}"
    turn = f"camera unknown: {mean['rotation_degrees']:.1f} degrees in the median"
    return [words, turn, machine.seconds_told(metrics["seconds"])]
