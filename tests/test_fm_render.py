"""The renderer against the NumPy twin, its gradients against three witnesses; blocks, and where formulas break."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fm_numerics as numerics
from fm_render import BLENDINGS, INTERSECTIONS, FiveBetas, Mixture, Rays, Rendering, Settings, TwoBetas, render
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, pixel_rays
from fmb.geometry.rotations import matrix_from_rotation_vector, rigid_transform
from tests.reference import Form, gradient_reference, render_reference

BETAS = {
    "two_parameter": TwoBetas(7.0, 1.3),
    "five_parameter": FiveBetas(1.5, 4.0, 0.4, 8.0, -4.0),
    "sorted": (),
}
ONCE = list(zip(INTERSECTIONS, ("sorted", "five_parameter", "two_parameter"), strict=True))  # each rule, each blend
OTHERS = [(rule, blend) for rule in INTERSECTIONS for blend in BLENDINGS if (rule, blend) not in ONCE]
IMAGES = ("density", "alpha", "depth", "normal", "weight")
SCALE = 1.4
every_combination = pytest.mark.parametrize(
    ("rule", "blend"), [*ONCE, *(pytest.param(*names, marks=pytest.mark.slow) for names in OTHERS)]
)


def options(rule: str, blend: str, gradient: str = "closed_form") -> Settings:
    """One combination, with betas that all make a difference."""
    return Settings(rule, blend, gradient, BETAS[blend])


def scene(seed: int = 0, components: int = 6, rays: int = 9) -> tuple[Mixture, Rays]:
    """Components in front of rays that differ in origin, direction and length; the last component lies behind."""
    generator = np.random.default_rng(seed)
    factor = np.tril(generator.normal(size=(components, 3, 3))) * 3.0
    factor[:, range(3), range(3)] = np.abs(factor[:, range(3), range(3)]) + 2.0
    mean = 0.3 * generator.normal(size=(components, 3))
    mean[-1] = [0.0, 0.1, -9.0]
    direction = np.concatenate([0.1 * generator.normal(size=(rays, 2)), np.ones((rays, 1))], axis=1)
    direction *= generator.uniform(0.5, 2.0, (rays, 1))
    origin = [0.0, 0.0, -3.0] + 0.1 * generator.normal(size=(rays, 3))
    mixture = Mixture(jnp.asarray(mean), jnp.asarray(factor), jnp.asarray(0.5 * generator.normal(size=components)))
    return mixture, Rays(jnp.asarray(origin), jnp.asarray(direction))


def upstream(rays: int, seed: int = 1) -> dict[str, np.ndarray]:
    """What each image is worth."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=rays) for name in ("density", "alpha", "depth")}


def total(mixture: Mixture, rays: Rays, setting: Settings, worth: dict, scale=SCALE) -> jax.Array:
    """Sum of the images times their worth."""
    image = render(mixture, rays, scale, tuple(worth), setting)
    return sum(jnp.sum(getattr(image, name) * weight) for name, weight in worth.items())


@partial(jax.jit, static_argnames="fixed")
def images_and_gradients(mixture: Mixture, rays: Rays, color: jax.Array, worth: dict, fixed: tuple) -> tuple:
    """All images, and the gradients of `total`; `fixed` names rule, blend and gradient."""
    image = render(mixture, rays, SCALE, Rendering._fields, options(*fixed), color)
    return image, jax.grad(total, argnums=(0, 1))(mixture, rays, options(*fixed), worth)


@every_combination
def test_images_and_gradients_against_the_twin(rule, blend):
    mixture, rays = scene()
    color, worth = jnp.asarray(np.random.default_rng(2).random((6, 3))), upstream(9)
    image, gradient = images_and_gradients(mixture, rays, color, worth, (rule, blend))
    twin = render_reference(mixture, rays, SCALE, rule, blend, BETAS[blend] if blend != "two_parameter" else (7.0, 1.3))
    for name, expected in zip(IMAGES, (*twin[:4], twin.weights.T), strict=True):
        assert_allclose(getattr(image, name), expected, rtol=1e-10, atol=1e-12, err_msg=name)
    assert_allclose(image.color, twin.weights.T @ np.asarray(color), rtol=1e-10)
    assert np.array_equal(image.label, twin.weights.argmax(axis=0))
    expected = gradient_reference(mixture, rays, SCALE, worth, Form(rule, blend, tuple(BETAS[blend])))
    for name, found, wanted in zip(expected._fields, (*gradient[0], *gradient[1]), expected, strict=True):
        # 1e-9 of the largest: the sums over rays of the moments cancel; the cubic's root is found to 1e-13
        assert_allclose(found, wanted, rtol=0.0, atol=1e-9 * np.abs(wanted).max(), err_msg=name)


