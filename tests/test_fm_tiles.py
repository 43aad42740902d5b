"""Images drawn in tiles against the NumPy twin and against `render` along the pixels' rays, where it is hard too."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

import fm_tiles
from fm_render import (
    INTERSECTIONS,
    Cameras,
    FiveBetas,
    Mixture,
    Rendering,
    Settings,
    Sight,
    in_tiles,
    render,
    render_views,
    views_loss,
)
from fmb.fit.losses import pixel_cross_entropy
from fmb.geometry.cameras import pixel_rays
from fmb.geometry.rotations import matrix_from_rotation_vector, rigid_transform
from tests.reference import render_reference
from tests.test_fm_render import BETAS, ONCE, OTHERS, SCALE, options

SIZE = (9, 13)  # two by two tiles, which stand out of the image
COMPONENTS = 8
FAST = {"xla_backend_optimization_level": 0}  # halves the time to compile, which is most of the time here
SHADED = ("density", "depth", "color")


@pytest.fixture
def exact(monkeypatch):
    """Everything that has any density or weight is kept, still tile by tile."""
    monkeypatch.setattr(fm_tiles, "EPSILON", 1e-30)


def some_mixture(seed: int = 0, components: int = COMPONENTS) -> Mixture:
    """Components about the origin in all orientations; some weights are small."""
    generator = np.random.default_rng(seed)
    factor = np.tril(2.0 * generator.normal(size=(components, 3, 3)))
    factor[:, range(3), range(3)] = generator.uniform(2.0, 12.0, (components, 3))
    mean = 0.4 * generator.normal(size=(components, 3))
    return Mixture(*map(jnp.asarray, (mean, factor, generator.normal(size=components))))


def some_views(seed: int = 1, distance: float = 3.0, size: tuple[int, int] = SIZE) -> tuple[jax.Array, jax.Array]:
    """Motions [view, 6], rotation vector and place, of two cameras that look at the origin, and their five numbers."""
    turn = Rotation.random(2, rng=np.random.default_rng(seed))
    place = -distance * turn.as_matrix()[:, :, 2]
    height, width = size
    focal = 1.1 * height * distance / 3.0
    inner = [[focal, 1.3 * focal, 0.2 * focal, 0.3 * width, 0.7 * height], [focal, focal, 0, width / 2, height / 2]]
    return jnp.asarray(np.concatenate([turn.as_rotvec(), place], axis=1)), jnp.asarray(inner)


def cameras_of(motion: jax.Array, inner: jax.Array) -> Cameras:
    """The cameras of `some_views`: focal lengths x and y, skew, principal point."""
    rigid = rigid_transform(matrix_from_rotation_vector(motion[:, :3]), motion[:, 3:])
    focal_x, focal_y, skew, x, y = inner.T
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    rows = jnp.stack([focal_x, skew, x, zero, focal_y, y, zero, zero, one], axis=-1)
    return Cameras(rigid, rows.reshape(-1, 3, 3))


def along_rays(mixture: Mixture, cameras: Cameras, size: tuple[int, int], *rest) -> Rendering:
    """What `render_views` shows, as `render` makes it of the pixels' rays."""
    return render(mixture, pixel_rays(cameras, *size), *rest)


def some_inputs(blend: str, mixture: Mixture | None = None, views: tuple | None = None) -> tuple:
    """All that `images_and_slopes` can be differentiated by."""
    mixture = some_mixture() if mixture is None else mixture
    color = jnp.asarray(np.random.default_rng(2).random((COMPONENTS, 3)))
    return (mixture, *(some_views() if views is None else views), SCALE, jax.tree.map(float, BETAS[blend]), color)


@partial(jax.jit, compiler_options=FAST, static_argnames=("rule", "blend"))
def images(rule: str, blend: str, inputs: tuple) -> Rendering:
    """All images in tiles."""
    mixture, motion, inner, scale, betas, color = inputs
    setting = replace(options(rule, blend), betas=betas)
    return render_views(mixture, cameras_of(motion, inner), SIZE, scale, Rendering._fields, setting, color)


def weighed(image: Rendering, worth: jax.Array) -> jax.Array:
    """A loss that counts each pixel of each field differently, and 1 for the pixel, which padding must not add."""
    color = (image.color * worth[..., 2:]).sum(-1)
    return 1 + jnp.sin(image.density) * worth[..., 0] + image.depth * worth[..., 1] + color


