"""How a surface formed: at each checkpoint a mesh, a row of a table, and a frame of a film."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.clouds.evidence import Evidence
from fmb.clouds.recipe import State
from fmb.clouds.surface import extract
from fmb.clouds.table import METHODS
from fmb.config import Config
from fmb.fields.contour import NoSurface
from fmb.fields.field import Field
from fmb.fields.points import Cloud
from fmb.files.media import write_gif
from fmb.files.mesh_output import write_mesh
from fmb.files.safe import read_arrays
from fmb.geometry.comparison import Sides, summary
from fmb.geometry.frames import Frame
from fmb.machine import write_columns
from fmb.pictures import clouds as drawn
from fmb.tasks.unfinished import Unfinished

CELLS = 64  # along the longest side
SAMPLES = 10_000  # of each surface
FILM_SECONDS = 5.0


class Result(NamedTuple):
    """A fit, with what it was made from and what it is measured against."""

    config: Config
    cloud: Cloud
    frame: Frame
    evidence: Evidence
    reference: trimesh.Trimesh | None
    state: State

    def surface(self, field: Field, cells: int) -> trimesh.Trimesh:
        """The field's surface in the frame of the points."""
        return self.frame.mesh_to_world(extract(field, cells))


class Samples(NamedTuple):
    """Points of a surface, the normals of their faces, and a tree that finds neighbours."""

    point: np.ndarray
    normal: np.ndarray
    tree: cKDTree


def write_course(result: Result, unfinished: Unfinished, folder: Path) -> None:
    """Writes meshes/, eval_metrics.csv and film.gif."""
    (folder / "meshes").mkdir()
    rows, frames, ball = [], [], drawn.ball_of(drawn.box_mesh(result.cloud.point))
    truth = None if result.reference is None else samples(result.reference)
    for step, field in checkpoints(result, unfinished):
        try:
            mesh = result.surface(field, CELLS)
        except NoSurface:  # there is none: the row and the frame say so
            mesh = None
        rows.append(row(step, mesh, truth))
        words = f"step {step} of {result.state.step}" + " (no surface)" * (mesh is None)
        frames.append(drawn.film_frame(mesh, ball, words))
        if mesh is not None:
            write_mesh(folder / "meshes" / f"mesh_{step}.ply", mesh)
    names = list(dict.fromkeys(name for entry in rows for name in entry))
    columns = {name: np.array([entry.get(name, np.nan) for entry in rows]) for name in names}
    write_columns(folder / "eval_metrics.csv", columns)
    if len(frames) > 1:
        write_gif(folder / "film.gif", drawn.film_of(frames), FILM_SECONDS / len(frames), 0.0)


def checkpoints(result: Result, unfinished: Unfinished) -> Iterator[tuple[int, Field]]:
    """The field at each checkpoint."""
    method = METHODS[result.config.cloud.points_method]
    for step in unfinished.steps():
        yield step, method.field(read_arrays(unfinished.path(step)), result.config.cloud)


def row(step: int, mesh: trimesh.Trimesh | None, truth: Samples | None) -> dict[str, Any]:
    """The measures of a surface, between samples, in the unit of the points: the exact ones would take longer."""
    if mesh is None:
        return {"step": step}
    found = {"step": step, "euler": int(mesh.euler_number), "components": int(mesh.body_count)}
    if truth is None:
        return found
    own = samples(mesh)
    there, back = own.tree.query(truth.point), truth.tree.query(own.point)
    pairs = (truth.normal, own.normal[there[1]]), (own.normal, truth.normal[back[1]])
    degrees = [np.rad2deg(np.arccos(np.clip(np.sum(a * b, axis=1), -1.0, 1.0))) for a, b in pairs]
    record = summary(Sides(there[0], back[0], degrees[0], degrees[1]), 1.0, 1.0)
    return found | {
        "chamfer_distance": record["chamfer"],
        "hausdorff_distance": record["hausdorff"],
        "squared_distance": record["squared"],
        "normal_angle": record["normal_degrees"],
    }


def samples(mesh: trimesh.Trimesh) -> Samples:
    """SAMPLES points, uniform by area, always the same of one mesh."""
    point, face = sample_surface(mesh, SAMPLES, seed=0)
    return Samples(np.asarray(point), np.asarray(mesh.face_normals)[face], cKDTree(point))
