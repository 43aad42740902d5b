"""Renderer for mixtures of Gaussians, "fuzzy metaballs" (Keselman & Hebert, ECCV 2022), whose equations are cited.

This file can be copied alone: it needs JAX, NumPy and jaxtyping. `render` is the entry. A rule from INTERSECTIONS says
where a ray hits a component, and a blend from BLENDINGS mixes the hits of all. Arrays are [mixture, ray], the longest
axis last, and a 3-vector is a tuple of three: explicit arithmetic fuses, small matrix products do not. The second half,
below `_render_block`, keeps this fast and exact: closed-form gradients, blocks of rays, rays moved near the object.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float

LEAST_LOG_WEIGHT = -1e30  # stands in for that of a weight 0, whose differences would be NaN
RIM = 1e-6  # least 1 - d^2 that the slope of the one-sigma root sees
TINY = 1e-12  # keeps quotients finite where nothing is left to divide by; its square is still a float32
Vector = tuple[Array, Array, Array]
product = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)  # no TF32 on a GPU


def dot(a: Vector, b: Vector) -> Array:
    """Inner product over the tuple."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


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


def lower(precision_cholesky: Float[Array, "mixture 3 3"], x: Vector | Array) -> Vector:
    """L x of vectors [3][mixture, ray]; L is lower triangular, hence the missing terms."""
    (a, _, _), (b, c, _), (d, e, f) = precision_cholesky.transpose(1, 2, 0)[..., None]
    return a * x[0], b * x[0] + c * x[1], d * x[0] + e * x[1] + f * x[2]


def transposed(precision_cholesky: Float[Array, "mixture 3 3"], x: Vector | Array) -> Vector:
    """L^T x of vectors [3][mixture, ray]: its length is a Mahalanobis distance."""
    (a, _, _), (b, c, _), (d, e, f) = precision_cholesky.transpose(1, 2, 0)[..., None]
    return a * x[0] + b * x[1] + d * x[2], c * x[1] + e * x[2], f * x[2]


def whiten(mixture: Mixture, origin: Array, direction: Array) -> Pairs:
    """Every ray [3, ray] in every component's space."""
    factor = mixture.precision_cholesky
    offset = transposed(factor, mixture.mean.T[..., None] - origin[:, None])
    return Pairs(transposed(factor, direction[:, None]), offset, factor)


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
    unit = tuple(u / speed for u in pairs.direction)
    along, across = (lower(pairs.precision_cholesky, x) for x in (unit, residual(pairs, closest)))
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


PAIRS_PER_BLOCK = 200_000  # component x ray, about what two cores keep in cache
FLAT = 1e-3  # least slope of the cubic that the gradient of its root sees: bounds it at a double root
LEAST_BLOCK = 256  # rays; below that the overhead of a step shows


def with_closed_form(trace: Callable, slopes: Callable) -> Callable:
    """`trace(mixture, origin, direction) -> Hits` with its gradient as moments of the rays; reverse mode only.

    `slopes(mixture, origin, direction, g_t, g_s)` gives (t, g, h), h None for 0 where g_t is None for 0. At fixed t the
    gradient is that of sum(g s - h direction . Sigma^-1 v), v from the mean to the hit. With z = (1, o), d = (0, d) and
    the component's quadric Q (X^T Q X = |L^T v|^2 for X = z + t d) that is -1/2 tr(Q M), M the sum over rays of
    g X X^T + h (d X^T + X d^T): products of z and d, summed with three weights [mixture, ray]. Nothing of size
    mixture x ray x 3 is stored.
    """

    def forward(*primals):
        inputs = jax.tree.map(lambda x: x.value, primals, is_leaf=lambda x: hasattr(x, "perturbed"))
        return trace(*inputs), inputs

    def backward(inputs: tuple, g_hits):
        mixture, origin, direction = inputs
        g_t, g_s = (None if isinstance(g, jax.custom_derivatives.SymbolicZero) else g for g in g_hits)
        g_s = jnp.zeros(g_hits.log_density.shape, origin.dtype) if g_s is None else g_s
        t, g, h = slopes(mixture, origin, direction, g_t, g_s)
        weights = (g, g * t, g * t * t) if h is None else (g, g * t + h, (g * t + 2 * h) * t)
        z = jnp.pad(origin, ((1, 0), (0, 0)), constant_values=1)
        quadric, pull = jax.vjp(_quadric, mixture.mean, mixture.precision_cholesky)
        g_mean, g_cholesky = pull(-_second_moment(weights, z, direction) / 2)
        d = jnp.pad(direction, ((1, 0), (0, 0)))
        qz, qzd, qd = (product("kij,kr->ijr", quadric, w) for w in weights)
        g_origin, g_direction = (-((a * z[None]).sum(1) + (b * d[None]).sum(1))[1:] for a, b in ((qz, qzd), (qzd, qd)))
        return type(mixture)(g_mean, g_cholesky, g_s.sum(1)), g_origin, g_direction

    closed_form = jax.custom_vjp(trace)
    closed_form.defvjp(forward, backward, symbolic_zeros=True)
    return closed_form


