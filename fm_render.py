"""Renderer for mixtures of Gaussians, "fuzzy metaballs" (Keselman & Hebert, ECCV 2022), whose equations are cited.

Can be read alone, and lent together with fmb/numerics.py (JAX only). `render` is the entry. A rule from INTERSECTIONS
says where a ray hits a component, a blend from BLENDINGS mixes the hits of all. Inside, arrays are [mixture, ray], the
longest axis last, and a 3-vector is a tuple of three: explicit arithmetic fuses, small matrix products do not.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float

from fmb.numerics import Vector, check, dot, facing_normal, in_blocks, nearby, product, smooth_root, with_closed_form

LEAST_LOG_WEIGHT = -1e30  # stands in for that of a weight 0, whose differences would be NaN
RIM = 1e-6  # least 1 - d^2 that the slope of the one-sigma root sees
TINY = 1e-12  # keeps quotients finite where nothing is left to divide by; its square is still a float32


class Mixture(NamedTuple):
    """Gaussians of density exp(log_weight - |L^T (x - mean)|^2 / 2), L = `precision_cholesky` lower triangular."""

    mean: Float[Array, "mixture 3"]
    precision_cholesky: Float[Array, "mixture 3 3"]
    log_weight: Float[Array, " mixture"]


class Rays(NamedTuple):
    """Points origin + t direction, t > 0. With directions of unit depth t is the depth along the optical axis."""

    origin: Float[Array, "*ray 3"]
    direction: Float[Array, "*ray 3"]


class Rendering(NamedTuple):
    """What was asked for, [*ray] or [*ray, last], else None; alpha = 1 - exp(-density).

    `depth`, the blended t, is smooth everywhere, and 0 where all components lie behind the camera. `normal`, of unit
    length, faces the camera. `weight` [*ray, mixture] sums to 1, `label` is its largest, `color` its mean.
    """

    density: Array | None = None
    alpha: Array | None = None
    depth: Array | None = None
    normal: Array | None = None
    weight: Array | None = None
    label: Array | None = None
    color: Array | None = None


class TwoBetas(NamedTuple):
    """How much a hit counts for being near (per scale) and for being dense; the released values."""

    near: float = 7.38905609893065  # e^2
    fit: float = 1.2840254166877414  # e^0.25


class FiveBetas(NamedTuple):
    """Beta 1 to 5 of Eqs. 5, 9 and 10, as benchmarks/fit_betas.py found them on silhouettes and depths of 8 meshes."""

    fit: float = 3.0
    near: float = 16.0
    front: float = 20.0  # not determined by cameras outside the object: above 6 all images are the same
    opacity: float = 7.0
    offset: float = -5.6


@partial(jax.tree_util.register_dataclass, data_fields=["betas"], meta_fields=["intersection", "blending", "gradient"])
@dataclasses.dataclass(frozen=True)
class Settings:
    """Names from INTERSECTIONS and BLENDINGS, and the blend's betas (None: its defaults).

    gradient: "closed_form" (reverse mode only; autodiff for the rules that have none) or "autodiff" (forward mode too).
    """

    intersection: str = "linear"
    blending: str = "two_parameter"
    gradient: str = "closed_form"
    betas: TwoBetas | FiveBetas | tuple[()] | None = None


class Pairs(NamedTuple):
    """Rays in each component's whitened space, from -offset along direction: u = L^T d, q = L^T (mean - o)."""

    direction: Vector
    offset: Vector
    precision_cholesky: Array


class Hits(NamedTuple):
    """Where each ray hits each component, t, and how dense it is there, s = log_weight - d^2 / 2."""

    distance: Float[Array, "mixture ray"]
    log_density: Float[Array, "mixture ray"]


def whiten(mixture: Mixture, origin: Array, direction: Array) -> Pairs:
    """Every ray [3, ray] in every component's space; L is lower triangular, hence the missing terms."""
    (a, _, _), (b, c, _), (d, e, f) = mixture.precision_cholesky.transpose(1, 2, 0)[..., None]

    def apply(x: Array) -> Vector:
        return a * x[0] + b * x[1] + d * x[2], c * x[1] + e * x[2], f * x[2]

    offset = apply(mixture.mean.T[..., None] - origin[:, None])
    return Pairs(apply(direction[:, None]), offset, mixture.precision_cholesky)


def residual(pairs: Pairs, distance: Array) -> Vector:
    """Whitened vector from the hit to the mean, q - t u; its length is the Mahalanobis distance."""
    return tuple(q - distance * u for q, u in zip(pairs.offset, pairs.direction, strict=True))


def intersect_linear(pairs: Pairs) -> Float[Array, "mixture ray"]:
    """Distance t to the densest point on the ray (Eq. 6), in units of the direction; negative behind the origin."""
    return dot(pairs.direction, pairs.offset) / dot(pairs.direction, pairs.direction)


def intersect_quadratic(pairs: Pairs) -> Float[Array, "mixture ray"]:
    """Distance to the near side of the one-sigma ellipsoid; where the ray misses it, to the densest point."""
    closest, inside, square = _chord(pairs)
    return closest - jnp.where(inside > 0, jnp.sqrt(jnp.maximum(inside, RIM) / square), 0)


