"""Renderer for mixtures of Gaussians, "fuzzy metaballs" (Keselman & Hebert, ECCV 2022), whose equations are cited.

With fm_numerics.py and fm_tiles.py, which make it fast, it can be copied alone: they need JAX, NumPy and jaxtyping.
`render_views` draws the images of pinhole cameras, `views_loss` adds up what a loss makes of their pixels, and `render`
follows any rays. A rule from INTERSECTIONS says where a ray hits a component, and a blend from BLENDINGS mixes the hits
of all. Arrays are [mixture, ray], the longest axis last, and a 3-vector is a tuple of three.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Float

from fm_numerics import (
    LEAST_LOG_WEIGHT,
    Passes,
    Vector,
    check_shapes,
    choose,
    dot,
    facing_normal,
    in_blocks,
    lower,
    nearby,
    product,
    reverse_alone,
    shown,
    smooth_root,
    transposed,
    unit,
    with_closed_form,
)
from fm_tiles import (
    Block,
    Cameras,
    Outlines,
    Task,
    Tiles,
    cut,
    joined,
    passes_at,
    pixel_offsets,
    project,
    side_of,
    tile_images,
    tile_loss,
    tiles_of,
)

GRADIENTS = ("closed_form", "autodiff")
RIM = 1e-6  # least 1 - d^2 that the slope of the one-sigma root sees
FORWARD = 'Follow rays by render(..., settings="autodiff").'  # advice of what knows reverse mode alone
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

    gradient: "closed_form" (reverse mode and Hessians; autodiff for the rules that have none) or "autodiff" (forward
    mode too). Wherever settings are asked for, a name does: that of a rule, a blend or a gradient, the rest by default.
    """

    intersection: str = "linear"
    blending: str = "two_parameter"
    gradient: str = "closed_form"
    betas: TwoBetas | FiveBetas | tuple[()] | None = None


class Hits(NamedTuple):
    """Where each ray hits each component, t, and how dense it is there, s = log_weight - d^2 / 2."""

    distance: Float[Array, "mixture ray"]
    log_density: Float[Array, "mixture ray"]


def passes(mixture: Mixture, origin: Array, direction: Array) -> Passes:
    """How rays [3, ray] pass the components: u = L^T direction, q = L^T (mean - origin), t = u.q / |u|^2."""
    factor = mixture.precision_cholesky
    u = transposed(factor, direction[:, None])
    q = transposed(factor, mixture.mean.T[..., None] - origin[:, None])
    rate = dot(u, u)
    closest = dot(u, q) / rate
    rest = tuple(a - closest * b for a, b in zip(q, u, strict=True))
    return Passes(closest, dot(rest, rest), rate, lambda: bend(partial(lower, factor), u, rest))


def bend(times: Callable[[Vector], Vector], direction: Vector, rest: Vector) -> tuple[Array, Array]:
    """beta = -Lu . Lr / |Lu|^2 and gamma = |Lr|^2 / |Lu|^2, u of unit length, r from the densest point to the mean.

    `times` multiplies by L.
    """
    speed = jnp.sqrt(dot(direction, direction))
    along, across = times(tuple(u / speed for u in direction)), times(rest)
    square = dot(along, along)
    return -dot(along, across) / square, dot(across, across) / square


def intersect_linear(passes: Passes, log_weight: Array) -> Hits:
    """At the densest point on the ray (Eq. 6)."""
    return Hits(passes.closest, log_weight - passes.square / 2)


def intersect_quadratic(passes: Passes, log_weight: Array) -> Hits:
    """On the near side of the one-sigma ellipsoid; where the ray misses it, at the densest point."""
    inside = 1 - passes.square
    before = jnp.where(inside > 0, jnp.sqrt(jnp.maximum(inside, RIM) / passes.rate), 0)
    return Hits(passes.closest - before, log_weight - jnp.maximum(passes.square, 1) / 2)


