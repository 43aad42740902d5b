"""Mixtures with a symmetry: the fundamental part and its group, rendered by mirrored rays or as all copies."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fm_numerics import in_blocks, nearby
from fm_render import Hits, Mixture, Rays, Rendering, Settings, blend, checked, prepared, trace
from fmb.fields.merging import merge_mixture
from fmb.geometry.symmetry import (
    Orbit,
    Symmetry,
    apply_to_mixture,
    apply_to_points,
    apply_to_rays,
    home_map,
    triangular,
    whole_mixture,
)

ORBIT_OUTPUTS = ("density", "alpha", "depth", "weight")


class SymmetricMixture(NamedTuple):
    """Components of which all others are copies, and the symmetry that makes them."""

    fundamental: Mixture
    symmetry: Symmetry

    def copies(self) -> Mixture:
        """All components, map after map, each tied to its original: gradients reach it and the symmetry's place."""
        return apply_to_mixture(self.symmetry.orbit, self.fundamental)

    def whole(self) -> Mixture:
        """All components for files, in double precision; copies that fall together are one."""
        return whole_mixture(self.symmetry, self.fundamental)


def render_orbit(
    mixture: SymmetricMixture,
    rays: Rays,
    scale: Array | float = 1.0,
    outputs: tuple[str, ...] = ("alpha", "depth"),
    settings: Settings = Settings(),
) -> Rendering:
    """As `render` of all copies, along rays [ray, 3]: each ray's images under the group meet the fundamental part.

    A rigid map keeps t and the density there, so the hits of all images are those of the ray itself on all copies; they
    are blended once. `weight` is [ray, component], copy after copy. Raises ValueError for other outputs.
    """
    for name in outputs:
        if name not in ORBIT_OUTPUTS:
            raise ValueError(f"output {name!r}: along an orbit of rays it must be one of {', '.join(ORBIT_OUTPUTS)}")
    fundamental, symmetry = mixture
    outputs = checked(fundamental, outputs, settings, None)
    orbit, dtype = symmetry.orbit, jnp.result_type(fundamental.mean)
    fundamental, scale, settings, _ = prepared(fundamental, scale, settings, None, dtype)
    flat = jnp.concatenate([x.T for x in rays]).astype(dtype)
    common = fundamental, jax.tree.map(lambda x: jnp.asarray(x, dtype), orbit), scale, settings
    pairs = len(fundamental.mean) * len(orbit.rotation)
    found = in_blocks(partial(_orbit_block, outputs), common, flat, pairs, settings.gradient == "closed_form")
    return Rendering(**{name: x.T for name, x in found.items()})


def _orbit_block(outputs: tuple[str, ...], common: tuple, rays: Array) -> dict[str, Array]:
    mixture, orbit, scale, settings = common
    images = apply_to_rays(orbit, Rays(rays[:3].T, rays[3:].T))
    each = []
    for number in range(len(orbit.rotation)):
        origin, direction = (x[number].T for x in images)
        start, near_mixture, near_rays = nearby(mixture, origin, direction)
        hits = trace(settings, near_mixture, *near_rays)
        each.append(hits._replace(distance=hits.distance + start))
    seen = blend(settings, Hits(*(jnp.concatenate(parts) for parts in zip(*each, strict=True))), scale)
    fields = {"density": seen.density, "alpha": -jnp.expm1(-seen.density), "depth": seen.depth, "weight": seen.weight}
    return {name: fields[name] for name in outputs}


def fold(mixture: Mixture, symmetry: Symmetry, count: int) -> SymmetricMixture:
    """A symmetric mixture near the given one, in single precision: at most `count` components, each with its copies.

    Every component moves to where its own copy lies in the fundamental part of space, weighing one part in as many as
    there are copies, and neighbours are merged.
    """
    mixture = Mixture(*(np.asarray(field, float) for field in mixture))
    orbit = Orbit(*(np.asarray(field, float) for field in symmetry.orbit))
    home = home_map(symmetry, mixture.mean)
    number = np.arange(len(home))
    mean = apply_to_points(orbit, mixture.mean)[home, number]
    factor = triangular(orbit.rotation[home] @ mixture.precision_cholesky)
    folded = Mixture(mean, factor, mixture.log_weight - np.log(len(orbit.rotation)))
    merged = merge_mixture(folded, np.zeros((len(home), 3)), count)[0]
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (merged, symmetry))
    return SymmetricMixture(*single)
