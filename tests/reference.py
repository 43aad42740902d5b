"""Slow twin of the renderer in NumPy, float64, written from the paper's equations alone.

Every formula also takes complex numbers, so that derivatives come from a complex step, exact to rounding:
df/dx = Im f(x + ih) / h.  Branches (clipping, sorting, which root, behind the camera) look at real parts only.

Conventions.  x = o + t d is a hit, q = (x - mean)' S (x - mean) with S = L L' its squared Mahalanobis distance,
s = log_weight - q / 2 its log density.  A ray's density is -log(1 - alpha), which is the sum of exp(s) but in the
five-parameter blend.  A hit at t <= 0 is behind the camera: it adds nothing to that sum and has no blending weight,
whatever the blend.  A ray whose hits are all behind has depth and weights 0 and the normal -d / |d|.

The paper's Eq. 9 writes s for the squared distance of Eq. 4, where a good hit is a small s, yet asks for large
weights of good hits and, through Eq. 10, less weight behind the camera.  Here s is the log density, as in the
released programs, and beta_1 > 0.
"""

from typing import NamedTuple

import numpy as np

STEP = 1e-30  # of the complex step; nothing cancels, so it can be this small
TWO_PARAMETER = (np.exp(2.0), np.exp(0.25))  # near and fit of the released program


class Reference(NamedTuple):
    """What the renderer shows; rays keep their leading shape, weights are [mixture, *ray]."""

    density: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    weights: np.ndarray


class Form(NamedTuple):
    """How to render, as the last three parameters of `render_reference`."""

    rule: str = "linear"
    blend: str = "two_parameter"
    betas: tuple = TWO_PARAMETER


class Gradient(NamedTuple):
    """Derivatives of a scalar, in the shapes of what it is differentiated by; zero above L's diagonal."""

    mean: np.ndarray
    precision_cholesky: np.ndarray
    log_weight: np.ndarray
    origin: np.ndarray
    direction: np.ndarray


def render_reference(mixture, rays, scale, rule="linear", blend="two_parameter", betas=TWO_PARAMETER) -> Reference:
    """Images of (mean, precision_cholesky, log_weight) along (origin, direction).

    `rule` is linear, quadratic or cubic; `blend` two_parameter with betas (near, fit), five_parameter with betas
    1 to 5, or sorted, without betas.
    """
    shape = np.shape(rays[1])[:-1]
    inputs, options = _flat_inputs(mixture, rays), (scale, rule, blend, betas)
    density, alpha, depth, weights = _blended(inputs, options)
    normal = _normal(inputs, options)
    return Reference(
        density.reshape(shape),
        alpha.reshape(shape),
        depth.reshape(shape),
        normal.reshape(*shape, 3),
        weights.reshape(len(weights), *shape),
    )


def gradient_reference(mixture, rays, scale, upstream, form=Form()) -> Gradient:
    """Derivatives of sum(upstream[name] * image[name]) over the names in `upstream`.

    Names are density, alpha and depth; arrays are [*ray].
    """
    inputs = _flat_inputs(mixture, rays)
    options = (scale, *form)
    slopes = []
    for position, array in enumerate(inputs):
        slope = np.zeros_like(array)
        per_ray = position >= 3
        for index in np.ndindex(array.shape[1:] if per_ray else array.shape):
            if position == 1 and index[2] > index[1]:
                continue
            entry = (slice(None), *index) if per_ray else index
            change = _derivative(inputs, position, entry, upstream, options)
            slope[entry] = change if per_ray else change.sum()
        slopes.append(slope)
    return Gradient(*slopes[:3], *(slope.reshape(np.shape(rays[1])) for slope in slopes[3:]))


def _flat_inputs(mixture, rays):
    direction = np.asarray(rays[1], float)
    origin = np.broadcast_to(np.asarray(rays[0], float), direction.shape)
    return [*(np.asarray(array, float) for array in mixture), origin.reshape(-1, 3), direction.reshape(-1, 3)]


def _derivative(inputs, position, entry, upstream, options):
    """Per ray, the derivative of its share of the scalar by one entry of one input."""
    moved = [array.astype(complex) for array in inputs]
    moved[position][entry] += 1j * STEP
    density, alpha, depth, _ = _blended(moved, options)
    images = {"density": density, "alpha": alpha, "depth": depth}
    total = sum(images[name] * np.ravel(weight) for name, weight in upstream.items())
    return np.imag(total) / STEP


def _blended(inputs, options):
    """Density, alpha and depth [ray] and weights [mixture, ray]."""
    mean, precision_cholesky, log_weight, origin, direction = inputs
    scale, rule, blend, betas = options
    precision = np.stack([factor @ factor.T for factor in precision_cholesky])
    distance = HITS[rule](precision, origin[None] - mean[:, None], direction[None])
    offset = origin[None] + distance[..., None] * direction[None] - mean[:, None]
    fit = log_weight[:, None] - 0.5 * _form(precision, offset, offset)
    front = distance.real > 0.0
    total = np.where(front, np.exp(fit), 0.0).sum(axis=0)
    logit, density = BLENDS[blend](distance, fit, front, scale, betas)
    logit = np.where(front, logit, -1e300)
    weights = np.where(front, np.exp(logit - logit.real.max(axis=0)), 0.0)
    weights = weights / np.where(front.any(axis=0), weights.sum(axis=0), 1.0)
    density = density(total)
    return density, -np.expm1(-density), (weights * distance).sum(axis=0), weights


