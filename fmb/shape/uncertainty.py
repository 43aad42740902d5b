"""How sure a fit to silhouettes is: a covariance of the mixture, standard deviations of it and of what it renders.

A component has ten parameters, a step in its own unit: mean + L^-T m, L (I + T) with T lower triangular, and
log_weight + w. In them the slope of the log density on a ray is (-r, -tril(r r^T), 1), r the whitened vector from the
densest point to the mean (envelope theorem), and a weak prior says the same of large and of small components.

The covariance is the delete-one-view jackknife after one Gauss-Newton step: a sandwich (Huber 1967, White 1980) whose
scores are clustered by view, with the leverage correction of Bell & McCaffrey (2002), CR3. The inverse Fisher
information alone takes pixels for independent and the model for true; on damaged masks it gave half as much.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from fm_numerics import choose, nearby, product
from fm_render import BLENDINGS, INTERSECTIONS, TINY, Hits, Mixture, Settings, passes
from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.geometry.views import Images, Views
from fmb.ready import ready

PARAMETERS = 10  # of a component
LOWER = ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2))  # entries of T in the order of the parameters
PRIOR_DEVIATION = 1.0  # of each parameter: a component nobody sees may be off by its own size, or a factor e
# A pixel's label may be wrong so often. Without it one silhouette pixel far from every component (alpha of 1e-30, as
# fits to real masks leave behind) outweighs all others in the scores; the fits' own clip, 1e-6, is not enough.
MISLABELLED = 1e-3
ROUNDING = 1e-6  # of the information's largest diagonal entry: what float32 may add to the small ones
SLOPES_PER_BLOCK = 2**21  # parameter x ray, 8 MiB in float32: one view of 64 x 64 with 40 components


class Uncertainty(NamedTuple):
    """Covariance of the parameters, component after component, and what it says of each component.

    The mean is off by `mean_deviation` (in the frame's unit, the largest first) along the columns of `mean_axes`;
    size (geometric mean of the three radii) and weight by a share of themselves.
    """

    covariance: Float[np.ndarray, "parameter parameter"]
    mean_deviation: Float[np.ndarray, "mixture 3"]
    mean_axes: Float[np.ndarray, "mixture 3 3"]
    size_deviation: Float[np.ndarray, " mixture"]
    weight_deviation: Float[np.ndarray, " mixture"]


def fit_covariance(
    mixture: Mixture, views: Views, prior_deviation: float = PRIOR_DEVIATION, settings: Settings = Settings()
) -> Uncertainty:
    """How far another draw of as many views would move the mixture that was fitted to these silhouettes.

    Views are taken for independent, pixels of one view are not. Give the masks as they were seen: without the pixels
    that a fit stopped believing they agree too well. Neither other local minima are in it, nor what no silhouette
    shows (hollows, bias of the rendered depth): on a real mesh these were 4 and 7 times as large.
    Two passes over the views; memory is that of one block and five square matrices, of 10 rows a component in double
    precision: 6 MB for 40 components, 4 GB for 1,000.

    Raises ValueError for fewer than two views, or a prior that is not positive.
    """
    count = len(views.silhouette)
    if count < 2:
        raise ValueError(f"views: {count} view; the scatter between views needs at least 2")
    if not prior_deviation > 0:
        raise ValueError(f"prior_deviation {prior_deviation}: must be positive")
    settings = _checked(settings)
    total = sum(view_information(mixture, views, view, settings)[0] for view in range(count))
    damping = max(prior_deviation**-2, ROUNDING * float(np.diagonal(total).max()))
    total[np.diag_indices_from(total)] += damping
    moves = []
    # one thread: for matrices of this size, threads that wait for each other on a busy machine took 1 s for 1 ms
    with threadpool_limits(1):
        for view in range(count):
            information, score = view_information(mixture, views, view, settings)
            moves.append(cho_solve(cho_factor(total - information, lower=True), score))
        prior = cho_solve(cho_factor(total, lower=True), np.sqrt(damping) * np.eye(len(total)))
    scatter = np.array(moves) - np.mean(moves, axis=0)
    return _describe(mixture, (count - 1) / count * scatter.T @ scatter + prior @ prior)


def view_information(
    mixture: Mixture, views: Views, view: int, settings: Settings = Settings()
) -> tuple[Float[np.ndarray, "parameter parameter"], Float[np.ndarray, " parameter"]]:
    """Fisher information and score (slope of the summed cross-entropy) of one view's silhouette."""
    parameters, dtype = PARAMETERS * len(mixture.mean), mixture.mean.dtype
    image_size = views.silhouette.shape[1:]
    valid = np.ones(image_size) if views.valid is None else np.asarray(views.valid[view])
    silhouette = np.where(valid, views.silhouette[view], 0.0)
    information, score = np.zeros((parameters, parameters)), np.zeros(parameters)
    for rays, pixels in _ray_blocks(views.cameras, view, image_size, parameters, dtype):
        seen, counts = (_padded(image.reshape(-1)[pixels], rays.shape[1], dtype) for image in (silhouette, valid))
        part, slope = _block_information(settings, mixture, rays, seen, counts)
        information += np.asarray(part, float)
        score += np.asarray(slope, float)
    return information, score


def look_deviation(
    mixture: Mixture,
    uncertainty: Uncertainty,
    cameras: Cameras,
    image_size: tuple[int, int],
    settings: Settings = Settings(),
) -> Images:
    """Standard deviations of alpha and depth as the cameras see them, to first order in the parameters.

    Raises ValueError for an unknown rule.
    """
    settings, dtype = _checked(settings), mixture.mean.dtype
    covariance = jnp.asarray(uncertainty.covariance, dtype)
    deviation = np.zeros((2, len(cameras.intrinsics), image_size[0] * image_size[1]), dtype)
    for view in range(deviation.shape[1]):
        for rays, pixels in _ray_blocks(cameras, view, image_size, len(covariance), dtype):
            seen = _block_deviation(settings, mixture, rays, covariance)
            deviation[:, view, pixels] = np.asarray(seen)[:, : len(deviation[0, view, pixels])]
    return Images(*deviation.reshape(2, -1, *image_size))


def moved(mixture: Mixture, step: Float[Array, "mixture 10"]) -> Mixture:
    """The mixture after a step in the parameters of the covariance."""
    factor = mixture.precision_cholesky
    lower = jnp.zeros_like(factor).at[:, *np.transpose(LOWER)].set(step[:, 3:9])
    shift = solve_triangular(factor.mT, step[:, :3, None])[..., 0]
    return Mixture(
        mixture.mean + shift, factor + product("kij,kjl->kil", factor, lower), mixture.log_weight + step[:, 9]
    )


def ray_slopes(
    mixture: Mixture,
    rays: Float[Array, "6 ray"],
    blend: Callable[[Hits], Float[Array, " ray"]],
    intersection: str = "linear",
) -> tuple[Float[Array, " ray"], Float[Array, "parameter ray"]]:
    """What `blend` makes of each ray's hits, and its slope in the mixture's parameters."""
    origin, direction = rays[:3], rays[3:]

    def hits(step: Float[Array, "10"]) -> Hits:
        """Of all components after the same step; a hit depends on its own component alone."""
        steps = jnp.broadcast_to(step, (len(mixture.mean), PARAMETERS))
        start, near, (origins, directions) = nearby(moved(mixture, steps), origin, direction)
        found = INTERSECTIONS[intersection].hits(passes(near, origins, directions), near.log_weight[:, None])
        return found._replace(distance=found.distance + start)

    still = jnp.zeros(PARAMETERS, mixture.mean.dtype)
    value, pull = jax.vjp(blend, hits(still))
    (g_hits,) = pull(jnp.ones_like(value))  # each ray meets its own hits alone
    slopes = sum(g[..., None] * slope for g, slope in zip(g_hits, jax.jacfwd(hits)(still), strict=True))
    return value, jnp.moveaxis(slopes, -1, 1).reshape(-1, rays.shape[1])


def blends(settings: Settings) -> dict[str, Callable[[Hits], Array]]:
    """Density, alpha and depth of the hits by the blend of `settings`, in a frame where the object's scale is 1."""
    blend_density, blend_weight, default, _ = BLENDINGS[settings.blending]
    betas = default if settings.betas is None else settings.betas

    def density(hits: Hits) -> Array:
        return blend_density(hits, jnp.ones((), hits.distance.dtype), betas)

    def depth(hits: Hits) -> Array:
        weight = blend_weight(hits, jnp.ones((), hits.distance.dtype), betas)
        return (weight * hits.distance).sum(0) / jnp.maximum(weight.sum(0), TINY)

    return {"density": density, "alpha": lambda hits: -jnp.expm1(-density(hits)), "depth": depth}


@ready(0)
def _block_information(
    settings: Settings, mixture: Mixture, rays: Array, silhouette: Array, counts: Array
) -> tuple[Array, Array]:
    density, slope = ray_slopes(mixture, rays, blends(settings)["density"], settings.intersection)
    through = jnp.exp(-density)  # 1 - alpha
    positive = MISLABELLED + (1 - 2 * MISLABELLED) * -jnp.expm1(-density)  # probability of a 1 in the mask
    change = (1 - 2 * MISLABELLED) * through
    variance = positive * (1 - positive)
    scaled = slope * (change * jnp.sqrt(counts / variance))[None]
    score = product("ar,r->a", slope, counts * change * (positive - silhouette) / variance)
    return product("ar,br->ab", scaled, scaled), score


@ready(0)
def _block_deviation(settings: Settings, mixture: Mixture, rays: Array, covariance: Array) -> Array:
    known = blends(settings)
    slopes = (ray_slopes(mixture, rays, known[name], settings.intersection)[1] for name in ("alpha", "depth"))
    variance = jnp.stack([(slope * product("ab,br->ar", covariance, slope)).sum(0) for slope in slopes])
    return jnp.sqrt(jnp.maximum(variance, 0))  # rounding may leave a zero variance below 0


def _checked(settings: Settings) -> Settings:
    """The settings with their betas, once their names are known."""
    choose("intersection", settings.intersection, INTERSECTIONS)
    choose("blending", settings.blending, BLENDINGS)
    betas = BLENDINGS[settings.blending][2] if settings.betas is None else settings.betas
    plain = type(betas)(*map(float, betas)) if betas else ()
    return dataclasses.replace(settings, betas=plain)  # numbers, so that it can be a static argument


def _ray_blocks(
    cameras: Cameras, view: int, image_size: tuple[int, int], parameters: int, dtype: np.dtype
) -> Iterator[tuple[Float[Array, "6 ray"], slice]]:
    """The rays of one view in blocks of one size, the last rays repeated to fill it, and which pixels they are."""
    one = jax.tree.map(lambda field: np.asarray(field[view : view + 1], dtype), cameras)
    rays = np.concatenate([np.asarray(x).reshape(-1, 3).T for x in pixel_rays(one, *image_size)])
    blocks = -(-rays.shape[1] * parameters // SLOPES_PER_BLOCK)
    size = -(-rays.shape[1] // blocks)
    for start in range(0, rays.shape[1], size):
        block = rays[:, start : start + size]
        yield jnp.pad(block, ((0, 0), (0, size - block.shape[1])), mode="edge"), slice(start, start + size)


def _padded(values: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    return np.pad(values, (0, size - len(values))).astype(dtype)


def _describe(mixture: Mixture, covariance: np.ndarray) -> Uncertainty:
    """The deviations of each component beside the covariance of all parameters."""
    count = len(mixture.mean)
    own = np.arange(count)
    block = covariance.reshape(count, PARAMETERS, count, PARAMETERS)[own, :, own]
    # the mean moves by L^-T m
    inverse = np.linalg.inv(np.asarray(mixture.precision_cholesky, float))
    square, axes = np.linalg.eigh(np.swapaxes(inverse, 1, 2) @ block[:, :3, :3] @ inverse)
    # the three radii have the product 1 / det L, so the logarithm of their geometric mean moves by -trace T / 3
    trace = np.zeros(PARAMETERS)
    trace[[3 + place for place, (row, column) in enumerate(LOWER) if row == column]] = 1 / 3
    return Uncertainty(
        covariance,
        np.sqrt(np.maximum(square[:, ::-1], 0)),
        axes[:, :, ::-1],
        np.sqrt(np.einsum("a,kab,b->k", trace, block, trace)),
        np.sqrt(block[:, 9, 9]),
    )
