"""Fits of networks to points: every method moves, goes on bit for bit, and says what went wrong."""

import jax.numpy as jnp
import numpy as np
import pytest

from fmb.clouds import recipe
from fmb.clouds.cloud import frame_of_cloud
from fmb.clouds.enclosure import enclose, outward
from fmb.clouds.evidence import examine
from fmb.clouds.methods import LOSSES
from fmb.clouds.options import METHOD_NAMES, PRESETS, PointsOptions
from fmb.clouds.recipe import PRESETS as SIZES
from fmb.clouds.recipe import Hooks, fit_network
from fmb.clouds.sampling import draw_batches, make_target
from fmb.clouds.surface import extract, supported
from fmb.clouds.table import METHODS
from fmb.geometry.distances import distance_to


def ball_points(count: int = 400, radius: float = 0.5) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


def small(**more) -> PointsOptions:
    chosen = {
        "points_method": "diff_cd",
        "network_width": 16,
        "network_depth": 2,
        "num_steps": 20,
        "points_per_step": 40,
        "save_every": 20,
    }
    return PointsOptions(**{**chosen, **more})


def test_names_of_methods_and_presets_are_those_that_there_are():
    assert set(METHOD_NAMES) == set(METHODS) and set(PRESETS) == set(SIZES)


OTHERS = {"igr", "siren"}  # as the others, with other terms


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in OTHERS)) for n in LOSSES])
def test_every_method_gets_nearer_and_goes_on_bit_for_bit(name):
    options, saved = small(points_method=name, num_steps=60), {}
    hooks = Hooks(save=lambda state: saved.update({state.step: state}))
    whole = fit_network(ball_points(), None, options, np.random.default_rng(3), hooks)
    assert sorted(saved) == [0, 20, 40, 60] and whole.step == 60
    assert all(column.shape == (60,) for column in whole.history.values())
    assert whole.history["loss"][-10:].mean() < whole.history["loss"][:10].mean()
    later = fit_network(ball_points(), None, options, np.random.default_rng(3), Hooks(begun=saved[40].arrays))
    assert whole.arrays.keys() == later.arrays.keys()
    for key, array in whole.arrays.items():
        np.testing.assert_array_equal(array, later.arrays[key], err_msg=key)
    mesh = extract(METHODS[name].field(whole.arrays, options), 24)
    assert mesh.is_watertight and distance_to(mesh, ball_points()).mean() < 0.1


def test_the_surface_is_closed_where_it_leaves_the_box():
    mesh = extract(lambda x: x[:, 0] - 0.1, 16)
    assert mesh.is_watertight and mesh.volume > 0.0
    with pytest.raises(ValueError, match="no surface"):
        extract(lambda x: 1.0 + 0.0 * x[:, 0], 16)


def test_pieces_that_points_do_not_lie_on_are_left_out():
    def bodies(x):
        """A ball, another beside it, and a hollow in the first."""
        first, other = jnp.linalg.norm(x, axis=1) - 0.3, jnp.linalg.norm(x - jnp.full((1, 3), 0.4), axis=1) - 0.1
        return jnp.minimum(jnp.maximum(first, 0.2 - jnp.linalg.norm(x, axis=1)), other)

    mesh, points, small = extract(bodies, 32), ball_points(radius=0.32), ball_points(100, radius=0.1) + 0.4
    assert mesh.body_count == 3
    spacing = float(np.sqrt(4.0 * np.pi * 0.32**2 / 400))
    kept, left_out = supported(mesh, points, spacing)
    assert (kept.body_count, left_out, kept.is_watertight) == (1, 2, True)
    kept, left_out = supported(mesh, np.concatenate([points, small]), spacing)
    assert (kept.body_count, left_out) == (2, 1) and kept.volume > 0.11
    # a lone stray does not vouch for a piece that should have many points
    assert supported(mesh, np.concatenate([points, small[:1]]), spacing)[1] == 2
    assert supported(mesh, points, 1e-3)[0] is mesh


