"""Data sets of the BOP challenge: scene_camera.json, scene_gt.json, depth/, mask_visib/, models/; and its results file.

Of several sensors, scene_gt_SENSOR.json and so on, the first that has all it needs is read. Without mask_visib/ the
masks of mask/ are taken, which show hidden parts, too; without either, or without depth/, what is there. Where there
are both, pixels of mask/ outside mask_visib/ are hidden by something else. Models may be points without faces.
Hodan et al., "BOP: benchmark for 6D object pose estimation", ECCV 2018. All lengths are millimetres. BOP puts the
centre of pixel (0, 0) at (0, 0); what comes back has it at (0.5, 0.5). A folder of a scene is DATASET/SPLIT/NNNNNN.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from fmb.fields.points import Cloud
from fmb.files.bop_symmetries import BopSymmetries, read_symmetries
from fmb.files.cameras import CENTRE_OF_FIRST_PIXEL, camera_to_world, pinhole
from fmb.files.door import refusing
from fmb.files.images import DepthFile, read_depth, silhouette_of, size_of
from fmb.files.safe import entry, numbers, path_inside, read_image, read_json, read_text
from fmb.files.shapes import read_mesh_or_points
from fmb.geometry.images import foreground
from fmb.machine import write_text

MASKS = ("mask_visib", "mask")  # the first that is there; masks of mask/ show hidden parts as well
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
MOST_DIGITS = 18  # of scenes, images and objects: 64 bits hold them
CSV_HEAD = ("scene_id", "im_id", "obj_id", "score", "R", "t", "time")


class BopTarget(NamedTuple):
    """One object in one image; `instance` is its place in scene_gt.json, which names its mask."""

    scene: int
    image: int
    instance: int
    object: int


class BopRecords(NamedTuple):
    """What scene_camera.json and scene_gt.json say, by image; `folder` is the scene's.

    The names of its parts are None where they are not there; `notices` tell what was taken for what.
    """

    folder: Path
    cameras: dict[str, Any]
    truth: dict[str, Any]
    sensor: str = ""  # what stands behind the names of its files, with the underscore
    depth: str | None = "depth"
    masks: str | None = MASKS[0]
    whole: str | None = None  # masks that show hidden parts, too, where `masks` do not
    notices: tuple[str, ...] = ()


class BopView(NamedTuple):
    """What a scene knows of a target; depth is that of the whole image, NaN where not measured, None: no such file.

    Depth or silhouette is there. `hidden` pixels are the object's, behind something else.
    """

    target: BopTarget
    intrinsics: Float[np.ndarray, "3 3"]
    depth: Float[np.ndarray, "height width"] | None
    silhouette: Float[np.ndarray, "height width"] | None
    camera_from_object: Float[np.ndarray, "4 4"]
    hidden: Bool[np.ndarray, "height width"] | None = None


class BopModel(NamedTuple):
    """A mesh or points in millimetres, their diameter, and the symmetries that models_info.json lists, if any."""

    shape: trimesh.Trimesh | Cloud
    diameter: float
    symmetries: BopSymmetries | None = None

    @property
    def symmetric(self) -> bool:
        """Whether models_info.json lists symmetries (then BOP takes ADD-S)."""
        return self.symmetries is not None


class BopResult(NamedTuple):
    """A line of the results file; `seconds` for the whole image, -1 where not known."""

    scene: int
    image: int
    object: int
    score: float
    camera_from_object: Float[np.ndarray, "4 4"]
    seconds: float = -1.0


def bop_targets(scene: Path) -> list[BopTarget]:
    """All objects of all images that scene_gt.json lists, in the order of its images.

    Raises ValueError where the folder is no scene.
    """
    path = path_inside(scene, f"scene_gt{_sensor(scene)[0]}.json", scene)
    number, targets = _whole(scene.resolve().name, f"{scene}: name of the folder"), []
    for image, instances in _by_number(path).items():
        if not isinstance(instances, list):
            raise ValueError(f"{path}: image {image}: must be a list of objects")
        for instance, record in enumerate(instances):
            where = f"{path}: image {image}, object {instance}"
            kind = _whole(entry(record, "obj_id", where), f"{where}: obj_id")
            targets.append(BopTarget(number, int(image), instance, kind))
    return sorted(targets)


def read_bop_records(scene: Path) -> BopRecords:
    """Both files of the scene, read once for all its targets, and which parts of it there are."""
    sensor, told = _sensor(scene)
    files = (path_inside(scene, f"{name}{sensor}.json", scene) for name in ("scene_camera", "scene_gt"))
    cameras, truth = map(_by_number, files)
    depth, masks = _part(scene, ("depth",), sensor), _part(scene, MASKS, sensor)
    if depth is None and masks is None:
        raise ValueError(f"{scene}: neither depth/ nor {'/ nor '.join(MASKS)}/")
    if depth is None:
        told += ("no depth/: poses are looked for by the masks alone",)
    if masks is None:
        told += (f"no {'/ and no '.join(MASKS)}/: objects are looked for in whole images, which finds others, too",)
    elif not masks.startswith(MASKS[0]):
        told += (f"no {MASKS[0]}/: {masks}/ is taken, whose masks show hidden parts as well",)
    whole = _part(scene, MASKS[1:], sensor) if masks and masks.startswith(MASKS[0]) else None
    return BopRecords(scene, cameras, truth, sensor, depth, masks, whole, told)


def _sensor(scene: Path) -> tuple[str, tuple[str, ...]]:
    # what stands behind the names of the files, and a line where there was a choice
    found = [path.stem.removeprefix("scene_gt_") for path in sorted(scene.glob("scene_gt_*.json"))]
    sensors = [f"_{name}" for name in found if (scene / f"scene_camera_{name}.json").is_file()]
    if (scene / "scene_gt.json").exists() or not sensors:
        return "", ()
    whole = [sensor for sensor in sensors if (scene / f"depth{sensor}").is_dir()]
    chosen = (whole or sensors)[0]
    others = ", ".join(sensor[1:] for sensor in sensors if sensor != chosen)
    return chosen, (f"read as seen by {chosen[1:]}" + (f"; not read: {others}" if others else ""),)


def _part(scene: Path, names: tuple[str, ...], sensor: str) -> str | None:
    places = [place for name in names for place in dict.fromkeys((f"{name}{sensor}", name))]
    return next((place for place in places if (scene / place).is_dir()), None)


def read_bop_view(records: BopRecords, target: BopTarget) -> BopView:
    """The target's image.

    Raises ValueError, one line that names the file, where something is missing or does not fit.
    """
    scene, cameras = records.folder, records.folder / f"scene_camera{records.sensor}.json"
    camera = entry(records.cameras, str(target.image), f"{cameras}")
    where = f"{cameras}: image {target.image}"
    matrix = numbers(entry(camera, "cam_K", where), (9,), f"{where}: cam_K").reshape(3, 3)
    scale = float(numbers(camera.get("depth_scale", 1.0), (), f"{where}: depth_scale"))
    depth = silhouette = None
    if records.depth is not None:
        depth = read_depth(DepthFile(_depth_file(scene, records.depth, target), scale)).astype(float)
    if records.masks is not None:
        mask = path_inside(scene, f"{records.masks}/{target.image:06d}_{target.instance:06d}.png", scene)
        if mask.exists() or depth is None:
            silhouette = silhouette_of(read_image(mask)).astype(float)
    if silhouette is not None and depth is not None and silhouette.shape != depth.shape:
        raise ValueError(f"{mask}: {size_of(silhouette)} pixels, its depth map has {size_of(depth)}")
    lens, pose = pinhole(matrix, f"{where}: cam_K") + CENTRE_OF_FIRST_PIXEL, _true_pose(records, target)
    return BopView(target, lens, depth, silhouette, pose, _hidden(records, target, silhouette))


def _hidden(records: BopRecords, target: BopTarget, visible: np.ndarray | None) -> np.ndarray | None:
    if records.whole is None or visible is None:
        return None
    path = path_inside(records.folder, f"{records.whole}/{target.image:06d}_{target.instance:06d}.png", records.folder)
    if not path.exists():
        return None
    whole = silhouette_of(read_image(path))
    if whole.shape != visible.shape:
        raise ValueError(f"{path}: {size_of(whole)} pixels, {records.masks}/ has {size_of(visible)}")
    return foreground(whole) & ~foreground(visible)


def _depth_file(scene: Path, folder: str, target: BopTarget) -> Path:
    paths = [path_inside(scene, f"{folder}/{target.image:06d}{suffix}", scene) for suffix in DEPTH_SUFFIXES]
    return next((path for path in paths if path.exists()), paths[0])


def read_bop_model(models: Path, number: int) -> BopModel:
    """Object `number` of a folder of models.

    Raises ValueError where it is missing or models_info.json does not know it.
    """
    path = path_inside(models, "models_info.json", models)
    record = entry(_by_number(path), str(number), f"{path}")
    where = f"{path}: object {number}"
    diameter = float(numbers(entry(record, "diameter", where), (), where))
    if not diameter > 0.0:
        raise ValueError(f"{where}: diameter {diameter}; must be positive")
    symmetries = read_symmetries(record, where)
    return BopModel(read_mesh_or_points(path_inside(models, f"obj_{number:06d}.ply", models)), diameter, symmetries)


def read_bop_results(path: Path) -> list[BopResult]:
    """The lines of a results file.

    Raises ValueError that names file and line.
    """
    with refusing(path, "not readable as CSV"):  # a quote that nothing closes takes in the rest of the file
        rows = iter(list(csv.reader(io.StringIO(read_text(path)), strict=True)))
    if tuple(next(rows, ())) != CSV_HEAD:
        raise ValueError(f"{path}: first line must be {','.join(CSV_HEAD)}")
    results = []
    for line, row in enumerate(rows, 2):
        where = f"{path}: line {line}"
        if len(row) != len(CSV_HEAD):
            raise ValueError(f"{where}: {len(row)} fields, expected {len(CSV_HEAD)}")
        score, seconds = (float(numbers(row[place], (), f"{where}: {CSV_HEAD[place]}")) for place in (3, 6))
        turn, shift = numbers(row[4].split(), (9,), f"{where}: R"), numbers(row[5].split(), (3,), f"{where}: t")
        ids = [_whole(row[place], f"{where}: {CSV_HEAD[place]}") for place in range(3)]
        results.append(BopResult(*ids, score, _camera_from_object(turn.reshape(3, 3), shift, where), seconds))
    return results


def _true_pose(records: BopRecords, target: BopTarget) -> np.ndarray:
    path = records.folder / f"scene_gt{records.sensor}.json"
    instances = entry(records.truth, str(target.image), f"{path}")
    where = f"{path}: image {target.image}, object {target.instance}"
    if not isinstance(instances, list) or not target.instance < len(instances):
        raise ValueError(f"{where}: not there")
    record = instances[target.instance]
    turn = numbers(entry(record, "cam_R_m2c", where), (9,), f"{where}: cam_R_m2c").reshape(3, 3)
    return _camera_from_object(turn, entry(record, "cam_t_m2c", where), where)


def _camera_from_object(turn: np.ndarray, shift: Any, where: str) -> np.ndarray:
    return np.linalg.inv(camera_to_world(turn, shift, where))


def _by_number(path: Path) -> dict[str, Any]:
    """The file's entries by their keys, which are whole numbers written without zeros in front."""
    return {str(_whole(key, f"{path}: key")): value for key, value in read_json(path).items()}


def _whole(value: Any, where: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise ValueError(f"{where} {text[:40]!r}: must be a whole number of at most {MOST_DIGITS} digits")
    return int(text)


def write_bop_results(path: Path, results: Iterable[BopResult]) -> Path:
    """Writes a results file of the BOP challenge: R row by row, t in millimetres."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_HEAD)
    for result in results:
        pose = np.asarray(result.camera_from_object, float)
        matrix, shift = (" ".join(repr(float(x)) for x in part.ravel()) for part in (pose[:3, :3], pose[:3, 3]))
        table.writerow((*result[:3], float(result.score), matrix, shift, float(result.seconds)))
    return write_text(path, text.getvalue())
