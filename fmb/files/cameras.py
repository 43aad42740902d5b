"""Cameras as other programs write them: rigid poses, pinholes, pixel centres."""

from typing import Any

import numpy as np
from jaxtyping import Float

from fmb.files.safe import numbers

ROTATION_TOLERANCE = 1e-3  # of an entry of R Rᵀ: files keep four digits or more
CENTRE_OF_FIRST_PIXEL = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])  # from (0, 0) to (0.5, 0.5)

OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])  # x left, y up, z forward there
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # x right, y up, z backward there


def rigid(matrix: Any, where: str, scaled: bool = False) -> Float[np.ndarray, "4 4"]:
    """The rigid motion in a matrix of 4 x 4 or 3 x 4 numbers, its rotation the nearest one.

    A camera that is `scaled` may stretch its own axes: its images, and so its pose, are the same without.
    Raises ValueError that begins with `where` for a matrix that does more than turn and move.
    """
    rows = len(matrix) if isinstance(matrix, (list, tuple, np.ndarray)) and len(matrix) == 3 else 4
    given = numbers(matrix, (rows, 4), where)
    if rows == 4 and np.max(np.abs(given[3] - (0.0, 0.0, 0.0, 1.0))) > ROTATION_TOLERANCE:
        raise ValueError(f"{where}: last row {given[3].tolist()}, expected 0 0 0 1")
    motion = np.eye(4)
    motion[:3, :3] = rotation(given[:3, :3] / (scale_of(given, where) if scaled else 1.0), where)
    motion[:3, 3] = given[:3, 3]
    return motion


def scale_of(matrix: Any, where: str) -> float:
    """By how much a matrix of 3 x 3 numbers and more stretches; exactly 1 for rotations, and where it mirrors."""
    given = np.asarray(matrix, float)[:3, :3]
    given = numbers(given, (3, 3), where)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.cbrt(np.linalg.det(given))
    return float(scale) if np.isfinite(scale) and scale > 0.0 and abs(scale - 1.0) > ROTATION_TOLERANCE else 1.0


def rotation(matrix: Any, where: str) -> Float[np.ndarray, "3 3"]:
    """The rotation nearest to a matrix that nearly is one.  Raises ValueError that begins with `where` otherwise."""
    given = numbers(matrix, (3, 3), where)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.max(np.abs(given @ given.T - np.eye(3)))
    if not error <= ROTATION_TOLERANCE:
        raise ValueError(f"{where}: not a rotation (R Rᵀ is off by {error:.2g})")
    if np.linalg.det(given) < 0.0:
        raise ValueError(f"{where}: a reflection (determinant -1), expected a rotation")
    left, _, right = np.linalg.svd(given)
    return left @ right


def camera_to_world(turn: Any, shift: Any, where: str, scaled: bool = False) -> Float[np.ndarray, "4 4"]:
    """World from camera where a data set gives x_cam = turn x + shift; `shift` may be a column or a row.

    `scaled`: both may be stretched by one factor.
    """
    given = square(turn, where)
    scale = scale_of(given, where) if scaled else 1.0
    motion = np.eye(4)
    motion[:3, :3] = rotation(given / scale, where).T
    motion[:3, 3] = -motion[:3, :3] @ vector(shift, f"{where}: translation") / scale
    return motion


def square(matrix: Any, where: str) -> Float[np.ndarray, "3 3"]:
    """3 x 3 numbers, or 9 in a row.  Raises ValueError that begins with `where` otherwise."""
    flat = matrix.shape == (9,) if isinstance(matrix, np.ndarray) else isinstance(matrix, list) and len(matrix) == 9
    return numbers(matrix, (9,) if flat else (3, 3), where).reshape(3, 3)


def vector(values: Any, where: str) -> Float[np.ndarray, "3"]:
    """Three numbers, in a list, a column or a row.  Raises ValueError that begins with `where` otherwise."""
    shape = np.shape(values) if isinstance(values, np.ndarray) else _nesting(values)
    return numbers(values, shape if shape in ((3, 1), (1, 3)) else (3,), where).reshape(3)


def _nesting(values: Any) -> tuple[int, ...]:
    # of lists as JSON has them; ragged ones are refused by `numbers`
    if not isinstance(values, (list, tuple)):
        return ()
    return (len(values), *(_nesting(values[0]) if values else ()))


def pinhole(matrix: Any, where: str) -> Float[np.ndarray, "3 3"]:
    """Intrinsics that are upper triangular with positive focal lengths.  Raises ValueError that begins with `where`."""
    given = square(matrix, where)
    scale = given[2, 2]
    if scale == 0.0 or np.max(np.abs(given[[1, 2, 2], [0, 0, 1]] / scale)) > 1e-6 * np.max(np.abs(given / scale)):
        raise ValueError(f"{where}: intrinsics must be upper triangular with 1 at the end")
    given = np.triu(given / scale)
    if not min(given[0, 0], given[1, 1]) > 0.0:
        raise ValueError(f"{where}: focal lengths {given[0, 0]:.4g} and {given[1, 1]:.4g}; must be positive")
    return given


def focal_intrinsics(focal: tuple[float, float], centre: tuple[float, float], where: str) -> np.ndarray:
    """Intrinsics without skew."""
    return pinhole([[focal[0], 0.0, centre[0]], [0.0, focal[1], centre[1]], [0.0, 0.0, 1.0]], where)
