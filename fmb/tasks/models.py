"""The model whose pose is sought: a mixture from a file, or one made of the mesh."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import trimesh

from fm_render import Mixture
from fmb.config import Config
from fmb.fields.metaballs import mesh_mixture
from fmb.files.meshes import read_mesh
from fmb.files.models import read_mixture
from fmb.geometry.frames import Frame, canonical_frame
from fmb.options import NONE
from fmb.shape.options import ModelOptions
from fmb.shape.recipe import CONVERSION, refine_mixture
from fmb.shape.start import start_mixture


class PoseModel:
    """A mixture and its surface in the canonical frame, and where that lies in the input's.

    The surface of a mixture from a file is made when first asked for.
    """

    def __init__(self, mixture: Mixture, frame: Frame, mesh: trimesh.Trimesh | None = None):
        self.mixture, self.frame, self._mesh = mixture, frame, mesh

    @cached_property
    def mesh(self) -> trimesh.Trimesh:
        """The mesh the mixture was made of, or the mixture's own surface."""
        return mesh_mixture(self.mixture).mesh if self._mesh is None else self._mesh


def pose_model(config: Config) -> PoseModel:
    """The model in model_file if there is one, else that of the mesh."""
    if config.io.model_file != NONE:
        model = read_mixture(config.io.model_file)
        return PoseModel(model.mixture, model.frame)
    return model_of_mesh(read_mesh(Path(config.io.mesh_file)), config.model, config.random_seed)


def model_of_mesh(mesh: trimesh.Trimesh, options: ModelOptions, seed: int) -> PoseModel:
    """A mixture fitted to the mesh's silhouettes, from EM on its volume.

    Not to its depths: these are compared with the mixture's surface, and a fit that bends rendered depths towards those
    of the mesh moves that (bunny: pose errors of 6 instead of 0.5).
    """
    frame = canonical_frame(mesh)
    mesh = frame.mesh_to_canonical(mesh)
    start = start_mixture(mesh, options, seed).mixture
    fit = refine_mixture(mesh, start, np.random.default_rng(seed), replace(CONVERSION, depth_weight=0.0))
    return PoseModel(fit.mixture, frame, mesh)
