import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import lsq_linear

from fm_render import Mixture, Settings, TwoBetas, render
from fmb.geometry.cameras import pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.views import Views
from fmb.shape.color import RIDGE, fit_color
from fmb.shape.edges import Edges, mixture_from_edges

SIZE = (18, 20)
seen = jax.jit(render, static_argnums=(3, 4))
SETTINGS = Settings(betas=TwoBetas(near=20.0))
COLOR = np.array([[0.9, 0.1, 0.2], [0.0, 1.0, 0.4], [0.3, 0.3, 0.8]])


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    """Three balls around the origin, in single precision."""
    mean = jnp.array([[-0.4, 0.0, 0.1], [0.4, 0.1, -0.1], [0.0, -0.4, 0.0]])
    edges = Edges(mean, jnp.tile(jnp.eye(3) / 0.3, (3, 1, 1)), jnp.full(3, 2.0))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), mixture_from_edges(edges))


@pytest.fixture(scope="module")
def views(mixture) -> Views:
    """Six views of the balls in COLOR; a background of nonsense."""
    cameras = random_cameras(np.random.default_rng(0), 6, 3.0, pinhole_intrinsics(*SIZE, 30.0))
    rays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), pixel_rays(cameras, *SIZE))
    sight = seen(mixture, rays, 1.0, ("alpha", "color", "weight"), SETTINGS, jnp.asarray(COLOR, jnp.float32))
    silhouette = (np.asarray(sight.alpha) >= 0.5).astype(float)
    color = np.where(silhouette[..., None] > 0, np.asarray(sight.color, float), 0.77)
    return Views(cameras, silhouette, color=color)


def test_known_colours_are_found(mixture, views):
    color = fit_color(mixture, views, SETTINGS)
    assert color.shape == (3, 3) and color.min() >= 0.0 and color.max() <= 1.0
    # the ridge pulls by a pixel among some hundred
    assert_allclose(color, COLOR, atol=0.01)


def test_the_solution_is_the_constrained_minimum(mixture, views, monkeypatch):
    monkeypatch.setattr(
        "fmb.shape.color.PAIRS_PER_BLOCK", 3 * 37
    )  # blocks of 37 rays, most views end with a part of one
    generator = np.random.default_rng(1)
    color = np.clip(1.6 * views.color - 0.3 + 0.2 * generator.normal(size=views.color.shape), 0, 1)
    valid = generator.uniform(size=views.silhouette.shape) > 0.3
    noisy = views._replace(color=np.where(valid[..., None], color, np.nan), valid=valid)
    found = fit_color(mixture, noisy, SETTINGS)
    rays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), pixel_rays(views.cameras, *SIZE))
    sight = seen(mixture, rays, 1.0, ("alpha", "color", "weight"), SETTINGS, jnp.asarray(COLOR, jnp.float32))
    weight = np.asarray(sight.weight, float)
    keep = valid & (views.silhouette > 0)
    rows, wanted = weight[keep], color[keep]
    prior = (rows.T @ wanted) / rows.sum(0)[:, None]
    for channel in range(3):
        system = np.vstack([rows, np.sqrt(RIDGE) * np.eye(3)])
        right = np.concatenate([wanted[:, channel], np.sqrt(RIDGE) * prior[:, channel]])
        expected = lsq_linear(system, right, (0.0, 1.0), tol=1e-14).x
        assert_allclose(found[:, channel], expected, atol=2e-4)  # weights in float32


def test_what_is_not_seen_takes_the_colour_of_its_neighbour(mixture, views):
    hidden = Mixture(
        jnp.concatenate([mixture.mean, jnp.array([[0.41, 0.12, -0.1], [40.0, 3.0, 0.0]], jnp.float32)]),
        jnp.concatenate([mixture.precision_cholesky, mixture.precision_cholesky[:2]]),
        jnp.concatenate([mixture.log_weight, jnp.array([-60.0, -60.0], jnp.float32)]),
    )
    color = fit_color(hidden, views, SETTINGS)
    assert_allclose(color[:3], COLOR, atol=0.01)
    mixed = fit_color(mixture, views, SETTINGS)[1]
    assert np.all(np.abs(color[3:] - mixed) < 0.25), "the mean colour of where the nearest one is seen"


def test_views_that_show_no_colour(mixture, views):
    with pytest.raises(ValueError, match="fit_color: the views have no colour"):
        fit_color(mixture, views._replace(color=None))
    with pytest.raises(ValueError, match="fit_color: no valid pixel is object in both the views and the mixture"):
        fit_color(mixture, views._replace(valid=np.zeros(views.silhouette.shape, bool)))
    faint = mixture._replace(log_weight=mixture.log_weight - 30)
    with pytest.raises(ValueError, match="no valid pixel is object in both"):
        fit_color(faint, views)
