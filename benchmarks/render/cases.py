"""What is timed along rays: losses, gradients and images by any renderer of one signature."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fm_render import Mixture, Rays, render
from fmb.fit.losses import relative_depth_loss, silhouette_cross_entropy

SCALE = 1.0  # of the canonical frame


class Batch(NamedTuple):
    """Rays and what a mesh shows there; depth NaN for background."""

    rays: Rays
    silhouette: Float[Array, " ray"]
    depth: Float[Array, " ray"]


def shown(outputs: tuple[str, ...], renderer: Callable, mixture: Mixture, batch: Batch) -> tuple[Array, ...]:
    """The images named."""
    rendering = renderer(mixture, batch.rays, SCALE, outputs)
    return tuple(getattr(rendering, name) for name in outputs)


def silhouette_loss(renderer: Callable, mixture: Mixture, batch: Batch) -> Array:
    """Cross-entropy of the silhouettes, from the density."""
    return silhouette_cross_entropy(*shown(("density",), renderer, mixture, batch), batch.silhouette)


def mixture_gradient(renderer: Callable, mixture: Mixture, batch: Batch) -> tuple[Array, Mixture]:
    """Silhouette loss and its gradient with respect to the mixture."""
    return jax.value_and_grad(partial(silhouette_loss, renderer))(mixture, batch)


def pose_gradient(
    rays_of: Callable[[Array], Rays], renderer: Callable, pose: Float[Array, "6"], mixture: Mixture, batch: Batch
) -> tuple[Array, Array]:
    """Cross-entropy and depth loss of the image that a camera sees, and the gradient with respect to its pose."""

    def loss(pose: Array) -> Array:
        density, depth = shown(("density", "depth"), renderer, mixture, batch._replace(rays=rays_of(pose)))
        return silhouette_cross_entropy(density, batch.silhouette) + relative_depth_loss(depth, batch.depth)

    return jax.value_and_grad(loss)(pose)


def parity(mixture: Mixture, batch: Batch) -> str:
    """How far this device is from the CPU, in one sentence: products in less than float32 would show here."""
    found = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        arguments = jax.device_put((mixture, batch), device)
        images = jax.jit(partial(shown, ("alpha", "depth"), render))(*arguments)
        found.append(jax.device_get((images, jax.jit(partial(mixture_gradient, render))(*arguments)[1])))
    (images, gradient), (images_cpu, gradient_cpu) = found
    alpha, depth = (jnp.abs(a - b).max() for a, b in zip(images, images_cpu, strict=True))
    slope = max(abs(a - b).max() / abs(b).max() for a, b in zip(gradient, gradient_cpu, strict=True))
    return (
        f"Largest difference from the CPU: alpha {alpha:.1e}, depth {depth:.1e} scales, gradient {slope:.1e} relative."
    )
