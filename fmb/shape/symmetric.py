"""Edges with a symmetry: what is fitted is the fundamental part and where its planes or its axis lie."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.symmetric import SymmetricMixture
from fmb.fit.loop import Coordinates
from fmb.geometry.rotations import matrix_from_quaternion, quaternion_from_rotation_vector
from fmb.geometry.symmetry import GROUPS, Placement, Symmetry, times
from fmb.shape.edges import EDGE_COORDINATES, Edges, edges_from_mixture, mixture_from_edges

TURN_RATE, SHIFT_RATE = 0.3, 0.1  # radians and scales that a place moves where a component moves by its own size


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["edges", "frame", "quaternion", "origin"],
    meta_fields=["kind", "scale"],
)
@dataclasses.dataclass(frozen=True)
class SymmetricEdges:
    """The edges of the fundamental part, and a group's place: its axes, as at the start and turned since, its origin.

    The axes are the columns of frame R, R the rotation of the quaternion (wxyz); the frame stays. `scale` is the
    object's, in the unit of the origin.
    """

    # as trees, these also hold shapes and types alone, which no type of an array allows
    edges: Edges
    frame: Any  # [3, 3]
    quaternion: Any  # [4]
    origin: Any  # [3]
    kind: str
    scale: float


Parameters = Edges | SymmetricEdges


def axes_of(parameters: SymmetricEdges) -> Float[Array, "3 3"]:
    """The group's axes, as columns."""
    return times(parameters.frame, matrix_from_quaternion(parameters.quaternion))


def symmetry_of(parameters: SymmetricEdges) -> Symmetry:
    """The group and its place."""
    return Symmetry(parameters.kind, Placement(axes_of(parameters), parameters.origin))


def symmetric_from_edges(parameters: SymmetricEdges) -> SymmetricMixture:
    """The mixture and its symmetry."""
    return SymmetricMixture(mixture_from_edges(parameters.edges), symmetry_of(parameters))


def edges_of_symmetric(mixture: SymmetricMixture, scale: float) -> SymmetricEdges:
    """The inverse of `symmetric_from_edges`, in an object of that scale."""
    frame, origin = mixture.symmetry.placement
    edges = edges_from_mixture(mixture.fundamental)
    return SymmetricEdges(edges, frame, jnp.eye(4, dtype=frame.dtype)[0], origin, mixture.symmetry.kind, scale)


def mixture_of(parameters: Parameters) -> Mixture:
    """All components."""
    if isinstance(parameters, Edges):
        return mixture_from_edges(parameters)
    return symmetric_from_edges(parameters).copies()


def edges_of(parameters: Parameters) -> Edges:
    """The edges that are fitted."""
    return parameters if isinstance(parameters, Edges) else parameters.edges


def with_edges(parameters: Parameters, edges: Edges) -> Parameters:
    """The same with other edges."""
    return edges if isinstance(parameters, Edges) else dataclasses.replace(parameters, edges=edges)


def pull_symmetric(parameters: SymmetricEdges, gradient: SymmetricEdges) -> SymmetricEdges:
    """The gradient by a step of `move_symmetric`, at step 0: of the place, by turns and shifts about its own axes.

    Those that change nothing about the group are left out: their gradients are rounding, which Adam would follow.
    """
    group, rotation = GROUPS[parameters.kind](), axes_of(parameters)
    turns, shifts = (jnp.asarray(free, parameters.origin.dtype) for free in (group.turns, group.shifts))
    _, back = jax.vjp(lambda turn: turned(parameters.quaternion, TURN_RATE * turn), jnp.zeros_like(turns))
    turn = turns * back(gradient.quaternion)[0]
    shift = SHIFT_RATE * parameters.scale * shifts * (rotation * gradient.origin[:, None]).sum(0)
    return dataclasses.replace(
        parameters,
        edges=EDGE_COORDINATES.pull(parameters.edges, gradient.edges),
        frame=jnp.zeros_like(parameters.frame),
        quaternion=jnp.concatenate([jnp.zeros_like(turn[:1]), turn]),
        origin=shift,
    )


def move_symmetric(parameters: SymmetricEdges, step: SymmetricEdges) -> SymmetricEdges:
    """Edges as `move_edges`, axes turned by a rotation vector about themselves, origin moved along them."""
    rotation = axes_of(parameters)
    shift = SHIFT_RATE * parameters.scale * (rotation * step.origin[None]).sum(1)
    return dataclasses.replace(
        parameters,
        edges=EDGE_COORDINATES.move(parameters.edges, step.edges),
        quaternion=turned(parameters.quaternion, TURN_RATE * step.quaternion[1:]),
        origin=parameters.origin + shift,
    )


def turned(quaternion: Float[Array, "4"], vector: Float[Array, "3"]) -> Float[Array, "4"]:
    """The product of the quaternion with that of a rotation vector in its own axes."""
    w, v = quaternion[:1], quaternion[1:]
    other = quaternion_from_rotation_vector(vector)
    a, b = other[:1], other[1:]
    return jnp.concatenate([w * a - (v * b).sum(keepdims=True), w * b + a * v + jnp.cross(v, b)])


SYMMETRIC_COORDINATES = Coordinates(pull_symmetric, move_symmetric)


def coordinates_of(parameters: Parameters) -> Coordinates:
    """How they move."""
    return EDGE_COORDINATES if isinstance(parameters, Edges) else SYMMETRIC_COORDINATES