def varied_loss(setting: Settings, with_normal: bool, mixture: Mixture, rays: Rays, *rest) -> jax.Array:
    """A scalar of all that can be differentiated, by all that it can be differentiated by: also scale, betas, color."""
    scale, betas, color = rest
    names = ("density", "depth", "color", *(["normal"] if with_normal else []))
    image = render(mixture, rays, scale, names, replace(setting, betas=betas), color)
    loss = jnp.sum(jnp.sin(image.density) + image.depth**2) + jnp.sum(image.color**2)
    return loss + jnp.sum(image.normal[:, :2]) if with_normal else loss


def varied_inputs(blend: str) -> tuple:
    """What `varied_loss` takes after the setting."""
    color = jnp.asarray(np.random.default_rng(2).random((6, 3)))
    return (*scene(3), jnp.array(SCALE), jax.tree.map(jnp.array, BETAS[blend]), color)


@every_combination
def test_gradients_against_finite_differences(rule, blend):
    leaves, tree = jax.tree.flatten(varied_inputs(blend))
    graded = jax.jit(jax.value_and_grad(partial(varied_loss, options(rule, blend), True), argnums=tuple(range(5))))
    gradient = jax.tree.leaves(graded(*tree.unflatten(leaves))[1])
    generator = np.random.default_rng(4)
    moves = [jnp.asarray(generator.normal(size=leaf.shape)) for leaf in leaves]
    moves[1] = jnp.tril(moves[1])
    step = 1e-7  # truncation 1e-7, rounding 1e-7; grazing rays curve sharply
    ahead, behind = (
        graded(*tree.unflatten([leaf + sign * step * move for leaf, move in zip(leaves, moves, strict=True)]))[0]
        for sign in (1.0, -1.0)
    )
    slope = sum(float(jnp.vdot(g, move)) for g, move in zip(gradient, moves, strict=True))
    assert slope == pytest.approx(float(ahead - behind) / (2.0 * step), rel=1e-5)


@pytest.mark.parametrize("with_normal", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("rule", "blend"), [("linear", "two_parameter"), ("quadratic", "five_parameter")])
def test_closed_form_against_autodiff(rule, blend, with_normal):
    inputs = varied_inputs(blend)
    losses = (partial(varied_loss, options(rule, blend, way), with_normal) for way in ("closed_form", "autodiff"))
    closed, plain = (jax.jit(jax.grad(loss, argnums=tuple(range(5))))(*inputs) for loss in losses)
    for found, wanted in zip(jax.tree.leaves(closed), jax.tree.leaves(plain), strict=True):
        assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * float(jnp.abs(wanted).max()))


@pytest.mark.parametrize("rule", INTERSECTIONS)
def test_forward_mode(rule):
    mixture, rays = scene(5, 3, 4)
    loss = partial(total, rays=rays, setting=options(rule, "two_parameter", "autodiff"), worth=upstream(4))
    tangent = jax.tree.map(jnp.ones_like, mixture)

    @jax.jit
    def slopes(mean):
        def graded(mean):
            gradient = jax.grad(loss)(mixture._replace(mean=mean))
            return gradient.mean, gradient

        moved = mixture._replace(mean=mean)
        hessian, gradient = jax.jacfwd(graded, has_aux=True)(mean)
        return jax.jvp(loss, (moved,), (tangent,))[1], gradient, hessian

    slope, gradient, hessian = slopes(mixture.mean)
    assert float(slope) == pytest.approx(sum(float(g.sum()) for g in jax.tree.leaves(gradient)), rel=1e-10)
    hessian, step = hessian.reshape(9, 9), 1e-6
    assert_allclose(hessian, hessian.T, atol=1e-10 * float(jnp.abs(hessian).max()))
    ahead, behind = (slopes(mixture.mean + sign * step)[1].mean for sign in (1.0, -1.0))
    assert_allclose(hessian.sum(1), (ahead - behind).ravel() / (2.0 * step), rtol=1e-5, atol=1e-6)


def test_closed_form_refuses_forward_mode():
    mixture, rays = scene(5, 3, 4)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda m: render(m, rays).depth, (mixture,), (mixture,))


