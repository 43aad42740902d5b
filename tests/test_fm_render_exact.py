"""What rendering must not depend on (hypothesis), and how exact it is in float32 against the float64 twin."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from fm_render import INTERSECTIONS, Mixture, Rays, Settings, render
from fmb.fit.losses import pixel_cross_entropy
from tests.reference import Form, gradient_reference, render_reference
from tests.test_fm_render import ONCE

# each combination is compiled once; strict shapes keep it so
draw = partial(jax.jit, static_argnames="setting")(
    lambda mixture, rays, scale, setting: render(mixture, rays, scale, ("alpha", "depth", "normal"), setting)
)
combinations = st.sampled_from(ONCE)  # each rule and each blend
seeds = st.integers(0, 10**6)
few_examples = settings(max_examples=12, deadline=None, derandomize=True)


def random_scene(seed: int) -> tuple[Mixture, Rays]:
    """Five components about the origin and eight rays towards them."""
    generator = np.random.default_rng(seed)
    factor = np.tril(3.0 * generator.normal(size=(5, 3, 3)))
    factor[:, range(3), range(3)] = generator.uniform(2.0, 20.0, (5, 3))
    direction = np.concatenate([0.2 * generator.normal(size=(8, 2)), np.ones((8, 1))], axis=1)
    mixture = (0.3 * generator.normal(size=(5, 3)), factor, generator.normal(size=5))
    rays = (np.tile([0.0, 0.0, -3.0], (8, 1)), direction)
    return Mixture(*map(jnp.asarray, mixture)), Rays(*map(jnp.asarray, rays))


def stable(combination: tuple[str, str], *scenes: tuple[Mixture, Rays]) -> bool:
    """Whether the cubic's first maximum is not about to vanish: there hits jump with any rounding."""
    if combination[0] != "cubic":
        return True
    mixture, rays = scenes[0]
    shaken = mixture._replace(mean=mixture.mean * (1.0 + 1e-9))
    first, second = (draw(m, rays, 1.0, Settings(*combination)).depth for m in (mixture, shaken))
    return bool(np.allclose(first, second, rtol=0.0, atol=1e-6))


def check_alike(first, second, factor: float = 1.0, turn=None, tolerance: float = 1e-7) -> None:
    """Images alike but for a factor on depth and a rotation of the normals; the cubic's roots may lose half a digit."""
    assert_allclose(second.alpha, first.alpha, rtol=tolerance, atol=tolerance)
    assert_allclose(second.depth, factor * np.asarray(first.depth), rtol=tolerance)
    expected = first.normal if turn is None else first.normal @ turn.T
    assert_allclose(second.normal, expected, rtol=0.0, atol=100.0 * tolerance)


@few_examples
@given(combinations, seeds, st.floats(-3.0, 3.0))
def test_unit_of_length(combination, seed, decades):
    mixture, rays = random_scene(seed)
    factor, setting = 10.0**decades, Settings(*combination)
    scaled = Mixture(factor * mixture.mean, mixture.precision_cholesky / factor, mixture.log_weight)
    image = draw(scaled, rays._replace(origin=factor * rays.origin), factor, setting)
    assume(stable(combination, (mixture, rays)))
    # t counts in directions, which keep their length here, so depths grow with the unit
    check_alike(draw(mixture, rays, 1.0, setting), image, factor)


@few_examples
@given(combinations, seeds, st.floats(0.0, 1e3))
def test_rigid_motion(combination, seed, shift):
    mixture, rays = random_scene(seed)
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    move = shift * np.array([1.0, -2.0, 0.5])
    precision = mixture.precision_cholesky @ mixture.precision_cholesky.mT
    moved = Mixture(
        mixture.mean @ turn.T + move[None], jnp.linalg.cholesky(turn @ precision @ turn.T), mixture.log_weight
    )
    moved_rays = Rays(rays.origin @ turn.T + move[None], rays.direction @ turn.T)
    assume(stable(combination, (mixture, rays)))
    first, second = (draw(m, r, 1.0, Settings(*combination)) for m, r in ((mixture, rays), (moved, moved_rays)))
    check_alike(first, second, turn=turn)