def _chord(pairs: Pairs) -> tuple[Array, Array, Array]:
    """Densest point, 1 - d^2 there (positive where the ray meets the ellipsoid) and |u|^2."""
    closest = intersect_linear(pairs)
    rest = residual(pairs, closest)
    return closest, 1 - dot(rest, rest), dot(pairs.direction, pairs.direction)


def intersect_cubic(pairs: Pairs) -> Float[Array, "mixture ray"]:
    """Distance to the first maximum along the ray of the density's gradient magnitude (Eq. 7).

    For tau, the whitened distance from the densest point, r, the residual there, and u of unit length, the maxima are
    roots of tau^3 + 2 beta tau^2 + (gamma - 1) tau - beta, beta = -Lu . Lr / |Lu|^2 and gamma = |Lr|^2 / |Lu|^2.
    """
    closest, speed = intersect_linear(pairs), jnp.sqrt(dot(pairs.direction, pairs.direction))
    (a, _, _), (b, c, _), (d, e, f) = pairs.precision_cholesky.transpose(1, 2, 0)[..., None]
    along, across = (
        (a * x[0], b * x[0] + c * x[1], d * x[0] + e * x[1] + f * x[2])
        for x in (tuple(u / speed for u in pairs.direction), residual(pairs, closest))
    )
    square = dot(along, along)
    beta, gamma = -dot(along, across) / square, dot(across, across) / square
    return closest + smooth_root(beta, gamma) / speed


INTERSECTIONS = {"linear": intersect_linear, "quadratic": intersect_quadratic, "cubic": intersect_cubic}


def linear_slopes(pairs: Pairs, g_t: Array | None, g_s: Array) -> tuple[Array, Array | None]:
    """(g, h) of `with_closed_form`: t maximises s, so that it drops out of the gradient of s (envelope theorem)."""
    return g_s, None if g_t is None else g_t / dot(pairs.direction, pairs.direction)


def quadratic_slopes(pairs: Pairs, g_t: Array | None, g_s: Array) -> tuple[Array, Array | None]:
    """(g, h) of `with_closed_form`: on the ellipsoid s is constant and dt = -ds / sqrt(inside |u|^2); else linear."""
    _, inside, square = _chord(pairs)
    g_t = jnp.zeros_like(g_s) if g_t is None else g_t
    hit = -g_t / jnp.sqrt(jnp.maximum(inside, RIM) * square)
    return jnp.where(inside > 0, hit, g_s), jnp.where(inside > 0, 0, g_t / square)


CLOSED_FORMS = {"linear": linear_slopes, "quadratic": quadratic_slopes}


def trace(settings: Settings, mixture: Mixture, origin: Array, direction: Array) -> Hits:
    """Hits of all pairs by one rule, for rays [3, ray] that start near the mixture."""
    rule, closed = settings.intersection, settings.gradient == "closed_form"

    def hits(mixture: Mixture, origin: Array, direction: Array) -> Hits:
        pairs = whiten(mixture, origin, direction)
        distance = INTERSECTIONS[rule](pairs)
        rest = residual(pairs, distance)
        return Hits(distance, mixture.log_weight[:, None] - dot(rest, rest) / 2)

    def slopes(mixture: Mixture, origin: Array, direction: Array, *g_hits: Array | None) -> tuple:
        pairs = whiten(mixture, origin, direction)
        return INTERSECTIONS[rule](pairs), *CLOSED_FORMS[rule](pairs, *g_hits)

    traced = with_closed_form(hits, slopes) if closed and rule in CLOSED_FORMS else hits
    return traced(mixture, origin, direction)


def density_in_front(hits: Hits, scale: Array, betas: tuple) -> Array:
    """Sum of the components' densities in front of the camera; alpha = 1 - exp(-density)."""
    return jnp.where(hits.distance > 0, jnp.exp(hits.log_density), 0).sum(0)


def softmax_weight(log_weight: Array, hits: Hits) -> Array:
    """exp(log_weight) in front of the camera, 0 behind it, scaled so that each ray's largest is 1."""
    masked = jnp.where(hits.distance > 0, log_weight, -jnp.inf)
    return jnp.exp(masked - stop_gradient(jnp.maximum(masked.max(0, keepdims=True), jnp.finfo(masked.dtype).min)))


def two_parameter_weight(hits: Hits, scale: Array, betas: TwoBetas) -> Array:
    """exp(fit s - near t / scale) in front of the camera (the released renderer)."""
    return softmax_weight(betas.fit * hits.log_density - betas.near * hits.distance / scale, hits)


def five_parameter_density(hits: Hits, scale: Array, betas: FiveBetas) -> Array:
    """-log(1 - alpha) of Eq. 5's sigmoid over the components in front of the camera."""
    return jax.nn.softplus(betas.opacity * density_in_front(hits, scale, betas) + betas.offset)


