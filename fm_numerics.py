"""What keeps fm_render.py fast and exact along rays: closed-form gradients, blocks of rays, rays moved near the object.

Copy it together with fm_render.py and fm_tiles.py, which share its small parts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

PAIRS_PER_BLOCK = 200_000  # component x ray, about what two cores keep in cache
LEAST_BLOCK = 256  # rays; below that the overhead of a step shows
LEAST_LOG_WEIGHT = -1e30  # stands in for that of a weight 0, whose differences would be NaN
FLAT = 1e-3  # least slope of the cubic that the gradient of its root sees: bounds it at a double root
Vector = tuple[Array, Array, Array]
product = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)  # no TF32 on a GPU


def dot(a: Vector, b: Vector) -> Array:
    """Inner product over the tuple."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """Cross product over the tuple."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def lower(precision_cholesky: Float[Array, "*component 3 3"], x: Vector | Array) -> Vector:
    """L x of vectors [3][*component, ray]; L is lower triangular, hence the missing terms."""
    (a, _, _), (b, c, _), (d, e, f) = jnp.moveaxis(precision_cholesky, (-2, -1), (0, 1))[..., None]
    return a * x[0], b * x[0] + c * x[1], d * x[0] + e * x[1] + f * x[2]


def transposed(precision_cholesky: Float[Array, "mixture 3 3"], x: Vector | Array) -> Vector:
    """L^T x of vectors [3][mixture, ray]: its length is a Mahalanobis distance."""
    (a, _, _), (b, c, _), (d, e, f) = jnp.moveaxis(precision_cholesky, (-2, -1), (0, 1))[..., None]
    return a * x[0] + b * x[1] + d * x[2], c * x[1] + e * x[2], f * x[2]


class Passes(NamedTuple):
    """How rays pass components, [mixture, ray], in the space where a component is the unit ball.

    `closest` is the densest point's t (Eq. 6), `square` the squared distance d^2 of the mean from it, `rate` |u|^2 of
    the ray's direction u = L^T direction; `bend` gives beta and gamma of Eq. 7's cubic.
    """

    closest: Array
    square: Array
    rate: Array
    bend: Callable[[], tuple[Array, Array]]


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


def laid_out(origin: Array, direction: Array) -> tuple[Array, Array]:
    """The same arrays [3, ray], in memory: as a product with the unit matrix, which XLA does not fuse into its uses.

    Otherwise XLA forms them again for every component, which is 2.5 times slower on a CPU, and more for slices.
    """
    rays = jnp.concatenate([origin, direction])
    rays = product("ij,jr->ir", jnp.eye(len(rays), dtype=rays.dtype), rays)
    return rays[:3], rays[3:]


def smooth_root(beta: Array, gamma: Array) -> Array:
    """`smallest_root` as an implicit function: Newton steps that move nothing, two for exact second derivatives."""
    tau = smallest_root(jax.lax.stop_gradient(beta), jax.lax.stop_gradient(gamma))
    for _ in range(2):
        value = ((tau + 2 * beta) * tau + gamma - 1) * tau - beta
        slope = jnp.maximum((3 * tau + 4 * beta) * tau + gamma - 1, FLAT)
        tau = tau - (value - jax.lax.stop_gradient(value)) / slope
    return tau


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
    return unit(slope - radial[None] * direction, 0)


def unit(vector: Array, axis: int) -> Array:
    """The vector with length 1; 0 stays 0."""
    square = (vector * vector).sum(axis, keepdims=True)
    return vector / jnp.sqrt(jnp.where(square > 0, square, 1))


def shown(outputs: tuple[str, ...], seen: Any, others: dict[str, Callable[[], Array]]) -> dict[str, Array]:
    """The outputs, with the ray last."""
    fields = {
        "density": lambda: seen.density,
        "alpha": lambda: -jnp.expm1(-seen.density),
        "label": lambda: others["weight"]().argmax(0),
    }
    return {name: (fields | others)[name]() for name in outputs}


def choose(kind: str, name: str, allowed) -> None:
    """ValueError that names what is allowed, if `name` is not."""
    if name not in allowed:
        raise ValueError(f"{kind} {name!r} is not one of {', '.join(allowed)}")


@contextmanager
def reverse_alone(advice: str) -> Iterator[None]:
    """What JAX says of forward mode within, with the advice behind it. Under `jit` JAX says it later, by itself."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(f"{error} {advice}") from error


def check_shapes(mixture) -> None:
    """ValueError unless the mixture's arrays have their declared shapes, which broadcasting would hide."""
    if jnp.ndim(mixture.mean) == 3:
        raise ValueError(f"mixture.mean has shape {jnp.shape(mixture.mean)}; for a batch of mixtures use jax.vmap")
    count = mixture.mean.shape[0] if mixture.mean.ndim == 2 else 0
    for name, shape in zip(mixture._fields, ((count, 3), (count, 3, 3), (count,)), strict=True):
        found = jnp.shape(getattr(mixture, name))
        if found != shape or not count:
            raise ValueError(f"mixture.{name} has shape {found}; must be {shape} for {count} components, at least 1")
