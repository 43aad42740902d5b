"""The covariance of a fit: its slopes against JAX's, its claims against refits to other draws of the data."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from numpy.testing import assert_allclose

from fm_render import Mixture, Rays, Settings, render
from fmb.fit.losses import silhouette_cross_entropy
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, pixel_rays, project, random_cameras
from fmb.geometry.noise import damaged
from fmb.geometry.views import Views, select_views
from fmb.pictures.uncertainty import GROUND, ellipse_panel, projected
from fmb.shape import uncertainty
from fmb.shape.uncertainty import blends, fit_covariance, look_deviation, moved, ray_slopes, view_information

SIZE, VIEWS = (14, 14), 32
AUTODIFF = Settings(gradient="autodiff")  # second derivatives need forward mode


class Refits(NamedTuple):
    """Best mixtures for several draws of the data, and what a camera sees of each: [draw, view, height, width]."""

    mixture: Mixture
    alpha: np.ndarray
    depth: np.ndarray


def some_mixture(count: int = 2) -> Mixture:
    """Overlapping components, every one of them visible."""
    generator = np.random.default_rng(3)
    lower = np.tril(generator.normal(size=(count, 3, 3)), -1) + np.eye(3) * generator.uniform(3, 5, (count, 1, 3))
    return Mixture(*map(jnp.asarray, (0.25 * generator.normal(size=(count, 3)), lower, np.linspace(0.6, 1.2, count))))


def two_apart() -> Mixture:
    """Two components that hardly overlap: Newton's method finds them again from any draw of the masks."""
    lower = np.array([[[5.0, 0, 0], [0.8, 4.5, 0], [-0.6, 0.5, 6.0]], [[5.5, 0, 0], [-1.0, 5.0, 0], [0.7, 0.9, 4.5]]])
    return Mixture(*map(jnp.asarray, (np.array([[0.35, 0.1, 0.0], [-0.3, -0.1, 0.1]]), lower, np.array([0.6, 0.5]))))


def some_cameras(count: int, seed: int = 0) -> Cameras:
    """Narrow views, so that the object fills them."""
    return random_cameras(np.random.default_rng(seed), count, 3.0, pinhole_intrinsics(*SIZE, 26.0))


@partial(jax.jit, static_argnums=2)
def seen(mixture: Mixture, rays: Rays, settings: Settings = Settings()) -> tuple[Array, Array]:
    """Alpha and depth."""
    sight = render(mixture, rays, settings=settings)
    return sight.alpha, sight.depth


@jax.jit
def newton(mixture: Mixture, rays: Rays, silhouette: Array, weight: Array) -> Array:
    """Step from the mixture to the least cross-entropy, by Newton's method, each Hessian used five times."""

    def loss(step: Array) -> Array:
        density = render(moved(mixture, step.reshape(-1, 10)), rays, outputs=("density",), settings=AUTODIFF).density
        return silhouette.size * silhouette_cross_entropy(density, silhouette, weight)

    def improve(step: Array, _: None) -> tuple[Array, None]:
        value, axes = jnp.linalg.eigh(jax.hessian(loss)(step))

        def descend(step: Array, _: None) -> tuple[Array, None]:
            change = axes @ ((axes.T @ jax.grad(loss)(step)) / jnp.maximum(jnp.abs(value), 1.0))
            return step - change * jnp.minimum(1.0, 0.5 / jnp.abs(change).max()), None

        return jax.lax.scan(descend, step, None, length=5)[0], None

    start = jnp.zeros(10 * len(mixture.mean), silhouette.dtype)
    return jax.lax.scan(improve, start, None, length=2)[0].reshape(-1, 10)


def refit(mixture: Mixture, cameras: Cameras, silhouettes: np.ndarray, weights: np.ndarray, look: Cameras) -> Refits:
    """The best mixture near the one given for each of `silhouettes`, views counted by `weights` [draw, view]."""
    rays, look_rays = pixel_rays(cameras, *SIZE), pixel_rays(look, *SIZE)
    found = []
    for silhouette, weight in zip(silhouettes, weights, strict=True):
        per_pixel = jnp.broadcast_to(jnp.asarray(weight, float)[:, None, None], silhouette.shape)
        found.append(moved(mixture, newton(mixture, rays, jnp.asarray(silhouette, float), per_pixel)))
    alpha, depth = zip(*(seen(one, look_rays) for one in found), strict=True)
    return Refits(jax.tree.map(lambda *x: jnp.stack(x), *found), np.array(alpha), np.array(depth))


