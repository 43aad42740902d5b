"""Where a fit begins: a mixture in the canonical frame, from a mesh or from nothing."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.em import MANY, POINTS_PER_COMPONENT
from fmb.fields.mixtures import SPHERE_SPREAD, fit_gmm, in_single, sphere_mixture
from fmb.geometry.interior import sample_interior, sample_surface
from fmb.shape.options import ModelOptions

RELEASED_SCALE = 2.2  # of the object in the released fit, which spreads means by 0.1 sqrt(scale) there
SPHERE_WEIGHT = 14.0  # opaque to 2.4 standard deviations: an edge that the first steps can feel


class Start(NamedTuple):
    """A mixture to start from, how it was made and, where that was not what was asked for, why (one line)."""

    mixture: Mixture
    kind: str
    notice: str = ""


def start_mixture(
    mesh: trimesh.Trimesh | None,
    options: ModelOptions,
    seed: int,
    recipe: str = "best",
    inside: Float[np.ndarray, "point 3"] | None = None,
) -> Start:
    """The start that `options` asks for, in the canonical frame; without a mesh, a volume is where the points lie.

    The spheres of recipe "predecessor" weigh 1 / num_mixtures as released, others SPHERE_WEIGHT each. A mesh without
    an interior gets a surface GMM in place of a volumetric one, with a notice.
    Raises ValueError for a GMM of a surface without a mesh, or of a volume without either.
    """
    kind = options.init
    if kind == "auto":
        kind = "sphere" if mesh is None and inside is None else "volume_gmm"
    generator = np.random.default_rng(seed)
    count, factor = options.num_mixtures, options.gmm_init_scale
    if kind == "sphere":
        released = recipe == "predecessor"
        spread = SPHERE_SPREAD / math.sqrt(RELEASED_SCALE) if released else SPHERE_SPREAD
        factor *= 1.0 if released else SPHERE_WEIGHT * count
        start = sphere_mixture(generator, count, 1.0, spread, options.rand_sphere_size, factor)
        return Start(in_single(start), kind)
    if kind == "volume_gmm" and mesh is None and inside is not None:
        return Start(in_single(fit_gmm(inside, count, seed, "volume", factor)), kind)
    if mesh is None:
        raise ValueError(f"init is {kind}; without a mesh it must be sphere, volume_gmm or auto")
    notice = ""
    if kind == "volume_gmm":
        try:
            points = sample_interior(mesh, start_points(options), generator)
        except ValueError as error:
            kind, notice = "surface_gmm", f"{error}; surface_gmm instead of volume_gmm"
    if kind == "surface_gmm":
        points = sample_surface(mesh, start_points(options), generator)
    return Start(in_single(fit_gmm(points, count, seed, kind.removesuffix("_gmm"), factor)), kind, notice)


def start_points(options: ModelOptions) -> int:
    """Number of points that a GMM start is fitted to: more than asked for where components are very many."""
    needed = POINTS_PER_COMPONENT * options.num_mixtures if options.num_mixtures > MANY else 0
    return max(options.gmm_points, needed)


def other_starts(
    first: Mixture,
    mesh: trimesh.Trimesh | None,
    options: ModelOptions,
    seed: int,
    recipe: str,
    inside: Float[np.ndarray, "point 3"] | None,
) -> Callable[[int], Mixture]:
    """A function of a number: of 0 to the first start, of others to the starts of the seeds that follow `seed`."""

    def start_of(number: int) -> Mixture:
        return first if number == 0 else start_mixture(mesh, options, seed + number, recipe, inside).mixture

    return start_of
