"""A mixture that morphs into a mesh through the vertices of its surface."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fmb.config import Config
from fmb.fields.field import Field
from fmb.fields.isosurface import Family
from fmb.fields.metaballs import HALF_DENSITY, density_field, mixture_box
from fmb.files.meshes import read_mesh
from fmb.files.models import level_of, read_mixture
from fmb.fit.loop import Coordinates
from fmb.geometry.frames import box_frame
from fmb.options import NONE
from fmb.shape.edges import EDGE_COORDINATES, Edges, edges_from_mixture, mixture_from_edges
from fmb.tasks.morph_targets import Aim, aim_of_mesh


class Blobs(NamedTuple):
    """Fields of edges, the coordinates in which they move, where they start, and what they aim at."""

    family: Family
    coordinates: Coordinates
    start: Any
    aim: Aim


def blob_family(level: float) -> Family:
    """Fields of mixtures by their edges: zero where the density is `level`."""

    def field(edges: Edges) -> Field:
        return density_field(mixture_from_edges(edges), level)

    return field


def blobs_case(config: Config, generator: np.random.Generator) -> Blobs:
    """The mixture of --model-file and the mesh of --target, in a frame whose box holds both.

    Raises ValueError without a mesh to aim at.
    """
    if config.morph.target == NONE or config.capture.data != NONE:
        raise ValueError("--model-file: a mixture morphs into a mesh, which --target must name")
    model = read_mixture(config.io.model_file)
    mesh = read_mesh(config.morph.target)
    mixture, level = model.frame.mixture_to_world(model.mixture), level_of(model.facts) or HALF_DENSITY
    corners = np.concatenate([np.stack(mixture_box(mixture, level)), np.asarray(mesh.bounds)])
    frame = box_frame(corners)
    edges = edges_from_mixture(frame.mixture_to_canonical(mixture))
    start = jax.tree.map(lambda array: jnp.asarray(array, jnp.result_type(float)), edges)
    aim = aim_of_mesh(config, frame.mesh_to_canonical(mesh), frame, generator)
    return Blobs(blob_family(level), EDGE_COORDINATES, start, aim)