def intersect_cubic(passes: Passes, log_weight: Array) -> Hits:
    """At the first maximum along the ray of the density's gradient magnitude (Eq. 7).

    For tau, the whitened distance from the densest point, the maxima are roots of
    tau^3 + 2 beta tau^2 + (gamma - 1) tau - beta.
    """
    tau = smooth_root(*passes.bend())
    return Hits(passes.closest + tau / jnp.sqrt(passes.rate), log_weight - (passes.square + tau * tau) / 2)


def linear_slopes(passes: Passes, g_t: Array | None, g_s: Array) -> tuple[Array, Array | None]:
    """(g, h) of `with_closed_form`: t maximises s, so that it drops out of the gradient of s (envelope theorem)."""
    return g_s, None if g_t is None else g_t / passes.rate


def quadratic_slopes(passes: Passes, g_t: Array | None, g_s: Array) -> tuple[Array, Array | None]:
    """(g, h) of `with_closed_form`: on the ellipsoid s is constant and dt = -ds / sqrt(inside |u|^2); else linear."""
    inside = 1 - passes.square
    g_t = jnp.zeros_like(g_s) if g_t is None else g_t
    hit = -g_t / jnp.sqrt(jnp.maximum(inside, RIM) * passes.rate)
    return jnp.where(inside > 0, hit, g_s), jnp.where(inside > 0, 0, g_t / passes.rate)


class Intersection(NamedTuple):
    """A rule: hits, up to `margin` in whitened length from the densest point, and slopes along rays, if known."""

    hits: Callable[[Passes, Array], Hits]
    margin: float
    slopes: Callable[[Passes, Array | None, Array], tuple[Array, Array | None]] | None = None


INTERSECTIONS = {
    "linear": Intersection(intersect_linear, 0.0, linear_slopes),
    "quadratic": Intersection(intersect_quadratic, 1.0, quadratic_slopes),
    "cubic": Intersection(intersect_cubic, 2.0),
}


def trace(settings: Settings, mixture: Mixture, origin: Array, direction: Array) -> Hits:
    """Hits of all pairs by one rule, for rays [3, ray] that start near the mixture."""
    rule, _, closed = INTERSECTIONS[settings.intersection]

    def hits(mixture: Mixture, origin: Array, direction: Array) -> Hits:
        return rule(passes(mixture, origin, direction), mixture.log_weight[:, None])

    def slopes(mixture: Mixture, origin: Array, direction: Array, *g_hits: Array | None) -> tuple:
        seen = passes(mixture, origin, direction)
        return rule(seen, jnp.zeros((), origin.dtype)).distance, *closed(seen, *g_hits)

    traced = with_closed_form(hits, slopes) if closed and settings.gradient == "closed_form" else hits
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


def five_parameter_reach(betas: FiveBetas) -> tuple[Array, Array, Array]:
    """`Blending.reach`: in front of the camera h lies between 1/2 and 1, unless beta 3 is below 0."""
    return betas.fit, betas.fit / 2, jnp.where(jnp.asarray(betas.front) < 0, -1, betas.near)


def sorted_weight(hits: Hits, scale: Array, betas: tuple) -> Array:
    """Front-to-back alpha compositing; in logs, so that rays that miss everything keep a depth and a gradient."""
    order = jnp.argsort(stop_gradient(hits.distance), axis=0)
    density = jnp.exp(hits.log_density)
    ahead = jnp.take_along_axis(jnp.where(hits.distance > 0, density, 0), order, axis=0)
    before = jnp.take_along_axis(jnp.cumsum(ahead, axis=0) - ahead, jnp.argsort(order, axis=0), axis=0)
    thin = density < TINY
    opacity = -jnp.expm1(-jnp.where(thin, 1, density))
    return softmax_weight(jnp.where(thin, hits.log_density, jnp.log(opacity)) - before, hits)


class Blending(NamedTuple):
    """A blend: density [ray], unnormalised weight [mixture, ray], its default betas, and how far weights reach.

    Log weights lie between steep s - near t / scale and flat s - near t / scale, (steep, flat, near) = reach(betas).
    Where one of them is below 0, tiles go through all components.
    """

    density: Callable[[Hits, Array, Any], Array]
    weight: Callable[[Hits, Array, Any], Array]
    betas: Any
    reach: Callable[[Any], tuple]


