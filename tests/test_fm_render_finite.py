"""Images and slopes are finite where formulas divide by zero, overflow or have no slope: compiled as users have it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fm_render import Mixture, Rays, Settings, render
from tests.test_fm_render import ONCE, OTHERS


def nasty() -> dict[str, tuple[Mixture, Rays]]:
    """Where formulas divide by zero, overflow or have no slope."""
    mean, origin = np.array([[0.1, 0.0, 0.3], [-0.2, 0.1, 0.0]]), np.tile([0.0, 0.0, -3.0], (5, 1))
    direction = np.array([[0, 0, 1], [0.03, 0, 1], [-0.06, 0.03, 0.9], [0.5, -0.5, 1], [-3.0, 2.0, 0.01]], float)
    round_, zero, ahead = np.tile(6.0 * np.eye(3), (2, 1, 1)), np.zeros(2), mean[0] - origin[0]
    sheet = np.tile(np.diag([3.0, 3000.0, 3.0]), (2, 1, 1))
    tangent = np.array([[x, 0.0, 3.0] for x in (0.5 - 1e-9, 0.5, 0.5 + 1e-9, 0.5 - 1e-5, 0.5 + 1e-5)])
    rays = (origin, direction)
    scenes = {
        "one behind": ((np.array([[0, 0, 0.0], [0, 0, -9]]), round_, zero), rays),
        "all behind": ((mean - [0, 0, 9], round_, zero), rays),
        "at the camera": ((np.array([[0, 0, -3.0], [0, 0, 0]]), round_, zero), rays),
        "through a mean": ((mean, round_, zero), (origin, np.tile(ahead, (5, 1)))),
        "edge-on at 1000:1": ((np.array([[0, 0, 0.0], [0, 1e-3, 0]]), sheet, zero), rays),
        "weight 1e-4343": ((mean, round_, np.array([0, -1e4])), rays),
        "weight 0": ((mean, round_, np.array([0, -np.inf])), rays),
        "all weights 1e-4343": ((mean, round_, np.array([-1e4, -1e4])), rays),
        "huge weight": ((mean, round_, np.array([60, 20.0])), rays),
        "grazing": ((np.zeros((2, 3)), round_ / 3.0, zero), (tangent - [0, 0, 6], 0 * tangent + [0, 0, 1])),
        "double roots": ((np.zeros((2, 3)), round_ / [[6], [6], [18]], zero), (origin + [0.9, 0, 0], direction)),
        "long directions": ((mean, round_, zero), (origin, 1e3 * direction)),
        "short directions": ((mean, round_, zero), (origin, 1e-3 * direction)),
        "coincident": ((mean[[0, 0]], round_, zero), rays),
        "far off": ((mean, 50.0 * round_, zero), (origin * 1e3, direction)),
    }
    return {name: (Mixture(*map(jnp.asarray, m)), Rays(*map(jnp.asarray, r))) for name, (m, r) in scenes.items()}


@pytest.mark.parametrize(
    ("rule", "blend", "dtype"),
    [
        *(pytest.param(*n, jnp.float32, marks=[pytest.mark.slow] * (n[0] == "quadratic")) for n in ONCE),
        *(pytest.param(*names, jnp.float32, marks=pytest.mark.slow) for names in OTHERS),
        pytest.param("quadratic", "five_parameter", jnp.float64, marks=pytest.mark.slow),
    ],
)
def test_everything_is_finite(rule, blend, dtype):
    setting = Settings(rule, blend)

    def loss(mixture, rays, scale):
        image = render(mixture, rays, scale, ("density", "alpha", "depth", "normal"), setting)
        return sum(field.sum() for field in image if field is not None), image

    graded = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    broken = []
    for name, inputs in nasty().items():
        mixture, rays = jax.tree.map(lambda x: x.astype(dtype), inputs)
        (_, image), gradient = graded(mixture, rays, jnp.asarray(1.0, dtype))
        fields = image._asdict() | {f"slope {n}": g for part in gradient[:2] for n, g in part._asdict().items()}
        fields["slope scale"] = gradient[2]
        broken += [f"{name}: {n} {x}" for n, x in fields.items() if x is not None and not np.all(np.isfinite(x))]
    assert not broken, broken