def five_parameter_weight(hits: Hits, scale: Array, betas: FiveBetas) -> Array:
    """exp(fit s h - near t / scale), h = sigmoid(front t / scale) (Eqs. 9, 10); behind the camera 0, which h is not."""
    distance = hits.distance / scale
    front = jax.nn.sigmoid(betas.front * distance)
    return softmax_weight(betas.fit * hits.log_density * front - betas.near * distance, hits)


def sorted_weight(hits: Hits, scale: Array, betas: tuple) -> Array:
    """Front-to-back alpha compositing; in logs, so that rays that miss everything keep a depth and a gradient."""
    order = jnp.argsort(stop_gradient(hits.distance), axis=0)
    density = jnp.exp(hits.log_density)
    ahead = jnp.take_along_axis(jnp.where(hits.distance > 0, density, 0), order, axis=0)
    before = jnp.take_along_axis(jnp.cumsum(ahead, axis=0) - ahead, jnp.argsort(order, axis=0), axis=0)
    thin = density < TINY
    opacity = -jnp.expm1(-jnp.where(thin, 1, density))
    return softmax_weight(jnp.where(thin, hits.log_density, jnp.log(opacity)) - before, hits)


BLENDINGS = {  # name: density [ray], unnormalised weight [mixture, ray], default betas
    "two_parameter": (density_in_front, two_parameter_weight, TwoBetas()),
    "five_parameter": (five_parameter_density, five_parameter_weight, FiveBetas()),
    "sorted": (density_in_front, sorted_weight, ()),
}


def render(
    mixture: Mixture,
    rays: Rays,
    scale: Array | float = 1.0,
    outputs: tuple[str, ...] = ("alpha", "depth"),
    settings: Settings = Settings(),
    color: Float[Array, "mixture 3"] | None = None,
) -> Rendering:
    """The outputs named (fields of Rendering) along rays of any batch shape; nothing else is calculated.

    `scale` is eta, the object's size in the rays' unit (3 x its mean standard deviation); `color` each component's.
    Measured in float32, components as thin as 1/200, cameras 3 to 100 scales away: alpha within 1e-5, depth 5e-5 of the
    scale (3e-4 where alpha < 1e-3), gradients 1.4e-3 of their field's largest entry at worst, 2e-5 in the median.
    ValueError for an unknown output, rule, blend or gradient, "color" without `color`, shapes that do not fit.
    """
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    choices = [("output", name, Rendering._fields) for name in outputs]
    choices += [("intersection", settings.intersection, INTERSECTIONS), ("blending", settings.blending, BLENDINGS)]
    check(mixture, rays, [*choices, ("gradient", settings.gradient, ("closed_form", "autodiff"))])
    if "color" in outputs and color is None:
        raise ValueError("output 'color' needs the components' colors: render(..., color=...)")
    dtype = jnp.result_type(mixture.mean, rays.origin, rays.direction)
    shape = jnp.broadcast_shapes(rays.origin.shape, rays.direction.shape)[:-1]
    flat = jnp.concatenate([jnp.broadcast_to(x, (*shape, 3)).reshape(-1, 3).T for x in rays]).astype(dtype)
    betas = BLENDINGS[settings.blending][2] if settings.betas is None else settings.betas
    mixture = mixture._replace(log_weight=jnp.maximum(mixture.log_weight, LEAST_LOG_WEIGHT))
    common = jax.tree.map(lambda x: jnp.asarray(x, dtype), (mixture, scale, betas, color))
    block = partial(_render_block, dataclasses.replace(settings, betas=None), outputs)
    results = in_blocks(block, common, flat, len(mixture.mean), settings.gradient == "closed_form")
    return Rendering(**{name: x.T.reshape(*shape, *x.shape[:-1]) for name, x in results.items()})


def _render_block(settings: Settings, outputs: tuple[str, ...], common: tuple, rays: Array) -> dict[str, Array]:
    """`render` for rays [6, ray]; every result has the ray last."""
    (mixture, scale, betas, color), origin, direction = common, rays[:3], rays[3:]
    blend_density, blend_weight, _ = BLENDINGS[settings.blending]

    def blended_depth(direction: Array):
        start, near_mixture, near_rays = nearby(mixture, origin, direction)
        hits = trace(settings, near_mixture, *near_rays)
        hits = hits._replace(distance=hits.distance + start)
        weight = blend_weight(hits, scale, betas)
        weight = weight / jnp.maximum(weight.sum(0, keepdims=True), TINY)
        return (weight * hits.distance).sum(0), (blend_density(hits, scale, betas), weight)

    if "normal" in outputs:
        depth, pull, (density, weight) = jax.vjp(blended_depth, direction, has_aux=True)
    else:
        depth, (density, weight) = blended_depth(direction)
    fields = {
        "density": lambda: density,
        "alpha": lambda: -jnp.expm1(-density),
        "depth": lambda: depth,
        "normal": lambda: facing_normal(depth, pull(jnp.ones_like(depth))[0], direction),
        "weight": lambda: weight,
        "label": lambda: weight.argmax(0),
        "color": lambda: product("kc,kr->cr", color, weight),
    }
    return {name: fields[name]() for name in outputs}
