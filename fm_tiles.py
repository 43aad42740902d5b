"""What makes the images of fm_render.py fast: they are drawn in tiles.

A component's d^2 and t are quotients of polynomials of the pixel (`project`). A tile goes through the components that
reach it and no others (`met`). Tiles that need most components come first, and blocks of them have room for as many as
their first one needs (`over_blocks`), so that nothing is ever dropped for want of room. Gradients are taken block by
block: nothing of size component x pixel is kept.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jaxtyping import Bool, Float, Int

from fm_numerics import LEAST_LOG_WEIGHT, Passes, Vector, dot, product

EPSILON = 1e-7  # share of a pixel's density, and of its weights, that a component left out may have
SMALL_IMAGE, SIDES = 128**2, (8, 16)  # pixels of a tile's side, for images up to that many pixels and for larger ones
PAIRS_PER_BLOCK = {"cpu": 2**14}  # component x pixel, drawn at once: what a CPU's cache holds; elsewhere MANY
MANY = 2**24
CLASSES = (8, 20, 48, 120, 300, 750, 1900, 4800, 12_000)  # numbers of components that a block may have room for
PAIRS_PER_TEST = 2**20  # component x tile, asked at once whether they meet
GRAZING = 0.05  # sine of the angle to the image plane below which a component's place in the image means nothing
BEHIND = -1e9  # where the hits of components that do not count lie
TERMS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of a quadratic in 1, x, y
PARALLEL_SINE = 1e-6  # where the sine of the angle to `up` is smaller, `up` cannot decide the roll
LEAST_RATE = 1e-3  # of |u| in a tile's middle: bounds the farthest that a hit can be


class Cameras(NamedTuple):
    """Pinhole cameras, x right, y down, z forward; the centre of the first pixel is at (0.5, 0.5) of the image."""

    world_from_camera: Float[Array | np.ndarray, "view 4 4"]
    intrinsics: Float[Array | np.ndarray, "view 3 3"]

    @classmethod
    def look_at(
        cls,
        position: Any,
        target: Any = (0.0, 0.0, 0.0),
        up: Any = (0.0, 1.0, 0.0),
        size: tuple[int, int] = (64, 64),
        vfov_degrees: float = 45.0,
    ) -> "Cameras":
        """Cameras at `position` ([3] or [view, 3]) that look at `target`, for images of `size` = (height, width).

        Raises ValueError as `look_at` and `pinhole_intrinsics` do.
        """
        pose = look_at(position, target, up).reshape(-1, 4, 4)
        return cls(pose, np.tile(pinhole_intrinsics(*size, vfov_degrees), (len(pose), 1, 1)))


def pinhole_intrinsics(height: int, width: int, vfov_degrees: float) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of square pixels with the principal point in the middle of the image.

    Raises ValueError for an empty image or a field of view outside (0, 180) degrees.
    """
    if height < 1 or width < 1:
        raise ValueError(f"image of {width} x {height} pixels: both sides must be at least 1")
    if not 0.0 < vfov_degrees < 180.0:
        raise ValueError(f"vfov_degrees {vfov_degrees}: must lie between 0 and 180")
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(vfov_degrees))
    return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])


def look_at(position: Any, target: Any, up: Any) -> np.ndarray:
    """World from camera, [..., 4, 4], of cameras at `position` [..., 3] whose z axis meets `target`.

    `up` [..., 3] points upwards in the image. Where it is zero or parallel to the optical axis, the world axis that is
    furthest from the optical axis takes its place.

    Raises ValueError where position and target coincide.
    """
    position, target, up = np.broadcast_arrays(*(np.asarray(vector, float) for vector in (position, target, up)))
    forward = target - position
    length = np.linalg.norm(forward, axis=-1, keepdims=True)
    if np.any(length == 0.0):
        raise ValueError(f"look_at: position and target coincide at {target[length[..., 0] == 0.0][0]}")
    forward = forward / length
    right = np.cross(forward, up)
    stand_in = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward), axis=-1)])
    sine = np.linalg.norm(right, axis=-1, keepdims=True)
    parallel = sine <= PARALLEL_SINE * np.linalg.norm(up, axis=-1, keepdims=True)
    right = np.where(parallel, stand_in, right)
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=-1)
    return rigid_motion(rotation, position)


