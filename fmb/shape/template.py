"""A mesh that is bent until its silhouettes are those of the views: a template, free or mirrored at a plane.

Each vertex is an isotropic Gaussian in the image, as wide as its share of the surface, so a silhouette is two products
of matrices and no rasteriser. Outlines (template_outline.py) and hues (template_color.py) draw it, too. The vertices
move through a smoothing (I + w L)^-1 of the free numbers, L the graph's Laplacian (Nicolet et al. 2021): a step takes
neighbours along and leaves no tangle. A mirrored template has the numbers of one half, and its plane, which is learnt
with them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float, Int

from fmb.fit.losses import weighted_mean
from fmb.geometry.cameras import ANY_ARRAY, Cameras, project
from fmb.geometry.mesh_symmetry import Mirrored
from fmb.geometry.rotations import matrix_from_rotation_vector
from fmb.shape.template_color import Paint, hue_loss
from fmb.shape.template_outline import Outline, outline_loss

SPREAD = 0.5  # deviation of a vertex's Gaussian, in square roots of the area around it
INSET = 1.5  # of these deviations: so far inside the Gaussians stand, that outlines lie where the mesh has them
LEVEL = 1.5  # sum of Gaussians on the outline with this inset; on spheres of 162 to 2562 vertices it is off by 0.2
SHARPNESS = 2  # power of that sum over LEVEL: inside it is twice LEVEL, which is then almost opaque
THINNEST = 0.6  # pixels: least deviation of a Gaussian in the image
LEAST = 1e-15  # added to sums of Gaussians: their logarithm keeps a slope eight deviations away


class Form(NamedTuple):
    """How a template is joined, and how free numbers move it.

    `beside` are the vertices of the half that have a mirror image; none without a plane. `even` and `odd` smooth
    coordinates along the plane and across it; without a plane they are the same. Silhouettes are those of `parts`,
    whose corners are the vertices, then the middles of `edges`: of none, or of all, with half as wide Gaussians.
    """

    beside: Int[ANY_ARRAY, " mirrored"]
    faces: Int[ANY_ARRAY, "face 3"]
    even: Float[ANY_ARRAY, "half half"]
    odd: Float[ANY_ARRAY, "half half"]
    laplacian: Float[ANY_ARRAY, "vertex vertex"]
    edges: Int[ANY_ARRAY, "edge 2"]
    parts: Int[ANY_ARRAY, "part 3"]


class Stand(NamedTuple):
    """Vertices at rest, in a frame whose plane is x = 0, and where that frame lies: axes (columns) and origin."""

    rest: Float[Array, "half 3"]
    axes: Float[Array, "3 3"]
    origin: Float[Array, "3"]


class Seen(NamedTuple):
    """Views to fit to: which camera saw which silhouette, how much each pixel counts, outlines, and hues if any."""

    cameras: Cameras
    silhouette: Float[Array, "view height width"]
    weight: Float[Array, "view height width"]
    outline: Outline
    hue: Float[Array, "view height width 3"] | None = None
    share: Float[Array, "view vertex"] | None = None  # how much a view says of the hue of each vertex


class Weights(NamedTuple):
    """Width of the Gaussians in square roots of the area around a vertex; weights of the terms of the loss."""

    spread: float | Array
    stiffness: float | Array
    silhouette: float | Array = 1.0
    outline: float | Array = 0.0
    color: float | Array = 0.0


class Bend(NamedTuple):
    """The free numbers: of the vertices, and of the plane, whose normal they turn and which they shift."""

    push: Float[Array, "half 3"]
    turn: Float[Array, "2"]
    shift: Float[Array, ""]


def form_of(mesh: Mirrored, mirror: bool, smoothing: float, split: bool) -> Form:
    """The form of a mesh: with its plane, or of all its vertices without one; I + `smoothing` L is what smooths.

    `split`: each triangle is seen as four.
    """
    opposite, half = mesh.opposite, len(mesh.half)
    laplacian = graph_laplacian(mesh.faces, len(opposite))
    inverse = np.linalg.inv(np.eye(len(opposite)) + smoothing * laplacian)
    edges, parts = quartered(mesh.faces, len(opposite)) if split else (np.zeros((0, 2), int), mesh.faces)
    if not mirror:
        return Form(np.zeros(0, int), mesh.faces, inverse, inverse, laplacian, edges, parts)
    own, image = inverse[:half, :half], inverse[:half, opposite[:half]] * ~mesh.seam
    beside = np.flatnonzero(~mesh.seam)
    # a vertex on the plane stays on it: its coordinate across is 0
    odd = (own - image) * ~mesh.seam[:, None] * ~mesh.seam
    return Form(beside, mesh.faces, own + image, odd, laplacian, edges, parts)


def quartered(
    faces: Int[np.ndarray, "face 3"], count: int
) -> tuple[Int[np.ndarray, "edge 2"], Int[np.ndarray, "part 3"]]:
    """The edges of a mesh of `count` vertices, and its triangles in four: corners, then middles of edges."""
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2), axis=2).reshape(-1, 2)
    edges, place = np.unique(pairs, axis=0, return_inverse=True)
    first, second, third = count + place.reshape(len(faces), 3).T  # of edges 01, 12, 20
    a, b, c = faces.T
    four = ((a, first, third), (b, second, first), (c, third, second), (first, second, third))
    return edges, np.concatenate([np.stack(corners, axis=1) for corners in four])


def graph_laplacian(faces: Int[np.ndarray, "face 3"], count: int) -> Float[np.ndarray, "vertex vertex"]:
    """Degree less adjacency of the mesh's graph."""
    linked = np.zeros((count, count))
    for start, end in ((0, 1), (1, 2), (2, 0)):
        linked[faces[:, start], faces[:, end]] = linked[faces[:, end], faces[:, start]] = 1.0
    return np.diag(linked.sum(axis=1)) - linked


