import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose

from fmb.fields.mixtures import fit_gmm, sphere_mixture
from fmb.shape.options import ModelOptions
from fmb.shape.start import SPHERE_WEIGHT, start_mixture


@pytest.fixture
def ball() -> trimesh.Trimesh:
    """A ball of radius 1 / sqrt(3), whose scale is 1."""
    return trimesh.creation.icosphere(2, 3.0**-0.5)


@pytest.fixture
def sheet() -> trimesh.Trimesh:
    """A flat square without thickness."""
    vertices = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]) - [0.5, 0.5, 0.0]
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], process=False)


def options(**changes) -> ModelOptions:
    """Three components from 300 points, unless told otherwise."""
    return ModelOptions(**{"num_mixtures": 3, "gmm_points": 300, **changes})


@pytest.mark.parametrize(
    ("init", "with_mesh", "kind"),
    [
        ("auto", True, "volume_gmm"),
        ("auto", False, "sphere"),
        ("volume_gmm", True, "volume_gmm"),
        ("surface_gmm", True, "surface_gmm"),
        ("sphere", True, "sphere"),
        ("sphere", False, "sphere"),
    ],
)
def test_kinds(init, with_mesh, kind, ball):
    start = start_mixture(ball if with_mesh else None, options(init=init), 4)
    assert (start.kind, start.notice) == (kind, "")
    assert start.mixture.mean.shape == (3, 3)
    assert all(field.dtype == np.float32 and np.all(np.isfinite(field)) for field in start.mixture)
    again = start_mixture(ball if with_mesh else None, options(init=init), 4)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(start.mixture, again.mixture, strict=True))
    other = start_mixture(ball if with_mesh else None, options(init=init), 5)
    assert not np.array_equal(start.mixture.mean, other.mixture.mean)


def test_points_inside_or_on_the_surface(ball):
    # one component has the mean square radius of the points: 3/5 of the ball's in the volume, all of it on the surface
    for init, share in (("volume_gmm", 0.6), ("surface_gmm", 1.0)):
        mixture = start_mixture(ball, options(init=init, num_mixtures=1, gmm_points=2000), 0).mixture
        factor = np.asarray(mixture.precision_cholesky[0], float)
        square = np.trace(np.linalg.inv(factor @ factor.T)) + np.sum(np.asarray(mixture.mean, float) ** 2)
        assert square == pytest.approx(share / 3.0, rel=0.05)


@pytest.mark.parametrize("init", ["sphere", "volume_gmm", "surface_gmm"])
def test_gmm_init_scale_multiplies_weights(init, ball):
    plain, heavy = (start_mixture(ball, options(init=init, gmm_init_scale=factor), 1).mixture for factor in (1.0, 2.5))
    assert_allclose(heavy.log_weight - plain.log_weight, np.log(2.5), rtol=1e-5)
    assert np.array_equal(heavy.mean, plain.mean)
    assert np.array_equal(heavy.precision_cholesky, plain.precision_cholesky)


def test_spheres_by_recipe():
    for recipe, weight, spread in (("best", SPHERE_WEIGHT, 0.1), ("predecessor", 1.0 / 3.0, 0.1 * 2.2**0.5 / 2.2)):
        mixture = start_mixture(None, options(rand_sphere_size=7.0), 2, recipe).mixture
        assert_allclose(np.exp(mixture.log_weight), weight, rtol=1e-6)
        assert_allclose(mixture.precision_cholesky, np.tile(7.0 * np.eye(3), (3, 1, 1)), rtol=1e-6)
        assert_allclose(mixture.mean, sphere_mixture(np.random.default_rng(2), 3, spread=spread).mean, rtol=1e-6)


@pytest.mark.parametrize("init", ["auto", "volume_gmm"])
def test_a_sheet_has_a_surface_only(init, sheet):
    start = start_mixture(sheet, options(init=init), 0)
    assert start.kind == "surface_gmm"
    assert start.notice.startswith("the mesh has no interior: ") and "\n" not in start.notice
    assert start.notice.endswith("; surface_gmm instead of volume_gmm")
    assert all(np.all(np.isfinite(field)) for field in start.mixture)
    assert np.abs(start.mixture.mean[:, 2]).max() < 1e-6 and np.abs(start.mixture.mean).max() < 0.5
    assert start_mixture(sheet, options(init="surface_gmm"), 0).notice == ""


def test_messages(ball):
    for init in ("volume_gmm", "surface_gmm"):
        with pytest.raises(ValueError, match=f"init is {init}; without a mesh it must be sphere, volume_gmm or auto"):
            start_mixture(None, options(init=init), 0)
        with pytest.raises(ValueError, match="num_mixtures 11: more than the 10 points to fit them to"):
            start_mixture(ball, options(init=init, num_mixtures=11, gmm_points=10), 0)
    assert start_mixture(ball, options(num_mixtures=10, gmm_points=10), 0).mixture.mean.shape == (10, 3)
    assert fit_gmm(np.asarray(ball.vertices), 2, 0).mean.shape == (2, 3)