@partial(jax.jit, compiler_options=FAST, static_argnames=("way", "rule", "blend"))
def slopes(way: str, rule: str, blend: str, inputs: tuple, worth: jax.Array) -> tuple:
    """Value and slopes of the sum of `weighed` by all inputs, one of three ways."""

    def total(mixture, motion, inner, scale, betas, color):
        cameras, setting = cameras_of(motion, inner), replace(options(rule, blend), betas=betas)
        if way == "views_loss":
            return views_loss(weighed, mixture, cameras, worth, Sight(scale, SHADED, setting, color))
        if way == "render_views":
            image = render_views(mixture, cameras, SIZE, scale, SHADED, setting, color)
        else:
            image = render(mixture, pixel_rays(cameras, *SIZE), scale, SHADED, setting, color)
        return weighed(image, worth).sum()

    return jax.value_and_grad(total, argnums=tuple(range(6)))(*inputs)


def check_alike(found, wanted, tolerance: float = 1e-9) -> None:
    """Value and slopes alike, up to a share of each array's largest entry."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert np.all(np.isfinite(one))
        assert_allclose(one, other, rtol=0.0, atol=tolerance * np.abs(other).max())


def twin_of(rule: str, blend: str, inputs: tuple, shift=(0.0, 0.0)):
    """The twin's images, and the points that they show, `shift` pixels beside the middles."""
    cameras = cameras_of(inputs[1], inputs[2] - jnp.array([0.0, 0.0, 0.0, *shift])[None])
    rays = jax.tree.map(lambda x: np.asarray(x, float), pixel_rays(cameras, *SIZE))
    betas = tuple(BETAS[blend]) if blend != "two_parameter" else (7.0, 1.3)
    mixture = inputs[0]._replace(log_weight=jnp.maximum(inputs[0].log_weight, -1e30))  # complex numbers have no -inf
    twin = render_reference(mixture, rays, SCALE, rule, blend, betas)
    return twin, rays.origin + twin.depth[..., None] * rays.direction


def check_images(rule: str, blend: str, inputs: tuple, image: Rendering, tolerance: float = 1e-10) -> None:
    """All images but the normals are the twin's."""
    twin = twin_of(rule, blend, inputs)[0]
    weight = np.moveaxis(twin.weights, 0, -1)
    wanted = {"density": twin.density, "alpha": twin.alpha, "depth": twin.depth, "weight": weight}
    for name, expected in (wanted | {"color": weight @ np.asarray(inputs[5])}).items():
        assert_allclose(getattr(image, name), expected, rtol=tolerance, atol=tolerance / 100, err_msg=name)
    if tolerance < 1e-6:
        assert np.array_equal(image.label, weight.argmax(-1))


def some_worth() -> jax.Array:
    """What `weighed` makes of each pixel; half of the pixels are masked."""
    generator = np.random.default_rng(5)
    return jnp.asarray(generator.normal(size=(2, *SIZE, 5)) * (generator.random((2, *SIZE, 1)) > 0.5))


@pytest.mark.parametrize(
    ("rule", "blend"),
    [ONCE[0], *(pytest.param(*names, marks=pytest.mark.slow) for names in (*ONCE[1:], *OTHERS))],
)
def test_images(rule, blend, exact):
    inputs = some_inputs(blend)
    image = images(rule, blend, inputs)
    check_images(rule, blend, inputs, image)
    # The normal is that of the surface that the depth image shows. `render`'s leaves out how its depth changes with
    # the length of a ray's direction alone, and differs from this by up to 2e-2.
    step = 1e-5
    ways = [twin_of(rule, blend, inputs, shift)[1] for shift in ((step, 0), (-step, 0), (0, step), (0, -step))]
    normal = np.cross(ways[0] - ways[1], ways[3] - ways[2])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    assert_allclose(image.normal, normal, atol=1e-5)
    assert np.abs(image.normal - twin_of(rule, blend, inputs)[0].normal).max() < 3e-2


@pytest.mark.parametrize(
    ("rule", "blend"),
    [
        ("linear", "sorted"),  # compiled for other tests too
        *(pytest.param(*names, marks=pytest.mark.slow) for names in (*ONCE[1:], *OTHERS)),
    ],
)
def test_slopes(rule, blend, exact):
    inputs, worth = some_inputs(blend), some_worth()
    check_alike(slopes("views_loss", rule, blend, inputs, worth), slopes("rays", rule, blend, inputs, worth))


@pytest.mark.slow  # `test_images` and `test_slopes` imply it
def test_a_loss_is_the_sum_over_images(exact):
    inputs, worth = some_inputs("sorted"), some_worth()
    loss, image = (slopes(way, "linear", "sorted", inputs, worth) for way in ("views_loss", "render_views"))
    check_alike(loss, image, 1e-12)