@pytest.mark.parametrize(
    ("rule", "blending"),
    [
        pytest.param("linear", "two_parameter", marks=pytest.mark.slow),
        ("quadratic", "five_parameter"),
        pytest.param("linear", "sorted", marks=pytest.mark.slow),
    ],
)
def test_slopes_are_those_of_the_renderer(rule, blending):
    mixture, settings = some_mixture(3), Settings(rule, blending, "autodiff")
    rays = jax.tree.map(lambda x: x[0, ::3, ::3].reshape(-1, 3), pixel_rays(some_cameras(1), *SIZE))
    flat = jnp.concatenate([x.T for x in rays])
    outputs = ("density", "alpha", "depth")

    def images(step: Array) -> list[Array]:
        sight = render(moved(mixture, step), rays, outputs=outputs, settings=settings)
        return [getattr(sight, name) for name in outputs]

    @jax.jit
    def both(step: Array) -> tuple:
        ours = [ray_slopes(mixture, flat, blends(settings)[name], rule) for name in outputs]
        return images(step), jax.jacfwd(images)(step), ours

    for value, slope, found in zip(*both(jnp.zeros((3, 10))), strict=True):
        assert_allclose(found[0], value, rtol=1e-12, atol=1e-14)
        assert_allclose(found[1].T, slope.reshape(len(value), -1), rtol=1e-9, atol=1e-9)


def test_information_and_score_of_one_view():
    # sums over pixels of slope slope^T / (p (1 - p)) and of the log likelihood's slope, p the mask's probability of 1
    mixture, cameras = some_mixture(), some_cameras(2)
    silhouette = np.random.default_rng(0).uniform(size=(2, *SIZE))
    rays = jax.tree.map(lambda x: x[1], pixel_rays(cameras, *SIZE))

    def probability(step: Array) -> Array:
        alpha = render(moved(mixture, step.reshape(-1, 10)), rays, outputs=("alpha",), settings=AUTODIFF).alpha
        return (uncertainty.MISLABELLED + (1 - 2 * uncertainty.MISLABELLED) * alpha).reshape(-1)

    def loss(step: Array) -> Array:
        p, y = probability(step), silhouette[1].reshape(-1)
        return -jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log1p(-p))

    step = jnp.zeros(20)
    p, slope = map(np.asarray, jax.jit(lambda step: (probability(step), jax.jacfwd(probability)(step)))(step))
    information, score = view_information(mixture, Views(cameras, silhouette), 1)
    assert_allclose(information, (slope / (p * (1 - p))[:, None]).T @ slope, rtol=1e-9, atol=1e-9)
    assert_allclose(score, jax.jit(jax.grad(loss))(step), rtol=1e-9, atol=1e-9)


def test_an_unseen_component_has_the_prior():
    mixture = some_mixture(3)
    mixture = mixture._replace(mean=mixture.mean.at[2].set(jnp.array([0.0, 50.0, 0.0])))
    cameras = some_cameras(4)
    silhouette = np.asarray(seen(mixture, pixel_rays(cameras, *SIZE))[0])
    found = fit_covariance(mixture, Views(cameras, silhouette), prior_deviation=0.7)
    radii = 1 / np.linalg.svd(np.asarray(mixture.precision_cholesky[2]), compute_uv=False)
    assert_allclose(found.mean_deviation[2], 0.7 * np.sort(radii)[::-1], rtol=1e-6)
    assert_allclose([found.size_deviation[2], found.weight_deviation[2]], [0.7 / np.sqrt(3), 0.7], rtol=1e-6)
    assert found.weight_deviation[:2].max() < 0.35 and found.size_deviation[:2].max() < 0.2
    assert_allclose(found.covariance, found.covariance.T, atol=1e-15)


def test_the_covariance_leaves_out_a_view_at_a_time():
    mixture, cameras = some_mixture(), some_cameras(3)
    views = Views(cameras, np.random.default_rng(3).uniform(size=(3, *SIZE)))
    information, score = map(np.array, zip(*(view_information(mixture, views, view) for view in range(3)), strict=True))
    total = information.sum(0) + np.eye(20)
    moves = np.array([np.linalg.solve(total - information[view], score[view]) for view in range(3)])
    prior = np.linalg.inv(total) @ np.linalg.inv(total)
    expected = 2 / 3 * 3 * np.cov(moves.T, bias=True) + prior
    assert_allclose(fit_covariance(mixture, views).covariance, expected, rtol=1e-9, atol=1e-12)


