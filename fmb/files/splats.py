"""A mixture as Gaussian splats and back: what 3DGS viewers (Kerbl et al. 2023) draw as this renderer would.

A splat's opacity at its middle is below 1 and falls like a Gaussian; a component, of alpha 1 - exp(-w exp(-d^2 / 2)),
w its weight, is flat-topped. So a component becomes n = w / 0.1 equal splats in one place, each so faint that together
they are opaque as it is, exactly where that is 1/2. One splat each gave IoU 0.65 of silhouettes. Fitted components have
w of up to 15,000, a nearly hard edge, which would need as many splats: at most MOST_COPIES are made, which can hold a
weight of that number; larger ones are counted in less, and the splats widened to be half opaque where they were.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from scipy.special import expit, logit

from fm_render import Mixture
from fmb.fields.metaballs import HALF_DENSITY
from fmb.geometry.cameras import ANY_ARRAY

WEIGHT_PER_COPY = 0.1  # of a component: so faint that the product of copies is the exponential to 5 % in the tails
MOST_COPIES = 32  # of fits' silhouettes 16, 32, 64 give IoU 0.97, 0.98, 0.985 with the renderer's
ROUNDING = 1e-9  # so that a weight that is a whole number of copies gets no further one
OPAQUE = MOST_COPIES / 2  # the weight beyond which splats are widened
HARMONIC = 0.28209479177387814  # of degree 0, 1 / (2 sqrt(pi)): colour = 1/2 + HARMONIC f_dc
GREY = 0.75


class Splats(NamedTuple):
    """Gaussians as 3DGS stores them, in the unit of the world."""

    mean: Float[np.ndarray, "splat 3"]
    harmonic: Float[np.ndarray, "splat 3"]  # f_dc, colour of degree 0
    opacity: Float[np.ndarray, " splat"]  # logit
    log_scale: Float[np.ndarray, "splat 3"]  # logarithms of the standard deviations along the axes
    quaternion: Float[np.ndarray, "splat 4"]  # wxyz, turns the axes into the world


def splats_from_mixture(mixture: Mixture, color: Float[ANY_ARRAY, "mixture 3"] | None = None) -> Splats:
    """Splats that look like the mixture from every side, 1 to MOST_COPIES for each component, one after the other.

    `color` from 0 to 1; None: grey. Components of weight 0 are left out. Raises ValueError where none is left.
    """
    weight = np.exp(np.asarray(mixture.log_weight, float))
    seen = weight > 0.0
    if not seen.any():
        raise ValueError("splats of a mixture: all its components have weight 0")
    weight, factor = weight[seen], np.asarray(mixture.precision_cholesky, float)[seen]
    color = np.full((len(seen), 3), GREY) if color is None else np.asarray(color, float)
    count = copies(weight)
    axes, inverse_scale, _ = np.linalg.svd(factor)
    axes = axes * np.linalg.det(axes)[:, None, None]  # a rotation, no mirror
    log_scale = -np.log(inverse_scale) + np.log(widening(weight))[:, None]
    splats = Splats(
        np.asarray(mixture.mean, float)[seen],
        (color[seen] - 0.5) / HARMONIC,
        logit(copy_opacity(held_weight(weight), count)),
        log_scale,
        Rotation.from_matrix(axes).as_quat(canonical=True, scalar_first=True),
    )
    return Splats(*(np.repeat(field, count, axis=0) for field in splats))


def mixture_from_splats(splats: Splats, widened: bool = False) -> tuple[Mixture, Float[np.ndarray, "mixture 3"]]:
    """Mixture and colours of splats, equal ones merged, in float64.

    `widened` says that they come from `splats_from_mixture`, which this then inverts; splats of other origin are taken
    as they are.
    """
    first, count = _distinct(splats)
    mean, harmonic, opacity, log_scale, quaternion = (np.asarray(field, float)[first] for field in splats)
    if widened:
        weight = original_weight(copied_weight(expit(opacity), count))
        log_scale = log_scale - np.log(widening(weight))[:, None]
    else:
        weight = count * np.logaddexp(0.0, opacity)  # -log(1 - opacity) of each
    axes = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
    # rows of R of the transposed factor: keeps the digits of thin components, which squares would lose
    upper = np.linalg.qr(np.exp(-log_scale)[:, :, None] * np.swapaxes(axes, 1, 2), mode="r")
    upper = upper * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, :, None]
    mixture = Mixture(mean, np.swapaxes(upper, 1, 2), np.log(weight))
    return mixture, np.clip(0.5 + HARMONIC * harmonic, 0.0, 1.0)


def copies(weight: Float[np.ndarray, " mixture"]) -> Int[np.ndarray, " mixture"]:
    """How many equal splats stand for a component."""
    return np.clip(np.ceil(weight / WEIGHT_PER_COPY - ROUNDING), 1, MOST_COPIES).astype(int)


def copy_opacity(weight: Float[np.ndarray, " mixture"], count: Int[np.ndarray, " mixture"]) -> np.ndarray:
    """Opacity of each copy: together they are half opaque where a component of that weight is, or match its middle."""
    matched = np.minimum(weight, HALF_DENSITY)
    return -np.expm1(-matched / count) * weight / matched


def copied_weight(opacity: Float[np.ndarray, " mixture"], count: Int[np.ndarray, " mixture"]) -> np.ndarray:
    """The inverse of `copy_opacity`."""
    half = -np.expm1(-HALF_DENSITY / count)
    return np.where(opacity < half, -count * np.log1p(-np.minimum(opacity, half)), opacity / half * HALF_DENSITY)


def held_weight(weight: Float[np.ndarray, " mixture"]) -> Float[np.ndarray, " mixture"]:
    """The weight that the splats of a component stand for: its own, beyond OPAQUE one that stays below twice that."""
    excess = np.log(np.maximum(weight, OPAQUE) / OPAQUE)
    return np.where(weight <= OPAQUE, weight, OPAQUE * (1.0 + excess / (1.0 + excess)))


def original_weight(held: Float[np.ndarray, " mixture"]) -> Float[np.ndarray, " mixture"]:
    """The inverse of `held_weight`; of what no mixture gives, the nearest that one gives."""
    part = np.clip(held / OPAQUE - 1.0, 0.0, 0.99)
    return np.where(held <= OPAQUE, held, OPAQUE * np.exp(part / (1.0 - part)))


def widening(weight: Float[np.ndarray, " mixture"]) -> Float[np.ndarray, " mixture"]:
    """Factor on the standard deviations that keeps a component half opaque where it was; 1 up to OPAQUE."""
    opaque = np.maximum(weight, OPAQUE)
    return np.sqrt(np.log(opaque / HALF_DENSITY) / np.log(held_weight(opaque) / HALF_DENSITY))


def _distinct(splats: Splats) -> tuple[np.ndarray, np.ndarray]:
    """Place of the first of each set of equal splats, in their order, and how many there are."""
    row = np.ascontiguousarray(np.column_stack([np.asarray(field) for field in splats]))
    row = row.view(np.dtype((np.void, row.dtype.itemsize * row.shape[1]))).ravel()
    _, first, count = np.unique(row, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], count[order]
