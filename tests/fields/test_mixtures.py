import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from fm_render import Mixture
from fmb.fields import em
from fmb.fields.em import COVARIANCE_FLOOR, Gaussians, expected, fit_gaussians, maximised, products
from fmb.fields.mixtures import (
    APART,
    SURFACE_OPACITY,
    VOLUME_OPACITY,
    covariance,
    cut_in_halves,
    fit_gmm,
    from_gaussians,
    lower_factor,
    sample_mixture,
    sphere_mixture,
)
from fmb.geometry.cameras import pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.metrics import iou
from tests.reference import render_reference


def to_sklearn(mixture: Mixture) -> GaussianMixture:
    """The GaussianMixture whose density is proportional to the mixture's field: an independent witness."""
    factor = np.asarray(mixture.precision_cholesky, float)
    gmm = GaussianMixture(len(factor), covariance_type="full")
    log_mass = np.asarray(mixture.log_weight) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    gmm.weights_ = np.exp(log_mass - logsumexp(log_mass))
    gmm.means_ = np.asarray(mixture.mean, float)
    gmm.precisions_cholesky_ = lower_factor(factor[:, ::-1])[:, ::-1, ::-1]
    gmm.precisions_ = factor @ np.swapaxes(factor, 1, 2)
    gmm.covariances_ = np.asarray(covariance(mixture), float)
    gmm.converged_, gmm.n_features_in_ = True, 3
    return gmm


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    """20,000 points uniform in a ball of scale 1, whose surface deviates by radius / sqrt(3) = 1 / 3 in each axis."""
    generator = np.random.default_rng(0)
    direction = generator.normal(size=(20_000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * np.cbrt(generator.uniform(size=(20_000, 1))) / np.sqrt(3.0)


@pytest.fixture(scope="module")
def gmm(ball) -> GaussianMixture:
    """Seven components in the ball."""
    return GaussianMixture(7, random_state=3, tol=1e-2).fit(ball[:1000])


def density(gmm: GaussianMixture) -> Gaussians:
    """What scikit-learn has found, in our own words."""
    return Gaussians(gmm.weights_, gmm.means_, gmm.covariances_)


@pytest.fixture
def mixture() -> Mixture:
    """Three components, one of them a disc 500 times thinner than wide."""
    generator = np.random.default_rng(4)
    factor = np.tril(generator.normal(size=(3, 3, 3)))
    factor[:, range(3), range(3)] = [[3.0, 4.0, 2.0], [1.0, 2.0, 500.0], [2.0, 2.0, 3.0]]
    return Mixture(generator.normal(size=(3, 3)), factor, np.log([0.5, 2.0, 1.0]))


def test_many_components_share_points_with_the_nearest_alone(monkeypatch):
    """Hardly less likely on points that were left out than after EM with all pairs."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(6000, 3))
    points /= np.maximum(1.0, np.linalg.norm(points, axis=1, keepdims=True))  # a ball, most of it on its surface
    whole = fit_gaussians(points[:4000], 60, 0)
    monkeypatch.setattr(em, "MANY", 50)
    near = fit_gaussians(points[:4000], 60, 0)
    (all_of, some) = (np.mean(log_density(points[4000:], found)) for found in (whole, near))
    assert some > all_of - 0.1 and not np.array_equal(whole.mean, near.mean)
    assert near.weight.sum() == pytest.approx(1.0) and np.linalg.eigvalsh(near.covariance).min() > 0


def log_density(points, found) -> np.ndarray:
    """Of the mixture at the points, by SciPy."""
    parts = zip(found.weight, found.mean, found.covariance, strict=True)
    return np.log(sum(weight * multivariate_normal(mean, covariance).pdf(points) for weight, mean, covariance in parts))


def test_spheres_are_those_of_the_released_program():
    scale = 2.2
    spheres = sphere_mixture(np.random.default_rng(0), 4000, scale)
    assert_allclose(spheres.precision_cholesky, np.tile(30.0 / scale * np.eye(3), (4000, 1, 1)), rtol=1e-15)
    assert_allclose(np.exp(spheres.log_weight), 1.0 / 4000, rtol=1e-13)
    deviation = 0.1 * np.sqrt(scale)
    assert np.std(spheres.mean) == pytest.approx(deviation, rel=4.0 / np.sqrt(2.0 * 12_000))
    assert np.abs(np.mean(spheres.mean, axis=0)).max() < 4.0 * deviation / np.sqrt(4000)
    heavier = sphere_mixture(np.random.default_rng(0), 5, weight_factor=3.0)
    assert_allclose(np.exp(heavier.log_weight), 3.0 / 5, rtol=1e-13)


def test_precisions_become_lower_triangular(gmm):
    mixture = from_gaussians(density(gmm))
    factor = np.asarray(mixture.precision_cholesky)
    assert np.array_equal(factor, np.tril(factor))
    assert_allclose(factor, np.linalg.cholesky(gmm.precisions_), rtol=1e-8, atol=1e-8 * np.abs(factor).max())
    assert_allclose(covariance(mixture), gmm.covariances_, rtol=1e-10, atol=1e-12)
    assert_allclose(mixture.mean, gmm.means_, rtol=1e-15)


def test_thin_components_keep_their_digits(mixture):
    back = from_gaussians(density(to_sklearn(mixture)))
    assert_allclose(back.precision_cholesky, mixture.precision_cholesky, rtol=1e-8, atol=1e-9)


def test_scikit_learn_sees_the_field_as_a_density(mixture):
    points = np.random.default_rng(1).normal(size=(20, 3))
    gmm = to_sklearn(mixture)
    offset = points[:, None] - mixture.mean
    squared = np.sum(np.einsum("pmi,mij->pmj", offset, mixture.precision_cholesky) ** 2, axis=-1)
    log_field = np.log(np.sum(np.exp(mixture.log_weight - 0.5 * squared), axis=1))
    ratio = gmm.score_samples(points) - log_field
    assert_allclose(ratio, ratio[0], rtol=1e-10)
    # and its integral is 1: the weights times normal densities of these covariances
    normal = [multivariate_normal(m, c) for m, c in zip(mixture.mean, np.asarray(covariance(mixture)), strict=True)]
    density = sum(w * n.pdf(points) for w, n in zip(gmm.weights_, normal, strict=True))
    assert_allclose(gmm.score_samples(points), np.log(density), rtol=1e-8)
    assert gmm.sample(5)[0].shape == (5, 3)


def test_volume_round_trip_keeps_the_gmm(gmm, ball):
    back = to_sklearn(from_gaussians(density(gmm), "volume", weight_factor=7.0))
    assert_allclose(back.weights_, gmm.weights_, rtol=1e-12)
    assert back.score(ball) == pytest.approx(gmm.score(ball), rel=1e-12)


def test_opacities(gmm):
    volume = np.exp(from_gaussians(density(gmm), "volume").log_weight)
    assert gmm.weights_ @ volume == pytest.approx(VOLUME_OPACITY, rel=1e-12)
    peak = gmm.weights_ / np.sqrt(np.linalg.det(gmm.covariances_))
    assert_allclose(volume / volume[0], peak / peak[0], rtol=1e-10)
    surface = np.exp(from_gaussians(density(gmm), "surface", weight_factor=0.5).log_weight)
    assert_allclose(surface**2 / gmm.weights_, 7.0 * (0.5 * SURFACE_OPACITY) ** 2, rtol=1e-12)


def test_a_step_is_scikit_learns(ball, gmm):
    start = fit_gaussians(ball[:2000], 5, seed=0)
    unit = {"weights_init": start.weight, "means_init": start.mean, "precisions_init": np.linalg.inv(start.covariance)}
    with pytest.warns(ConvergenceWarning):
        theirs = GaussianMixture(5, max_iter=1, reg_covar=COVARIANCE_FLOOR, **unit).fit(ball[2000:])
    known = products(ball[2000:])
    ours = maximised(known, expected(known, start))
    for mine, other in zip(ours, density(theirs), strict=True):
        assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_fit_is_as_likely_as_scikit_learns_own(ball):
    found = fit_gaussians(ball[:10_000], 20, seed=0)
    ours = logsumexp(
        [multivariate_normal(m, c).logpdf(ball[10_000:]) for m, c in zip(found.mean, found.covariance, strict=True)],
        axis=0,
        b=found.weight[:, None],
    )
    with threadpool_limits(1):
        theirs = GaussianMixture(20, random_state=0, max_iter=30, tol=1e-3).fit(ball[:10_000])
    assert ours.mean() > theirs.score(ball[10_000:]) - 0.01  # its own seeds differ by that


def test_fit_does_not_depend_on_the_unit(ball):
    points = ball[:2000]
    near, far = fit_gmm(points, 5, seed=1), fit_gmm(1000.0 * points + 5000.0, 5, seed=1)
    assert_allclose(far.mean, 1000.0 * np.asarray(near.mean) + 5000.0, atol=1e-3)
    assert_allclose(far.precision_cholesky, np.asarray(near.precision_cholesky) / 1000.0, rtol=1e-4, atol=1e-6)
    assert_allclose(far.log_weight, near.log_weight, atol=1e-4)


@pytest.mark.parametrize(("kind", "count"), [("volume", 40), ("surface", 40)])
def test_silhouettes_of_a_ball_from_the_start(ball, kind, count):
    radius = 1.0 / np.sqrt(3.0)
    points = ball if kind == "volume" else ball / np.linalg.norm(ball, axis=1, keepdims=True) * radius
    mixture = fit_gmm(points, count, 0, kind)
    rays = pixel_rays(random_cameras(np.random.default_rng(2), 2, 3.0, pinhole_intrinsics(48, 48, 45.0)), 48, 48)
    alpha = render_reference(mixture, rays, 1.0).alpha
    origin, direction = np.asarray(rays.origin), np.asarray(rays.direction)
    closest = np.linalg.norm(np.cross(origin, direction), axis=-1) / np.linalg.norm(direction, axis=-1)
    assert iou(alpha, (closest < radius).astype(float)) > 0.9  # measured: 0.909 and 0.934


def test_samples_follow_the_field(mixture):
    count = 40_000
    points = sample_mixture(mixture, count, np.random.default_rng(0))
    gmm = to_sklearn(mixture)
    mean = gmm.weights_ @ gmm.means_
    offset = gmm.means_ - mean
    spread = np.einsum("m,mij->ij", gmm.weights_, gmm.covariances_ + offset[:, :, None] * offset[:, None, :])
    assert np.abs(points.mean(axis=0) - mean).max() < 4.0 * np.sqrt(spread.max() / count)
    assert np.abs(np.cov(points.T) - spread).max() < 8.0 * spread.max() / np.sqrt(count)
    assert np.array_equal(points, sample_mixture(mixture, count, np.random.default_rng(0)))
    assert sample_mixture(mixture, 0, np.random.default_rng(0)).shape == (0, 3)


@pytest.mark.parametrize("points", ["plane", "two places"])
def test_flat_and_repeated_points_are_fitted(points):
    generator = np.random.default_rng(0)
    flat = generator.uniform(size=(300, 3)) * [1.0, 1.0, 0.0]
    mixture = fit_gmm(flat if points == "plane" else np.repeat(flat[:2], 50, axis=0), 4, 0)
    assert all(np.all(np.isfinite(array)) for array in mixture[:2])
    assert np.all(np.asarray(mixture.log_weight) < 10.0)


def test_points_that_cannot_be_fitted():
    points = np.random.default_rng(0).normal(size=(30, 3))
    broken = points.copy()
    broken[3, 1], broken[8, 0] = np.nan, np.inf
    for call, message in (
        (lambda: fit_gmm(points, 40, 0), "num_mixtures 40: more than the 30 points to fit them to"),
        (lambda: fit_gmm(points, 0, 0), "num_mixtures 0: must be at least 1"),
        (lambda: fit_gmm(broken, 4, 0), "points for EM: 2 of 30 are not finite"),
        (lambda: fit_gmm(np.ones((30, 3)), 4, 0), "points for EM: all 30 coincide"),
        (lambda: sphere_mixture(np.random.default_rng(0), 0), "num_mixtures 0: must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_two_halves_are_like_the_whole():
    generator = np.random.default_rng(3)
    lower = np.tril(generator.normal(size=(4, 3, 3))) + 3.0 * np.eye(3)
    whole = Mixture(*map(jnp.asarray, (generator.normal(size=(4, 3)), lower, generator.normal(size=4))))
    found = cut_in_halves(whole)

    def mass(mixture: Mixture) -> np.ndarray:
        return np.exp(np.asarray(mixture.log_weight)) * np.sqrt(np.linalg.det(covariance(mixture)))

    pairs = [np.asarray(field).reshape(2, 4, *np.shape(field)[1:]) for field in found]
    np.testing.assert_allclose(mass(found).reshape(2, 4).sum(axis=0), mass(whole))
    np.testing.assert_allclose(pairs[0].mean(axis=0), whole.mean, atol=1e-12)
    apart = (pairs[0][1] - pairs[0][0]) / 2.0
    within = covariance(found).reshape(2, 4, 3, 3).mean(axis=0)
    np.testing.assert_allclose(within + apart[:, :, None] * apart[:, None], covariance(whole), atol=1e-12)
    spread, axes = np.linalg.eigh(covariance(whole))
    longest = np.abs(np.einsum("mi,mi->m", apart, axes[:, :, 2]))
    np.testing.assert_allclose(longest, APART * np.sqrt(spread[:, 2]))
    np.testing.assert_allclose(np.linalg.norm(apart, axis=1), longest)
