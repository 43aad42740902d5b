"""How sure a fit to silhouettes is: a covariance of the mixture, and standard deviations of what it renders.

A component's ten parameters are a move in its own unit: mean + L^-T m, L (I + T) with T lower triangular, and
log_weight + w. There the slope of log density at the densest point of a ray is (r, -tril(r r^T), 1), r the whitened
vector from the mean to that point: no frame, no size, and a weak prior means the same for all.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

from fm_render import BLENDINGS, CLOSED_FORMS, INTERSECTIONS, Hits, Mixture, Settings, dot, residual, whiten
from fmb.cameras import Cameras, pixel_rays
from fmb.numerics import choose, nearby, product
from fmb.sheets import Images
from fmb.views import Views

LOWER = ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2))
PRIOR = 1.0
SLOPES_PER_BLOCK = 2_000_000


def moved(mixture: Mixture, step: Float[Array, "mixture 10"]) -> Mixture:
    lower = jnp.zeros_like(mixture.precision_cholesky)
    for place, (row, column) in enumerate(LOWER):
        lower = lower.at[:, row, column].set(step[:, 3 + place])
    shift = jax.scipy.linalg.solve_triangular(mixture.precision_cholesky.mT, step[:, :3, None], lower=False)[..., 0]
    return Mixture(
        mixture.mean + shift,
        mixture.precision_cholesky + product("kij,kjl->kil", mixture.precision_cholesky, lower),
        mixture.log_weight + step[:, 9],
    )


def ray_slopes(mixture, rays, blend, rule="linear"):
    origin, direction = rays[:3], rays[3:]
    start, near_mixture, near_origin = nearby(mixture, origin, direction)
    pairs = whiten(near_mixture, near_origin, direction)
    distance = INTERSECTIONS[rule](pairs)
    rest, u = residual(pairs, distance), pairs.direction
    hits = Hits(distance + start, mixture.log_weight[:, None] - dot(rest, rest) / 2)
    value, pull = jax.vjp(blend, hits)
    (g_hits,) = pull(jnp.ones_like(value))
    g, h = CLOSED_FORMS[rule](pairs, g_hits)
    rows = [h * u[a] - g * rest[a] for a in range(3)]
    rows += [h * (u[a] * rest[b] + u[b] * rest[a]) - g * rest[a] * rest[b] for a, b in LOWER]
    rows += [g_hits.log_density]
    return value, jnp.stack(rows, axis=1).reshape(-1, rays.shape[1])


def density_blend(settings, dtype):
    blend, _, betas = BLENDINGS[settings.blending]
    return lambda hits: blend(hits, jnp.ones((), dtype), betas)


def depth_blend(settings, dtype):
    _, weigh, betas = BLENDINGS[settings.blending]

    def depth(hits):
        w = weigh(hits, jnp.ones((), dtype), betas)
        return (w / jnp.maximum(w.sum(0, keepdims=True), 1e-18) * hits.distance).sum(0)

    return depth


@jax.jit
def view_information(mixture, rays, silhouette, weight):
    dtype = mixture.mean.dtype
    density, slope = ray_slopes(mixture, rays, density_blend(Settings(), dtype))
    density = density + jnp.finfo(dtype).tiny
    scaled = slope * jnp.sqrt(weight / jnp.expm1(density))[None]
    score = slope @ (weight * (1 - silhouette / -jnp.expm1(-density)))
    return product("ar,br->ab", scaled, scaled), score


@jax.jit
def view_deviation(mixture, rays, covariance):
    dtype = mixture.mean.dtype
    out = []
    for blend in (lambda h: -jnp.expm1(-density_blend(Settings(), dtype)(h)), depth_blend(Settings(), dtype)):
        _, slope = ray_slopes(mixture, rays, blend)
        out.append(jnp.sqrt(jnp.maximum((slope * product("ab,br->ar", covariance, slope)).sum(0), 0)))
    return out


def flat_rays(cameras, view, size, dtype):
    one = jax.tree.map(lambda x: np.asarray(x, dtype)[view : view + 1], cameras)
    r = pixel_rays(one, *size)
    return jnp.concatenate([x.reshape(-1, 3).T for x in r])