def _second_moment(weights: Vector, z: Array, direction: Array) -> Array:
    """M [mixture, 4, 4] of `with_closed_form`; of symmetric products only one half is summed."""

    def summed(weight: Array, a: Array, b: Array) -> Array:
        rows = [x * (b[i:] if a is b else b) for i, x in enumerate(a[:, None])]
        return product("kr,ir->ki", weight, jnp.concatenate(rows))

    def symmetric(values: Array, size: int) -> Array:
        rows, columns = np.triu_indices(size)
        place = np.zeros((size, size), int)
        place[rows, columns] = place[columns, rows] = np.arange(len(rows))
        return values[:, place]

    zz = symmetric(summed(weights[0], z, z), 4)
    zd = jnp.pad(summed(weights[1], z, direction).reshape(-1, 4, 3), ((0, 0), (0, 0), (1, 0)))
    dd = jnp.pad(symmetric(summed(weights[2], direction, direction), 3), ((0, 0), (1, 0), (1, 0)))
    return zz + zd + zd.mT + dd


def _quadric(mean: Array, precision_cholesky: Array) -> Array:
    """Q = P^T P with P = L^T (-mean, I), [mixture, 4, 4]."""
    eye = jnp.broadcast_to(jnp.eye(3, dtype=mean.dtype), precision_cholesky.shape)
    p = product("kji,kjl->kil", jnp.tril(precision_cholesky), jnp.concatenate([-mean[..., None], eye], axis=-1))
    return product("kji,kjl->kil", p, p)


def in_blocks(function: Callable, common: tuple, rays: Array, mixtures: int, closed: bool) -> dict[str, Array]:
    """`function(common, rays [6, ray])`, a dict of arrays with the ray last, in blocks of rays.

    Beside the results, both passes need the memory of one block. `closed`: the backward pass adds up one block's
    gradient at a time and refuses forward mode; else JAX differentiates the loop in either mode.
    """
    count = rays.shape[1]
    blocks = -(-count // max(LEAST_BLOCK, PAIRS_PER_BLOCK // mixtures))
    if blocks <= 1:
        return function(common, rays)
    size = -(-count // (64 * blocks)) * 64
    padded = jnp.pad(rays, ((0, 0), (0, blocks * size - count)), mode="edge")
    stacked = padded.reshape(6, blocks, size).swapaxes(0, 1)
    results = (_map_closed_form if closed else _map)(function, common, stacked)
    return {name: jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)[..., :count] for name, x in results.items()}


def _map(function: Callable, common: tuple, stacked: Array) -> dict[str, Array]:
    return _scan(jax.checkpoint(lambda common, rays: ((), function(common, rays))), common, stacked)[1]


def _map_backward(function: Callable, inputs: tuple, g_results: dict[str, Array]):
    return _scan(lambda common, rays, g_block: jax.vjp(function, common, rays)[1](g_block), *inputs, g_results)


_map_closed_form = jax.custom_vjp(_map, nondiff_argnums=(0,))
_map_closed_form.defvjp(lambda function, *inputs: (_map(function, *inputs), inputs), _map_backward)


def _scan(function: Callable, common: tuple, *stacked):
    """Sum of the first and stack of the second result of function(common, *block)."""
    part, _ = jax.eval_shape(function, common, *jax.tree.map(lambda x: x[0], stacked))

    def step(total, block):
        part, result = function(common, *block)
        return jax.tree.map(jnp.add, total, part), result

    return jax.lax.scan(step, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), part), stacked)


