"""The renderer as one would first write it: one ray against one component, `vmap` over both, autodiff for the rest.

The same formulas as fm_render.py's linear rule and two-parameter blend, and the same results, which a test holds;
neither closed-form gradients nor blocks of rays. What the benchmarks compare with.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, Rays, Rendering, TwoBetas

FEW = 1e-30  # least sum of weights: that of a ray which has every component behind it is 0


def hit(mixture: Mixture, origin: Float[Array, "3"], direction: Float[Array, "3"]) -> tuple[Array, Array]:
    """Distance along one ray to one component (Eq. 6), and the log density there."""
    offset = mixture.precision_cholesky.T @ (mixture.mean - origin)
    along = mixture.precision_cholesky.T @ direction
    distance = (along @ offset) / (along @ along)
    rest = offset - distance * along
    return distance, mixture.log_weight - rest @ rest / 2


def blend(
    mixture: Mixture, origin: Float[Array, "3"], direction: Float[Array, "3"], scale: Array, betas: TwoBetas
) -> tuple[Array, Array]:
    """Depth and density along one ray."""
    distance, log_density = jax.vmap(hit, (0, None, None))(mixture, origin, direction)
    front = distance > 0
    density = jnp.where(front, jnp.exp(log_density), 0).sum()
    log_weight = jnp.where(front, betas.fit * log_density - betas.near * distance / scale, -jnp.inf)
    largest = jnp.maximum(log_weight.max(), jnp.finfo(log_weight.dtype).min)
    weight = jnp.exp(log_weight - jax.lax.stop_gradient(largest))
    return weight @ distance / jnp.maximum(weight.sum(), FEW), density


def facing_normal(depth: Array, slope: Array, direction: Float[Array, "3"]) -> Float[Array, "3"]:
    """Unit normal towards the camera of the surface that rays of one length sweep; 0 where nothing is in front."""
    facing = slope - direction * (depth + slope @ direction) / (direction @ direction)
    square = facing @ facing
    return facing / jnp.sqrt(jnp.where(square > 0, square, 1))


def render_naive(
    mixture: Mixture, rays: Rays, scale: Array | float = 1.0, outputs: tuple[str, ...] = ("alpha", "depth")
) -> Rendering:
    """The outputs named, of density, alpha, depth and normal, along rays [ray, 3]; to be called under `jit`."""

    def one_ray(origin: Array, direction: Array) -> Rendering:
        arguments = mixture, origin, direction, scale, TwoBetas()
        if "normal" in outputs:
            (depth, density), slope = jax.value_and_grad(blend, argnums=2, has_aux=True)(*arguments)
            normal = facing_normal(depth, slope, direction)
        else:
            (depth, density), normal = blend(*arguments), None
        found = Rendering(density, -jnp.expm1(-density), depth, normal)
        return Rendering(**{name: getattr(found, name) for name in outputs})

    return jax.vmap(one_ray)(rays.origin, rays.direction)