def rigid_motion(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Transforms [..., 4, 4] of rotations [..., 3, 3] and positions [..., 3]."""
    transform = np.zeros((*position.shape[:-1], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = position
    transform[..., 3, 3] = 1.0
    return transform


class Task(NamedTuple):
    """What tiles are drawn for: the function that draws a block, the bounds of `met`, numbers, and the loss, if any.

    `reach(betas)` is (steep, flat, near): log weights lie between steep s - near t / scale and flat s - near t / scale.
    Hits lie up to `margin`, in whitened length, from the densest point.
    """

    draw: Callable
    reach: Callable[[Any], tuple]
    margin: float
    curved: bool
    density: bool
    weight: bool
    mixtures: int
    side: int
    loss: Callable | None = None


class Tiles(NamedTuple):
    """Squares of pixels in groups, row by row: the view that a group lies in, and each tile's middle in the image."""

    view: Int[Array | np.ndarray, " group"]
    middle: Float[Array | np.ndarray, "group tile 2"]


class Block(NamedTuple):
    """Tiles drawn at once: their numbers, which are real, their middles, and the components that each goes through.

    `place` [slot, tile] is a row of `project`, `number` its component, anything where the row is the last, of nothing.
    `index` is the number of tiles where not `real`.
    """

    index: Int[Array, " tile"]
    real: Bool[Array, " tile"]
    middle: Float[Array, "tile 2"]
    number: Int[Array, "slot tile"]
    place: Int[Array, "slot tile"]


class Outlines(NamedTuple):
    """Components in tiles: coefficients for 1, x, y, x^2, xy, y^2 of the offset from a tile's middle in half sides.

    d^2 = square / rate and t = along / rate; `curve` is what the cubic rule needs besides.
    """

    square: list[Array]
    rate: list[Array]
    along: list[Array]
    log_weight: Array
    curve: tuple | None
    color: Array | None


def side_of(image_size: tuple[int, int]) -> int:
    """Pixels of the side of tiles for images of (height, width)."""
    return SIDES[image_size[0] * image_size[1] > SMALL_IMAGE]


def tiles_of(views: int, image_size: tuple[int, int], side: int) -> Tiles:
    """The tiles of all views; the last of a row or column may stand out of the image."""
    y, x = ((np.arange(-(-size // side)) + 0.5) * side for size in image_size)
    middle = np.stack(np.meshgrid(x, y), axis=-1).reshape(1, -1, 2)
    return Tiles(np.arange(views, dtype=np.int32), np.repeat(middle, views, axis=0))


def cut(images: Array, side: int) -> Array:
    """Images [view, height, width, ...] as [tile, pixel, ...], 0 out of the image."""
    views, height, width = images.shape[:3]
    rows, columns = -(-height // side), -(-width // side)
    room = [(0, 0), (0, rows * side - height), (0, columns * side - width)] + [(0, 0)] * (images.ndim - 3)
    parts = jnp.pad(images, room).reshape(views, rows, side, columns, side, *images.shape[3:])
    return parts.swapaxes(2, 3).reshape(views * rows * columns, side * side, *images.shape[3:])


def joined(parts: Array, views: int, image_size: tuple[int, int]) -> Array:
    """Images of (height, width) from tiles [tile, pixel, ...]; the inverse of `cut`."""
    side = round(parts.shape[1] ** 0.5)
    rows, columns = (-(-size // side) for size in image_size)
    images = parts.reshape(views, rows, columns, side, side, *parts.shape[2:]).swapaxes(2, 3)
    return images.reshape(views, rows * side, columns * side, *parts.shape[2:])[:, : image_size[0], : image_size[1]]


def project(mixture: Any, cameras: Any, color: Array | None, curved: bool) -> Float[Array, "row number"]:
    """The components in the image of each view, a row for each view and component, as `outlines` reads them.

    A pixel's ray has the whitened direction u, linear in the pixel, and passes the mean's whitened offset q at d^2 =
    |u x q|^2 / |u|^2 and t = u.q / |u|^2. Along two unit vectors across q and along q itself u has the parts a, b and
    T: with N = a^2 + b^2, d^2 = |q|^2 N / (N + T^2), where nothing cancels, and t = |q| T / (N + T^2). The parts are
    lines about a middle: where the mean is seen, so that a and b have no constant, however far the camera stands; the
    principal point for means hardly ahead or behind. The last row stands for nothing at all, far behind.
    """
    turn, position = cameras.world_from_camera[:, :3, :3], cameras.world_from_camera[:, :3, 3]
    (focal_x, skew, centre_x), (_, focal_y, centre_y), _ = jnp.moveaxis(cameras.intrinsics, 0, -1)[..., None]
    middle, factor = stop_gradient(mixture.mean.mean(0, keepdims=True)), jnp.tril(mixture.precision_cholesky)
    mean, away = mixture.mean - middle, middle - position
    right = turn[:, :, 0] / focal_x
    ways = jnp.stack([right, (turn[:, :, 1] - skew * right) / focal_y, turn[:, :, 2], away], axis=1)
    x, y, one, q = product("kji,vaj->aivk", factor, ways)  # products, so that each is formed once and not for every use
    q = q + product("kji,kj->ik", factor, mean)[:, None]
    seen = product("kj,vji->ivk", mean, turn) + product("vj,vji->iv", away, turn)[..., None]
    ahead = jnp.abs(seen[2:]) > GRAZING * jnp.sqrt((seen * seen).sum(0, keepdims=True))
    safe = jnp.where(ahead, seen[2:], 1)
    seen_x, seen_y = jnp.where(ahead, seen[:2] / safe, 0)
    length, frame = frame_of(q)
    axes = jnp.stack([jnp.where(ahead, q / safe, one), x, y])
    lines = (axes[:, None] * frame[None]).sum(2)
    zero = ahead[None] & (np.arange(9) < 2).reshape(3, 3, 1, 1)
    columns = [jnp.stack([centre_x + focal_x * seen_x + skew * seen_y, centre_y + focal_y * seen_y])]
    columns += [jnp.where(zero, 0, lines).reshape(9, *length.shape), length[None], mixture.log_weight[None, None]]
    columns += [product("kij,ajvk->iavk", factor, frame).reshape(9, *length.shape)] if curved else []
    columns += [] if color is None else [color.T[:, None]]
    columns = [jnp.broadcast_to(column, (len(column), *length.shape)) for column in columns]
    nothing = [0, 0, 0, 0, -1, *np.zeros(6), -BEHIND, LEAST_LOG_WEIGHT] + [*np.eye(3).ravel()] * curved
    nothing = jnp.asarray(nothing + [0, 0, 0] * (color is not None), q.dtype)
    return jnp.concatenate([jnp.concatenate(columns).reshape(len(nothing), -1).T, nothing[None]])


def frame_of(q: Float[Array, "3 view mixture"]) -> tuple[Array, Float[Array, "3 3 view mixture"]]:
    """|q|, and unit vectors: two orthogonal to q and to each other (Duff et al. 2017), and q's own."""
    square = (q * q).sum(0, keepdims=True)
    length = jnp.sqrt(jnp.where(square > 0, square, 1))
    x, y, z = unit = jnp.where(square > 0, q / length, np.array([0, 0, 1])[:, None, None])
    sign = jnp.where(z < 0, -1, 1)
    a = -1 / (sign + z)
    b = x * y * a
    first, second = (1 + sign * x * x * a, sign * b, -sign * x), (b, sign + y * y * a, -y)
    return jnp.where(square > 0, length, 0)[0], jnp.stack([jnp.stack(first), jnp.stack(second), unit])


def outlines(side: int, curved: bool, row: list[Array], middle: Array) -> Outlines:
    """The rows of `project`, number by number, about the middles of tiles, [2, ...]."""
    half, x, y = side / 2, middle[0] - row[0], middle[1] - row[1]
    a, b, c = ([row[2 + i] + x * row[5 + i] + y * row[8 + i], half * row[5 + i], half * row[8 + i]] for i in range(3))

    def quadratic(*lines: list[Array]) -> list[Array]:
        return [(1 if i == j else 2) * sum(line[i] * line[j] for line in lines) for i, j in TERMS]

    across, along, length, rest = quadratic(a, b), quadratic(c), row[11], 22 if curved else 13
    square, rate = [length * length * n for n in across], [n + t for n, t in zip(across, along, strict=True)]
    # rounding must leave no rate at or below 0
    rate[0] = rate[0] + 3 * jnp.finfo(length.dtype).eps * stop_gradient(sum(map(jnp.abs, rate)))
    curve = ((a, b, c), length, jnp.stack(row[13:22])) if curved else None
    color = jnp.stack(row[rest:]) if len(row) > rest else None
    return Outlines(square, rate, [length * t for t in c], row[12], curve, color)


def passes_at(seen: Outlines, bend: Callable, offset: Float[Array, "2 pixel"]) -> Passes:
    """How the rays of pixels at offsets from the tiles' middles pass the components, [slot, tile, pixel]."""
    x, y = offset
    basis = jnp.stack([jnp.ones_like(x), x, y, x * x, x * y, y * y])

    def over_pixels(coefficients: list[Array]) -> Array:
        return product("ktm,mp->ktp", jnp.stack(coefficients, axis=-1), basis[: len(coefficients)])

    rate = over_pixels(seen.rate)

    def curved() -> tuple[Array, Array]:
        (a, b, c), length, factor = (*map(over_pixels, seen.curve[0]),), *(x[..., None] for x in seen.curve[1:])
        pull = length / rate

        def times(vector: Vector) -> Vector:
            return tuple(dot(factor[i : i + 3], vector) for i in (0, 3, 6))

        return bend(times, (a, b, c), (-pull * c * a, -pull * c * b, pull * (a * a + b * b)))

    return Passes(over_pixels(seen.along) / rate, over_pixels(seen.square) / rate, rate, curved)


def pixel_offsets(side: int, dtype: Any) -> Float[Array, "2 pixel"]:
    """x and y of a tile's pixels from its middle, in half sides."""
    at = (np.arange(side) + 0.5) * 2 / side - 1
    return jnp.asarray(np.stack(np.meshgrid(at, at)).reshape(2, -1), dtype)


def met(task: Task, table: Array, tiles: Tiles, shared: tuple) -> Bool[Array, "tile mixture"]:
    """Which components each tile must go through, so that no other adds EPSILON to what its pixels have."""
    rows, (groups, count) = table[:-1].reshape(-1, task.mixtures, table.shape[-1]), tiles.middle.shape[:2]
    parts = -(-count * task.mixtures // PAIRS_PER_TEST)  # of a group
    size = -(-count // parts)
    middle = jnp.pad(tiles.middle, ((0, 0), (0, parts * size - count), (0, 0)), mode="edge")
    tests = Tiles(jnp.repeat(tiles.view, parts), middle.reshape(groups * parts, size, 2))

    def test(one: Tiles) -> Array:
        row = list(rows[one.view].T[None, ..., None].swapaxes(0, 1))
        seen = outlines(task.side, task.curved, row, one.middle.T[:, None, None])
        return _needed(task, seen, shared)[0].T

    together = min(max(1, PAIRS_PER_TEST // (size * task.mixtures)), groups * parts)
    each = jax.lax.map(test, tests, batch_size=together)
    return each.reshape(groups, parts * size, -1)[:, :count].reshape(groups * count, -1)


def _needed(task: Task, seen: Outlines, shared: tuple) -> Bool[Array, "group mixture tile"]:
    """`met` for components in tiles, from bounds of s = log_weight - d^2 / 2 and of t over each tile.

    In front of the camera s has convex superlevel sets: its least value in a tile stands in a corner. Its most is not
    above what the least |u x q|^2, on an edge or inside, and the most |u|^2 make of it. Log weights follow from both.
    """
    scale, betas = shared
    steep, flat, near = task.reach(betas)
    one, x, y = (jnp.sqrt(seen.rate[term]) for term in (0, 3, 5))
    most, least = one + x + y, jnp.maximum(one - x - y, LEAST_RATE * one)
    rates = [jnp.maximum(x, least * least) for x in at_corners(seen.rate)]
    corners = [seen.log_weight - x / (2 * rate) for x, rate in zip(at_corners(seen.square), rates, strict=True)]
    along = at_corners(seen.along)
    first, last = reduce(jnp.minimum, along), reduce(jnp.maximum, along)
    bulge = (seen.square[3] + seen.square[5]) / (2 * least * least)  # at most so much more than between the corners
    high = seen.log_weight - nearest_square(seen.square) / (2 * most * most)
    beside = task.margin**2 / 2  # what a hit beside the densest point may lose of s
    low = jnp.where(first > task.margin * most, reduce(jnp.minimum, corners) - beside, -jnp.inf)
    keep = jnp.zeros(high.shape, bool)
    if task.density:
        keep = _rivals(high, low, corners, corners, bulge + beside, jnp.inf)
    if task.weight:
        apart = [near * t / (rate * scale) for t, rate in zip(along, rates, strict=True)]
        upper = [jnp.maximum(steep * s, flat * s) - t for s, t in zip(corners, apart, strict=True)]
        lower = [jnp.minimum(steep * s, flat * s) - t for s, t in zip(corners, apart, strict=True)]
        high = jnp.maximum(steep * high, flat * high) - near * (jnp.maximum(first, 0) / most - task.margin) / (
            most * scale
        )
        low = jnp.minimum(steep * low, flat * low) - near * (last / least + task.margin) / (least * scale)
        room = steep * (bulge + beside) + near * task.margin / (least * scale) + 1
        rising = jnp.minimum(jnp.minimum(steep, flat), near) < 0  # the bounds above do not hold
        keep = keep | _rivals(high, low, upper, lower, room, 0.0) | rising
    return keep & (last > -task.margin * most)  # the cubic rule also hits behind the densest point


def _rivals(high: Array, low: Array, upper: list, lower: list, room: Array, most: float) -> Array:
    """Which components may exceed EPSILON of the one whose least value in the tile is largest, the tile's best.

    They must by their bounds over the tile and in some corner, where both are compared, but for `room`. The best
    counts as at most `most`: what lies before something opaque has all the weight, however much denser that is.
    """
    best, index = low.max(1, keepdims=True), low.argmax(1)[:, None]
    beside = [x - jnp.minimum(jnp.take_along_axis(y, index, axis=1), most) for x, y in zip(upper, lower, strict=True)]
    close = (reduce(jnp.maximum, beside) + room > np.log(EPSILON)) | (best == -jnp.inf)
    return (high > np.log(EPSILON) + jnp.minimum(best, most)) & close


def at_corners(coefficients: list[Array]) -> list[Array]:
    """Values of polynomials in a tile's four corners."""
    one, x, y, xx, xy, yy = [*coefficients, 0, 0, 0][:6]
    return [one + i * x + j * y + xx + i * j * xy + yy for i in (-1, 1) for j in (-1, 1)]


def nearest_square(coefficients: list[Array]) -> Array:
    """Least value in the square |x|, |y| <= 1 of a quadratic that is 0 at its own middle: there or on an edge."""
    one, x, y, xx, xy, yy = coefficients
    determinant = 4 * xx * yy - xy * xy

    def at(x_here: Array, y_here: Array) -> Array:
        return one + (x + xx * x_here + xy * y_here) * x_here + (y + yy * y_here) * y_here

    def inside(numerator: Array, denominator: Array) -> Array:
        return jnp.clip(numerator / jnp.where(denominator > 0, denominator, 1), -1, 1)

    edge_x, edge_y = inside(xy * y - 2 * yy * x, determinant), inside(xy * x - 2 * xx * y, determinant)
    edges = at(edge_x, inside(-(y + xy * edge_x), 2 * yy)), at(inside(-(x + xy * edge_y), 2 * xx), edge_y)
    return jnp.maximum(jnp.minimum(*edges), 0)


def over_blocks(task: Task, given: tuple, tiles: Tiles, work: Callable, begin: Any) -> Any:
    """The carry after `work(carry, block)` of all blocks of tiles.

    Tiles that need most components come first. A block has the room that its first tile needs, and all that follow fit.
    """
    table, shared = stop_gradient(given)
    group, middle = tiles.middle.shape[1], tiles.middle.reshape(-1, 2)
    tile_count, pairs = len(middle), PAIRS_PER_BLOCK.get(jax.default_backend(), MANY) // task.side**2
    needed = met(task, table, tiles, shared)
    count = needed.sum(1)
    rooms = [*sorted((room for room in CLASSES if room < task.mixtures), reverse=True), 0]
    sizes = [min(max(1, pairs // room), tile_count) for room in (task.mixtures, *rooms[:-1])]
    order = jnp.pad(jnp.argsort(-count), (0, max(sizes)), constant_values=tile_count)

    def step(room: int, size: int, state: tuple) -> tuple:
        start, carry = state
        block = jax.lax.dynamic_slice_in_dim(order, start, size)
        real, index = block < tile_count, jnp.minimum(block, tile_count - 1)
        rank = jnp.cumsum(needed[index], axis=1, dtype=jnp.int32)
        slot = (rank[None] <= jnp.arange(room, dtype=jnp.int32)[:, None, None]).sum(-1, dtype=jnp.int32)
        number = jnp.minimum(slot, task.mixtures - 1)
        place = tiles.view[index // group][None] * task.mixtures + number
        place = jnp.where((slot < task.mixtures) & real[None], place, len(table) - 1)
        return start + size, work(carry, Block(block, real, middle[index], number, place))

    state = jnp.zeros((), order.dtype), begin
    for room, size, smaller in zip((task.mixtures, *rooms), sizes, rooms, strict=False):
        last = (count > smaller).sum() if smaller else tile_count
        state = jax.lax.while_loop(lambda state, last=last: state[0] < last, partial(step, room, size), state)
    return state[1]


def numbers(table: Array, block: Block) -> list[Array]:
    """What the rows of a block's components hold, number by number, [slot, tile]: slopes are then no sums of slices."""
    return list(jnp.moveaxis(table[block.place], -1, 0))


def drawn(task: Task, row: list[Array], block: Block, shared: tuple) -> dict[str, Array]:
    """The outputs [tile, pixel, ...] of a block."""
    return task.draw(task, outlines(task.side, task.curved, row, block.middle.T[:, None]), block, shared)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def tile_images(task: Task, given: tuple, tiles: Tiles) -> dict[str, Array]:
    """The outputs [tile, pixel, ...] of all tiles; `given` is the table of `project`, then scale and betas."""
    table, shared = given
    count = tiles.middle.shape[0] * tiles.middle.shape[1]

    def work(images: dict[str, Array], block: Block) -> dict[str, Array]:
        parts = drawn(task, numbers(table, block), block, shared)
        return {name: image.at[block.index].set(parts[name], mode="drop") for name, image in images.items()}

    one = Block(*(np.zeros(shape, int) for shape in ((1,), (1,), (1, 2), (1, 1), (1, 1))))
    one = one._replace(middle=tiles.middle[0, :1])
    shapes = jax.eval_shape(lambda: drawn(task, numbers(table, one), one, shared))
    return over_blocks(
        task, given, tiles, work, {name: jnp.zeros((count, *x.shape[1:]), x.dtype) for name, x in shapes.items()}
    )


def _images_slope(task: Task, inputs: tuple, g_images: dict[str, Array]) -> tuple:
    g_images = {name: x for name, x in g_images.items() if x.dtype != jax.dtypes.float0}  # a label has no slope

    def value(fields: dict[str, Array], g: dict[str, Array]) -> Array:
        return sum((fields[name] * x).reshape(*x.shape[:2], -1).sum(-1) for name, x in g.items())

    return _slopes(task, *inputs, g_images, value)[1], None


tile_images.defvjp(lambda task, *inputs: (tile_images(task, *inputs), inputs), _images_slope)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def tile_loss(task: Task, given: tuple, tiles: Tiles, target: Any) -> Float[Array, ""]:
    """The sum over all pixels of the task's loss; its slope is taken in the same pass."""
    table, shared = given

    def work(total: Array, block: Block) -> Array:
        each = task.loss(
            drawn(task, numbers(table, block), block, shared), jax.tree.map(lambda x: x[block.index], target)
        )
        return total + jnp.where(block.real[:, None], each, 0).sum()

    return over_blocks(task, given, tiles, work, jnp.zeros((), table.dtype))


def _loss_forward(task: Task, given: tuple, tiles: Tiles, target: Any) -> tuple:
    return _slopes(task, given, tiles, target, task.loss)


def _loss_backward(task: Task, slope: tuple, g: Array) -> tuple:
    return jax.tree.map(lambda x: g * x, slope), None, None


tile_loss.defvjp(_loss_forward, _loss_backward)


def _slopes(task: Task, given: tuple, tiles: Tiles, data: Any, value: Callable) -> tuple:
    """The sum over all pixels of `value(outputs, data)` and its slope in `given`."""
    table, shared = given

    def work(carry: tuple, block: Block) -> tuple:
        mine = jax.tree.map(lambda x: x[block.index], data)

        def total(row: list[Array], shared: tuple) -> Array:
            return jnp.where(block.real[:, None], value(drawn(task, row, block, shared), mine), 0).sum()

        part, (g_row, g_shared) = jax.value_and_grad(total, (0, 1))(numbers(table, block), shared)
        g_shared = jax.tree.map(jnp.add, carry[2], g_shared)
        return carry[0] + part, carry[1].at[block.place].add(jnp.stack(g_row, axis=-1)), g_shared

    begin = jnp.zeros((), table.dtype), jnp.zeros_like(table), jax.tree.map(jnp.zeros_like, shared)
    total, *slope = over_blocks(task, given, tiles, work, begin)
    return total, tuple(slope)
