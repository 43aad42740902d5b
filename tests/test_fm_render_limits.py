"""The renderer's limits: blocks, scenes where formulas break, few and many components, a camera pose at rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fm_render as numerics
from fm_render import Mixture, Rays, Settings, render
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, pixel_rays
from fmb.geometry.rotations import matrix_from_rotation_vector, rigid_transform
from tests.reference import render_reference
from tests.test_fm_render import ONCE, OTHERS, SCALE, images_and_gradients, scene, total, upstream


@pytest.mark.parametrize(
    ("rule", "blend", "gradient"),
    [
        ("linear", "two_parameter", "closed_form"),
        ("linear", "two_parameter", "autodiff"),
        *(
            pytest.param(rule, "sorted", way, marks=pytest.mark.slow)
            for rule in ("quadratic", "cubic")
            for way in ("closed_form", "autodiff")
        ),
    ],
)
def test_blocks_change_nothing(rule, blend, gradient, monkeypatch):
    mixture, rays = scene(7, 5, 150)
    color = jnp.asarray(np.random.default_rng(2).random((5, 3)))

    def results():
        jax.clear_caches()  # the block's size is no argument
        return images_and_gradients(mixture, rays, color, upstream(150), (rule, blend, gradient))

    whole = results()
    monkeypatch.setattr(numerics, "PAIRS_PER_BLOCK", 5 * 64)
    monkeypatch.setattr(numerics, "LEAST_BLOCK", 8)
    # the order of a sum over 150 rays, no more
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-11, atol=1e-12), whole, results())


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
        *((*names, jnp.float32) for names in ONCE),
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


@pytest.mark.parametrize(("components", "rays"), [(1, 4), (300, 4), (1, 0)])
def test_few_and_many(components, rays):
    generator = np.random.default_rng(0)
    mean = jnp.asarray(0.3 * generator.normal(size=(components, 3)))
    mixture = Mixture(mean, jnp.tile(6.0 * jnp.eye(3), (components, 1, 1)), jnp.zeros(components))
    direction = jnp.asarray(np.concatenate([0.1 * generator.normal(size=(rays, 2)), np.ones((rays, 1))], axis=1))
    seen = Rays(jnp.tile(jnp.array([[0.0, 0.0, -3.0]]), (rays, 1)), direction)
    twin = render_reference(mixture, seen, 1.0)
    graded = jax.jit(jax.grad(total, argnums=(0, 1)), static_argnums=(4,))
    assert_allclose(jax.jit(render)(mixture, seen).depth, twin.depth, rtol=1e-12)
    gradient = graded(mixture, seen, Settings(), upstream(rays), 1.0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_camera_pose_at_the_identity():
    mixture, _ = scene(8, 4, 1)
    intrinsics = jnp.asarray(pinhole_intrinsics(3, 4, 45.0))[None]

    @jax.jit
    @jax.value_and_grad
    def graded(pose):
        turned = rigid_transform(matrix_from_rotation_vector(pose[None, :3]), pose[None, 3:])
        image = render(mixture, pixel_rays(Cameras(turned, intrinsics), 3, 4), SCALE, ("density", "depth"))
        return jnp.sum(jnp.sin(image.density)) + jnp.sum(image.depth**2)

    pose = jnp.array([0.0, 0.0, 0.0, 0.1, -0.1, -3.0])
    found, step = graded(pose)[1], 1e-5
    moves = step * jnp.eye(len(pose))
    numeric = [(graded(pose + move)[0] - graded(pose - move)[0]) / (2.0 * step) for move in moves]
    assert_allclose(found, np.array(numeric), rtol=1e-5, atol=1e-6)
