"""The canonical frame: the object centred, its scale 1. Data enter it once after reading and leave it on export."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from fm_render import Mixture
from fmb.geometry.cameras import ANY_ARRAY, Cameras

SCALE_PER_DEVIATION = 3.0  # the released program's scale η: three standard deviations, mean over the axes


class Frame(NamedTuple):
    """Where the canonical frame lies in the world: world = centre + scale * canonical, in the input's unit."""

    centre: Float[np.ndarray, "3"]
    scale: Float[np.ndarray, ""]

    def to_world(self, points: Float[ANY_ARRAY, "*point 3"]) -> Float[ANY_ARRAY, "*point 3"]:
        """The same canonical points in world coordinates."""
        return _like(self.centre, points) + _like(self.scale, points) * points

    def to_canonical(self, points: Float[ANY_ARRAY, "*point 3"]) -> Float[ANY_ARRAY, "*point 3"]:
        """The same world points in canonical coordinates."""
        return (points - _like(self.centre, points)) / _like(self.scale, points)

    def inner(self, frame: "Frame") -> "Frame":
        """The frame that lies in this one as `frame` says, itself in world coordinates."""
        return Frame(self.to_world(np.asarray(frame.centre)), self.scale * frame.scale)

    def mixture_to_world(self, mixture: Mixture) -> Mixture:
        """The same mixture in world coordinates; weights are densities along rays, so they stay."""
        scale = _like(self.scale, mixture.precision_cholesky)
        return mixture._replace(mean=self.to_world(mixture.mean), precision_cholesky=mixture.precision_cholesky / scale)

    def mixture_to_canonical(self, mixture: Mixture) -> Mixture:
        """The inverse of `mixture_to_world`."""
        scale = _like(self.scale, mixture.precision_cholesky)
        return mixture._replace(
            mean=self.to_canonical(mixture.mean), precision_cholesky=mixture.precision_cholesky * scale
        )

    def poses_to_world(self, pose: Float[ANY_ARRAY, "*step 4 4"]) -> Float[np.ndarray, "*step 4 4"]:
        """The same camera poses, world_from_camera, in world coordinates and double precision."""
        return _moved(pose, self.to_world)

    def cameras_to_world(self, cameras: Cameras) -> Cameras:
        """The same cameras in world coordinates; the depths they see grow by `scale`."""
        return cameras._replace(world_from_camera=self.poses_to_world(cameras.world_from_camera))

    def cameras_to_canonical(self, cameras: Cameras) -> Cameras:
        """The inverse of `cameras_to_world`."""
        return cameras._replace(world_from_camera=_moved(cameras.world_from_camera, self.to_canonical))

    def mesh_to_canonical(self, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        """A copy of the mesh, with its colours, in canonical coordinates."""
        return _with_vertices(mesh, self.to_canonical(np.asarray(mesh.vertices)))

    def mesh_to_world(self, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        """The inverse of `mesh_to_canonical`."""
        return _with_vertices(mesh, self.to_world(np.asarray(mesh.vertices)))


def canonical_frame(mesh: trimesh.Trimesh) -> Frame:
    """Frame of a mesh: the centroid of its surface, and three times the standard deviation, averaged over the axes.

    A closed form over the triangles, weighted by area: neither tessellation nor unused vertices matter.
    """
    corner = np.asarray(mesh.triangles, float)
    origin = corner.mean(axis=(0, 1))  # squares lose their digits where the mesh is far from the world's origin
    corner = corner - origin
    area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    weight = area / area.sum()
    centre = weight @ corner.mean(axis=1)
    corner = corner - centre
    # mean of x² over a triangle with corners x1, x2, x3: (x1² + x2² + x3² + (x1 + x2 + x3)²) / 12
    variance = weight @ (np.sum(corner**2, axis=1) + np.sum(corner, axis=1) ** 2) / 12.0
    return Frame(origin + centre, np.asarray(SCALE_PER_DEVIATION * np.mean(np.sqrt(variance))))


def box_frame(points: Float[np.ndarray, "point 3"]) -> Frame:
    """Frame of a cloud: the middle of its box, and the box's longest side, which must not be 0."""
    lower, upper = points.min(axis=0), points.max(axis=0)
    return Frame(lower + (upper - lower) / 2.0, np.asarray(np.max(upper - lower)))


def _like(value: np.ndarray, points: ANY_ARRAY) -> np.ndarray:
    # same precision and rank as the points: tests forbid implicit rank promotion
    value = value.astype(points.dtype)
    return value.reshape((1,) * (points.ndim - value.ndim) + value.shape)


def _moved(pose: ANY_ARRAY, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    moved = np.array(pose, float)
    moved[..., :3, 3] = move(moved[..., :3, 3])
    return moved


def _with_vertices(mesh: trimesh.Trimesh, vertices: np.ndarray) -> trimesh.Trimesh:
    moved = mesh.copy()
    moved.vertices = vertices
    return moved