BLENDINGS = {
    "two_parameter": Blending(density_in_front, two_parameter_weight, TwoBetas(), lambda b: (b.fit, b.fit, b.near)),
    "five_parameter": Blending(five_parameter_density, five_parameter_weight, FiveBetas(), five_parameter_reach),
    "sorted": Blending(density_in_front, sorted_weight, (), lambda b: (1, 1, 0)),
}


def blend(settings: Settings, hits: Hits, scale: Array) -> Rendering:
    """Density and mean depth of the hits of each ray, and what each hit [mixture, ray] weighs in it."""
    blending = BLENDINGS[settings.blending]
    weight = blending.weight(hits, scale, settings.betas)
    weight = weight / jnp.maximum(weight.sum(0, keepdims=True), TINY)
    density, depth = blending.density(hits, scale, settings.betas), (weight * hits.distance).sum(0)
    return Rendering(density=density, depth=depth, weight=weight)


def render(
    mixture: Mixture,
    rays: Rays,
    scale: Array | float = 1.0,
    outputs: tuple[str, ...] = ("alpha", "depth"),
    settings: Settings | str = Settings(),
    color: Float[Array, "mixture 3"] | None = None,
) -> Rendering:
    """The outputs named (fields of Rendering) along rays of any batch shape; nothing else is calculated.

    `scale` is eta, the object's size in the rays' unit (3 x its mean standard deviation); `color` each component's.
    Every ray meets every component; for images `render_views` is faster, for a batch of mixtures use `jax.vmap`.
    Measured in float32, components as thin as 1/200, cameras 3 to 100 scales away: alpha within 1e-5, depth 5e-5 of the
    scale (3e-4 where alpha < 1e-3), gradients 1.4e-3 of their field's largest entry at worst, 2e-5 in the median.
    ValueError for an unknown output, rule, blend or gradient, "color" without `color`, shapes that do not fit.
    """
    settings = settings_of(settings)
    outputs = checked(mixture, outputs, settings, color)
    for name, array in rays._asdict().items():
        if not array.ndim or array.shape[-1] != 3:
            raise ValueError(f"rays.{name} has shape {array.shape}; its last axis must be 3")
    dtype = jnp.result_type(mixture.mean, rays.origin, rays.direction)
    shape = jnp.broadcast_shapes(rays.origin.shape, rays.direction.shape)[:-1]
    flat = jnp.concatenate([jnp.broadcast_to(x, (*shape, 3)).reshape(-1, 3).T for x in rays]).astype(dtype)
    mixture, scale, settings, color = prepared(mixture, scale, settings, color, dtype)
    block = partial(_render_block, dataclasses.replace(settings, betas=None), outputs)
    common = (mixture, scale, settings.betas, color)
    with reverse_alone('Use render(..., settings="autodiff").'):
        results = in_blocks(block, common, flat, len(mixture.mean), settings.gradient == "closed_form")
    return Rendering(**{name: x.T.reshape(*shape, *x.shape[:-1]) for name, x in results.items()})


def settings_of(settings: Settings | str) -> Settings:
    """The settings, or those of a name."""
    if not isinstance(settings, str):
        return settings
    names = {"intersection": INTERSECTIONS, "blending": BLENDINGS, "gradient": GRADIENTS}
    choose("settings", settings, [name for table in names.values() for name in table])
    return Settings(**{field: settings for field, table in names.items() if settings in table})


