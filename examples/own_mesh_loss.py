"""A loss of your own on the mesh of a morph: the shape becomes flat, as if a weight lay on it.

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
    """Mean square of the height, and the volume that must not change."""
    height = jnp.sum(surface.weight * surface.vertex[:, 1] ** 2) / jnp.sum(surface.weight)
    return height + 100.0 * (surface.volume - 0.1) ** 2


def main() -> tuple[float, float]:
    """Prints and returns the height of the mesh before and after."""
    mean = 0.15 * jax.random.normal(jax.random.key(0), (12, 3))
    ball = Mixture(mean, jnp.tile(8.0 * jnp.eye(3)[None], (12, 1, 1)), jnp.full(12, -0.5))
    family = lambda edges: density_field(mixture_from_edges(edges), HALF_DENSITY)  # noqa: E731
    loss = find_loss(f"{__file__}:flat", Target())
    found = morph(Plan(family, loss, EDGE_COORDINATES, 60, 0.03, 32, 0.6), [edges_from_mixture(ball)])
    before, after = (float(stage.mesh.extents[1]) for stage in (found.stages[0], found.best))
    print(f"height {before:.3f} before, {after:.3f} after {len(found.stages) - 1} steps")
    return before, after


if __name__ == "__main__":
    main()
