"""A loss of your own on the mesh of a morph: the shape becomes flat.

python run_fmb.py morph shapes/ --source spot --target bob --loss examples/own_mesh_loss.py:flat

or, for metaballs alone, from the project's folder: python -m examples.own_mesh_loss
"""

import jax
import jax.numpy as jnp

from fm_render import Mixture
from fmb.fields.isosurface import Surface
from fmb.fields.metaballs import HALF_DENSITY, density_field
from fmb.latent.losses import Target, find_loss
from fmb.latent.morph import Plan, morph
from fmb.shape.edges import EDGE_COORDINATES, edges_from_mixture, mixture_from_edges


def flat(surface: Surface) -> jax.Array:
    """Mean square of the height over that of the width."""
    mean = jnp.sum(surface.weight[:, None] * surface.vertex**2, axis=0) / jnp.sum(surface.weight)
    return mean[1] / (mean[0] + mean[2])


def main() -> tuple[float, float]:
    """Prints and returns the loss before and after."""
    mean = 0.15 * jax.random.normal(jax.random.key(0), (12, 3))
    ball = Mixture(mean, jnp.tile(8.0 * jnp.eye(3)[None], (12, 1, 1)), jnp.full(12, -0.5))
    family = lambda edges: density_field(mixture_from_edges(edges), HALF_DENSITY)  # noqa: E731
    loss = find_loss(f"{__file__}:flat", Target())
    found = morph(Plan(family, loss, EDGE_COORDINATES, 40, 0.03, 24, 0.6), [edges_from_mixture(ball)])
    print(f"loss {found.stages[0].loss:.3f} before, {found.best.loss:.3f} after {len(found.stages) - 1} steps")
    return found.stages[0].loss, found.best.loss


if __name__ == "__main__":
    main()