def test_blocks_order_and_invalid_pixels_change_nothing(monkeypatch):
    mixture, cameras = some_mixture(3), some_cameras(3)
    generator = np.random.default_rng(1)
    silhouette, valid = generator.uniform(size=(3, *SIZE)), generator.uniform(size=(3, *SIZE)) < 0.7
    views = Views(cameras, silhouette, valid=valid)
    whole = fit_covariance(mixture, views)
    looks = look_deviation(mixture, whole, cameras, SIZE)
    monkeypatch.setattr(uncertainty, "SLOPES_PER_BLOCK", 4_000)  # 3 blocks a view, the last one not full
    spoilt = views._replace(silhouette=np.where(valid, silhouette, 1 - silhouette))
    order = np.array([2, 0, 1])
    found = fit_covariance(jax.tree.map(lambda x: x[order], mixture), spoilt)
    back = np.argsort(order)
    # sums in another order, then two solves
    assert_allclose(found.mean_deviation[back], whole.mean_deviation, rtol=1e-8)
    assert_allclose(np.abs(np.einsum("kij,kij->kj", found.mean_axes[back], whole.mean_axes)), 1, rtol=1e-6)
    assert_allclose(found.size_deviation[back], whole.size_deviation, rtol=1e-8)
    assert_allclose(found.weight_deviation[back], whole.weight_deviation, rtol=1e-8)
    again = look_deviation(mixture, whole, cameras, SIZE)
    assert_allclose(again.depth, looks.depth, rtol=1e-9, atol=1e-12)
    assert_allclose(again.alpha, looks.alpha, rtol=1e-9, atol=1e-12)


def test_runs_are_in_single_precision():
    mixture, cameras = some_mixture(3), some_cameras(4)
    views = Views(cameras, np.asarray(seen(mixture, pixel_rays(cameras, *SIZE))[0]) > 0.5)
    views = views._replace(silhouette=views.silhouette.astype(np.float32))
    single = jax.tree.map(lambda x: x.astype(jnp.float32), mixture)
    expected, found = fit_covariance(mixture, views), fit_covariance(single, views)
    assert_allclose(found.mean_deviation, expected.mean_deviation, rtol=1e-3)
    looks = look_deviation(single, found, cameras, SIZE)
    assert looks.depth.dtype == np.float32 and looks.depth.shape == (4, *SIZE)
    assert_allclose(looks.depth, look_deviation(mixture, expected, cameras, SIZE).depth, rtol=5e-3, atol=1e-4)


@pytest.mark.slow
def test_calibrated_where_the_model_is_true():
    # masks drawn pixel by pixel from a known mixture; each is fitted again, and says itself how sure it is
    truth, cameras, look = two_apart(), some_cameras(VIEWS), some_cameras(3, seed=9)
    generator, draws = np.random.default_rng(5), 12
    alpha = np.asarray(seen(truth, pixel_rays(cameras, *SIZE))[0])
    masks = (generator.uniform(size=(draws, *alpha.shape)) < alpha).astype(float)
    refits = refit(truth, cameras, masks, np.ones((draws, VIEWS)), look)
    true_alpha, true_depth = map(np.asarray, seen(truth, pixel_rays(look, *SIZE)))
    depth_score, alpha_score = [], []
    for draw in range(draws):
        mixture = jax.tree.map(lambda x, draw=draw: x[draw], refits.mixture)
        sure = look_deviation(mixture, fit_covariance(mixture, Views(cameras, masks[draw])), look, SIZE)
        visible, edge = true_alpha > 0.5, np.abs(true_alpha - 0.5) < 0.45
        depth_score.append(((refits.depth[draw] - true_depth) / sure.depth)[visible])
        alpha_score.append(((refits.alpha[draw] - true_alpha) / sure.alpha)[edge])
    # 12 draws of 20 parameters: the root mean square of a score is known to some 15 %
    assert 0.7 < np.sqrt(np.mean(np.square(depth_score))) < 1.4
    assert 0.7 < np.sqrt(np.mean(np.square(alpha_score))) < 1.4


