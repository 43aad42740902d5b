"""The renderer inside a network: a small decoder learns from silhouettes alone which balls stand for which code.

From the project's folder: python -m examples.in_a_network
"""

import jax
import jax.numpy as jnp
import numpy as np

from fm_render import Cameras, Mixture, Rendering, views_loss

COMPONENTS, HIDDEN, STEPS, RATE, SIDE = 12, 32, 300, 0.03, 32


def decode(weights: list[tuple[jax.Array, jax.Array]], code: jax.Array) -> Mixture:
    """Two layers from a code [2] to a mixture: ten numbers a component."""
    (first, bias), (last, offset) = weights
    numbers = (jnp.tanh(code @ first + bias) @ last + offset).reshape(COMPONENTS, 10)
    factor = jnp.zeros((COMPONENTS, 3, 3)).at[:, *jnp.tril_indices(3)].set(numbers[:, 3:9])
    diagonal = 6 * jnp.exp(jnp.diagonal(factor, axis1=1, axis2=2))
    factor = jnp.tril(factor, -1) + diagonal[..., None] * jnp.eye(3)
    return Mixture(0.3 * numbers[:, :3], factor, numbers[:, 9])


def camera(side: int) -> Cameras:
    """One camera three units before the origin, a batch of one; the image is 0.6 wide at unit depth."""
    pose, focal = np.eye(4, dtype=np.float32), side / 0.6
    pose[2, 3] = -3.0
    intrinsics = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]], np.float32)
    return Cameras(pose[None], intrinsics[None])


def targets(side: int) -> tuple[jax.Array, jax.Array]:
    """Two codes and the masks that belong to them, [2, side, side]: a disc and an upright bar."""
    y, x = 0.9 * ((np.indices((side, side)) + 0.5) * 2 / side - 1)
    masks = np.stack([np.hypot(x, y) < 0.5, (np.abs(x) < 0.2) & (np.abs(y) < 0.7)])
    return jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.asarray(masks, jnp.float32)


def cross_entropy(rendering: Rendering, mask: jax.Array) -> jax.Array:
    """Of each pixel, from the density: alpha = 1 - exp(-density)."""
    density = rendering.density
    return mask * -jnp.log(-jnp.expm1(-density - 1e-6)) + (1 - mask) * density


def main() -> tuple[float, float]:
    """Prints and returns the mean cross-entropy before and after training."""
    codes, masks = targets(SIDE)
    view = camera(SIDE)

    def loss(weights: list) -> jax.Array:
        parts = [
            views_loss(cross_entropy, decode(weights, code), view, mask[None])
            for code, mask in zip(codes, masks, strict=True)
        ]
        return sum(parts) / masks.size

    keys = jax.random.split(jax.random.key(0), 2)
    shapes = ((2, HIDDEN), (HIDDEN, 10 * COMPONENTS))
    weights = [
        (0.5 * jax.random.normal(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, shapes, strict=True)
    ]
    speed = jax.tree.map(jnp.zeros_like, weights)
    graded = jax.jit(jax.value_and_grad(loss))
    first = float(graded(weights)[0])
    for number in range(STEPS):
        value, gradient = graded(weights)
        speed = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g, speed, gradient)
        rate = RATE * (1 - number / STEPS)
        weights = jax.tree.map(lambda x, v, rate=rate: x - rate * v / (jnp.linalg.norm(v) + 1e-6), weights, speed)
    print(f"cross-entropy of two silhouettes: {first:.3f} before, {float(value):.3f} after {STEPS} steps")
    return first, float(value)


if __name__ == "__main__":
    main()
