"""Fewer components in place of many: groups of neighbours become one each, of their mass, middle, spread and colour.

The density of a component along a ray that meets its middle is its weight w, so w times the area of its shadow is what
it takes from all parallel rays together.  The mean of that over all directions is the mass that a group keeps.
"""

import heapq

import numpy as np
from jaxtyping import Float, Int

from fm_render import Mixture
from fmb.fields.mixtures import lower_factor

THOMSEN = 1.6075  # exponent of Thomsen's formula for the surface of an ellipsoid, off by 1.1 % at most
THINNEST = 1e-6  # axis of a group, in its longest: of two points or a disc the square would be lost in rounding


def merge_mixture(
    mixture: Mixture, color: Float[np.ndarray, "mixture 3"], count: int
) -> tuple[Mixture, Float[np.ndarray, "count 3"]]:
    """The mixture and its colours with at most `count` components, in float64; as it is where it has no more.

    The group that is spread most, mass times square of the distance from its middle, is halved across its longest axis,
    again and again: 100,000 components become 1,000 in about a second.
    """
    if len(mixture.mean) <= count:
        return mixture, color
    origin = np.asarray(mixture.mean, float).mean(axis=0)  # far from the world's origin squares lose all digits
    mean = np.asarray(mixture.mean, float) - origin
    spread = np.linalg.inv(np.asarray(mixture.precision_cholesky, float))
    covariance = np.swapaxes(spread, 1, 2) @ spread
    log_mass = np.asarray(mixture.log_weight, float) + _log_shadow(covariance)
    group = _groups(mean, log_mass, count)
    total = np.full(group.max() + 1, -np.inf)
    np.logaddexp.at(total, group, log_mass)
    share = np.exp(log_mass - total[group])
    middle = _sums(group, share[:, None] * mean)
    offset = mean - middle[group]
    second = _sums(group, share[:, None, None] * (covariance + offset[:, :, None] * offset[:, None, :]))
    square, axes = np.linalg.eigh(second)
    square = np.maximum(square, THINNEST**2 * square[:, -1:])
    factor = lower_factor(axes / np.sqrt(square)[:, None, :])
    return Mixture(origin + middle, factor, total - _log_shadow(second)), _sums(group, share[:, None] * color)


def _log_shadow(covariance: np.ndarray) -> np.ndarray:
    """Logarithm of the mean area of the shadows of ellipsoids, a quarter of their surface (Cauchy), but for a factor.

    In logs, for areas that double precision does not hold.
    """
    square = np.maximum(np.linalg.eigvalsh(covariance), np.finfo(float).tiny)
    a, b, c = THOMSEN / 2.0 * np.log(square).T
    return (np.logaddexp(np.logaddexp(a + b, a + c), b + c) - np.log(3.0)) / THOMSEN


def _groups(mean: np.ndarray, log_mass: np.ndarray, count: int) -> Int[np.ndarray, " mixture"]:
    """The group of each component, numbered from 0."""
    group = np.zeros(len(mean), int)
    log_mass = log_mass - log_mass.max()
    made, left = 1, [_spread(mean, log_mass, np.arange(len(mean)), 0)]
    while left and made < count:
        moment, name, _, members, along, middle = heapq.heappop(left)
        beyond = (mean[members] - middle) @ along > 0.0
        if moment == 0.0 or not 0 < np.count_nonzero(beyond) < len(members):
            continue  # all in one place
        group[members[beyond]] = made
        heapq.heappush(left, _spread(mean, log_mass, members[~beyond], name))
        heapq.heappush(left, _spread(mean, log_mass, members[beyond], made))
        made += 1
    return group


def _spread(mean: np.ndarray, log_mass: np.ndarray, members: np.ndarray, name: int) -> tuple:
    """A group for the heap, widest first: its moment, its name, its members, its longest axis and its middle."""
    top = log_mass[members].max()
    share = np.exp(log_mass[members] - top)
    mass = np.exp(top) * share.sum()
    share /= share.sum()
    middle = share @ mean[members]
    offset = mean[members] - middle
    moment, axes = np.linalg.eigh((share[:, None] * offset).T @ offset)
    return -moment[-1] * mass, name, len(members), members, axes[:, -1], middle


def _sums(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of rows over their groups."""
    total = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(total, group, values)
    return total
