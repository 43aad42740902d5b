"""A loss of your own on a mask image of your own: forty balls learn a five-pointed star from one silhouette.

From the project's folder: python -m examples.own_loss
"""

import jax
import jax.numpy as jnp
import numpy as np

from fm_render import Mixture, Rays, render

SIDE, STEPS, RATE = 48, 200, 0.02


def star(side: int) -> np.ndarray:
    """The mask, [side, side], 0 or 1: any image of yours will do."""
    row, column = (np.indices((side, side)) + 0.5 - side / 2) / (side / 2)
    angle, radius = np.arctan2(column, -row), np.hypot(row, column)
    return (radius < 0.5 + 0.25 * np.cos(5 * angle)).astype(np.float32)


def image_rays(side: int) -> Rays:
    """A camera three units before the origin. Directions have unit depth: the ray parameter is the depth."""
    column, row = jnp.meshgrid(jnp.linspace(-0.35, 0.35, side), jnp.linspace(-0.35, 0.35, side))
    direction = jnp.stack([column, row, jnp.ones_like(row)], axis=-1)
    return Rays(jnp.broadcast_to(jnp.array([0.0, 0.0, -3.0]), direction.shape), direction)


def loss(mixture: Mixture, rays: Rays, mask: jax.Array) -> jax.Array:
    """One minus the soft Dice coefficient: the place for your own loss."""
    alpha = render(mixture, rays, outputs=("alpha",)).alpha
    return 1 - 2 * jnp.sum(alpha * mask) / jnp.sum(alpha + mask)


@jax.jit
def step(mixture: Mixture, speed: Mixture, rays: Rays, mask: jax.Array) -> tuple[Mixture, Mixture]:
    """A step along the sign of the averaged gradient; the factor stays lower triangular."""
    gradient = jax.grad(loss)(mixture, rays, mask)
    speed = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g, speed, gradient)
    moved = jax.tree.map(lambda x, v: x - RATE * jnp.sign(v), mixture, speed)
    return moved._replace(precision_cholesky=jnp.tril(moved.precision_cholesky)), speed


def main() -> float:
    """Prints and returns the IoU at opacity one half."""
    rays, mask = image_rays(SIDE), jnp.asarray(star(SIDE))
    mean = 0.3 * jax.random.normal(jax.random.key(0), (40, 3))
    mixture = Mixture(mean, jnp.tile(8.0 * jnp.eye(3), (40, 1, 1)), jnp.full(40, -1.0))
    speed = jax.tree.map(jnp.zeros_like, mixture)
    for _ in range(STEPS):
        mixture, speed = step(mixture, speed, rays, mask)
    alpha = render(mixture, rays, outputs=("alpha",)).alpha
    seen, wanted = alpha >= 0.5, mask >= 0.5
    overlap = float(jnp.sum(seen & wanted) / jnp.sum(seen | wanted))
    print(f"IoU with the star after {STEPS} steps: {overlap:.3f}")
    return overlap


if __name__ == "__main__":
    main()
