"""Task `learn`: meshes -> signed distances -> a space of shapes, with what it makes of each of them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmb import machine
from fmb.config import PROGRAM, Config
from fmb.fields.latent import Space
from fmb.files.distances import read_distances
from fmb.files.meshes import FORMATS, read_mesh
from fmb.files.several import files_of
from fmb.fit.checkpoints import data_digest
from fmb.latent.decoder import Hooks, check_names, shape_of, steps_of, train
from fmb.latent.samples import Places, Samples, find_places, from_rows, measure_distances
from fmb.machine import Clock, choose_device, tell
from fmb.tasks.learn_files import Learnt, summary, write_results
from fmb.tasks.shell import check_before, task_folder
from fmb.tasks.unfinished import Unfinished
from fmb.whole import whole_folder

SUFFIXES = (*(f".{kind}" for kind in FORMATS), ".npz")
AFTERWARDS = ("learn_resolution", "save_samples")  # options that the training itself does not see


def learn(config: Config, clock: Clock) -> None:
    """Meshes -> a trained space of shapes, reconstructions of all of them, and their errors."""
    if not config.several:
        raise ValueError(f"learn needs meshes: {PROGRAM} learn spot.ply bob.ply --output-dir shapes")
    paths = files_of(config.several, SUFFIXES)
    check_names([path.stem for path in paths])
    place = task_folder(config)
    check_before(config, place)
    tell(choose_device(config.cpu).hint)
    with whole_folder(place) as folder:
        with clock("samples"):
            samples, meshes = read(paths, config)
        unfinished = Unfinished(place, record_of(config, samples))
        with unfinished.kept():
            with clock("train"):
                space = trained(config, samples, unfinished)
            metrics = write_results(Learnt(config, space, samples, meshes), folder, unfinished, clock)
    unfinished.remove()
    tell(*summary(metrics), f"space of shapes, pictures and numbers in {place}/")


def read(paths: list[Path], config: Config) -> tuple[list[Samples], list[Any]]:
    """Signed distances of every file, and the mesh where it is one, else None."""
    sources = [source_of(path, number, config) for number, path in enumerate(paths)]  # all, before any is measured
    samples = []
    with machine.progress_bar("signed distances") as on_progress:
        for number, (source, _) in enumerate(sources):
            samples.append(measure_distances(source) if isinstance(source, Places) else source)
            on_progress(number + 1, len(paths), np.nan)
    return samples, [mesh for _, mesh in sources]


def source_of(path: Path, number: int, config: Config) -> tuple[Places | Samples, Any]:
    """Where to measure the distances of a mesh, and the mesh; the distances of a file that has them, and None."""
    if path.suffix.lower() == ".npz":
        return from_rows(path.stem, *read_distances(path)), None
    mesh, generator = read_mesh(path), np.random.default_rng([config.random_seed, number])
    return find_places(mesh, path.stem, config.space.learn_samples, generator, path), mesh


def record_of(config: Config, samples: list[Samples]) -> Mapping[str, Any]:
    """All that the training depends on: a run that goes on must be given the same."""
    options = {name: value for name, value in asdict(config.space).items() if name not in AFTERWARDS}
    data = data_digest(side for part in samples for side in (part.pos, part.neg))
    shape = shape_of(config.space, len(samples))._asdict()
    facts = {"shapes": [part.name for part in samples], "samples": data}
    return {**options, **shape, **facts, "steps": steps_of(config.space, len(samples)), "seed": config.random_seed}


def trained(config: Config, samples: list[Samples], unfinished: Unfinished) -> Space:
    """The training, from its start or from the last checkpoint."""
    begun = unfinished.begin(config.resume)
    with machine.progress_bar("train") as on_progress:
        hooks = Hooks(on_progress, unfinished.save, begun, unfinished.offer)
        return train(samples, config.space, np.random.default_rng(config.random_seed), hooks)