@few_examples
@given(combinations, seeds, st.permutations(range(5)))
def test_order_of_components(combination, seed, order):
    mixture, rays = random_scene(seed)
    permuted = jax.tree.map(lambda array: array[np.array(order)], mixture)
    assume(stable(combination, (mixture, rays)))
    first, second = (draw(m, rays, 1.0, Settings(*combination)) for m in (mixture, permuted))
    check_alike(first, second)


AXES = {  # standard deviations of the components along their axes, in scales
    "round": [0.15, 0.1, 0.05],
    "sheets": [0.3, 0.3, 1.0 / 200.0],
    "needles": [0.5, 1.0 / 200.0, 1.0 / 200.0],
}


def thin_scene(kind: str, distance: float, seed: int) -> tuple[Mixture, Rays]:
    """Twelve components in random orientations, looked at by 96 rays; float32."""
    generator = np.random.default_rng(seed)
    turn = Rotation.random(12, rng=generator).as_matrix()
    precision = turn @ (np.array(AXES[kind])[:, None] ** -2 * np.swapaxes(turn, 1, 2))
    view = Rotation.random(rng=generator).as_matrix()
    slope = generator.uniform(-1.0, 1.0, (96, 2)) / distance
    mixture = (0.33 * generator.normal(size=(12, 3)), np.linalg.cholesky(precision), generator.uniform(-1.0, 1.5, 12))
    direction = np.concatenate([slope, np.ones((96, 1))], axis=1) @ view.T
    rays = (np.tile(-distance * view[:, 2], (96, 1)), direction)
    return Mixture(*(jnp.asarray(x, jnp.float32) for x in mixture)), Rays(*(jnp.asarray(x, jnp.float32) for x in rays))


def silhouette_loss(silhouette, image) -> jax.Array:
    # float32 has no densities below 1e-38; float64 does
    return jnp.mean(pixel_cross_entropy(image.density + 1e-30, silhouette))


def depth_loss(target, image) -> jax.Array:
    return jnp.mean(jnp.square(image.depth - target) * image.alpha)


@partial(jax.jit, static_argnames="rule")
def float32_images(mixture: Mixture, rays: Rays, rule: str):
    return render(mixture, rays, 1.0, ("density", "alpha", "depth"), Settings(rule))


@partial(jax.jit, static_argnames=("loss", "rule"))
def graded_loss(mixture: Mixture, rays: Rays, target, loss, rule) -> tuple:
    """Gradients of a loss by the mixture and the rays."""

    def total(mixture, rays):
        return loss(target, render(mixture, rays, 1.0, ("density", "alpha", "depth"), Settings(rule)))

    return jax.grad(total, argnums=(0, 1))(mixture, rays)


@pytest.mark.parametrize("distance", [3.0, 100.0])
@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("rule", INTERSECTIONS)
def test_float32_against_the_twin(rule, kind, distance):
    mixture, rays = thin_scene(kind, distance, 0)
    twin = render_reference(mixture, rays, 1.0, rule)
    image = float32_images(mixture, rays, rule)
    assert np.abs(image.alpha - twin.alpha).max() < 1e-4
    assert np.abs(image.depth - twin.depth)[twin.alpha > 1e-3].max() < 1e-4
    moved = mixture._replace(mean=mixture.mean + jnp.float32(0.02))
    target = render_reference(moved, rays, 1.0, rule)
    losses = {
        "silhouette": (silhouette_loss, jnp.asarray(target.alpha, jnp.float32)),
        "depth": (depth_loss, jnp.asarray(target.depth, jnp.float32)),
    }
    for name, (loss, goal) in losses.items():
        wide = image._replace(**{n: jnp.asarray(getattr(twin, n)) for n in ("density", "alpha", "depth")})
        worth = {n: np.asarray(g) for n, g in jax.grad(loss, argnums=1)(goal, wide)._asdict().items() if g is not None}
        expected = gradient_reference(mixture, rays, 1.0, worth, Form(rule))
        found = graded_loss(mixture, rays, goal, loss, rule)
        for field, exact, single in zip(expected._fields, expected, (*found[0], *found[1]), strict=True):
            error = np.abs(np.asarray(single, float) - exact).max() / np.abs(exact).max()
            assert error < 1e-3, f"{name} {field}"