def bent(form: Form, stand: Stand, bend: Bend) -> tuple[Float[Array, "vertex 3"], Stand]:
    """The vertices of the whole mesh in the world; and the stand with the half and the plane as they are now."""
    dtype = stand.rest.dtype
    across, along = form.odd @ bend.push[:, :1], form.even @ bend.push[:, 1:]
    half = stand.rest + jnp.concatenate([across, along], axis=1)
    image = half[form.beside] * jnp.asarray([-1.0, 1.0, 1.0], dtype)[None]
    axes = stand.axes @ matrix_from_rotation_vector(jnp.concatenate([jnp.zeros(1, dtype), bend.turn]))
    origin = stand.origin + bend.shift * axes[:, 0]
    return jnp.concatenate([half, image]) @ axes.T + origin[None], Stand(half, axes, origin)


def vertex_normals(
    vertices: Float[Array, "vertex 3"], faces: Int[ANY_ARRAY, "face 3"]
) -> tuple[Float[Array, "vertex 3"], Float[Array, " vertex"]]:
    """Unit normals of vertices, weighted by area, and a third of the area of the triangles around each."""
    corner = vertices[faces]
    across = jnp.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    square = jnp.sum(across * across, axis=1)
    area = jnp.sqrt(jnp.where(square > 0.0, square, 1.0)) / 2 * (square > 0.0)
    normal = jnp.zeros_like(vertices).at[faces].add(across[:, None, :])
    share = jnp.zeros(len(vertices), vertices.dtype).at[faces].add(area[:, None] / 3)
    length = jnp.sum(normal * normal, axis=1, keepdims=True)
    return normal / jnp.sqrt(jnp.where(length > 0.0, length, 1.0)), share


def vertex_density(
    vertices: Float[Array, "vertex 3"],
    faces: Int[ANY_ARRAY, "face 3"],
    cameras: Cameras,
    image_size: tuple[int, int],
    spread: float | Array = SPREAD,
) -> Float[Array, "view height width"]:
    """Density (alpha = 1 - exp(-density)) of the silhouettes of a closed mesh: ln 2 on its outlines.

    Where Gaussians stand is differentiable, how wide they are is not: else a mesh could grow by blurring.
    """
    normal, area = stop_gradient(vertex_normals(vertices, faces))
    deviation = spread * jnp.sqrt(area)
    place, depth = project(cameras, vertices - INSET * deviation[:, None] * normal)
    focal = jnp.sqrt(jnp.asarray(cameras.intrinsics)[:, 0, 0] * jnp.asarray(cameras.intrinsics)[:, 1, 1])
    wide = jnp.maximum(focal[:, None] * deviation[None] / stop_gradient(depth), THINNEST)
    column, row = (
        jnp.exp(-(((jnp.arange(size, dtype=wide.dtype) + 0.5)[None, :, None] - at[:, None, :]) ** 2) / 2 / square)
        for size, at, square in (
            (image_size[1], place[..., 0], (wide**2)[:, None, :]),
            (image_size[0], place[..., 1], (wide**2)[:, None, :]),
        )
    )
    total = jnp.einsum("vhp,vwp->vhw", row, column) + LEAST
    return jnp.log(2.0) * (total / LEVEL) ** SHARPNESS


def bend_loss(
    form: Form,
    stand: Stand,
    bend: Bend,
    seen: Seen,
    weights: Weights,
    hue: Float[Array, "vertex 3"] | None = None,
) -> Float[Array, ""]:
    """The terms of Weights: errors of silhouettes, outlines and hues, and the Laplacian in squared edges.

    Silhouettes by mean square error, not by cross-entropy: a pixel far from all vertices then pulls so hard that thin
    shapes tangle. Hues count where the views have colours, and `hue` has those of the vertices.
    """
    vertices, _ = bent(form, stand, bend)
    middles = (vertices[form.edges[:, 0]] + vertices[form.edges[:, 1]]) / 2
    shown = jnp.concatenate([vertices, middles])
    density = vertex_density(shown, form.parts, seen.cameras, seen.silhouette.shape[1:], weights.spread)
    loss = weights.silhouette * weighted_mean((1.0 - jnp.exp(-density) - seen.silhouette) ** 2, seen.weight)
    normals = vertex_normals(shown, form.parts)[0]
    loss = loss + weights.outline * outline_loss(shown, normals, seen.cameras, seen.outline)
    if seen.hue is not None:
        paint = Paint(hue, seen.share)
        loss = loss + weights.color * hue_loss(project(seen.cameras, vertices)[0], seen.hue, paint)
    return loss + weights.stiffness * unevenness(form, vertices)


def unevenness(form: Form, vertices: Float[Array, "vertex 3"]) -> Float[Array, ""]:
    """Mean square of the Laplacian, over the mean square of edges."""
    uneven = (form.laplacian @ vertices) / jnp.diagonal(form.laplacian)[:, None]
    edge = stop_gradient(jnp.mean(jnp.sum((vertices[form.faces[:, 0]] - vertices[form.faces[:, 1]]) ** 2, axis=1)))
    return jnp.mean(jnp.sum(uneven**2, axis=1)) / edge
