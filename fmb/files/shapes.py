"""A shape from a file of any kind: a mesh, the surface of a mixture, or points."""

from pathlib import Path

import numpy as np
import trimesh

from fmb.fields.metaballs import FIELDS, mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.fields.points import Cloud
from fmb.files.clouds import CLOUDS, read_points
from fmb.files.door import read_bytes
from fmb.files.meshes import FORMATS, read_mesh
from fmb.files.models import MODEL_FORMATS, level_of, read_mixture
from fmb.files.surfaces import PARSERS
from fmb.geometry.comparison import Shape

HEADER = 65_536  # bytes of a PLY file in which its header lies
FEWEST = 3  # points of a cloud


def read_mesh_or_points(path: Path) -> trimesh.Trimesh | Cloud:
    """The mesh of a file, or its points where it has no faces. Raises ValueError as both readers do."""
    kind = path.suffix.lower().removeprefix(".")
    has_points = kind in ("npy", *CLOUDS, *PARSERS) and path.is_file() and not (kind == "ply" and holds_splats(path))
    cloud = read_points(path) if has_points else None
    return read_mesh(path) if cloud is None else cloud


def read_shape(path: str | Path, options: MeshOptions = MeshOptions()) -> Shape:
    """The mesh of a file, the closed surface of a mixture, or a cloud of points, in the frame and unit of the file.

    The surface of a mixture has the level, and follows what, its file says, else what `options` say.
    Raises ValueError that names the file, and what is wrong with it.
    """
    path = Path(path)
    kind = path.suffix.lower()
    known = dict.fromkeys((*(f".{name}" for name in (*FORMATS, "npy", *CLOUDS)), *MODEL_FORMATS))
    if kind not in known:
        raise ValueError(f"{path}: '{path.suffix}' is no kind of shape, allowed are {', '.join(known)}")
    if (kind in MODEL_FORMATS and kind != ".ply") or (kind == ".ply" and holds_splats(path)):
        return surface_of_model(path, options)
    cloud = read_points(path)
    if cloud is None:
        return read_mesh(path)
    if len(cloud.point) < FEWEST or not np.isfinite(cloud.point).all():
        broken = np.count_nonzero(~np.isfinite(cloud.point).all(axis=1))
        raise ValueError(
            f"{path}: {len(cloud.point)} points, {broken} not finite; must be {FEWEST} or more, all finite"
        )
    return cloud


def holds_splats(path: Path) -> bool:
    """Whether a PLY file is one of Gaussian splats."""
    return b"property float f_dc_0" in read_bytes(path, what="file of a shape")[:HEADER]


def surface_of_model(path: Path, options: MeshOptions) -> Shape:
    """The closed surface of the mixture in a file."""
    model = read_mixture(path)
    told = model.facts.get("mesh")
    field = told.get("field") if isinstance(told, dict) else None
    field = field if field in FIELDS else options.mesh_field
    try:
        made = mesh_mixture(
            model.mixture, MeshOptions(options.mesh, field, options.mesh_resolution), None, level_of(model.facts)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model.frame.mesh_to_world(made.mesh)