def test_batches_are_where_they_should_be():
    points = ball_points()
    body = enclose(points, examine(points), np.random.default_rng(0))
    # these normals look inwards, and one is unknown
    normals = outward(points, -3.0 * points * (np.arange(len(points)) != 7)[:, None], body)
    np.testing.assert_allclose(np.delete(normals - 2.0 * points, 7, axis=0), 0.0, atol=1e-12)
    target, mesh = make_target(points, body, normals), extract(lambda x: (x**2).sum(axis=1) - 0.16, 24)
    batch = draw_batches(
        target,
        mesh,
        ("points", "local", "nearest", "everywhere", "surface", "places"),
        (3, 40),
        np.random.default_rng(0),
    )
    shapes = [(3, 40, 3), (3, 40, 3), (3, 40, 3), (3, 5, 3), (3, 20, 3), (3, 20, 4, 3), (3, 10, 3), (3, 10), (3, 40, 3)]
    assert [part.shape for part in batch] == shapes
    right = np.sign(batch.depth) == np.sign(0.5 - np.linalg.norm(batch.places, axis=2))
    assert right.mean() > 0.95  # places are spread over the cells of a grid
    assert np.abs(np.linalg.norm(batch.surface, axis=2) - 0.4).max() < 0.01
    off = np.linalg.norm(batch.local - batch.nearest, axis=2)
    assert np.all(off <= np.linalg.norm(batch.local[..., None, :] - points, axis=3).min(axis=2) + 1e-12)
    turned = np.all(batch.normal == 0.0, axis=2) | np.isclose(np.sum(batch.normal * batch.points, axis=2), 0.5)
    assert turned.all()
    nothing = draw_batches(make_target(points), None, ("local",), (3, 40), np.random.default_rng(0))
    assert [part.shape[1] for part in nothing] == [0, 40, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.slow
def test_a_fit_that_goes_wrong_names_the_step(monkeypatch):
    begun = fit_network(ball_points(), None, small(), np.random.default_rng(0)).arrays
    with pytest.raises(ValueError, match=r"^has parameters.0.weight of shape \(3, 16\)"):
        fit_network(ball_points(), None, small(network_width=8), np.random.default_rng(0), Hooks(begun=begun))
    begun = {**begun, "step": np.asarray(7, np.int32)}

    def nothing(*arguments, **more):
        raise ValueError("no surface")

    monkeypatch.setattr(recipe, "extract", nothing)
    with pytest.raises(FloatingPointError, match=r"^the surface vanished at step 7 \(no surface\); try"):
        fit_network(ball_points(), None, small(), np.random.default_rng(0), Hooks(begun=begun))
    broken = {name: np.nan * array if "bias" in name else array for name, array in begun.items()}
    with pytest.raises(FloatingPointError, match="^the loss is not finite at step 7; try"):
        fit_network(ball_points(), None, small(points_method="igr"), np.random.default_rng(0), Hooks(begun=broken))


BAD = {
    "99 points; at least 100 are needed": ball_points(99),
    "all 200 points are equal": np.ones((200, 3)),
    "all 200 points lie in a plane": np.random.default_rng(0).normal(size=(200, 3)) * [1, 1, 0],
    "all 200 points lie on a line": np.arange(200.0)[:, None] * np.ones((200, 3)),
    "2 of 200 points are not finite": np.where(np.arange(200)[:, None] < 2, np.nan, ball_points(200)),
}


@pytest.mark.parametrize("words", BAD)
def test_clouds_without_a_surface(words):
    with pytest.raises(ValueError, match=f"^scan.npy: {words}"):
        frame_of_cloud(BAD[words], "scan.npy")


def test_the_frame_of_a_cloud_holds_it():
    points = 7.0 + 3.0 * ball_points()
    inside = frame_of_cloud(points, "scan.npy").to_canonical(points)
    np.testing.assert_allclose(np.ptp(inside, axis=0).max(), 1.0)
    np.testing.assert_allclose(inside.min(axis=0), -inside.max(axis=0))
