"""How like its images the body of a mixture is: what is more than half opaque, on a grid, blurred.

    rho(H) = <B, B o H> / (|B| |B o H|)

How a body falls into components is chance: components overlap, so that their sum is uneven within it, and they bulge. A
body counts what is inside once, and the blur is wider than the bulges. What is left are differences of a body's sides.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import minimize

from fm_render import Mixture
from fmb.fields.correlation import Bodies, Likeness, bodies_of, free_steps, likely_symmetries, moving
from fmb.fields.metaballs import HALF_DENSITY, mixture_box
from fmb.fields.mixtures import mixture_frame
from fmb.geometry.symmetry import GROUPS, NO_SYMMETRY, Orbit, Symmetry, apply_to_points

CELLS = 26  # along the longest side of the box of a body and its margin
FINER = 3  # cells on which the body is drawn before it is blurred, in one of these: thin parts are not lost
BLUR = 0.16  # object scales: deviation of the Gaussian
MARGIN = 2.5  # of these deviations around the body
SHARPNESS = 4.0  # inside is 1 / (1 + (HALF_DENSITY / density)^4): so the grid does not alias
# Mixtures of 40 components of solids, seed 10 of benchmarks.symmetry: 24 with a symmetry have 0.9996 at least, of 24
# without, sheared by a tenth and more, the best has 0.9989. By components (correlation.py) those were 0.9777 to 0.9959
# and up to 0.9948.
SYMMETRIC = 0.9993  # likeness from which a mixture counts as symmetric
CLOSE = 0.95  # correlation of the components from which a place is looked at
GAIN = 1e-4  # of likeness, beyond what the grid makes of one place
STEPS, DIFFERENCE = 8, 1e-3  # of BFGS, and radians and scales over which slopes are taken


class Body(NamedTuple):
    """A body on the nodes origin + side (i, j, k) of a grid, and these nodes in a row."""

    value: Float[np.ndarray, "x y z"]
    node: Float[np.ndarray, "node 3"]
    origin: Float[np.ndarray, "3"]
    side: float
    scale: float  # of the object


def body_of(mixture: Mixture) -> Body:
    """The body of a mixture. Raises ValueError where it is nowhere dense enough to be half opaque."""
    lower, upper = mixture_box(mixture, HALF_DENSITY)
    scale = float(mixture_frame(mixture).scale)
    lower, upper = lower - MARGIN * BLUR * scale, upper + MARGIN * BLUR * scale
    side = float((upper - lower).max()) / (CELLS * FINER)
    shape = tuple(int(number) + 1 for number in np.ceil((upper - lower) / side))
    node = nodes(shape, lower, side)
    density = np.full(len(node), np.finfo(float).tiny)
    for mean, factor, log_weight in zip(*(np.asarray(field, float) for field in mixture), strict=True):
        density += np.exp(log_weight - np.sum(((node - mean) @ factor) ** 2, axis=1) / 2.0)
    inside = 1.0 / (1.0 + np.exp(np.minimum(SHARPNESS * (np.log(HALF_DENSITY) - np.log(density)), 500.0)))
    value = gaussian_filter(inside.reshape(shape), BLUR * scale / side)[::FINER, ::FINER, ::FINER]
    return Body(value, nodes(value.shape, lower, FINER * side), lower, FINER * side, scale)


def nodes(shape: tuple[int, ...], origin: Float[np.ndarray, "3"], side: float) -> Float[np.ndarray, "node 3"]:
    """The nodes of a grid in a row."""
    return origin + side * np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)


def likeness(body: Body, orbit: Orbit) -> Float[np.ndarray, " map"]:
    """rho of every map of the orbit."""
    own, size = body.value.ravel(), np.linalg.norm(body.value)
    found = []
    for image in apply_to_points(orbit, body.node):
        other = map_coordinates(body.value, (image - body.origin).T / body.side, order=1, cval=0.0)
        found.append(own @ other / (size * max(np.linalg.norm(other), np.finfo(float).tiny)))
    return np.array(found)


def scored(body: Body, symmetry: Symmetry) -> Likeness:
    """The symmetry with its score: the least rho over the maps but the identity."""
    return Likeness(symmetry, float(likeness(body, moving(symmetry)).min()))


def refined_on_body(body: Body, start: Symmetry) -> Likeness:
    """The symmetry at the nearest maximum of the mean of rho, with its score.

    A start that is good enough is left where it is, and any that moving gains less than GAIN: the correlation of the
    components is exact where a grid is not.
    """
    before = scored(body, start)
    if before.score >= SYMMETRIC:
        return before
    count, at = free_steps(start, body.scale)

    def loss(step: np.ndarray) -> float:
        return 1.0 - float(likeness(body, moving(at(step))).mean())

    options = {"maxiter": STEPS, "eps": DIFFERENCE}
    moved = at(minimize(loss, np.zeros(count), method="BFGS", options=options).x)
    after = scored(body, moved)
    return after if after.score > before.score + GAIN else before


def mixture_symmetries(
    mixture: Mixture, kinds: Sequence[str] = tuple(GROUPS), bodies: Bodies | None = None
) -> list[Likeness]:
    """For every kind that comes near to being one, the place where the body is most like its images."""
    body, bodies = body_of(mixture), bodies or bodies_of(mixture)
    found = []
    for kind in kinds:
        near = [one for one in likely_symmetries(bodies, kind, 2) if one.score >= CLOSE] if kind != NO_SYMMETRY else []
        if near:
            found.append(max((refined_on_body(body, one.symmetry) for one in near), key=lambda one: one.score))
    return found
