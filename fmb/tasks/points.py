"""Task `points`: a cloud of points -> a field -> its closed surface, in the frame of the points."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from fmb import machine
from fmb.clouds.choice import choose_method
from fmb.clouds.cloud import frame_of_cloud
from fmb.clouds.evidence import Evidence, examine
from fmb.clouds.methods import LOSSES
from fmb.clouds.options import AUTO
from fmb.clouds.recipe import Hooks, State, preset_of
from fmb.clouds.table import METHODS
from fmb.config import PROGRAM, Config
from fmb.fields.points import Cloud
from fmb.files.clouds import read_cloud
from fmb.files.depth_clouds import read_depth_cloud
from fmb.files.meshes import read_mesh
from fmb.files.poses import ObservationFiles
from fmb.files.spaces import read_space
from fmb.geometry.comparison import check_frames
from fmb.geometry.frames import Frame
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.tasks.points_course import Result
from fmb.tasks.points_files import summary, write_results
from fmb.tasks.points_notes import notes
from fmb.tasks.points_watch import FILES, Watch, watched
from fmb.tasks.shell import check_before, task_folder
from fmb.tasks.unfinished import Unfinished
from fmb.whole import whole_folder

# options that the fit itself does not see
AFTERWARDS = ("reference_mesh", "save_every", "surface_resolution", "thinnest_handle", "latent_space")


class Given(NamedTuple):
    """What is read: the points, their frame, what they tell of themselves, and a mesh to measure against."""

    cloud: Cloud
    frame: Frame
    evidence: Evidence
    reference: trimesh.Trimesh | None
    device: machine.Device


def points(config: Config, clock: Clock) -> None:
    """Points -> a field that is fitted to them -> a closed surface in their frame."""
    if config.io.cloud_file == config.pose.depth_file == NONE:
        raise ValueError(f"points needs a file of points: {PROGRAM} points scan.ply")
    place = task_folder(config)
    check_before(config, place)
    with whole_folder(place) as folder:
        with clock("load"):
            given = read(config)
        tell(given.device.hint)
        config = chosen(config, given.evidence)
        machine.warn(*notes(config, given.cloud))
        resumes = METHODS[config.cloud.points_method].resumes
        unfinished = Unfinished(place, record_of(config, given.cloud), resumes, FILES)
        with unfinished.kept():
            with clock("optimize"):
                state = fitted(config, given, unfinished)
            result = Result(config, given.cloud, *placed(given, state), given.reference, state)
            metrics = write_results(result, folder, unfinished, clock)
    unfinished.remove()
    tell(*summary(metrics), f"surface, pictures and numbers in {place}/")


def read(config: Config) -> Given:
    """The points, and the reference if there is one.

    Raises ValueError where no surface follows from the points, or the reference is in another frame.
    """
    device = choose_device(config.cpu)
    cloud, source = read_points(config, np.random.default_rng(config.random_seed))
    frame = frame_of_cloud(cloud.point, source)
    evidence = examine(frame.to_canonical(cloud.point))
    if config.cloud.reference_mesh == NONE:
        return Given(cloud, frame, evidence, None, device)
    reference = read_mesh(config.cloud.reference_mesh)
    box = np.stack([cloud.point.min(axis=0), cloud.point.max(axis=0)])
    try:
        check_frames(box, np.asarray(reference.bounds))
    except ValueError as error:
        raise ValueError(f"{config.cloud.reference_mesh}: {error}") from None
    return Given(cloud, frame, evidence, reference, device)


def placed(given: Given, state: State) -> tuple[Frame, Evidence]:
    """The frame of the fit's field, and the evidence of the cloud in its longest sides."""
    if state.frame is None:
        return given.frame, given.evidence
    spacing, noise = (length / float(state.frame.scale) for length in (given.evidence.spacing, given.evidence.noise))
    return given.frame.inner(state.frame), given.evidence._replace(spacing=spacing, noise=noise)


def read_points(config: Config, generator: np.random.Generator) -> tuple[Cloud, str]:
    """The points and the name of the file that they are from: one of points, or a depth image with its camera."""
    depth, lens = config.pose.depth_file, config.pose.intrinsics_file
    if config.io.cloud_file != NONE:
        if depth != NONE:
            raise ValueError(f"{config.io.cloud_file}, {depth}: points and --depth-file; only one of them may be given")
        return read_cloud(config.io.cloud_file, config.cloud.sample_points, generator), config.io.cloud_file
    if lens == NONE:
        raise ValueError("--depth-file is given, but no --intrinsics-file")
    mask = None if config.pose.mask_file == NONE else Path(config.pose.mask_file)
    files = ObservationFiles(Path(lens), Path(depth), mask, config.pose.depth_unit)
    return read_depth_cloud(files, config.cloud.sample_points, generator), depth


def chosen(config: Config, evidence: Evidence) -> Config:
    """The config with a method: where it is to be chosen, the one that the points call for, which is told.

    Raises ValueError for a network that cannot be fitted.
    """
    cloud = replace(config.cloud, components=config.model.num_mixtures, group=config.model.symmetry)
    if cloud.points_method == AUTO:
        choice = choose_method(evidence)
        tell(f"method {choice.method}: {choice.reason}")
        cloud = replace(cloud, points_method=choice.method)
    if cloud.points_method in LOSSES:
        if cloud.group != NONE:
            raise ValueError(f"symmetry is {cloud.group}; method {cloud.points_method} has none, metaballs do")
        preset_of(cloud)
    if cloud.points_method == "latent":
        if config.io.shapes == NONE:
            raise ValueError("--method latent needs --shapes, a folder that task learn has written")
        cloud = replace(cloud, latent_space=read_space(config.io.shapes))
    return replace(config, cloud=cloud)


def record_of(config: Config, cloud: Cloud) -> Mapping[str, Any]:
    """All that the fit depends on: a run that goes on must be given the same."""
    options = asdict(replace(config.cloud, latent_space=None))
    options = {name: value for name, value in options.items() if name not in AFTERWARDS}
    space = config.cloud.latent_space
    used = {
        "points": cloud.point,
        "normals": cloud.normal if config.cloud.use_normals else None,
        "space": None if space is None else space.codes,
    }
    digests = {
        name: NONE if array is None else sha256(np.ascontiguousarray(array)).hexdigest()[:16]
        for name, array in used.items()
    }
    return {**options, "random_seed": config.random_seed, **digests}


def fitted(config: Config, given: Given, unfinished: Unfinished) -> State:
    """The fit, from its start or from the last checkpoint."""
    begun = unfinished.begin(config.resume)
    normals = given.cloud.normal if config.cloud.use_normals else None
    inside, generator = given.frame.to_canonical(given.cloud.point), np.random.default_rng(config.random_seed)
    source = config.pose.depth_file if config.io.cloud_file == NONE else config.io.cloud_file
    note = f"{Path(source).name}, {config.cloud.points_method}"
    with machine.progress_bar("fit") as on_progress:
        hooks = Hooks(on_progress, unfinished.save, begun, unfinished.offer)
        hooks = watched(hooks, Watch(unfinished.folder, inside, note)) if config.view else hooks
        return METHODS[config.cloud.points_method].fit(inside, normals, config.cloud, generator, hooks, given.evidence)
