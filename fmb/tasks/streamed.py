"""A capture whose views stay on disk: whether they do, and the scene of such a capture."""

import numpy as np

from fmb import machine
from fmb.config import Config
from fmb.files.captures.assembly import LARGEST_CAPTURE, Planned
from fmb.files.captures.read import plan_capture
from fmb.files.captures.stored import Stored, stored
from fmb.geometry.frames import Frame
from fmb.geometry.views import Views
from fmb.hull.votes import voting
from fmb.options import NONE
from fmb.shape.recipe import RECIPES
from fmb.shape.streaming import Census, ViewStream, census_of, choice_of
from fmb.tasks.scenes import (
    Scene,
    held_out,
    needed_of,
    open_scene,
    placed_scene,
    read_placed,
    scene_of_capture,
    without_empty,
)

BYTES_PER_PIXEL = 120  # of a fit to views in memory, measured: docs/results/scaling.md
MEMORY_SHARE = 0.5  # of what is free, from which views are streamed
SEEN, SEEN_NOVEL = 64, 32  # views in memory: for the hull, errors and pictures


def open_views(config: Config, generator: np.random.Generator) -> Scene:
    """The scene, with its views in memory or, where they are too many or the options say so, on disk.

    Raises ValueError as `open_scene` does, and for options that need all views in memory.
    """
    options = config.capture
    reason = in_memory_alone(config)
    if options.stream_views == "always" and reason:
        raise ValueError(f"stream_views is always and {reason}")
    if options.data == NONE or options.stream_views == "never" or reason:
        return open_scene(config, generator)
    planned = plan_capture(options.data, options.format, options.longest_side, needed_of(config))
    if options.stream_views == "always" or too_large(planned.pixels):
        return scene_of_stream(config, generator, planned)
    return scene_of_capture(config, generator, read_placed(options, needed_of(config), planned))


def in_memory_alone(config: Config) -> str:
    """What of the options needs all views in memory, in words; "" where nothing does."""
    allowed = (
        ("data", config.capture.data == NONE, "a capture is needed"),
        ("symmetry", config.model.symmetry != NONE, f"must be {NONE}"),
        ("refine_cameras", config.capture.refine_cameras, "must be false"),
        ("turntable_degrees", config.capture.turntable_degrees > 0.0, "must be 0"),
        ("teachers", config.optimization.teachers > 0, "must be 0"),
        ("recipe", config.optimization.recipe == "predecessor", "must be best"),
        ("schedule", config.optimization.schedule == "plateau", "must be another"),
    )
    for name, unfit, words in allowed:
        if unfit:
            section = next(part for part in (config.capture, config.model, config.optimization) if hasattr(part, name))
            return f"{name} is {str(getattr(section, name)).lower()}; {words}"
    return ""


def too_large(pixels: int) -> bool:
    """Whether views of so many pixels in all would take too much of the memory that is free."""
    free = machine.free_memory()
    return pixels > LARGEST_CAPTURE or (free is not None and pixels * BYTES_PER_PIXEL > MEMORY_SHARE * free)


def scene_of_stream(config: Config, generator: np.random.Generator, planned: Planned) -> Scene:
    """The scene of a capture of which only SEEN views, evenly chosen, and SEEN_NOVEL of the others are in memory.

    These tell the frame and the hull, and all errors and pictures are theirs; the fit looks at all.
    """
    choose = choice_of(RECIPES[config.optimization.recipe], config.optimization.depth_weight)
    with machine.counting_bar("views", len(planned.plans)) as on_count:
        found, census = stored(planned, lambda views: census_of(views, choose), lambda done, total: on_count(done, ""))
    train, novel = held_out(found, config.capture.hold_out)
    train, left_out = without_empty(found.names, train, voting(found.facts.object[train]))
    some, others = evenly(train, SEEN), evenly(novel, SEEN_NOVEL)
    capture = found.capture(np.concatenate([some, others]))
    told = f"{len(train)} views are read from disk while the fit goes on; frame, errors and pictures are of {len(some)}"
    told += f" of them, and of {len(others)} of the {len(novel)} others" if len(novel) else ""
    parts = np.arange(len(some)), len(some) + np.arange(len(others))
    scene = placed_scene(config, generator, capture, parts, (*left_out, told))
    return scene._replace(stream=stream_of(found, train, scene.frame, census))


def evenly(index: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the numbers, evenly chosen."""
    return index[np.unique(np.linspace(0, len(index) - 1, min(most, len(index))).round().astype(int))]


def stream_of(found: Stored, train: np.ndarray, frame: Frame, census: Census) -> ViewStream:
    """The views of those numbers, in the frame."""
    scale = np.float32(frame.scale)

    def read(index: np.ndarray) -> Views:
        views = found.read(train[index])
        depth = None if views.depth is None else views.depth / scale
        return views._replace(cameras=frame.cameras_to_canonical(views.cameras), depth=depth)

    cameras = frame.cameras_to_canonical(found.cameras)
    cameras = type(cameras)(*(np.asarray(field)[train] for field in cameras))
    return ViewStream(cameras, found.layout.size, Census(*(field[train] for field in census)), read)
