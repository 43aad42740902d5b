"""Mirrored rays against mirrored components: the same images, the same slopes; mixtures that are folded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fm_render import Mixture, Rays, Settings, render
from fmb.fields.correlation import bodies_of, score_of
from fmb.fields.symmetric import SymmetricMixture, fold, render_orbit
from fmb.geometry.symmetry import Placement, Symmetry, home_map


def symmetric(kind: str, count: int = 3) -> SymmetricMixture:
    generator = np.random.default_rng(0)
    factor = np.tril(generator.normal(size=(count, 3, 3)), -1) + np.eye(3) * generator.uniform(3, 7, (count, 1, 3))
    balls = Mixture(0.3 * generator.normal(size=(count, 3)), factor, 2.0 + generator.normal(size=count))
    place = Placement(Rotation.random(random_state=1).as_matrix(), 0.1 * generator.normal(size=3))
    return jax.tree.map(jnp.asarray, SymmetricMixture(balls, Symmetry(kind, place)))


def rays() -> Rays:
    generator = np.random.default_rng(2)
    origin = generator.normal(size=(40, 3))
    origin *= 3.0 / np.linalg.norm(origin, axis=1, keepdims=True)
    return Rays(jnp.asarray(origin), jnp.asarray(-origin / 3.0 + 0.1 * generator.normal(size=(40, 3))))


@pytest.mark.parametrize(("kind", "rule"), [("two_planes", "quadratic")])
def test_mirrored_rays_render_what_copies_do(kind, rule):
    mixture, outputs, settings = symmetric(kind), ("density", "depth", "weight"), Settings(intersection=rule)
    ours = render_orbit(mixture, rays(), 1.0, outputs, settings)
    theirs = render(mixture.copies(), rays(), 1.0, outputs, settings)
    for name in outputs:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-9)


def test_slopes_of_mirrored_rays_are_those_of_copies():
    def ours(mixture):
        seen = render_orbit(mixture, rays(), 1.0, ("density", "depth"))
        return (seen.density + seen.depth).sum()

    def theirs(mixture):
        seen = render(mixture.copies(), rays(), 1.0, ("density", "depth"))
        return (seen.density + seen.depth).sum()

    mixture = symmetric("plane")
    first, second = (jax.jit(jax.grad(loss))(mixture) for loss in (ours, theirs))
    for a, b in zip(jax.tree.leaves(first.fundamental), jax.tree.leaves(second.fundamental), strict=True):
        a, b = (np.tril(x) if x.ndim == 3 else x for x in (a, b))  # only the lower half of a factor is read
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max())
    for a, b in zip(first.symmetry.placement, second.symmetry.placement, strict=True):
        np.testing.assert_allclose(tangent(mixture, a), tangent(mixture, b), rtol=1e-6, atol=1e-9)


def tangent(mixture: SymmetricMixture, slope: jax.Array) -> np.ndarray:
    """A slope by the place of a group, of what can move: of a matrix only what leaves it a rotation has a meaning."""
    turned = np.asarray(mixture.symmetry.placement.rotation).T @ slope
    return (turned - turned.T)[[2, 0, 1], [1, 2, 0]] if slope.ndim == 2 else np.asarray(slope)


def test_outputs_that_an_orbit_of_rays_has_not():
    with pytest.raises(ValueError, match="output 'normal': along an orbit of rays it must be one of density"):
        render_orbit(symmetric("plane"), rays(), 1.0, ("normal",))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", ["plane", pytest.param("two_planes", marks=SLOW), pytest.param("cyclic_3", marks=SLOW)]
)
def test_what_has_the_symmetry_is_folded_to_itself(kind):
    mixture = symmetric(kind, 4)
    whole, maps = mixture.copies(), len(mixture.symmetry.orbit.rotation)
    folded = fold(whole, mixture.symmetry, 4 * maps)
    assert not home_map(folded.symmetry, np.asarray(folded.fundamental.mean)).any()
    # every component lies maps times in its place, each of a part of the weight: the same field
    seen = [render(m, rays(), outputs=("density",)).density for m in (folded.copies(), whole)]
    np.testing.assert_allclose(*seen, rtol=2e-4, atol=1e-4)  # float32
    few = fold(whole, mixture.symmetry, 4)
    assert len(few.fundamental.mean) == 4
    assert score_of(bodies_of(few.copies()), few.symmetry) > 1.0 - 1e-6