def nearby(mixture, origin: Array, direction: Array) -> tuple:
    """(start, mixture about its middle, (origin + start x direction about that middle, direction)).

    The rays begin where they pass the middle, since far cameras cost digits: q and t u grow with the distance, their
    difference does not. Hits stay the same, so start has no gradient. It keeps half of the digits, as does the
    direction that it is first multiplied with: their product is exact, and what its sum with the origin loses is added
    once the middle is subtracted.
    """
    middle = jax.lax.stop_gradient(mixture.mean.mean(0))[:, None]
    digits = jnp.finfo(origin.dtype)
    half = partial(jax.lax.reduce_precision, exponent_bits=digits.nexp, mantissa_bits=digits.nmant // 2)
    start = -((origin - middle) * direction).sum(0, keepdims=True) / (direction * direction).sum(0, keepdims=True)
    start, coarse = half(jax.lax.stop_gradient(start)), half(jax.lax.stop_gradient(direction))
    step, near = start * coarse, origin + start * coarse
    lost = jax.lax.stop_gradient((origin - (near - (near - origin))) + (step - (near - origin)))
    moved = (near - middle) + (lost + start * (direction - coarse))
    return start, mixture._replace(mean=mixture.mean - middle.T), laid_out(moved, direction)


def smooth_root(beta: Array, gamma: Array) -> Array:
    """`smallest_root` as an implicit function: Newton steps that move nothing, two for exact second derivatives."""
    tau = smallest_root(jax.lax.stop_gradient(beta), jax.lax.stop_gradient(gamma))
    for _ in range(2):
        value = ((tau + 2 * beta) * tau + gamma - 1) * tau - beta
        slope = jnp.maximum((3 * tau + 4 * beta) * tau + gamma - 1, FLAT)
        tau = tau - (value - jax.lax.stop_gradient(value)) / slope
    return tau


def laid_out(origin: Array, direction: Array) -> tuple[Array, Array]:
    """The same arrays [3, ray], in memory: as a product with the unit matrix, which XLA does not fuse into its uses.

    Otherwise XLA forms them again for every component, which is 2.5 times slower on a CPU, and more for slices.
    """
    rays = jnp.concatenate([origin, direction])
    rays = product("ij,jr->ir", jnp.eye(len(rays), dtype=rays.dtype), rays)
    return rays[:3], rays[3:]


def smallest_root(beta: Array, gamma: Array) -> Array:
    """Smallest real root of tau^3 + 2 beta tau^2 + (gamma - 1) tau - beta, for gamma >= beta^2.

    Scaled so that no coefficient exceeds 2 (float32 overflows at beta^6 otherwise); trigonometric for three real roots,
    else Cardano's formula without its subtraction; bounded Newton steps restore the digits.
    """
    unit = jnp.maximum(jnp.sqrt(gamma), 1)
    c2, c1, c0 = 2 * beta / unit, (gamma - 1) / unit**2, -beta / unit**3
    q, r = (c2**2 - 3 * c1) / 9, (2 * c2**3 - 9 * c2 * c1 + 27 * c0) / 54
    cube = jnp.maximum(q, 0) ** 3
    three = r**2 < cube
    angle = jnp.arccos(jnp.clip(r / jnp.sqrt(jnp.where(three, cube, 1)), -1, 1))
    big = -jnp.sign(r) * jnp.cbrt(jnp.abs(r) + jnp.sqrt(jnp.maximum(r**2 - q**3, 0)))
    single = big + jnp.where(big == 0, 0, q / jnp.where(big == 0, 1, big))
    x = jnp.where(three, -2 * jnp.sqrt(jnp.maximum(q, 0)) * jnp.cos(angle / 3), single) - c2 / 3
    flat = jnp.finfo(x.dtype).eps ** 0.5  # near a double root the value is rounding alone: no step off it
    for _ in range(2):
        value, slope = ((x + c2) * x + c1) * x + c0, (3 * x + 2 * c2) * x + c1
        x = x - jnp.clip(value / jnp.maximum(slope, flat), -0.1, 0.1)
    return x * unit


def facing_normal(depth: Array, slope: Array, direction: Array) -> Array:
    """Unit normal [3, ray] towards the camera, from the depth's slope by the direction; 0 where nothing is seen."""
    radial = (depth + (slope * direction).sum(0)) / (direction * direction).sum(0)
    facing = slope - radial[None] * direction
    square = (facing * facing).sum(0, keepdims=True)
    return facing / jnp.sqrt(jnp.where(square > 0, square, 1))


def check(mixture, rays, choices: list[tuple]) -> None:
    """ValueError unless each (kind, name, allowed) is a choice and shapes are as declared, which broadcasting hides."""
    for choice in choices:
        choose(*choice)
    count = mixture.mean.shape[0] if mixture.mean.ndim == 2 else 0
    for name, shape in zip(mixture._fields, ((count, 3), (count, 3, 3), (count,)), strict=True):
        found = jnp.shape(getattr(mixture, name))
        if found != shape or not count:
            raise ValueError(f"mixture.{name} has shape {found}; must be {shape} for {count} components, at least 1")
    for name, array in rays._asdict().items():
        if not array.ndim or array.shape[-1] != 3:
            raise ValueError(f"rays.{name} has shape {array.shape}; its last axis must be 3")


def choose(kind: str, name: str, allowed) -> None:
    """ValueError that names what is allowed, if `name` is not."""
    if name not in allowed:
        raise ValueError(f"{kind} {name!r} is not one of {', '.join(allowed)}")