def hard() -> dict[str, tuple[Mixture, tuple]]:
    """Mixtures, their means in pairs about 0 so that sums are exact, and two views without a turn, 3 before the first.

    The second view is the first's, from elsewhere.
    """
    half = 0.4 * np.random.default_rng(3).normal(size=(COMPONENTS // 2, 3))
    mixture = some_mixture()._replace(mean=jnp.asarray(np.concatenate([half, -half])))
    place, inner = np.array([[0.25, -0.5, -3.0], [0.5, 0.0, -1.5]]), some_views()[1]

    def moved(*means) -> Mixture:
        means = np.concatenate([half, means])[-len(half) :]
        return mixture._replace(mean=jnp.asarray(np.concatenate([means, -means])))

    def seen_from(places) -> tuple:
        return jnp.asarray(np.pad(np.asarray(places, float), ((0, 0), (3, 0)))), inner

    sizes = jnp.asarray(np.repeat([1e-2, 1.0, 1.0, 1e3], 2))[:, None, None]
    thin = jnp.tile(jnp.diag(jnp.array([3.0, 3.0, 200.0])), (COMPONENTS, 1, 1))
    return {
        "camera inside": (mixture, seen_from([[0.1, 0.0, -0.2], [0.0, 0.0, 0.3]])),
        "all behind": (mixture, seen_from(-20 * place)),
        "in the image plane": (moved(place[0] + [0.5, 0.25, 0.0], place[1] + [0.0, 1.0, 0.0]), seen_from(place)),
        "at the camera": (moved(place[0], place[1]), seen_from(place)),
        "grazing": (moved(place[0] + [0.5, 0.25, 0.01], place[1] + [0.0, 1.0, -0.01]), seen_from(place)),
        "huge and tiny": (mixture._replace(precision_cholesky=mixture.precision_cholesky * sizes), seen_from(place)),
        "thin": (mixture._replace(precision_cholesky=thin), seen_from(place)),
        "weight 0": (mixture._replace(log_weight=mixture.log_weight.at[2:5].set(-jnp.inf)), seen_from(place)),
        "coincident": (moved(*(half[:1].repeat(len(half), 0))), seen_from(place)),
    }


@pytest.mark.parametrize("name", hard())
@pytest.mark.parametrize(
    ("rule", "blend"), [("linear", "sorted"), pytest.param("cubic", "two_parameter", marks=pytest.mark.slow)]
)
def test_where_it_is_hard(name, rule, blend, exact):
    inputs, worth = some_inputs(blend, *hard()[name]), some_worth()
    image = images(rule, blend, inputs)
    assert all(np.all(np.isfinite(field)) for field in image)
    check_images(rule, blend, inputs, image, 1e-9)
    slope = slopes("views_loss", rule, blend, inputs, worth)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(slope))
    if name != "at the camera":  # `render` rounds a hit at 0 to either side of the camera
        check_alike(slope, slopes("rays", rule, blend, inputs, worth), 1e-7)


@partial(jax.jit, compiler_options=FAST, static_argnames=("size", "rule"))
def two_fields(size: tuple[int, int], rule: str, mixture: Mixture, cameras: Cameras) -> tuple[Rendering, Rendering]:
    """Density and depth in tiles and along rays."""
    rest = (1.0, ("density", "depth"), Settings(rule))
    return render_views(mixture, cameras, size, *rest), render(mixture, pixel_rays(cameras, *size), *rest)


@pytest.mark.parametrize("size", [(1, 1), pytest.param((8, 16), marks=pytest.mark.slow), (131, 127)])
def test_sizes(size):
    assert fm_tiles.side_of(size) == (16 if size == (131, 127) else 8)
    tiled, rays = two_fields(size, "linear", some_mixture(components=1), cameras_of(*some_views(size=size)))
    assert tiled.density.shape == (2, *size)
    assert_allclose(tiled.density, rays.density, rtol=1e-10)
    assert_allclose(tiled.depth, rays.depth, rtol=1e-10)


@pytest.mark.parametrize("distance", [3.0, 100.0])
def test_float32_against_the_twin(distance):
    mixture = some_mixture()
    mixture = mixture._replace(precision_cholesky=mixture.precision_cholesky.at[:4, 2, 2].set(200.0))
    mixture, cameras = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), (mixture, cameras_of(*some_views(distance=distance)))
    )
    tiled = jax.jit(partial(render_views, image_size=SIZE, outputs=("density", "depth")), compiler_options=FAST)(
        mixture, cameras
    )
    wide = Cameras(*(jnp.asarray(x, float) for x in cameras))
    twin = render_reference(mixture, pixel_rays(wide, *SIZE), 1.0)
    assert tiled.density.dtype == jnp.float32
    assert np.abs(-np.expm1(-np.asarray(tiled.density)) - twin.alpha).max() < 1e-4
    assert np.abs(tiled.depth - twin.depth)[twin.alpha > 1e-3].max() < 1e-4


