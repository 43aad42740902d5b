"""A loss of your own on a mask image of your own: forty balls learn a five-pointed star from one silhouette.

From the project's folder: python -m examples.own_loss
"""

import jax
import jax.numpy as jnp
import numpy as np

from fm_render import Cameras, Mixture, render_views

SIDE, STEPS, RATE = 48, 200, 0.02


def star(side: int) -> np.ndarray:
    """The mask, [side, side], 0 or 1: any image of yours will do."""
    row, column = (np.indices((side, side)) + 0.5 - side / 2) / (side / 2)
    angle, radius = np.arctan2(column, -row), np.hypot(row, column)
    return (radius < 0.5 + 0.25 * np.cos(5 * angle)).astype(np.float32)


def camera(side: int) -> Cameras:
    """One camera three units before the origin, a batch of one; the image is 0.7 wide at unit depth."""
    pose, focal = np.eye(4, dtype=np.float32), side / 0.7
    pose[2, 3] = -3.0
    intrinsics = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]], np.float32)
    return Cameras(pose[None], intrinsics[None])


def image(mixture: Mixture) -> jax.Array:
    """The opacity of every pixel, [view, height, width]."""
    return render_views(mixture, camera(SIDE), (SIDE, SIDE), outputs=("alpha",)).alpha


def loss(mixture: Mixture, mask: jax.Array) -> jax.Array:
    """One minus the soft Dice coefficient: the place for your own loss.

    A loss that is a sum over pixels can take its slope in the same pass: `fm_render.views_loss`, in in_a_network.py.
    """
    alpha = image(mixture)
    return 1 - 2 * jnp.sum(alpha * mask) / jnp.sum(alpha + mask)


@jax.jit
def step(mixture: Mixture, speed: Mixture, mask: jax.Array) -> tuple[Mixture, Mixture]:
    """A step along the sign of the averaged gradient; the factor stays lower triangular."""
    gradient = jax.grad(loss)(mixture, mask)
    speed = jax.tree.map(lambda v, g: 0.9 * v + 0.1 * g, speed, gradient)
    moved = jax.tree.map(lambda x, v: x - RATE * jnp.sign(v), mixture, speed)
    return moved._replace(precision_cholesky=jnp.tril(moved.precision_cholesky)), speed


def main() -> float:
    """Prints and returns the IoU at opacity one half."""
    mask = jnp.asarray(star(SIDE))
    mean = 0.3 * jax.random.normal(jax.random.key(0), (40, 3))
    mixture = Mixture(mean, jnp.tile(8.0 * jnp.eye(3), (40, 1, 1)), jnp.full(40, -1.0))
    speed = jax.tree.map(jnp.zeros_like, mixture)
    for _ in range(STEPS):
        mixture, speed = step(mixture, speed, mask)
    seen, wanted = jax.jit(image)(mixture)[0] >= 0.5, mask >= 0.5
    overlap = float(jnp.sum(seen & wanted) / jnp.sum(seen | wanted))
    print(f"IoU with the star after {STEPS} steps: {overlap:.3f}")
    return overlap


if __name__ == "__main__":
    main()