def _normal(inputs, options):
    """Normal of the surface o + t(d) d swept by rays of equal length, towards the camera, [ray, 3].

    Its tangents are t e + (grad t . e) d for e orthogonal to d, so the normal is
    grad t - (t + grad t . d) d / |d|^2, where only the part of grad t orthogonal to d matters.
    """
    direction = inputs[4]
    depth = _blended(inputs, options)[2]
    squared = (direction * direction).sum(axis=-1, keepdims=True)
    normal = -np.where(depth > 0.0, depth, 1.0)[:, None] * direction / squared
    if len(direction):
        axis = np.eye(3)[np.argmin(np.abs(direction), axis=-1)]
        first = np.cross(direction, axis)
        second = np.cross(direction, first)
        for tangent in (first, second):
            unit = tangent / np.linalg.norm(tangent, axis=-1, keepdims=True)
            slope = np.imag(_blended([*inputs[:4], direction + 1j * STEP * unit], options)[2]) / STEP
            normal = normal + slope[:, None] * unit
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _form(matrix, left, right):
    """left' matrix right per pair, without conjugation."""
    return (left * (matrix[:, None] * right[..., None, :]).sum(axis=-1)).sum(axis=-1)


def _hit_linear(precision, offset, direction):
    """Densest point of the ray, Eq. 6; `offset` is origin minus mean."""
    return -_form(precision, direction, offset) / _form(precision, direction, direction)


def _hit_quadratic(precision, offset, direction):
    """Nearer crossing of the one-sigma ellipsoid; the densest point where the ray misses it."""
    middle = _hit_linear(precision, offset, direction)
    closest = offset + middle[..., None] * direction
    inside = 1.0 - _form(precision, closest, closest)
    half_chord = np.sqrt(np.where(inside.real > 0.0, inside, 0.0) / _form(precision, direction, direction))
    return middle - half_chord


def _hit_cubic(precision, offset, direction):
    """First local maximum along the ray of the length of the density's gradient, Eq. 7.

    With t = middle + u / sqrt(d' S d) that length squared is, but for a factor, exp(-u^2) (c + b u + a u^2), where
    a u^2 + b u + c = |S (x - mean)|^2; its maxima solve a cubic that comes down from plus infinity.
    """
    middle = _hit_linear(precision, offset, direction)
    steepness = np.sqrt(_form(precision, direction, direction))
    closest = offset + middle[..., None] * direction
    pull = (precision[:, None] * closest[..., None, :]).sum(axis=-1)
    push = (precision[:, None] * (direction / steepness[..., None])[..., None, :]).sum(axis=-1)
    a = (push * push).sum(axis=-1)
    b, c = 2.0 * (pull * push).sum(axis=-1) / a, (pull * pull).sum(axis=-1) / a

    def slope(u):
        return ((-u - b) * u + (1.0 - c)) * u + 0.5 * b

    u = _first_root(lambda u: slope(u).real, b.real, c.real)
    steeper = (-3.0 * u - 2.0 * b) * u + (1.0 - c)
    flat = np.abs(steeper) < 1e-10
    return middle + (u - np.where(flat, 0.0, slope(u)) / np.where(flat, 1.0, steeper)) / steepness


def _first_root(slope, b, c):
    """Smallest root of -u^3 - b u^2 + (1 - c) u + b / 2 by bisection between its turning points."""
    bound = 1.0 + np.maximum(np.abs(b), np.abs(1.0 - c))
    spread = np.sqrt(np.maximum(b * b + 3.0 * (1.0 - c), 0.0))
    valley, hill = (-b - spread) / 3.0, (-b + spread) / 3.0
    turns = spread > 0.0
    early = slope(valley) <= 0.0
    low = np.where(turns & ~early, hill, -bound)
    high = np.where(turns & early, valley, bound)
    for _ in range(130):
        centre = 0.5 * (low + high)
        above = slope(centre) > 0.0
        low, high = np.where(above, centre, low), np.where(above, high, centre)
    return 0.5 * (low + high)


def _blend_two_parameter(distance, fit, front, scale, betas):
    near, quality = betas
    return quality * fit - near * distance / scale, lambda total: total


def _blend_five_parameter(distance, fit, front, scale, betas):
    """Eqs. 5 and 8 to 10; with alpha = 1 / (1 + exp(-x)) the density -log(1 - alpha) is log(1 + exp(x))."""
    quality, near, gate, slope, offset = betas
    ahead = 1.0 / (1.0 + np.exp(-gate * np.where(front, distance, 0.0) / scale))
    logit = quality * fit * ahead - near * distance / scale

    def density(total):
        x = slope * total + offset
        return np.where(x.real > 0.0, x, 0.0) + np.log1p(np.exp(np.where(x.real > 0.0, -x, x)))

    return logit, density


def _blend_sorted(distance, fit, front, scale, betas):
    """Front-to-back compositing: weight opacity_i times the product of (1 - opacity) of all that is nearer."""
    order = np.argsort(distance.real, axis=0, kind="stable")
    thickness = np.where(front, np.exp(fit), 0.0)
    arranged = np.take_along_axis(thickness, order, axis=0)
    passed = np.empty_like(arranged)
    np.put_along_axis(passed, order, np.cumsum(arranged, axis=0) - arranged, axis=0)
    dense = fit.real > -30.0
    log_opacity = np.where(dense, np.log(-np.expm1(-np.exp(np.where(dense, fit, 0.0)))), fit)
    return log_opacity - passed, lambda total: total


HITS = {"linear": _hit_linear, "quadratic": _hit_quadratic, "cubic": _hit_cubic}
BLENDS = {"two_parameter": _blend_two_parameter, "five_parameter": _blend_five_parameter, "sorted": _blend_sorted}
