"""Gaussians fitted to points by expectation and maximisation, in float64.

scikit-learn has the same. Importing it takes 1.1 s, as long as all else that a run imports, and its steps take five
times as long: it forms the offset of each point from each mean, where one product of matrices does.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

# 30 steps on 4,000 of 20,000 points and then 10 on all take 0.1 s for 40 components. On points of ten models that are
# left out they are as likely as after scikit-learn's k-means and 18 such steps (0.939 against 0.933 in the mean).
FEWEST_WARM_POINTS, WARM_POINTS_PER_COMPONENT = 4_000, 50
WARM_STEPS, FULL_STEPS = 30, 10
COVARIANCE_FLOOR = 1e-5  # of the points' mean variance; added to each component, so that flat ones stay invertible
LEAST_COUNT = 10.0 * np.finfo(float).eps  # of the points of a component, so that an empty one has a logarithm
ROW, COLUMN = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)  # of the six different products of coordinates
# Of more components each point is shared by the nearest alone: all pairs of 10,000 and their points would be 8 GB, and
# minutes. 60 components in a ball are then a little less likely on points left out, -0.66 for -0.61 (log density).
MANY, NEAREST, NEAR_STEPS = 1_000, 16, 15
POINTS_PER_COMPONENT = 10  # that a fit of many needs: fewer do not tell a covariance
SQUARE = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])  # where each entry of a symmetric matrix stands among them


class Gaussians(NamedTuple):
    """A density: weights, whose sum is 1, means and covariances."""

    weight: Float[np.ndarray, " mixture"]
    mean: Float[np.ndarray, "mixture 3"]
    covariance: Float[np.ndarray, "mixture 3 3"]


def fit_gaussians(points: Float[np.ndarray, "point 3"], count: int, seed: int) -> Gaussians:
    """Gaussians after k-means++, EM on a part of the points, and a few steps on all. The same seed gives the same.

    Raises ValueError for count < 1, fewer points than components, points that are not finite or all coincide.
    """
    if count < 1:
        raise ValueError(f"num_mixtures {count}: must be at least 1")
    if len(points) < count:
        raise ValueError(f"num_mixtures {count}: more than the {len(points)} points to fit them to")
    broken = np.count_nonzero(~np.isfinite(points).all(axis=1))
    if broken:
        raise ValueError(f"points for EM: {broken} of {len(points)} are not finite")
    centre, unit = points.mean(axis=0), np.sqrt(np.mean(np.var(points, axis=0)))
    if not unit > 0.0:
        raise ValueError(f"points for EM: all {len(points)} coincide")
    generator = np.random.default_rng(seed)
    points = generator.permutation((points - centre) / unit)
    if count > MANY:
        found = near_gaussians(points, count)
        return Gaussians(found.weight, centre + unit * found.mean, unit**2 * found.covariance)
    part = points[: max(FEWEST_WARM_POINTS, WARM_POINTS_PER_COMPONENT * count)]
    # one thread: the matrices are small, and threads that wait for each other on a busy machine take far longer
    with threadpool_limits(1):
        found = maximised(products(part), np.eye(count)[nearest_seed(part, count, generator)])
        for some, steps in ((part, WARM_STEPS), (points, FULL_STEPS)):
            known = products(some)
            for _ in range(steps):
                found = maximised(known, expected(known, found))
    return Gaussians(found.weight, centre + unit * found.mean, unit**2 * found.covariance)


def near_gaussians(points: Float[np.ndarray, "point 3"], count: int) -> Gaussians:
    """Gaussians after EM in which each point, in random order, is shared by the NEAREST components alone.

    They begin at the first points: with so many, seeds that are chosen well change little.
    """
    known, nearest = products(points), cKDTree(points[:count]).query(points)[1][:, None]
    with threadpool_limits(1):
        found = maximised(known, shares(nearest, np.ones(nearest.shape), count))
        for _ in range(NEAR_STEPS):
            nearest = cKDTree(found.mean).query(points, min(NEAREST, count))[1]
            coefficient, log_share = coefficients(found), np.empty(nearest.shape)
            for rank, row in enumerate(nearest.T):
                log_share[:, rank] = np.einsum("nj,nj->n", known, coefficient[row])
            share = np.exp(log_share - log_share.max(axis=1, keepdims=True))
            found = maximised(known, shares(nearest, share / share.sum(axis=1, keepdims=True), count))
    return found


def shares(component: Int[np.ndarray, "point near"], share: Float[np.ndarray, "point near"], count: int) -> csr_array:
    """The shares of some components in each point as a matrix [point, mixture]."""
    rows = np.arange(0, share.size + 1, share.shape[1])
    return csr_array((share.ravel(), component.ravel(), rows), shape=(len(share), count))


def nearest_seed(
    points: Float[np.ndarray, "point 3"], count: int, generator: np.random.Generator
) -> Int[np.ndarray, " point"]:
    """Which of `count` points is nearest to each; they are chosen as in k-means++ (Arthur & Vassilvitskii 2007).

    Steps of k-means after it change nothing that EM would not.
    """
    nearest, square = np.zeros(len(points), int), np.ones(len(points))
    for number in range(count):
        chance = np.cumsum(square)
        chosen = np.searchsorted(chance, generator.random() * chance[-1], side="right")
        away = np.sum((points - points[min(chosen, len(points) - 1)]) ** 2, axis=1)
        nearer = (away < square) | (number == 0)
        nearest, square = np.where(nearer, number, nearest), np.where(nearer, away, square)
    return nearest


def products(points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 10"]:
    """1, x and the products of coordinates: a Gaussian's logarithm is linear in them, and so are its moments."""
    return np.concatenate([np.ones((len(points), 1)), points, points[:, ROW] * points[:, COLUMN]], axis=1)


def expected(known: Float[np.ndarray, "point 10"], found: Gaussians) -> Float[np.ndarray, "point mixture"]:
    """The share of each component in the density at each point."""
    share = known @ coefficients(found).T
    share -= share.max(axis=1, keepdims=True)  # in place: new arrays of this size cost as much as the exponentials
    np.exp(share, out=share)
    share /= share.sum(axis=1, keepdims=True)
    return share


def coefficients(found: Gaussians) -> Float[np.ndarray, "mixture 10"]:
    """Of the logarithm of each component, weight included, in what `products` gives."""
    inverse = np.linalg.inv(np.linalg.cholesky(found.covariance))
    precision = np.swapaxes(inverse, 1, 2) @ inverse
    linear = np.einsum("kij,kj->ki", precision, found.mean)
    constant = np.log(found.weight) + np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=1)
    constant -= np.einsum("ki,ki->k", linear, found.mean) / 2.0
    square = precision[:, ROW, COLUMN] * np.where(np.equal(ROW, COLUMN), -0.5, -1.0)
    return np.concatenate([constant[:, None], linear, square], axis=1)


def maximised(known: Float[np.ndarray, "point 10"], share: Float[np.ndarray, "point mixture"] | csr_array) -> Gaussians:
    """The Gaussians whose moments are those of their shares of the points, in units of the points' variance."""
    total = share.T @ known
    count = total[:, :1] + LEAST_COUNT
    mean, second = total[:, 1:4] / count, total[:, 4:] / count
    covariance = second[:, SQUARE] - mean[:, :, None] * mean[:, None, :] + COVARIANCE_FLOOR * np.eye(3)
    return Gaussians(count[:, 0] / count.sum(), mean, covariance)
