"""The paper's search for a pose (section 7.1): gradient descent with momentum, as in the released program.

The loss is 50 |z - z_seen| / mean z_seen (Eq. 12) + cross-entropy (Eq. 11), both summed and divided by the number of
all pixels. The gradient of the translation is multiplied by |t|^2. The rate falls to a tenth when, for 10 steps, a line
through the last 50 losses has not fallen by 1e-4 a step: our reading of the released rule's numbers (3e-4, 0.1, 50, 10,
-1e-4).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from fm_render import Mixture, Rays, Settings, product, render
from fmb.fit.losses import weighted_mean
from fmb.pose.residuals import Pose, Sight
from fmb.pose.search import SearchPath, moved

RATE, MOMENTUM, DEPTH_WEIGHT = 3e-4, 0.95, 50.0
CLIPPED = 1e-6  # least distance of alpha from 0 and 1
DROP, WINDOW, PATIENCE, FALLING = 0.1, 50, 10, -1e-4  # the plateau rule
MOST_STEPS, SHOWN, LEAST_RATE = 2_000, 20, 1e-7  # every 20th step is kept; at the least rate nothing moves


class Motion(NamedTuple):
    """State of a descent: pose, velocity, the last losses, rate, steps without a fall, steps."""

    pose: Pose
    velocity: Float[Array, "6"]
    losses: Float[Array, " window"]
    rate: Float[Array, ""]
    waiting: Int[Array, ""]
    steps: Int[Array, ""]


def image_loss(mixture: Mixture, sight: Sight, settings: Settings, pose: Pose) -> Float[Array, ""]:
    """Loss at a pose (Eqs. 11 and 12). Every pixel is rendered once; depth counts where it was measured.

    Alpha is clipped as in Eq. 11. Computed from the density, the slope of a wrongly transparent pixel has no bound, and
    with this momentum and rate the object then left the image for good.
    """
    seen = render(mixture, rays_of(pose, sight.direction), 1.0, ("density", "depth"), settings)
    alpha = jnp.clip(-jnp.expm1(-seen.density), CLIPPED, 1 - CLIPPED)
    each = -sight.silhouette * jnp.log(alpha) - (1 - sight.silhouette) * jnp.log1p(-alpha)
    entropy = weighted_mean(each, sight.mask_weight)
    mean = weighted_mean(sight.point[2], sight.depth_weight)
    distance = jnp.where(sight.depth_weight > 0, jnp.abs(seen.depth - sight.point[2]), 0)
    error = (sight.depth_weight * distance).mean()
    return entropy + DEPTH_WEIGHT * error / jnp.where(mean > 0, mean, 1)


def descend_first_order(loss: Callable[[Pose], Array], pose: Pose) -> tuple[Pose, SearchPath, Int[Array, ""]]:
    """The last pose of the descent, every SHOWN-th pose, and the number of steps."""
    size = jnp.linspace(-0.5, 0.5, WINDOW) * (WINDOW - 1)
    line = (size / (size * size).sum()).astype(pose.translation.dtype)

    def step(motion: Motion) -> tuple[Motion, Array]:
        still = jnp.zeros(6, line.dtype)
        value, gradient = jax.value_and_grad(lambda step: loss(moved(motion.pose, step)))(still)
        gradient = gradient.at[3:].multiply((motion.pose.translation**2).sum())
        velocity = MOMENTUM * motion.velocity - motion.rate * gradient
        losses = jnp.roll(motion.losses, -1).at[-1].set(value)
        flat = jnp.isfinite(losses).all() & (product("i,i->", line, losses) > FALLING)
        waiting = jnp.where(flat, motion.waiting + 1, 0)
        drop = waiting >= PATIENCE
        losses = jnp.where(drop, jnp.inf, losses)
        rate = jnp.where(drop, DROP * motion.rate, motion.rate)
        waiting = jnp.where(drop, 0, waiting)
        return Motion(moved(motion.pose, velocity), velocity, losses, rate, waiting, motion.steps + 1), value

    def unfinished(state: tuple[Motion, SearchPath]) -> Bool[Array, ""]:
        return (state[0].steps < MOST_STEPS) & (state[0].rate > LEAST_RATE)

    def some(state: tuple[Motion, SearchPath]) -> tuple[Motion, SearchPath]:
        motion, value = jax.lax.scan(lambda motion, _: step(motion), state[0], length=SHOWN)
        later = jnp.arange(MOST_STEPS // SHOWN) >= motion.steps // SHOWN - 1

        def keep(rows: Array, x: Array) -> Array:
            return jnp.where(later.reshape(-1, *(1,) * x.ndim), x[None], rows)

        return motion, jax.tree.map(keep, state[1], SearchPath(motion.pose, value[-1]))

    rows = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (MOST_STEPS // SHOWN, *x.shape)), SearchPath(pose, jnp.zeros((), line.dtype))
    )
    losses = jnp.full(WINDOW, jnp.inf, line.dtype)
    begun = Motion(pose, jnp.zeros(6, line.dtype), losses, jnp.asarray(RATE, line.dtype), jnp.array(0), jnp.array(0))
    motion, track = jax.lax.while_loop(unfinished, some, (begun, rows))
    return motion.pose, track, motion.steps


def rays_of(pose: Pose, direction: Float[Array, "3 ray"]) -> Rays:
    """The camera's rays in the object's frame."""
    origin = -product("ij,i->j", pose.rotation, pose.translation)
    turned = product("ij,ir->rj", pose.rotation, direction)
    return Rays(jnp.broadcast_to(origin[None], turned.shape), turned)