def _render_block(settings: Settings, outputs: tuple[str, ...], common: tuple, rays: Array) -> dict[str, Array]:
    """`render` for rays [6, ray]; every result has the ray last."""
    (mixture, scale, betas, color), origin, direction = common, rays[:3], rays[3:]
    settings = dataclasses.replace(settings, betas=betas)

    def depth(direction: Array) -> tuple[Array, Rendering]:
        start, near_mixture, near_rays = nearby(mixture, origin, direction)
        hits = trace(settings, near_mixture, *near_rays)
        seen = blend(settings, hits._replace(distance=hits.distance + start), scale)
        return seen.depth, seen

    if "normal" in outputs:
        value, pull, seen = jax.vjp(depth, direction, has_aux=True)
    else:
        value, seen = depth(direction)
    others = {
        "depth": lambda: value,
        "normal": lambda: facing_normal(value, pull(jnp.ones_like(value))[0], direction),
        "weight": lambda: seen.weight,
        "color": lambda: product("kc,kr->cr", color, seen.weight),
    }
    return shown(outputs, seen, others)


def render_views(  # noqa: PLR0913 - as `render`, and the size
    mixture: Mixture,
    cameras: Cameras,
    image_size: tuple[int, int],
    scale: Array | float = 1.0,
    outputs: tuple[str, ...] = ("alpha", "depth"),
    settings: Settings | str = Settings(),
    color: Float[Array, "mixture 3"] | None = None,
) -> Rendering:
    """The outputs named (fields of Rendering), [view, height, width(, last)], as cameras see them.

    They are those of `render` along the rays of the pixels, t being the depth, but a tile of an image goes through the
    components that reach it alone: each one left out adds less than EPSILON to what the others make of its pixels.
    Reverse mode; slopes by a camera's turn hold for changes that leave it a rotation. `settings.gradient` is not read.
    """
    sight = Sight(scale, outputs, settings, color)
    views, side = len(cameras.intrinsics), side_of(image_size)
    task, given, tiles = in_tiles(mixture, cameras, tiles_of(views, image_size, side), side, sight)
    with reverse_alone(FORWARD):
        parts = tile_images(task, given, tiles)
    images = {name: joined(x, views, image_size) for name, x in parts.items()}
    if "normal" in images:  # [a, b, c] of the plane through the surface, in the image's own coordinates
        turn, intrinsics = (jnp.asarray(x, given[0].dtype) for x in (cameras.world_from_camera, cameras.intrinsics))
        images["normal"] = unit(product("vik,vlk,vhwl->vhwi", turn[:, :3, :3], intrinsics, images["normal"]), -1)
    return Rendering(**images)


class Sight(NamedTuple):
    """What is rendered, and how: the arguments of `render` after the rays."""

    scale: Array | float = 1.0
    outputs: tuple[str, ...] = ("density",)
    settings: Settings | str = Settings()
    color: Array | None = None


def views_loss(
    loss: Callable[[Rendering, Any], Array],
    mixture: Mixture,
    cameras: Cameras,
    target: Any,
    sight: Sight = Sight(),
) -> Float[Array, ""]:
    """Sum over all pixels of `loss(rendering, target)`, a number for each pixel; its slope is taken in the same pass.

    `target` is an array or a tree of arrays [view, height, width, ...], weights and masks among them. It has no
    gradient, and the loss may use nothing else that has one. Reverse mode, once.
    """
    shape = jax.tree.leaves(target)[0].shape
    side = side_of(shape[1:3])
    parts = jax.tree.map(lambda x: stop_gradient(cut(jnp.asarray(x), side)), (jnp.ones(shape[:3], bool), target))

    def inner(fields: dict[str, Array], now: tuple) -> Array:
        inside, target = now
        return jnp.where(inside, loss(Rendering(**fields), target), 0)

    task, given, tiles = in_tiles(mixture, cameras, tiles_of(shape[0], shape[1:3], side), side, sight)
    with reverse_alone(FORWARD):
        return tile_loss(task._replace(loss=inner), given, tiles, parts)


