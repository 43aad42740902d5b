"""Quadrics fitted to patches of a cloud: heights over the plane of each patch (moving least squares, Levin 2004)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

TERMS = 6  # of a quadric over a plane
RIDGE = 1e-9  # added to the normal equations, whose terms are about 1: a patch may lie on a line


class Quadrics(NamedTuple):
    """A quadric for each patch: over the plane through `middle`, whose `axes` are normal and two tangents."""

    middle: Float[np.ndarray, "patch 3"]
    axes: Float[np.ndarray, "patch 3 3"]  # columns
    width: Float[np.ndarray, "patch 1"]  # unit of the coordinates in the plane
    factor: Float[np.ndarray, "patch 6"]

    def local(self, points: Float[np.ndarray, "patch near 3"]) -> Float[np.ndarray, "patch near 3"]:
        """Height over the plane, and place in it, of points beside each patch."""
        return np.einsum("nki,nij->nkj", points - self.middle[:, None], self.axes)

    def height(self, place: Float[np.ndarray, "patch near 3"]) -> Float[np.ndarray, "patch near"]:
        """Height of the quadrics where the local points stand."""
        return (terms_of(place, self.width) @ self.factor[..., None])[..., 0]


def fit_quadrics(
    patch: Float[np.ndarray, "patch near 3"], weight: Float[np.ndarray, "patch near"] | None = None
) -> Quadrics:
    """The quadrics of least weighted squares of heights; all points count alike without weights."""
    weight = np.ones(patch.shape[:2]) if weight is None else weight
    weight = weight / weight.sum(axis=1, keepdims=True)
    middle = np.einsum("nk,nki->ni", weight, patch)
    apart = patch - middle[:, None]
    variance, axes = np.linalg.eigh(np.einsum("nk,nki,nkj->nij", weight, apart, apart))
    width = np.sqrt(np.maximum(variance[:, 2, None], np.finfo(float).tiny))
    place = np.einsum("nki,nij->nkj", apart, axes)
    terms = terms_of(place, width)
    square = np.einsum("nk,nka,nkb->nab", weight, terms, terms) + RIDGE * np.eye(TERMS)
    factor = np.linalg.solve(square, np.einsum("nk,nka,nk->na", weight, terms, place[..., 0])[..., None])
    return Quadrics(middle, axes, width, factor[..., 0])


def terms_of(
    place: Float[np.ndarray, "patch near 3"], width: Float[np.ndarray, "patch 1"]
) -> Float[np.ndarray, "patch near 6"]:
    """1, u, v, u^2, uv and v^2 of local points, in units of the width."""
    u, v = place[..., 1] / width, place[..., 2] / width
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=2)