@pytest.fixture(scope="module")
def flat() -> Rendering:
    """24 rays in one axis."""
    return jax.jit(lambda *inputs: render(*inputs, SCALE, Rendering._fields, color=jnp.ones((4, 3))))(*scene(6, 4, 24))


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (3, 0)])
def test_any_batch_shape(shape, flat):
    mixture, rays = scene(6, 4, 24)
    count = int(np.prod(shape))
    batch = jax.tree.map(lambda array: array[:count].reshape(*shape, 3), rays)

    @jax.jit
    def both(mixture):
        image = render(mixture, batch, SCALE, Rendering._fields, color=jnp.ones((4, 3)))
        return image, jax.grad(lambda m: jnp.sum(render(m, batch, SCALE).depth))(mixture)

    image, gradient = both(mixture)
    for name, found, expected in zip(Rendering._fields, image, flat, strict=True):
        assert found.shape == (*shape, *expected.shape[1:]), name
        assert_allclose(found.reshape(-1, *expected.shape[1:]), expected[:count], rtol=1e-12)
    assert all(np.all(np.isfinite(leaf)) for leaf in gradient)


def test_only_what_was_asked_for():
    image = jax.eval_shape(partial(render, outputs=("alpha",)), *scene())
    assert [name for name, field in zip(Rendering._fields, image, strict=True) if field is not None] == ["alpha"]
    assert render(*scene(), outputs=()) == Rendering()


def test_one_origin_for_many_rays():
    mixture, rays = scene()
    shared = rays._replace(origin=rays.origin[0])
    copied = rays._replace(origin=jnp.broadcast_to(rays.origin[0], rays.direction.shape))
    draw = jax.jit(lambda rays: render(mixture, rays).depth)
    assert_allclose(draw(shared), draw(copied), rtol=1e-13)


@pytest.mark.parametrize("blend", BLENDINGS)
def test_precision_is_kept(blend):
    double = scene()
    single = jax.tree.map(lambda x: x.astype(jnp.float32), double)
    for (mixture, rays), dtype in ((single, jnp.float32), (double, jnp.float64)):
        image = jax.eval_shape(lambda *x: render(*x, SCALE, IMAGES, Settings(blending=blend)), mixture, rays)
        assert {field.dtype for field in image if field is not None} == {jnp.dtype(dtype)}
    mixed = jax.jit(lambda *x: render(*x, SCALE, settings=Settings(blending=blend)))(single[0], double[1])
    assert mixed.depth.dtype == jnp.float64
    loss = partial(total, setting=Settings(blending=blend), worth=upstream(9))
    for inputs in ((single[0], double[1]), (double[0], single[1])):
        gradient = jax.eval_shape(jax.grad(loss, argnums=(0, 1)), *inputs)
        assert jax.tree.map(lambda x: x.dtype, gradient) == jax.tree.map(lambda x: x.dtype, inputs)


def test_under_jit_and_vmap():
    mixtures = jax.tree.map(lambda *fields: jnp.stack(fields), *(scene(seed)[0] for seed in range(3)))
    _, rays = scene()
    setting = options("linear", "five_parameter")
    loss = partial(total, setting=setting, worth=upstream(9))
    gradient = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(mixtures, rays)
    per_ray = jax.jit(jax.vmap(lambda m, r: render(m, r, SCALE, settings=setting), (None, 0)))(scene(1)[0], rays)
    alone = jax.jit(jax.grad(loss))(scene(1)[0], rays)
    jax.tree.map(lambda many, one: assert_allclose(many[1], one, rtol=1e-9, atol=1e-12), gradient, alone)
    whole = jax.jit(lambda *x: render(*x, SCALE, settings=setting).depth)(scene(1)[0], rays)
    assert_allclose(per_ray.depth, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("setting", "outputs", "message"),
    [
        (Settings(), ("alpha", "shade"), "output 'shade' is not one of density, alpha, depth"),
        (Settings(), ("color",), r"output 'color' needs the components' colors: render\(..., color=...\)"),
        (Settings("nearest"), (), "intersection 'nearest' is not one of linear, quadratic, cubic"),
        (Settings(blending="mean"), (), "blending 'mean' is not one of two_parameter, five_parameter, sorted"),
        (Settings(gradient="exact"), (), "gradient 'exact' is not one of closed_form, autodiff"),
    ],
)
def test_what_is_not_allowed(setting, outputs, message):
    with pytest.raises(ValueError, match=message):
        render(*scene(), outputs=outputs, settings=setting)


@pytest.mark.parametrize(
    ("rule", "blend", "gradient"),
    [
        ("linear", "two_parameter", "closed_form"),
        pytest.param("linear", "two_parameter", "autodiff", marks=pytest.mark.slow),
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
