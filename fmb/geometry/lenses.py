"""Lenses: where a ray (x, y, 1) of the camera meets the image plane, in focal lengths from the principal point.

The models and their parameters are COLMAP's, whose names they bear: OpenCV's polynomials (Brown), equidistant fisheyes
with and without them (Kannala and Brandt), the field of view model (Devernay and Faugeras), the division model
(Fitzgibbon) and the enhanced unified model (Khomutenko et al.).  A pinhole is where (x, y) stays as it is.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

WIDEST = np.deg2rad(80.0)  # off the axis: a pinhole image that saw more would be all border
DIRECTIONS, STEPS = 64, 800  # of rays on which a lens is followed outwards
Plane = Float[np.ndarray, "*place 2"]


class Lens(NamedTuple):
    """A model in LENSES and its parameters, without focal lengths and principal point."""

    model: str
    parameters: tuple[float, ...]


class Model(NamedTuple):
    """How many parameters a lens has, where it sends a ray, and whether parameters make it a pinhole."""

    parameters: int
    bend: Callable[[Plane, Sequence[float]], Plane]
    straight: Callable[[Sequence[float]], bool]


def distort(lens: Lens, plane: Plane) -> Plane:
    """Where the rays (x, y, 1) meet the image plane; NaN for rays that never do."""
    with np.errstate(all="ignore"):
        return LENSES[lens.model].bend(plane, lens.parameters)


@lru_cache(maxsize=256)
def reach(lens: Lens) -> float:
    """Largest distance from the axis, at depth 1, up to which the lens shows every ray in a place of its own.

    Beyond it a polynomial turns back and would show the same object again; never more than WIDEST.
    """
    radius = np.tan(WIDEST * np.arange(1, STEPS + 1) / STEPS)
    turn = 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    outwards = np.stack([np.cos(turn), np.sin(turn)], axis=-1)[:, None]
    along = np.sum(distort(lens, radius[:, None] * outwards) * outwards, axis=-1)
    grows = np.diff(along, axis=1, prepend=0.0) > 0.0  # False for NaN
    grows = np.all(grows, axis=0)
    return float(radius[-1] if grows.all() else np.append(0.0, radius)[np.argmin(grows)])


def is_pinhole(lens: Lens) -> bool:
    """Whether the lens bends nothing."""
    return LENSES[lens.model].straight(lens.parameters)


def bends(lens: Lens | None) -> bool:
    """Whether images of the lens must be undistorted; None: a pinhole."""
    return lens is not None and not is_pinhole(lens)


def _square(plane: Plane) -> Float[np.ndarray, "*place"]:
    return plane[..., 0] ** 2 + plane[..., 1] ** 2


def _series(square: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    # 1 + k1 r² + k2 r⁴ + ...
    return np.polynomial.polynomial.polyval(square, (1.0, *coefficients))


def _brown(plane: Plane, radial: Sequence[float], tangential: Sequence[float] = (0.0, 0.0), below: Sequence = ()):
    """OpenCV's: a polynomial of r², over another, and decentring."""
    x, y, square = plane[..., 0], plane[..., 1], _square(plane)
    factor = _series(square, radial) / _series(square, below) if len(below) else _series(square, radial)
    first, second = tangential
    return np.stack(
        [
            x * factor + 2.0 * first * x * y + second * (square + 2.0 * x * x),
            y * factor + 2.0 * second * x * y + first * (square + 2.0 * y * y),
        ],
        axis=-1,
    )


def _scaled(plane: Plane, factor: Callable[[np.ndarray], np.ndarray], at_centre: float = 1.0) -> Plane:
    """Each point times a function of its distance from the axis."""
    radius = np.sqrt(_square(plane))
    off = radius > 0.0
    return plane * np.where(off, factor(np.where(off, radius, 1.0)), at_centre)[..., None]


def _fisheye(plane: Plane) -> Plane:
    """Equidistant: as far from the principal point as the ray is from the axis, in radians."""
    return _scaled(plane, lambda radius: np.arctan(radius) / radius)


def _thin_prism_fisheye(plane: Plane, values: Sequence[float]) -> Plane:
    k1, k2, p1, p2, k3, k4, *prism = values
    plane = _fisheye(plane)
    return _brown(plane, (k1, k2, k3, k4), (p1, p2)) + _square(plane)[..., None] * np.array(prism)


def _rad_tan_thin_prism_fisheye(plane: Plane, values: Sequence[float]) -> Plane:
    # Project Aria's: the other terms act on what the radial ones have made
    plane = _brown(_fisheye(plane), values[:6])
    square = _square(plane)
    prism = np.stack([values[place] * square + values[place + 1] * square**2 for place in (8, 10)], axis=-1)
    return _brown(plane, (), (values[7], values[6])) + prism


def _field_of_view(plane: Plane, values: Sequence[float]) -> Plane:
    (omega,) = values
    slope = 2.0 * np.tan(0.5 * omega)
    return _scaled(plane, lambda radius: np.arctan(radius * slope) / (radius * omega), slope / omega)


def _division(plane: Plane, values: Sequence[float]) -> Plane:
    # the image point p has the ray (p, 1 + k |p|²)
    return _scaled(plane, lambda radius: 2.0 / (1.0 + np.sqrt(1.0 - 4.0 * values[0] * radius**2)))


def _unified(plane: Plane, values: Sequence[float]) -> Plane:
    alpha, beta = values
    return _scaled(plane, lambda radius: 1.0 / (alpha * np.sqrt(beta * radius**2 + 1.0) + 1.0 - alpha))


def _all_zero(values: Sequence[float]) -> bool:
    return not any(values)


def _first_zero(values: Sequence[float]) -> bool:
    return values[0] == 0.0


def _never(values: Sequence[float]) -> bool:
    return False


def _polynomial(count: int) -> Model:
    return Model(count, _brown, _all_zero)


def _kannala_brandt(count: int) -> Model:
    return Model(count, lambda plane, values: _brown(_fisheye(plane), values), _never)


LENSES: dict[str, Model] = {
    "SIMPLE_RADIAL": _polynomial(1),
    "RADIAL": _polynomial(2),
    "OPENCV": Model(4, lambda plane, values: _brown(plane, values[:2], values[2:]), _all_zero),
    "FULL_OPENCV": Model(
        8, lambda plane, values: _brown(plane, (*values[:2], values[4]), values[2:4], values[5:]), _all_zero
    ),
    "SIMPLE_FISHEYE": _kannala_brandt(0),
    "FISHEYE": _kannala_brandt(0),
    "SIMPLE_RADIAL_FISHEYE": _kannala_brandt(1),
    "RADIAL_FISHEYE": _kannala_brandt(2),
    "OPENCV_FISHEYE": _kannala_brandt(4),
    "THIN_PRISM_FISHEYE": Model(8, _thin_prism_fisheye, _never),
    "RAD_TAN_THIN_PRISM_FISHEYE": Model(12, _rad_tan_thin_prism_fisheye, _never),
    "FOV": Model(1, _field_of_view, _all_zero),
    "SIMPLE_DIVISION": Model(1, _division, _all_zero),
    "DIVISION": Model(1, _division, _all_zero),
    "EUCM": Model(2, _unified, _first_zero),
}
