"""The model whose pose is sought: a mixture from a file, or one made of a mesh or of points."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree

from fm_render import Mixture
from fmb.clouds.blobs import fit_blobs
from fmb.clouds.cloud import frame_of_cloud
from fmb.clouds.options import PointsOptions
from fmb.clouds.patches import fit_quadrics
from fmb.clouds.surface import extract
from fmb.config import Config
from fmb.fields.metaballs import mesh_mixture, value_slope_curvature
from fmb.fields.mixtures import in_single
from fmb.fields.points import Cloud
from fmb.fields.surface_symmetry import NEAR
from fmb.files.models import read_mixture
from fmb.files.shapes import read_mesh_or_points
from fmb.geometry.frames import Frame, canonical_frame
from fmb.machine import warn
from fmb.options import NONE
from fmb.pose.refinement import Surface, surface_of
from fmb.pose.symmetry import Turns, turns_of
from fmb.shape.options import ModelOptions
from fmb.shape.recipe import CONVERSION, refine_mixture
from fmb.shape.start import start_mixture

SURFACE_POINTS = 40_000  # of a mesh, for the last steps of a pose
NEIGHBOURS = 16  # points whose quadric gives the normal of a point
NEAR_OF_POINTS = 0.015  # scales: mean distance of a surface around points from its image, if it is symmetric
CELLS = 96  # along the longest side of the surface around points
SAMPLES = 2_000  # points of a model that ADD, ADD-S and MSSD are measured on


class PoseModel:
    """A mixture and its mesh in the canonical frame, where that lies in the input's, and measured points, if any.

    The mesh of a mixture from a file is made when first asked for. `surface` has points with normals of the mesh or the
    cloud that the model was made of; of a mixture from a file, whose surface says no more than the mixture, its own.
    """

    def __init__(
        self, mixture: Mixture, frame: Frame, mesh: trimesh.Trimesh | None = None, surface: Surface | None = None
    ):
        self.mixture, self.frame, self._mesh, self._surface = mixture, frame, mesh, surface

    @cached_property
    def surface(self) -> Surface | None:
        """Points of what the model was made of, or of the mixture's surface, with a tree that finds the nearest.

        None, and a note, for a mixture from a file that has no surface.
        """
        surface = self._surface
        if surface is None:
            try:
                mesh = self.mesh
            except ValueError as error:
                warn(f"note: the model has no closed surface ({error}): nothing checks its poses but the search itself")
                return None
            point, face = trimesh.sample.sample_surface(mesh, SURFACE_POINTS, seed=0)
            surface = surface_of(np.asarray(point), np.asarray(mesh.face_normals)[face])
        return surface._replace(turns=self.turns, exact=self._mesh is not None)

    @cached_property
    def turns(self) -> Turns:
        """The turns of the object that leave it as it is, found in the mixture and in the mesh, if it has one."""
        return turns_of(self.mixture, self._mesh, NEAR if self._surface is None else NEAR_OF_POINTS)

    def told(self, turns: Turns) -> "PoseModel":
        """The same model, whose turns are told instead of found."""
        model = PoseModel(self.mixture, self.frame, self._mesh, self._surface)
        model.turns = turns
        return model

    @cached_property
    def samples(self) -> Float[np.ndarray, "point 3"] | None:
        """Points of the surface that errors are measured on, canonical; None where there is no surface."""
        return None if self.surface is None else self.surface.point[:: max(1, len(self.surface.point) // SAMPLES)]

    @cached_property
    def mesh(self) -> trimesh.Trimesh:
        """The mesh the mixture was made of, or the mixture's own surface."""
        return mesh_mixture(self.mixture).mesh if self._mesh is None else self._mesh


def pose_model(config: Config) -> PoseModel:
    """The model in model_file if there is one, else that of the mesh, or of the points in its file."""
    if config.io.model_file != NONE:
        model = read_mixture(config.io.model_file)
        return PoseModel(model.mixture, model.frame)
    path = Path(config.io.mesh_file)
    return model_of_shape(read_mesh_or_points(path), config.model, config.random_seed, f"{path}")


def model_of_shape(shape: trimesh.Trimesh | Cloud, options: ModelOptions, seed: int, name: str) -> PoseModel:
    """The model of a mesh or of points; `name` begins the message of points from which no surface follows."""
    if isinstance(shape, Cloud):
        return model_of_points(shape, options, seed, name)
    return model_of_mesh(shape, options, seed)


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


def model_of_points(cloud: Cloud, options: ModelOptions, seed: int, name: str) -> PoseModel:
    """The mixture of task `points`, in the canonical frame of its surface; the points are kept for the last steps.

    Raises ValueError that begins with `name` for points that no closed surface follows from.
    """
    box = frame_of_cloud(cloud.point, name)
    inside = box.to_canonical(cloud.point)
    wanted = PointsOptions(components=options.num_mixtures, points_method="metaballs")
    state = fit_blobs(inside, None, wanted, np.random.default_rng(seed))
    mesh = extract(state.field, CELLS)
    frame = canonical_frame(mesh)
    mixture, points = frame.mixture_to_canonical(state.mixture), frame.to_canonical(inside)
    surface = surface_of(points, normals_of(points, mixture))
    return PoseModel(in_single(mixture), box.inner(frame), frame.mesh_to_canonical(mesh), surface)


def normals_of(points: Float[np.ndarray, "point 3"], mixture: Mixture) -> Float[np.ndarray, "point 3"]:
    """Unit normals of quadrics through each point's neighbours, outward as the mixture's field says."""
    near = cKDTree(points).query(points, min(NEIGHBOURS, len(points)))[1]
    normal = fit_quadrics(points[near]).axes[:, :, 0]
    outward = np.asarray(value_slope_curvature(mixture, jnp.asarray(points, mixture.mean.dtype)).slope).T
    return np.where(np.sum(normal * outward, axis=1, keepdims=True) < 0.0, -normal, normal)