@pytest.mark.parametrize(
    ("rule", "components", "classes"),
    [
        ("linear", 70, (4, 20)),
        *(pytest.param(rule, 300, fm_tiles.CLASSES, marks=pytest.mark.slow) for rule in INTERSECTIONS),
    ],
)
def test_nothing_is_dropped(rule, components, classes, monkeypatch):
    monkeypatch.setattr(fm_tiles, "CLASSES", classes)
    size = (40, 56)
    for seed in range(8):
        mixture = some_mixture(seed, components)
        spread = np.exp(np.random.default_rng(seed).uniform(0.5, 2.0, (components, 1, 1)))
        mixture = mixture._replace(precision_cholesky=mixture.precision_cholesky * spread)
        distance = (8.0, 3.0, 1.0, 0.1)[seed % 4]  # where few tiles are met, to inside of everything
        cameras = cameras_of(some_views(seed, distance)[0], some_views(seed, 3.0, size)[1])
        tiled, rays = two_fields(size, rule, mixture, cameras)
        seen = np.asarray(rays.density) > 1e-250
        assert_allclose(tiled.density[seen], rays.density[seen], rtol=1e-6, err_msg=str(seed))
        assert_allclose(tiled.depth[seen], rays.depth[seen], rtol=1e-5, atol=1e-6, err_msg=str(seed))
        if distance == 8.0:
            assert 1e-250 < rays.density[seen].min() < 1e-20


def test_what_stands_before_an_opaque_body_is_seen():
    mean, factor = jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), jnp.tile(0.05 * jnp.eye(3), (2, 1, 1))
    mixture, inner = Mixture(mean, factor, jnp.array([-7.0, 12.0])), jnp.diag(jnp.array([100.0, 100.0, 1.0]))
    cameras = Cameras(jnp.eye(4).at[2, 3].set(-3.0)[None], inner[None])

    @partial(jax.jit, compiler_options=FAST)
    def both(mixture):
        rest = (1.0, ("weight",), Settings(blending="sorted"))
        return render_views(mixture, cameras, (8, 8), *rest), along_rays(mixture, cameras, (8, 8), *rest)

    tiled, rays = both(mixture)
    assert rays.weight[..., 0].min() > 5e-4
    assert_allclose(tiled.weight, rays.weight, atol=1e-9)


@partial(jax.jit, compiler_options=FAST)
def both_depths(mixture: Mixture, cameras: Cameras, betas: FiveBetas) -> tuple[jax.Array, jax.Array]:
    """Depth in tiles and along rays, by the blend with five betas."""
    rest = (1.0, ("depth",), Settings(blending="five_parameter", betas=betas))
    return render_views(mixture, cameras, SIZE, *rest).depth, along_rays(mixture, cameras, SIZE, *rest).depth


@pytest.mark.parametrize("name", ["fit", "near", "front"])
def test_betas_below_zero(name):
    betas = FiveBetas()._replace(**{name: -2.0})
    tiled, rays = both_depths(some_mixture(), cameras_of(*some_views()), jax.tree.map(jnp.asarray, betas))
    assert_allclose(tiled, rays, rtol=1e-6)


def test_what_is_kept_is_bounded_by_pairs(monkeypatch):
    """Neither the tests of tiles nor the blocks keep anything of the size component x tile but one byte."""
    pairs, components, size = 2**12, 400, (256, 256)
    monkeypatch.setattr(fm_tiles, "PAIRS_PER_TEST", pairs)
    monkeypatch.setattr(fm_tiles, "PAIRS_PER_BLOCK", {})
    monkeypatch.setattr(fm_tiles, "MANY", pairs)
    monkeypatch.setattr(fm_tiles, "CLASSES", ())
    placed = fm_tiles.tiles_of(2, size, 16)

    def needed(mixture, cameras):
        task, (table, shared), tiles = in_tiles(mixture, cameras, placed, 16, Sight())
        return fm_tiles.met(task, table, tiles, shared)

    def loss(mixture, cameras):
        return views_loss(lambda image, _: image.density, mixture, cameras, jnp.zeros((2, *size), jnp.float32))

    def kept(function) -> int:
        inputs = some_mixture(0, components), cameras_of(*some_views())
        inputs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), inputs)
        program = jax.jit(function, compiler_options=FAST).lower(*inputs).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert kept(needed) < 40 * 4 * pairs
    one_tile, images = 4 * components * 16**2, 4 * 2 * 256**2  # a block has one tile at least
    assert kept(loss) < 40 * 4 * pairs + 2 * 256 * components + 6 * one_tile + 3 * images


