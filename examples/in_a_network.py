"""The renderer inside a network: a small decoder learns from silhouettes alone which balls stand for which code.

From the project's folder: python -m examples.in_a_network
"""

import jax
import jax.numpy as jnp

from fm_render import Mixture, Rays, render

COMPONENTS, HIDDEN, STEPS, RATE, SIDE = 12, 32, 300, 0.03, 32


def decode(weights: list[tuple[jax.Array, jax.Array]], code: jax.Array) -> Mixture:
    """Two layers from a code [2] to a mixture: ten numbers a component."""
    (first, bias), (last, offset) = weights
    numbers = (jnp.tanh(code @ first + bias) @ last + offset).reshape(COMPONENTS, 10)
    factor = jnp.zeros((COMPONENTS, 3, 3)).at[:, *jnp.tril_indices(3)].set(numbers[:, 3:9])
    diagonal = 6 * jnp.exp(jnp.diagonal(factor, axis1=1, axis2=2))
    factor = jnp.tril(factor, -1) + diagonal[..., None] * jnp.eye(3)
    return Mixture(0.3 * numbers[:, :3], factor, numbers[:, 9])


def image_rays(side: int) -> Rays:
    """A camera three units before the origin."""
    column, row = jnp.meshgrid(jnp.linspace(-0.3, 0.3, side), jnp.linspace(-0.3, 0.3, side))
    direction = jnp.stack([column, row, jnp.ones_like(row)], axis=-1)
    return Rays(jnp.broadcast_to(jnp.array([0.0, 0.0, -3.0]), direction.shape), direction)


def targets(rays: Rays) -> tuple[jax.Array, jax.Array]:
    """Two codes and the masks that belong to them: a disc and an upright bar."""
    x, y = 3 * rays.direction[..., 0], 3 * rays.direction[..., 1]
    masks = jnp.stack([jnp.hypot(x, y) < 0.5, (jnp.abs(x) < 0.2) & (jnp.abs(y) < 0.7)])
    return jnp.array([[1.0, 0.0], [0.0, 1.0]]), masks.astype(jnp.float32)


def main() -> tuple[float, float]:
    """Prints and returns the mean cross-entropy before and after training."""
    rays = image_rays(SIDE)
    codes, masks = targets(rays)

    def loss(weights: list) -> jax.Array:
        density = jax.vmap(lambda code: render(decode(weights, code), rays, outputs=("density",)).density)(codes)
        return jnp.mean(masks * -jnp.log(-jnp.expm1(-density - 1e-6)) + (1 - masks) * density)

    keys = jax.random.split(jax.random.key(0), 2)
    shapes = ((2, HIDDEN), (HIDDEN, 10 * COMPONENTS))
    weights = [
        (0.5 * jax.random.normal(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, shapes, strict=True)
    ]
    speed = jax.tree.map(jnp.zeros_like, weights)
    graded = jax.jit(jax.value_and_grad(loss))
    first = float(loss(weights))
    for number in range(STEPS):
        value, gradient = graded(weights)
        speed = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g, speed, gradient)
        rate = RATE * (1 - number / STEPS)
        weights = jax.tree.map(lambda x, v, rate=rate: x - rate * v / (jnp.linalg.norm(v) + 1e-6), weights, speed)
    print(f"cross-entropy of two silhouettes: {first:.3f} before, {float(value):.3f} after {STEPS} steps")
    return first, float(value)


if __name__ == "__main__":
    main()
