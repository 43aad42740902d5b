"""A colour for each component, once its shape is known: exact least squares, for what is seen is linear in them.

Colours are what image files hold, sRGB from 0 to 1, from end to end: blended, fitted, compared and written as they are,
never converted. (Light adds up linearly and these do not, but a hit is mostly one component's, and what is compared by
eye is better fitted in units of the eye; the follow-up encodes its targets by 1/2.2 for that.)
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import lsq_linear
from scipy.spatial import cKDTree

from fm_render import Mixture, Rays, Settings, product, render
from fmb.geometry.cameras import pixel_rays
from fmb.geometry.views import Views, foreground
from fmb.ready import ready

PAIRS_PER_BLOCK = 2_000_000  # component x ray: 8 MiB of weights
RIDGE = 1.0  # pixels that speak for a component's own mean colour: decides where few or no others do
FEWEST_PIXELS = 1.0  # seen of a component, else its mean colour is that of the nearest one that is seen


def fit_color(
    mixture: Mixture, views: Views, settings: Settings = Settings(), scale: float = 1.0
) -> Float[np.ndarray, "mixture 3"]:
    """Colours, 0 to 1, with which the mixture looks most like the valid pixels that are object in both.

    Mixture and views in one frame, where the object's scale is `scale`. Components that are hardly seen take the
    colour of their neighbours. Raises ValueError for views without colour or without such a pixel.
    """
    if views.color is None:
        raise ValueError("fit_color: the views have no colour")
    count = len(mixture.mean)
    gram, moment, seen = np.zeros((count, count)), np.zeros((count, 3)), np.zeros(count)
    for rays, color, object_share in _blocks(views, max(1, PAIRS_PER_BLOCK // count)):
        parts = _normal_equations(mixture, rays, color, object_share, settings, scale)
        gram, moment, seen = (np.add(*pair, dtype=float) for pair in zip((gram, moment, seen), parts, strict=True))
    if not seen.sum() > 0:
        raise ValueError("fit_color: no valid pixel is object in both the views and the mixture")
    prior = _mean_color(np.asarray(mixture.mean, float), moment, seen)
    # min |A c - b|^2 + ridge |c - prior|^2 with L L^T = A^T A + ridge I is min |L^T c - L^-1 (A^T b + ridge prior)|^2
    lower = cholesky(gram + RIDGE * np.eye(count), lower=True)
    wanted = solve_triangular(lower, moment + RIDGE * prior, lower=True)
    return np.stack([lsq_linear(lower.T, channel, (0.0, 1.0), method="bvls").x for channel in wanted.T], axis=1)


def _blocks(views: Views, size: int) -> Iterator[tuple[Rays, np.ndarray, np.ndarray]]:
    """Rays, colours and how much each shows of the object (0: not valid, or filled up), `size` at a time."""
    valid = np.ones(views.silhouette.shape, bool) if views.valid is None else np.asarray(views.valid)
    share = np.where(valid & foreground(np.asarray(views.silhouette)), views.silhouette, 0)
    for view in range(len(share)):
        index = np.flatnonzero(share[view])
        camera = jax.tree.map(lambda x, view=view: np.asarray(x)[view : view + 1], views.cameras)
        rays = [np.asarray(x, np.float32).reshape(-1, 3) for x in pixel_rays(camera, *share.shape[1:])]
        color = np.asarray(views.color[view], np.float32).reshape(-1, 3)
        for start in range(0, len(index), size):
            some = index[start : start + size]
            filled = np.resize(some, min(size, share[view].size))  # one shape, one program
            weight = np.where(np.arange(len(filled)) < len(some), share[view].ravel()[filled], 0)
            yield Rays(*(x[filled] for x in rays)), color[filled], weight.astype(np.float32)


@ready()
def _normal_equations(
    mixture: Mixture, rays: Rays, color: Array, share: Array, settings: Settings, scale: Array | float
) -> tuple[Array, Array, Array]:
    """A^T A, A^T b and the sum of the weights that components have in the pixels, a row of A for each pixel."""
    sight = render(mixture, rays, scale, ("alpha", "weight"), settings)
    counted = jnp.where(foreground(sight.alpha), share, 0)[:, None] * sight.weight
    return (
        product("rk,rl->kl", counted, sight.weight),
        product("rk,rc->kc", counted, jnp.where(share[:, None] > 0, color, 0)),
        counted.sum(0),
    )


def _mean_color(mean: np.ndarray, moment: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean colour of the pixels that each component is seen in, or that of the nearest one that is."""
    known = seen >= min(FEWEST_PIXELS, seen.max())
    nearest = cKDTree(mean[known]).query(mean)[1]
    return (moment[known] / seen[known, None])[nearest]