@partial(jax.jit, compiler_options=FAST, static_argnames="tiled")
def silhouette_loss(tiled: bool, mixture: Mixture, cameras: Cameras, mask: jax.Array) -> tuple:
    """Cross-entropy of masks in tiles or along rays; value and slopes."""

    def loss(image, mask):
        return pixel_cross_entropy(image.density, mask)

    def total(mixture):
        if tiled:
            return views_loss(loss, mixture, cameras, mask)
        return loss(render(mixture, pixel_rays(cameras, *mask.shape[1:]), outputs=("density",)), mask).sum()

    return jax.value_and_grad(total)(mixture)


def ball_mask(cameras: Cameras, size: tuple[int, int], middle, radius: float) -> np.ndarray:
    """Which pixels see a ball."""
    origin, direction = (np.asarray(x, float) for x in pixel_rays(cameras, *size))
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return np.linalg.norm(np.cross(unit, np.asarray(middle) - origin), axis=-1) < radius


def ball(components: int = 40) -> Mixture:
    """Components that fill a ball of radius 0.5."""
    place = np.random.default_rng(0).normal(size=(components, 3))
    place *= 0.4 / np.linalg.norm(place, axis=1, keepdims=True)
    return Mixture(jnp.asarray(place), jnp.tile(6.0 * jnp.eye(3), (components, 1, 1)), jnp.zeros(components))


def test_far_starts(monkeypatch):
    """A ball, moved by its size or until no component touches the mask, comes back, pulled as along rays."""
    monkeypatch.setattr(fm_tiles, "CLASSES", (8,))
    single = partial(jax.tree.map, lambda x: jnp.asarray(x, jnp.float32))
    cameras = cameras_of(*some_views(size=(24, 24)))
    mask = jnp.asarray(ball_mask(cameras, (24, 24), [0.0, 0.0, 0.0], 0.5), jnp.float32)
    for shift in (1.0, 1.6):
        mixture = ball()
        mixture = single(mixture._replace(mean=mixture.mean + shift * jnp.array([[0.6, 0.0, 0.8]])))
        losses, away, nearest = [], [], []
        pulls = [silhouette_loss(way, mixture, single(cameras), mask) for way in (True, False)]
        check_alike(*pulls, 1e-3)  # float32
        for _ in range(12):
            loss, slope = silhouette_loss(True, mixture, single(cameras), mask)
            losses.append(float(loss))
            away.append(float(jnp.linalg.norm(mixture.mean.mean(0))))
            nearest.append(float(jnp.linalg.norm(mixture.mean, axis=1).min()))
            longest = jnp.linalg.norm(slope.mean, axis=1).max()
            mixture = mixture._replace(mean=mixture.mean - 0.03 * slope.mean / longest)
        for falling in (losses, away, nearest):
            assert np.all(np.diff(falling) < 0)
        assert losses[-1] < 0.8 * losses[0]  # the components nearest to the mask go first
        assert nearest[-1] < nearest[0] - 0.2


@pytest.mark.slow
def test_ten_million_pairs_are_finite():
    generator = np.random.default_rng(0)
    components, size = 160, (256, 256)
    spread = np.exp(generator.uniform(-6.0, 6.0, (components, 1, 1)))
    mixture = some_mixture(1, components)
    mixture = mixture._replace(
        mean=mixture.mean * 10,
        precision_cholesky=mixture.precision_cholesky * spread,
        log_weight=mixture.log_weight * 9,
    )
    cameras = cameras_of(*some_views(size=size))
    mixture, cameras = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (mixture, cameras))
    worth = jnp.ones((2, *size), jnp.float32)

    def loss(image, worth):
        return worth * (image.density + image.depth)

    def total(mixture, turn):
        sight = Sight(1.0, ("density", "depth"))
        return views_loss(loss, mixture, cameras._replace(world_from_camera=turn), worth, sight)

    for leaf in jax.tree.leaves(jax.jit(jax.value_and_grad(total, (0, 1)))(mixture, cameras.world_from_camera)):
        assert np.all(np.isfinite(leaf))
    names = ("density", "alpha", "depth", "normal")
    image = jax.jit(lambda mixture: render_views(mixture, cameras, size, outputs=names))(mixture)
    assert all(np.all(np.isfinite(field)) for field in image if field is not None)
