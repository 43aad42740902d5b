"""Task `morph`: a shape of a space, or a mixture, moves through its own surface until a loss on vertices is least."""

from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from fmb import machine
from fmb.clouds.surface import REACH, extract
from fmb.config import PROGRAM, Config
from fmb.fields.isosurface import Family, at_level
from fmb.fields.latent import Space
from fmb.files.spaces import read_space
from fmb.fit.loop import Coordinates
from fmb.latent.losses import Target, find_loss
from fmb.latent.morph import Morphed, Plan, Stage, morph
from fmb.latent.placed import coordinates, family_of, placed, starts_of
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.tasks.morph_blobs import blobs_case
from fmb.tasks.morph_files import Result, summary, write_results
from fmb.tasks.morph_targets import Aim, aim_of, loss_name
from fmb.tasks.shell import check_before, task_folder
from fmb.whole import whole_folder

STARTS_OF_ONE_VIEW = 5
PLACE_RATE = 0.2  # of where a capture's object lies, beside the rate of its code


class Case(NamedTuple):
    """What morphs, into what, and from where; all in a frame in which the longest side is about 1."""

    family: Family
    coordinates: Coordinates
    starts: list[Any]
    aim: Aim
    space: Space | None


def morph_shape(config: Config, clock: Clock) -> None:
    """Space or mixture, and a target -> the parameters whose surface the loss likes best -> files."""
    place = task_folder(config)
    check_before(config, place)
    with whole_folder(place) as folder:
        with clock("load"):
            device = choose_device(config.cpu)
            case = open_case(config)
            loss = find_loss(loss_name(config), case.aim.target)
        tell(device.hint, *case.aim.notices)
        options = config.morph
        family = at_level(case.family, options.iso_level)
        plan = Plan(
            *(family, loss, case.coordinates, options.morph_steps, options.morph_rate, options.morph_cells),
            *(REACH, config.fast),
        )
        with clock("morph"), machine.progress_bar("morph") as bar:
            found = morph(plan, case.starts, lambda stage, total: bar(stage.step, total, stage.loss))
        with clock("extract"):
            result = Result(config, case.aim, found, *ends_of(config, family, found), case.space)
        metrics = write_results(result, folder, clock)
    tell(*summary(metrics), f"meshes, film and numbers in {place}/")


def ends_of(config: Config, family: Family, found: Morphed) -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    """The surfaces at the start and at the end, finer than on the way."""
    cells = config.cloud.surface_resolution
    return extract(family(first(found).parameters), cells), extract(family(found.parameters), cells)


def first(found: Morphed) -> Stage:
    """The stage from which the best one came."""
    return found.stages[0]


def open_case(config: Config) -> Case:
    """What the options name.  Raises ValueError where they name too little or what there is not."""
    if config.io.shapes == NONE and config.io.model_file == NONE:
        raise ValueError(f"morph needs a space of shapes, or a mixture: {PROGRAM} morph shapes/ --target NAME")
    if NONE not in (config.io.shapes, config.io.model_file):
        raise ValueError("--shapes and --model-file are both given; a morph starts from one of them")
    generator = np.random.default_rng(config.random_seed)
    if config.io.shapes == NONE:
        blobs = blobs_case(config, generator)
        return Case(blobs.family, blobs.coordinates, [blobs.start], blobs.aim, None)
    space = read_space(config.io.shapes)
    source = space.names[0] if config.morph.source == NONE else config.morph.source
    code = named(space, source, "--source")
    family = family_of(space)
    aim = aim_of(config, space, source, lambda other: family(placed(space.code_of(other))), generator)
    count = config.morph.morph_starts or (STARTS_OF_ONE_VIEW if views_of(aim.target) == 1 else 1)
    return Case(
        *(family, coordinates(PLACE_RATE if aim.loose else 0.0)),
        *(starts_of(space, code, count, generator), aim, space),
    )


def named(space: Space, name: str, flag: str) -> Float[np.ndarray, " code"]:
    """The code of that name.  Raises ValueError that names the flag."""
    try:
        return space.code_of(name)
    except ValueError as error:
        raise ValueError(f"{flag} {name}: {error}") from None


def views_of(target: Target) -> int:
    """Number of views."""
    return 0 if target.views is None else len(target.views.silhouette)