@pytest.mark.slow
def test_calibrated_on_damaged_silhouettes():
    # sharp masks, half of them without an eighth: pixels are anything but independent; the bootstrap knows nothing
    truth, cameras, look = two_apart(), some_cameras(VIEWS), some_cameras(3, seed=9)
    generator, draws = np.random.default_rng(6), 16
    rays = pixel_rays(cameras, *SIZE)
    views = Views(cameras, (np.asarray(seen(truth, rays)[0]) > 0.5).astype(float))
    views = damaged(views, generator)
    once = refit(truth, cameras, views.silhouette[None], np.ones((1, VIEWS)), look)
    fitted = jax.tree.map(lambda x: x[0], once.mixture)
    weights = generator.multinomial(VIEWS, np.full(VIEWS, 1 / VIEWS), size=draws)
    again = refit(fitted, cameras, np.tile(views.silhouette, (draws, 1, 1, 1)), weights, look)
    sure = look_deviation(fitted, fit_covariance(fitted, views), look, SIZE)
    visible, edge = once.alpha[0] > 0.5, np.abs(once.alpha[0] - 0.5) < 0.45
    for name, where in (("depth", visible), ("alpha", edge)):
        scatter = getattr(again, name).std(axis=0, ddof=1)[where]
        # 16 draws know a standard deviation to 18 %
        assert 0.7 < np.median(scatter / getattr(sure, name)[where]) < 1.4


def test_the_picture_shows_components_where_the_camera_sees_them():
    mixture = some_mixture(3)
    camera = jax.tree.map(lambda field: np.asarray(field[0], float), some_cameras(1))
    one = jax.tree.map(lambda field: field[None], camera)
    centre, covariance, depth = projected(mixture, camera)
    image, distance = project(one, mixture.mean)
    assert_allclose(centre, image[0], rtol=1e-12)
    assert_allclose(depth, distance[0], rtol=1e-12)
    for component, (mean, factor) in enumerate(zip(mixture.mean, mixture.precision_cholesky, strict=True)):
        slope = jax.jacfwd(lambda point: project(one, point[None])[0][0, 0])(mean)
        assert_allclose(covariance[component], slope @ jnp.linalg.inv(factor @ factor.T) @ slope.T, rtol=1e-10)


@pytest.mark.slow
def test_an_ellipse_of_the_picture_ends_where_its_component_has_alpha_a_half():
    # on the axis at distance 3; 2 (log_weight - ln ln 2) is 4, so the ball ends at two standard deviations
    mixture = Mixture(jnp.array([[0.0, 0.0, 3.0]]), 10.0 * jnp.eye(3)[None], jnp.array([2.0 + np.log(np.log(2.0))]))
    side = 64
    camera = Cameras(np.eye(4), pinhole_intrinsics(side, side, 45.0))
    panel = ellipse_panel(mixture, camera, (side, side), 4, np.array([[200, 30, 40]]))
    rays = pixel_rays(jax.tree.map(lambda field: field[None], camera), side, side)
    alpha = np.asarray(render(mixture, rays, 1.0, ("alpha",)).alpha[0])
    drawn = (panel != GROUND).any(axis=2).reshape(side, 4, side, 4).mean(axis=(1, 3))
    # the picture is of first order: a ball of this size is seen 0.2 % larger
    assert np.sum(drawn) == pytest.approx(np.sum(alpha > 0.5), rel=0.05)
    assert np.all(drawn[alpha > 0.6] == 1) and np.all(drawn[alpha < 0.3] == 0)
    assert tuple(panel[2 * side, 2 * side]) == (200, 30, 40)


def test_errors():
    mixture, cameras = some_mixture(), some_cameras(2)
    views = Views(cameras, np.zeros((2, *SIZE)))
    with pytest.raises(ValueError, match="views: 1 view; the scatter between views needs at least 2"):
        fit_covariance(mixture, select_views(views, slice(1)))
    with pytest.raises(ValueError, match="prior_deviation 0.0: must be positive"):
        fit_covariance(mixture, views, prior_deviation=0.0)
    with pytest.raises(ValueError, match="intersection 'exact' is not one of linear, quadratic, cubic"):
        fit_covariance(mixture, views, settings=Settings("exact"))
    with pytest.raises(ValueError, match="blending 'none' is not one of"):
        look_deviation(mixture, fit_covariance(mixture, views), cameras, SIZE, Settings(blending="none"))
