"""The extracted surface of a field as a function of the field's parameters: any loss on vertices has a gradient.

Marching cubes itself has none. A vertex v lies on f(theta, v) = level, so it moves by dv = -df grad f / |grad f|^2
along the normal as theta changes; for a signed distance that is dv/ds = -n (Remelli et al., MeshSDF, NeurIPS 2020).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jax.lax import stop_gradient
from jax.tree_util import Partial
from jaxtyping import Float, Int

from fmb.fields.contour import Grid, contour
from fmb.fields.field import Field, attached, projected
from fmb.geometry.cameras import ANY_ARRAY

Family = Callable[[Any], Field]  # parameters to a field
ROOM = 1.5  # sizes of arrays are powers of it, so that few programs are compiled while the number of vertices changes


class Surface(NamedTuple):
    """A mesh for compiled losses: triangles counterclockwise from outside.

    Arrays are filled up: the vertices that are added have weight 0, the triangles no area. So sums over triangles and
    means with `weight` are those of the mesh itself.
    """

    vertex: Float[Array, "vertex 3"]
    face: Int[Array, "face 3"]

    @property
    def corners(self) -> Float[Array, "face 3 3"]:
        """The corners of every triangle."""
        return self.vertex[self.face]

    @property
    def area_vector(self) -> Float[Array, "face 3"]:
        """Outward normals, as long as the triangle's area."""
        corner = self.corners
        return jnp.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) / 2.0

    @property
    def weight(self) -> Float[Array, " vertex"]:
        """Area around each vertex, a third of its triangles'; taken as constant by gradients."""
        vector = stop_gradient(self.area_vector)
        area = jnp.sqrt(jnp.sum(vector * vector, axis=1)) / 3.0
        return jnp.zeros(len(self.vertex), area.dtype).at[self.face.ravel()].add(jnp.repeat(area, 3))

    @property
    def volume(self) -> Float[Array, ""]:
        """Enclosed volume."""
        return jnp.sum(jnp.mean(self.corners, axis=1) * self.area_vector) / 3.0


class Slope(NamedTuple):
    """A loss on the surface, its gradient in the parameters, and where the surface would have to go.

    `pull` is -dL/dv . n at each vertex: above 0 where the loss falls as the surface moves outward. It is dL/ds, s being
    the field as a distance.
    """

    loss: Float[Array, ""]
    gradient: Any
    vertex: Float[Array, "vertex 3"]
    pull: Float[Array, " vertex"]


def shifted(field: Field, level: ANY_ARRAY | float, points: Array) -> Array:
    """The field less a level."""
    return field(points) - level


def at_level(family: Family, level: float) -> Family:
    """The family whose zero is where the other is `level`."""

    def field(parameters: Any) -> Field:
        inner = family(parameters)
        return Partial(shifted, inner if isinstance(inner, Partial) else Partial(inner), level)

    return family if level == 0.0 else field


def padded(grid: Grid, last: Surface | None = None) -> Surface:
    """Marching cubes' mesh of the grid with filled-up arrays.  Raises ValueError where the field has no zero."""
    return padded_mesh(contour(grid), last)


def padded_mesh(mesh: trimesh.Trimesh, last: Surface | None = None) -> Surface:
    """The mesh with filled-up arrays, none smaller than those of `last`: then one program will do for both."""
    vertex, face = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    least = (0, 0) if last is None else map(len, last)
    vertices, faces = (max(_room(len(array)), size) for array, size in zip((vertex, face), least, strict=True))
    vertex = np.concatenate([vertex, np.repeat(vertex[:1], vertices - len(vertex), axis=0)])
    face = np.concatenate([face, np.zeros((faces - len(face), 3), face.dtype)])
    return Surface(jnp.asarray(vertex, jnp.result_type(float)), jnp.asarray(face, jnp.int32))


def _room(count: int) -> int:
    return int(np.ceil(ROOM ** np.ceil(np.log(count) / np.log(ROOM))))


def settled(field: Field, surface: Surface, spacing: float) -> Surface:
    """The surface, its vertices moved on to the field's zero by one Newton step of at most half the grid's spacing."""
    return surface._replace(vertex=projected(field, surface.vertex, 1, spacing / 2.0))


def surface_slope(
    family: Family, loss: Callable[[Surface, Any], Array], spacing: float
) -> Callable[[Any, Surface, Any], Slope]:
    """A compiled function of parameters, surface, and what else the loss needs.

    Vertices of marching cubes are first `settled`; `spacing` is the grid's.
    """

    @jax.jit
    def slope(parameters: Any, surface: Surface, more: Any) -> Slope:
        place = settled(family(parameters), surface, spacing).vertex
        vertex, back = jax.vjp(lambda values: attached(family(values), place), parameters)
        value, push = jax.value_and_grad(lambda x: loss(Surface(x, surface.face), more))(vertex)
        vector = Surface(vertex, surface.face).area_vector
        normal = jnp.zeros_like(vertex).at[surface.face.ravel()].add(jnp.repeat(vector, 3, axis=0))
        length = jnp.sqrt(jnp.sum(normal * normal, axis=1))
        pull = -jnp.sum(push * normal, axis=1) / jnp.where(length > 0.0, length, 1.0)
        return Slope(value, back(push)[0], vertex, pull)

    return slope