def in_tiles(mixture: Mixture, cameras: Cameras, tiles: Tiles, side: int, sight: Sight) -> tuple[Task, tuple, Tiles]:
    """The task, what it is given, and the tiles, as fm_tiles.py needs them."""
    scale, outputs, settings, color = sight._replace(settings=settings_of(sight.settings))
    outputs = checked(mixture, outputs, settings, color)
    dtype = jnp.result_type(mixture.mean)
    cameras, middle = jax.tree.map(lambda x: jnp.asarray(x, dtype), (cameras, tiles.middle))
    mixture, scale, settings, color = prepared(mixture, scale, settings, color, dtype)
    curved, opaque = settings.intersection == "cubic", {"density", "alpha"}
    task = Task(
        draw=partial(draw_tiles, (settings.intersection, settings.blending, outputs)),
        reach=BLENDINGS[settings.blending].reach,
        margin=INTERSECTIONS[settings.intersection].margin,
        curved=curved,
        density=bool(opaque & set(outputs)),
        weight=bool(set(outputs) - opaque),
        mixtures=len(mixture.mean),
        side=side,
    )
    given = project(mixture, cameras, color, curved), (scale, settings.betas)
    return task, given, Tiles(jnp.asarray(tiles.view), middle)


def draw_tiles(
    names: tuple[str, str, tuple[str, ...]], task: Task, seen: Outlines, block: Block, shared: tuple
) -> dict[str, Array]:
    """The outputs [tile, pixel, ...] of the components seen in a block of tiles."""
    rule, blending, outputs = names
    (scale, betas), place, half = shared, pixel_offsets(task.side, block.middle.dtype), task.side / 2

    def hits(place: Array) -> Hits:
        found = INTERSECTIONS[rule].hits(passes_at(seen, bend, place), seen.log_weight[..., None])
        return Hits(*(x.reshape(len(x), -1) for x in found))

    def depth(place: Array) -> Array:
        return blend(settings, hits(place), scale).depth

    settings = Settings(rule, blending, betas=betas)
    blended = blend(settings, hits(place), scale)
    tiles = len(block.middle)

    def plane() -> Array:
        x, y = (jnp.ravel(block.middle[:, axis, None] + half * place[axis][None]) for axis in range(2))
        ways = (jnp.zeros_like(place).at[axis].set(1 / half) for axis in range(2))
        a, b = (jax.jvp(depth, (place,), (way,))[1] for way in ways)  # a pixel's depth moves with its own place alone
        return jnp.stack([a, b, -(blended.depth + x * a + y * b)])

    def weight() -> Array:
        parts = blended.weight.reshape(*block.number.shape, -1)
        whole = jnp.zeros((task.mixtures, *parts.shape[1:]), parts.dtype)
        return whole.at[block.number, jnp.arange(tiles)].add(parts).reshape(task.mixtures, -1)

    def color() -> Array:
        return product("ckt,ktp->ctp", seen.color, blended.weight.reshape(*block.number.shape, -1)).reshape(3, -1)

    fields = shown(
        outputs, blended, {"depth": lambda: blended.depth, "normal": plane, "weight": weight, "color": color}
    )
    return {name: x.T.reshape(tiles, -1, *x.shape[:-1]) for name, x in fields.items()}


def prepared(mixture: Mixture, scale: Any, settings: Settings, color: Any, dtype: Any) -> tuple:
    """The same as arrays of one type, weights of 0 and missing betas filled in."""
    betas = BLENDINGS[settings.blending].betas if settings.betas is None else settings.betas
    mixture = mixture._replace(log_weight=jnp.maximum(mixture.log_weight, LEAST_LOG_WEIGHT))
    mixture, scale, betas, color = jax.tree.map(lambda x: jnp.asarray(x, dtype), (mixture, scale, betas, color))
    return mixture, scale, dataclasses.replace(settings, betas=betas), color


def checked(mixture: Mixture, outputs: str | tuple[str, ...], settings: Settings, color: Any) -> tuple[str, ...]:
    """The outputs; ValueError for an unknown name, a missing colour, or shapes that broadcasting would hide."""
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in outputs:
        choose("output", name, Rendering._fields)
    choose("intersection", settings.intersection, INTERSECTIONS)
    choose("blending", settings.blending, BLENDINGS)
    choose("gradient", settings.gradient, GRADIENTS)
    if "color" in outputs and color is None:
        raise ValueError("output 'color' needs the components' colors: render(..., color=...)")
    check_shapes(mixture)
    return outputs
