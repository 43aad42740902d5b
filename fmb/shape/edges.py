"""Mixtures by their edges: each component as the ellipsoid at which it alone is half opaque, and how sharp that is.

In these coordinates a step changes a component relative to its own size and shape, so that thin and large ones learn at
one rate, and size and sharpness do not fight over the weight.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.metaballs import HALF_OPAQUE
from fmb.fit.loop import Coordinates

SHARPEST, BLUNTEST = 10.0, 0.1  # bounds of the sharpness k; an edge of k = 10 is 0.1 of the component's radius wide


class Edges(NamedTuple):
    """Ellipsoids |E^T (x - mean)| = 1, E = `edge_cholesky` lower triangular, with alpha 1/2 on them.

    The density is log 2 exp(k (1 - |E^T (x - mean)|^2)). The sharpness k = kappa / (1 + kappa / SHARPEST), with
    kappa = exp(log_sharpness), stays below SHARPEST.
    """

    mean: Float[Array, "mixture 3"]
    edge_cholesky: Float[Array, "mixture 3 3"]
    log_sharpness: Float[Array, " mixture"]


def mixture_from_edges(edges: Edges) -> Mixture:
    """L = sqrt(2 k) E and log_weight = k + log log 2."""
    kappa = jnp.exp(edges.log_sharpness)
    sharpness = kappa / (1 + kappa / SHARPEST)
    lower = jnp.sqrt(2 * sharpness)[:, None, None] * edges.edge_cholesky
    return Mixture(edges.mean, lower, sharpness + HALF_OPAQUE)


def edges_from_mixture(mixture: Mixture) -> Edges:
    """The inverse; a component too light ever to be half opaque is made heavier, one too sharp lighter."""
    sharpness = jnp.clip(mixture.log_weight - HALF_OPAQUE, BLUNTEST, 0.99 * SHARPEST)
    edge = mixture.precision_cholesky / jnp.sqrt(2 * sharpness)[:, None, None]
    return Edges(mixture.mean, edge, jnp.log(sharpness / (1 - sharpness / SHARPEST)))


def pull_edges(edges: Edges, gradient: Edges) -> Edges:
    """The gradient with respect to a step that `move_edges` takes, at step 0: E^-1 g and the lower half of E^T G."""
    lower = edges.edge_cholesky
    mean = solve_triangular(lower, gradient.mean[..., None], lower=True)[..., 0]
    return Edges(mean, jnp.tril(_matmul(lower.mT, gradient.edge_cholesky)), gradient.log_sharpness)


def move_edges(edges: Edges, step: Edges) -> Edges:
    """mean + E^-T a and E (I + B), the diagonal of I + B as an exponential so that it stays positive."""
    lower = edges.edge_cholesky
    mean = edges.mean + solve_triangular(lower, step.mean[..., None], lower=True, trans=1)[..., 0]
    diagonal = jnp.exp(jnp.diagonal(step.edge_cholesky, axis1=1, axis2=2))
    factor = jnp.tril(step.edge_cholesky, -1) + jnp.eye(3, dtype=lower.dtype)[None] * diagonal[:, None, :]
    return Edges(mean, _matmul(lower, factor), edges.log_sharpness + step.log_sharpness)


def _matmul(a: Array, b: Array) -> Array:
    # sums of products fuse on a CPU; a batch of 3 x 3 matrix products is a call each
    return (a[:, :, :, None] * b[:, None, :, :]).sum(2)


def thickened(edges: Edges, least: Float[Array, ""]) -> Edges:
    """The same ellipsoids with semi-axes of at least `least`; those that have them do not change at all."""
    axes, inverse, _ = jnp.linalg.svd(edges.edge_cholesky)
    thicker = triangular(axes * jnp.minimum(inverse, 1 / least)[:, None])
    return edges._replace(
        edge_cholesky=jnp.where((inverse[:, :1] * least > 1)[..., None], thicker, edges.edge_cholesky)
    )


def triangular(factor: Float[Array, "mixture 3 3"]) -> Float[Array, "mixture 3 3"]:
    """The lower triangular E with a positive diagonal and E E^T = F F^T.

    It comes from a QR decomposition, which exists for every matrix: thin components cannot make it fail. In
    fmb.geometry.symmetry is one of sums of products, which have fast slopes.
    """
    upper = jnp.linalg.qr(factor.mT, mode="r")
    sign = jnp.where(jnp.diagonal(upper, axis1=1, axis2=2) < 0, -1, 1)
    return jnp.tril((sign[:, :, None] * upper).mT)


EDGE_COORDINATES = Coordinates(pull_edges, move_edges)


def keep_valid(mixture: Mixture, step: Mixture, least_diagonal: float = 1e-6) -> Mixture:
    """mixture + step, the diagonal of precision_cholesky held above least_diagonal (section 3)."""
    moved = jax.tree.map(jnp.add, mixture, step)
    diagonal, lower = jnp.eye(3, dtype=bool)[None], moved.precision_cholesky
    return moved._replace(precision_cholesky=jnp.where(diagonal, jnp.maximum(lower, least_diagonal), lower))


def plain_gradient(parameters: Any, gradient: Any) -> Any:
    """The gradient, for steps in the numbers of the parameters themselves."""
    return gradient


PLAIN_COORDINATES = Coordinates(plain_gradient, keep_valid)
